"""Where an average seed's time equals a budget, with bands, and where that cannot be told. Pure.

At budget N the boundary in train fraction, f_50, is where the mean of ln T equals ln N: half of all seeds get there
within N steps. P(f_50 <= f) is the posterior probability that the mean at f is below ln N.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analysis.boundary.design import Design
from analysis.boundary.events import Events, distinct
from analysis.boundary.likelihood import Array
from analysis.boundary.lognormal import Posterior

LEVELS = {"f_50": 0.5, "low_50": 0.25, "high_50": 0.75, "low_90": 0.05, "high_90": 0.95}
HALVINGS = 30

SURE = 0.975
"""Least probability that ln T falls with frac."""
PRIOR_SHARE = 0.5
"""Largest standard deviation of the slope in frac, as a share of its prior's."""


def quantiles(design: Design, fit: Posterior, y: Array, budget: float) -> dict[str, Array]:
    """f_50 and its bands at each y; ends of bands are cut at 0 and 1.

    By halving: the mean falls with frac wherever the boundary is identified.
    """
    level = np.repeat(list(LEVELS.values()), len(y))
    at = np.tile(y, len(LEVELS))
    low, high = np.zeros(len(at)), np.ones(len(at))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = fit.at_most(design.rows(middle, at), np.log(budget)) < level
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return dict(zip(LEVELS, ((low + high) / 2).reshape(len(LEVELS), len(y)), strict=True))


def statuses(found: Events, design: Design, fit: Posterior, y: Array, lines: dict[str, Array]) -> list[str]:
    """ "" where the boundary at y is identified, else why it is not; `lines` are `quantiles` at one budget."""
    frac = np.array(distinct(found.frac[found.positive]))
    lowest, highest, margin = frac[0], frac[-1], np.diff(frac).max()
    slope = design.slope(y)
    falls = fit.at_most(slope, 0.0)
    prior_sd = np.sqrt((slope**2) @ fit.prior.sd**2)
    share = fit.spread(slope) / prior_sd
    f_50, width = lines["f_50"], lines["high_90"] - lines["low_90"]
    rules: list[tuple[NDArray[np.bool_], str]] = [
        (falls < SURE, "whether time falls with train fraction is not sure"),
        (share > PRIOR_SHARE, "the slope in train fraction rests on its prior"),
        (f_50 < max(lowest - margin, 1e-6), f"below the fractions swept ({lowest:g})"),
        (f_50 > min(highest + margin, 1 - 1e-6), f"above the fractions swept ({highest:g})"),
        ((lines["low_90"] < 1e-6) | (lines["high_90"] > 1 - 1e-6), "its 90 % band has no end"),
        (width > highest - lowest, "its 90 % band is wider than the fractions swept"),
    ]
    return [next((text for holds, text in rules if holds[i]), "") for i in range(len(y))]


def bracket(found: Events, y: float, budget: float) -> tuple[float, float] | None:
    """Neighbouring fractions between which all seeds change: up to one none is in time, from the next on all are.

    None where a cell is mixed, not yet decided, or the outcome does not change once.
    """
    here = found.other == y
    within, beyond = found.upper <= budget, found.lower >= budget
    fractions = distinct(found.frac[here])
    cells = [here & (found.frac == frac) for frac in fractions]
    all_in, none_in = [bool(within[c].all()) for c in cells], [bool(beyond[c].all()) for c in cells]
    first = all_in.index(True) if True in all_in else 0
    if not first or not all(all_in[first:]) or not all(none_in[:first]):
        return None
    return fractions[first - 1], fractions[first]
