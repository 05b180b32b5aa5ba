"""python -m analysis dashboard PATH: a sweep's W&B workspace, or its specification where there is no account."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from analysis.captions import printable

SPEC = "dashboard.json"


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "dashboard",
        help="a W&B workspace for a sweep; its specification where there is no account",
        description="Save a view of a sweep's runs in its W&B project: losses, accuracies, progress measures, norms, "
        "key frequencies and phases, grouped by what the sweep varies. Called again, it replaces that view.",
    )
    parser.add_argument("path", metavar="PATH", nargs="?", help="the sweep's folder, runs/<sweep>")
    parser.add_argument(
        "--wandb", metavar="ENTITY/PROJECT/GROUP", help="the sweep as W&B has it, in the place of PATH"
    )
    parser.add_argument("--entity", help="W&B user or team; default: logger.entity, else the account's own")
    parser.add_argument("--project", help="W&B project; default: logger.project")
    parser.add_argument("--spec", metavar="FILE", type=Path, help="write the specification to FILE and send nothing")
    parser.add_argument("--send", metavar="FILE", type=Path, help="send a specification that was written before")
    parser.set_defaults(command=carry_out)


def carry_out(chosen: argparse.Namespace) -> int:
    """0, or 2 for what the user has to put right."""
    try:
        view, spec = _sent_before(chosen) if chosen.send else _made(chosen)
        if chosen.spec:
            return _write(view, chosen.spec)
        return _send(view, spec)
    except (ValueError, OSError) as error:
        print(f"python -m analysis dashboard: {printable(str(error))}", file=sys.stderr)
        return 2


def _made(chosen: argparse.Namespace) -> tuple[dict[str, Any], Path]:
    """The view of the sweep that was named, and where its specification goes if it cannot be sent."""
    from analysis.dashboard.panels import dashboard
    from analysis.dashboard.view import view_of
    from analysis.publish import target_of
    from analysis.sources.read import read

    sweep = read([chosen.path] if chosen.path else [], chosen.wandb, lambda line: print(line, file=sys.stderr))
    target = target_of(sweep)
    there = chosen.wandb.split("/", 2) if chosen.wandb else (target.entity, target.project)
    entity, project = chosen.entity or there[0] or "", chosen.project or there[1]
    return view_of(dashboard(sweep), entity, project), sweep.path / SPEC


def _sent_before(chosen: argparse.Namespace) -> tuple[dict[str, Any], Path]:
    from analysis.dashboard.server import read

    if chosen.path or chosen.wandb or chosen.spec:
        raise ValueError("--send FILE sends a specification that was written before: give it no sweep and no --spec")
    view = read(chosen.send)
    asked = {"entity": chosen.entity, "project": chosen.project}
    return view | {name: value for name, value in asked.items() if value}, chosen.send


def _write(view: dict[str, Any], file: Path) -> int:
    from analysis.dashboard.server import write

    write(view, file)
    print(f"wrote {printable(str(file))}; to send it: python -m analysis dashboard --send {printable(str(file))}")
    return 0


def _send(view: dict[str, Any], spec: Path) -> int:
    from analysis.dashboard.server import send, write
    from analysis.wandb_errors import NoKey

    try:
        print(send(view))
        return 0
    except ValueError as error:
        write(view, spec)
        kept = f"its specification is in {spec}; to send it later: python -m analysis dashboard --send {spec}"
        if not isinstance(error, NoKey):
            raise ValueError(f"{error}; {kept}") from error
    print(printable(f"no W&B account here (WANDB_API_KEY, `wandb login`); {kept}"))
    return 0
