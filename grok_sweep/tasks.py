"""The task: every pair of operands, its answer, and which pairs are trained on.

Pairs stand in lexicographic order, so that a column over pairs reshapes to [p, p] with axis 0 for a and axis 1 for b
(to [p, p - 1] for division, whose b starts at 1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from grok_sweep import splits
from grok_sweep.config import DataConfig, Split
from grok_sweep.dotted import told
from grok_sweep.draws import generator
from grok_sweep.groups import OUTSIDE, Group, inverse
from grok_sweep.lists import lists
from grok_sweep.operations import Operation, operation


@dataclass(frozen=True)
class Residues:
    """Row of the exponents 0..n-1: the first operand, the second and the answer that has each of them."""

    a: Int[Tensor, " n"]
    b: Int[Tensor, " n"]
    c: Int[Tensor, " n"]


@dataclass(frozen=True)
class PairsBySum:
    """Row s: some of the pairs whose exponents sum to s; short rows are filled up.

    Attributes:
        pairs: any one where the row is filled up.
        is_pair: False there.
    """

    pairs: Int[Tensor, "n longest"]
    is_pair: Bool[Tensor, "n longest"]


@dataclass(frozen=True)
class Task:
    """All pairs of one operation with their split.

    Attributes:
        p: modulus, and number of answer classes; the token "=" is p.
        a: first operand of each pair.
        b: second operand of each pair.
        answers: the answer c of each pair.
        labels: what each pair is trained or tested on: the answer, but for label noise.
        train_mask: True where the pair is trained on.
        swap_mask: test pairs whose swap (b, a) is trained on, where a and b commute: the network may answer them by
            symmetry.
        group: the cyclic group that the operation lives in; None where none is known.
    """

    p: int
    a: Int[Tensor, " n_pairs"]
    b: Int[Tensor, " n_pairs"]
    answers: Int[Tensor, " n_pairs"]
    labels: Int[Tensor, " n_pairs"]
    train_mask: Bool[Tensor, " n_pairs"]
    swap_mask: Bool[Tensor, " n_pairs"]
    group: Group | None

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

    @cached_property
    def noisy_mask(self) -> Bool[Tensor, " n_pairs"]:
        """Train pairs with a wrong label."""
        return self.labels != self.answers

    @property
    def sets(self) -> dict[str, Bool[Tensor, " n_pairs"]]:
        """train, test, all; of test, swap (the swapped pair is trained on), novel, and zero (an operand is not in the
        group); of train, noisy (trained on a wrong label). Those that hold a pair."""
        return {name: mask for name, mask in self._masks().items() if name in self.set_names}

    @cached_property
    def set_names(self) -> frozenset[str]:
        return frozenset(name for name, mask in self._masks().items() if bool(mask.any()))

    def _masks(self) -> dict[str, Bool[Tensor, " n_pairs"]]:
        return {
            "train": self.train_mask,
            "test": self.test_mask,
            "swap": self.swap_mask,
            "novel": self.novel_mask,
            "noisy": self.noisy_mask,
            "zero": self.outside_mask & self.test_mask,
            "all": torch.ones_like(self.outside_mask),
        }

    @property
    def known_group(self) -> Group:
        """The cyclic group. ValueError where none is known: a measure that needs it is not defined here."""
        if self.group is None:
            raise ValueError(
                "this measure needs the cyclic group of the operation, and none is known: add and subtract have one, "
                "multiply and divide mod a prime"
            )
        return self.group

    @cached_property
    def group_pairs(self) -> Int[Tensor, "n n"] | None:
        """The pair whose operands have the exponents (i, j); None where no group is known."""
        if self.group is None:
            return None
        n = self.group.n
        i, j = self.group.of_a.to(self.a.device)[self.a], self.group.of_b.to(self.b.device)[self.b]
        inside = (i != OUTSIDE) & (j != OUTSIDE)
        grid = torch.full((n * n,), -1, device=self.a.device)
        grid[(i * n + j)[inside]] = torch.arange(self.n_pairs, device=self.a.device)[inside]
        return grid.view(n, n)

    @cached_property
    def outside_mask(self) -> Bool[Tensor, " n_pairs"]:
        """Pairs with an operand that is not in the group: those with a 0 in multiplication."""
        mask = torch.ones(self.n_pairs, dtype=torch.bool, device=self.a.device)
        if self.group_pairs is None:
            return ~mask
        mask[self.group_pairs.reshape(-1)] = False
        return mask

    # --- by the sum of their exponents, where a group is known --------------------------------------------

    @cached_property
    def residues(self) -> Residues:
        """Which residue stands where in the group's order."""
        group = self.known_group
        of_each = inverse(group.of_a, group.n), inverse(group.of_b, group.n), group.answers()
        return Residues(*(residues.to(self.a.device) for residues in of_each))

    @cached_property
    def pairs_by_sum(self) -> Int[Tensor, "n n"]:
        """Row s: the pairs whose operands' exponents sum to s (mod n), by the first one's exponent."""
        n, grid = self.known_group.n, self.group_pairs
        assert grid is not None
        i = torch.arange(n, device=grid.device)
        return grid[i[None, :], (i[:, None] - i[None, :]) % n]

    @cached_property
    def sum_of_pair(self) -> Int[Tensor, " n_pairs"]:
        """Sum of the operands' exponents (mod n) of each pair; -1 outside the group."""
        n = self.known_group.n
        sums = torch.full((self.n_pairs,), -1, device=self.a.device)
        sums[self.pairs_by_sum.reshape(-1)] = torch.arange(n, device=sums.device).repeat_interleave(n)
        return sums

    @cached_property
    def trained_by_sum(self) -> PairsBySum:
        """The train pairs in the group."""
        return self.by_sum(self.train_mask)

    def by_sum(self, mask: Bool[Tensor, " n_pairs"]) -> PairsBySum:
        """The pairs in `mask` and in the group, by the sum of their exponents."""
        pairs = (mask & ~self.outside_mask).nonzero()[:, 0]
        listed = lists(self.sum_of_pair[pairs], self.known_group.n)
        is_pair = listed.is_thing[..., 0].bool()
        return PairsBySum(pairs[listed.things], is_pair)

    def to(self, device: torch.device | str) -> Task:
        """The same task with its tensors on `device`."""
        names = ("a", "b", "answers", "labels", "train_mask", "swap_mask")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def make_task(config: DataConfig) -> Task:
    """Every pair and its answer, split as the settings say.

    Raises ValueError where the operation is not to be had, or breaks what it promises.
    """
    a, b, answers, group = _random(config) if config.operation == "random" else _of_operation(config)
    train_mask = splits.split(config, a, b)
    swap_mask = splits.swaps(a, b, answers, train_mask, config.p)
    labels = splits.with_noise(config, answers, train_mask)
    return Task(config.p, a, b, answers, labels, train_mask, swap_mask, group)


