"""cancel: a sweep's workers stopped, with checkpoints, wherever they are; jobs that wait leave SLURM's queue."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grok_sweep.commands.launches import how_to_continue
from grok_sweep.commands.paths import is_sweep, run_at, sweep_at
from grok_sweep.store import PlannedRun, State, SweepDir, read_jsonl
from grok_sweep.sweep.cancel import LOOK_EVERY_S as HEARD_AFTER_S
from grok_sweep.sweep.cancel import ask_to_stop
from grok_sweep.sweep.command_line import EXIT_DONE, EXIT_RUN_FAILED
from grok_sweep.sweep.reopen import reopen
from grok_sweep.sweep.survey import Seen, survey
from grok_sweep.sweep.words import named, some

LOOK_EVERY_S = 0.5


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "cancel",
        help="stop the workers of a sweep, or one run, with checkpoints",
        description="Stop what was launched until now: workers write their checkpoints and leave, on whatever "
        "machine they are, and SLURM jobs that wait are cancelled. Given a run's folder, that run "
        "alone is stopped, and the workers go on with others. The launch command given again continues.",
    )
    parser.add_argument("path", type=Path, help="a sweep's folder, or a run's")
    parser.add_argument(
        "--wait-s", type=float, default=60.0, metavar="S",
        help="seconds to wait for the workers to leave (default 60); then their SLURM jobs are cancelled",
    )  # fmt: skip
    parser.set_defaults(carry_out=carry_out)


def carry_out(given: argparse.Namespace) -> int:
    """0 once nobody works on it; 1 where somebody still does after the wait."""
    if is_sweep(given.path):
        sweep = sweep_at(given.path)
        return _cancel(sweep, None, given.wait_s)
    sweep, run = run_at(given.path)
    return _cancel(sweep, run, given.wait_s)


def _cancel(sweep: SweepDir, run: PlannedRun | None, wait_s: float) -> int:
    runs = sweep.plan() if run is None else [run]
    if not any(s.needs_work or s.is_worked_on for s in survey(sweep, runs)):
        print(f"nothing is left to do in {sweep.path if run is None else named(run)}: nothing was cancelled")
        return EXIT_DONE
    ask_to_stop(sweep.cancel_file if run is None else sweep.run(run.run_id).cancel_file)
    jobs = _slurm_jobs(sweep) if run is None else []
    _scancel(jobs, "--state=PENDING")
    left = _wait(sweep, runs, wait_s)
    if left:
        _scancel(jobs)
    n_freed = sum(_free(sweep, s) for s in survey(sweep, runs) if s.is_left_by_the_dead)
    if n_freed:
        print(f"marked as interrupted, as their workers were gone: {some(n_freed, 'run')}")
    if left:
        print(f"still worked on after {wait_s:.0f} s: {some(len(left), 'run')}", file=sys.stderr)
        for s in left[:10]:
            where = f"pid {s.holder.pid} on {s.holder.host}" if s.holder else ""
            print(f"  {named(s.run)} {where}", file=sys.stderr)
        print("they stop at their next step; cancel again waits again", file=sys.stderr)
        return EXIT_RUN_FAILED
    print(_outcome(sweep, run))
    return EXIT_DONE


def _outcome(sweep: SweepDir, run: PlannedRun | None) -> str:
    seen = survey(sweep)
    if run is not None:
        (one,) = (s for s in seen if s.run.run_id == run.run_id)
        return f"{named(run)} is {one.state.value} at step {one.step}; a launch given from now on continues it"
    n_left = sum(s.needs_work for s in seen)
    if not n_left:
        return f"nothing is left to do in {sweep.path}: nothing was cancelled"
    return "\n".join(
        [f"cancelled: nobody works on {sweep.path}; {some(n_left, 'run')} left", *how_to_continue(sweep, seen)]
    )


def _wait(sweep: SweepDir, runs: Sequence[PlannedRun], wait_s: float) -> list[Seen]:
    """The runs that somebody works on still, after so many seconds at most."""
    # A worker that was between two runs begins the next one before it hears: nobody is nobody for so long.
    ends, last_seen, told = time.monotonic() + wait_s, time.monotonic(), False
    while True:
        left = [s for s in survey(sweep, runs) if s.is_worked_on]
        now = time.monotonic()
        last_seen = now if left else last_seen
        if now >= ends or now - last_seen > HEARD_AFTER_S:
            return left
        if left and not told:
            print(f"stopping {some(len(left), 'run')}: a checkpoint of each is written", flush=True)
            told = True
        time.sleep(LOOK_EVERY_S)


def _free(sweep: SweepDir, seen: Seen) -> bool:
    return reopen(sweep, seen.run, State.running, "cancelled; its worker was gone")


# --- SLURM --------------------------------------------------------------------------------------------------


def _slurm_jobs(sweep: SweepDir) -> list[str]:
    """Ids of the arrays that were submitted for this sweep, whether they are still there or not."""
    lines = read_jsonl(sweep.jobs_file, strict=False)
    return [str(line["job_id"]) for line in lines if line.get("cluster") == "slurm" and "job_id" in line]


def _scancel(jobs: Sequence[str], *options: str) -> None:
    if not jobs:
        return
    if shutil.which("scancel") is None:
        print(
            f"there is no scancel on this machine; on the cluster: scancel {' '.join(jobs)}"
            " (workers that run stop all the same)",
            file=sys.stderr,
        )
        return
    done = subprocess.run(["scancel", *options, *jobs], capture_output=True, text=True)
    # What has ended is no error; anything else is told.
    wrong = [
        line for line in done.stderr.splitlines() if "Invalid job id" not in line and "already complet" not in line
    ]
    if wrong:
        print("\n".join(["scancel: ", *wrong]), file=sys.stderr)
