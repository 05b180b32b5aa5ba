"""The training step, a pure function, and the loop around it. Writes nothing.

State t is the network after t updates; state 0 is the initial one. What an update draws at random, the pairs of a
batch and the neurons that drop out, follows from the seed and the step alone: a resumed run draws the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grok_sweep import optimizers
from grok_sweep.config import Loss, ModelConfig, RunConfig
from grok_sweep.draws import generator
from grok_sweep.models import build
from grok_sweep.models.by_hand import TransformerByHand
from grok_sweep.models.network import Activations, Dropout, Network
from grok_sweep.models.pairs import CHUNK
from grok_sweep.models.parameters import Shapes, flatten, unflatten
from grok_sweep.optimizers import Hyper, OptimizerState
from grok_sweep.tasks import Task


@dataclass(frozen=True)
class Batch:
    """The pairs trained on."""

    a: Int[Tensor, " n_train"]
    b: Int[Tensor, " n_train"]
    labels: Int[Tensor, " n_train"]

    def __getitem__(self, index: Int[Tensor, " n"]) -> Batch:
        return Batch(*(t.index_select(0, index) for t in (self.a, self.b, self.labels)))


@dataclass(frozen=True)
class TrainState:
    """The network after `step` updates.

    Attributes:
        weights: all parameters, flat.
        optimizer: the running means that the next update continues.
        objective: the loss (nats) whose gradient made the last update, at the weights before it; None at the
            start and after a resume.
        gradient: that gradient.
        before: the weights before that update.
    """

    step: int
    weights: Float[Tensor, " n_parameters"]
    optimizer: OptimizerState
    objective: float | None = None
    gradient: Float[Tensor, " n_parameters"] | None = None
    before: Float[Tensor, " n_parameters"] | None = None

    @property
    def update(self) -> Float[Tensor, " n_parameters"] | None:
        """What the last update added to the weights."""
        return None if self.before is None else self.weights - self.before


@dataclass(frozen=True)
class Setup:
    """What stays the same through a run's training.

    Attributes:
        batch: all pairs trained on.
        mask: where weight decay acts; None: everywhere.
        by_hand: the written-out gradient, where the network has one; None: autograd's.
        forward: the network's, compiled where the settings ask for it.
    """

    config: RunConfig
    network: Network
    shapes: Shapes
    batch: Batch
    mask: Float[Tensor, " n_parameters"] | None
    loss_dtype: torch.dtype
    by_hand: TransformerByHand | None
    forward: Callable[..., Activations]

    @property
    def gradient_by(self) -> str:
        """What computes gradients, in words: another one gives other bits."""
        if self.config.compile:
            return "compiled"
        return "autograd" if self.by_hand is None else f"by hand, folded, {CHUNK} pairs at a time"


def setup(config: RunConfig, task: Task, device: torch.device | str = "cpu") -> Setup:
    """Network, batch and decay mask for resolved settings."""
    network = build.network(config.model, task.p)
    shapes = network.shapes()
    trained = task.train_mask
    batch = Batch(*(t[trained].to(device) for t in (task.a, task.b, task.labels)))
    dtype = getattr(torch, config.dtype.name)
    mask = optimizers.decay_mask(shapes, config.optimizer.decay_target, torch.empty(0, dtype=dtype, device=device))
    by_hand = None if config.compile else build.by_hand(network)
    forward = torch.compile(network.forward) if config.compile else network.forward
    return Setup(config, network, shapes, batch, mask, getattr(torch, config.loss_dtype.name), by_hand, forward)


def initial_state(fixed: Setup) -> TrainState:
    """State 0: weights drawn in float32 on the CPU, then cast."""
    drawn = flatten(build.initial_weights(fixed.network), fixed.shapes)
    weights = drawn.to(device=fixed.batch.a.device, dtype=getattr(torch, fixed.config.dtype.name))
    return TrainState(0, weights, optimizers.start(fixed.config.optimizer, weights))


def pack(state: TrainState, shapes: Shapes) -> dict[str, Tensor]:
    """What a checkpoint holds of a state: weights by name, and each running mean as "<mean>/<name>"."""
    tensors = unflatten(state.weights, shapes)
    for mean, vector in state.optimizer.moments.items():
        tensors |= {f"{mean}/{name}": tensor for name, tensor in unflatten(vector, shapes).items()}
    return tensors


def unpack(tensors: Mapping[str, Tensor], step: int, fixed: Setup) -> TrainState:
    """The inverse of `pack`. Raises ValueError where names or shapes do not fit."""
    device = fixed.batch.a.device
    moments = {
        mean: flatten(_under(tensors, mean), fixed.shapes).to(device)
        for mean in optimizers.moment_names(fixed.config.optimizer)
    }
    weights = flatten(weights_in(tensors), fixed.shapes).to(device)
    return TrainState(step, weights, OptimizerState(moments, step))


def weights_in(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of what was kept of a state, the weights; the optimizer's part has a slash in its names."""
    return {name: tensor for name, tensor in tensors.items() if "/" not in name}


