"""A map of a sweep as a Vega-Lite specification: one template a size of cell, filled with a colour and two axes.

Pure: it writes nothing. Every cell is drawn as paths in pixels about its centre (area, hatch, frame, words), so that
the legend's swatches are made by the same code as the cells. The page's script fills the same templates in the same
way (`fill` and `place` there), so that the static and the interactive figure are one.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import Any

import altair as alt

from analysis import layers, looks
from analysis.colours import Colour
from analysis.looks import LOOKS
from analysis.places import Grid, Mark

Spec = dict[str, Any]
WIDEST_PAIR = 420
"""Maps wider than this (pixels) stand one above the other."""
LEAST_WIDTH = 620
"""Of the figure, in pixels, so that title and legend have room."""
SWATCH = (30, 16)
ENTRY_HEIGHT = 22
APART: Spec = {
    "scale": {"color": "independent", "fill": "independent", "stroke": "independent"},
    "legend": {"color": "independent"},
}
"""Maps and their legend have scales of their own, and a key stands beside its map."""
TAG_ROOM = 92
"""For the names of a boundary's lines, between a map and its key."""
LETTER = 5.6
"""Width of a letter of a note, in pixels."""
CONFIG: Spec = {
    "view": {"stroke": None},
    "axis": {
        "grid": False, "ticks": False, "domain": False, "labelFontSize": 11, "titleFontSize": 12, "labelLimit": 160,
        "titlePadding": 8, "labelPadding": 4,
    },
    "title": {"fontSize": 13, "subtitleColor": "#444444"},
    "legend": {"labelFontSize": 11, "titleFontSize": 11},
}  # fmt: skip
SHORT_NUMBER = (
    "abs(datum.value) > 0 && abs(datum.value) < 0.001 ? format(datum.value, '~e') : format(datum.value, ',~g')"
)
"""A number on an axis or a key: 0.01, 1e-6, 1,000."""


# --- a map --------------------------------------------------------------------------------------------------


def map_template(size: looks.Size) -> Spec:
    """A map without its axes, its colour and its cells."""
    base = alt.Chart()
    drawn = [
        layers.coloured(base, size),
        *layers.areas(base.transform_filter("datum.value === null"), size.width, size.height),
    ]
    drawn += [*layers.lines(), *(layers.halos(base, size) if size.words != "none" else []), *layers.bands()]
    drawn += [layers.words(base, size)] if size.words != "none" else []
    drawn += layers.chosen(size)
    spec: Spec = {"layer": [bare(layer) for layer in drawn]}
    axes = {"x": _axis("i"), "y": _axis("j")}
    # Else the key of the coloured cells would be merged with that of their halos, which have none.
    spec["resolve"] = {"scale": {"stroke": "independent"}, "legend": {"stroke": "independent"}}
    return spec | {"encoding": axes, "title": {"anchor": "start", "frame": "group", "offset": 8}}


def _axis(field: str) -> Spec:
    return {"field": field, "type": "quantitative", "scale": {"nice": False, "zero": False}, "axis": {}}


def bare(chart: Any) -> Spec:
    """One chart's specification, to stand in a larger one; a chart without data takes that of the larger one.

    Figures are put together of these as plain values: Altair copies every chart at every step, which takes seconds.
    """
    spec = chart.to_dict(validate=False)
    return {k: v for k, v in spec.items() if k not in ("$schema", "config") and (k, v) != ("data", {"name": "empty"})}


def fill(template: Spec, colour: Colour, grid: Grid, cells: Sequence[Mark], room: float, tags: str = "") -> Spec:
    """The map of one colour over two axes.

    Args:
        room: width that its title may take, in pixels.
        tags: side of the map on which a boundary's lines are named: "right", "top", or "" without a boundary.
    """
    spec = json.loads(json.dumps(template))
    spec |= {"width": grid.width, "height": grid.height, "data": {"values": list(cells)}}
    place(spec["encoding"]["x"], grid.across.axis_title, grid.across.texts, grid.is_turned)
    place(spec["encoding"]["y"], grid.up.axis_title if grid.up else None, grid.up.texts if grid.up else ("",), False)
    lines = [line for text in colour.notes for line in textwrap.wrap(text, int(room / LETTER))]
    spec["title"] |= {"text": colour.title, "offset": 24 if tags == "top" else 8}
    spec["title"] |= {"subtitle": lines} if lines else {}
    key = encoding(colour)
    if key is None:
        spec["layer"] = [layer for layer in spec["layer"] if not layer.get("name", "").startswith("coloured")]
        return spec
    by_name = {layer.get("name"): layer for layer in spec["layer"]}
    if "coloured_halo" in by_name:
        by_name["coloured_halo"]["encoding"]["stroke"] = key | {"legend": None}
    size = {"gradientLength": max(90, min(240, grid.height - 40)), "offset": TAG_ROOM if tags == "right" else 18}
    by_name["coloured"]["encoding"]["color"] = key | {"legend": key["legend"] | size}
    return spec


