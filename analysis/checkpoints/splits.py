"""Which pairs a file was trained on, where it does not say: small seeds of both shuffles, ranked by train loss.

A network has lower losses on what it was trained on, also long after it generalises. That is told by ranks, since a
few pairs may carry most of the mean: all pairs in the order of their losses, the mean rank of n of them drawn at
random has a known mean and standard deviation, and train pairs lie many of these below.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.checkpoints.checkpoint import Checkpoint, Losses, SplitRule
from analysis.checkpoints.listed import by_list
from grok_sweep.config import DataConfig, SplitBy
from grok_sweep.measures.evaluation import evaluate
from grok_sweep.models import build
from grok_sweep.splits import shuffled
from grok_sweep.tasks import make_task

USUAL = 0.3
"""The paper's train fraction, and Chughtai's."""

FRACTIONS = tuple(n / 20 for n in range(1, 20))
"""Train fractions tried where the file names none."""

AGREES = 0.1
"""Saved losses are one step older than saved weights: a train loss this near (as a share) is the same."""

PROVES = 6.0
"""Standard deviations that prove a split. Splits that are not the network's reach 4 at most (101 splits on
each of two published networks and ten snapshots of a run), the right one 8.8 in a network amid a loss spike."""


@dataclass(frozen=True)
class Tried:
    """One split with the network's losses under it (nats, float64, p classes).

    Attributes:
        z: standard deviations by which the mean rank of its train pairs' losses lies below that of as many at random.
    """

    rule: SplitRule
    train_loss: float
    test_loss: float
    z: float

    @property
    def is_proven(self) -> bool:
        return self.z >= PROVES


@dataclass(frozen=True)
class Ranking:
    """The splits tried, of one train fraction, by train loss; a proven one comes first.

    Attributes:
        saved: losses that stand in the file; None where it has none.
    """

    tried: tuple[Tried, ...]
    saved: Losses | None = None

    @property
    def winner(self) -> Tried:
        return self.tried[0]

    @property
    def is_clear(self) -> bool:
        """Whether the winner may be taken for the split."""
        return self.winner.is_proven

    @property
    def margin(self) -> float:
        """Train loss of the runner-up over the winner's."""
        return self.tried[1].train_loss / self.winner.train_loss if self.winner.train_loss else math.inf

    @property
    def off(self) -> float | None:
        """By what share the winner's train loss lies above the one saved in the file; None where it has none."""
        if self.saved is None or not self.saved.train:
            return None
        return self.winner.train_loss / self.saved.train - 1

    @property
    def agrees(self) -> bool | None:
        """Whether that is less than 10 %; None where the file has no train loss."""
        return None if self.off is None else abs(self.off) <= AGREES

    def __str__(self) -> str:
        """The winner, its margin, and what the file's own losses say, in one sentence."""
        best, second = self.tried[:2]
        found = str(best.rule) if self.is_clear else f"unknown; the likeliest of those tried is {best.rule}"
        text = (
            f"split {found}: the lowest train loss of {len(self.tried)} tried, {best.train_loss:.4g} (test "
            f"{best.test_loss:.4g}); the runner-up, {second.rule}, has {_times(self.margin)}. By ranks its "
            f"train pairs lie {best.z:.1f} standard deviations below the others; {PROVES:g} prove a split"
        )
        if self.off is None:
            return text
        verdict = "agreement" if self.agrees else "more than the step between saved losses and weights explains"
        return f"{text}. It lies {_off(self.off)} the train loss saved in the file: {verdict}"


def _times(ratio: float) -> str:
    return "the same" if ratio < 1.005 else f"{ratio:.3g} times that"


def _off(share: float) -> str:
    return f"{share:+.1%} off" if share < 1 else f"{1 + share:,.4g} times as high as"


def find_split(
    checkpoint: Checkpoint, seeds: Iterable[int] = range(51), fractions: Sequence[float] | None = None
) -> tuple[Checkpoint, Ranking | None]:
    """The checkpoint with its split, where that is known or proven; and the ranking, where one was made."""
    if checkpoint.data is not None:
        return checkpoint, None
    if checkpoint.train_pairs is not None:
        return by_list(checkpoint), None
    if checkpoint.operation == "random":
        note = "split unknown: random labels are drawn from its seed, so that it has to be given"
        return replace(checkpoint, notes=(*checkpoint.notes, note)), None
    ranking = rank_splits(checkpoint, seeds, fractions)
    data = ranking.winner.rule.data(checkpoint.operation, checkpoint.p) if ranking.is_clear else None
    return replace(checkpoint, data=data, notes=(*checkpoint.notes, str(ranking))), ranking


def rank_splits(
    checkpoint: Checkpoint, seeds: Iterable[int] = range(51), fractions: Sequence[float] | None = None
) -> Ranking:
    """Rank the splits of these seeds, by both shuffles, under the train fraction that the losses show best.

    Args:
        fractions: train fractions to try; None: what the file says, else 0.05, 0.1, … 0.95.

    Raises:
        ValueError: no seeds, or no fraction that leaves pairs to train on and to test on.
    """
    if fractions is None:
        fractions = FRACTIONS if checkpoint.frac_train is None else (checkpoint.frac_train,)
    return rank(pair_losses(checkpoint), seeds, fractions, checkpoint.losses)


