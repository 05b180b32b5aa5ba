"""The boundary as points of a figure. Pure; knows no plotting library."""

from __future__ import annotations

import numpy as np
import polars as pl

from analysis.boundary.contours import quantiles, statuses
from analysis.boundary.fitted import Boundary

BANDS = ("low_50", "high_50", "low_90", "high_90")


def contour(boundary: Boundary, budget: int, n: int = 200) -> pl.DataFrame:
    """The boundary at a budget along a fine grid of the second setting, log-spaced over what is swept.

    Columns: <name>, f_50, low_50, high_50, low_90, high_90. Nothing lies outside what is swept: f_50 is null there,
    and bands end at the first and last fraction. All are null where not identified. No rows where nothing was fitted;
    one where the second setting has one value.
    """
    found, columns = boundary.events, dict.fromkeys(("f_50", *BANDS), np.zeros(0))
    y = np.zeros(0)
    if boundary.design is not None and boundary.fit is not None:
        used, frac = found.other[found.positive], found.frac[found.positive]
        y = np.unique(np.geomspace(used.min(), used.max(), n).clip(used.min(), used.max()))
        lines = quantiles(boundary.design, boundary.fit, y, budget)
        known = np.array([not text for text in statuses(found, boundary.design, boundary.fit, y, lines)])
        inside = (lines["f_50"] >= frac.min()) & (lines["f_50"] <= frac.max())
        columns["f_50"] = np.where(known & inside, lines["f_50"], np.nan)
        columns |= {name: np.where(known, lines[name].clip(frac.min(), frac.max()), np.nan) for name in BANDS}
    return pl.DataFrame({found.name: y, **columns}).fill_nan(None)
