"""Does it add by rotations? Three numbers, each beside what random relabellings of the residues give. Pure.

A relabelling renames the residues by one permutation, for operands and answers alike. A network that adds by
rotations is sparse in the waves of the residues as they are, and of no other naming: so the same numbers under random
names tell what a network without rotations, or chance, would have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum

import torch
from jaxtyping import Int
from torch import Tensor

from analysis.circuit.subject import Subject
from grok_sweep.groups import OUTSIDE, Group
from grok_sweep.measures.evaluation import Evaluation
from grok_sweep.measures.frequencies import LEAST_GAP

N_RELABELLINGS = 200
LEAST_EXCLUDED, MOST_RESTRICTED = 0.8, 0.1
"""Of ln p, the loss of guessing."""


class Verdict(Enum):
    fourier = "Fourier"
    forming = "forming"
    none = "not"


@dataclass(frozen=True)
class Evidence:
    """One number of the verdict.

    Attributes:
        value: of the network; None where there are no key frequencies.
        bound: what it has to reach ("least") or stay below ("most"), in `kind`.
        null: its values under the relabellings, sorted; each with as many frequencies as K has, the best of that
            naming.
        over: the set of pairs.
    """

    name: str
    value: float | None
    bound: float
    kind: str
    null: list[float]
    over: str

    @property
    def holds(self) -> bool:
        if self.value is None:
            return False
        return self.value >= self.bound if self.kind == "least" else self.value <= self.bound

    @property
    def null_best(self) -> float:
        """The value that comes nearest to holding by chance."""
        return self.null[-1] if self.kind == "least" else self.null[0]

    @property
    def null_median(self) -> float:
        return float(torch.tensor(self.null, dtype=torch.float64).median())

    @property
    def n_holding(self) -> int:
        """Relabellings that reach the bound."""
        return sum(x >= self.bound if self.kind == "least" else x <= self.bound for x in self.null)

    @property
    def n_as_good(self) -> int | None:
        """Relabellings at least as good as the network's own naming."""
        if self.value is None:
            return None
        return sum(x >= self.value if self.kind == "least" else x <= self.value for x in self.null)


@dataclass(frozen=True)
class Judged:
    """The verdict and what it rests on: the gap (decades), restricted and excluded loss (nats).

    Attributes:
        n_freqs: how many frequencies each relabelling has: as many as K, or without K as lie above the largest gap.
    """

    verdict: Verdict
    evidence: list[Evidence]
    n_relabellings: int
    n_freqs: int

    def of(self, name: str) -> Evidence:
        return next(each for each in self.evidence if each.name == name)


def judge(subject: Subject, generator: torch.Generator, n: int = N_RELABELLINGS) -> Judged | None:
    """Fourier where all three hold; forming where the gap does and a loss does not; else not. None without a group.

    The gap: at least 1.5 decades. Restricted loss on the pairs that only a rule answers (novel, else test, else all):
    at most .1 ln p. Excluded loss on train pairs (all where the split is not known): at least .8 ln p.

    Args:
        generator: draws the relabellings.
        n: how many.
    """
    if subject.group is None:
        return None
    keys, found = subject.key_freqs, subject.found_keys
    assert found is not None, "there is a group"
    size = len(keys) or max(1, len(found.above))
    named = [_numbers(subject, relabelled(subject, generator), size) for _ in range(n)]
    restricted, excluded = _losses(subject, subject.evaluation, keys) if keys else (None, None)
    values = (found.gap, restricted, excluded)
    guess = math.log(subject.task.p)
    bounds = (
        ("key_gap", LEAST_GAP, "least", subject.trained),
        ("restricted_loss", MOST_RESTRICTED * guess, "most", subject.unseen),
        ("excluded_loss", LEAST_EXCLUDED * guess, "least", subject.trained),
    )
    evidence = [
        Evidence(name, value, bound, kind, sorted(numbers[i] for numbers in named), over)
        for i, ((name, bound, kind, over), value) in enumerate(zip(bounds, values, strict=True))
    ]
    return Judged(_verdict(evidence), evidence, n, size)


def _verdict(evidence: list[Evidence]) -> Verdict:
    gap, *losses = evidence
    if not gap.holds:
        return Verdict.none
    return Verdict.fourier if all(each.holds for each in losses) else Verdict.forming


# --- the numbers under another naming -----------------------------------------------------------------------


def relabelled(subject: Subject, generator: torch.Generator) -> Evaluation:
    """The same network with its residues named at random: what its group calls i is now permutation[i].

    A permutation that is affine (i -> u i + v) renames frequencies and no more: it is drawn again.
    """
    group, n = subject.group, len(subject.group.answers()) if subject.group else 0
    assert group is not None, "asked for where there is a group"
    permutation = torch.randperm(n, generator=generator)
    while _is_affine(permutation) and n > 3:  # up to three residues every permutation is
        permutation = torch.randperm(n, generator=generator)
    renamed = replace(
        group, of_a=_named(group.of_a, permutation), of_b=_named(group.of_b, permutation),
        of_c=_named(group.of_c, permutation),
    )  # fmt: skip
    return _with_group(subject.evaluation, renamed)


def _is_affine(permutation: Int[Tensor, " n"]) -> bool:
    steps = (permutation.roll(-1) - permutation) % len(permutation)
    return bool((steps == steps[0]).all())


def _named(exponents: Int[Tensor, " p"], permutation: Int[Tensor, " n"]) -> Int[Tensor, " p"]:
    return torch.where(exponents == OUTSIDE, OUTSIDE, permutation[exponents.clamp(min=0)])


SHARED = ("logits", "relative_logits", "margin", "wrong_odds", "pair_losses", "answer_losses")
"""What an evaluation has worked out that no naming changes."""


def _with_group(evaluation: Evaluation, group: Group) -> Evaluation:
    renamed = replace(evaluation, task=replace(evaluation.task, group=group))
    for name in SHARED:  # cached properties live in the instance's dictionary
        vars(renamed)[name] = getattr(evaluation, name)
    return renamed


def _numbers(subject: Subject, evaluation: Evaluation, size: int) -> tuple[float, float, float]:
    """Gap, and restricted and excluded loss with the `size` frequencies whose removal costs most."""
    by_cost = evaluation.excluded_loss_k.argsort(descending=True)[:size]
    return evaluation.key_freqs.gap, *_losses(subject, evaluation, sorted((by_cost + 1).tolist()))


def _losses(subject: Subject, evaluation: Evaluation, key_freqs: list[int]) -> tuple[float, float]:
    """Restricted loss on the unseen pairs, excluded loss on the trained ones.

    Restricted pair by pair: under another naming the answer is no function of a + b.
    """
    waves, sums, task = evaluation.sum_waves(key_freqs), evaluation.sum_of_pair, subject.task
    excluded = evaluation.excluded_losses(waves[None], evaluation.task.by_sum(subject.sets[subject.trained]))[0]
    seen = subject.sets[subject.unseen]
    kept = waves[sums[seen]] + evaluation.logits[sums >= 0].mean(0)
    restricted = torch.nn.functional.cross_entropy(kept, task.answers[seen])
    return float(restricted), float(excluded)
