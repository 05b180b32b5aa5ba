"""A sweep's map drawn: one figure of the colours that were chosen, as files, and the page that holds every colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from analysis import captions, colours, contours, diagram, differences, legends, places
from analysis.axes import FRAC_TRAIN
from analysis.colours import Colour
from analysis.labels import Cell
from analysis.looks import LOOKS
from analysis.page import figure_files
from analysis.places import Setting
from analysis.sweep_map import Extras, SweepMap


@dataclass(frozen=True)
class Drawing:
    """A map with all that can be drawn of it.

    Attributes:
        known: every colour by its key; chosen: those of the figure.
        cells: the table's rows that have runs.
        settings: those that make a cell; the axes first.
    """

    found: SweepMap
    extras: Extras
    known: dict[str, Colour]
    chosen: tuple[str, ...]
    cells: Sequence[Cell]
    settings: dict[str, Setting]

    @property
    def grid(self) -> places.Grid:
        found = self.found
        return places.Grid(self.settings[found.x], None if found.y is None else self.settings[found.y])

    def first(self, name: str) -> int:
        """Which value of a setting off the axes is shown at first: that of the first combination that has a run."""
        return self.settings[name].values.index(self.found.cells[name][0])

    @property
    def several(self) -> bool:
        """Whether some cell holds more than one run."""
        return any(cell["n_runs"] > 1 for cell in self.cells)


def drawing(found: SweepMap, colour: Sequence[str], extras: Extras) -> Drawing:
    """Raises ValueError for a colour that this sweep has not."""
    known = colours.colours(found.runs, found.cells, found.step)
    if extras.compared is not None:
        table = differences.beside(found.cells, found.runs, found.names, extras.compared)
        found = replace(found, cells=table)
        known |= differences.colours(table, extras.compared)
    chosen = tuple(colours.chosen(name, known) for name in colour) or _usual(known)
    names = [found.x, *([found.y] if found.y is not None else []), *found.others]
    settings = {name: places.setting(name, found.runs) for name in names}
    cells = found.cells.filter(pl.col("n_runs") > 0).to_dicts()
    return Drawing(found, extras, known, chosen, cells, settings)


def _usual(known: Mapping[str, Colour]) -> tuple[str, ...]:
    """What is shown where nothing was chosen: of two sweeps, the second map is how they differ."""
    difference = known.get(f"{differences.KEY}t_test")
    return (colours.DEFAULT[0], difference.key) if difference is not None and difference.scale else colours.DEFAULT


# --- the figure ---------------------------------------------------------------------------------------------


def files(drawn: Drawing) -> dict[str, bytes]:
    """.svg, .pdf and .png of the chosen colours side by side."""
    return figure_files(figure(drawn))


def figure(drawn: Drawing) -> diagram.Spec:
    """The maps of the chosen colours; of further settings at their first values, which the title then says."""
    found, grid = drawn.found, drawn.grid
    first = {name: found.cells[name][0] for name in found.others}
    here = pl.all_horizontal(pl.lit(True), *(pl.col(name).eq_missing(pl.lit(value)) for name, value in first.items()))
    cells, runs = found.cells.filter(here).to_dicts(), found.runs.filter(here)
    lines = boundary_rows(drawn, first)
    tags = lines[0]["side"] if lines else ""
    template, maps, seen = diagram.map_template(grid.size), [], {}
    for key in drawn.chosen:
        colour = drawn.known[key]
        painted = colours.painted(colour, cells, grid.size)
        marks = places.marks(grid, cells, painted, colour.scale)
        maps.append(diagram.fill(template, colour, grid, marks, max(grid.width + 80, 280), tags))
        seen[key] = {paint["look"] for paint in painted}
    sentences = [*_slice(drawn), *captions.subtitle(runs, found.names), *contours.note(lines)]
    return diagram.figure(f"{found.title}: {_of_what(drawn)}", sentences, maps, _legend(drawn, runs, seen), lines)


def _legend(drawn: Drawing, runs: pl.DataFrame, seen: Mapping[str, set[str]]) -> list[tuple[str, str]]:
    """What the looks of the maps mean; of a look that means two things in two maps, both.

    Args:
        seen: the looks in each map, by its colour's key.
    """
    is_short = drawn.grid.size.words == "short"
    plain = legends.legend(list(LOOKS), runs, abbreviated=is_short, several=drawn.several)
    entries = []
    for look in plain:
        maps = [drawn.known[key] for key, looks in seen.items() if look in looks]
        meanings = {colour.meanings.get(look, plain[look]): colour for colour in maps}
        several = len(meanings) > 1
        entries += [(look, f"{colour.label}: {text}" if several else text) for text, colour in meanings.items()]
    return entries


def _of_what(drawn: Drawing) -> str:
    if drawn.chosen == colours.DEFAULT:
        return "phases and times of generalisation"
    return ", ".join(drawn.known[key].title for key in drawn.chosen)


def _slice(drawn: Drawing) -> list[str]:
    """What is shown of settings that are not on the axes."""
    others = [drawn.settings[name] for name in drawn.found.others]
    if not others:
        return []
    shown = ", ".join(f"{each.title} = {each.texts[drawn.first(each.name)]}" for each in others)
    swept = "; ".join(f"{each.title}: {', '.join(each.texts)}" for each in others)
    return [f"Shown: {shown}. Swept beside the axes: {swept}; the page lets choose, and so does --where."]


def boundary_rows(drawn: Drawing, at: dict[str, Any]) -> list[dict[str, Any]]:
    """The contours that hold for these values, with the bands of the longest budget that was run."""
    on_axes = {drawn.found.x, drawn.found.y}
    lines = [
        line
        for line in drawn.extras.boundary
        if {line.setting, FRAC_TRAIN} == on_axes and all(at.get(k) == v for k, v in line.where.items())
    ]
    chosen, rows = contours.with_bands(lines), []
    for line in lines:
        shapes = contours.shapes(line, drawn.settings[line.setting], drawn.settings[FRAC_TRAIN])
        named = {"label": contours.label(line), "beyond": line.beyond, "bands": line is chosen}
        rows += contours.rows(shapes | named, is_across=drawn.found.x == line.setting)
    return rows
