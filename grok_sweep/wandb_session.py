"""What everything here that talks to Weights & Biases shares: the ids of runs, a client that is quiet, its errors."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

FAILED = "W&B failed"
"""What a line begins with that says so."""
REPORT_JOB = "analysis"
"""job_type of the runs that hold a report, which tells them from the training runs of their group."""


def wandb_id(sweep: str | None, name: str) -> str:
    """W&B's id of a run of a sweep: <sweep>-<name>, with _ for what W&B allows in no id."""
    return re.sub(r"[:;,#?/']", "_", f"{sweep}-{name}")


def said(error: BaseException, most: int = 300) -> str:
    """An error of wandb's in one line."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
    return text if len(text) <= most else text[:most] + "…"


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """An environment variable that wandb reads, for as long as this lasts."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def quiet_wandb(timeout_s: float, finish_s: float | None = None) -> tuple[Any, Any]:
    """The module wandb, set up, and the settings it was set up with.

    No word on the terminal, no question, no console capture, no system metrics, no wait without end, and no report of
    its own errors. `x_` names are W&B's unstable ones, so only those that it knows.

    Args:
        timeout_s: for an answer of the server, at the beginning of a run and at its end.
        finish_s: at its end, where that is another.
    """
    # Else wandb reports its own errors and counts to the server at exit, offline too.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    wanted = {
        "console": "off",
        "silent": True,
        "init_timeout": timeout_s,
        "finish_timeout": timeout_s if finish_s is None else finish_s,
        "finish_timeout_raises": True,
        "x_disable_stats": True,
        "x_disable_meta": True,
        "x_save_requirements": False,
        "disable_code": True,
        "disable_git": True,
    }
    settings = wandb.Settings(**{k: v for k, v in wanted.items() if k in wandb.Settings.model_fields})
    wandb.setup(settings=settings)
    return wandb, settings
