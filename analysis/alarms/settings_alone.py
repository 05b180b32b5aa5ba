"""The baseline that looks at no measure: a run's settings foretell its T, and it rings at a multiple of that. Pure.

The time is a log-normal accelerated failure time, ln T = x b + sigma e, censored where a run ended without the event,
fitted on other cells and other seeds; x has the swept settings (the train fraction as it is, positive numbers such as
weight decay as their logarithm, with its square), and products of two. The quantity that rings is
ln t - ln T_foretold; its threshold is set as every measure's, and may be negative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import polars as pl
from scipy.special import log_ndtr

from analysis.alarms.alarm import Levels, levels
from analysis.alarms.watched import Array, Watched
from analysis.axes import SEEDS

LINEAR = ("data.frac_train", "data.label_noise", "model.dropout")
"""Shares, taken as they are."""
PENALTY = 0.02
"""Prior precision of each standardised coefficient over sigma, and of 1/sigma: keeps the fit finite."""
ITERATIONS = 12


def clock(steps: Array, watched: Watched) -> Levels:
    """Levels of ln t since t_train; less the foretold ln T they are those of this baseline.

    Args:
        steps: [n_runs, n_logs], as Logs has them.
    """
    # Logs before t_train stay in place, where no theta reaches: two in a row then lie at or after it.
    at = np.where((steps >= watched.t_train[:, None]) & np.isfinite(steps), np.maximum(steps, 1.0), np.nan)
    return levels(np.log(at), steps, watched)


def foretell(design: Array, watched: Watched, weights: Array) -> Callable[[Array], Array]:
    """The foretold ln T of every run in every draw, [n_draws, n_runs], as a function of the runs to learn from.

    Args:
        design: [n_runs, n_columns], as `design_of` makes it.
        weights: [n_draws, n_runs], how often each run counts.
    """
    log_time = np.log(np.where(watched.has_event, watched.event, watched.end))

    def of(others: Array) -> Array:
        found = fit(design[others], log_time[others], watched.has_event[others], weights[:, others])
        return found @ design.T

    return of


def design_of(runs: pl.DataFrame, swept: Sequence[str]) -> Array:
    """[n_runs, n_columns]: ones, the settings, squares of logarithms, products of two settings; standardised."""
    main: dict[str, list[Array]] = {}
    more: list[Array] = []
    for name in swept:
        if name in SEEDS or runs[name].n_unique() < 2:
            continue
        if not runs[name].dtype.is_numeric():
            values = runs[name].cast(pl.String).fill_null("null")
            main[name] = [(values == value).to_numpy().astype(float) for value in values.unique().sort()[1:]]
            continue
        column = _numbers(name, runs[name])
        main[name] = [column]
        if name not in LINEAR and runs[name].n_unique() > 2:
            more.append(column**2)
    pairs = [one * other for a, b in combinations(main.values(), 2) for one in a for other in b]
    columns = [*(column for each in main.values() for column in each), *more, *pairs]
    varied = [(c - c.mean()) / c.std() for c in columns if c.std() > 0]
    return np.stack([np.ones(runs.height), *varied], axis=1)


def _numbers(name: str, values: pl.Series) -> Array:
    """Centred; logarithms unless a share; 0 counts as a tenth of the least number above it."""
    numbers = values.cast(pl.Float64).fill_null(0.0).to_numpy()
    if name not in LINEAR and (numbers >= 0).all() and (numbers > 0).any():
        numbers = np.log(np.maximum(numbers, numbers[numbers > 0].min() / 10))
    spread = numbers.std()
    return (numbers - numbers.mean()) / (spread if spread > 0 else 1.0)


def fit(design: Array, log_time: Array, happened: Array, weights: Array) -> Array:
    """Coefficients b of ln T = x b + sigma e in each draw: [n_draws, n_columns]; right-censored, weighted, penalised.

    Newton's method on Olsen's parameters (b / sigma, 1 / sigma), in which the log-likelihood is concave (Olsen 1978).

    Args:
        design: [n_runs, n_columns].
        log_time: ln T, or ln of the end where it did not happen.
        happened: True where log_time is that of the event.
        weights: [n_draws, n_runs].
    """
    centre, spread = log_time.mean(), log_time.std() or 1.0
    both = np.column_stack([design, (centre - log_time) / spread])  # both @ (g, tau) = x g - tau y
    n_columns = both.shape[1]
    squares = (both[:, :, None] * both[:, None, :]).reshape(len(both), -1)
    n_happened = weights[:, happened].sum(axis=1)
    found = np.tile(np.eye(n_columns)[-1], (len(weights), 1))
    for _ in range(ITERATIONS):
        slope, bend = _derivatives(found @ both.T, happened)
        gradient = (weights * slope) @ both - PENALTY * found
        gradient[:, -1] += n_happened / found[:, -1]
        curvature = ((weights * bend) @ squares).reshape(-1, n_columns, n_columns) + PENALTY * np.eye(n_columns)
        curvature[:, -1, -1] += n_happened / found[:, -1] ** 2
        step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
        found = found + step * _short_enough(found[:, -1], step[:, -1])[:, None]
    coefficients = found[:, :-1] / found[:, -1:] * spread
    coefficients[:, 0] += centre
    return coefficients


def _derivatives(u: Array, happened: Array) -> tuple[Array, Array]:
    """d/du and -d²/du² of -u²/2 where it happened, of ln Phi(u) where it did not."""
    slope, bend = -u, np.ones_like(u)
    censored = u[:, ~happened]
    hazard = np.exp(-0.5 * censored**2 - 0.5 * np.log(2 * np.pi) - log_ndtr(censored))
    slope[:, ~happened], bend[:, ~happened] = hazard, hazard * (hazard + censored)
    return slope, bend


def _short_enough(tau: Array, step: Array) -> Array:
    """The share of a step that at most halves tau, which is positive."""
    return np.where(step < -tau / 2, tau / 2 / np.maximum(-step, 1e-300), 1.0)
