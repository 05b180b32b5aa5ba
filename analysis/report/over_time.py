"""Measures against the step: lines with a shared axis of steps, the run's stages as bands behind them. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from analysis.report import style

Rows = Sequence[Mapping[str, Any]]
Band = tuple[str, float, float]
"""A stage's name, and the steps from which and to which it lasts."""
MOST_ROWS = 700
"""Of a curve; of more rows, so many are drawn, evenly spread over the logarithm of the step."""


@dataclass(frozen=True)
class Line:
    """A measure as a line.

    Attributes:
        column: its name in the rows.
        label: in the legend: the same name, unless that says too little.
    """

    column: str
    colour: str
    dash: Sequence[float] = tuple(style.SOLID)
    label: str = ""

    @property
    def name(self) -> str:
        return self.label or self.column


def present(rows: Rows, lines: Sequence[Line]) -> list[Line]:
    """The lines of which some row has a number."""
    return [line for line in lines if any(_is_number(row.get(line.column)) for row in rows)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def thinned(rows: Rows, most: int = MOST_ROWS) -> Rows:
    """At most so many of the rows, the first and the last among them, evenly spread over the log of the step."""
    if len(rows) <= most:
        return rows
    last = max(rows[-1]["step"], 2)
    kept, bin_before = [], -1
    for row in rows:
        found = int(most * math.log(max(row["step"], 1)) / math.log(last))
        if found != bin_before or row is rows[-1]:
            kept.append(row)
            bin_before = found
    return kept


def points(rows: Rows, lines: Sequence[Line], log: bool) -> list[Mapping[str, Any]]:
    """{"step", "name", "value", "stretch"} of every number from step 1 on; on a log axis, of every positive one.

    A row that holds the measure without such a number ends a stretch of its line; a row without the measure does not.
    """
    return [point for line in lines for point in thinned(_points(rows, line, log))]


def _points(rows: Rows, line: Line, log: bool) -> list[dict[str, Any]]:
    found, stretch, is_broken = [], 0, False
    for row in rows:
        if line.column not in row or row["step"] <= 0:
            continue
        value = row[line.column]
        if not _is_number(value) or not math.isfinite(value) or (log and value <= 0):
            is_broken = True
            continue
        stretch += is_broken and bool(found)
        is_broken = False
        found.append({"step": row["step"], "name": line.name, "value": style.rounded(value), "stretch": stretch})
    return found


def curves(
    data: Sequence[Mapping[str, Any]],
    lines: Sequence[Line],
    y: alt.Y,
    last: int,
    bands: Sequence[Band] = (),
    marks: Sequence[tuple[str, int]] = (),
    height: int = style.HEIGHT,
    width: int = style.WIDTH,
    detail: str = "",
    legend: str = "right",
    pointer: str = "pointer",
    dash_legend: bool = True,
) -> Any:
    """Lines over the steps, a break between two stretches, a dot where one is a single row; without `styled`'s look.

    Args:
        data: as `points` makes them; several pieces of lines may be joined.
        marks: name and step of events, drawn as dotted uprights.
        legend: where it stands; dash_legend: whether it shows the dashes too.
        pointer: what follows the pointer bears this name; another one for each panel of a figure.
        detail: a field of the data that parts lines of one name; then no values follow the pointer.
    """
    x = style.step_axis(last)
    names = [line.name for line in lines]
    entries = alt.Legend(title=None, orient=legend, columns=1, symbolType="stroke")  # pyright: ignore[reportArgumentType]
    colours = alt.Scale(domain=names, range=[line.colour for line in lines])
    dashes = alt.Scale(domain=names, range=[list(line.dash) for line in lines])
    colour = alt.Color(field="name", type="nominal", scale=colours, legend=entries)
    dash = alt.StrokeDash(field="name", type="nominal", scale=dashes, legend=entries if dash_legend else None)
    base = alt.Chart(style.table(data))
    parted = [alt.Detail(field=field, type="nominal") for field in (detail, "stretch") if field]
    drawn = base.mark_line(strokeWidth=1.7, clip=True).encode(x=x, y=y, color=colour, strokeDash=dash, detail=parted)
    follow = [] if detail else [_hover(base, names, x, pointer)]
    layers = [*stage_bands(bands, x), drawn, *_dots(data, lines, x, y, detail), *_uprights(marks, x, height), *follow]
    return alt.layer(*layers).properties(width=width, height=height)


def _dots(
    data: Sequence[Mapping[str, Any]], lines: Sequence[Line], x: alt.X, y: alt.Y, detail: str
) -> list[alt.Chart]:
    """The stretches of a single row, of which a line shows nothing."""
    tints = {line.name: line.colour for line in lines}
    whose = [(point["name"], point.get(detail), point["stretch"]) for point in data]
    count = Counter(whose)
    lone = [
        {"step": point["step"], "value": point["value"], "tint": tints[point["name"]]}
        for point, key in zip(data, whose, strict=True)
        if count[key] == 1
    ]
    if not lone:
        return []
    fill = alt.Fill(field="tint", type="nominal", scale=None, legend=None)
    dots = alt.Chart(style.table(lone)).mark_circle(size=16, opacity=1, clip=True)
    return [dots.encode(x=x, y=y, fill=fill)]


def stage_bands(bands: Sequence[Band], x: alt.X) -> list[alt.Chart]:
    """A tinted area and a name for each stage, within the axis of steps."""
    first, last = x["scale"]["domain"]
    within = [(name, max(start, first), min(end, last)) for name, start, end in bands]
    values = [
        {"stage": name, "step": start, "end": end, "tint": style.BANDS[i % len(style.BANDS)], "row": i % 2}
        for i, (name, start, end) in enumerate(within)
        if end > start
    ]
    if not values:
        return []
    base = alt.Chart(alt.Data(values=values)).encode(x=x)
    area = base.mark_rect(clip=True).encode(
        x2=alt.X2(field="end"), fill=alt.Fill(field="tint", type="nominal", scale=None, legend=None)
    )
    # Above the plot, where no line runs, and by turns in two rows: a short stage is narrower than its name.
    words = [
        base.transform_filter(f"datum.row === {row}")
        .mark_text(align="left", baseline="bottom", dx=1, fontSize=10, color="#555555")
        .encode(text=alt.Text(field="stage", type="nominal"), y=alt.value(-3 - 12 * row))
        for row in {value["row"] for value in values}
    ]
    return [area, *words]


def _uprights(marks: Sequence[tuple[str, int]], x: alt.X, height: int) -> list[alt.Chart]:
    values = [{"step": step, "event": name} for name, step in marks if step > 0]
    if not values:
        return []
    base = alt.Chart(alt.Data(values=values)).encode(x=x)
    rule = base.mark_rule(strokeDash=[1, 3], color="#444444")
    words = base.mark_text(align="left", baseline="bottom", dx=4, fontSize=10, color="#444444").encode(
        text=alt.Text(field="event", type="nominal"), y=alt.value(height - 4)
    )
    return [rule, words]


def _hover(base: alt.Chart, names: Sequence[str], x: alt.X, pointer: str) -> alt.Chart:
    """An upright that follows the pointer, with all values of its step."""
    near = alt.selection_point(
        name=pointer, fields=["step"], nearest=True, on="pointerover", empty=False, clear="pointerout"
    )
    tips = [alt.Tooltip(field="step", type="quantitative", format=",d")]
    tips += [alt.Tooltip(field=_escaped(name), type="quantitative", title=name, format=".4~g") for name in names]
    return (
        base.transform_pivot("name", value="value", groupby=["step"])
        .mark_rule(color="#999999")
        .encode(x=x, tooltip=tips, opacity=alt.condition(near, alt.value(0.7), alt.value(0)))
        .add_params(near)
    )


def _escaped(field: str) -> str:
    """A field whose name holds what Vega reads as a path."""
    return field.replace("\\", "\\\\").replace(".", "\\.").replace("[", "\\[").replace("]", "\\]")
