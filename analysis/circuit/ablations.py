"""What breaks when a part is removed or replaced: each ablation's formula, and the one list of them. Pure.

L are the logits over the p answers; C_k and S_k the unit sum directions cos, sin w_k(a+b) in R^(n²); K the key
frequencies; skip = resid_mid, what reaches W_U past the neurons. Means and projections are over the group's pairs.
Each function gives the logits of the changed network, or None where it is not defined for this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.circuit import attention, directions, grid, neurons
from analysis.circuit.neuron_logit_map import span
from analysis.circuit.one_layer import OneLayer, one_layer
from analysis.circuit.subject import Subject
from grok_sweep import fourier
from grok_sweep.measures.fit import alphas

Changed = Float[Tensor, "n_pairs p"]


@dataclass(frozen=True)
class Ablation:
    """One change, and the loss it leaves.

    Attributes:
        what: in a few words.
        losses: mean cross-entropy (nats) by set of pairs: all, and where the split is known train, test, swap, novel.
        part: what is changed: "logits", "neurons", "skips" or "attention".
    """

    name: str
    what: str
    part: str
    losses: dict[str, float]


def ablations(subject: Subject) -> list[Ablation]:
    """Every ablation that is defined for this network."""
    return [
        Ablation(name, what, part, subject.losses(changed))
        for name, what, part, make in _list(subject)
        if (changed := make()) is not None
    ]


def _list(subject: Subject) -> Iterator[tuple[str, str, str, Callable[[], Changed | None]]]:
    """Name, words, part, and what makes the changed logits: nothing is made before it is asked for."""
    parts, keys = one_layer(subject), subject.key_freqs
    if keys:
        yield from _of_logits(subject)
        yield from _of_neurons(subject, parts)
    elif parts is not None and neurons.have_frequencies(subject):
        yield "neurons_fitted", "neurons above 85 % replaced by their fits", "neurons", lambda: _fitted(parts)
    if parts is not None:
        yield from _of_parts(parts)


# --- logits -------------------------------------------------------------------------------------------------


def _of_logits(subject: Subject) -> Iterator[tuple[str, str, str, Callable[[], Changed]]]:
    kept = {"": "cos, sin w_k(a+b)", "_2x2": "{cos, sin}²", "_3x3": "{1, cos, sin}²"}
    for suffix, what in kept.items():
        yield f"restricted{suffix}", f"only {what} of K and the mean", "logits", partial(restricted, subject, suffix)
    for suffix, what in kept.items():
        yield f"excluded{suffix}", f"without {what} of K", "logits", partial(excluded, subject, suffix)
    for k in subject.key_freqs:
        make = partial(excluded, subject, "", (k,))
        yield f"excluded.{k}", f"without cos, sin w_k(a+b) of k = {k}", "logits", make
    yield "excluded_3d", "without cos w_k(a+b-c) of K", "logits", partial(excluded_3d, subject)
    yield "fit", "sum over K of alpha_k cos w_k(a+b-c) instead", "logits", partial(fit, subject)


_ROWS: dict[str, Callable[[int, int], Tensor]] = {
    "": directions.sums,
    "_2x2": directions.products,
    "_3x3": directions.block,
}


def _along(subject: Subject, values: Tensor, suffix: str, key_freqs: tuple[int, ...] | None = None) -> Tensor:
    """What the columns, in the group's order, hold along the directions of the key frequencies."""
    n = len(grid.pairs(subject))
    rows = torch.cat([_ROWS[suffix](n, k) for k in key_freqs or subject.key_freqs])
    return directions.project(values, rows)


def restricted(subject: Subject, suffix: str = "") -> Changed:
    """P_K L + mean of L, per answer. P_K projects on C_k, S_k ("": 2 directions a frequency; restricted loss), on
    {cos, sin} x {cos, sin} ("_2x2": 4) or on {1, cos, sin} x {1, cos, sin} less its constant ("_3x3": 8).

    Nanda et al. 2023, sections 5.1 and 4.4 (the mainline's 40 components are the 3x3 blocks of five frequencies).
    """
    logits = subject.evaluation.logits
    values = grid.ordered(subject, logits)
    return grid.put_back(subject, logits, values.mean(0) + _along(subject, values, suffix))


