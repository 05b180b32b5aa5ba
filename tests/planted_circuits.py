"""Networks whose circuit is known, because it was written into their weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from evaluations import network_of
from torch import Tensor

from grok_sweep.config import Activation
from grok_sweep.models.network import Network


def _waves(p: int, k: int, values: Tensor) -> Tensor:
    """cos w_k x and sin w_k x, not normalised: [len(values), 2]."""
    angle = 2 * math.pi * k / p * values.double()
    return torch.stack([angle.cos(), angle.sin()], 1)


def exact(p: int, alphas: Mapping[int, float]) -> tuple[Network, dict[str, Tensor]]:
    """logits = sum over k of alpha_k cos w_k(a+b-c), exactly: neurons that square, attention 1 to every token.

    With E_x = (cos w_k x, sin w_k x) the stream at "=" holds E_a + E_b. Four neurons a frequency, at phases phi of
    0, 45, 90, 135 degrees, square cos(w_k a + phi) + cos(w_k b + phi); read along cos(w_k c + 2 phi) they give
    2 cos w_k(a+b-c) + cos w_k(2a-c) + cos w_k(2b-c). The last two are taken off through the skip, by an embedding of
    frequency 2k. Six dimensions of the stream a frequency: k, 2k, and what the neurons write.
    """
    network = network_of(
        p, d_model=6 * len(alphas), n_heads=1, d_head=6 * len(alphas), d_mlp=4 * len(alphas),
        activation=Activation.square, attention_rate=0.0, mlp_biases=False, equals_logit=False,
    )  # fmt: skip
    weights = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in network.shapes().items()}
    weights["W_V"][0] = weights["W_O"][0] = torch.eye(6 * len(alphas), dtype=torch.float64)
    residues, phases = torch.arange(p), torch.arange(4).double() * math.pi / 4
    for i, (k, alpha) in enumerate(alphas.items()):
        one, two, out = (slice(6 * i + 2 * j, 6 * i + 2 * j + 2) for j in range(3))
        mine = slice(4 * i, 4 * i + 4)
        weights["W_E"][:p, one], weights["W_E"][:p, two] = _waves(p, k, residues), _waves(p, 2 * k, residues)
        weights["W_in"][one, mine] = torch.stack([phases.cos(), -phases.sin()])
        weights["W_out"][mine, out] = alpha / 2 * torch.stack([(2 * phases).cos(), -(2 * phases).sin()], 1)
        weights["W_U"][out] = _waves(p, k, residues).T
        weights["W_U"][two] = -alpha / 2 * _waves(p, k, residues).T
    return network, weights


def relu(p: int, k: int, n_phases: int) -> tuple[Network, dict[str, Tensor]]:
    """One frequency by n_phases ReLU neurons at evenly spaced phases phi, read along cos(w_k c + 2 phi).

    relu(cos(w_k a + phi) + cos(w_k b + phi)) = |A| relu(cos(theta + phi)) with A = 2 cos(w_k (a-b) / 2) and theta =
    w_k(a+b)/2, up to half a turn. The reading picks the harmonics h of the ReLU with h = ±2 mod n_phases: h = 2 is
    the circuit, |A| n_phases/2 c_2 cos w_k(a+b-c), the others the error of so many phases. c_h is `harmonic(h)`.
    """
    network = network_of(
        p, d_model=4, n_heads=1, d_head=4, d_mlp=n_phases, attention_rate=0.0, mlp_biases=False, equals_logit=False
    )
    weights = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in network.shapes().items()}
    weights["W_V"][0] = weights["W_O"][0] = torch.eye(4, dtype=torch.float64)
    residues, phases = torch.arange(p), torch.arange(n_phases).double() * 2 * math.pi / n_phases
    weights["W_E"][:p, :2] = _waves(p, k, residues)
    weights["W_in"][:2] = torch.stack([phases.cos(), -phases.sin()])
    weights["W_out"][:, 2:] = torch.stack([(2 * phases).cos(), -(2 * phases).sin()], 1)
    weights["W_U"][2:] = _waves(p, k, residues).T
    return network, weights


def harmonic(h: int) -> float:
    """Coefficient of cos(h x) in relu(cos x), h even and at least 2."""
    return 2 / math.pi * (-1) ** (h // 2 + 1) / (h * h - 1)
