"""A sweep read, narrowed to one map, and gathered into cells."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from analysis import axes, captions, curves, measured
from analysis.cells import cells
from analysis.contours import Contour
from analysis.load import Sweep, load_final_rows, load_rows, load_sweep

MOST_RUNS_AT_A_STEP = 2000
"""Of more runs measures are taken at a common step only where one is asked for: it takes every row of every run."""
MEASURES_AT_ONCE = 8
"""That are held in memory for every row, so that ten thousand runs fit."""


@dataclass(frozen=True)
class SweepMap:
    """A sweep narrowed to the runs of one map, and its cells.

    Attributes:
        runs: as analysis.load has them, with at.<measure>: the value at the common step.
        rows: logged rows of the measures that have curves, and key_freqs, thinned to what a page can hold.
        x, y: the settings on the axes; y is None for a map of one row.
        others: further settings that are swept; a figure shows their first values, a page lets choose.
        where: the conditions that narrowed it.
        step: the common step.
    """

    sweep: Sweep
    runs: pl.DataFrame
    cells: pl.DataFrame
    rows: pl.DataFrame
    x: str
    y: str | None
    others: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    step: int | None = None

    @property
    def names(self) -> list[str]:
        """The settings that make a cell, in the order of the table's columns."""
        return [*self.others, self.x, *([self.y] if self.y is not None else [])]

    @property
    def title(self) -> str:
        return captions.printable(", ".join([self.sweep.name, *self.where]))


@dataclass(frozen=True)
class Extras:
    """What other parts of the analysis add to the page.

    Attributes:
        boundary: contours in the plane of weight decay and train fraction.
        stages: run_id -> (stage, first step, last step) each.
        sections: (title, a Vega-Lite specification, or HTML that holds no text of the runs unescaped) each.
        compared: two sweeps cell by cell, their seeds paired (Paired of analysis.sources), where there are two.
    """

    boundary: Sequence[Contour] = ()
    stages: Mapping[str, Sequence[tuple[str, float, float]]] = field(default_factory=dict)
    sections: Sequence[tuple[str, Any]] = ()
    compared: Any = None


def map_sweep(
    path: str | os.PathLike[str],
    x: str | None = None,
    y: str | None = None,
    where: Sequence[str] = (),
    at: int | None = None,
) -> SweepMap:
    """Read a sweep, choose its axes and gather its runs into cells.

    Args:
        path: runs/<sweep>; it may still be running.
        x, y: settings for the axes, flat names or shorthands; None: those the sweep varies.
        where: conditions "name=value" that runs must meet.
        at: the common step at which measures are compared; None: the smallest last step of the runs that are done.

    Raises:
        ValueError: no sweep there, nothing to map, or no run that came to the step; one line that says which.
    """
    return map_of(load_sweep(path), x, y, where, at)


def map_of(
    sweep: Sweep, x: str | None = None, y: str | None = None, where: Sequence[str] = (), at: int | None = None
) -> SweepMap:
    """The same of a sweep that has been read, from wherever."""
    runs = axes.where(sweep.runs, where)
    across, up, others = axes.choose(runs, sweep.swept, x, y)
    step = measured.common_step(runs) if at is None else _reached(runs, at)
    names = [*others, across, *([up] if up is not None else [])]
    if step is not None and (at is not None or runs.height <= MOST_RUNS_AT_A_STEP):
        runs = runs.join(_at_step(sweep, runs, step), on="run_id", how="left", maintain_order="left")
    table = cells(runs, across, up, others)
    spread = measured.quartiles(runs, names, step)
    table = table.join(spread, on=names, how="left", nulls_equal=True, maintain_order="left")
    counts = [name for name in spread.columns if name.endswith("_n") or name == "n_reached"]
    table = table.with_columns(pl.col(counts).fill_null(0))
    return SweepMap(sweep, runs, table, _thinned_rows(sweep, runs, table), across, up, others, tuple(where), step)


def _reached(runs: pl.DataFrame, at: int) -> int:
    longest = runs["steps"].max()
    if not isinstance(longest, int) or longest < at:
        stands = "no run has a row yet" if longest is None else f"the longest run stands at step {longest}"
        raise ValueError(f"--at {at}: {stands}; give a step that runs have reached")
    return at


def _at_step(sweep: Sweep, runs: pl.DataFrame, step: int) -> pl.DataFrame:
    """run_id and at.<measure>."""
    names, found = measured.measures(runs), runs.select("run_id")
    for i in range(0, len(names), MEASURES_AT_ONCE):
        some = names[i : i + MEASURES_AT_ONCE]
        rows = load_rows(sweep, some, runs["run_id"].to_list())
        taken = measured.at_step(rows, runs, some, step)
        found = found.join(taken, on="run_id", how="left", maintain_order="left")
    return found


def _thinned_rows(sweep: Sweep, runs: pl.DataFrame, table: pl.DataFrame) -> pl.DataFrame:
    """Of as many runs of every cell as a page has room for, of those that have logged rows."""
    logged = set(runs.filter(pl.col("steps").is_not_null())["run_id"])
    runs_of = [[run_id for run_id in ids if run_id in logged] for ids in table["run_ids"].to_list()]
    n_points, n_runs = curves.budget(sum(map(len, runs_of)))
    drawn = curves.drawn(runs_of, n_runs)
    rows = load_rows(sweep, [*curves.LOGGED, "key_freqs"], drawn)
    final = load_final_rows(sweep, curves.HINDSIGHT, drawn)
    return curves.joined(curves.thinned(rows, n_points), curves.thinned(final, n_points))
