"""watch: a sweep as it goes, whoever trains it and wherever: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from grok_sweep.commands.launches import how_to_continue
from grok_sweep.commands.paths import sweep_at
from grok_sweep.commands.status import counted
from grok_sweep.store import SweepDir
from grok_sweep.sweep.command_line import EXIT_INTERRUPTED
from grok_sweep.sweep.display import Display, display
from grok_sweep.sweep.interrupt import Interrupt
from grok_sweep.sweep.progress import Watch
from grok_sweep.sweep.survey import survey
from grok_sweep.sweep.words import some

SHARE_OF_TIME = 0.2
"""Looks take at most so much of the time: over a slow file system, or many runs, they get rarer."""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "watch",
        help="a sweep as it goes, whoever trains it",
        description="Show the runs that are being trained, on whatever machine, and each that ends, until nothing is "
        "left to do. Ctrl-C ends the watch, not the sweep.",
    )
    parser.add_argument("path", type=Path, help="a sweep's folder")
    parser.add_argument("--every-s", type=float, default=2.0, metavar="S", help="seconds between looks (default 2)")
    parser.set_defaults(carry_out=carry_out)


def carry_out(given: argparse.Namespace) -> int:
    """0 once all is done, 1 where some run failed, 130 after Ctrl-C."""
    sweep = sweep_at(given.path)
    watch = Watch(sweep, sweep.plan(), retry_failed=False, of_others=True)
    with Interrupt() as stop, display(watch) as shown:
        shown.say(f"{some(watch.n_runs, 'run')} in {sweep.path}: {watch.n_before} finished before")
        _look_until_nothing_is_left(watch, shown, stop, given.every_s)
    seen = survey(sweep)
    if watch.left:
        print("\n".join([f"no longer watched: {counted(seen)}", *how_to_continue(sweep, seen)]), flush=True)
        return EXIT_INTERRUPTED
    from grok_sweep.launchers.report import last_words

    lines, exit_code = last_words(sweep, [s.run for s in seen], interrupted=False)
    print("\n".join(lines), flush=True)
    return exit_code


def _look_until_nothing_is_left(watch: Watch, shown: Display, stop: Interrupt, every_s: float) -> None:
    planned_at = _changed(watch.sweep)
    known = {run.run_id for run in watch.sweep.plan()}
    is_told = False
    while True:
        began = time.monotonic()
        if (changed := _changed(watch.sweep)) != planned_at:
            new = [run for run in watch.sweep.plan() if run.run_id not in known]
            watch.add(new)
            known.update(run.run_id for run in new)
            planned_at = changed
        look = watch.look()
        shown.show(look)
        if not watch.left or stop():
            return
        if look.running:
            is_told = False
        elif not is_told:
            is_told = True
            seen_now = survey(watch.sweep)
            if not any(seen.is_worked_on for seen in seen_now):
                waiting = f"nobody works on the {some(len(watch.left), 'run')} left; waiting for workers"
                shown.say("\n".join([waiting, *how_to_continue(watch.sweep, seen_now)]))
        took = time.monotonic() - began
        ends = time.monotonic() + max(every_s, took / SHARE_OF_TIME)
        while time.monotonic() < ends and not stop():
            time.sleep(0.1)


def _changed(sweep: SweepDir) -> tuple[int, int]:
    """What tells that plan.jsonl has grown."""
    found = sweep.plan_file.stat()
    return found.st_mtime_ns, found.st_size
