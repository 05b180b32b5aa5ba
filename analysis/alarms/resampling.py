"""Draws of cells and seeds with replacement, and intervals from them. Pure: random numbers come from the caller.

Cells and seeds cross, so that both are drawn, each by itself, and a run counts as often as its cell times its seed
was drawn (the pigeonhole bootstrap: Owen 2007, "The pigeonhole bootstrap").
"""

from __future__ import annotations

import numpy as np

from analysis.alarms.watched import Array, Watched

LEVEL = 0.9
TRIES = 50


def draws(watched: Watched, n_draws: int, rng: np.random.Generator) -> Array:
    """How often each run counts, [1 + n_draws, n_runs]; the first draw is the sweep itself.

    A draw without two cells, two seeds, an event and a run without one says nothing of thresholds, and is drawn anew.
    """
    whole = np.ones((1, len(watched.end)))
    kept: list[Array] = []
    for _ in range(TRIES):
        wanted = n_draws - sum(map(len, kept))
        if not wanted:
            break
        some, usable = _some(watched, wanted, rng)
        kept.append(some[usable])
    return np.concatenate([whole, *kept])


def _some(watched: Watched, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    weights, usable = np.ones((n, len(watched.end))), np.ones(n, dtype=bool)
    for labels in watched.factors:
        n_labels = int(labels.max(initial=0)) + 1
        times = rng.multinomial(n_labels, np.full(n_labels, 1 / n_labels), size=n)
        usable &= (times > 0).sum(axis=1) >= 2
        weights *= times[:, labels]
    for group in (watched.has_event, ~watched.has_event):
        usable &= weights[:, group].any(axis=1)
    return weights, usable


def mean(values: Array, weights: Array) -> Array:
    """Weighted mean over runs in each draw, [n_draws]; nan where no run counts."""
    total = weights.sum(axis=1)
    return np.where(total > 0, (values * weights).sum(axis=1) / np.maximum(total, 1e-300), np.nan)


def interval(found: Array) -> tuple[float, float, float]:
    """(value, low, high): that of the sweep itself, and where the middle 90 % of the draws lie; nan where unknown."""
    drawn = found[1:][np.isfinite(found[1:])]
    if not len(drawn):
        return float(found[0]), np.nan, np.nan
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(found[0]), float(low), float(high)
