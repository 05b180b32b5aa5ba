"""Evaluations made of given logits, weights or activations, without a training."""

from __future__ import annotations

import torch
from torch import Tensor

from grok_sweep.config import DataConfig, ModelConfig, RunConfig, resolved
from grok_sweep.measures.evaluation import Evaluation
from grok_sweep.models import build
from grok_sweep.models.network import Activations, Network
from grok_sweep.tasks import Task, make_task

TASKS = [("add", 7), ("add", 12), ("subtract", 11), ("multiply", 13), ("divide", 11)]
"""Group orders 7, 12, 11, 12 and 10: odd and even, in the order of residues and in another."""


def task_of(operation: str, p: int) -> Task:
    """This operation with two fifths of its pairs trained on."""
    return make_task(DataConfig(operation=operation, p=p, frac_train=0.4))


def random(*shape: int, seed: int = 0) -> Tensor:
    """Gaussian float64 draws."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def network_of(p: int, **model: object) -> Network:
    """The network of these model settings, the others by default."""
    return build.network(resolved(RunConfig(model=ModelConfig(**model))).model, p)  # type: ignore[arg-type]


def of_logits(
    task: Task,
    outputs: Tensor,
    weights: dict[str, Tensor] | None = None,
    network: Network | None = None,
    loss_dtype: torch.dtype = torch.float64,
    **others: Tensor,
) -> Evaluation:
    """An evaluation that holds these logits, weights and other activations of every pair."""
    activations = Activations(outputs, **others)  # type: ignore[arg-type]
    return Evaluation(weights or {}, task, network or network_of(task.p), activations, outputs.double(), loss_dtype)


def of_neurons(
    task: Task, mlp_post: Tensor, weights: dict[str, Tensor] | None = None, **others: Network
) -> Evaluation:
    """An evaluation whose neurons are these, all logits 0."""
    outputs = torch.zeros(task.n_pairs, task.p, dtype=torch.float64)
    return of_logits(task, outputs, weights, others.get("network"), mlp_post=mlp_post)
