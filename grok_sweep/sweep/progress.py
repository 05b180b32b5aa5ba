"""How far the runs of a sweep are, read from their folders: who trains them, and where, does not matter. No torch."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from grok_sweep.store import PlannedRun, State, SweepDir, last_row, last_rows
from grok_sweep.sweep.claims import Claims
from grok_sweep.sweep.status import has_work, needs_work
from grok_sweep.sweep.survey import LATELY_ROWS


@dataclass
class RunProgress:
    """One run, as last seen.

    Attributes:
        row: its last logged row.
        steps_per_s: over the rows seen since the watch began; None until there are two.
        file: which status.json was read last: by its time and number, so that one that stays is read once.
    """

    run: PlannedRun
    state: State = State.planned
    status: dict[str, Any] = field(default_factory=lambda: {"state": State.planned.value})
    row: dict[str, Any] = field(default_factory=dict)
    steps_per_s: float | None = None
    first_row: dict[str, Any] = field(default_factory=dict)
    file: tuple[int, int] | None = None

    @property
    def step(self) -> int:
        return max(self.status.get("step", 0), self.row.get("step", 0))

    @property
    def n_steps(self) -> int:
        return self.run.settings["n_steps"]

    @property
    def seconds_left(self) -> float | None:
        """To n_steps; a stop rule may end the run before."""
        return (self.n_steps - self.step) / self.steps_per_s if self.steps_per_s else None

    def read_row(self, row: dict[str, Any] | None) -> None:
        if row is None:
            return
        self.row = row
        self.first_row = self.first_row or row
        steps, seconds = (row[name] - self.first_row[name] for name in ("step", "seconds"))
        if steps > 0 and seconds > 0:
            self.steps_per_s = steps / seconds


@dataclass(frozen=True)
class Look:
    """What one look found.

    Attributes:
        started: runs first seen in training since the last look.
        ended: runs that ended since the last look.
        running: runs in training now, in the plan's order.
    """

    started: list[RunProgress]
    ended: list[RunProgress]
    running: list[RunProgress]


class Watch:
    """Looks at a list of runs again and again; cheap, as only runs that somebody has claimed are read.

    Args:
        of_others: show every run that a living worker holds, whoever launched it. False: those that began to train
            since the watch did, which are this launch's.

    Attributes:
        began: time (Unix) from which on a state counts as this launch's.
        left: the runs that are not at their end, by id.
        ended: those that came to an end under the watch.
        n_before: how many had nothing left to do when it began.
    """

    def __init__(
        self, sweep: SweepDir, runs: Sequence[PlannedRun], retry_failed: bool, of_others: bool = False
    ) -> None:
        self.sweep = sweep
        self.began = time.time()
        self._retry_failed, self.of_others = retry_failed, of_others
        self.n_runs = len(runs)
        self.left = {run.run_id: RunProgress(run) for run in runs if self._needs_work(run)}
        self.ended: list[RunProgress] = []
        self.n_before = self.n_runs - len(self.left)
        self._seen_running: set[str] = set()

    def add(self, runs: Sequence[PlannedRun]) -> None:
        """Watch these too: the plan has grown."""
        self.left |= {run.run_id: RunProgress(run) for run in runs if self._needs_work(run)}
        self.n_runs += len(runs)
        self.n_before = self.n_runs - len(self.left) - len(self.ended)

    @property
    def retry_failed_before(self) -> float | None:
        return self.began if self._retry_failed else None

    def look(self) -> Look:
        started, ended, running = [], [], []
        for run_id in self.claimed():
            view = self.left[run_id]
            self._read_status(view)
            if not has_work(view.run, view.status, self.retry_failed_before):
                self._read_row(view)
                self.ended.append(self.left.pop(run_id))
                ended.append(view)
            elif self._is_running(view):
                self._read_row(view)
                running.append(view)
                if run_id not in self._seen_running:
                    self._seen_running.add(run_id)
                    started.append(view)
        return Look(started, ended, running)

    def count(self, state: State) -> int:
        """Runs that came to this end under the watch."""
        return sum(view.state is state for view in self.ended)

    def seconds_left(self, running: Sequence[RunProgress]) -> float | None:
        """Until every run is at its n_steps, at the present speed; None while that is not known."""
        speed = sum(view.steps_per_s or 0.0 for view in running)
        if not speed:
            return None
        steps = sum(view.n_steps - view.step for view in self.left.values())
        return max([steps / speed, *(view.seconds_left or 0.0 for view in running)])

    def claimed(self) -> list[str]:
        """The runs that are left and that somebody has, or had, a claim on."""
        try:
            claimed = set(os.listdir(self.sweep.claims))
        except FileNotFoundError:
            return []
        return [run_id for run_id in self.left if run_id in claimed]

    def _needs_work(self, run: PlannedRun) -> bool:
        return needs_work(run, self.sweep.run(run.run_id), self.retry_failed_before)

    def _is_running(self, view: RunProgress) -> bool:
        if view.state is not State.running:
            return False
        if not self.of_others:
            return view.status["updated"] >= self.began
        timeout_s = float(view.run.settings["claim_timeout_s"])
        holder = Claims(self.sweep, timeout_s).holder(view.run.run_id)
        return holder is not None and holder.is_alive(timeout_s)

    def _read_status(self, view: RunProgress) -> None:
        run_dir = self.sweep.run(view.run.run_id)
        try:
            found = os.stat(run_dir.status_file)
        except FileNotFoundError:
            return
        # The same file, written over where the disk is full, has another time.
        file = (found.st_mtime_ns, found.st_ino)
        if file != view.file:
            view.status = run_dir.status()
            view.state, view.file = State(view.status["state"]), file

    def _read_row(self, view: RunProgress) -> None:
        metrics_file = self.sweep.run(view.run.run_id).metrics_file
        with suppress(ValueError):  # a broken line is told by the attempt that goes on from it
            if self.of_others and not view.first_row:  # its speed is known from what it logged before
                view.read_row(next(iter(last_rows(metrics_file, LATELY_ROWS)), None))
            view.read_row(last_row(metrics_file))
