"""The cells of a sweep's two maps as plain values: place, look, words and tooltip of each. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from analysis import captions, labels, looks
from analysis.axes import in_order, value_text
from analysis.looks import Size

Mark = dict[str, Any]
TIMED = "timed"
"""Look of a cell whose colour is its median time."""


@dataclass(frozen=True)
class Grid:
    """Where cells stand: the values of both axes, ascending, as text; `up` is [""] for a map of one row."""

    across: list[str]
    up: list[str]
    size: Size
    x_title: str
    y_title: str | None

    @property
    def width(self) -> int:
        return len(self.across) * self.size.step_x

    @property
    def height(self) -> int:
        return len(self.up) * self.size.step_y


def grid(runs: pl.DataFrame, cells: pl.DataFrame, x: str, y: str | None) -> Grid:
    across = [_text(value) for value in in_order(cells[x].to_list())]
    up = [_text(value) for value in in_order(cells[y].to_list())] if y is not None else [""]
    titles = [None if name is None else captions.axis_title(name, runs) for name in (x, y)]
    assert titles[0] is not None
    return Grid(across, up, looks.size_for(len(across), len(up)), titles[0], titles[1])


def _text(value: Any) -> str:
    return captions.printable(value_text(value))


def marks(
    runs: pl.DataFrame, cells: pl.DataFrame, x: str, y: str | None, grid: Grid
) -> tuple[list[Mark], list[Mark]]:
    """The cells of the map of phases, and of the map of times.

    A mark holds x, y (labels on the axes), look, fill, line, texture, ink, lines (of words), rise (of the first
    line over the middle, pixels), tip (title to text), spoken (for readers of the SVG) and steps (time or null).
    """
    by_id = {run["run_id"]: run for run in runs.to_dicts()}
    domain = time_domain(cells)
    phase_marks, time_marks = [], []
    for cell in cells.to_dicts():
        place: Mark = {"x": _text(cell[x]), "y": _text(cell[y]) if y is not None else ""}
        axes = {grid.x_title: place["x"]} | ({grid.y_title: place["y"]} if grid.y_title is not None else {})
        tip = axes | labels.tooltip(cell, [by_id[run_id] for run_id in cell["run_ids"].split()])
        place["tip"] = {title: captions.printable_lines(text) for title, text in tip.items()}
        place["spoken"] = ", ".join(f"{title} {value}" for title, value in axes.items())
        phase_marks.append(place | _dress(cell["outcome"], labels.phase_lines(cell, grid.size), grid.size))
        time = place | _dress(labels.time_look(cell), labels.time_lines(cell, grid.size), grid.size)
        if domain is not None and time["look"] == TIMED:
            time |= _coloured(cell["t_test_median"], domain)
        time_marks.append(time)
    return phase_marks, time_marks


def _dress(look: str, lines: Sequence[str], size: Size) -> Mark:
    style = looks.LOOKS.get(look, looks.Look(looks.LIGHT))
    return {
        "look": look,
        "fill": style.fill,
        "line": style.line,
        "texture": style.texture,
        "ink": style.ink,
        "lines": list(lines),
        "rise": -(len(lines) - 1) * size.line_height / 2,
    }


def _coloured(steps: int, domain: tuple[float, float]) -> Mark:
    return {"steps": max(steps, 1), "ink": looks.ink_on_time(steps, domain)}


def time_domain(cells: pl.DataFrame) -> tuple[float, float] | None:
    """Ends of the colour scale of times, in steps; None where no cell has a time."""
    times = cells["t_test_median"].drop_nulls().to_list()
    return looks.time_domain(times) if times else None