def excluded(subject: Subject, suffix: str = "", key_freqs: tuple[int, ...] | None = None) -> Changed:
    """L - P_K L, P_K as in `restricted`; nothing is added back. Of one frequency: figure 15 of the paper.

    Nanda et al. 2023, section 5.1.
    """
    logits = subject.evaluation.logits
    values = grid.ordered(subject, logits)
    return grid.put_back(subject, logits, values - _along(subject, values, suffix, key_freqs))


def _cosines(subject: Subject) -> Float[Tensor, "n_pairs p"]:
    """sum over K of alpha_k cos w_k(a+b-c), alpha_k by least squares; 0 outside the group."""
    evaluation, n = subject.evaluation, len(grid.pairs(subject))
    basis = fourier.basis(n)
    by_sum = torch.zeros(n, n, dtype=torch.float64)
    for k, alpha in zip(subject.key_freqs, alphas(evaluation, subject.key_freqs), strict=True):
        rows = basis[2 * k - 1 : min(2 * k + 1, n)]
        by_sum += alpha * (n / (1 if 2 * k == n else 2)) * rows.T @ rows
    table = torch.zeros(n, subject.task.p, dtype=torch.float64)
    table[:, evaluation.answer_of_sum] = by_sum
    sums = evaluation.sum_of_pair
    return torch.where((sums >= 0)[:, None], table[sums.clamp(min=0)], 0.0)


def fit(subject: Subject) -> Changed:
    """sum over K of alpha_k cos w_k(a+b-c) in the place of L, alpha_k by least squares over all pairs and answers.

    Nanda et al. 2023, section 4.4 (the mainline's 4.7e-8); Chughtai et al. 2023, "logit restricted".
    """
    return _cosines(subject)


def excluded_3d(subject: Subject) -> Changed:
    """L less its components along cos w_k(a+b-c), k in K: one direction of R^(n³) a frequency.

    The authors' notebook, "3D"; Chughtai et al. 2023, "logit excluded".
    """
    return subject.evaluation.logits - _cosines(subject)


# --- neurons ------------------------------------------------------------------------------------------------


def _of_neurons(
    subject: Subject, parts: OneLayer | None
) -> Iterator[tuple[str, str, str, Callable[[], Changed | None]]]:
    if parts is None:
        return
    if neurons.have_frequencies(subject):
        yield "neurons_fitted", "neurons above 85 % replaced by their fits", "neurons", lambda: _fitted(parts)
        yield "neurons_all_fitted", "every neuron replaced by its fit", "neurons", lambda: _fitted(parts, -1.0)
    for k in subject.key_freqs:
        yield f"neurons_without.{k}", f"neurons without k = {k}", "neurons", partial(neurons_without, parts, k)
    yield (
        "neurons_restricted",
        "neurons: only cos, sin w_k(a+b) of K and the mean",
        "neurons",
        (lambda: neurons_restricted(parts)),
    )
    yield "neurons_excluded", "neurons without cos, sin w_k(a+b) of K", "neurons", lambda: neurons_excluded(parts)
    yield "mlp_on_W_L", "neurons on the directions of W_L alone", "neurons", lambda: mlp_on_W_L(parts)
    yield "mlp_off_W_L", "neurons on the null space of these", "neurons", lambda: mlp_off_W_L(parts)


def _fitted(parts: OneLayer, least_share: float | None = None) -> Changed:
    """Neurons replaced by polynomials of degree 2 (`neurons.replaced_by_fit`), the skip kept."""
    shares = {} if least_share is None else {"least_share": least_share}
    return torch.addmm(parts.from_skip, neurons.replaced_by_fit(parts.subject, **shares), parts.W_L)


