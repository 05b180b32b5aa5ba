"""One run in this process, with a bar: what a command without -m does. The worker is the same as a sweep's."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn

from grok_sweep.launchers.devices import shared_out, wrong_here
from grok_sweep.launchers.plan_launcher import PlanLauncher
from grok_sweep.launchers.report import mirrored
from grok_sweep.store import ENDED, PlannedRun, RunDir, State
from grok_sweep.sweep.claims import Claims, describe
from grok_sweep.sweep.command_line import EXIT_DONE, EXIT_INTERRUPTED, EXIT_RUN_FAILED
from grok_sweep.sweep.grid import Plan
from grok_sweep.sweep.interrupt import Interrupt
from grok_sweep.sweep.status import needs_work
from grok_sweep.sweep.words import duration, end_of_log, ending, last_values

if TYPE_CHECKING:
    from grok_sweep.run import Progress as RunProgress

LINE_EVERY_S = 5.0
"""Seconds between plain lines, where standard output is no terminal."""


class Here(PlanLauncher):
    """Trains the plan's one run in this process."""

    def plan_problems(self, plan: Plan) -> list[str]:
        return wrong_here(plan)

    def shares(self, plan: Plan) -> tuple[int, int]:
        return shared_out(1, 1, None)

    def train(self, plan: Plan) -> int:
        """Train until it is done, or until Ctrl-C; returns the exit code."""
        (run,) = plan.runs
        run_dir = plan.sweep.run(run.run_id)
        retry_before = time.time() if plan.options.retry else None
        if not needs_work(run, run_dir, retry_before):
            print(f"nothing left to do: {ending(run_dir)}")
            return _last_lines(run_dir)
        step = run_dir.status().get("step", 0)
        print(f"run {run.run_id} in {run_dir.path}" + (f", continues from step {step}" if step else ""), flush=True)
        with Interrupt() as stop, _bar() as report:
            from grok_sweep.sweep.worker import work  # torch, once it is needed

            state = work(plan.sweep.path, [run.run_id], retry_failed_before=retry_before, stop=stop, report=report)[
                run.run_id
            ]
        return _outcome(plan, run, run_dir, state)


def _outcome(plan: Plan, run: PlannedRun, run_dir: RunDir, state: State | None) -> int:
    """Say how it ended; the exit code."""
    if state is None:
        holder = Claims(plan.sweep, plan.claim_timeout_s).holder(run.run_id)
        by = describe(holder) if holder else "another process"
        print(f"this run is being trained by {by}: left to it", file=sys.stderr)
        return EXIT_RUN_FAILED
    if state in (State.interrupted, State.planned, State.running):
        step = run_dir.status().get("step", 0)
        print(f"interrupted at step {step}; the same command continues")
        return EXIT_INTERRUPTED
    print(ending(run_dir))
    if state in ENDED and run.settings["logger.kind"] == "wandb":
        for line in mirrored([run_dir], f"{shlex.quote(str(run_dir.path))}/"):
            print(line)
    return _last_lines(run_dir)


def _last_lines(run_dir: RunDir) -> int:
    if run_dir.state() is State.failed:
        print(f"Log: {run_dir.log_file}", *(f"    {line}" for line in end_of_log(run_dir)), sep="\n", file=sys.stderr)
        print("the same command with retry=failed trains it again", file=sys.stderr)
        return EXIT_RUN_FAILED
    print(run_dir.path)
    return EXIT_DONE


# --- progress -----------------------------------------------------------------------------------------------


@contextmanager
def _bar() -> Iterator[Callable[[RunProgress], None]]:
    """A function that shows how far the run is: a bar on a terminal, else a line every few seconds."""
    if not sys.stdout.isatty():
        yield _plain_lines()
        return
    with Progress(BarColumn(bar_width=20), TextColumn("{task.description}"), refresh_per_second=2) as bar:
        task = bar.add_task("starting", total=None)

        def show(now: RunProgress) -> None:
            bar.update(task, total=now.n_steps, completed=now.step, description=_line(now))

        yield show


def _plain_lines() -> Callable[[RunProgress], None]:
    spoke: float | None = None

    def show(now: RunProgress) -> None:
        nonlocal spoke
        if spoke is None or time.monotonic() - spoke >= LINE_EVERY_S or now.step == now.n_steps:
            print(_line(now), flush=True)
            spoke = time.monotonic()

    return show


def _line(now: RunProgress) -> str:
    return (
        f"step {now.step}/{now.n_steps}  {last_values(now.row)}  "
        f"{now.steps_per_s:.0f} steps/s  {duration(now.seconds_left)} left"
    )
