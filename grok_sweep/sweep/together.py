"""Runs that one worker trains in lock step: each with its own folder, claim, rows, checkpoints and end.

Whoever looks at a run's folder sees what it has alone. A run that ends, fails, diverges, is cancelled or lost to
another worker leaves; the others go on. Who was together when stands in ensembles/<worker>.jsonl.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from grok_sweep.ensemble import Alone, Ensemble, in_step
from grok_sweep.measures.many import Ready, ready
from grok_sweep.run import TICK_S, Attempt, Seen, Waiting
from grok_sweep.store import append_line
from grok_sweep.train import TrainState

FILL_EVERY_S = 30.0
"""Freed places are filled so often, or once half of them are free: it means to lay the pairs of all anew."""

MEASURED_AT_ONCE = ("cuda",)
"""Devices on which the rows of an ensemble are measured at once. On a CPU it is faster for tiny networks alone, and
has other bits."""


class Member:
    """A run that this process holds.

    Args:
        ended: called once, when it has ended by itself (None) or by an error.

    Attributes:
        waiting: what it was sent last, and what it waits for.
        is_to_leave: it writes its checkpoint when it sees the next state, and is interrupted.
        conditions: what its numbers depend on beside what is its own, in order.
    """

    waiting: Waiting

    def __init__(self, run_id: str, ended: Callable[[BaseException | None], None]) -> None:
        self.run_id, self._ended = run_id, ended
        self.is_to_leave = False
        self.conditions: list[dict[str, Any]] = []

    def begin(self, attempt: Attempt) -> bool:
        """False where it had nothing left to do, or failed."""
        self._attempt = attempt
        return self._goes_on(lambda: next(attempt))

    def see(self, seen: Seen) -> bool:
        """Whether it goes on from this state."""
        return self._goes_on(lambda: self._attempt.send(seen))

    def wants_row(self, state: TrainState) -> bool:
        """Whether it is one of those that it waits for."""
        is_sound = state.objective is not None and math.isfinite(state.objective)
        return self.waiting.row is not None and state.step == self.waiting.step and is_sound

    def fail(self, error: BaseException) -> None:
        """What was raised as it was trained is its own to hear."""
        self._goes_on(lambda: self._attempt.throw(error))

    def abandon(self) -> None:
        """Let go of its files and its claim, without another word: it goes on from its checkpoint."""
        self._attempt.close()
        with suppress(OSError):
            self._ended(None)

    def _goes_on(self, act: Callable[[], Waiting]) -> bool:
        try:
            self.waiting = act()
        except StopIteration:
            self._ended(None)
        except Exception as error:
            self._ended(error)
        else:
            return True
        return False


class Together:
    """The runs of one key that one worker trains at a time.

    Args:
        size: so many at most; less once a step of so many has failed.
        more: up to so many further runs, begun.
        stop: asked between looks; True: every run is shown its state, and leaves by its own hooks.
        file: who was together when, a line each time that changes.
    """

    def __init__(self, size: int, more: Callable[[int], list[Member]], stop: Callable[[], bool], file: Path) -> None:
        self.size = size
        self._more, self._stop, self._file = more, stop, file
        self._filled: float | None = None
        self._came = 0
        self._ensemble: Ensemble | Alone | None = None

    def train(self, first: Member) -> None:
        """Until it, and those that came to it, have ended or left."""
        members = [first]
        try:
            while members:
                members += self._newcomers(len(members))
                try:
                    self._stretch(members)
                except RuntimeError as error:  # OutOfMemoryError is one; cuBLAS and a CPU tell of memory by others
                    self._with_fewer(members, error)
        except BaseException:
            for member in members:
                member.abandon()
            raise

    def _newcomers(self, n: int) -> list[Member]:
        """Who fills the free places beside n members, where it is time to look."""
        if not self._is_to_be_filled(n):
            return []
        came = self._more(self.size - n)
        self._filled, self._came = time.monotonic(), len(came)
        return came

    def _is_to_be_filled(self, n: int) -> bool:
        if n >= self.size or self._stop():
            return False
        if self._filled is None:
            return True
        is_pressing = n <= self.size // 2 and self._came > 0
        return time.monotonic() - self._filled >= (TICK_S if is_pressing else FILL_EVERY_S)

    def _stretch(self, members: list[Member]) -> None:
        """Train until somebody left, or places are to be filled; who left is no longer in the list."""
        self._ensemble = None
        members.sort(key=lambda member: -len(member.waiting.fixed.batch.labels))
        ensemble = in_step([m.waiting.fixed for m in members], [m.waiting.state for m in members])
        self._note(members, ensemble)
        self._ensemble, began = ensemble, [member.waiting.state.step for member in members]
        done, pace, ticked = 0, _Pace(), time.monotonic()
        while True:
            due = [member.waiting.step - step - done for member, step in zip(members, began, strict=True)]
            n_steps = min(*due, pace.steps)
            ensemble.train(n_steps)
            done += n_steps
            is_tick = self._stop() or time.monotonic() - ticked >= TICK_S
            seen = [i for i, left in enumerate(due) if is_tick or left == n_steps]
            states = {i: ensemble.state(i) for i in seen}
            rows = self._rows(members, states)
            gone = [i for i in seen if not members[i].see(Seen(states[i], rows.get(i)))]
            if is_tick:
                ticked = time.monotonic()
            if seen:
                pace.looked(done)
            if gone:
                # All of them look: the next ensemble begins with the states that they have seen.
                unseen = [i for i in range(len(members)) if i not in seen]
                gone += [i for i in unseen if not members[i].see(Seen(ensemble.state(i)))]
                members[:] = [member for i, member in enumerate(members) if i not in gone]
                return
            if is_tick and (came := self._newcomers(len(members))):
                members += came
                return

    def _rows(self, members: Sequence[Member], states: Mapping[int, TrainState]) -> dict[int, Ready]:
        """The rows that are due in these members' states, where it pays to measure them at once."""
        if members[0].waiting.state.weights.device.type not in MEASURED_AT_ONCE:
            return {}
        due = {i: row for i in states if (row := members[i].waiting.row) and members[i].wants_row(states[i])}
        return dict(zip(due, ready([*due.values()], [states[i] for i in due]), strict=True)) if due else {}

    def _note(self, members: Sequence[Member], ensemble: Ensemble | Alone) -> None:
        """Write down who is together, and whether that is in their numbers."""
        is_as_alone = ensemble.is_as_alone()
        names = [member.run_id for member in members]
        told = f"{len(names)} runs, {hashlib.sha256(' '.join(names).encode()).hexdigest()[:12]}"
        for member in members:
            member.conditions.append({} if is_as_alone else {"ensemble": told})
        steps = {member.run_id: member.waiting.state.step for member in members}
        append_line(self._file, {"at": time.time(), "ensemble": told, "is_as_alone": is_as_alone, "steps": steps})

    def _with_fewer(self, members: list[Member], error: BaseException) -> None:
        """Half of them leave, with a checkpoint, for later; one that cannot be trained by itself fails."""
        if len(members) == 1:
            members.pop().fail(error)
            return
        self.size = len(members) // 2
        told = f"{type(error).__name__}: {error}"
        append_line(self._file, {"at": time.time(), "size": self.size, "error": told})
        states = [self._ensemble.state(i) if self._ensemble else m.waiting.state for i, m in enumerate(members)]
        for member in members[self.size :]:
            member.is_to_leave = True
        members[:] = [member for member, state in zip(members, states, strict=True) if member.see(Seen(state))]


class _Pace:
    """How many steps go by until the clock is to be looked at; by how many did since the last look."""

    def __init__(self) -> None:
        self.steps = 1
        self._done, self._at = 0, time.monotonic()

    def looked(self, done: int) -> None:
        """All that was asked of the device is done by now."""
        now = time.monotonic()
        rate = (done - self._done) / max(now - self._at, 1e-6)
        self.steps = max(1, int(rate * TICK_S / 2))
        self._done, self._at = done, now