def _under(tensors: Mapping[str, Tensor], mean: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{mean}/"): t for name, t in tensors.items() if name.startswith(f"{mean}/")}


# --- what an update draws -----------------------------------------------------------------------------------


def batch_of(fixed: Setup, n_updates: int) -> Batch:
    """The pairs of the update after `n_updates`: all, or the next batch_size of a list shuffled once a pass."""
    n_train, size = len(fixed.batch.labels), fixed.config.optimizer.batch_size
    if size is None or size >= n_train:
        return fixed.batch
    n_batches = -(-n_train // size)
    epoch, i = divmod(n_updates, n_batches)
    order = _pass_order(fixed.config.model.init_seed, epoch, n_train)
    return fixed.batch[order[i * size : (i + 1) * size].to(fixed.batch.a.device)]


@lru_cache(maxsize=4)
def _pass_order(seed: int, epoch: int, n_train: int) -> Tensor:
    return torch.randperm(n_train, generator=generator(seed, f"batches/{epoch}"))


def dropout_of(config: ModelConfig, n_updates: int) -> Dropout | None:
    """What sets neurons to 0 in the update after `n_updates`; drawn on the CPU, the same on every device."""
    if config.dropout == 0:
        return None
    drawn = generator(config.init_seed, f"dropout/{n_updates}")

    def drop(neurons: Tensor) -> Tensor:
        keep = torch.rand(neurons.shape, generator=drawn) >= config.dropout
        return neurons * keep.to(neurons) / (1 - config.dropout)

    return drop


# --- the step -----------------------------------------------------------------------------------------------


def objective_gradient(
    logits: Float[Tensor, "n d_vocab_out"],
    labels: Int[Tensor, " n"],
    loss_dtype: torch.dtype,
    n_pairs: int | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, "n d_vocab_out"]]:
    """Mean cross-entropy (nats) over all outputs, and its gradient by the logits in their dtype.

    Args:
        n_pairs: the mean is over so many pairs, and this is what the given ones add to it; None: these are all.

    The softmax is taken in `loss_dtype`: in float32 it resolves only multiples of 1.2e-7 near 0, and the
    gradient of a nearly perfect fit is then noise (Nanda et al. 2023, appendix A).
    """
    losses, gradient = cross_entropies(logits, labels, loss_dtype, n_pairs or len(labels))
    return losses.sum() / (n_pairs or len(labels)), gradient


def cross_entropies(
    logits: Float[Tensor, "n d_vocab_out"],
    labels: Int[Tensor, " n"],
    loss_dtype: torch.dtype,
    n_pairs: int | Float[Tensor, "n 1"],
) -> tuple[Float[Tensor, "n 1"], Float[Tensor, "n d_vocab_out"]]:
    """The loss of each pair, and the gradient of the mean over n_pairs by the logits: each pair's own, where pairs
    belong to several networks."""
    shifted = logits.to(loss_dtype) - logits.amax(1, keepdim=True).to(loss_dtype)
    at_label = labels[:, None]
    correct = shifted.gather(1, at_label)
    exps = shifted.exp_()
    totals = exps.sum(1, keepdim=True)
    losses = totals.log() - correct
    gradient = exps.div_(totals * n_pairs)
    at_once = torch.full_like(correct, -1 / n_pairs) if isinstance(n_pairs, int) else -1 / n_pairs
    gradient.scatter_add_(1, at_label, at_once)
    return losses, gradient.to(logits.dtype)


def squared_error_gradient(
    logits: Float[Tensor, "n d_vocab_out"],
    labels: Int[Tensor, " n"],
    loss_dtype: torch.dtype,
    n_pairs: int | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, "n d_vocab_out"]]:
    """Mean over pairs and outputs of the squared difference from one-hot labels, and its gradient by the logits.

    Args:
        n_pairs: as for `objective_gradient`.
    """
    losses, gradient = squared_errors(logits, labels, loss_dtype, n_pairs or len(labels))
    return losses.sum() / (n_pairs or len(labels)), gradient


