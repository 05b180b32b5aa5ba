"""Update rules: pure functions of (weights, gradient, state, hyper-parameters), number by number.

They act on one flat vector of all parameters. Hyper-parameters may be numbers or 0-d tensors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from grok_sweep.config import DecayTarget, OptimizerConfig
from grok_sweep.models.parameters import Shapes

Number = float | Tensor


@dataclass(frozen=True)
class Hyper:
    """Hyper-parameters of one update; `lr` already holds the warm-up."""

    lr: Number
    weight_decay: Number
    beta1: Number
    beta2: Number
    eps: Number


@dataclass(frozen=True)
class AdamState:
    """Running means of the gradient and of its square, and the number of updates made."""

    exp_avg: Float[Tensor, " n_parameters"]
    exp_avg_sq: Float[Tensor, " n_parameters"]
    n_updates: int


def start(weights: Float[Tensor, " n_parameters"]) -> AdamState:
    return AdamState(torch.zeros_like(weights), torch.zeros_like(weights), 0)


def hyper_at(config: OptimizerConfig, n_updates: int) -> Hyper:
    """Hyper-parameters of the update after `n_updates`: lr * min(n_updates / warmup_steps, 1).

    The first update has learning rate 0, as the authors' LambdaLR(min(step / 10, 1)).
    """
    warmed = min(n_updates / config.warmup_steps, 1.0) if config.warmup_steps else 1.0
    return Hyper(config.lr * warmed, config.weight_decay, config.beta1, config.beta2, config.eps)


def decay_mask(shapes: Shapes, target: DecayTarget, like: Tensor) -> Float[Tensor, " n_parameters"] | None:
    """1 where weight decay acts, 0 elsewhere; None where it acts on every parameter."""
    if target is DecayTarget.all:
        return None
    parts = [torch.full((torch.Size(s).numel(),), float(len(s) > 1)) for s in shapes.values()]
    return torch.cat(parts).to(like)


def adamw(
    weights: Float[Tensor, " n_parameters"],
    gradient: Float[Tensor, " n_parameters"],
    state: AdamState,
    hyper: Hyper,
    mask: Float[Tensor, " n_parameters"] | None = None,
) -> tuple[Float[Tensor, " n_parameters"], AdamState]:
    """One step of Adam with decoupled weight decay (Loshchilov and Hutter 2019), in torch.optim.AdamW's order.

    First the weights shrink by lr * weight_decay (where `mask` is 1), then they move by the
    bias-corrected mean over root mean square of the gradient.
    """
    t = state.n_updates + 1
    exp_avg = torch.lerp(state.exp_avg, gradient, 1 - hyper.beta1)
    exp_avg_sq = (state.exp_avg_sq * hyper.beta2).addcmul_(gradient, gradient * (1 - hyper.beta2))
    denominator = exp_avg_sq.sqrt().div_((1 - hyper.beta2**t) ** 0.5).add_(hyper.eps)
    shrink = 1 - hyper.lr * hyper.weight_decay * (1.0 if mask is None else mask)
    moved = (weights * shrink).sub_((exp_avg / denominator).mul_(hyper.lr / (1 - hyper.beta1**t)))
    return moved, AdamState(exp_avg, exp_avg_sq, t)
