"""Where the cells of a map stand: settings with their values, two of them as axes, and the size of a cell. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from analysis import captions, looks
from analysis.axes import in_order, value_text
from analysis.looks import LOOKS, Size

Mark = dict[str, Any]
CHARACTER = 6.5
"""Width of a letter of an axis, in pixels."""


@dataclass(frozen=True)
class Setting:
    """A swept setting.

    Attributes:
        title: in words; axis_title: the same, and how its values follow one another.
        values: ascending; texts: the same as they are shown.
    """

    name: str
    title: str
    axis_title: str
    values: tuple[Any, ...]
    texts: tuple[str, ...]


def setting(name: str, runs: pl.DataFrame) -> Setting:
    values = tuple(in_order(runs[name].to_list()))
    texts = tuple(captions.printable(value_text(value)) for value in values)
    return Setting(name, captions.setting_title(name, runs), captions.axis_title(name, runs), values, texts)


@dataclass(frozen=True)
class Grid:
    """The two axes of a map; `up` is None for a map of one row."""

    across: Setting
    up: Setting | None

    @property
    def size(self) -> Size:
        return looks.size_for(len(self.across.values), len(self.up.values) if self.up else 1)

    @property
    def width(self) -> int:
        return len(self.across.values) * self.size.step_x

    @property
    def height(self) -> int:
        return (len(self.up.values) if self.up else 1) * self.size.step_y

    @property
    def is_turned(self) -> bool:
        """Whether the words under the map would not fit side by side."""
        return max(map(len, self.across.texts)) * CHARACTER > self.size.step_x


def marks(
    grid: Grid, cells: Sequence[Mapping[str, Any]], painted: Sequence[Mapping[str, Any]], scale: Any
) -> list[Mark]:
    """One map's cells as plain values, as the page's script makes them too.

    A mark holds i, j (from the lower left), value (or null), fill, line, texture and ink of its look, lines (of
    words), rise (of the first line over the middle, pixels) and spoken (for readers of the SVG).
    """
    return [_mark(grid, cell, paint, scale) for cell, paint in zip(cells, painted, strict=True)]


def _mark(grid: Grid, cell: Mapping[str, Any], paint: Mapping[str, Any], scale: Any) -> Mark:
    style, lines, value = LOOKS[paint["look"]], paint["lines"], paint["value"]
    across, up = grid.across, grid.up
    where = [f"{each.title} {captions.printable(value_text(cell[each.name]))}" for each in (across, up) if each]
    return {
        "i": across.values.index(cell[across.name]),
        "j": up.values.index(cell[up.name]) if up else 0,
        "value": value,
        "look": paint["look"],
        "fill": style.fill,
        "line": style.line,
        "texture": style.texture,
        "ink": style.ink if value is None or scale is None else scale.ink(value),
        "lines": lines,
        "rise": -(len(lines) - 1) * grid.size.line_height / 2,
        "spoken": f"{', '.join(where)}: {' '.join(lines) or paint['look'].replace('_', ' ')}",
    }
