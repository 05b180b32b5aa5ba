"""Which way round each matrix is stored, and how it becomes ours: rows act (x @ W). Pure.

Three habits are in use. TransformerLens stores matrices as ours are. The paper's code stores W_E, W_Q, W_K, W_V, W_O,
W_in and W_out transposed, W_pos and W_U not. torch's modules store a linear layer [out, in] and an embedding as ours.
Where a matrix is not square its shape tells; a square one follows the habit of the others in its file.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from analysis.checkpoints.names import Meanings, Named
from analysis.checkpoints.refusal import shape_of


class Turn(Enum):
    """How a matrix is stored: as ours, turned, or such that its shape does not tell."""

    ours = "ours"
    turned = "turned"
    either = "either"


HEADS = ("W_Q", "W_K", "W_V")
NEVER_EVIDENCE = ("W_U", "W_pos")
"""Stored one way by every habit but torch's linear layers: they say nothing about the others."""


@dataclass(frozen=True)
class Sizes:
    """Sizes read off the shapes, or given. `n_heads` and `d_head` are None where nothing tells."""

    d_model: int
    n_heads: int | None
    d_head: int | None


def kind_of(name: str) -> str:
    """W_Q of 0.W_Q."""
    return name.rpartition(".")[2]


def is_module(theirs: str) -> bool:
    """Named as torch's modules name their tensors."""
    return theirs.lower().endswith((".weight", "in_proj_weight"))


def turn_of(name: str, tensor: Tensor, sizes: Sizes) -> Turn | None:
    """How this matrix is stored, by its shape; None where neither way fits."""
    kind, d_model = kind_of(name), sizes.d_model
    if tensor.ndim == 3:
        d_in, d_out = tensor.shape[1:]
        model_axis_first = kind != "W_O"
    elif tensor.ndim == 2:
        d_in, d_out = tensor.shape
        model_axis_first = kind in (*HEADS, "W_QKV", "W_in", "W_U")
    else:
        return None
    as_ours = (d_in if model_axis_first else d_out) == d_model
    as_turned = (d_out if model_axis_first else d_in) == d_model
    if kind == "W_QKV":
        as_ours, as_turned = as_ours and d_out % 3 == 0, as_turned and d_in % 3 == 0
    if as_ours and as_turned:
        return Turn.either
    return Turn.ours if as_ours else Turn.turned if as_turned else None


def turns(found: Meanings, sizes: Sizes) -> tuple[dict[str, Turn], list[str]]:
    """How each matrix is stored, by shape alone, and what fits neither way."""
    by_name: dict[str, Turn] = {}
    problems = []
    for name, named in found.of.items():
        kind = kind_of(name)
        if not kind.startswith("W_") or kind == "W_pos":
            continue
        turn = turn_of(name, named.tensor, sizes)
        if turn is None:
            problems.append(
                f"{named.theirs}, read as {kind}: expected {EXPECTED[kind]} or turned, with d_model={sizes.d_model} "
                f"(of W_pos), found {shape_of(named.tensor)}"
            )
        else:
            by_name[name] = turn
    return by_name, problems


EXPECTED = {
    "W_E": "[p + 1, d_model]",
    "W_pos": "[3, d_model]",
    "W_Q": "[n_heads, d_model, d_head] or [d_model, n_heads * d_head]",
    "W_K": "[n_heads, d_model, d_head] or [d_model, n_heads * d_head]",
    "W_V": "[n_heads, d_model, d_head] or [d_model, n_heads * d_head]",
    "W_QKV": "[d_model, 3 * n_heads * d_head]",
    "W_O": "[n_heads, d_head, d_model] or [n_heads * d_head, d_model]",
    "W_in": "[d_model, d_mlp]",
    "W_out": "[d_mlp, d_model]",
    "W_U": "[d_model, p or p + 1]",
}


def by_habit(found: Meanings, by_shape: dict[str, Turn]) -> tuple[dict[str, Turn], bool]:
    """The square matrices as the others are stored; and whether that was clear for all of them."""
    decided, clear = dict(by_shape), True
    for name, turn in by_shape.items():
        if turn is not Turn.either:
            continue
        habit = _habit(name, found, by_shape)
        decided[name] = habit or Turn.ours
        clear = clear and habit is not None
    return decided, clear


def _habit(name: str, found: Meanings, by_shape: dict[str, Turn]) -> Turn | None:
    """How a square matrix is stored, by those of its file whose shape tells; None where they do not agree."""
    kind, module = kind_of(name), is_module(found.of[name].theirs)
    if kind == "W_E" and module:
        return Turn.ours  # an embedding
    if kind == "W_U":
        return Turn.turned if module else Turn.ours
    evidence = {
        turn
        for other, turn in by_shape.items()
        if turn is not Turn.either
        and kind_of(other) not in NEVER_EVIDENCE
        and is_module(found.of[other].theirs) == module
        and not (module and kind_of(other) == "W_E")
    }
    if len(evidence) == 1:
        return evidence.pop()
    return Turn.turned if module and not evidence else None


def flipped(decided: dict[str, Turn], by_shape: dict[str, Turn]) -> dict[str, Turn]:
    """The same with every square matrix the other way round."""
    other = {Turn.ours: Turn.turned, Turn.turned: Turn.ours}
    return {name: other[turn] if by_shape[name] is Turn.either else turn for name, turn in decided.items()}


# --- to ours ------------------------------------------------------------------------------------------------


def as_ours(name: str, named: Named, turn: Turn, n_heads: int) -> Tensor:
    """The matrix in our orientation and with our axes."""
    kind, tensor = kind_of(name), named.tensor
    if turn is Turn.turned:
        tensor = tensor.transpose(-1, -2)
    if tensor.ndim == 2 and kind in HEADS:
        return tensor.unflatten(1, (n_heads, -1)).transpose(0, 1)
    if tensor.ndim == 2 and kind == "W_O":
        return tensor.unflatten(0, (n_heads, -1))
    return tensor
