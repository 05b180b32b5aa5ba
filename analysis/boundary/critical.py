"""Whether there is a train fraction below which no time is long enough: ln t = A - gamma ln(f - f_c). Pure.

A critical fraction is reported only where the profile likelihood excludes f_c = 0, a plain power law. Slow and never
look alike near the end of what was run, so that it rarely does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy.special import fdtri

from analysis.boundary.events import Events, distinct
from analysis.boundary.fitted import Boundary
from analysis.boundary.likelihood import Array, Intervals
from analysis.boundary.lognormal import Normal, mode

EXCLUDED_AT = 0.99
"""Confidence at which f_c = 0 must be excluded: that below some fraction none ever gets there is a strong claim."""
INTERVAL = 0.9
PRIOR = Normal(np.array([9.0, 2.0]), np.array([10.0, 10.0]))
"""Of A and gamma; as good as flat."""
TAU = 0.4
"""Standard deviation of the seed effect: fixed, for seeds shift all fractions alike."""
GRID, COARSE = 81, 17
"""Values of f_c; the coarse ones first, which mostly suffice to see that f_c = 0 fits as well."""
FEWEST = 4
"""Least fractions with an event: one more than A, gamma and f_c could pass through."""

SCHEMA = {"f_c": pl.Float64, "low_90": pl.Float64, "high_90": pl.Float64, "gamma": pl.Float64, "status": pl.String}


@dataclass(frozen=True)
class Profile:
    """Twice the fall of the log-likelihood from its maximum, over f_c.

    Attributes:
        f_c, fall, gamma: [n]; f_c from 0 to just below the smallest fraction with an event.
        n_events, n_parameters: what the thresholds depend on.
    """

    f_c: Array
    fall: Array
    gamma: Array
    n_events: int
    n_parameters: int

    def threshold(self, confidence: float) -> float:
        """Of `fall`: exact for uncensored normal errors, where few points make that of chi² too small."""
        rest = max(self.n_events - self.n_parameters, 1)
        return self.n_events * float(np.log1p(fdtri(1, rest, confidence) / rest))

    def interval(self, confidence: float) -> tuple[float, float]:
        inside = self.f_c[self.fall <= self.threshold(confidence)]
        return float(inside.min()), float(inside.max())


def critical_fractions(boundary: Boundary) -> pl.DataFrame:
    """A row for each value of the second setting: <name>, f_c, low_90, high_90, gamma, status.

    Times too short for the boundary's line count as "at most that" here too: taken at their word they would bend any
    sweep into a critical fraction (docs/boundary.md).
    """
    found, fastest = boundary.events, boundary.fastest
    rows = [(y, *_row(found, y, fastest)) for y in distinct(found.other)]
    return pl.DataFrame(rows, schema={found.name: pl.Float64, **SCHEMA}, orient="row")


def _row(found: Events, y: float, fastest: float) -> tuple[Any, ...]:
    here = found.other == y
    n = len(set(found.frac[here & np.isfinite(found.upper) & (found.upper > fastest)].tolist()))
    if n < FEWEST:
        return (*[None] * 4, _too_few(fastest))
    curve = profile(found, y, fastest, COARSE)
    if curve.fall[0] > curve.threshold(EXCLUDED_AT) / 2:
        curve = profile(found, y, fastest)
    if curve.fall[0] <= curve.threshold(EXCLUDED_AT):
        return (*[None] * 4, "not identified: a power law without a critical fraction fits too")
    best = int(curve.fall.argmin())
    return (float(curve.f_c[best]), *curve.interval(INTERVAL), float(curve.gamma[best]), "identified")


def _too_few(fastest: float) -> str:
    return f"not identified: fewer than {FEWEST} train fractions where a run got there in more than {fastest:,} steps"


def profile(found: Events, y: float, fastest: float = 1.0, n: int = GRID) -> Profile:
    """The profile at one value of the second setting."""
    here = found.other == y
    frac, seeds = found.frac[here], found.seeds[here]
    seeds = seeds[:, seeds.any(axis=0)]
    times = Intervals.of_steps(found.lower[here], found.upper[here], fastest)
    seen = np.isfinite(times.high)
    top = frac[seen].min()
    # Denser towards that fraction, where ln(f - f_c) changes fastest.
    grid = top - np.geomspace(top, top * 1e-3, n)
    fits, start = [], None
    for f_c in grid:
        above = frac > f_c
        design = np.column_stack([np.ones(above.sum()), -np.log(frac[above] - f_c)])
        # Runs at or below f_c never get there: they were censored for certain and add nothing.
        found_here = mode(Intervals(times.low[above], times.high[above]), design, seeds[above], PRIOR, TAU, start)
        start = found_here.theta
        fits.append(found_here)
    value = np.array([one.log_penalised for one in fits])
    gamma = np.array([one.theta[1] for one in fits])
    n_parameters = 4 + seeds.shape[1] - 1
    return Profile(grid, 2 * (value.max() - value), gamma, int((np.isfinite(times.low) & seen).sum()), n_parameters)
