"""A dashboard's view given to W&B, and kept in a file for where there is no account. Effects only."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from analysis.dashboard.view import checked
from analysis.wandb_errors import TIMEOUT_S, told
from grok_sweep.store import write_atomic
from grok_sweep.wandb_session import quiet_wandb


def send(view: dict[str, Any]) -> str:
    """Save the view at W&B, in the place of an earlier one of its name; its address.

    Raises:
        ValueError: wandb-workspaces is not installed, the view is none, or W&B does not take it; one line with the
            way out. NoKey (analysis.wandb_errors) where there is no account.
    """
    wandb, _ = quiet_wandb(TIMEOUT_S)
    with told(f"cannot save the dashboard of the project {view['project']} at W&B"):
        api = wandb.Api(timeout=int(float(os.environ.get("WANDB_HTTP_TIMEOUT", TIMEOUT_S))))
        entity = view.get("entity") or api.default_entity
        return _saved(api, {**view, "entity": entity})


def _saved(api: Any, view: dict[str, Any]) -> str:
    from wandb_workspaces._graphql import get_app_url
    from wandb_workspaces.workspaces import internal

    short = internal._internal_name_to_url_query_str(view["name"])
    try:
        view = {**view, "id": internal.get_view_dict(view["entity"], view["project"], short)["id"]}
    except ValueError as error:
        if not str(error).startswith("Workspace"):  # that it is not there yet is how it begins
            raise
    internal.upsert_view2(checked(view))
    return f"{get_app_url(api).rstrip('/')}/{view['entity']}/{view['project']}?nw={short}"


def write(view: dict[str, Any], file: Path) -> None:
    """Raises ValueError where the file cannot be written."""
    try:
        write_atomic(file, (json.dumps(view, indent=1) + "\n").encode())
    except OSError as error:
        raise ValueError(f"cannot write {file}: {error.strerror}; give another file with --spec") from error


def read(file: Path) -> dict[str, Any]:
    """A view that `write` wrote. Raises ValueError, in one line, where the file holds none."""
    try:
        view = json.loads(file.read_text())
    except FileNotFoundError:
        raise ValueError(f"no such file: {file}") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    if not isinstance(view, dict) or not {"project", "name", "spec"} <= view.keys():
        raise ValueError(f"{file} is no dashboard; `python -m analysis dashboard PATH --spec FILE` writes one")
    try:
        checked({"entity": "", **view})
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return view
