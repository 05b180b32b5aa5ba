"""W_L = W_out W_U as a few waves over the answers, and what the neurons give each of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.circuit import directions, grid
from analysis.circuit.subject import Subject
from grok_sweep.measures.blocks import CONSTANT, frequency_norms
from grok_sweep.measures.fit import W_L_residual


@dataclass(frozen=True)
class Direction:
    """What the neurons say along u_k (wave "cos") or v_k (wave "sin"), over all pairs of the group.

    Attributes:
        norm: of u_k or v_k, in neurons.
        fve: share of the variance of mlp_post . u_k that cos w_k(a+b) explains; of v_k, sin w_k(a+b). None where
            it does not vary.
        coefficient: of that cosine or sine: mlp_post . u_k = mean + coefficient cos w_k(a+b) + rest.
    """

    k: int
    wave: str
    norm: float
    fve: float | None
    coefficient: float


@dataclass(frozen=True)
class NeuronLogitMap:
    """W_L over the group's answers, in the order of their exponents.

    Attributes:
        norms: of each frequency 1..n//2 over the answers, cosine and sine together.
        directions: u_k and v_k of the key frequencies.
        residual: share of the squared norm outside them; None where there are no key frequencies.
    """

    norms: list[float]
    directions: list[Direction]
    residual: float | None


def neuron_logit_map(subject: Subject) -> NeuronLogitMap | None:
    """None where no group is known or the network has no fixed map from neurons to logits.

    W_L = sum over k of cos(w_k c) u_k^T + sin(w_k c) v_k^T, the waves of unit norm over the answers: u_k and v_k are
    rows of the orthonormal transform of W_L. Nanda et al. 2023, section 4.2, equation 2 and table 1.
    """
    evaluation = subject.evaluation
    W_L = None if subject.group is None else evaluation.group_neuron_logit_map
    if W_L is None:
        return None
    norms = frequency_norms(W_L.T).tolist()
    keys = subject.key_freqs
    found = [direction for k in keys for direction in _directions(subject, W_L, k)]
    return NeuronLogitMap(norms, found, W_L_residual(evaluation, keys) if keys else None)


def read_directions(subject: Subject, k: int) -> Float[Tensor, "n_waves d_mlp"]:
    """u_k and, but for Nyquist, v_k."""
    W_L = subject.evaluation.group_neuron_logit_map
    assert W_L is not None, "asked for where there is such a map"
    return directions.waves(W_L.shape[1], k) @ W_L.double().T


def span(subject: Subject) -> Float[Tensor, "d_mlp n_directions"]:
    """An orthonormal basis of what all u_k and v_k of the key frequencies span, in neurons."""
    rows = torch.cat([read_directions(subject, k) for k in subject.key_freqs])
    return torch.linalg.qr(rows.T).Q


def _directions(subject: Subject, W_L: Tensor, k: int) -> list[Direction]:
    mlp_post = subject.evaluation.activations.mlp_post
    if mlp_post is None:
        return []
    n = W_L.shape[1]
    rows = directions.waves(n, k) @ W_L.double().T
    values = grid.ordered(subject, mlp_post.double()) @ rows.T
    along = (directions.sums(n, k) * values.T).sum(1)
    centred = values - values.mean(0)
    # The unit wave over the n² pairs is cos w_k(a+b) over its norm, n / sqrt 2 (n at Nyquist).
    norm_of_wave = n / (1.0 if 2 * k == n else 2.0) ** 0.5
    found = []
    for i, wave in enumerate(("cos", "sin")[: len(rows)]):
        total = float(centred[:, i].square().sum())
        varies = total > CONSTANT * float(values[:, i].square().sum())
        fve = float(along[i].square()) / total if varies else None
        found.append(Direction(k, wave, float(rows[i].norm()), fve, float(along[i]) / norm_of_wave))
    return found
