"""Which frequency each neuron computes with, and how many of each there are. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import altair as alt

from analysis.report import spectra, style
from analysis.report.blocks import Figure, Section, Text
from analysis.report.words import sentence
from grok_sweep.measures.evaluation import Evaluation
from grok_sweep.measures.neurons import LEAST_SHARE
from grok_sweep.measures.table import measure

TITLE = "Neuron clusters"
NONE, CONSTANT = "none", "constant"


def section(evaluation: Evaluation, when: str) -> Section:
    """Neurons by their frequency; says why where one frequency is not what a neuron should have."""
    missing = measure("frac_neurons_85").needs - evaluation.has
    if missing:
        why = (
            "Neurons that square have no single frequency: of (cos w_k a + cos w_k b)² frequency k explains four "
            "fifths, 2k the rest."
            if "neurons" in evaluation.has
            else "This network has no neurons."
        )
        return Section(TITLE, [Text(why, quiet=True)])
    found = spectra.dominant(evaluation)
    chart = alt.vconcat(_sizes(found), _shares(found), spacing=18)
    of_one = sum(neuron["share"] > LEAST_SHARE for neuron in found)
    caption = (
        f"{sentence(when)}. Above: how many of the {len(found)} neurons one frequency explains to more than "
        f"{LEAST_SHARE:.0%} of their variance over the pairs, by that frequency ({of_one} in all); none: no "
        "frequency does so; constant: the same on all pairs. Below: every neuron by its best frequency and the "
        f"share that this one explains; the line is at {LEAST_SHARE} (Nanda et al. 2023, section 4.3)."
    )
    return Section(TITLE, [Figure("neurons", style.styled(chart), caption, "Neurons by their dominant frequency")])


def clusters(found: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Number of neurons of each frequency, ascending, then of none and of the constant ones."""
    counts = Counter(_cluster(neuron) for neuron in found)
    names = sorted((name for name in counts if name.isdigit()), key=int)
    return {name: counts[name] for name in [*names, NONE, CONSTANT] if counts[name]}


def _cluster(neuron: dict[str, Any]) -> str:
    if neuron["k"] == 0:
        return CONSTANT
    return str(neuron["k"]) if neuron["share"] > LEAST_SHARE else NONE


def _sizes(found: Sequence[dict[str, Any]]) -> Any:
    counts = clusters(found)
    values = [{"k": name, "n": n, "is": "none" if name in (NONE, CONSTANT) else "one"} for name, n in counts.items()]
    base = alt.Chart(alt.Data(values=values)).encode(
        x=alt.X(field="k", type="nominal", sort=list(counts), axis=alt.Axis(title="frequency k", labelAngle=0)),
        y=style.count_axis("n", "neurons", max(counts.values()), 130),
    )
    bars = base.mark_bar(size=max(4, min(40, 0.7 * style.WIDTH / len(values)))).encode(
        color=alt.Color(
            field="is",
            type="nominal",
            scale=alt.Scale(domain=["one", "none"], range=[style.BLUE, "#bdbdbd"]),
            legend=None,
        )
    )
    words = base.mark_text(dy=-4, baseline="bottom", fontSize=10).encode(
        text=alt.Text(field="n", type="quantitative")
    )
    return alt.layer(bars, words).properties(width=style.WIDTH, height=130)


def _shares(found: Sequence[dict[str, Any]]) -> Any:
    """Every neuron at its best frequency, spread to the sides so that they do not hide each other."""
    values = [
        {"k": n["k"], "aside": _aside(n["neuron"]), "share": style.rounded(n["share"]), "neuron": n["neuron"]}
        for n in found
        if n["k"] > 0
    ]
    x = alt.X(
        field="k", type="ordinal", scale=alt.Scale(paddingInner=0.25, paddingOuter=0.2),
        axis=alt.Axis(title="best frequency k", labelAngle=0, labelOverlap=True),
    )  # fmt: skip
    aside = alt.XOffset(field="aside", type="quantitative", scale=alt.Scale(domain=[0, 1]))
    tips = [alt.Tooltip(field=name, type="quantitative") for name in ("neuron", "k", "share")]
    y = style.share_axis("share explained", "share")
    dots = (
        alt.Chart(style.table(values))
        .mark_point(filled=True, size=16, opacity=0.5, color=style.BLUE)
        .encode(x=x, xOffset=aside, y=y, tooltip=tips)
    )
    line = (
        alt.Chart(alt.Data(values=[{"share": LEAST_SHARE}])).mark_rule(strokeDash=[4, 3], color="#555555").encode(y=y)
    )
    return alt.layer(line, dots).properties(width=style.WIDTH, height=150)


def _aside(neuron: int) -> float:
    """0 to 1, spread evenly over any run of numbers (multiples of the golden ratio)."""
    return style.rounded(neuron * 0.618034 % 1)
