"""The rule: where a run's boundaries lie, for many versions of its curves at once.

B0  first train accuracy >= .99.
B1  end of memorization: the minimum of ln excluded loss after B0, if it later rises by ln 3 or more and to .1 nats or
    more above the train loss.
B2  start of cleanup: first restricted loss <= .005 ln p; the circuit alone suffices.
B3  end of cleanup: 95 % of the fall of the sum of squares from B2 to its plateau.

The paper put its boundaries in by eye; the rule was frozen before it met runs of ours (docs/decisions.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

ACCURACY = 0.99
RISE = math.log(3)
ABOVE_TRAIN = 0.1
SUFFICES = 0.005
"""Share of ln p, the loss of a network that knows nothing."""
FALLEN = 0.95
FACTORS = (0.5, 2.0)
"""By which the thresholds on losses (RISE, ABOVE_TRAIN, SUFFICES) are varied. The two shares have no double."""
STRETCH = 0.2
"""The plateau is judged by this last share of the time since B2: its mean, less half of what it lies below the
stretch before. By half as much, about, an exponential that is nearly there falls on."""
SETTLED = 0.02
"""It is one where the two stretches differ by no more than this share of the fall."""
LEAST_FALL = 0.05
"""Share of the sum of squares at B2 below which it does not fall."""
STRETCH_ROWS = 3


@dataclass(frozen=True)
class Found:
    """A boundary in each draw.

    Attributes:
        row: of its series, -1 where it is not found.
        x: ln t of that row; inf where not found.
        left, right: ln t between which the boundary lies as far as the logged rows can tell.
    """

    row: Ints
    x: Floats
    left: Floats
    right: Floats


def crossing(x: Floats, holds: Bools, before: float) -> Found:
    """First row at which something holds: the boundary lies after the row before it, at the latest at that row.

    Args:
        x: [n] ln t.
        holds: [draws, n].
        before: ln t of what was logged before the first row.
    """
    row = np.where(holds.any(1), holds.argmax(1), -1)
    earlier = np.concatenate([[before], x])[row]
    return _found(row, x, earlier, x[row])


def nowhere(n_draws: int) -> Found:
    """Where a curve is missing."""
    inf = np.full(n_draws, np.inf)
    return Found(np.full(n_draws, -1), inf, inf, inf)


def _found(row: Ints, x: Floats, left: Floats, right: Floats) -> Found:
    known = row >= 0
    inf = np.full(len(row), np.inf)
    return Found(row, np.where(known, x[row], inf), np.where(known, left, inf), np.where(known, right, inf))


def fitted(x: Floats, train_acc: Floats, before: float) -> Found:
    """B0, by train accuracy [draws, n]."""
    return crossing(x, train_acc >= ACCURACY, before)


def end_of_memorization(x: Floats, log_excluded: Floats, train_loss: Floats, b0: Found, factor: Floats) -> Found:
    """B1.

    Args:
        log_excluded: [draws, n] ln excluded loss, smooth enough for a minimum.
        train_loss: [n] nats, at the same steps.
        factor: [draws] on the thresholds.
    """
    n = len(x)
    after = x >= b0.x[:, None]
    row = np.where(after, log_excluded, np.inf).argmin(1)
    lowest = np.take_along_axis(log_excluded, row[:, None], 1)
    high = np.exp(np.minimum(log_excluded, 700)) >= train_loss + ABOVE_TRAIN * factor[:, None]
    risen = high & (log_excluded - lowest >= RISE * factor[:, None]) & (np.arange(n) > row[:, None])
    row = np.where(after.any(1) & risen.any(1), row, -1)
    left = np.maximum(x[np.maximum(row - 1, 0)], b0.x)
    left = np.where(row == 0, b0.x, left)
    return _found(row, x, np.minimum(left, x[row]), x[np.minimum(row + 1, n - 1)])


def start_of_cleanup(x: Floats, log_restricted: Floats, p: int, factor: Floats, before: float) -> Found:
    """B2, by ln restricted loss [draws, n]."""
    return crossing(x, log_restricted <= np.log(SUFFICES * factor * math.log(p))[:, None], before)


def end_of_cleanup(x: Floats, sum_sq: Floats, x2: Floats) -> tuple[Found, Bools]:
    """B3, by the sum of squares [draws, n]; and where it has settled without having fallen (absent).

    Args:
        x2: [draws] ln t of B2, from where the fall is counted; inf where there is none.
    """
    n = len(x)
    known = x2 <= x[-1]
    t, t2 = np.exp(x), np.exp(np.where(known, x2, x[-1]))
    last = np.searchsorted(t, t2 + (1 - STRETCH) * (t[-1] - t2))
    last = np.clip(last, 0, max(n - STRETCH_ROWS, 0))
    previous = np.searchsorted(t, t2 + (1 - 2 * STRETCH) * (t[-1] - t2))
    previous = np.clip(np.minimum(previous, last - STRETCH_ROWS), 0, None)
    sums = np.concatenate([np.zeros((len(sum_sq), 1)), sum_sq.cumsum(1)], axis=1)
    late = _mean(sums, last, np.full_like(last, n))
    drop = _mean(sums, previous, last) - late
    plateau = late - drop / 2
    level, start = _at(x, sum_sq, np.log(t2))
    fall = level - plateau
    enough = known & (previous >= start) & (last > previous)
    settled = enough & (np.abs(drop) <= SETTLED * np.maximum(fall, 2 * LEAST_FALL * level))
    falls = fall > LEAST_FALL * level
    done = (sum_sq <= (plateau + (1 - FALLEN) * fall)[:, None]) & (x > x2[:, None])
    found = crossing(x, done & (settled & falls)[:, None], x[0])
    return found, settled & ~falls


def _mean(sums: Floats, start: Ints, stop: Ints) -> Floats:
    """Of the rows start <= i < stop, from cumulative sums [draws, n + 1]."""
    total = np.take_along_axis(sums, stop[:, None], 1) - np.take_along_axis(sums, start[:, None], 1)
    return total[:, 0] / np.maximum(stop - start, 1)


def _at(x: Floats, y: Floats, where: Floats) -> tuple[Floats, Ints]:
    """The curves [draws, n] at ln t = where [draws], linear between rows; and the row at or after it."""
    after = np.clip(np.searchsorted(x, where), 0, len(x) - 1)
    before = np.maximum(after - 1, 0)
    gap = x[after] - x[before]
    share = np.where(gap > 0, (where - x[before]) / np.where(gap > 0, gap, 1), 1.0)
    share = np.clip(share, 0, 1)
    draws = np.arange(len(y))
    return (1 - share) * y[draws, before] + share * y[draws, after], after
