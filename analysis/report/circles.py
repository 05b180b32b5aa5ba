"""The embedding on the circles of its frequencies. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import torch

from analysis.report import spectra, style
from analysis.report.blocks import Figure, Section, Text
from analysis.report.words import listed
from grok_sweep.measures.blocks import frequency_norms
from grok_sweep.measures.evaluation import Evaluation

TITLE = "Embeddings on their circles"
MOST_CIRCLES = 6
COLUMNS = 3
SIDE = 176
LABELLED = 5
"""Residues whose numbers are written beside their points: 0..LABELLED-1."""


def section(evaluation: Evaluation, when: str, key_freqs: Sequence[int]) -> Section:
    """W_E along cos and sin of each key frequency; where there are none, of the three that are largest in W_E."""
    rows = evaluation.group_embedding
    if rows is None:
        return Section(
            TITLE, [Text("This network has no embedding: its operands go straight to the neurons.", quiet=True)]
        )
    norms = frequency_norms(rows)
    order = norms.argsort(descending=True).tolist()
    shown = list(key_freqs)
    chosen = "the key frequencies"
    if not shown:
        shown = sorted(k + 1 for k in order[:3])
        chosen = f"{listed(shown)}, the largest in W_E, for there are no key frequencies"
    left_out = shown[MOST_CIRCLES:]
    shown = shown[:MOST_CIRCLES]
    panels = [_panel(evaluation, k) for k in shown]
    more = f" Not drawn: {listed(left_out)}." if left_out else ""
    caption = (
        f"The embedding W_E {when}, one point a residue, projected on the unit directions of its cosine "
        f"and its sine component of frequency k: {chosen}. The line joins the residues in the order of their angle "
        f"w_k x; a clean frequency is a circle. Colour is the residue, the first {LABELLED} are numbered.{more}"
    )
    figure = Figure(
        "circles", style.styled(_grid(panels)), caption, "The embedding projected on the circles of frequencies"
    )
    return Section(TITLE, [figure])


def _grid(panels: Sequence[Any]) -> Any:
    return alt.concat(*panels, columns=COLUMNS, spacing=16).resolve_legend(color="shared")


def _panel(evaluation: Evaluation, k: int) -> Any:
    rows = evaluation.group_embedding
    assert rows is not None, "asked for above"
    n = len(rows)
    x, y = spectra.circle(rows, k)
    names = spectra.residues(evaluation)
    angles = (k * torch.arange(n)) % n
    values = [
        {
            "x": style.rounded(float(x[i])),
            "y": style.rounded(float(y[i])),
            "residue": names[i],
            "angle": int(angles[i]),
        }
        for i in range(n)
    ]
    reach = 1.18 * max(float(x.abs().max()), float(y.abs().max()), 1e-9)
    base = alt.Chart(style.table(values)).encode(
        x=_axis(alt.X, "x", f"along cos, k = {k}", reach), y=_axis(alt.Y, "y", f"along sin, k = {k}", reach)
    )
    line = base.mark_line(strokeWidth=0.6, color="#bbbbbb", interpolate="linear-closed").encode(
        order=alt.Order(field="angle", type="quantitative")
    )
    colour = alt.Color(
        field="residue", type="quantitative", scale=alt.Scale(scheme="viridis", domain=[0, max(names)]),
        legend=alt.Legend(title="residue", gradientLength=120, tickCount=4),
    )  # fmt: skip
    dots = base.mark_point(filled=True, size=22, opacity=1).encode(
        color=colour, tooltip=[alt.Tooltip(field=name, type="quantitative") for name in ("residue", "x", "y")]
    )
    words = base.transform_filter(f"datum.residue < {LABELLED}").mark_text(
        fontSize=11,
        fontWeight="bold",
        dx=alt.ExprRef(f"datum.x * {11 / reach}"),
        dy=alt.ExprRef(f"-datum.y * {11 / reach}"),
    )
    words = words.encode(text=alt.Text(field="residue", type="quantitative"))
    return alt.layer(line, dots, words).properties(width=SIDE, height=SIDE)


def _axis(channel: Any, field: str, title: str, reach: float) -> Any:
    scale = alt.Scale(domain=[style.rounded(-reach), style.rounded(reach)], nice=False)
    axis = alt.Axis(title=title, tickCount=3, grid=False, titleFontSize=11, labelFontSize=10)
    return channel(field=field, type="quantitative", scale=scale, axis=axis)