def neurons_without(parts: OneLayer, k: int) -> Changed:
    """mlp_post -> mlp_post less its projection on {1, cos, sin} x {1, cos, sin} of k (8 directions; the mean stays),
    every neuron; the skip kept.

    The authors' notebook removes one key frequency from the neurons so. A projection over pairs commutes with W_L.
    """
    return _changed_neurons(parts, lambda values: values - _along(parts.subject, values, "_3x3", (k,)))


def _changed_neurons(parts: OneLayer, change: Callable[[Tensor], Tensor]) -> Changed:
    """The skip and, in the place of what the neurons add to the logits, that changed over the group's pairs."""
    subject, added = parts.subject, parts.from_neurons
    return parts.from_skip + grid.put_back(subject, added, change(grid.ordered(subject, added)))


def neurons_restricted(parts: OneLayer) -> Changed:
    """mlp_post -> its mean + P_K mlp_post, P_K on C_k, S_k; the skip kept.

    After `get_restricted_loss` of TransformerLens' Grokking_Demo, which leaves the skip out.
    """
    return _changed_neurons(parts, lambda values: values.mean(0) + _along(parts.subject, values, ""))


def neurons_excluded(parts: OneLayer) -> Changed:
    """mlp_post -> mlp_post - P_K mlp_post, P_K on C_k, S_k; the skip kept. TransformerLens' Grokking_Demo."""
    return _changed_neurons(parts, lambda values: values - _along(parts.subject, values, ""))


def mlp_on_W_L(parts: OneLayer) -> Changed:
    """mlp_post -> mlp_post Q Q^T, Q an orthonormal basis of the span of u_k and v_k, k in K; the skip kept.

    Nanda et al. 2023, section 4.4: the mainline's ten directions, 2.41e-7 -> 1.19e-7.
    """
    return parts.from_skip + _on_W_L(parts)


def mlp_off_W_L(parts: OneLayer) -> Changed:
    """mlp_post -> mlp_post (1 - Q Q^T), Q as in `mlp_on_W_L`; the skip kept. Nanda et al. 2023, section 4.4: 5.27."""
    return parts.from_skip + parts.from_neurons - _on_W_L(parts)


def _on_W_L(parts: OneLayer) -> Changed:
    Q = span(parts.subject)
    return (parts.mlp_post @ Q) @ (Q.T @ parts.W_L)


# --- skips, heads, attention --------------------------------------------------------------------------------


def _of_parts(parts: OneLayer) -> Iterator[tuple[str, str, str, Callable[[], Changed | None]]]:
    yield "skip_zero", "skip past the neurons set to 0", "skips", lambda: skip_zero(parts)
    yield "skip_mean", "skip past the neurons set to its mean", "skips", lambda: skip_mean(parts)
    yield "mlp_zero", "neurons set to 0", "neurons", lambda: mlp_zero(parts)
    yield "mlp_mean", "neurons set to their mean", "neurons", lambda: mlp_mean(parts)
    yield "attn_skip_zero", "skip past the heads set to 0", "skips", lambda: attn_skip_zero(parts)
    yield "heads_zero", "all heads set to 0", "attention", lambda: heads_zero(parts)
    yield "heads_mean", "all heads set to their mean", "attention", lambda: heads_mean(parts)
    for h in range(parts.subject.network.config.n_heads):
        yield f"head_zero.{h}", f"head {h} set to 0", "attention", partial(head_zero, parts, h)
    for h in range(parts.subject.network.config.n_heads):
        yield f"head_mean.{h}", f"head {h} set to its mean", "attention", partial(head_mean, parts, h)
    yield "attn_linear", "attention linear in its scores", "attention", lambda: attn_linear(parts)
    yield "attn_tangent", "attention by the sigmoid's tangent at 0", "attention", lambda: attn_tangent(parts)
    yield "attn_fitted", "attention replaced by its fits", "attention", lambda: attn_fitted(parts)
    yield "attn_uniform", "attention half to a, half to b", "attention", lambda: attn_uniform(parts)


def _mean(subject: Subject, values: Float[Tensor, "n_pairs width"]) -> Float[Tensor, "1 width"]:
    return values[subject.sets["all"]].mean(0, keepdim=True)


