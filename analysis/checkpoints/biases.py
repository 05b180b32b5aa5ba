"""Biases that this network has not: of attention and of the unembedding. Moved exactly, or left out where 0. Pure.

With x the residual stream and attention weights that sum to 1, in a network without LayerNorm:
- b_K adds the same to all scores of one query, which the softmax takes away again: it does nothing.
- b_V and b_O add c = b_O + sum_h b_V[h] W_O[h] to the stream behind attention, whatever the pair. The neurons read it
  as b_in + c W_in, the stream keeps it as b_out + c.
- b_Q and b_U have no such place. One further coordinate of the stream holds 1 at every position (W_pos), is read by
  W_Q as b_Q and by W_U as b_U, and by nothing else; nothing writes to it. d_model grows by 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from analysis.checkpoints.turned import kind_of

OF_LAYER = ("b_Q", "b_K", "b_V", "b_O")


def without_further_biases(
    weights: dict[str, Tensor], n_layers: int, has_norm: bool
) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """The same function without them: weights (names "0.W_Q"), notes, problems."""
    extra = {name: w for name, w in weights.items() if kind_of(name) in (*OF_LAYER, "b_U")}
    kept = {name: w for name, w in weights.items() if name not in extra}
    zero = [name for name, w in extra.items() if not w.any()]
    notes = [f"{_names(zero)} are zero and left out"] if len(zero) > 1 else []
    notes += [f"{_names(zero)} is zero and left out"] if len(zero) == 1 else []
    present = {name: w for name, w in extra.items() if name not in zero}
    if present and has_norm:
        verb = "is" if len(present) == 1 else "are"
        return (
            kept,
            notes,
            [f"{_names(list(present))} {verb} not 0, and with LayerNorm there is no place to move them to"],
        )
    if keys := [name for name in present if kind_of(name) == "b_K"]:
        notes.append(f"{_names(keys)} left out: it adds the same to every score, which the softmax takes away")
    for layer in range(n_layers):
        kept, moved = _into_mlp(kept, present, f"{layer}.")
        notes += (
            [f"{_names(moved)} moved into b_in and b_out, exactly: it adds a constant to the stream"] if moved else []
        )
    return *_with_constant(kept, present, notes, n_layers), []


def _names(names: list[str]) -> str:
    return ", ".join(dict.fromkeys(kind_of(name) for name in names))


def _into_mlp(
    weights: dict[str, Tensor], present: dict[str, Tensor], layer: str
) -> tuple[dict[str, Tensor], list[str]]:
    """b_V and b_O of one layer in its b_in and b_out; the names that were moved."""
    moved = [name for name in (f"{layer}b_V", f"{layer}b_O") if name in present]
    if not moved:
        return weights, []
    W_O, W_in = weights[f"{layer}W_O"].double(), weights[f"{layer}W_in"].double()
    c = torch.zeros(W_O.shape[-1], dtype=torch.float64)
    if f"{layer}b_V" in present:
        c += torch.einsum("hk,hkd->d", present[f"{layer}b_V"].double(), W_O)
    if f"{layer}b_O" in present:
        c += present[f"{layer}b_O"].double()
    dtype = weights[f"{layer}W_in"].dtype
    shifts = {f"{layer}b_in": c @ W_in, f"{layer}b_out": c}
    return weights | {name: (weights[name].double() + by).to(dtype) for name, by in shifts.items()}, moved


def _with_constant(
    weights: dict[str, Tensor], present: dict[str, Tensor], notes: list[str], n_layers: int
) -> tuple[dict[str, Tensor], list[str]]:
    """b_Q and b_U on a coordinate that is 1 everywhere; the weights as they are where both are 0."""
    needed = [name for name in present if kind_of(name) in ("b_Q", "b_U")]
    if not needed:
        return weights, notes
    wider = {name: _wider(name, w) for name, w in weights.items()}
    wider["W_pos"][:, -1] = 1
    if "b_U" in present:
        wider["W_U"][-1] = present["b_U"]
    for layer in range(n_layers):
        if f"{layer}.b_Q" in present:
            wider[f"{layer}.W_Q"][:, -1] = present[f"{layer}.b_Q"]
    d_model = weights["W_pos"].shape[1]
    note = (
        f"{_names(needed)} put on a further coordinate of the residual stream that holds 1: d_model {d_model} "
        f"becomes {d_model + 1}, and the function is the same"
    )
    return wider, [*notes, note]


_MODEL_AXIS = {
    "W_E": 1, "W_pos": 1, "W_Q": 1, "W_K": 1, "W_V": 1, "W_O": 2, "W_in": 0, "W_out": 1, "b_out": 0, "W_U": 0
}  # fmt: skip


def _wider(name: str, weight: Tensor) -> Tensor:
    """One more coordinate of the residual stream, that this weight neither reads nor writes."""
    axis = _MODEL_AXIS.get(kind_of(name))
    if axis is None:
        return weight
    shape = list(weight.shape)
    shape[axis] = 1
    return torch.cat([weight, weight.new_zeros(shape)], axis)
