"""The threshold: the smallest with at most 10 % false alarms on other cells and other seeds. Pure.

10 % of what: of the runs without an event and of those with one, each taken by itself, so that the rule does not
depend on how many of a sweep's cells grok. Undecided alarms are counted both ways: `strict`, as false, which the
ranking goes by, and lenient, as not false, beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from analysis.alarms.alarm import Levels
from analysis.alarms.watched import Array, Watched

MOST_FALSE = 0.1
MOST_FOLDS = 32
"""Of cells, and of seeds: more of them are left out several at a time."""

Offsets = Callable[[Array], Array]
"""Runs that may be learnt from [n_runs] -> what is added to theta in each draw for each run, [n_draws, n_runs]."""


def folds(factors: Sequence[Array]) -> Iterator[tuple[Array, Array]]:
    """(runs, the others that share neither their cell nor a seed), each True where a run belongs; every run once."""
    blocks = np.stack([each % MOST_FOLDS for each in factors])
    for label in np.unique(blocks, axis=1).T:
        differs = blocks != label[:, None]
        yield ~differs.any(axis=0), differs.all(axis=0)


def smallest(false: Array, weights: Array) -> Array:
    """The smallest theta at which at most 10 % of the runs, by weight, alarm falsely; inf where there is none.

    Args:
        false: [n_runs] or [n_draws, n_runs], Levels.false.
        weights: [n_draws, n_runs], how often each run counts.
    """
    if not weights.shape[1]:
        return np.full(len(weights), np.inf)
    order = np.argsort(-false, axis=-1, kind="stable")
    in_order = np.take_along_axis(weights, np.broadcast_to(order, weights.shape), axis=1)
    allowed = MOST_FALSE * in_order.sum(axis=1) + 1e-9
    first = (in_order.cumsum(axis=1) > allowed[:, None]).argmax(axis=1)
    descending = np.broadcast_to(np.take_along_axis(false, order, axis=-1), weights.shape)
    least = np.nextafter(descending[np.arange(len(weights)), first], np.inf)
    return np.where(in_order.any(axis=1), least, np.inf)


def held_out(
    levels: Levels,
    watched: Watched,
    weights: Array,
    offsets: Offsets | None = None,
    *,
    floor: float = 0.0,
    strict: bool = True,
) -> tuple[Array, Array]:
    """Threshold and alarm of each run, in each draw of runs: (theta, A in steps), both [n_draws, n_runs].

    Args:
        weights: [n_draws, n_runs], how often each run counts in each draw.
        offsets: of a measure whose levels lie at another height in each fold.
        floor: the least theta there is; z is 0 at least.
        strict: whether undecided alarms count as false.
    """
    levels_of_false = levels.false if strict else levels.false_decided
    theta, alarms = np.empty(weights.shape), np.empty(weights.shape)
    for runs, others in folds(watched.factors):
        if not others.any():
            theta[:, runs], alarms[:, runs] = np.inf, np.inf
            continue
        shift = None if offsets is None else offsets(others)
        found = np.full(len(weights), floor)
        for group in (others & watched.has_event, others & ~watched.has_event):
            false = levels_of_false[group] if shift is None else levels_of_false[group] - shift[:, group]
            found = np.maximum(found, smallest(false, weights[:, group]))
        for run in np.flatnonzero(runs):
            theta[:, run] = found
            alarms[:, run] = levels.alarm(int(run), found if shift is None else found + shift[:, run])
    return theta, alarms
