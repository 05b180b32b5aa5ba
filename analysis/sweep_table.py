"""The cells of a map as aligned text. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from analysis import captions
from analysis.aligned import aligned
from analysis.axes import value_text
from analysis.cells import LIVE
from analysis.outcomes import BROKEN, PHASES, words
from grok_sweep.store import State

ROWS_IN_TABLE = 60
HEADS = ("runs", "outcome", "generalised", "t_train", "t_test", "grok_delay")


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
        lines += [
            "runs: with these settings, one a seed; times in steps: medians over these runs, each column by itself;",
            "> N: at least half of them had not got there by step N (grok_delay: N steps after fitting)",
        ]
    else:
        lines.append("times in steps; > N: not within the N steps run (grok_delay: within N steps after fitting)")
    return "\n".join(lines)


def _line(cell: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    several = cell["n_runs"] > 1
    generalised = (
        f"{cell['n_generalised']} of {cell['n_runs']}" if several else "yes" if cell["n_generalised"] else "no"
    )
    times = [cell[f"{name}_median_text"] for name in ("t_train", "t_test", "grok_delay")]
    values = [captions.printable(value_text(cell[name])) for name in names]
    told = [str(cell["n_runs"]), _outcomes(cell), generalised if cell["n_runs"] else ""]
    return [*values, *told, *times]


def _outcomes(cell: Mapping[str, Any]) -> str:
    """grokking; of runs that differ, how many have which: 2 comprehension, 2 grokking."""
    counts = {name: cell[f"n_{name}"] for name in (*PHASES, *BROKEN, State.planned.value)}
    counts |= {name: cell[f"n_unsettled_{name}"] for name in LIVE}
    found = {name: n for name, n in counts.items() if n}
    if len(found) < 2:
        return words(next(iter(found), cell["outcome"]))
    return ", ".join(f"{n} {words(name)}" for name, n in found.items())
