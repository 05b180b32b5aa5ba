"""What the page's script is given: settings, cells, colours, templates, runs and curves, as plain values. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from analysis import colours, contours, diagram, differences, legends
from analysis.axes import FRAC_TRAIN
from analysis.colours import Colour
from analysis.diagram import APART, CONFIG, ENTRY_HEIGHT, SWATCH, TAG_ROOM, Spec
from analysis.labels import look_word
from analysis.looks import COLOURED, COLOURED_DARK, LIGHT, LOOKS, Size
from analysis.outcomes import NO_RUN
from analysis.page import EMBED
from analysis.places import Grid, Setting

LOOK_NAMES = list(LOOKS)
LOOK_NUMBERS = {name: i for i, name in enumerate(LOOK_NAMES)}


def settings(found: Sequence[Setting]) -> list[dict[str, Any]]:
    return [
        {"name": each.name, "title": each.title, "axis": each.axis_title, "texts": list(each.texts)} for each in found
    ]


def cells(
    table: Sequence[Mapping[str, Any]], found: Sequence[Setting], runs: Mapping[str, int], tips: Sequence[Any]
) -> list[dict[str, Any]]:
    """Of each cell: its place among the values of every setting, its runs (by number), its tooltip."""
    return [
        {
            "at": [each.values.index(cell[each.name]) for each in found],
            "runs": [runs[run_id] for run_id in cell["run_ids"]],
            "tip": tip,
        }
        for cell, tip in zip(table, tips, strict=True)
    ]


# --- colours ------------------------------------------------------------------------------------------------


def colour(one: Colour, table: Sequence[Mapping[str, Any]], sizes: Sequence[Size]) -> dict[str, Any]:
    """A colour with its title, key, and look, value and words of every cell."""
    paints = colours.painted(one, table, sizes[0])
    lines = {sizes[0].words: [paint["lines"] for paint in paints]}
    lines |= {size.words: [one.lines(cell, size) for cell in table] for size in sizes[1:]}
    found: dict[str, Any] = {
        "key": one.key,
        "of": one.key,
        "how": "",
        "heading": one.heading,
        "label": one.label,
        "title": one.title,
        "notes": list(one.notes),
        "meanings": dict(one.meanings),
        "encoding": diagram.encoding(one),
        "looks": [LOOK_NUMBERS[_look(one, paint)] for paint in paints],
        "lines": {
            words: ["\n".join(of_cell) for of_cell in found] for words, found in lines.items() if words != "none"
        },
    }
    if one.scale is not None:
        found["values"] = _rounded([paint["value"] for paint in paints])
    if one.key.startswith(differences.KEY):
        found["texts"] = [cell[f"{one.key}_text"] for cell in table]
    if one.how:
        found |= {"how": one.how, "of": one.key.partition(".")[2]}
        found["quartiles"] = [_rounded([cell[f"{one.key}_{end}"] for cell in table]) for end in ("q25", "q75", "n")]
    return found


def _look(one: Colour, paint: Mapping[str, Any]) -> str:
    is_dark = paint["look"] == COLOURED and one.scale is not None and one.scale.ink(paint["value"]) == LIGHT
    return COLOURED_DARK if is_dark else paint["look"]


def _rounded(values: list[Any]) -> list[Any]:
    """Four digits: what a page of thousands of cells has room for. Whole numbers stay as they are."""
    if all(value is None or isinstance(value, int) for value in values):
        return values
    return pl.Series(values, dtype=pl.Float64).round_sig_figs(4).to_list()


# --- maps ---------------------------------------------------------------------------------------------------


def maps(found: Sequence[Setting]) -> dict[str, Any]:
    """For every two settings the size of their map's cells, and a template for each such size."""
    grids = {f"{x.name}|{y.name if y else ''}": Grid(x, y) for x in found for y in (*found, None) if x is not y}
    sizes = list(dict.fromkeys(grid.size for grid in grids.values()))
    return {
        "places": {name: {"size": sizes.index(grid.size), "turned": grid.is_turned} for name, grid in grids.items()},
        "sizes": [_size(size) for size in sizes],
        "legend": diagram.legend_template(),
        "frame": _frame(),
        "swatch": SWATCH[0],
        "entry_height": ENTRY_HEIGHT,
        "tag_room": TAG_ROOM,
        "looks": {
            name: {"fill": look.fill, "line": look.line, "texture": look.texture, "ink": look.ink}
            for name, look in LOOKS.items()
        },
        "look_names": LOOK_NAMES,
        "no_run": {words: look_word(NO_RUN, Size(0, 0, 0, words)) for words in ("full", "short", "none")},
        "embed": EMBED | {"downloadFileName": "phase_diagram"},
    }


def sizes(found: Sequence[Setting]) -> list[Size]:
    """Of the cells over every two settings, one for each length of words; a map of one row makes do with these."""
    every = [Grid(x, y).size for x in found for y in (found if len(found) > 1 else (None,)) if x is not y]
    return list({size.words: size for size in every}.values())


def _size(size: Size) -> dict[str, Any]:
    steps = {"step_x": size.step_x, "step_y": size.step_y, "line_height": size.line_height, "words": size.words}
    return steps | {"template": diagram.map_template(size)}


def _frame() -> Spec:
    return {"config": CONFIG, "background": "white", "padding": 6, "spacing": 18, "resolve": APART}


def meanings(runs: pl.DataFrame, several: bool) -> dict[str, dict[str, str]]:
    """What each look means, beside words and beside abbreviations."""
    return {
        words: legends.legend(LOOK_NAMES, runs, abbreviated=words == "short", several=several)
        for words in ("full", "short")
    }


# --- the boundary -------------------------------------------------------------------------------------------


def boundary(lines: Sequence[contours.Contour], found: Sequence[Setting]) -> list[dict[str, Any]]:
    """Each contour in cells, with its axes, and the values that it holds for as the choosers have them."""
    by_name = {each.name: each for each in found}
    return [
        {"label": contours.label(line), "beyond": line.beyond, "axes": [line.setting, FRAC_TRAIN]}
        | {"where": {name: _text(by_name[name], value) for name, value in line.where.items() if name in by_name}}
        | contours.shapes(line, by_name[line.setting], by_name[FRAC_TRAIN])
        for line in lines
        if {line.setting, FRAC_TRAIN} <= by_name.keys()
    ]


def opening(lines: Sequence[contours.Contour]) -> str:
    """The budget whose bands are shown at first; "" where there is no boundary."""
    chosen = contours.with_bands(lines)
    return contours.label(chosen) if chosen else ""


def _text(setting: Setting, value: Any) -> str:
    return setting.texts[setting.values.index(value)]
