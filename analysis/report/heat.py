"""Frequencies against steps as a map of colours, with the key frequencies marked. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import altair as alt

from analysis.report import pixels, style
from analysis.report.over_time import Band, stage_bands

MOST_CELLS = 6_000
"""Of a map: each is a rectangle that the reader can point at."""
HEIGHT = 300
LEAST_BETWEEN_WORDS = 11
"""Pixels between the names of two key frequencies."""


def thinned_steps(steps: Sequence[int], n_freqs: int) -> list[int]:
    """So many of the steps that a map stays within MOST_CELLS, the first and the last among them; by their place."""
    most = max(2, MOST_CELLS // max(n_freqs, 1))
    if len(steps) <= most:
        return list(steps)
    places = sorted({round(i * (len(steps) - 1) / (most - 1)) for i in range(most)})
    return [steps[i] for i in places]


def cells(table: Mapping[int, Sequence[float | None]], log: bool) -> list[dict[str, Any]]:
    """A rectangle for each step and frequency, from halfway to the step before to halfway to the next.

    Args:
        table: step to the values of k = 1, 2, …
        log: halfway in the log of the step; step 0 is left out.
    """
    steps = sorted(step for step in table if step > 0 or not log)
    middles = [math.sqrt(a * b) if log else (a + b) / 2 for a, b in pairwise(steps)]
    edges = [*steps[:1], *middles, *steps[-1:]]
    return [
        {
            "step": style.rounded(edges[i]), "end": style.rounded(edges[i + 1]), "at": step,
            "low": k - 0.5, "high": k + 0.5, "k": k, "value": style.rounded(value),
        }
        for i, step in enumerate(steps)
        for k, value in enumerate(table[step], 1)
        if value is not None
    ]  # fmt: skip


def heat_map(
    table: Mapping[int, Sequence[float | None]],
    key_freqs: Sequence[int],
    title: str,
    log: bool,
    log_steps: bool = True,
    bands: Sequence[Band] = (),
    width: int = style.WIDTH,
    height: int = HEIGHT,
) -> Any:
    """k upwards, steps to the right, the value as colour; key frequencies are named at the right edge.

    Args:
        table: step to the values of k = 1, 2, …
        title: of the colours, with their unit.
        log: whether colours are even in the logarithm of the value.
        log_steps: whether steps are.
    """
    found = [cell for cell in cells(table, log_steps) if cell["value"] > 0 or not log]
    n_freqs = max((cell["k"] for cell in found), default=1)
    x = style.step_axis(max(table), min(cell["step"] for cell in found), log_steps)
    shade = _colour([cell["value"] for cell in found], log)
    area = (
        alt.Chart(style.table(found))
        # A thin frame in the cell's own colour: without it the page shows through between neighbours.
        .mark_rect(strokeWidth=0.7, clip=True)
        .encode(
            x=x, x2=alt.X2(field="end"), y=_frequency_axis("low", n_freqs), y2=alt.Y2(field="high"),
            tooltip=_tips(title),
            color=shade,
            stroke=alt.Stroke(field="value", type="quantitative", scale=shade["scale"], legend=None),
        )
    )  # fmt: skip
    names = stage_bands(bands, x)[1:]
    layers = [area, *names, *_key_marks(key_freqs, n_freqs, width, height)]
    low, high = shade["scale"]["domain"]
    plot = alt.layer(*layers).properties(width=width, height=height)
    return alt.hconcat(plot, pixels.key(title, low, high, log), spacing=16)


def _frequency_axis(field: str, n_freqs: int) -> alt.Y:
    axis = alt.Axis(title="frequency k", tickMinStep=1, tickCount=8, format="d", grid=False, minExtent=style.MARGIN)
    scale = alt.Scale(domain=[0.5, n_freqs + 0.5], nice=False, zero=False)
    return alt.Y(field=field, type="quantitative", scale=scale, axis=axis)


def _tips(title: str) -> list[alt.Tooltip]:
    return [
        alt.Tooltip(field="at", type="quantitative", title="step", format=",d"),
        alt.Tooltip(field="k", type="quantitative"),
        alt.Tooltip(field="value", type="quantitative", title=title, format=".4~g"),
    ]


def _colour(values: Sequence[float], log: bool) -> alt.Color:
    """viridis over these values, low is dark."""
    domain = list(style.log_domain(values)) if log else [0, max(values, default=0) or 1]
    scale = alt.Scale(type="log" if log else "linear", scheme="viridis", domain=domain, nice=False)
    return alt.Color(field="value", type="quantitative", scale=scale, legend=None)


def _key_marks(key_freqs: Sequence[int], n_freqs: int, width: int, height: int) -> list[alt.Chart]:
    """A short stroke at each key frequency, right of the map, and its number, moved where two would touch."""
    if not key_freqs:
        return []
    words_at = spread(sorted(key_freqs), LEAST_BETWEEN_WORDS * n_freqs / height)
    values = [{"k": k, "word": word, "text": f"k = {k}"} for k, word in zip(sorted(key_freqs), words_at, strict=True)]
    base = alt.Chart(alt.Data(values=values))
    stroke = base.mark_rule(color="#1a1a1a", strokeWidth=1).encode(
        x=alt.value(width + 2), x2=alt.value(width + 12),
        y=_frequency_axis("k", n_freqs), y2=alt.Y2(field="word"),
    )  # fmt: skip
    words = base.mark_text(align="left", baseline="middle", fontSize=10, color="#1a1a1a").encode(
        x=alt.value(width + 15), y=_frequency_axis("word", n_freqs),
        text=alt.Text(field="text", type="nominal"),
    )  # fmt: skip
    return [stroke, words]


def spread(places: Sequence[float], least: float) -> list[float]:
    """The places, ascending, moved apart so that neighbours differ by `least` at least, each as little as may be."""
    moved = [float(place) for place in places]
    for _ in range(50):
        for i in range(len(moved) - 1):
            lack = least - (moved[i + 1] - moved[i])
            if lack > 1e-9:
                moved[i] -= lack / 2
                moved[i + 1] += lack / 2
    return moved
