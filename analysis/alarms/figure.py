"""The ranking as one Altair figure: gain, detection and false alarms of each measure, side by side. Pure.

Colour and shape both say what a measure sees; baselines stand on grey, hindsight measures are dashed, and where the
runs are too few everything is pale and in the order of names.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from analysis import captions
from analysis.alarms.admissible import TEST_INPUTS, TEST_LABELS
from analysis.alarms.ranking import Ranking
from analysis.alarms.threshold import MOST_FALSE
from analysis.alarms.verdict import BASELINE, HINDSIGHT, TOO_FEW
from analysis.alarms.words import sentences
from analysis.looks import DARK, GREY

LABELS, INPUTS, TRAIN = "test labels", "test inputs, no labels", "weights or train pairs only"
NO_MEASURE, UNSAID = "settings only", "not said (own measure)"
SEES = {
    LABELS: ("#D55E00", "diamond"),
    INPUTS: ("#0072B2", "circle"),
    TRAIN: ("#009E73", "square"),
    NO_MEASURE: (DARK, "cross"),
    UNSAID: (GREY, "triangle-up"),
}
"""What a measure sees -> colour (Okabe and Ito) and shape."""
WIDTHS = (250, 88)
"""Of the panel of gains and of the others, in pixels."""
STEP, NARROW_STEP = 21, 16
"""Height of a row, in pixels; the narrow one with more than twenty, so that they fit on a printed page."""
WIDE = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16, 32)
FINE = (0.4, 0.5, 0.6, 0.7, 0.8, 1, 1.2, 1.5, 2, 2.5)
"""Ticks of the gain: the fine ones within a factor of five."""
PALE = 0.35


def figure(ranking: Ranking, name: str) -> alt.HConcatChart:
    """Three panels with a row a measure.

    Args:
        name: the sweep's, shown as text whatever it holds.

    Raises:
        ValueError: there is nothing to draw, for no run could be watched.
    """
    if not ranking.table.height:
        raise ValueError(f"no alarms to draw: {sentences(ranking)[0]}")
    rows: list[dict[str, Any]] = [_mark(row) for row in ranking.table.to_dicts()]
    base = alt.Chart(alt.Data(values=rows)).encode(
        opacity=alt.Opacity("opacity", type="quantitative", scale=None, legend=None),
        tooltip=[alt.Tooltip(field, type="nominal", title=title) for field, title in TIPS.items()],
    )
    order = [row["label"] for row in rows]
    named, bare = (
        base.encode(y=alt.Y("label", type="nominal", sort=order, axis=axis))
        for axis in (alt.Axis(title=None, labelLimit=240, ticks=False, domain=False, grid=False), None)
    )
    panels = [
        _gains(named, rows),
        _shares(bare, "detection", ["detected before T", "% of events"]),
        _shares(bare, "too_early", ["over 3x too early", "% of events"]),
        _false_alarms(bare),
    ]
    whole = alt.hconcat(*panels, spacing=22).resolve_scale(y="shared")
    return _styled(whole, [*sentences(ranking), _key(rows)], name)


def _key(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the marks mean: those alone that these rows have."""
    marks = {
        "Points: means, with 90 % intervals": True,
        "on grey: baselines": any(row["band"] for row in rows),
        "upright |: the gain if undecided alarms were not false": _any_apart(rows, "factor_lenient", "factor"),
        f"dashed upright: {MOST_FALSE:.0%} false alarms, as thresholds allow on other cells and other seeds": True,
        "grey bar: undecided alarms": _any_apart(rows, "false_alarms_decided", "false_alarms"),
        "dashed intervals: measures of hindsight": any(row["dashed"] for row in rows),
        "pale: too few runs": any(row["opacity"] < 1 for row in rows),
    }
    return "; ".join(text for text, is_there in marks.items() if is_there) + "."


def _any_apart(rows: Sequence[Mapping[str, Any]], one: str, other: str) -> bool:
    return any(row[one] is not None and row[one] != row[other] for row in rows)


TIPS = {
    "label": "measure", "sees_all": "sees", "kind": "key frequencies", "verdict": "verdict", "gain_text": "gain (ln)",
    "lead_text": "mean lead (ln)", "n_text": "runs",
}  # fmt: skip


