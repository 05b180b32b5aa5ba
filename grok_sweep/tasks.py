"""The task: every pair of operands, its answer, and which pairs are trained on.

Pairs stand in lexicographic order, pair a * p + b, so that a column over pairs reshapes to [p, p] with axis 0
for a and axis 1 for b.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from grok_sweep.config import DataConfig, Split, SplitBy


@dataclass(frozen=True)
class Task:
    """All pairs of one operation with their split.

    Attributes:
        p: modulus, and number of answer classes; the token "=" is p.
        a: first operand of each pair.
        b: second operand of each pair.
        labels: the answer c.
        train_mask: True where the pair is trained on.
        swap_mask: test pairs whose swap (b, a) is trained on: the network may answer them by symmetry.
        group_order: order n of the cyclic group that the operation lives in.
    """

    p: int
    a: Int[Tensor, " n_pairs"]
    b: Int[Tensor, " n_pairs"]
    labels: Int[Tensor, " n_pairs"]
    train_mask: Bool[Tensor, " n_pairs"]
    swap_mask: Bool[Tensor, " n_pairs"]
    group_order: int

    @property
    def n_pairs(self) -> int:
        return len(self.labels)

    @property
    def n_train(self) -> int:
        return int(self.train_mask.sum())

    @property
    def test_mask(self) -> Bool[Tensor, " n_pairs"]:
        return ~self.train_mask

    @property
    def novel_mask(self) -> Bool[Tensor, " n_pairs"]:
        """Test pairs whose swap is not trained on either: what only a general rule answers."""
        return ~self.train_mask & ~self.swap_mask

    def to(self, device: torch.device | str) -> Task:
        """The same task with its tensors on `device`."""
        names = ("a", "b", "labels", "train_mask", "swap_mask")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def make_task(config: DataConfig) -> Task:
    """All p² pairs of (a + b) mod p, split as the settings say."""
    p = config.p
    a = torch.arange(p).repeat_interleave(p)
    b = torch.arange(p).repeat(p)
    train_mask = _split(config)
    swap_trained = train_mask.view(p, p).T.reshape(-1)
    return Task(p, a, b, (a + b) % p, train_mask, ~train_mask & swap_trained, group_order=p)


def _split(config: DataConfig) -> Bool[Tensor, " n_pairs"]:
    """True on the first int(frac_train * n) entries of the shuffled list of pairs."""
    p = config.p
    if config.split is Split.ordered:
        pairs = [(a, b) for a in range(p) for b in range(p)]
    else:
        pairs = [(a, b) for a in range(p) for b in range(a, p)]
    chosen = shuffled(len(pairs), config.split_by, config.split_seed)[: int(config.frac_train * len(pairs))]
    mask = torch.zeros(p, p, dtype=torch.bool)
    for i in chosen:
        a, b = pairs[i]
        mask[a, b] = True
        if config.split is Split.unordered:
            mask[b, a] = True
    return mask.reshape(-1)


def shuffled(n: int, split_by: SplitBy, seed: int) -> list[int]:
    """0..n-1 in the order of the paper's code (random.shuffle) or of Chughtai's (torch.randperm on the CPU)."""
    if split_by is SplitBy.torch:
        return torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
    order = list(range(n))
    random.Random(seed).shuffle(order)
    return order
