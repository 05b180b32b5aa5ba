"""The network to be taken apart, with its split, where that is known, and its key frequencies. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from grok_sweep.groups import Group
from grok_sweep.measures.evaluation import Evaluation, evaluate
from grok_sweep.measures.frequencies import KeyFrequencies
from grok_sweep.models.network import Network
from grok_sweep.models.parameters import Weights
from grok_sweep.tasks import Task


@dataclass(frozen=True)
class Subject:
    """A network, evaluated on every pair in float64.

    Attributes:
        evaluation: where the split is not known, every pair counts as trained on.
        has_split: whether the split is known.
        given_keys: key frequencies that replace the rule's; None: the largest gap finds them.
    """

    evaluation: Evaluation
    has_split: bool = True
    given_keys: tuple[int, ...] | None = None

    @property
    def task(self) -> Task:
        return self.evaluation.task

    @property
    def network(self) -> Network:
        return self.evaluation.network

    @property
    def weights(self) -> Weights:
        return self.evaluation.weights

    @property
    def group(self) -> Group | None:
        return self.task.group

    @cached_property
    def found_keys(self) -> KeyFrequencies | None:
        """By the largest gap; None where no group is known."""
        return None if self.group is None else self.evaluation.key_freqs

    @property
    def key_freqs(self) -> list[int]:
        """K, sorted: those given, else those found; none where the gap is too small or no group is known."""
        if self.given_keys is not None:
            return sorted(self.given_keys)
        return [] if self.found_keys is None else (self.found_keys.freqs or [])

    @cached_property
    def sets(self) -> dict[str, Bool[Tensor, " n_pairs"]]:
        """all and, where the split is known, train, test, swap and novel: those that have pairs, of the group's."""
        task = self.task
        masks = {"all": torch.ones_like(task.train_mask)}
        if self.has_split:
            masks |= {"train": task.train_mask, "test": task.test_mask, "swap": task.swap_mask}
            masks |= {"novel": task.novel_mask}
        inside = {name: mask & ~task.outside_mask for name, mask in masks.items()}
        return {name: mask for name, mask in inside.items() if bool(mask.any())}

    @cached_property
    def reported(self) -> dict[str, Bool[Tensor, " n_pairs"]]:
        """`sets` and, apart, zero: the test pairs outside the group (of unknown split: all of them)."""
        zero = self.task.outside_mask & (self.task.test_mask if self.has_split else self.task.outside_mask)
        return self.sets | ({"zero": zero} if bool(zero.any()) else {})

    @property
    def trained(self) -> str:
        """The set that excluded loss is taken over: train, or all where the split is not known."""
        return "train" if self.has_split else "all"

    @property
    def unseen(self) -> str:
        """The set that only a general rule answers: novel pairs, else test pairs, else all."""
        return next(name for name in ("novel", "test", "all") if name in self.sets)

    def losses(
        self, logits: Float[Tensor, "n_pairs p"], sets: dict[str, Bool[Tensor, " n_pairs"]] | None = None
    ) -> dict[str, float]:
        """Mean float64 cross-entropy (nats) of these logits; on all pairs by the true answers.

        Args:
            sets: default: `sets`.
        """
        changed, sets = replace(self.evaluation, outputs=logits), self.sets if sets is None else sets
        by_pair = {"all": changed.answer_losses}
        return {name: float(by_pair.get(name, changed.pair_losses)[mask].mean()) for name, mask in sets.items()}

    def accuracies(self) -> dict[str, float]:
        """Share of pairs answered right (the largest logit, a tie counts as wrong) on each set that is reported."""
        correct = self.evaluation.correct.double()
        return {name: float(correct[mask].mean()) for name, mask in self.reported.items()}


def subject(
    weights: Weights, task: Task, network: Network, has_split: bool = True, key_freqs: Sequence[int] | None = None
) -> Subject:
    """The network with these weights, cast to float64.

    Args:
        task: its split is ignored where `has_split` is false.
        key_freqs: K, in place of the rule's.

    Raises:
        ValueError: a given frequency is not in 1..n//2, or the task has no group that frequencies are of.
    """
    _check_keys(task, key_freqs)
    if not has_split:
        everywhere = torch.ones_like(task.train_mask)
        task = replace(task, train_mask=everywhere, swap_mask=~everywhere, labels=task.answers)
    found = evaluate({name: w.double() for name, w in weights.items()}, task, network)
    return Subject(found, has_split, None if key_freqs is None else tuple(dict.fromkeys(key_freqs)))


def _check_keys(task: Task, key_freqs: Sequence[int] | None) -> None:
    if key_freqs is None:
        return
    if task.group is None:
        raise ValueError("--key-freqs: no cyclic group of this operation is known, so there are no frequencies")
    wrong = [k for k in key_freqs if not 1 <= k <= task.group.n // 2]
    if wrong or not key_freqs:
        raise ValueError(
            f"--key-freqs must name frequencies in 1..{task.group.n // 2}, got {', '.join(map(str, wrong)) or 'none'}"
        )