def _mark(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table as the figure needs it: gains as factors, shares as they are."""
    few = row["verdict"].startswith(TOO_FEW)
    ends = {f"factor{end}": _factor(row[f"gain{end}"]) for end in ("", "_low", "_high")}
    suffix = {BASELINE: " (baseline)", HINDSIGHT: " (hindsight)"}.get(row["role"], "")
    return {
        **row, **ends, "factor_lenient": _factor(row["gain_lenient"]), "label": row["measure"] + suffix,
        "dashed": row["role"] == HINDSIGHT, "opacity": PALE if few else 1.0, "band": row["role"] == BASELINE,
        "seen": seen(row["sees"]), "sees_all": row["sees"], "gain_text": _text(row, "gain"),
        "lead_text": _text(row, "lead"), "n_text": f"{row['n_events']} with the event, {row['n_non_events']} without",
    }  # fmt: skip


def seen(sees: str) -> str:
    """The most that a measure needs, in a word of SEES."""
    if sees in ("settings", "unknown"):
        return NO_MEASURE if sees == "settings" else UNSAID
    return LABELS if TEST_LABELS in sees else INPUTS if TEST_INPUTS in sees else TRAIN


def _factor(gain: float | None) -> float | None:
    return None if gain is None else float(np.exp(gain))


def _text(row: Mapping[str, Any], number: str) -> str:
    if row[number] is None:
        return "unknown"
    ends = [row[f"{number}{end}"] for end in ("_low", "_high")]
    return f"{row[number]:+.2f}" + (f" ({ends[0]:+.2f} to {ends[1]:+.2f})" if None not in ends else "")


# --- panels -------------------------------------------------------------------------------------------------


def _panel(layers: Sequence[alt.Chart], width: int) -> Any:
    n_rows = len(layers[0].data.values)
    return alt.layer(*layers).properties(width=width, height=n_rows * (STEP if n_rows <= 20 else NARROW_STEP))


def _gains(base: alt.Chart, rows: Sequence[Mapping[str, Any]]) -> Any:
    fields = ("factor", "factor_low", "factor_high", "factor_lenient")
    values = [row[field] for row in rows for field in fields if row[field] is not None]
    low, high = min([0.7, *values]) / 1.05, max([1.4, *values]) * 1.05
    axis = alt.Axis(
        title=["gain: times as early as", "the best baseline"],
        values=[f for f in (FINE if high / low < 5 else WIDE) if low <= f <= high],
        labelExpr="'×' + format(datum.value, '.2~g')",
        grid=True,
    )
    x = alt.X("factor", type="quantitative", scale=alt.Scale(type="log", domain=[low, high], nice=False), axis=axis)
    band = base.transform_filter("datum.band").mark_bar(color="#e4e4e4", height={"band": 0.9}, aria=False)
    lenient = base.mark_tick(color=GREY, thickness=1.5, height={"band": 0.55})
    layers = [
        band.encode(x=alt.datum(low, type="quantitative"), x2=alt.datum(high)),
        _line(base, 1.0, []),
        *_intervals(base, "factor_low", "factor_high"),
        lenient.encode(x=alt.X("factor_lenient", type="quantitative")),
        _points(base, x),
    ]
    return _panel(layers, WIDTHS[0])


def _shares(base: alt.Chart, number: str, title: list[str]) -> Any:
    return _panel(
        [*_intervals(base, f"{number}_low", f"{number}_high"), _points(base, _share(number, title))], WIDTHS[1]
    )


def _false_alarms(base: alt.Chart) -> Any:
    """A bar from "undecided alarms are not false" to "are false", and an interval around both."""
    x = _share("false_alarms", ["false alarms", "% of runs without it"])
    bar = base.mark_bar(height=7, color=GREY)
    layers = [
        _line(base, MOST_FALSE, [4, 3]),
        *_intervals(base, "false_alarms_decided_low", "false_alarms_high"),
        bar.encode(x=alt.X("false_alarms_decided", type="quantitative"), x2="false_alarms"),
        _points(base, x),
    ]
    return _panel(layers, WIDTHS[1])


def _line(base: alt.Chart, at: float, dash: list[int]) -> alt.Chart:
    """From top to bottom of a panel."""
    mark = base.mark_rule(color=DARK, strokeWidth=1.2, strokeDash=dash, aria=False)
    return mark.encode(x=alt.datum(at, type="quantitative"), y=alt.value(0), y2=alt.value("height"))


def _share(field: str, title: list[str]) -> alt.X:
    axis = alt.Axis(title=title, labelExpr="format(100 * datum.value, 'd')", values=[0, 0.5, 1], labelFlush=False)
    return alt.X(field, type="quantitative", scale=alt.Scale(domain=[0, 1], nice=False), axis=axis)


def _intervals(base: alt.Chart, low: str, high: str) -> list[alt.Chart]:
    """Solid, or dashed where the measure is one of hindsight."""
    return [
        base.transform_filter(f"datum.dashed === {word}")
        .mark_rule(strokeWidth=1.6, strokeDash=dash)
        .encode(x=alt.X(low, type="quantitative"), x2=high, color=_colour(None))
        for word, dash in (("false", []), ("true", [4, 3]))
    ]


def _points(base: alt.Chart, x: alt.X) -> alt.Chart:
    present = [word for word in SEES if any(row["seen"] == word for row in base.data.values)]
    legend = alt.Legend(
        title="it sees", values=present, orient="bottom", direction="horizontal", columns=5, symbolOpacity=1
    )
    shapes = alt.Scale(domain=list(SEES), range=[shape for _, shape in SEES.values()])
    return base.mark_point(filled=True, size=62).encode(
        x=x, color=_colour(legend), shape=alt.Shape("seen", type="nominal", scale=shapes, legend=legend)
    )


def _colour(legend: alt.Legend | None) -> alt.Color:
    scale = alt.Scale(domain=list(SEES), range=[colour for colour, _ in SEES.values()])
    colour = alt.Color("seen", type="nominal", scale=scale)
    return colour if legend is None else colour.legend(legend)


def _styled(whole: alt.HConcatChart, told: Sequence[str], name: str) -> alt.HConcatChart:
    lines = [line for sentence in told for line in textwrap.wrap(sentence, 128)]
    head = f"{captions.printable(name)}: which measure sees grokking coming"
    title = alt.TitleParams(text=head, subtitle=lines, anchor="start", fontSize=16, subtitleFontSize=11, offset=14)
    return (
        whole.properties(title=title, background="white", padding=14)
        .configure_view(stroke=None)
        .configure_axis(labelFontSize=11, titleFontSize=11, titleFontWeight="normal", gridColor="#e6e6e6")
        .configure_title(subtitleColor="#444444")
        .configure_legend(labelFontSize=11, titleFontSize=11, labelLimit=260)
    )
