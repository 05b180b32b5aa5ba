"""What each frequency does: excluded loss, the norms of W_E and W_L, the 2-D spectrum of the logits. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
from torch import Tensor

from analysis.report import heat, over_time, pixels, spectra, style
from analysis.report.blocks import Block, Figure, Section, Table, Text
from analysis.report.over_time import Band, Line, Rows
from analysis.report.words import number
from grok_sweep.groups import Group
from grok_sweep.measures.blocks import frequency_norms
from grok_sweep.measures.evaluation import Evaluation
from grok_sweep.models.network import Network
from grok_sweep.models.parameters import Weights

Norms = Mapping[str, Mapping[int, Sequence[float]]]
"""Map (W_E, W_L) -> step -> norm of each frequency."""
EXCLUDED_TITLE, NORMS_TITLE = "Excluded loss of every frequency", "Fourier norms of the weights"
LOGITS_TITLE = "Spectrum of the logits"
ENTRIES = 8
"""Of the 2-D spectrum, listed."""
MAP_NAMES = {"W_E": "embedding W_E", "W_L": "neuron-logit map W_L"}


# --- excluded loss by frequency -----------------------------------------------------------------------------


def excluded(rows: Rows, key_freqs: Sequence[int], bands: Sequence[Band]) -> Section:
    """excluded_k over time for every k, as a map and as lines."""
    table = {row["step"]: row["excluded_loss_k"] for row in rows if row.get("excluded_loss_k") and row["step"] > 0}
    if len(table) < 2:
        why = "No two logged rows hold excluded_loss_k: it is not among measures.names, or not defined for this task."
        return Section(EXCLUDED_TITLE, [Text(why, quiet=True)])
    chart = heat.heat_map(_thinned(table), key_freqs, "train loss without k (nats)", log=True, bands=bands)
    caption = (
        "Train loss (nats) of the logits without the directions cos w_k(a+b) and sin w_k(a+b) of one frequency k "
        "(Nanda et al. 2023, figure 15, for every k). Where the network does not use k, this is the train loss. "
        "Frequencies named at the right are the key frequencies of the last step."
    )
    spoken = "Excluded loss of every frequency over the steps, as a map of colours"
    figures = [
        Figure("excluded_k", style.styled(chart), caption, spoken),
        _excluded_lines(table, rows, key_freqs, bands),
    ]
    return Section(EXCLUDED_TITLE, figures)


def _thinned(table: Mapping[int, Sequence[float]]) -> dict[int, Sequence[float]]:
    n_freqs = len(next(iter(table.values()), ()))
    return {step: table[step] for step in heat.thinned_steps(sorted(table), n_freqs)}


def _excluded_lines(
    table: Mapping[int, Sequence[float]], rows: Rows, key_freqs: Sequence[int], bands: Sequence[Band]
) -> Figure:
    """The same as lines: key frequencies in colours, all others grey."""
    last = rows[-1]["step"]
    keys = list(key_freqs)[: style.MOST_DISTINCT]
    lines = [Line(f"k = {k}", *look) for k, look in zip(keys, style.looks(len(keys)), strict=True)]
    lines += [Line("train_loss", style.BLACK, style.DOTTED), Line("other k", "#c4c4c4")]
    data = [
        {**point, "k": k}
        for k in range(1, 1 + max(map(len, table.values()), default=0))
        for point in over_time.points(
            _of_k(table, k), [Line("k", "", label=f"k = {k}" if k in keys else "other k")], True
        )
    ]
    data += [{**point, "k": 0} for point in over_time.points(rows, [Line("train_loss", style.BLACK)], log=True)]
    y = style.value_axis("train loss without k (nats)", [point["value"] for point in data], log=True)
    chart = over_time.curves(data, lines, y, last, bands, detail="k")
    caption = "The same as lines: the key frequencies of the last step in colours, every other frequency grey."
    return Figure("excluded_k_lines", style.styled(chart), caption, "Excluded loss by frequency, as lines")


def _of_k(table: Mapping[int, Sequence[float]], k: int) -> Rows:
    """Column k: what the loss is without frequency k."""
    return [{"step": step, "k": values[k - 1]} for step, values in table.items() if k <= len(values)]


# --- Fourier norms ------------------------------------------------------------------------------------------


def norms(
    evaluation: Evaluation, when: str, over: Norms, key_freqs: Sequence[int], bands: Sequence[Band], order: str
) -> Section:
    """The spectra of W_E and W_L at the end, and over the snapshots.

    Args:
        when: of the evaluation, as in "at step 40,000".
        over: as `norms_at` gives them at each stored step.
        order: what frequencies are of, in a sentence, where that is not the residues; else "".
    """
    rows_of = spectra.rows_of(evaluation.network, evaluation.weights, evaluation.group)
    if not rows_of:
        return Section(
            NORMS_TITLE, [Text("This network has neither an embedding nor a fixed neuron-logit map.", quiet=True)]
        )
    blocks: list[Block] = [bars(rows_of, when, key_freqs, order)]
    blocks += [Text(note, quiet=True) for note in _absent(rows_of)]
    drawn = {name: table for name, table in over.items() if sum(s > 0 for s in table) > 1}
    blocks += [_over_time(name, table, key_freqs, bands) for name, table in drawn.items()]
    if not drawn:
        blocks.append(
            Text(
                "Over training they cannot be shown: the run kept no snapshots (snapshots.n=100 keeps 100).",
                quiet=True,
            )
        )
    return Section(NORMS_TITLE, blocks)


def _absent(rows_of: Mapping[str, Tensor]) -> list[str]:
    why = {
        "W_E": "This network has no embedding: its operands go straight to the neurons.",
        "W_L": "This network has no fixed neuron-logit map: LayerNorm stands between neurons and logits.",
    }
    return [why[name] for name in spectra.MAPS if name not in rows_of]


def norms_at(network: Network, weights: Weights, group: Group) -> dict[str, list[float]]:
    """Of each map the norm of every frequency."""
    found = spectra.rows_of(network, weights, group)
    return {name: frequency_norms(rows).tolist() for name, rows in found.items()}


def bars(rows_of: Mapping[str, Tensor], when: str, key_freqs: Sequence[int], order: str) -> Figure:
    """The norms of each map, one above the other."""
    panels = [norm_bars(rows, MAP_NAMES[name], key_freqs) for name, rows in rows_of.items()]
    caption = (
        f"Norm of the cosine and of the sine component of each frequency {when}, over the other axis; the "
        f"constant is left out (Nanda et al. 2023, figure 3). Key frequencies bear their numbers.{order}"
    )
    chart = alt.vconcat(*panels, spacing=14)
    return Figure("fourier_norms", style.styled(chart), caption, "Fourier norms of the weights by frequency")


def norm_bars(rows: Tensor, title: str, key_freqs: Sequence[int], width: int = style.WIDTH, height: int = 130) -> Any:
    """Two bars a frequency, cosine and sine, and a dot above the key frequencies."""
    values = [{**row, "norm": style.rounded(row["norm"])} for row in spectra.component_norms(rows)]
    n_freqs = max(value["k"] for value in values)
    for value in values:
        left = value["k"] - (0.4 if value["wave"] == "cos" else 0.0)
        value |= {"from": left, "to": left + 0.4}
    tops = {k: max(value["norm"] for value in values if value["k"] == k) for k in key_freqs}
    x = alt.X(
        field="from", type="quantitative", scale=alt.Scale(domain=[0.4, n_freqs + 0.6], nice=False),
        axis=alt.Axis(title="frequency k", tickMinStep=1, format="d", grid=False, tickCount=12),
    )  # fmt: skip
    y = style.count_axis("norm", "norm", max(value["norm"] for value in values), height)
    colours = alt.Color(
        field="wave", type="nominal", title=None,
        scale=alt.Scale(domain=list(spectra.WAVES), range=[style.BLUE, style.ORANGE]),
    )  # fmt: skip
    bars = (
        alt.Chart(style.table(values))
        .mark_rect()
        .encode(x=x, x2=alt.X2(field="to"), y=y, y2=alt.Y2Datum(0), color=colours)
    )
    bars = bars.encode(tooltip=[alt.Tooltip(field=name, type="nominal") for name in ("k", "wave", "norm")])
    dots = (
        alt.Chart(alt.Data(values=[{"from": k, "norm": top, "word": str(k)} for k, top in tops.items()]))
        .mark_text(dy=-4, baseline="bottom", fontSize=10, fontWeight="bold", color="#1a1a1a")
        .encode(x=x, y=y, text=alt.Text(field="word", type="nominal"))
    )
    head = alt.TitleParams(text=title)
    return alt.layer(bars, dots).properties(width=width, height=height, title=head)


def _over_time(
    name: str, table: Mapping[int, Sequence[float]], key_freqs: Sequence[int], bands: Sequence[Band]
) -> Figure:
    chart = heat.heat_map(_thinned(table), key_freqs, "norm", log=False, log_steps=False, bands=bands, height=240)
    caption = (
        f"Norm of each frequency in the {MAP_NAMES[name]}, cosine and sine together, at every stored step "
        f"({len(table)} of them)."
    )
    return Figure(f"fourier_{name}", style.styled(chart), caption, f"Fourier norms of {name} over the steps")


# --- 2-D spectrum of the logits -----------------------------------------------------------------------------


def logits(evaluation: Evaluation, when: str, key_freqs: Sequence[int], order: str) -> Section:
    """The energy of the logits by pairs of frequencies.

    Args:
        when, order: as for `norms`.
    """
    spectrum = spectra.logit_spectrum(evaluation)
    if not bool(spectrum.sum() > 0):
        return Section(LOGITS_TITLE, [Text("No logit depends on the input.", quiet=True)])
    diagonal = float(spectrum.diagonal()[1:].sum())
    caption = (
        "Share of the logits' variance over inputs at each frequency of a and of b, summed over cosines, sines and "
        f"answers, {when} (log colours, {number(LEAST_SHARE)} and less is darkest). A network that "
        "computes with cos w_k(a+b) and sin w_k(a+b) holds it on the diagonal, where both frequencies are the "
        f"same; here {diagonal:.1%} lie there.{order}"
    )
    head = ("frequency of a", "frequency of b", "share of the variance")
    rows = [(str(i), str(j), f"{share:.2%}") for i, j, share in spectra.largest(spectrum, ENTRIES)]
    table = Table(head, rows, "The largest entries; frequency 0 is the constant.", numbers=(0, 1, 2))
    chart = style.styled(_spectrum(spectrum, key_freqs))
    return Section(LOGITS_TITLE, [Figure("logit_spectrum", chart, caption, "2-D spectrum of the logits"), table])


LEAST_SHARE = 1e-6
"""Of the colours of the spectrum."""


def _spectrum(spectrum: Tensor, key_freqs: Sequence[int], side: int = 360) -> Any:
    levels = pixels.levels(spectrum.clamp(min=LEAST_SHARE).log10(), math.log10(LEAST_SHARE), 0.0)
    ticks = [0, *key_freqs] if key_freqs else None
    picture = pixels.picture(levels.T, side, ("frequency of a", "frequency of b"), ticks=ticks)
    return alt.hconcat(picture, pixels.key("share", LEAST_SHARE, 1.0), spacing=18)
