"""Figures that only the circuit's page has: what each frequency is worth, ablations, the verdict. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from analysis.circuit.circuit import Circuit
from analysis.circuit.keys import Keys
from analysis.circuit.paper import beside
from analysis.circuit.verdict import Evidence, Judged
from analysis.report import style
from analysis.report.blocks import Figure

LEAST_DELTA = 1e-12
"""Nats: what a frequency costs less than this lies at the bottom of its figure."""


def _nominal(channel: Any, field: str, domain: Sequence[str], values: Sequence[Any]) -> Any:
    """A channel without a title, with one value for each word of its domain."""
    return channel(field=field, type="nominal", title=None, scale={"domain": list(domain), "range": list(values)})


# --- key frequencies ----------------------------------------------------------------------------------------


def frequencies(keys: Keys, base: float) -> Figure:
    """What each frequency is worth: the loss that its removal adds.

    Args:
        base: loss of the unchanged network over the same pairs.
    """
    rows = [
        {"k": k, "value": max(loss - base, LEAST_DELTA), "is": _is(k, keys), "loss": loss}
        for k, loss in enumerate(keys.excluded_k, 1)
    ]
    dots, words = alt.Chart(style.table(rows)), alt.Chart(style.table([row for row in rows if row["is"] == _KEY]))
    top = 10 * max(row["value"] for row in rows)  # room for the numbers above the dots
    y = style.value_axis("added loss (nats)", [*(row["value"] for row in rows), top], log=True)
    axis = alt.Axis(title="frequency k", tickMinStep=1, format="d", grid=False, tickCount=12)
    scale = alt.Scale(domain=[0.4, len(rows) + 0.6], nice=False)
    x = alt.X(field="k", type="quantitative", scale=scale, axis=axis)
    tips = [alt.Tooltip(field=name, type="quantitative") for name in ("k", "loss")]
    colour = _nominal(alt.Color, "is", (_KEY, _OTHER), (style.BLUE, "#9a9a9a"))
    layers = [dots.mark_point(filled=True, size=42, opacity=1).encode(x=x, y=y, color=colour, tooltip=tips)]
    if keys.used:
        text = alt.Text(field="k", type="nominal")
        layers.append(words.mark_text(dy=-9, fontSize=10, fontWeight="bold").encode(x=x, y=y, text=text))
    over = "train pairs" if keys.over == "train" else "all pairs"
    caption = (
        f"What removing cos, sin w_k(a+b) of one frequency from the logits adds to the loss on {over}. "
        f"{_whence(keys)} What costs less than {LEAST_DELTA:g} nats, or lowers the loss, lies at the bottom."
    )
    chart = style.styled(alt.layer(*layers).properties(width=style.WIDTH, height=200))
    return Figure("excluded_by_frequency", chart, caption, "Loss added by removing each frequency")


def _whence(keys: Keys) -> str:
    if keys.is_given:
        return f"The key frequencies are those given; the largest gap is {keys.gap:.2f} decades wide."
    return f"Key frequencies lie above the largest gap, {keys.gap:.2f} decades wide here; below 1.5 there are none."


_KEY, _OTHER = "key frequency", "other"


def _is(k: int, keys: Keys) -> str:
    return _KEY if k in keys.used else _OTHER


# --- ablations ----------------------------------------------------------------------------------------------

_OURS, _PAPER = "this network", "the paper's mainline"
_UNCHANGED, _GUESSING = "unchanged", "guessing"


def ablations(circuit: Circuit) -> Figure:
    """Every ablation's loss on one scale, the unchanged network and guessing as lines, the paper's as diamonds."""
    rows = [row for each in circuit.ablations for row in _rows(each.name, each.what, each.losses, circuit)]
    lines = [
        {"loss": circuit.logits.losses["all"], "of": _UNCHANGED},
        {"loss": math.log(circuit.subject.task.p), "of": _GUESSING},
    ]
    low, high = style.log_domain([row["loss"] for row in (*rows, *lines)])
    axis = alt.Axis(title="loss (nats)", **style.powers(low, high))
    x = alt.X(
        field="loss", type="quantitative", scale=alt.Scale(type="log", nice=False, domain=[low, high]), axis=axis
    )
    names = [each.name for each in circuit.ablations]
    y = alt.Y(field="name", type="nominal", sort=names, axis=alt.Axis(title=None, labelLimit=220, grid=True))
    who = (_OURS, _PAPER)
    dots = alt.Chart(style.table(rows)).mark_point(size=52, strokeWidth=1.8)
    dots = dots.encode(
        x=x, y=y, color=_nominal(alt.Color, "who", who, (style.BLUE, style.RED)),
        shape=_nominal(alt.Shape, "who", who, ("circle", "diamond")),
        tooltip=[alt.Tooltip(field=name, type="nominal") for name in ("name", "what", "over", "loss")],
    )  # fmt: skip
    dash = _nominal(alt.StrokeDash, "of", (_UNCHANGED, _GUESSING), ([1, 0], [4, 3]))
    rules = alt.Chart(style.table(lines)).mark_rule(color="#555555").encode(x=x, strokeDash=dash)
    chart = style.styled(alt.layer(rules, dots).properties(width=style.WIDTH - 120, height=15 * len(names)))
    sets = "excluded losses over train pairs, all others over all pairs" if circuit.subject.has_split else "all pairs"
    caption = f"Loss of the network changed in one place ({sets}), beside the unchanged one and guessing, ln p."
    return Figure("ablations", chart, caption, "Loss after each ablation")


def _rows(name: str, what: str, losses: dict[str, float], circuit: Circuit) -> list[dict[str, Any]]:
    """The ablation's loss, and the paper's where it is one number."""
    over = circuit.subject.trained if name.startswith("excluded") else "all"
    published = beside(f"ablation.{name}") if over == "all" else beside(f"ablation.{name}.{over}")
    rows = [{"name": name, "loss": style.rounded(losses[over]), "who": _OURS, "what": what, "over": f"{over} pairs"}]
    if isinstance(published, float):
        rows.append({**rows[0], "loss": published, "who": _PAPER})
    return rows


# --- the verdict --------------------------------------------------------------------------------------------

_TITLES = {
    "key_gap": "gap (decades)",
    "restricted_loss": "restricted loss (nats)",
    "excluded_loss": "excluded loss (nats)",
}


def verdict(judged: Judged) -> Figure:
    """Each number of the verdict among those of the random relabellings."""
    chart = style.styled(alt.vconcat(*[_among(each) for each in judged.evidence], spacing=8))
    caption = (
        f"Each number of the verdict (blue line) among those of {judged.n_relabellings} random relabellings of the "
        "residues (dots, spread upwards to be seen); shaded: where it holds."
    )
    return Figure("verdict", chart, caption, "The verdict's numbers among those of random relabellings")


def _among(each: Evidence) -> Any:
    is_log = each.name != "key_gap"
    values = [*each.null, each.bound, *([] if each.value is None else [each.value])]
    low, high = style.log_domain([max(v, LEAST_DELTA) for v in values]) if is_log else (0.0, 1.08 * max(values))
    ticks: dict[str, Any] = style.powers(low, high) if is_log else {"tickCount": 6}
    scale = alt.Scale(domain=[low, high], nice=False, type="log" if is_log else "linear")
    x = alt.X(field="x", type="quantitative", scale=scale, axis=alt.Axis(title=_TITLES[each.name], **ticks))
    y = alt.Y(field="y", type="quantitative", axis=None, scale=alt.Scale(domain=[-0.2, 1.2]))
    holds = (each.bound, high) if each.kind == "least" else (low, each.bound)
    area = alt.Chart(style.table([{"x": holds[0], "end": holds[1]}])).mark_rect(color=style.BANDS[2])
    spread = [{"x": max(v, low), "y": i * 0.618034 % 1} for i, v in enumerate(each.null)]
    dots = alt.Chart(style.table(spread)).mark_point(filled=True, size=14, color="#777777", opacity=0.6)
    layers = [area.encode(x=x, x2=alt.X2(field="end")), dots.encode(x=x, y=y)]
    if each.value is not None:
        line = alt.Chart(style.table([{"x": max(each.value, low)}])).mark_rule(strokeWidth=2.5, color=style.BLUE)
        layers.append(line.encode(x=x))
    return alt.layer(*layers).properties(width=style.WIDTH, height=44)