def place(channel: Spec, title: str | None, texts: Sequence[str], is_turned: bool) -> None:
    """Give an axis its title and the values under its cells."""
    channel["scale"]["domain"] = [-0.5, len(texts) - 0.5]
    if title is None:
        channel["axis"] = None
        return
    channel["axis"] = {
        "title": title,
        "values": list(range(len(texts))),
        "labelExpr": f"{json.dumps(list(texts))}[datum.value]",
        "labelAngle": -90 if is_turned else 0,
        "aria": False,  # it would tell of numbers from -0.5 on; every cell says where it stands
    }


def encoding(colour: Colour) -> Spec | None:
    """The colour channel of a colour that has numbers: its scale and its key."""
    scale = colour.scale
    if scale is None:
        return None
    scheme: Spec = {"scheme": "purpleorange"} if scale.kind == "diverging" else {"scheme": "viridis"}
    kind = "log" if scale.kind == "log" else "linear"
    in_steps = colour.unit == "steps" and scale.low >= 1
    number = {"format": ",d"} if in_steps else {"labelExpr": SHORT_NUMBER}
    if colour.unit == "ratio":
        number = {"labelExpr": "'×' + format(exp(datum.value), '.3~g')"}
    label = [colour.label, f"({colour.unit})"] if colour.unit else [colour.label]
    if scale.kind == "diverging":
        label = [colour.unit or "difference"]
    return {
        "field": "value",
        "type": "quantitative",
        "scale": scheme
        | {"type": kind, "domain": [scale.low, scale.high], "reverse": scale.reverse, "nice": False}
        | ({} if kind == "log" else {"zero": False}),
        "legend": {"title": label, "values": list(scale.ticks)} | number,
    }


# --- the legend ---------------------------------------------------------------------------------------------


def legend_template() -> Spec:
    """Swatches and meanings, without their rows."""
    base = alt.Chart().encode(x=_pixels(alt.X, "px"), y=_pixels(alt.Y, "py"))
    text = base.mark_text(align="left", baseline="middle", dx=SWATCH[0] / 2 + 10, fontSize=11, aria=False)
    text = text.encode(text=alt.Text(field="meaning", type="nominal"))
    return {"layer": [bare(layer) for layer in (*layers.areas(base, *SWATCH), text)]}


def _pixels(channel: Any, field: str) -> Any:
    return channel(field=field, type="quantitative", axis=None, scale=None)


def legend_rows(entries: Sequence[tuple[str, str]]) -> list[Mark]:
    """A row for each look and meaning."""
    rows = []
    for i, (look, meaning) in enumerate(entries):
        style = LOOKS[look]
        drawn = {"look": look, "fill": style.fill, "line": style.line, "texture": style.texture}
        place = {"px": SWATCH[0] / 2, "py": (i + 0.5) * ENTRY_HEIGHT}
        rows.append(drawn | place | {"meaning": meaning, "spoken": meaning})
    return rows


# --- the static figure --------------------------------------------------------------------------------------


def figure(
    name: str,
    sentences: Sequence[str],
    maps: Sequence[Spec],
    entries: Sequence[tuple[str, str]],
    boundary: Sequence[Mark] = (),
) -> Spec:
    """Maps beside or above one another, with one legend.

    Args:
        name: the title; shown as text whatever it holds.
        sentences: paragraphs under it.
        maps: filled, of equal size.
        entries: looks and what they mean.
        boundary: drawn over every map, as made by analysis.contours.
    """
    beside = maps[0]["width"] <= WIDEST_PAIR
    width = max(LEAST_WIDTH, maps[0]["width"] * (len(maps) if beside else 1) + 170)
    rows = legend_rows(entries)
    legend = legend_template() | {"width": width, "height": len(rows) * ENTRY_HEIGHT, "data": {"values": rows}}
    lines = [line for sentence in sentences for line in textwrap.wrap(sentence, int(width / LETTER))]
    title = {"text": name, "subtitle": lines, "anchor": "start", "fontSize": 16, "subtitleFontSize": 11, "offset": 16}
    return {
        "$schema": alt.SCHEMA_URL,
        "datasets": {"boundary": list(boundary), "chosen": []},
        "config": CONFIG,
        "background": "white",
        "padding": 14,
        "title": title | {"limit": int(width)},
        "vconcat": [
            {"hconcat" if beside else "vconcat": _named_apart(maps), "spacing": 36, "resolve": APART},
            legend,
        ],
        "spacing": 22,
        "resolve": APART,
    }


def _named_apart(maps: Sequence[Spec]) -> list[Spec]:
    """Vega names a layer's scale after the layer: of two with one name, the second map's scale would colour both."""
    return [
        spec | {"layer": [x | {"name": f"{x['name']}_{i}"} if "name" in x else x for x in spec["layer"]]}
        for i, spec in enumerate(maps)
    ]
