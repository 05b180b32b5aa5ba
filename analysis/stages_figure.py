"""When each run of a sweep passed from stage to stage, over a setting: one Altair figure. Pure: it writes nothing."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt
import polars as pl

from analysis import captions
from analysis.axes import SEEDS, in_order, value_text
from analysis.labels import steps_text
from analysis.looks import DARK, GREY
from analysis.stages.result import BOUNDARIES, MEANINGS, Status

COLOURS = {"B0": GREY, "B1": "#D55E00", "B2": "#0072B2", "B3": "#009E73"}
"""Okabe and Ito's; the shapes tell them apart as well."""
SHAPES = {"B0": "circle", "B1": "circle", "B2": "square", "B3": "diamond"}
OPEN_END = "end of a run that has not come to its next boundary"
NOT_SEPARABLE = "open: not separable from its neighbour"
STEP, HEIGHT, LEAST_WIDTH, PAGE = 11, 260, 420, 840
"""Pixels a run; of a panel; of the title; of panels beside one another."""
CHARACTER = 7.0
"""Pixels of an axis title's character."""


def stages_figure(name: str, runs: pl.DataFrame, x: str, panels_of: str | None = None) -> Any:
    """Steps of the boundaries, one place a run, with their 90 % intervals.

    Args:
        name: the sweep's name, shown as text whatever it holds.
        runs: the sweep's runs with the columns of stages_of.stages_of_sweep.
        x: the setting along the axis; its runs stand beside one another.
        panels_of: a setting with a panel of its own for every value.
    """
    settings = [x, *([panels_of] if panels_of else [])]
    points = list(stage_points(runs, x, panels_of))
    panels = [_panel(panels_of, value, runs) for value in in_order(runs[panels_of].to_list())] if panels_of else []
    values = [value_text(value) for value in in_order(runs[x].to_list())]
    n_beside = max((point["place"] + 1 for point in points), default=1)
    width = max(60, len(values) * (n_beside + 1) * STEP)
    base = alt.Chart(alt.Data(values=points)).encode(
        x=alt.X(
            field="x",
            type="ordinal",
            scale=alt.Scale(domain=values),
            axis=alt.Axis(title=_wrapped(captions.axis_title(x, runs), width), labelAngle=0),
        ),
        xOffset=alt.XOffset(
            field="place", type="ordinal", scale=alt.Scale(domain=list(range(n_beside)), padding=0.6)
        ),
    )
    chart = alt.layer(*_layers(base)).properties(width=width, height=HEIGHT)
    figure: Any = chart
    beside = 1
    if panels:
        beside = min(len(panels), max(1, PAGE // width))
        header = alt.Header(title=None, labelFontSize=12, labelFontWeight="bold")
        by_panel = alt.Facet(field="panel", type="nominal", sort=panels, header=header)
        figure = figure.facet(facet=by_panel, columns=beside, spacing=16)
    return _styled(figure, name, captions.subtitle(runs, settings)[0], max(LEAST_WIDTH, width * beside))


def _wrapped(title: str, width: float) -> list[str]:
    """As wide as a panel at most, so that those of neighbours stay apart."""
    return textwrap.wrap(title, max(12, int(width / CHARACTER)))


def stage_points(runs: pl.DataFrame, x: str, panels_of: str | None = None) -> Iterator[dict[str, Any]]:
    """A point a boundary that a run has, and one where it ended before the next: what the figure is drawn from.

    Keys: x, panel (values as text), place (of the run among those of its x and panel), what (a boundary's meaning, or
    OPEN_END), steps, low, high, open, tip.
    """
    seeds = [seed for seed in SEEDS if seed in runs.columns]
    places: dict[tuple[str, str], int] = {}
    for run in runs.sort(seeds, maintain_order=True).iter_rows(named=True):
        if run["stage"] is None:
            continue
        key = (value_text(run[x]), _panel(panels_of, run[panels_of], runs) if panels_of else "")
        place = places[key] = places.get(key, -1) + 1
        for point in _points(run):
            yield {"x": key[0], "panel": key[1], "place": place, **point}


def _panel(name: str, value: Any, runs: pl.DataFrame) -> str:
    return captions.printable(f"{captions.axis_title(name, runs)} {value_text(value)}")


def _points(run: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name in BOUNDARIES:
        step = run[name]
        if step is None:
            continue
        low, high = run[f"{name}_low"], run[f"{name}_high"]
        said = f"{name}, {MEANINGS[name]}: {steps_text(step)} ({steps_text(round(low))} – {steps_text(round(high))})"
        yield {
            "what": MEANINGS[name],
            "steps": max(step, 1),
            "low": max(low, 1),
            "high": max(high, 1),
            "open": run[f"{name}_status"] == Status.not_separable.value,
            "tip": f"{run['run_id']}\n{said}",
        }
    waiting = [name for name in BOUNDARIES if run[f"{name}_status"] == Status.not_yet.value]
    if waiting and run["steps"]:
        said = f"{run['stage']}, {steps_text(run['steps'])} steps; {waiting[0]} not yet"
        yield {"what": OPEN_END, "steps": run["steps"], "open": False, "tip": f"{run['run_id']}\n{said}"}


def _layers(base: alt.Chart) -> Sequence[alt.Chart]:
    names = [*(MEANINGS[name] for name in BOUNDARIES), OPEN_END]
    colours, shapes = [*COLOURS.values(), GREY], [*SHAPES.values(), "triangle-up"]
    legend = alt.Legend(title=None, orient="bottom", columns=2, symbolSize=60, labelLimit=400)
    colour = alt.Color(field="what", type="nominal", scale=alt.Scale(domain=names, range=colours), legend=legend)
    shape = alt.Shape(field="what", type="nominal", scale=alt.Scale(domain=names, range=shapes), legend=legend)
    scale = alt.Scale(type="log", nice=False, padding=8)
    y = alt.Y(field="steps", type="quantitative", scale=scale, axis=alt.Axis(title="step", format=",d", grid=True))
    bars = base.mark_rule(strokeWidth=1.6).encode(
        y=alt.Y(field="low", type="quantitative", scale=scale), y2=alt.Y2(field="high"), color=colour
    )
    tip = alt.expr("datum.tip")
    inside = alt.Fill(field="what", type="nominal", scale=alt.Scale(domain=names, range=colours), legend=None)
    filled = base.transform_filter("!datum.open").mark_point(size=34, opacity=1, tooltip=tip)
    hollow = base.transform_filter("datum.open").mark_point(size=34, opacity=1, fill="white", tooltip=tip)
    return [
        bars.transform_filter("isValid(datum.low)"),
        filled.encode(y=y, color=colour, shape=shape, fill=inside),
        hollow.encode(y=y, color=colour, shape=shape),
    ]


def _styled(figure: Any, name: str, fixed: str, width: float) -> Any:
    says = f"Boundaries of the stages by rule, with 90 % intervals; {NOT_SEPARABLE}."
    lines = [line for sentence in (fixed, says) for line in textwrap.wrap(sentence, int(width / 5.6))]
    head = f"{captions.printable(name)}: stages"
    title = alt.TitleParams(text=head, subtitle=lines, anchor="start", fontSize=16, subtitleFontSize=11, offset=14)
    return (
        figure.properties(title=title, background="white", padding=14)
        .configure_view(stroke="#dddddd")
        .configure_axis(gridColor="#eeeeee", labelFontSize=11, titleFontSize=12, labelColor=DARK)
        .configure_title(subtitleColor="#444444")
        .configure_legend(labelFontSize=11)
    )
