"""publish: the W&B server brought up to finished runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from grok_sweep.commands.paths import trained_at
from grok_sweep.sweep.command_line import EXIT_DONE, EXIT_RUN_FAILED, EXIT_WRONG_SETTINGS

ENOUGH = 3
"""Failures, one like the other and no success before, after which no key or no network is the reason."""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "publish", help="bring the W&B server up to finished runs: the rows that it lacks, summary and settings"
    )
    parser.add_argument("path", type=Path, help="a sweep's folder, or a run's")
    parser.set_defaults(carry_out=carry_out)


def carry_out(given: argparse.Namespace) -> int:
    folders = trained_at(given.path)
    if not folders:
        print(no_run(given.path), file=sys.stderr)
        return EXIT_WRONG_SETTINGS
    from grok_sweep.loggers import publish

    failures: list[str] = []
    uploaded = False
    for i, folder in enumerate(folders, 1):
        try:
            said = f"{publish(folder)} rows uploaded"
            uploaded = True
        except ValueError as error:  # not finished: nobody's failure
            said = str(error).partition(": ")[2] or str(error)
        except Exception as error:  # whatever wandb raises: no network, no key
            said = " ".join(f"{type(error).__name__}: {error}".split())
            failures.append(said)
        print(f"[{i} of {len(folders)}] {folder.name}: {said}", flush=True)
        if not uploaded and len(failures) == ENOUGH and len(set(failures)) == 1 and i < len(folders):
            print(
                f"the first {ENOUGH} that were tried failed for one reason: {len(folders) - i} left out",
                file=sys.stderr,
            )
            return EXIT_RUN_FAILED
    if failures:
        print(f"{len(failures)} of {len(folders)} runs could not be published", file=sys.stderr)
    return EXIT_RUN_FAILED if failures else EXIT_DONE


def no_run(path: Path) -> str:
    return f"{path}: {'no run is here' if path.exists() else 'no such folder'}"
