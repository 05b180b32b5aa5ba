"""PATH on the command line: a sweep's folder, or a run's, which may be planned only or named by its first digits."""

from __future__ import annotations

import difflib
from pathlib import Path

from grok_sweep.store import PlannedRun, RunDir, SweepDir, run_folders
from grok_sweep.sweep.words import named

MOST_NAMED = 6
"""Runs that a message names at most."""


class WrongPath(ValueError):
    """What PATH should have been; the command prints it and leaves with exit code 2."""


def sweep_at(path: Path) -> SweepDir:
    """The sweep whose folder this is. Raises WrongPath, which says what the path is instead."""
    sweep = SweepDir(path)
    if path.is_dir() and sweep.plan_file.exists():
        return sweep
    if (above := _sweep_above(path)) is not None and _runs_at(above, path.name):
        raise WrongPath(f"{path} is one run; this command takes its sweep, {above.path}")
    raise WrongPath(_no_sweep(path))


def run_at(path: Path) -> tuple[SweepDir, PlannedRun]:
    """The run whose folder this is, or would be. Raises WrongPath."""
    if path.is_file():
        raise WrongPath(_no_sweep(path))
    above = _sweep_above(path)
    found = _runs_at(above, path.name) if above is not None else []
    if above is not None and len(found) == 1:
        return above, found[0]
    if len(found) > 1:
        raise WrongPath(f"{path}: {len(found)} runs begin so: {', '.join(run.run_id for run in found[:5])}, …")
    if (settings := RunDir(path).settings()) is not None:  # a run that was copied out of its sweep
        return SweepDir(path.resolve().parent), PlannedRun(path.resolve().name, settings, {})
    if SweepDir(path).plan_file.exists():
        raise WrongPath(_its_runs(path, SweepDir(path).plan()))
    if above is not None:
        if any(run.run_id.startswith(path.name) for run in above.plan()):
            raise WrongPath(f"{path}: four digits or more of a run's id are asked for")
        raise WrongPath(f"{path}: {above.path} has no run {path.name}")
    raise WrongPath(_no_sweep(path))


def trained_at(path: Path) -> list[Path]:
    """The folders of a sweep's runs that have begun, or of this one run; [] where there are none."""
    if found := run_folders(path):
        return found
    try:
        sweep, run = run_at(path)
    except WrongPath:
        return []
    folder = sweep.run(run.run_id)
    return [folder.path] if folder.settings_file.exists() else []


def is_sweep(path: Path) -> bool:
    """Whether a sweep's folder is meant, for commands that take both; where it is neither, run_at says so."""
    return path.is_dir() and SweepDir(path).plan_file.exists()


def _sweep_above(path: Path) -> SweepDir | None:
    folder = path.parent if path.name not in ("", "..") else path.resolve().parent
    return SweepDir(folder) if SweepDir(folder).plan_file.exists() else None


def _runs_at(sweep: SweepDir, name: str) -> list[PlannedRun]:
    """The planned run of this id, or those that begin with it."""
    runs = sweep.plan()
    exactly = [run for run in runs if run.run_id == name]
    return exactly or [run for run in runs if len(name) >= 4 and run.run_id.startswith(name)]


def _its_runs(path: Path, runs: list[PlannedRun]) -> str:
    """That this is a sweep, and which runs it holds."""
    takes = f"{path} is a sweep; this command takes one of its {len(runs)} runs"
    if not runs:
        return takes
    others = [named(run) for run in runs[1:MOST_NAMED]] + (["…"] if len(runs) > MOST_NAMED else [])
    return f"{takes}, for example {path / named(runs[0])}" + (f"; also {', '.join(others)}" if others else "")


def _no_sweep(path: Path) -> str:
    """Why there is nothing here, in a line."""
    if not path.exists():
        known = [each.name for each in path.parent.iterdir() if each.is_dir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, known, n=1)
        return f"{path}: no such folder" + (f"; did you mean {path.parent / near[0]}?" if near else "")
    if not path.is_dir():
        return f"{path} is a file; a sweep's folder is asked for, runs/<sweep>, or a run's, runs/<sweep>/<run_id>"
    inside = sorted(each.parent for each in path.glob("*/plan.jsonl"))
    if inside:
        return f"{path} holds sweeps: name one of them, for example {inside[0]}"
    return f"{path} is no sweep: it holds no plan.jsonl, which launch.py writes into runs/<sweep>"
