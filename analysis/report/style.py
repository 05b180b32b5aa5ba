"""How the figures of a report look: colours, sizes, axes of steps. Pure.

Colours are Okabe and Ito's, without the yellow, which a line on white does not bear; where there are more lines than
colours, they also differ in their dashes.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

WIDTH = 560
"""Of a figure's plot, in pixels; with axis and legend it fits a page of A4 at its own size."""
HEIGHT = 220
MARGIN = 36
"""Least width of a vertical axis' labels, so that plots above one another are aligned."""
BLUE, RED, GREEN, PINK, ORANGE, SKY, BLACK = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#1a1a1a",
)
GREY = "#8c8c8c"
COLOURS = (BLUE, RED, GREEN, PINK, ORANGE, SKY, BLACK)
SOLID, DASHED, DOTTED, DASH_DOT = [], [6, 4], [2, 2], [8, 3, 2, 3]
DASHES = (SOLID, DASHED, DOTTED, DASH_DOT)
MOST_DISTINCT = len(COLOURS) * len(DASHES)
BANDS = ("#eef1f6", "#f7f0e4", "#e9f3ec", "#f4ecf3")
"""Behind the stages of a run, one after the other."""
CONFIG = alt.Config(
    view=alt.ViewConfig(stroke="#bbbbbb"),
    axis=alt.AxisConfig(
        gridColor="#e6e6e6", gridOpacity=0.7, tickColor="#999999", domainColor="#999999", labelFontSize=11,
        titleFontSize=12, titleFontWeight="normal", titlePadding=8, labelColor="#333333",
    ),
    title=alt.TitleConfig(fontSize=12, anchor="start", fontWeight="bold", offset=6, subtitleColor="#444444"),
    legend=alt.LegendConfig(
        labelFontSize=11, titleFontSize=11, titleFontWeight="normal", symbolStrokeWidth=2, symbolSize=160,
        labelLimit=260, titleLimit=260, rowPadding=3,
    ),
    header=alt.HeaderConfig(labelFontSize=11, titleFontSize=12),
)  # fmt: skip


def styled(chart: Any) -> Any:
    """Fonts, grid and background of every figure.

    All at once: each `configure_…` of Altair's copies the chart with all that it holds.
    """
    made = chart.copy(deep=False)
    made.background, made.padding, made.config = "white", 8, CONFIG
    return made


def step_axis(last: int, first: float = 1, log: bool = True) -> alt.X:
    """Steps on a log axis, which cannot show step 0: it is left out of the data; or on a linear one."""
    high = max(last, first + 1)
    kind: dict[str, Any] = {"type": "log"} if log else {"type": "linear", "zero": False}
    scale = alt.Scale(domain=[first, high], nice=False, **kind)
    ticks: dict[str, Any] = {"values": decades(first, high)} if log else {"tickCount": 8}
    axis = alt.Axis(title="step (updates)", format=",d", grid=True, labelFlush=True, **ticks)
    return alt.X(field="step", type="quantitative", scale=scale, axis=axis)


def decades(low: float, high: float) -> list[float]:
    """Powers of ten from low to high; between them 2 and 5 where there are few, and ever fewer where there are "
    "many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, math.ceil((last - first) / 8))
    factors = (1, 2, 5) if last - first <= 2 else (1,)
    values = [factor * 10.0**power for power in range(first, last + 1, every) for factor in factors]
    return [float(f"{value:.6g}") for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]


def value_axis(title: str, values: Sequence[float], log: bool) -> alt.Y:
    """An axis for these values: a log one with powers of ten, or a linear one from 0 where they are near it."""
    if not log:
        axis = alt.Axis(title=title, tickCount=5, minExtent=MARGIN)
        return alt.Y(field="value", type="quantitative", scale=alt.Scale(zero=True), axis=axis)
    low, high = log_domain(values)
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    axis = alt.Axis(title=title, minExtent=MARGIN, **powers(low, high))
    return alt.Y(field="value", type="quantitative", scale=scale, axis=axis)


def share_axis(title: str, field: str = "value") -> alt.Y:
    axis = alt.Axis(title=title, values=[0, 0.25, 0.5, 0.75, 1], format=".2~f", minExtent=MARGIN)
    return alt.Y(field=field, type="quantitative", scale=alt.Scale(domain=[0, 1]), axis=axis)


def count_axis(field: str, title: str, top: float, height: int) -> alt.Y:
    """A linear axis from 0 that leaves room for a word above its largest value."""
    scale = alt.Scale(domain=[0, rounded(top * height / (height - 18)) or 1], nice=False)
    axis = alt.Axis(title=title, tickCount=4, minExtent=MARGIN)
    return alt.Y(field=field, type="quantitative", scale=scale, axis=axis)


def powers(low: float, high: float) -> dict[str, Any]:
    """Ticks and labels of a log axis or legend: 0.01, 1, 100; 1e-6, 1e0 where they are many."""
    if low >= 1e-3 and high <= 1e5:
        return {"values": decades(low, high), "format": ",~g"}
    return {"values": decades(low, high), "format": "~e", "labelExpr": "replace(datum.label, 'e+', 'e')"}


def log_domain(values: Sequence[float]) -> tuple[float, float]:
    """Ends of a log axis that holds these values with a little room."""
    found = [value for value in values if value > 0]
    low, high = min(found, default=0.1), max(found, default=1.0)
    room = max((high / low) ** 0.04, 1.05)
    return low / room, high * room


def table(rows: Sequence[Mapping[str, Any]]) -> alt.Data:
    """Rows as a figure's data: one string of comma-separated values, which Altair copies and checks as one.

    A hundred times faster than a value each, and half as large on the page. All rows have the keys of the first.
    """
    text = io.StringIO()
    first = rows[0] if rows else {}
    writer = csv.DictWriter(text, fieldnames=list(first))
    writer.writeheader()
    writer.writerows(rows)
    kinds = {name: "string" if isinstance(value, str) else "number" for name, value in first.items()}
    return alt.Data(values=text.getvalue(), format=alt.DataFormat(type="csv", parse=kinds))


def rounded(value: float) -> float:
    """Five digits: more cannot be seen."""
    return float(f"{value:.5g}")


def looks(n: int) -> list[tuple[str, Sequence[float]]]:
    """Colour and dash of n lines that can be told apart."""
    assert n <= MOST_DISTINCT, f"{n} lines, {MOST_DISTINCT} looks"
    return [(COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS)]) for i in range(n)]
