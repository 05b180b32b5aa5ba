"""What a network answers, over all pairs: which operation that is, and whether a square matrix was turned rightly."""

from __future__ import annotations

import torch
from torch import Tensor

from grok_sweep.config import OPERATIONS, DataConfig, ModelConfig
from grok_sweep.models import build
from grok_sweep.tasks import make_task

MOST_PAIRS = 113 * 113
"""Pairs that are asked, evenly taken from all."""

KNOWS = 0.5
"""Share of right answers above which a network is taken to answer the operation: by chance it is 1/p."""


def right(weights: dict[str, Tensor], model: ModelConfig, p: int, operations: list[str]) -> dict[str, float]:
    """Share of pairs that the network answers rightly, for each operation that is defined mod p."""
    network = build.network(model, p)
    tasks = {name: make_task(data) for name in operations if not (data := DataConfig(operation=name, p=p)).problems()}
    found, answers = {}, {}
    for name, task in tasks.items():
        taken = torch.arange(0, task.n_pairs, max(1, task.n_pairs // MOST_PAIRS))
        a, b = task.a[taken], task.b[taken]
        if task.n_pairs not in answers:
            with torch.no_grad():
                answers[task.n_pairs] = network.forward(weights, a, b).logits[:, :p].argmax(1)
        found[name] = float((answers[task.n_pairs] == task.answers[taken]).double().mean())
    return found


def named_operations() -> list[str]:
    """Those with an answer that does not depend on a seed."""
    return [name for name in OPERATIONS if name != "random"]
