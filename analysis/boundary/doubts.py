"""What enters the fit of a boundary, and what a reader of its table must know. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import stdtrit

from analysis.boundary.design import Design
from analysis.boundary.events import Events
from analysis.boundary.likelihood import Array, Intervals, on_curve
from analysis.boundary.lognormal import Mode, Normal, Posterior, mode

BEND = 100.0
"""Prior standard deviation of a coefficient of frac², where it is tested."""
NAMED = 3
"""Most strays that are named."""
BENT = 0.005
"""Probability, in either tail, below which ln T is no straight line of frac."""


@dataclass(frozen=True)
class Sample:
    """The runs that enter the fit: those whose second setting has a logarithm.

    Attributes:
        fastest: steps; shorter times count as "at most that".
        upper, frac, other: [n_run], of `events`.
        timed: [n_run], True where the time itself is known.
        named: [n_run], of `events`.
        seeds: [n_run, n_seed].
    """

    events: Events
    fastest: int
    times: Intervals
    upper: Array
    frac: Array
    other: Array
    timed: NDArray[np.bool_]
    seeds: Array
    named: Sequence[str]

    @staticmethod
    def of(found: Events, fastest: int) -> Sample:
        used = found.positive
        upper, seeds = found.upper[used], found.seeds[used]
        return Sample(
            events=found,
            fastest=fastest,
            times=Intervals.of_steps(found.lower[used], upper, fastest),
            upper=upper,
            frac=found.frac[used],
            other=found.other[used],
            timed=np.isfinite(upper) & (upper > fastest),
            seeds=seeds[:, seeds.any(axis=0)],
            named=[name for name, is_used in zip(found.named, used, strict=True) if is_used],
        )


def doubts(sample: Sample, design: Design | None, fit: Posterior | None, table: pl.DataFrame) -> tuple[str, ...]:
    """Sentences for below the table: what was left out, what was assumed, where the curve does not fit."""
    found, notes = sample.events, []
    if found.left_out:
        notes.append("left out: " + ", ".join(f"{n} {reason}" for reason, n in found.left_out.items()))
    if design is None or fit is None:
        return tuple(notes)
    fast = int((sample.upper <= sample.fastest).sum())
    if fast:
        notes.append(
            f"{fast} runs got there within {sample.fastest:,} steps, and that is all that the fit is told of them: "
            "far from the boundary, time does not fall with train fraction as it does near it"
        )
    if sample.seeds.shape[1] == 1:
        notes.append("one seed: how much seeds differ is assumed (standard deviation of ln t about 0.4), not seen")
    straight = Straight.of(sample, design, fit)
    return (*notes, *_strays(sample, straight), *_bend(sample, design, straight), *_missed(found, table))


@dataclass(frozen=True)
class Straight:
    """The fitted line at its likeliest spread of seeds.

    Attributes:
        rows: [n_run, n_term], of `design`.
        tau: that standard deviation.
    """

    rows: Array
    prior: Normal
    tau: float
    mode: Mode

    @staticmethod
    def of(sample: Sample, design: Design, fit: Posterior) -> Straight:
        rows, prior = design.rows(sample.frac, sample.other), design.prior(sample.events.run_budget)
        tau = float(fit.tau[fit.weight.argmax()])
        return Straight(rows, prior, tau, mode(sample.times, rows, sample.seeds, prior, tau))


def _strays(sample: Sample, straight: Straight) -> list[str]:
    """A sentence that names the runs which follow no curve."""
    follows = on_curve(sample.times, np.hstack([straight.rows, sample.seeds]), straight.mode.theta)
    found = np.flatnonzero(follows < 0.5)
    names = [
        f"{sample.events.name} {sample.other[i]:g}, frac_train {sample.frac[i]:g}{sample.named[i]} "
        + (f"({sample.upper[i]:,.0f} steps)" if np.isfinite(sample.upper[i]) else "(not within its steps)")
        for i in found[:NAMED]
    ]
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    runs = "1 run follows" if len(found) == 1 else f"{len(found)} runs follow"
    return [f"{runs} no curve and hardly counts: {'; '.join(names)}{more}"] if names else []


def _bend(sample: Sample, design: Design, straight: Straight) -> list[str]:
    """A sentence where a term in frac² would fit much better, by the signed root of the likelihood ratio.

    Not by the coefficient's own standard error: with few timed runs the likelihood is skewed, and that said so in up
    to 8 % of simulated sweeps without any bend, in place of 1 %.
    """
    rows, prior, away = straight.rows, straight.prior, sample.frac - design.frac_0
    wider = Normal(np.append(prior.mean, 0.0), np.append(prior.sd, BEND))
    free = mode(sample.times, np.column_stack([rows, away**2]), sample.seeds, wider, straight.tau)
    gain, n_term = max(2 * (free.log_penalised - straight.mode.log_penalised), 0.0), rows.shape[1]
    bend = math.copysign(math.sqrt(gain), free.theta[n_term])
    spare = max(int(sample.timed.sum()) - n_term - 1, 1)
    if abs(bend) <= stdtrit(spare, 1 - BENT):
        return []
    way = "flattens" if bend > 0 else "steepens"
    return [
        f"ln {sample.events.event} {way} with train fraction ({bend:+.1f} standard deviations from a straight line): "
        "trust the fractions between which all seeds change before the bands"
    ]


def _missed(found: Events, table: pl.DataFrame) -> list[str]:
    """A sentence where a band lies outside its bracket."""
    here = table.filter(pl.col("budget") <= found.run_budget, pl.col("f_50").is_not_null())
    apart = (pl.col("high_90") < pl.col("bracket_low")) | (pl.col("low_90") > pl.col("bracket_high"))
    rows = here.filter(apart).select(found.name, "budget").iter_rows()
    where = ", ".join(f"{y:g} ({budget:,} steps)" for y, budget in rows)
    missed = f"the 90 % band misses the fractions between which all seeds change at {found.name} {where}"
    return [f"{missed}: the curve does not fit there"] if where else []
