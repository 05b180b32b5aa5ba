"""The cells of a map as aligned text. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from analysis import captions
from analysis.aligned import aligned
from analysis.axes import value_text
from analysis.outcomes import words

ROWS_IN_TABLE = 60
HEADS = ("outcome", "runs", "generalised", "t_train", "t_test", "delay")


def table(cells: pl.DataFrame, names: Sequence[str]) -> str:
    """The cells as aligned columns: times in steps, "> N" where at least half of the runs had not got there.

    Args:
        names: the settings that make a cell.
    """
    head = [name.rpartition(".")[2] for name in names]
    lines = aligned([[*head, *HEADS], *(_line(cell, names) for cell in cells.head(ROWS_IN_TABLE).to_dicts())])
    if cells.height > ROWS_IN_TABLE:
        lines.append(f"… and {cells.height - ROWS_IN_TABLE} more cells in cells.csv")
    if cells["n_runs"].max() != 1:
        lines.append("times in steps: medians over the seeds, each column by itself")
    else:
        lines.append("times in steps")
    return "\n".join(lines)


def _line(cell: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    outcome = f"{cell['n_outcome']}/{cell['n_runs']}" if cell["n_runs"] else "0"
    times = [cell[f"{name}_median_text"] for name in ("t_train", "t_test", "grok_delay")]
    values = [captions.printable(value_text(cell[name])) for name in names]
    return [*values, words(cell["outcome"]), outcome, f"{cell['n_generalised']}/{cell['n_runs']}", *times]
