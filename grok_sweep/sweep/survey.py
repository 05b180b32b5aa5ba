"""A sweep at one moment: the state of every run, who holds which, and how fast it goes. Reads only. No torch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from grok_sweep.store import ENDED, PlannedRun, RunDir, State, SweepDir, last_rows
from grok_sweep.sweep.claims import Claims, Holder
from grok_sweep.sweep.status import has_work

LATELY_S = 3600.0
"""Seconds that count as lately."""
LATELY_ROWS = 8
"""Rows from which a run's present speed is taken: its last ones."""


@dataclass(frozen=True)
class Seen:
    """One run, as it was seen.

    Attributes:
        status: status.json; of one that cannot be read, state failed with the reason as its error.
        holder: who holds it, alive or not; None: it is free, or at its end.
    """

    run: PlannedRun
    status: dict[str, Any]
    holder: Holder | None = None

    @property
    def state(self) -> State:
        return State(self.status["state"])

    @property
    def is_worked_on(self) -> bool:
        return self.holder is not None and self.holder.is_alive(float(self.run.settings["claim_timeout_s"]))

    @property
    def is_left_by_the_dead(self) -> bool:
        """running by its status, but nobody is there: the next worker goes on with it."""
        return self.state is State.running and not self.is_worked_on

    @property
    def needs_work(self) -> bool:
        return has_work(self.run, self.status)

    @property
    def step(self) -> int:
        return self.status.get("step", 0)

    @property
    def n_steps(self) -> int:
        return self.run.settings["n_steps"]


def survey(sweep: SweepDir, runs: Sequence[PlannedRun] | None = None) -> list[Seen]:
    """The runs of the plan, or these of them, in their order. Claims are read of those that are not at their end."""
    runs = sweep.plan() if runs is None else runs
    return [
        _seen(sweep, run, status) for run, status in zip(runs, sweep.statuses(r.run_id for r in runs), strict=True)
    ]


def look_at(sweep: SweepDir, run: PlannedRun) -> Seen:
    """One run."""
    return survey(sweep, [run])[0]


def workers(all_seen: Sequence[Seen]) -> list[Holder]:
    """Who works on these runs, each worker once: it may train several together."""
    return list({s.holder.process: s.holder for s in all_seen if s.holder and s.is_worked_on}.values())


def _seen(sweep: SweepDir, run: PlannedRun, status: dict[str, Any] | ValueError) -> Seen:
    if isinstance(status, ValueError):
        status = {"state": State.failed.value, "error": f"unreadable: {status}", "updated": 0.0}
    if State(status["state"]) in ENDED and not has_work(run, status):
        return Seen(run, status)
    return Seen(run, status, Claims(sweep, float(run.settings["claim_timeout_s"])).holder(run.run_id))


# --- speed --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pace:
    """How a run goes that somebody works on.

    Attributes:
        row: its last row; {} before the first.
        steps_per_s: over its last rows; None until there are two.
    """

    seen: Seen
    row: dict[str, Any]
    steps_per_s: float | None

    @property
    def step(self) -> int:
        return max(self.seen.step, self.row.get("step", 0))

    @property
    def seconds_left(self) -> float | None:
        """To n_steps; a stop rule may end the run before."""
        return (self.seen.n_steps - self.step) / self.steps_per_s if self.steps_per_s else None


def pace(run_dir: RunDir, seen: Seen) -> Pace:
    rows: list[dict[str, Any]] = []
    with suppress(ValueError):  # a broken line is told by the attempt that goes on from it
        rows = last_rows(run_dir.metrics_file, LATELY_ROWS)
    if not rows:
        return Pace(seen, {}, None)
    steps, seconds = (rows[-1].get(name, 0) - rows[0].get(name, 0) for name in ("step", "seconds"))
    return Pace(seen, rows[-1], steps / seconds if steps > 0 and seconds > 0 else None)


def runs_per_hour(all_seen: Sequence[Seen], now: float | None = None) -> float | None:
    """How many runs came to an end an hour, by those that did lately; None where fewer than two did."""
    now = time.time() if now is None else now
    ends = sorted(s.status.get("updated", 0.0) for s in all_seen if s.state in (*ENDED, State.failed))
    lately = [end for end in ends if now - LATELY_S <= end <= now]
    if len(lately) < 2 or now <= lately[0]:
        return None
    return (len(lately) - 1) / (now - lately[0]) * 3600


def seconds_left(all_seen: Sequence[Seen], paces: Sequence[Pace]) -> float | None:
    """Until every run that is to be trained is at its n_steps, at the present speed; None while that is not known."""
    speed = sum(p.steps_per_s or 0.0 for p in paces)
    if not speed:
        return None
    reached = {p.seen.run.run_id: p.step for p in paces}
    left = [s for s in all_seen if s.needs_work]
    steps = sum(max(0, s.n_steps - reached.get(s.run.run_id, s.step)) for s in left)
    return max([steps / speed, *(p.seconds_left or 0.0 for p in paces)])
