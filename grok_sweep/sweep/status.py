"""What is left to do of a planned run. No torch."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grok_sweep.store import ENDED, PlannedRun, RunDir, State, SweepDir

LONGEST_NAME = 255
"""Bytes that file systems take in one name."""


def needs_work(run: PlannedRun, run_dir: RunDir, retry_failed_before: float | None = None) -> bool:
    """Whether a worker should take this run.

    Done is skipped, but for a run that ended with fewer steps than are now asked for: it goes on. One that
    its stop rule ended stays done. Diverged and failed stay too.

    Args:
        retry_failed_before: take failed runs whose failure is older than this (time.time()).
    """
    return has_work(run, run_dir.status(), retry_failed_before)


def has_work(run: PlannedRun, status: Mapping[str, Any], retry_failed_before: float | None = None) -> bool:
    """`needs_work` of a run whose status has been read."""
    state = State(status["state"])
    if state is State.done:
        return status.get("end") == "n_steps" and status.get("step", 0) < run.settings["n_steps"]
    if state is State.failed:
        return retry_failed_before is not None and status.get("updated", 0) < retry_failed_before
    return state is not State.diverged


UNHEEDED = ("measures.", "snapshots.", "stop.")
"""Prefixes of settings that name no run, and that a run which has ended keeps as they were."""


def unheeded(sweep: SweepDir, runs: Sequence[PlannedRun]) -> list[str]:
    """What is asked of runs that have ended and will not be done, a line each."""
    n_other: Counter[str] = Counter()
    n_stopped = 0
    for run in runs:
        run_dir = sweep.run(run.run_id)
        status = run_dir.status()
        if State(status["state"]) not in ENDED or has_work(run, status):
            continue
        had = run_dir.settings() or {}
        other = [name for name, value in run.settings.items() if had.get(name, value) != value]
        n_other.update(name for name in other if name.startswith(UNHEEDED))
        n_stopped += status.get("end") == "stop_rule" and not {"n_steps", "stop.test_loss"}.isdisjoint(other)
    found = []
    if n_other:
        of_all = f" of {len(runs)}" if len(runs) > 1 else ""
        names = ", ".join(f"{name} ({n}{of_all})" if of_all else name for name, n in n_other.items())
        found.append(
            f"what has ended keeps the settings that it was trained with, here other {names}; "
            "python -m grok_sweep measure takes measures afterwards"
        )
    if n_stopped:
        found.append("what a stop rule ended stays ended; another sweep=… trains it anew, with other steps or rule")
    return found


def in_the_way(sweep: SweepDir, runs: Sequence[PlannedRun], retry_failed: bool) -> list[str]:
    """What keeps these runs from being trained in their folders, a line each; asked before any work."""
    found, has_work = [], False
    if len(os.fsencode(sweep.path.name)) > LONGEST_NAME:
        return [f"sweep must be a folder's name of at most {LONGEST_NAME} bytes, got {sweep.path.name!r}"]
    for folder in (sweep.path, sweep.claims, sweep.workers):
        if (file := _file_in_place_of(folder)) is not None:
            found.append(
                f"{file} is a file where a folder is needed: give another root=… or sweep=…, or move it away"
            )
    if found:
        return list(dict.fromkeys(found))
    for run in runs:
        run_dir = sweep.run(run.run_id)
        if (file := _file_in_place_of(run_dir.path)) is not None:
            found.append(f"{file} is a file where the run's folder is needed: move it away")
            continue
        try:
            left = needs_work(run, run_dir, float("inf") if retry_failed else None)
        except ValueError as error:
            found.append(f"{error}; delete this file, and the run goes on from its checkpoint")
            continue
        except OSError as error:
            found.append(f"{error.filename}: {error.strerror}")
            continue
        has_work |= left
        if left and run_dir.path.exists() and not _can_write(run_dir.path):
            found.append(f"the run's folder {run_dir.path} is read-only: make it writable, or give another root=…")
    if has_work and not _can_write(here := _nearest(sweep.path)):
        found.append(f"{here} is read-only: give another root=…")
    return found


def _nearest(path: Path) -> Path:
    """The path, or the first above it that exists."""
    return next(each for each in (path, *path.parents) if os.path.lexists(each))


def _file_in_place_of(folder: Path) -> Path | None:
    nearest = _nearest(folder)
    return None if nearest.is_dir() else nearest


def _can_write(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)
