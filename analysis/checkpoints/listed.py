"""Train pairs that a file lists one by one: the task with them, and the rule that draws them where one does."""

from __future__ import annotations

from dataclasses import replace

import torch

from analysis.checkpoints.checkpoint import Checkpoint, SplitRule
from grok_sweep.config import DataConfig, SplitBy
from grok_sweep.splits import shuffled
from grok_sweep.tasks import Task, make_task

SEEDS = {SplitBy.torch: 2000, SplitBy.paper: 101}
"""Seeds tried, from 0 on: equal pairs prove the seed, so that many may be (TransformerLens's demo has 598)."""


def by_list(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with the split that draws the train pairs listed in its file, where a small seed does."""
    listed, n_pairs = checkpoint.train_pairs, checkpoint.p**2
    assert listed is not None, "called where a file lists its train pairs"
    frac = _fraction(len(listed), n_pairs)
    for by, n_seeds in SEEDS.items():
        for seed in range(n_seeds):
            if listed == frozenset(shuffled(n_pairs, by, seed)[: len(listed)]):
                rule = SplitRule(by, frac, seed)
                note = f"split {rule}: its train pairs are those that the file lists"
                data = rule.data(checkpoint.operation, checkpoint.p)
                return replace(checkpoint, data=data, notes=(*checkpoint.notes, note))
    note = f"split: the {len(listed)} train pairs that the file lists; no small seed of either shuffle draws them"
    return replace(checkpoint, notes=(*checkpoint.notes, note))


def _fraction(n_train: int, n_pairs: int) -> float:
    """The shortest fraction of which int(frac * n_pairs) is n_train."""
    rounded = (float(format((n_train + 0.5) / n_pairs, f".{digits}g")) for digits in range(1, 13))
    return next(frac for frac in rounded if int(frac * n_pairs) == n_train)


def task_of(checkpoint: Checkpoint) -> Task | None:
    """The task with the split that is known, by rule or as the file lists it; None where neither is."""
    if checkpoint.data is not None:
        return make_task(checkpoint.data)
    if checkpoint.train_pairs is None:
        return None
    task = make_task(DataConfig(operation=checkpoint.operation, p=checkpoint.p))
    mask = torch.zeros(task.n_pairs, dtype=torch.bool)
    mask[sorted(checkpoint.train_pairs)] = True
    commutes = bool(task.swap_mask.any())
    swapped = ~mask & mask.view(checkpoint.p, -1).T.reshape(-1) if commutes else torch.zeros_like(mask)
    return replace(task, train_mask=mask, swap_mask=swapped)