def squared_errors(
    logits: Float[Tensor, "n d_vocab_out"],
    labels: Int[Tensor, " n"],
    loss_dtype: torch.dtype,
    n_pairs: int | Float[Tensor, "n 1"],
) -> tuple[Float[Tensor, "n 1"], Float[Tensor, "n d_vocab_out"]]:
    """As `cross_entropies`; the loss of a pair is its mean over outputs."""
    n_outputs = logits.shape[1]
    difference = logits.to(loss_dtype)
    difference = difference.scatter_add(1, labels[:, None], -torch.ones_like(difference[:, :1]))
    by_logits = (difference * (2 / (n_pairs * n_outputs))).to(logits.dtype)
    return difference.square().sum(1, keepdim=True) / n_outputs, by_logits


_OBJECTIVES = {Loss.cross_entropy: objective_gradient, Loss.mse: squared_error_gradient}
OBJECTIVES = {Loss.cross_entropy: cross_entropies, Loss.mse: squared_errors}
"""Losses pair by pair, and their gradient, for the networks of an ensemble."""


def gradient(
    weights: Float[Tensor, " n_parameters"], fixed: Setup, batch: Batch, dropout: Dropout | None = None
) -> tuple[Float[Tensor, ""], Float[Tensor, " n_parameters"]]:
    """The objective on a batch at these weights, and its gradient."""
    objective = partial(_OBJECTIVES[fixed.config.loss], loss_dtype=fixed.loss_dtype, n_pairs=len(batch.labels))
    if fixed.by_hand is not None and dropout is None:
        by_weights = torch.zeros_like(weights)
        parts = unflatten(weights[None], fixed.shapes), unflatten(by_weights[None], fixed.shapes)
        return fixed.by_hand.gradient(*parts, batch.a, batch.b, batch.labels, objective), by_weights
    leaf = weights.detach().requires_grad_()
    with _same_bits_each_time() if fixed.config.compile else nullcontext():
        logits = fixed.forward(unflatten(leaf, fixed.shapes), batch.a, batch.b, dropout).logits
        loss, by_logits = objective(logits.detach(), batch.labels)
        (by_weights,) = torch.autograd.grad(logits, leaf, by_logits)
    return loss, by_weights


@contextmanager
def _same_bits_each_time() -> Iterator[None]:
    """A compiled gather adds in another order at each run, unless torch is told not to."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def step(state: TrainState, fixed: Setup, hyper: Hyper) -> TrainState:
    """One update: the network after it, and the facts of the update."""
    n_updates = state.optimizer.n_updates
    dropout = dropout_of(fixed.config.model, n_updates)
    loss, by_weights = gradient(state.weights, fixed, batch_of(fixed, n_updates), dropout)
    name = fixed.config.optimizer.name
    weights, optimizer = optimizers.updated(name, state.weights, by_weights, state.optimizer, hyper, fixed.mask)
    return TrainState(state.step + 1, weights, optimizer, float(loss), by_weights, state.weights)


def training(state: TrainState, fixed: Setup) -> Iterator[TrainState]:
    """The states after `state`, one a step, without end."""
    while True:
        state = step(state, fixed, optimizers.hyper_at(fixed.config.optimizer, state.optimizer.n_updates))
        yield state
