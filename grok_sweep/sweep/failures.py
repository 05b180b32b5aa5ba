"""How many runs of a list have failed since a moment, whoever trained them: asked again and again. No torch."""

from __future__ import annotations

import time
from collections.abc import Sequence

from grok_sweep.store import ENDED, State, SweepDir

LOOK_EVERY = 20.0
"""Looks at what others did take at most one part in so many of the time: ten thousand states are read in a second."""


FIRST_LOOK_S = 1.0


class Failures:
    """Failures since a time (time.time()), or since it was made (None). Those of this process count at once, others'
    with the next look."""

    def __init__(self, sweep: SweepDir, run_ids: Sequence[str], since: float | None = None) -> None:
        self._sweep, self._began = sweep, time.time() if since is None else since
        self._open = set(run_ids)
        self._failed: set[str] = set()
        self._next_look = time.monotonic() + (FIRST_LOOK_S if since is None else 0.0)

    def ended(self, run_id: str) -> None:
        """A run that this process has just trained."""
        self._look_at(run_id)

    def count(self) -> int:
        began = time.monotonic()
        if began >= self._next_look:
            for run_id in list(self._open):
                self._look_at(run_id)
            now = time.monotonic()
            self._next_look = now + LOOK_EVERY * (now - began)
        return len(self._failed)

    def _look_at(self, run_id: str) -> None:
        status = self._sweep.run(run_id).status()
        state = State(status["state"])
        if state is State.failed and status["updated"] >= self._began:
            self._failed.add(run_id)
        if state in ENDED or run_id in self._failed:
            self._open.discard(run_id)
