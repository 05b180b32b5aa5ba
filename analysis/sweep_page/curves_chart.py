"""The curves of the runs of a cell as a Vega-Lite specification, without their rows: the page's script gives these.

Rows are CSV, a line a logged row, folded into one row a value as they are drawn: so a page can hold 500 runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from analysis.curves import CURVES
from analysis.diagram import CONFIG, SHORT_NUMBER, Spec, bare
from analysis.looks import GREY

WIDTH, HEIGHT, STRIP = 380, 190, 16
GRID: dict[str, Any] = {"grid": True, "gridColor": "#eeeeee"}
COLUMNS = 3
BLUE, RED, PINK, GREEN, ORANGE, SKY = "#0072B2", "#D55E00", "#AA4499", "#009E73", "#C98500", "#56B4E9"
STYLES: dict[str, tuple[str, list[int]]] = {
    "train_loss": (BLUE, [1, 0]),
    "test_loss": (RED, [1, 0]),
    "novel_loss": (PINK, [2, 2]),
    "train_acc": (BLUE, [1, 0]),
    "test_acc": (RED, [1, 0]),
    "novel_acc": (PINK, [2, 2]),
    "restricted_loss": (GREEN, [1, 0]),
    "excluded_loss": (ORANGE, [1, 0]),
    "restricted_loss_final": (GREEN, [6, 4]),
    "excluded_loss_final": (ORANGE, [6, 4]),
    "gini_W_E": (BLUE, [1, 0]),
    "gini_W_L": (RED, [2, 2]),
    "sum_sq_weights": ("#444444", [1, 0]),
}
"""Colour and dash of each curve: told apart by colour-blind readers. Dashed is what is known only in hindsight."""
STAGES = {
    "memorization": "#F6D9C8",
    "memorization so far": "#F6D9C8",
    "generalised, stages not told": "#D9D9D9",
    "memorization and circuit formation": "#FBE7C0",
    "circuit formation": "#FFF5B8",
    "cleanup": "#CBE7F7",
    "after cleanup": "#D5EFE4",
}
"""Stage -> colour of its band; a stage of another name is grey."""


def curve_spec(
    panels: Mapping[str, tuple[str, Sequence[str]]], accuracy: float | None, stages: Sequence[str]
) -> Spec:
    """A strip of stages, a line a run, over a panel for each kind of curve.

    Args:
        panels: title -> scale and the names of its curves.
        accuracy: of the rule that gives t_train and t_test, drawn where it is known.
        stages: the names of the stages that occur, in their order.
    """
    bands = [STAGES.get(stage, "#E5E5E5") for stage in stages]
    colours = alt.Scale(domain=list(stages), range=bands)
    charts = [
        _panel(title, scale, names, colours, accuracy if title == "Accuracy" else None)
        for title, (scale, names) in panels.items()
    ]
    apart = {"resolve": {"scale": dict.fromkeys(("color", "fill", "strokeDash", "x"), "independent")}}
    parse = dict.fromkeys(CURVES, "number") | {"step": "number", "run": "string"}
    return {
        "$schema": alt.SCHEMA_URL,
        "config": CONFIG | {"view": {"stroke": "#dddddd"}},
        "data": {"format": {"type": "csv", "parse": parse}},
        "params": [{"name": "run", "value": ""}],
        "vconcat": [bare(_strip(colours)), {"concat": charts, "columns": COLUMNS, "spacing": 28} | apart],
        "spacing": 14,
        "resolve": {"scale": {"color": "independent"}},
    }


def _steps(field: str = "step", **more: Any) -> alt.X:
    return alt.X(field=field, type="quantitative", title="step", axis=alt.Axis(format=",d", **GRID), **more)


def _strip(colours: alt.Scale) -> alt.Chart:
    """The stages of every run, one below the other."""
    return (
        alt.Chart(alt.NamedData("bands"))
        .mark_bar(height=STRIP - 4, stroke="#8c8c8c", strokeWidth=0.5)
        .encode(
            x=_steps("from"),
            x2="to:Q",
            y=alt.Y("run:N", title=None, sort=None),
            color=alt.Color(
                "stage:N", scale=colours, sort=None, legend=alt.Legend(title="stage", orient="top", labelLimit=260)
            ),
            tooltip=["run:N", "stage:N", "from:Q", "to:Q"],
        )
        .properties(width=WIDTH * 2, height={"step": STRIP}, title="Stages")
    )


def _panel(title: str, scale: str, names: Sequence[str], bands: alt.Scale, accuracy: float | None) -> Spec:
    shown = [STYLES[name] for name in names]
    values = (
        alt.Chart()
        .transform_fold(list(names), as_=["curve", "value"])
        .transform_filter("datum.value !== null && datum.value !== ''")
    )
    opacity = alt.condition("run === '' || datum.run === run", alt.value(0.85), alt.value(0.12))
    curves = values.mark_line(strokeWidth=1.6, invalid="break-paths-show-path-domains", clip=True).encode(
        x=_steps(),
        y=alt.Y(
            "value:Q",
            title=None,
            scale=_scale(scale, title),
            axis=alt.Axis(tickCount=6, labelExpr=SHORT_NUMBER, **GRID),
        ),
        detail="run:N",
        color=alt.Color(
            "curve:N",
            scale=alt.Scale(domain=list(names), range=[colour for colour, _ in shown]),
            legend=alt.Legend(title=None, orient="top", symbolStrokeWidth=2.5, symbolSize=300),
        ),
        strokeDash=alt.StrokeDash(
            "curve:N",
            scale=alt.Scale(domain=list(names), range=[dash for _, dash in shown]),
            legend=alt.Legend(title=None, orient="top", symbolStrokeWidth=2.5, symbolSize=300),
        ),
        opacity=opacity,
    )
    dots = _lone(values).encode(
        x=_steps(), y=alt.Y("value:Q", title=None, scale=_scale(scale, title)), fill=_tint(names), opacity=opacity
    )
    layers = [_bands(bands), curves, dots, *([_threshold(accuracy)] if accuracy is not None else [])]
    return {
        "title": title,
        "width": WIDTH,
        "height": HEIGHT,
        "layer": [bare(layer) for layer in layers],
        "resolve": {"scale": {"color": "independent", "strokeDash": "independent"}},
    }


def _lone(values: alt.Chart) -> alt.Chart:
    """Rows between two without a value, of which a line shows nothing.

    Each curve's first row is kept too, without a size: of no rows at all Vega says aloud that they have no extent.
    """
    by: dict[str, Any] = {"groupby": ["run", "curve"], "sort": [alt.SortField("step")]}
    return (
        values.transform_window(before="lag(value)", after="lead(value)", **by)
        .transform_filter("isValid(datum.value)")
        .transform_window(rank="row_number()", **by)
        .transform_calculate(lone="!isValid(datum.before) && !isValid(datum.after)")
        .transform_filter("datum.lone || datum.rank === 1")
        .mark_circle(clip=True)
        .encode(size=alt.condition("datum.lone", alt.value(16), alt.value(0)))
    )


def _tint(names: Sequence[str]) -> alt.Fill:
    tints = alt.Scale(domain=list(names), range=[STYLES[name][0] for name in names])
    return alt.Fill("curve:N", scale=tints, legend=None)


def _scale(kind: str, title: str) -> alt.Scale:
    if title == "Accuracy":
        return alt.Scale(domain=[0, 1])
    return alt.Scale(type="log", nice=False) if kind == "log" else alt.Scale(zero=True)


def _bands(colours: alt.Scale) -> alt.Chart:
    """The stages of one run, behind its curves."""
    return (
        alt.Chart(alt.NamedData("bands"))
        .transform_filter("datum.shown")
        .mark_rect(aria=False)
        .encode(x=_steps("from"), x2="to:Q", color=alt.Color("stage:N", scale=colours, legend=None))
    )


def _threshold(accuracy: float) -> alt.Chart:
    data = alt.Data(values=[{"accuracy": accuracy}])
    return alt.Chart(data).mark_rule(stroke=GREY, strokeDash=[2, 3]).encode(y="accuracy:Q")
