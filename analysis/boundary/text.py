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
HEADS = ("within steps", "f_50", "50 % band", "90 % band", "all seeds change between", "")

CHANGE = "all seeds change between: up to the first fraction no seed gets there in time, from the second on all do"


def lines(boundary: Boundary) -> list[str]:
    """The f_50 table, what was left out, and what to know of it."""
    found = boundary.events
    if boundary.reason and boundary.table["bracket_low"].null_count() == boundary.table.height:
        return [f"boundary in train fraction: not identified: {boundary.reason}", *boundary.notes]
    title = f"f_50: the train fraction at which half of the seeds reach {found.event} within so many steps, as fitted"
    nothing = boundary.table["f_50"].is_null() & boundary.table["bracket_low"].is_null()
    known, unknown = boundary.table.filter(~nothing), boundary.table.filter(nothing)
    rows = [_cells(row, found.name, found.run_budget) for row in known.head(ROWS).iter_rows(named=True)]
    more = known.height - len(rows)
    rest = [f"… and {more} more rows"] if more else []
    key = [CHANGE] if known["bracket_low"].drop_nulls().len() else []
    return [
        title,
        *(aligned([[found.name, *HEADS], *rows]) if rows else []),
        *rest,
        *key,
        *_unknown(unknown),
        *boundary.notes,
    ]


def _unknown(table: pl.DataFrame) -> list[str]:
    """A line for each reason: not identified at weight_decay 0.1, 0.3 within 1,333 or 4,000 steps: the reason."""
    name, found = table.columns[0], dict[str, list[str]]()
    within = table.group_by("status", name, maintain_order=True).agg("budget")
    for (status, budgets), here in within.group_by("status", "budget", maintain_order=True):
        steps = " or ".join(f"{budget:,}" for budget in budgets)
        found.setdefault(status, []).append(f"{', '.join(f'{y:g}' for y in here[name])} within {steps} steps")
    ends = {status: status.partition(": ") for status in found}
    return [f"{ends[status][0]} at {name} {'; '.join(where)}: {ends[status][2]}" for status, where in found.items()]


def _cells(row: Mapping[str, Any], name: str, run_budget: int) -> list[str]:
    f_50 = NOTHING if row["f_50"] is None else f"{row['f_50']:.3f}"
    spans = [_span(row[f"low_{end}"], row[f"high_{end}"], 3) for end in ("50", "90")]
    beyond = "more steps than were run" if row["budget"] > run_budget else "outside the fractions swept"
    status = row["status"] if row["f_50"] is None else beyond if row["extrapolated"] else ""
    return [
        f"{row[name]:g}",
        f"{row['budget']:,}",
        f_50,
        *spans,
        _span(row["bracket_low"], row["bracket_high"], None),
        status,
    ]


def _span(low: float | None, high: float | None, digits: int | None) -> str:
    if low is None or high is None:
        return NOTHING
    return f"{low:g} to {high:g}" if digits is None else f"{low:.{digits}f} to {high:.{digits}f}"


def critical_lines(table: pl.DataFrame) -> list[str]:
    """Critical fractions, as `critical_fractions` gives them: those identified, and why the others are not."""
    name = table.columns[0]
    known, unknown = table.filter(pl.col("f_c").is_not_null()), table.filter(pl.col("f_c").is_null())
    rows = [
        [f"{row[name]:g}", f"{row['f_c']:.3f}", _span(row["low_90"], row["high_90"], 3)]
        for row in known.iter_rows(named=True)
    ]
    without = []
    for (status,), of_status in unknown.group_by("status", maintain_order=True):
        what, _, why = str(status).partition(": ")
        without.append(f"{what} at {name} {', '.join(f'{y:g}' for y in of_status[name])}: {why}")
    title = "critical train fraction f_c of ln t = A - gamma ln(f - f_c), below which no time is long enough"
    return [title, *(aligned([[name, "f_c", "90 %"], *rows]) if rows else []), *without]
