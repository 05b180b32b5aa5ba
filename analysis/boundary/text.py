"""The boundary as lines of text, for a terminal or a report. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from analysis.aligned import aligned
from analysis.boundary.fitted import Boundary

NOTHING = "-"
ROWS = 60
"""Most rows of text; the table has them all."""
HEADS = ("steps", "f_50", "50 %", "90 %", "bracket", "")


def lines(boundary: Boundary) -> list[str]:
    """The f_50 table, what was left out, and what to know of it."""
    found = boundary.events
    if boundary.reason and boundary.table["bracket_low"].null_count() == boundary.table.height:
        return [f"boundary in train fraction: not identified: {boundary.reason}", *boundary.notes]
    title = f"train fraction at which half of the seeds reach {found.event} (f_50), by budget of steps"
    shown = boundary.table.head(ROWS)
    rows = [_cells(row, found.name, found.run_budget) for row in shown.iter_rows(named=True)]
    more = boundary.table.height - shown.height
    rest = [f"… and {more} more rows"] if more else []
    return [title, *aligned([[found.name, *HEADS], *rows]), *rest, *boundary.notes]


def _cells(row: Mapping[str, Any], name: str, run_budget: int) -> list[str]:
    steps = f"{row['budget']}{' (not run)' if row['budget'] > run_budget else ''}"
    f_50 = NOTHING if row["f_50"] is None else f"{row['f_50']:.3f}"
    spans = [_span(row[f"low_{end}"], row[f"high_{end}"], 3) for end in ("50", "90")]
    status = row["status"] if row["f_50"] is None else "extrapolated" if row["extrapolated"] else ""
    return [f"{row[name]:g}", steps, f_50, *spans, _span(row["bracket_low"], row["bracket_high"], None), status]


def _span(low: float | None, high: float | None, digits: int | None) -> str:
    if low is None or high is None:
        return NOTHING
    return f"{low:g} to {high:g}" if digits is None else f"{low:.{digits}f} to {high:.{digits}f}"


def critical_lines(table: pl.DataFrame) -> list[str]:
    """Critical fractions, as `critical_fractions` gives them."""
    name = table.columns[0]
    rows = [
        [
            f"{row[name]:g}",
            NOTHING if row["f_c"] is None else f"{row['f_c']:.3f}",
            _span(row["low_90"], row["high_90"], 3),
            row["status"] if row["f_c"] is None else "",
        ]
        for row in table.iter_rows(named=True)
    ]
    title = "critical train fraction f_c of ln t = A - gamma ln(f - f_c)"
    return [title, *aligned([[name, "f_c", "90 %", ""], *rows])]
