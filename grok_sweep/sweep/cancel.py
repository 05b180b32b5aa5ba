"""cancel.json: the word that a sweep, or one run of it, is to stop; and how workers hear it. No torch.

The file says when that was asked. It stops whatever was asked for before: a launch given later goes on, so nothing
has to be cleared away.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

from grok_sweep.store import SweepDir, read_json, write_json

LOOK_EVERY_S = 1.0


def ask_to_stop(file: Path) -> float:
    """Write the word into a sweep's or a run's cancel_file; the time (Unix) that it bears."""
    asked = time.time()
    write_json(file, {"asked": asked})
    return asked


def is_cancelled(file: Path, since: float) -> bool:
    """Whether somebody has asked to stop what was asked for at `since` (Unix time)."""
    try:
        written = file.stat().st_mtime
    except FileNotFoundError:
        return False
    try:
        word = read_json(file) or {}
    except ValueError:  # whatever was written by hand: stopping is what it is there for
        word = {}
    return float(word.get("asked", written)) > since


class Cancelled:
    """Whether the work that was asked for at a time is cancelled, by now; cheap enough to be asked at every step.

    Args:
        since: when the work was asked for, Unix time.
    """

    def __init__(self, sweep: SweepDir, since: float) -> None:
        self._sweep, self._since = sweep, since
        self._said: dict[Path, tuple[float, bool]] = {}

    def sweep(self) -> bool:
        return self._look(self._sweep.cancel_file)

    def run(self, run_id: str) -> bool:
        return self._look(self._sweep.run(run_id).cancel_file)

    def _look(self, file: Path) -> bool:
        now = time.monotonic()
        looked, said = self._said.get(file, (-math.inf, False))
        if said or now - looked < LOOK_EVERY_S:
            return said
        said = is_cancelled(file, self._since)
        self._said[file] = now, said
        return said
