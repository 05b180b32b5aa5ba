"""How one sweep differs from another, cell by cell, as colours of a map. Pure.

The pairs are made by analysis.sources: runs of equal settings and seeds in both sweeps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from analysis import scales
from analysis.colours import Colour
from analysis.labels import Cell, look_word
from analysis.looks import BOUND, COLOURED, NO_VALUE, Size
from analysis.sources.spans import LN_RATIO

KEY = "difference."


def beside(cells: pl.DataFrame, runs: pl.DataFrame, names: Sequence[str], compared: Any) -> pl.DataFrame:
    """The table of cells with difference.<quantity>_median, _text, _n of the pairs of each; of both sweeps the same.

    Args:
        names: the settings that make a cell of the map.
        compared: Paired of analysis.sources.
    """
    table = compared.cells
    for name in compared.settings:
        if name not in names and name in runs.columns:
            table = table.filter(pl.col(name).is_in(runs[name].unique().to_list(), nulls_equal=True))
    on = [name for name in compared.settings if name in names]
    for name in table["name"].unique(maintain_order=True):
        one = (
            table.filter(pl.col("name") == name).unique(on, keep="none")
            if on
            else table.filter(pl.col("name") == name)
        )
        ends = {"median": "median", "text": "text", "n": "n_pairs", "kind": "kind"}
        one = one.select(*on, *(pl.col(column).alias(f"{KEY}{name}_{end}") for end, column in ends.items()))
        cells = (
            cells.join(one, on=on, how="left", nulls_equal=True, maintain_order="left")
            if on
            else cells.join(one, how="cross")
        )
    return cells


def colours(cells: pl.DataFrame, compared: Any) -> dict[str, Colour]:
    """A colour for each quantity that was compared."""
    names = compared.cells["name"].unique(maintain_order=True).to_list()
    found = [_colour(name, cells, compared.labels) for name in names if f"{KEY}{name}_median" in cells.columns]
    return {colour.key: colour for colour in found}


def _colour(name: str, cells: pl.DataFrame, labels: Sequence[str]) -> Colour:
    key, (a, b) = f"{KEY}{name}", labels
    known = cells[f"{key}_median"].drop_nulls().to_list()
    is_ratio = LN_RATIO in set(cells[f"{key}_kind"].drop_nulls())
    sign, unit, scale = ("/", "ratio", scales.ratios) if is_ratio else ("−", "", scales.diverging)
    notes = (
        f"{name} of {b} {sign} {name} of {a}, paired by seed; median of the pairs",
        "bounds and unknown: where runs of a pair did not get there",
    )
    return Colour(
        key, "Differences", f"{name}: {b} {sign} {a}", f"{name}: {b} {sign} {a}", notes,
        scale(known) if known else None, _look(key), lambda cell: cell[f"{key}_median"], _lines(key),
        unit, {BOUND: "> N, < N, unknown: the median of the pairs is known as a bound, or not at all",
               NO_VALUE: "no value: no pair of runs of equal seeds to compare"},
    )  # fmt: skip


def _look(key: str) -> Callable[[Cell], str]:
    def look(cell: Cell) -> str:
        if not cell[f"{key}_n"]:
            return NO_VALUE if cell["n_runs"] else cell["outcome"]
        return COLOURED if cell[f"{key}_median"] is not None else BOUND

    return look


def _lines(key: str) -> Callable[[Cell, Size], list[str]]:
    look = _look(key)

    def lines(cell: Cell, size: Size) -> list[str]:
        if size.words == "none":
            return []
        if look(cell) in (COLOURED, BOUND):
            n = cell[f"{key}_n"]
            return [cell[f"{key}_text"], f"{n} pair{'s' if n > 1 else ''}" if size.words == "full" else f"n={n}"]
        return [look_word(look(cell), size)]

    return lines
