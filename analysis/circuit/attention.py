"""Where "=" looks, and the one frequency by which each head compares its operands. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.circuit import directions
from analysis.circuit.subject import Subject


@dataclass(frozen=True)
class Head:
    """One head, over all pairs of the group.

    Attributes:
        to_a: mean attention from "=" to a; likewise to_b, to_equals.
        k: the frequency whose fit explains most of the attention to a; None where that does not vary.
        fve: share of its variance that the fit explains.
        alpha: of the fit: attention to a = mean + alpha (cos w_k a - cos w_k b) + beta (sin w_k a - sin w_k b).
        beta: as alpha.
    """

    to_a: float
    to_b: float
    to_equals: float
    k: int | None = None
    fve: float | None = None
    alpha: float | None = None
    beta: float | None = None


def heads(subject: Subject) -> list[Head] | None:
    """One for each head, of the last layer; fits where a group is known. None where there is no attention.

    The fit of Nanda et al. 2023, appendix C.1.3 and table 2: least squares, the best k of 1..n//2. Attention reads
    tokens, so both operands stand in the order of the first one's exponents: with subtraction, whose second operand
    has a negative exponent, the form is the same.
    """
    pattern = subject.evaluation.activations.attn_pattern
    if pattern is None:
        return None
    means = pattern.double().mean(0).tolist()
    if subject.group is None:
        return [Head(*mean) for mean in means]
    table = pattern[:, :, 0].double().index_select(0, by_tokens(subject))
    return [Head(*mean, **_fit(table[:, h], subject.group.n)) for h, mean in enumerate(means)]


def fitted(subject: Subject) -> Float[Tensor, "n_pairs n_heads 3"] | None:
    """The pattern with each head's fit in the place of its attention to a and b; what "=" gets stays.

    Attention to a is the fit, that to b what is left of 1 - attention to "=". None where there is no fit.
    """
    found, pattern = heads(subject), subject.evaluation.activations.attn_pattern
    if found is None or pattern is None or subject.group is None or any(head.k is None for head in found):
        return None
    order = by_tokens(subject)
    changed = pattern.double().clone()
    for h, head in enumerate(found):
        assert head.k is not None, "asked above"
        column = pattern[:, h, 0].double().index_select(0, order)
        rows = directions.antisymmetric(subject.group.n, head.k)
        changed[order, h, 0] = column.mean() + directions.project(column[:, None], rows)[:, 0]
    both = pattern[:, :, :2].double().sum(2)
    changed[:, :, 1] = both - changed[:, :, 0]
    return changed


def by_tokens(subject: Subject) -> Int[Tensor, " n_group_pairs"]:
    """The group's pairs (a, b), both operands in the order of the exponents that the first one has."""
    task, group = subject.task, subject.group
    assert group is not None, "asked for where there is a group"
    i, j = group.of_a[task.a], group.of_a[task.b]
    inside = ((i >= 0) & (j >= 0)).nonzero()[:, 0]
    return inside[(i * group.n + j)[inside].argsort()]


def _fit(column: Float[Tensor, " n_pairs"], n: int) -> dict[str, float | int]:
    centred = column - column.mean()
    total = float(centred.square().sum())
    if total <= 1e-20 * float(column.square().sum()):
        return {}
    best = max(range(1, n // 2 + 1), key=lambda k: _energy(centred, n, k))
    rows = directions.antisymmetric(n, best)
    # A row is (cos w i - cos w j) / norm; its norm is that of the two waves together.
    coefficients = (rows @ centred) / _norm_of_difference(n, best)
    alpha, beta = [*coefficients.tolist(), 0.0][:2]
    return {"k": best, "fve": _energy(centred, n, best) / total, "alpha": alpha, "beta": beta}


def _energy(centred: Tensor, n: int, k: int) -> float:
    return float((directions.antisymmetric(n, k) @ centred).square().sum())


def _norm_of_difference(n: int, k: int) -> float:
    """Norm over the n² pairs of cos w_k i - cos w_k j: each cosine has n²/2, at Nyquist n²."""
    return n * (2.0 if 2 * k == n else 1.0) ** 0.5


def uniform(pattern: Float[Tensor, "n_pairs n_heads 3"]) -> Float[Tensor, "n_pairs n_heads 3"]:
    """Half to a, half to b."""
    return torch.tensor([0.5, 0.5, 0.0], dtype=pattern.dtype).expand_as(pattern)
