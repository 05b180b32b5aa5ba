"""The boundary as points of a figure. Pure; knows no plotting library."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from analysis.boundary.contours import quantiles, statuses
from analysis.boundary.fitted import Boundary
from analysis.boundary.likelihood import Array

BANDS = ("low_50", "high_50", "low_90", "high_90")


def contour(boundary: Boundary, budget: int, n: int = 200) -> pl.DataFrame:
    """The boundary at a budget along a fine grid of the second setting, log-spaced over what is swept.

    Columns: <name>, budget, f_50, low_50, high_50, low_90, high_90, beyond_budget. Nothing lies outside what is
    swept: f_50 is null there, and bands end at the first and last fraction. All are null where not identified. No
    rows where nothing was fitted; one where the second setting has one value.
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
    points = pl.DataFrame({found.name: y, **columns}).fill_nan(None)
    points.insert_column(1, pl.lit(budget, dtype=pl.Int64).alias("budget"))
    return points.with_columns(pl.lit(budget > found.run_budget).alias("beyond_budget"))


def cell_positions(values: Sequence[float], at: Array, log: bool = False) -> Array:
    """Where `at` lies on an axis of cells: 0 is the middle of the first cell, 1 that of the second.

    Args:
        values: the cells' own, ascending; a 0 before a logarithmic axis keeps its cell.
        log: between two cells the axis is linear in the logarithm.
    """
    cells = [(i, value) for i, value in enumerate(values) if value > 0 or not log]
    index, place = (np.array(column, dtype=np.float64) for column in zip(*cells, strict=True))
    return np.interp(np.log(at) if log else at, np.log(place) if log else place, index)
