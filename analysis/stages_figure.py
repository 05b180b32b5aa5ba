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
from analysis.stages.result import BOUNDARIES, MEANINGS, Stage, Status

COLOURS = {"B0": GREY, "B1": "#D55E00", "B2": "#0072B2", "B3": "#009E73"}
"""Okabe and Ito's; the shapes tell them apart as well."""
SHAPES = {"B0": "circle", "B1": "circle", "B2": "square", "B3": "diamond"}
WORDS = {name: f"{name}: {meaning}" for name, meaning in MEANINGS.items()}
"""Of the boundaries, in the legend."""
UNTOLD = Stage.untold.value
TRIANGLE, CROSS = "triangle-up", "M-1,-1L1,1M-1,1L1,-1"
FOOT = 14
"""Pixels between the crosses at the foot of a panel."""
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
    sentences = [captions.subtitle(runs, settings)[0], *_key(points, _seeds(runs))]
    return _styled(figure, name, sentences, max(LEAST_WIDTH, width * beside))


def _wrapped(title: str, width: float) -> list[str]:
    """As wide as a panel at most, so that those of neighbours stay apart."""
    return textwrap.wrap(title, max(12, int(width / CHARACTER)))


def stage_points(runs: pl.DataFrame, x: str, panels_of: str | None = None) -> Iterator[dict[str, Any]]:
    """A point a boundary that a run has, and one where it ended before the next: what the figure is drawn from.

    Keys: x, panel (values as text), place (of the run among those of its x and panel), what (a boundary, in WORDS),
    status (UNTOLD in the place of "not yet" for a run of that stage), steps (of these two the run's last one; of
    "absent" None), low, high, row (of an absent one, from below), tip.
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
        step, status = run[name], run[f"{name}_status"]
        point: dict[str, Any] = {"what": WORDS[name], "status": status, "steps": step and max(step, 1)}
        said = f"{WORDS[name]}, {status}"
        if step is not None:
            low, high = run[f"{name}_low"], run[f"{name}_high"]
            said = f"{WORDS[name]}: {steps_text(step)} ({steps_text(round(low))} – {steps_text(round(high))})"
            point |= {"low": max(low, 1), "high": max(high, 1)}
        yield from _shown(run, name, point | {"tip": f"{run['run_id']}\n{said}"})


def _shown(run: Mapping[str, Any], name: str, point: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The point, unless it is one of several that the run has not come to: the first of these stands for all."""
    statuses = {each: run[f"{each}_status"] for each in BOUNDARIES}
    if point["status"] == Status.not_yet.value:
        first = next(each for each, status in statuses.items() if status == Status.not_yet.value)
        if name == first and run["steps"]:
            untold = {"status": UNTOLD, "tip": f"{run['run_id']}\n{UNTOLD}"} if run["stage"] == UNTOLD else {}
            yield point | {"steps": run["steps"]} | untold
        return
    absent = [each for each, status in statuses.items() if status == Status.absent.value]
    yield point | ({"row": absent.index(name)} if name in absent else {})


def _layers(base: alt.Chart) -> Sequence[alt.Chart]:
    names, colours, shapes = list(WORDS.values()), list(COLOURS.values()), list(SHAPES.values())
    legend = alt.Legend(title=None, orient="bottom", columns=2, symbolSize=60, labelLimit=400, symbolOpacity=1)
    colour = alt.Color(field="what", type="nominal", scale=alt.Scale(domain=names, range=colours), legend=legend)
    shape = alt.Shape(field="what", type="nominal", scale=alt.Scale(domain=names, range=shapes), legend=legend)
    scale = alt.Scale(type="log", nice=False, padding=20)
    y = alt.Y(
        field="steps",
        type="quantitative",
        scale=scale,
        axis=alt.Axis(title="step", format=",d", grid=True, values=_ticks(base.data.values)),
    )
    bars = base.mark_rule(strokeWidth=1.6).encode(
        y=alt.Y(field="low", type="quantitative", scale=scale), y2=alt.Y2(field="high"), color=colour
    )
    tip = alt.expr("datum.tip")

    def points(status: str, **style: Any) -> alt.Chart:
        these = base.transform_filter(f"datum.status === '{status}'")
        return these.mark_point(**{"size": 52, "opacity": 1, "filled": True, "tooltip": tip} | style)

    foot = alt.Y(value=alt.expr(f"{HEIGHT - 8} - {FOOT} * datum.row"))
    return [
        bars.transform_filter("isValid(datum.low)"),
        points(Status.found.value).encode(y=y, color=colour, shape=shape),
        points(Status.not_separable.value, filled=False, fill="white", size=34).encode(
            y=y, color=colour, shape=shape
        ),
        points(Status.not_yet.value, shape=TRIANGLE).encode(y=y, color=colour),
        points(UNTOLD, shape=TRIANGLE, filled=False, color=GREY, strokeWidth=1.4).encode(y=y),
        points(Status.absent.value, shape=CROSS, filled=False, size=34, strokeWidth=1.6).encode(y=foot, color=colour),
    ]


def _ticks(points: Sequence[Mapping[str, Any]]) -> list[int]:
    """1, 2, 5, 10, … between the first and the last mark."""
    steps = [point["steps"] for point in points if point["steps"] is not None]
    every = [m * 10**k for k in range(10) for m in (1, 2, 5)]
    return [step for step in every if steps and min(steps) <= step <= max(steps)]


def _key(points: Sequence[Mapping[str, Any]], seeds: str) -> list[str]:
    """What a column is, and what the marks mean: those alone that are there."""
    found = {point["status"] for point in points}
    marks = {
        Status.found.value: "filled: found, with its 90 % interval",
        Status.not_separable.value: "open: not separable from its neighbour",
        Status.not_yet.value: "triangle at a run's last step: not yet, it ended before the boundary of that colour",
        UNTOLD: "open grey triangle: the run generalised, and no boundary after B0 was found",
        Status.absent.value: "cross at the foot: absent, the run came further without it",
    }
    said = "; ".join(text for status, text in marks.items() if status in found)
    return [
        f"Every column of marks is a run{seeds}.",
        f"Boundaries of its stages, by rule. {said[:1].upper()}{said[1:]}.",
    ]


def _seeds(runs: pl.DataFrame) -> str:
    seeds = [name for name in reversed(SEEDS) if name in runs.columns and runs[name].n_unique() > 1]
    return f"; those of one setting stand side by side, by seed ({captions.listed(runs, seeds[0])})" if seeds else ""


def _styled(figure: Any, name: str, sentences: Sequence[str], width: float) -> Any:
    lines = [line for sentence in sentences for line in textwrap.wrap(sentence, int(width / 5.6))]
    head = f"{captions.printable(name)}: stages"
    title = alt.TitleParams(text=head, subtitle=lines, anchor="start", fontSize=16, subtitleFontSize=11, offset=14)
    return (
        figure.properties(title=title, background="white", padding=14)
        .configure_view(stroke="#dddddd")
        .configure_axis(gridColor="#eeeeee", labelFontSize=11, titleFontSize=12, labelColor=DARK)
        .configure_title(subtitleColor="#444444")
        .configure_legend(labelFontSize=11)
    )