# --- pairs, answers, group ----------------------------------------------------------------------------------


def _random(config: DataConfig) -> tuple[Tensor, Tensor, Tensor, Group | None]:
    a, b = _pairs(config.p, first_b=0)
    answers = torch.randint(config.p, (len(a),), generator=generator(config.split_seed, "random labels"))
    return a, b, answers, None


def _of_operation(config: DataConfig) -> tuple[Tensor, Tensor, Tensor, Group | None]:
    op = operation(config.operation)
    _check_pairs(op, config)
    a, b = _pairs(config.p, op.first_b)
    answers = _answers(op, config, a, b)
    return a, b, answers, _group(op, config, a, b, answers)


def _pairs(p: int, first_b: int) -> tuple[Int[Tensor, " n_pairs"], Int[Tensor, " n_pairs"]]:
    a = torch.arange(p).repeat_interleave(p - first_b)
    return a, torch.arange(first_b, p).repeat(p)


def _check_pairs(op: Operation, config: DataConfig) -> None:
    """What first_b asks for; the settings see no operation of the user's own and took all p² pairs for granted."""
    name, p = f"data.operation={config.operation}", config.p
    if not (isinstance(op.first_b, int) and 0 <= op.first_b < p):
        raise ValueError(f"{name}: first_b must be a whole number in 0..{p - 1}, got {op.first_b!r}")
    if op.first_b == 0:
        return
    if config.split is Split.unordered:
        raise ValueError(f"data.split=unordered has no meaning for {name}: of (0, {op.first_b}) the swap is no pair")
    if int(config.frac_train * (n_pairs := p * (p - op.first_b))) < 1:
        raise ValueError(f"data.frac_train={config.frac_train} of {n_pairs} pairs leaves none to train on; raise it")


def _answers(op: Operation, config: DataConfig, a: Tensor, b: Tensor) -> Int[Tensor, " n_pairs"]:
    """Asked for twice: an answer drawn anew would make another task of a run that is continued."""
    name = f"data.operation={config.operation}"
    try:
        found = op.answer(a.clone(), b.clone(), config.p)
        again = op.answer(a.clone(), b.clone(), config.p)
    except Exception as error:  # whatever the user's function raises is the answer
        raise ValueError(f"{name}, asked for the answers (a, b, p): {told(error)}") from error
    if not isinstance(found, Tensor) or found.shape != a.shape or found.is_floating_point() or found.is_complex():
        shape = f"{found.dtype} of shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"{found!r:.40}"
        raise ValueError(
            f"{name} must give a tensor of whole numbers, one a pair (shape {tuple(a.shape)}); it gives {shape}"
        )
    if not torch.equal(found, again):
        raise ValueError(f"{name} gives other answers each time: draw from a torch.Generator with a seed of its own")
    return found.long() % config.p


def _group(op: Operation, config: DataConfig, a: Tensor, b: Tensor, answers: Tensor) -> Group | None:
    """The operation's group, its law tried on every pair: a wrong map would make wrong frequencies."""
    name = f"data.operation={config.operation} with data.p={config.p}"
    try:
        group = op.group(config.p)
    except Exception as error:  # whatever the user's function raises is the answer
        raise ValueError(f"{name}, asked for its group (p): {told(error)}") from error
    if group is None:
        return None
    if not isinstance(group, Group):
        raise ValueError(f"{name} must name a grok_sweep.groups.Group or None; it gives {group!r:.40}")
    if found := group.problems(config.p):
        raise ValueError(f"the group of {name}: {'; '.join(found)}")
    i, j, k = group.of_a[a], group.of_b[b], group.of_c[answers]
    inside = (i != OUTSIDE) & (j != OUTSIDE)
    if int(inside.sum()) < group.n**2:
        raise ValueError(f"the group of {name} needs second operands below first_b={op.first_b}")
    wrong = inside & ((k == OUTSIDE) | ((i + j - k) % group.n != 0))
    if bool(wrong.any()):
        at = int(wrong.nonzero()[0])
        raise ValueError(
            f"{name} does not live in the cyclic group of order {group.n} that it names: at a={int(a[at])}, "
            f"b={int(b[at])} the exponent of the answer {int(answers[at])} is not the sum of the operands'"
        )
    return group
