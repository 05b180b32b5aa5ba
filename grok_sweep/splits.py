"""Which pairs are trained on, and by which label: drawn from the seed alone."""

from __future__ import annotations

import random

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from grok_sweep.config import DataConfig, Split, SplitBy
from grok_sweep.draws import generator


def split(config: DataConfig, a: Tensor, b: Tensor) -> Bool[Tensor, " n_pairs"]:
    """True on the first int(frac_train * n) entries of the shuffled list of pairs."""
    drawn = torch.arange(len(a))
    if config.split is Split.unordered:
        drawn = drawn[a <= b]
    chosen = shuffled(len(drawn), config.split_by, config.split_seed)[: int(config.frac_train * len(drawn))]
    mask = torch.zeros(len(a), dtype=torch.bool)
    mask[drawn[torch.tensor(chosen, dtype=torch.long)]] = True
    if config.split is Split.unordered:
        mask |= mask.view(config.p, config.p).T.reshape(-1)
    return mask


def swaps(a: Tensor, b: Tensor, answers: Tensor, train_mask: Tensor, p: int) -> Bool[Tensor, " n_pairs"]:
    """Test pairs whose swap is trained on; none where a and b do not commute."""
    if len(answers) != p * p or not torch.equal(answers.view(p, p), answers.view(p, p).T):
        return torch.zeros_like(train_mask)
    return ~train_mask & train_mask.view(p, p).T.reshape(-1)


def with_noise(config: DataConfig, answers: Tensor, train_mask: Tensor) -> Int[Tensor, " n_pairs"]:
    """The answers, but int(label_noise * n_train) of the train pairs with one of the p - 1 wrong ones, drawn evenly.

    The pairs are the first of one shuffled list, each with its own wrong label: more noise only adds to less.
    """
    trained = train_mask.nonzero()[:, 0]
    drawn = generator(config.split_seed, "label noise")
    order = trained[torch.randperm(len(trained), generator=drawn)]
    shifts = torch.randint(1, config.p, (len(trained),), generator=drawn)
    n_noisy = int(config.label_noise * len(trained))
    labels = answers.clone()
    labels[order[:n_noisy]] = (answers[order[:n_noisy]] + shifts[:n_noisy]) % config.p
    return labels


def shuffled(n: int, split_by: SplitBy, seed: int) -> list[int]:
    """0..n-1 in the order of the paper's code (random.shuffle) or of Chughtai's (torch.randperm on the CPU)."""
    if split_by is SplitBy.torch:
        return torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
    order = list(range(n))
    random.Random(seed).shuffle(order)
    return order
