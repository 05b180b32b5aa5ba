"""tail: the log and the last rows of a run; the last row of every running run of a sweep, and its workers' logs."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from grok_sweep.commands.paths import is_sweep, run_at, sweep_at
from grok_sweep.commands.status import cut
from grok_sweep.store import PlannedRun, RunDir, SweepDir, last_rows
from grok_sweep.sweep.command_line import EXIT_DONE, EXIT_WRONG_SETTINGS
from grok_sweep.sweep.survey import look_at, pace, survey
from grok_sweep.sweep.words import axes_in_words, columns, last_values, named, number

COLUMNS = ("step", "train_loss", "train_acc", "test_loss", "test_acc", "seconds")
LOOK_EVERY_S = 1.0
MOST_LOGS = 5
LINES_OF_A_LOG = 5


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "tail",
        help="the log and the last rows of a run, or of all running ones",
        description="Of a run: the end of its log.txt and its last rows; -f goes on with what comes. Of a sweep: the "
        "last row of every run that is being trained, and the end of the workers' own logs.",
    )
    parser.add_argument("path", type=Path, help="a sweep's folder, or a run's")
    parser.add_argument("-n", type=int, default=10, metavar="N", help="lines of the log, and rows (default 10)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run ends, or Ctrl-C")
    parser.set_defaults(carry_out=carry_out)


def carry_out(given: argparse.Namespace) -> int:
    found = [f"-n must be at least 1, got {given.n}"] if given.n < 1 else []
    if given.follow and is_sweep(given.path):
        found.append(f"-f follows one run; python -m grok_sweep watch {given.path} follows a sweep")
    if found:
        print("\n".join(found), file=sys.stderr)
        return EXIT_WRONG_SETTINGS
    if is_sweep(given.path):
        print("\n".join(of_sweep(sweep_at(given.path))))
        return EXIT_DONE
    sweep, run = run_at(given.path)
    print("\n".join(of_run(sweep.run(run.run_id), given.n)), flush=True)
    if given.follow:
        _follow(sweep, run)
    return EXIT_DONE


def of_run(run_dir: RunDir, n: int) -> list[str]:
    rows = [row_words(row) for row in last_rows(run_dir.metrics_file, n)]
    lines = [str(run_dir.log_file), *(f"  {line}" for line in _end(run_dir.log_file, n))]
    lines.append(str(run_dir.metrics_file))
    return lines + ([f"  {line}" for line in columns([list(COLUMNS), *rows])] if rows else ["  no rows yet"])


def row_words(row: dict[str, Any]) -> list[str]:
    return [str(row.get("step")), *(number(row.get(name), ".4g") for name in COLUMNS[1:])]


def _end(file: Path, n: int) -> list[str]:
    try:
        return file.read_text(errors="replace").splitlines()[-n:]
    except FileNotFoundError:
        return ["nothing yet"]


def _said(file: Path) -> list[str]:
    """The end of a worker's log, without what submitit notes of every job."""
    lines = file.read_text(errors="replace").splitlines()
    return [line for line in lines if not line.startswith("submitit INFO")][-LINES_OF_A_LOG:]


def of_sweep(sweep: SweepDir) -> list[str]:
    lines = []
    for seen in survey(sweep):
        if seen.is_worked_on:
            now = pace(sweep.run(seen.run.run_id), seen)
            lines.append(f"{seen.run.run_id} {axes_in_words(seen.run)}")
            lines.append(f"    step {now.step}/{seen.n_steps}  {last_values(now.row)}")
    logs = [file for folder in (sweep.workers, sweep.submitit) for file in _worker_logs(folder)]
    for file in sorted(logs, key=lambda file: file.stat().st_mtime)[-MOST_LOGS:]:
        if said := _said(file):
            lines += [str(file), *(cut(f"    {line}") for line in said)]
    return lines or [f"nobody works on {sweep.path}, and no worker left a log"]


def _worker_logs(folder: Path) -> Sequence[Path]:
    """Logs that say something: of the pool's workers, of jobs."""
    files = [*folder.rglob("*.log"), *folder.rglob("*.out"), *folder.rglob("*.err")] if folder.is_dir() else []
    return [file for file in files if file.is_file() and file.stat().st_size]


# --- -f -----------------------------------------------------------------------------------------------------


def _follow(sweep: SweepDir, run: PlannedRun) -> None:
    """Print what comes to the log and to the rows, until the run is at its end."""
    run_dir = sweep.run(run.run_id)
    at, step = _size(run_dir.log_file), _last_step(run_dir)
    while True:
        # Looked at first: what was written before the end is shown still.
        at_end = not look_at(sweep, run).needs_work
        size = _size(run_dir.log_file)
        if size > at:
            with run_dir.log_file.open("rb") as log:
                log.seek(at)
                print(log.read(size - at).decode(errors="replace"), end="", flush=True)
        at = size
        rows = _rows_after(run_dir, min(step, _last_step(run_dir)))  # a resumed run begins before its last row
        for row in rows:
            print("  ".join(f"{name} {word}" for name, word in zip(COLUMNS, row_words(row), strict=True)), flush=True)
        step = rows[-1]["step"] if rows else min(step, _last_step(run_dir))
        if at_end:
            print(f"{named(run)} is at its end", flush=True)
            return
        time.sleep(LOOK_EVERY_S)


def _rows_after(run_dir: RunDir, step: int) -> list[dict[str, Any]]:
    with suppress(ValueError):  # a broken line is told by the attempt that goes on from it
        return [row for row in last_rows(run_dir.metrics_file, 100) if row["step"] > step]
    return []


def _last_step(run_dir: RunDir) -> int:
    with suppress(ValueError):
        return max((row["step"] for row in last_rows(run_dir.metrics_file, 1)), default=-1)
    return -1


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
