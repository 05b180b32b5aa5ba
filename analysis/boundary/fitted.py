"""The boundary of a sweep, from its table of runs to f_50 at three budgets. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from analysis.boundary.contours import bracket, quantiles, statuses
from analysis.boundary.design import Design
from analysis.boundary.doubts import Sample, doubts
from analysis.boundary.events import Events, distinct, events
from analysis.boundary.lognormal import Posterior, posterior

BUDGETS = (1 / 3, 1.0, 3.0)
"""Budgets as multiples of the most steps run."""
FASTEST = 0.3
"""Times up to this share of the smallest budget count as "at most that". Far from the boundary networks generalise as
fast as they fit, and ln T no longer falls with frac: such times would turn the line that is fitted through them
(docs/boundary.md)."""
MORE_EVENTS = 1
"""Least events beyond the number of coefficients."""


@dataclass(frozen=True)
class Boundary:
    """The fitted boundary of a sweep.

    Attributes:
        budgets: steps; those beyond events.run_budget are extrapolated.
        fastest: steps; shorter times count as "at most that".
        table: a row for each value of y and budget; columns <y's name>, budget, f_50, low_50, high_50, low_90,
            high_90, bracket_low, bracket_high (train fractions; null where not identified), status, extrapolated.
        notes: what a reader of the table must know.
        design, fit: None where nothing could be fitted.
        reason: why not, "" where it could.
    """

    events: Events
    budgets: tuple[int, ...]
    fastest: int
    table: pl.DataFrame
    notes: tuple[str, ...]
    design: Design | None
    fit: Posterior | None
    reason: str


def fit_boundary(
    runs: pl.DataFrame,
    event: str = "t_test",
    y: str | None = None,
    swept: Sequence[str] = (),
    budgets: Sequence[int] | None = None,
    fastest: float = FASTEST,
) -> Boundary:
    """Fit the times of a sweep's runs and draw the boundary at three budgets.

    Args:
        runs, event, y, swept: as in `events`.
        budgets: steps; None: a third of the most steps run, these, and three times as many.
        fastest: times up to this share of the smallest budget count as "at most that"; 0: none do.

    Raises:
        ValueError: as in `events`; a budget that is not positive.
    """
    found = events(runs, event, y, swept)
    steps = tuple(budgets or (max(1, round(found.run_budget * share)) for share in BUDGETS))
    if any(budget < 1 for budget in steps):
        raise ValueError(f"budgets of the boundary must be at least 1 step, got {', '.join(map(str, steps))}")
    sample = Sample.of(found, max(1, round(fastest * min(steps))))
    reason, design, fit = _why_no_fit(sample), None, None
    if not reason:
        design = Design.of(sample.frac, sample.other)
        rows = design.rows(sample.frac, sample.other)
        fit = posterior(sample.times, rows, sample.seeds, design.prior(found.run_budget))
    rows = [row for budget in steps for row in _rows(found, design, fit, reason, budget)]
    table = pl.DataFrame(rows, schema=_schema(found.name), orient="row")
    return Boundary(found, steps, sample.fastest, table, doubts(sample, design, fit, table), design, fit, reason)


def _why_no_fit(sample: Sample) -> str:
    """Why no line can be fitted; "" where one can."""
    found, fast = sample.events, int((sample.upper <= sample.fastest).sum())
    if not len(found.other):
        return f"no run has a {found.event} to wait for"
    if not len(sample.frac):
        return f"every run has {found.name} 0, which has no logarithm"
    if len(distinct(sample.frac)) < 2:
        return "one train fraction"
    if not np.isfinite(sample.upper).any():
        return f"no run got there within {found.run_budget:,} steps"
    if fast == len(sample.upper):
        return f"every run got there within {sample.fastest:,} steps"
    n, needed = int(sample.timed.sum()), len(Design.of(sample.frac, sample.other).terms) + MORE_EVENTS
    if n < needed:
        after = f" after more than {sample.fastest:,} steps" if fast else ""
        return f"too few events: {n} run{'s' if n != 1 else ''} got there{after}, {needed} are needed"
    return "" if len(distinct(sample.frac[sample.timed])) > 1 else "events at one train fraction only"


# --- table --------------------------------------------------------------------------------------------------


def _schema(name: str) -> dict[str, Any]:
    numbers = ("f_50", "low_50", "high_50", "low_90", "high_90", "bracket_low", "bracket_high")
    ends = {"status": pl.String, "extrapolated": pl.Boolean}
    return {name: pl.Float64, "budget": pl.Int64, **dict.fromkeys(numbers, pl.Float64), **ends}


def _rows(
    found: Events, design: Design | None, fit: Posterior | None, reason: str, budget: int
) -> Iterator[tuple[Any, ...]]:
    """The table's rows for one budget."""
    known, status = np.array([y for y in distinct(found.other) if y > 0]), dict[float, str]()
    lines: dict[float, list[float]] = {}
    if design is not None and fit is not None:
        columns = quantiles(design, fit, known, budget)
        status = dict(zip(known.tolist(), statuses(found, design, fit, known, columns), strict=True))
        ends = np.stack([columns[name] for name in ("f_50", "low_50", "high_50", "low_90", "high_90")], axis=1)
        lines = dict(zip(known.tolist(), ends.tolist(), strict=True))
    for y in distinct(found.other):
        why = status.get(y, reason) if y > 0 else f"{found.name} 0 has no logarithm"
        values = [None] * 5 if why else lines[y]
        beyond = values[0] is not None and (budget > found.run_budget or not _is_swept(found, values[0]))
        low, high = bracket(found, y, budget) or (None, None)
        yield (y, budget, *values, low, high, f"not identified: {why}" if why else "identified", beyond)


def _is_swept(found: Events, f_50: float) -> bool:
    frac = found.frac[found.positive]
    return bool(frac.min() <= f_50 <= frac.max())
