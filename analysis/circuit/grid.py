"""Columns over the pairs in the order of the group, and back. Pure."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from analysis.circuit.subject import Subject


def pairs(subject: Subject) -> Int[Tensor, "n n"]:
    """The pair whose operands have the exponents (i, j)."""
    found = subject.task.group_pairs
    assert found is not None, "an analysis of frequencies is asked for where there is a group"
    return found


def ordered(subject: Subject, values: Float[Tensor, "n_pairs width"]) -> Float[Tensor, "n_group_pairs width"]:
    """Rows of the group's pairs, by the first exponent, then the second."""
    return values.index_select(0, pairs(subject).reshape(-1))


def put_back(
    subject: Subject, values: Float[Tensor, "n_pairs width"], changed: Float[Tensor, "n_group_pairs width"]
) -> Float[Tensor, "n_pairs width"]:
    """`values` with the rows of the group's pairs exchanged."""
    return values.index_copy(0, pairs(subject).reshape(-1), changed)
