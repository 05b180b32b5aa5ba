"""The training step, a pure function, and the loop around it. Writes nothing.

Full batch: a step is an epoch. State t is the network after t updates; state 0 is the initial one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grok_sweep import optimizers
from grok_sweep.config import Activation, RunConfig
from grok_sweep.models import build, transformer
from grok_sweep.models.parameters import Shapes, flatten, unflatten
from grok_sweep.optimizers import AdamState, Hyper
from grok_sweep.tasks import Task


@dataclass(frozen=True)
class Batch:
    """The pairs trained on."""

    a: Int[Tensor, " n_train"]
    b: Int[Tensor, " n_train"]
    labels: Int[Tensor, " n_train"]


@dataclass(frozen=True)
class TrainState:
    """The network after `step` updates.

    Attributes:
        weights: all parameters, flat.
        optimizer: the running means that the next update continues.
        objective: the loss (nats) whose gradient made the last update, at the weights before it; None at the
            start and after a resume.
        gradient: that gradient.
        update: what the last update added to the weights.
    """

    step: int
    weights: Float[Tensor, " n_parameters"]
    optimizer: AdamState
    objective: float | None = None
    gradient: Float[Tensor, " n_parameters"] | None = None
    update: Float[Tensor, " n_parameters"] | None = None


@dataclass(frozen=True)
class Setup:
    """What stays the same through a run's training."""

    config: RunConfig
    shapes: Shapes
    batch: Batch
    mask: Float[Tensor, " n_parameters"] | None
    loss_dtype: torch.dtype


def setup(config: RunConfig, task: Task, device: torch.device | str = "cpu") -> Setup:
    """Shapes, batch and decay mask for resolved settings."""
    shapes = build.shapes(config)
    trained = task.train_mask
    batch = Batch(*(t[trained].to(device) for t in (task.a, task.b, task.labels)))
    dtype = getattr(torch, config.dtype.name)
    mask = optimizers.decay_mask(shapes, config.optimizer.decay_target, torch.empty(0, dtype=dtype, device=device))
    return Setup(config, shapes, batch, mask, getattr(torch, config.loss_dtype.name))


def initial_state(config: RunConfig, device: torch.device | str = "cpu") -> TrainState:
    """State 0: weights drawn in float32 on the CPU, then cast."""
    drawn = flatten(build.init(config), build.shapes(config))
    weights = drawn.to(device=device, dtype=getattr(torch, config.dtype.name))
    return TrainState(0, weights, optimizers.start(weights))


def objective_gradient(
    logits: Float[Tensor, "n_train d_vocab_out"], labels: Int[Tensor, " n_train"], loss_dtype: torch.dtype
) -> tuple[Float[Tensor, ""], Float[Tensor, "n_train d_vocab_out"]]:
    """Mean cross-entropy (nats) over all outputs, and its gradient by the logits in their dtype.

    The softmax is taken in `loss_dtype`: in float32 it resolves only multiples of 1.2e-7 near 0, and the
    gradient of a nearly perfect fit is then noise (Nanda et al. 2023, appendix A).
    """
    shifted = logits.to(loss_dtype) - logits.amax(1, keepdim=True).to(loss_dtype)
    rows = torch.arange(len(labels), device=labels.device)
    correct = shifted[rows, labels]
    exps = shifted.exp_()
    totals = exps.sum(1, keepdim=True)
    loss = (totals[:, 0].log() - correct).mean()
    gradient = exps.div_(totals)
    gradient[rows, labels] -= 1
    return loss, gradient.div_(len(labels)).to(logits.dtype)


def gradient(
    weights: Float[Tensor, " n_parameters"],
    shapes: Shapes,
    batch: Batch,
    activation: Activation,
    loss_dtype: torch.dtype,
) -> tuple[Float[Tensor, ""], Float[Tensor, " n_parameters"]]:
    """The objective (nats) at these weights, and its gradient."""
    leaf = weights.detach().requires_grad_()
    logits = transformer.forward(unflatten(leaf, shapes), batch.a, batch.b, activation).logits
    loss, by_logits = objective_gradient(logits.detach(), batch.labels, loss_dtype)
    (by_weights,) = torch.autograd.grad(logits, leaf, by_logits)
    return loss, by_weights


def step(state: TrainState, fixed: Setup, hyper: Hyper) -> TrainState:
    """One update: the network after it, and the facts of the update."""
    loss, by_weights = gradient(
        state.weights, fixed.shapes, fixed.batch, fixed.config.model.activation, fixed.loss_dtype
    )
    weights, optimizer = optimizers.adamw(state.weights, by_weights, state.optimizer, hyper, fixed.mask)
    return TrainState(state.step + 1, weights, optimizer, float(loss), by_weights, weights - state.weights)


def training(state: TrainState, fixed: Setup) -> Iterator[TrainState]:
    """The states after `state`, one a step, without end."""
    while True:
        state = step(state, fixed, optimizers.hyper_at(fixed.config.optimizer, state.optimizer.n_updates))
        yield state
