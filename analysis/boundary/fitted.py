"""The boundary of a sweep, from its table of runs to f_50 at three budgets. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import t as student_t

from analysis.boundary.contours import bracket, quantiles, statuses
from analysis.boundary.design import Design
from analysis.boundary.events import Events, distinct, events
from analysis.boundary.lognormal import Array, Intervals, Normal, Posterior, mode, posterior

BUDGETS = (1 / 3, 1.0, 3.0)
"""Budgets as multiples of the most steps run."""
MORE_EVENTS = 3
"""Least events beyond the number of coefficients."""
FASTEST = 0.3
"""Times up to this share of the smallest budget count as "at most that". Far from the boundary networks generalise as
fast as they fit, and ln T no longer falls with frac: such times would turn the line that is fitted through them
(docs/statistics.md)."""
BEND = 100.0
"""Prior standard deviation of a coefficient of frac², where it is tested."""
BENT = 0.005
"""Probability, in either tail, below which ln T is no straight line of frac."""


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
    fastest: float
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
    shortest = max(1.0, fastest * min(steps))
    reason, design, fit = _why_no_fit(found, shortest), None, None
    if not reason:
        design = Design.of(found.frac[found.positive], found.other[found.positive])
        fit = _fit(found, design, shortest)
    rows = [_row(found, design, fit, reason, y, budget) for budget in steps for y in distinct(found.other)]
    table = pl.DataFrame(rows, schema=_schema(found.name), orient="row")
    notes = _notes(found, design, fit, shortest, table)
    return Boundary(found, steps, shortest, table, notes, design, fit, reason)


def _schema(name: str) -> dict[str, Any]:
    numbers = ("f_50", "low_50", "high_50", "low_90", "high_90", "bracket_low", "bracket_high")
    ends = {"status": pl.String, "extrapolated": pl.Boolean}
    return {name: pl.Float64, "budget": pl.Int64, **dict.fromkeys(numbers, pl.Float64), **ends}


# --- fit ----------------------------------------------------------------------------------------------------


def _why_no_fit(found: Events, fastest: float) -> str:
    """Why no line can be fitted; "" where one can."""
    usable = found.positive
    if not len(usable):
        return f"no run has a {found.event} to wait for"
    if not usable.any():
        return f"every run has {found.name} 0, which has no logarithm"
    frac, upper = found.frac[usable], found.upper[usable]
    timed = np.isfinite(upper) & (upper > fastest)
    needed = len(Design.of(frac, found.other[usable]).terms) + MORE_EVENTS
    if len(set(frac.tolist())) < 2:
        return "one train fraction"
    if not np.isfinite(upper).any():
        return f"no run got there within {found.run_budget} steps"
    if (upper <= fastest).all():
        return f"every run got there within {fastest:g} steps"
    if timed.sum() < needed:
        after = f" after more than {fastest:g} steps" if (upper <= fastest).any() else ""
        return f"too few events: {timed.sum()} runs got there{after}, {needed} are needed"
    return "" if len(set(frac[timed].tolist())) > 1 else "events at one train fraction only"


def _inputs(found: Events, design: Design, fastest: float) -> tuple[Intervals, Array, Array]:
    """Times, design and seeds of the runs that can enter the fit."""
    usable = found.positive
    seeds = found.seeds[usable]
    times = Intervals.of_steps(found.lower[usable], found.upper[usable], fastest)
    return times, design.rows(found.frac[usable], found.other[usable]), seeds[:, seeds.any(axis=0)]


def _fit(found: Events, design: Design, fastest: float) -> Posterior:
    times, rows, seeds = _inputs(found, design, fastest)
    return posterior(times, rows, seeds, design.prior(found.run_budget))


def _row(
    found: Events, design: Design | None, fit: Posterior | None, reason: str, y: float, budget: int
) -> tuple[Any, ...]:
    low, high = bracket(found, y, budget) or (None, None)
    if y <= 0:
        reason = f"{found.name} 0 has no logarithm"
    lines: dict[str, Array] = {}
    if design is not None and fit is not None and y > 0:
        lines = quantiles(design, fit, np.array([y]), budget)
        reason = statuses(found, design, fit, np.array([y]), lines)[0]
    if reason:
        return (y, budget, *[None] * 5, low, high, f"not identified: {reason}", False)
    f_50 = float(lines["f_50"][0])
    frac = found.frac[found.positive]
    beyond = budget > found.run_budget or not frac.min() <= f_50 <= frac.max()
    ends = [float(lines[name][0]) for name in ("low_50", "high_50", "low_90", "high_90")]
    return (y, budget, f_50, *ends, low, high, "identified", beyond)


# --- notes --------------------------------------------------------------------------------------------------


def _notes(
    found: Events, design: Design | None, fit: Posterior | None, fastest: float, table: pl.DataFrame
) -> tuple[str, ...]:
    notes, fast = [], int((found.upper <= fastest).sum())
    if found.left_out:
        notes.append("left out: " + ", ".join(f"{n} {reason}" for reason, n in found.left_out.items()))
    if design is None or fit is None:
        return tuple(notes)
    if fast:
        notes.append(
            f"{fast} runs that took at most {fastest:g} steps enter as that: "
            "so far from the boundary time does not fall with train fraction as near it"
        )
    if found.seeds.shape[1] == 1:
        notes.append("one seed: how much seeds differ is assumed (standard deviation of ln t about 0.3), not seen")
    bend = _bend(found, design, fit, fastest)
    timed = np.isfinite(found.upper) & (found.upper > fastest) & found.positive
    spare = timed.sum() - len(design.terms) - 1
    if abs(bend) > student_t.ppf(1 - BENT, spare):
        way = "flattens" if bend > 0 else "steepens"
        notes.append(
            f"ln {found.event} {way} with train fraction ({bend:+.1f} standard deviations from a straight line): "
            "trust the brackets before the bands"
        )
    missed = _missed(found, table)
    if missed:
        notes.append(
            f"the 90 % band misses the bracket at {found.name} {', '.join(missed)}: the curve does not fit there"
        )
    return tuple(notes)


def _bend(found: Events, design: Design, fit: Posterior, fastest: float) -> float:
    """The coefficient of frac² if it were free, in its standard deviations."""
    times, rows, seeds = _inputs(found, design, fastest)
    a = found.frac[found.positive] - design.frac_0
    prior = design.prior(found.run_budget)
    wider = Normal(np.append(prior.mean, 0.0), np.append(prior.sd, BEND))
    free = mode(times, np.column_stack([rows, a**2]), seeds, wider, float(fit.tau[fit.weight.argmax()]))
    i = rows.shape[1]
    return float(free.theta[i] / np.sqrt(free.covariance[i, i]))


def _missed(found: Events, table: pl.DataFrame) -> list[str]:
    here = table.filter(pl.col("budget") <= found.run_budget, pl.col("f_50").is_not_null())
    apart = (pl.col("high_90") < pl.col("bracket_low")) | (pl.col("low_90") > pl.col("bracket_high"))
    return [f"{y:g} ({budget} steps)" for y, budget in here.filter(apart).select(found.name, "budget").iter_rows()]
