"""Curves over ln t: spikes taken out, a local quadratic, and its residuals drawn anew."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MEDIAN_REACH = 0.04
"""Half width of the rolling median in ln t; at least MEDIAN_ROWS rows to each side."""
MEDIAN_ROWS = 2
FARTHEST = 0.25
"""In ln t: where MEDIAN_ROWS rows reach further, a spike cannot be told from the curve, and is left."""
SPIKE = 5.0
"""A row this many robust standard deviations from the rolling median is on a spike."""


def despiked(x: Floats, y: Floats, least: float) -> Floats:
    """The curve with the rolling median in the place of spikes; elsewhere as it is, so that no minimum is flattened.

    Args:
        x: ln t, ascending.
        least: no smaller difference from the rolling median is a spike.
    """
    if len(y) < 2 * MEDIAN_ROWS + 1:
        return y
    median = _rolling_median(x, y)
    away = np.where(_reach(x, MEDIAN_ROWS) <= FARTHEST, np.abs(y - median), 0.0)
    spread = 1.4826 * float(np.median(away))
    return np.where(away > max(SPIKE * spread, least), median, y)


def _rolling_median(x: Floats, y: Floats) -> Floats:
    """Over as many rows on the left as on the right, fewer near the ends."""
    n = len(y)
    at = np.arange(n)
    left = at - np.searchsorted(x, x - MEDIAN_REACH, side="left")
    right = np.searchsorted(x, x + MEDIAN_REACH, side="right") - 1 - at
    reach = np.maximum(np.minimum(left, right), MEDIAN_ROWS)
    reach = np.minimum(reach, np.minimum(at, n - 1 - at))
    offsets = np.arange(-reach.max(), reach.max() + 1)
    window = y[np.clip(at[:, None] + offsets, 0, n - 1)]
    # As many at -inf as at +inf: they leave the median as it is.
    window = np.where(np.abs(offsets) <= reach[:, None], window, np.where(offsets < 0, -np.inf, np.inf))
    return np.median(window, axis=1)


def _reach(x: Floats, rows: int) -> Floats:
    """How far, in ln t, the rows on each side lie, the farther of the two."""
    at = np.arange(len(x))
    return np.maximum(x[np.minimum(at + rows, len(x) - 1)] - x, x - x[np.maximum(at - rows, 0)])


def local_quadratic(x: Floats, half_width: float, rows: int) -> Floats:
    """The matrix [n, n] that takes a curve to its local quadratic in x: tricube weights, least squares. Not to be
    written to: runs of a sweep, logged at the same steps, share it.

    Args:
        half_width: of the window, in ln t; it holds at least the 2 `rows` rows nearest to its middle.
    """
    return _local_quadratic(x.tobytes(), half_width, rows)


@lru_cache(maxsize=32)
def _local_quadratic(x_bytes: bytes, half_width: float, rows: int) -> Floats:
    x = np.frombuffer(x_bytes)
    n = len(x)
    distance = np.abs(x[None, :] - x[:, None])
    nearest = np.sort(distance, axis=1)[:, min(2 * rows, n - 1)]
    # Beyond the last row of the window, which else would weigh nothing.
    width = 1.01 * np.maximum(nearest, half_width)
    u = (x[None, :] - x[:, None]) / width[:, None]
    weights = np.clip(1 - np.abs(u) ** 3, 0, None) ** 3
    powers = np.stack([np.ones_like(u), u, u * u], axis=-1)
    weighted = weights[..., None] * powers
    gram = np.einsum("ija,ijb->iab", weighted, powers)
    first = np.linalg.solve(gram + 1e-10 * np.eye(3), np.tile(np.array([[1.0], [0.0], [0.0]]), (n, 1, 1)))[..., 0]
    smoother = np.einsum("ija,ia->ij", weighted, first)
    smoother.flags.writeable = False
    return smoother


NEAR = 25
"""Rows from within which a block of residuals comes."""


@dataclass(frozen=True)
class Curve:
    """A curve without its spikes, and how it is smoothed.

    Attributes:
        smoother: of `local_quadratic`.
    """

    x: Floats
    y: Floats
    smoother: Floats

    @staticmethod
    def of(x: Floats, y: Floats, least_spike: float, half_width: float, rows: int) -> Curve:
        return Curve(x, despiked(x, y, least_spike), local_quadratic(x, half_width, rows))

    def draws(self, n_draws: int, generator: Generator) -> Floats:
        """[n_draws, n]: the local quadratic and, on top, blocks of residuals moved along the curve.

        A moving-block bootstrap: blocks keep what neighbouring rows share; each comes from within NEAR rows of where
        it is put, for late rows are quieter than early ones. Residuals are divided by sqrt(1 - leverage): so much
        the fit took from them.
        """
        n = len(self.y)
        fit = self.smoother @ self.y
        residuals = (self.y - fit) / np.sqrt(np.clip(1 - np.diag(self.smoother), 0.05, None))
        length = max(3, round(n ** (1 / 3)))
        moved = generator.integers(-NEAR, NEAR + 1, (n_draws, -(-n // length)))
        return fit + residuals[_inside(np.arange(n) + np.repeat(moved, length, axis=1)[:, :n], n)]


def _inside(index: Ints, n: int) -> Ints:
    """Positions beyond an end, reflected."""
    index = np.abs(index) % (2 * (n - 1))
    return np.minimum(index, 2 * (n - 1) - index)
