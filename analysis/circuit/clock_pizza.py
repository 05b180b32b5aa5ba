"""Three numbers of Zhong et al. 2023 that place a network between their "clock" and their "pizza". No label. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.circuit.one_layer import one_layer
from analysis.circuit.subject import Subject
from grok_sweep.models.folded import mixed_attention, unembedding
from grok_sweep.models.network import activate, scaled, with_bias

N_TRIPLES = 100
LEAST_ACCURACY = 0.9
"""On unseen pairs: what does not generalise has no algorithm to place; a random network has 1.00 and 1.00."""

PUBLISHED = [
    ("attention rate below .1 (pizza)", 0.99, 0.22),
    ("attention rate .5 to .7", 0.89, 0.53),
    ("attention rate .9 to 1 (clock)", 0.45, 0.83),
]
"""Gradient symmetricity and distance irrelevance: medians of Zhong et al.'s released runs, circularity > .995."""


@dataclass(frozen=True)
class ClockPizza:
    """Attributes:
    gradient_symmetricity: None for a network that is no one-layer transformer without LayerNorm.
    distance_irrelevance: in 0..1; None where every right answer has the same logit.
    circularity: None where there is no embedding.
    """

    gradient_symmetricity: float | None
    distance_irrelevance: float | None
    circularity: float | None


def clock_pizza(subject: Subject, generator: torch.Generator) -> ClockPizza | None:
    """None where no group is known, or the network does not generalise.

    Args:
        generator: draws the triples of gradient_symmetricity.
    """
    if subject.group is None or not generalises(subject):
        return None
    return ClockPizza(gradient_symmetricity(subject, generator), distance_irrelevance(subject), circularity(subject))


def generalises(subject: Subject) -> bool:
    """Whether it answers nine in ten of the pairs that only a rule answers."""
    return subject.accuracies()[subject.unseen] > LEAST_ACCURACY


def gradient_symmetricity(subject: Subject, generator: torch.Generator, n: int = N_TRIPLES) -> float | None:
    """Mean over random (a, b, c) of cos(dQ/dE_a, dQ/dE_b), Q the logit of c on input (a, b), E the embedded tokens.

    Zhong et al. 2023, definition 4.1, n = 100. The two tokens are told apart by position, so that a = b has two
    gradients. None for a network that is no one-layer transformer without LayerNorm.
    """
    parts = one_layer(subject)
    if parts is None:
        return None
    p, task = subject.task.p, subject.task
    chosen = torch.randint(task.n_pairs, (n,), generator=generator)
    c = torch.randint(p, (n,), generator=generator)
    resid = parts.tokens.resid
    embedded = torch.stack([resid[task.a[chosen]], resid[p + task.b[chosen]]], 1).requires_grad_()
    logits = _read(subject, embedded, resid[-1])
    (gradient,) = torch.autograd.grad(logits.gather(1, c[:, None]).sum(), embedded)
    return float(torch.nn.functional.cosine_similarity(gradient[:, 0], gradient[:, 1], dim=1).mean())


def _read(
    subject: Subject, embedded: Float[Tensor, "n 2 d_model"], equals: Float[Tensor, " d_model"]
) -> Float[Tensor, "n d_vocab_out"]:
    """Logits of embedded operands, written out so that the gradient by each of them can be had."""
    weights, config = subject.weights, subject.network.config
    x = torch.cat([embedded, equals.expand(len(embedded), 1, -1)], 1)
    q = torch.einsum("d,hdk->hk", equals, weights["W_Q"])
    k = torch.einsum("npd,hdk->nhpk", x, weights["W_K"])
    v = torch.einsum("npd,hdk->nhpk", x, weights["W_V"])
    scores = torch.einsum("nhpk,hk->nhp", k, q) / q.shape[-1] ** 0.5
    pattern = mixed_attention(scores.softmax(-1), config.attention_rate, 1 - config.attention_rate)
    mid = equals + torch.einsum("nhp,nhpk,hkd->nd", pattern, v, weights["W_O"])
    post = activate(with_bias(mid @ weights["W_in"], weights.get("b_in")), config.activation)
    out = with_bias(mid + post @ weights["W_out"], weights.get("b_out"))
    return scaled(out @ unembedding(weights, subject.network.d_vocab_out), config)


def distance_irrelevance(subject: Subject) -> float | None:
    """Mean over d of the standard deviation of the right answer's logit over pairs with i - j = d; over that of all.

    Zhong et al. 2023, definition 4.2, in the exponents (i, j) of the operands; standard deviations of a whole set,
    not of a sample. None where every right answer has the same logit.
    """
    evaluation = subject.evaluation
    right = evaluation.logits.gather(1, subject.task.answers[:, None])[:, 0]
    by_difference = right[_by_difference(subject)]
    spread = by_difference.std(correction=0)
    if bool(spread <= 1e-12 * by_difference.abs().max()):
        return None
    return float(by_difference.std(1, correction=0).mean() / spread)


def _by_difference(subject: Subject) -> Int[Tensor, "n n"]:
    """Row d: the pairs with i - j = d (mod n)."""
    pairs = subject.task.group_pairs
    assert pairs is not None, "asked for where there is a group"
    j = torch.arange(len(pairs))
    return pairs[(j[:, None] + j) % len(pairs), j]


def circularity(subject: Subject) -> float | None:
    """Mean over the first four principal components v of W_E of max over k of 2 |DFT_k(v)|² / (n |v|²).

    The components are coordinates of the residues along the four largest principal axes, rows centred; an embedding
    of fewer dimensions has fewer. Zhong et al. 2023, definition B.1. None where there is no embedding.
    """
    rows = subject.evaluation.group_embedding
    if rows is None:
        return None
    centred = rows.double() - rows.double().mean(0)
    left, sigma, _ = torch.linalg.svd(centred, full_matrices=False)
    components = (left * sigma)[:, : min(4, int((sigma > 1e-9 * sigma[0]).sum()))]
    if components.shape[1] == 0:
        return None
    power = torch.fft.fft(components, dim=0)[1:].abs().square()
    shares = 2 * power / (len(rows) * components.square().sum(0))
    return float(shares.amax(0).clamp(max=1.0).mean())