def rank(
    losses: Float[Tensor, " n_pairs"],
    seeds: Iterable[int] = range(51),
    fractions: Sequence[float] = FRACTIONS,
    saved: Losses | None = None,
) -> Ranking:
    """`rank_splits` of the losses of all pairs."""
    trial = _Trial(losses)
    draws = [(by, seed) for by in SplitBy for seed in seeds]
    usable = [frac for frac in fractions if 0 < int(frac * len(losses)) < len(losses)]
    if not draws or not usable:
        raise ValueError(f"no split to try: seeds {list(seeds)}, train fractions {list(fractions)}")
    frac = _best_fraction(trial, draws, usable)
    ranked = [trial.split(SplitRule(by, frac, seed)) for by, seed in draws]
    return Ranking(tuple(sorted(ranked, key=lambda each: (not each.is_proven, each.train_loss))), saved)


def doubt(checkpoint: Checkpoint) -> str | None:
    """What speaks against a split that was given or that the file names; None where its losses show it."""
    if checkpoint.data is None or checkpoint.operation == "random":
        return None
    tried = _Trial(pair_losses(checkpoint)).split(SplitRule.of(checkpoint.data))
    if tried.is_proven:
        return None
    return (
        f"split {tried.rule}: nothing in the losses shows it (train {tried.train_loss:.4g}, test "
        f"{tried.test_loss:.4g}; by ranks {tried.z:.1f} standard deviations, where {PROVES:g} would prove it)"
    )


def pair_losses(checkpoint: Checkpoint) -> Float[Tensor, " n_pairs"]:
    """Cross-entropy of each pair over the p classes (nats); forward pass and loss in float64."""
    task = make_task(DataConfig(operation=checkpoint.operation, p=checkpoint.p))
    weights = {name: w.double() for name, w in checkpoint.weights.items()}
    return evaluate(weights, task, build.network(checkpoint.model, checkpoint.p)).pair_losses


# --- trying ---------------------------------------------------------------------------------------------------


def _best_fraction(trial: _Trial, draws: Sequence[tuple[SplitBy, int]], fractions: Sequence[float]) -> float:
    """The fraction under which some draw stands out most, where one is proven; else the paper's, or the first."""
    if len(fractions) == 1:
        return fractions[0]
    best = max((trial.z_by_fraction(by, seed, fractions) for by, seed in draws), key=lambda zs: float(zs.max()))
    if float(best.max()) >= PROVES:
        return fractions[int(best.argmax())]
    return USUAL if USUAL in fractions else fractions[0]


@dataclass(frozen=True)
class _Trial:
    """The losses of all pairs, computed once; a split is then a mask over them."""

    losses: Float[Tensor, " n_pairs"]
    orders: dict[tuple[SplitBy, int], Tensor] = field(default_factory=dict)

    @cached_property
    def ranks(self) -> Float[Tensor, " n_pairs"]:
        """1 for the pair with the lowest loss."""
        ranks = torch.empty_like(self.losses)
        ranks[self.losses.argsort()] = torch.arange(1, len(ranks) + 1, dtype=ranks.dtype)
        return ranks

    def z_by_fraction(self, by: SplitBy, seed: int, fractions: Sequence[float]) -> Float[Tensor, " n_fractions"]:
        n_pairs = len(self.losses)
        sums = self.ranks[self._order(by, seed)].cumsum(0)
        n = torch.tensor([int(frac * n_pairs) for frac in fractions])
        return _z(sums[n - 1] / n, n, n_pairs)

    def _order(self, by: SplitBy, seed: int) -> Int[Tensor, " n_pairs"]:
        """The shuffled list of pairs; its first int(frac * n_pairs) are trained on (tasks.py)."""
        if (by, seed) not in self.orders:
            self.orders[by, seed] = torch.tensor(shuffled(len(self.losses), by, seed))
        return self.orders[by, seed]

    def split(self, rule: SplitRule) -> Tried:
        n_pairs = len(self.losses)
        mask = torch.zeros(n_pairs, dtype=torch.bool)
        mask[self._order(rule.split_by, rule.split_seed)[: int(rule.frac_train * n_pairs)]] = True
        z = _z(self.ranks[mask].mean(), mask.sum(), n_pairs)
        return Tried(rule, float(self.losses[mask].mean()), float(self.losses[~mask].mean()), float(z))


def _z(mean_rank: Tensor, n: Int[Tensor, "*any"], n_pairs: int) -> Tensor:
    """Standard deviations below the mean rank of n pairs drawn at random, without replacement, from all."""
    return ((n_pairs + 1) / 2 - mean_rank) / ((n_pairs + 1) * (n_pairs - n) / (12 * n)).sqrt()