def skip_zero(parts: OneLayer) -> Changed:
    """(mlp_post W_out + b_out) W_U: nothing reaches the logits past the neurons. Nanda et al. 2023, appendix A.1."""
    return parts.from_neurons + parts.past(torch.zeros_like(parts.resid_pre))


def skip_mean(parts: OneLayer) -> Changed:
    """(mean of resid_mid over pairs + mlp_post W_out + b_out) W_U. Nanda et al. 2023, appendix A.1."""
    return parts.from_neurons + parts.past(_mean(parts.subject, parts.resid_mid))


def mlp_zero(parts: OneLayer) -> Changed:
    """(resid_mid + b_out) W_U: no neuron fires."""
    return parts.from_skip


def mlp_mean(parts: OneLayer) -> Changed:
    """Every neuron at its mean over pairs."""
    return parts.from_skip + _mean(parts.subject, parts.from_neurons)


def attn_skip_zero(parts: OneLayer) -> Changed:
    """resid_mid -> the sum of the heads, without what "=" brings itself; neurons and skip read that.

    Nanda et al. 2023, appendix A.1: 19.1.
    """
    return parts.of_stream(parts.heads.sum(0))


def heads_zero(parts: OneLayer) -> Changed:
    """resid_mid -> what "=" brings itself: the same for every pair. Nanda et al. 2023, appendix A.1: 24.3."""
    return parts.of_stream(parts.resid_pre[None]).expand(len(parts.mlp_post), -1)


def heads_mean(parts: OneLayer) -> Changed:
    """resid_mid -> its mean over pairs; neurons and skip read that."""
    return parts.of_stream(_mean(parts.subject, parts.resid_mid)).expand(len(parts.mlp_post), -1)


def head_zero(parts: OneLayer, h: int) -> Changed:
    """resid_mid less what head h adds; neurons and skip read that."""
    return parts.of_stream(parts.resid_mid - parts.heads[h])


def head_mean(parts: OneLayer, h: int) -> Changed:
    """Head h at its mean over pairs; neurons and skip read that."""
    head = parts.heads[h]
    return parts.of_stream(parts.resid_mid - head + _mean(parts.subject, head))


def attn_linear(parts: OneLayer) -> Changed:
    """Attention to a -> its least-squares line in s_a - s_b, the difference of the two scores; b has the rest.

    What "=" gets stays. After Nanda et al. 2023, appendix C.1.3, who replace the sigmoid of this difference by a line
    (2.41e-7 -> 2.12e-7); which line, they do not say.
    """
    inside = parts.subject.sets["all"]
    difference, pattern = parts.score_difference(), parts.pattern
    centred = difference - difference[inside].mean(0)
    means = pattern[inside].mean(0)
    slope = (centred * pattern[:, :, 0])[inside].sum(0) / centred[inside].square().sum(0)
    to_a = means[:, 0] + torch.nan_to_num(slope) * centred
    to_equals = pattern[:, :, 2]
    both = pattern[:, :, :2].sum(2)
    return parts.of_stream(parts.stream(torch.stack([to_a, both - to_a, to_equals], 2)))


def attn_tangent(parts: OneLayer) -> Changed:
    """Attention to a -> 1/2 + (s_a - s_b) / 4, to b -> 1/2 - (s_a - s_b) / 4, to "=" -> 0."""
    tilt = parts.score_difference() / 4
    return parts.of_stream(parts.stream_learning(torch.stack([0.5 + tilt, 0.5 - tilt, torch.zeros_like(tilt)], 2)))


def attn_fitted(parts: OneLayer) -> Changed | None:
    """Attention to a -> its fit by one frequency (`attention.heads`), to b -> the rest. None without a fit."""
    pattern = attention.fitted(parts.subject)
    # The fit is of the pattern as it is, mixed already where the network mixes.
    return None if pattern is None else parts.of_stream(parts.stream(pattern))


def attn_uniform(parts: OneLayer) -> Changed:
    """Attention half to a, half to b, none to "="."""
    return parts.of_stream(parts.stream_learning(attention.uniform(parts.pattern)))
