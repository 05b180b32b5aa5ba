"""The tensors of a state dict as weights of our network: sizes checked, turned, biases moved, settings made. Pure."""

from __future__ import annotations

import torch
from torch import Tensor

from analysis.checkpoints.assembled import Assembly
from analysis.checkpoints.biases import without_further_biases
from analysis.checkpoints.names import Named
from analysis.checkpoints.refusal import shape_of
from analysis.checkpoints.turned import HEADS, Turn, as_ours, kind_of
from grok_sweep.config import Activation, ModelConfig, Norm
from grok_sweep.models.transformer import N_CTX


def modulus(made: Assembly, given: int | None) -> int:
    """p as given, or by the rows of the embedding: one for each number, one for "="."""
    return made.shape("W_E")[0] - 1 if given is None else given


def misfits(made: Assembly, p: int) -> list[str]:
    """Weights whose shape does not go with the others, each with the shape expected and the one found."""
    n_out = made.shape("W_U")[-1]
    outputs = f"[{made.sizes.d_model}, {p}] or [{made.sizes.d_model}, {p + 1}]"
    found = []
    if n_out not in (p, p + 1):
        found.append(_misfit(made, "W_U", outputs))
    for name in made.found:
        expected = _expected(made, kind_of(name), _layer(name), p, n_out)
        if made.shape(name) not in expected:
            found.append(_misfit(made, name, " or ".join(_text(shape) for shape in expected)))
    if made.shape("W_E")[0] != p + 1 or n_out not in (p, p + 1):
        found.append(_about_p(made, p, n_out))
    return found


def _layer(name: str) -> str:
    """ "0" of 0.W_Q; "" where it belongs to no layer."""
    return name.partition(".")[0] if name[0].isdigit() else ""


def _expected(made: Assembly, kind: str, layer: str, p: int, n_out: int) -> list[tuple[int, ...]]:
    """Shapes that a weight of this kind may have, as ours stand; heads with an axis of their own, or side by side."""
    d_model, n_heads, d_head = made.sizes.d_model, made.sizes.n_heads, made.sizes.d_head
    assert n_heads is not None, "an assembly without problems knows its heads"
    assert d_head is not None, "and their width"
    width, d_mlp = n_heads * d_head, made.shape(f"{layer}.W_in")[-1] if layer else 0
    if kind in HEADS:
        return [(n_heads, d_model, d_head), (d_model, width)]
    if kind in ("b_Q", "b_K", "b_V"):
        return [(n_heads, d_head), (width,)]
    one = {
        "W_E": (p + 1, d_model),
        "W_pos": (N_CTX, d_model),
        "W_U": (d_model, n_out),
        "b_U": (n_out,),
        "W_QKV": (d_model, 3 * width),
        "b_QKV": (3 * width,),
        "W_in": (d_model, d_mlp),
        "b_in": (d_mlp,),
        "W_out": (d_mlp, d_model),
    }
    if kind == "W_O":
        return [(n_heads, d_head, d_model), (width, d_model)]
    return [one.get(kind, (d_model,))]


def _misfit(made: Assembly, name: str, expected: str) -> str:
    named = made.found[name]
    turned = ", which is stored turned" if made.turn.get(name) is Turn.turned else ""
    return f"{named.theirs}, read as {kind_of(name)}{turned}: expected {expected}, found {shape_of(named.tensor)}"


def _text(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _about_p(made: Assembly, p: int, n_out: int) -> str:
    rows = made.shape("W_E")[0]
    return (
        f'p = {p}: a network of this family has a row of W_E for each number and one for "=" (p + 1), and p or p + 1 '
        f"outputs; here there are {rows} rows and {n_out} outputs"
    )


def settings_of(made: Assembly, p: int, weights: dict[str, Tensor], activation: Activation) -> ModelConfig:
    """Resolved settings of the network that these weights are of."""
    assert made.sizes.n_heads is not None, "an assembly without problems knows its heads"
    first = "blocks.0." if made.n_layers > 1 else ""
    return ModelConfig(
        n_layers=made.n_layers,
        d_model=weights["W_pos"].shape[1],
        n_heads=made.sizes.n_heads,
        d_head=weights[f"{first}W_Q"].shape[2],
        d_mlp=weights[f"{first}W_in"].shape[1],
        activation=activation,
        equals_logit=weights["W_U"].shape[1] == p + 1,
        norm=Norm.layer if made.has_norm else Norm.none,
        mlp_biases=f"{first}b_in" in weights,
    )


# --- as our weights -----------------------------------------------------------------------------------------


def weights_of(made: Assembly) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Our weights under our names, the notes on biases, and what has no place."""
    n_heads, turn = made.sizes.n_heads, made.turn
    assert n_heads is not None, "an assembly without problems knows its heads"
    weights: dict[str, Tensor] = {}
    for name, named in made.found.items():
        kind, layer = kind_of(name), _layer(name)
        if kind == "W_QKV":
            whole = as_ours(name, named, turn[name], n_heads)
            for letter, part in zip("QKV", whole.chunk(3, 1), strict=True):
                weights[f"{layer}.W_{letter}"] = as_ours(f"{layer}.W_{letter}", Named("", part), Turn.ours, n_heads)
        elif kind == "b_QKV":
            for letter, part in zip("QKV", named.tensor.chunk(3), strict=True):
                weights[f"{layer}.b_{letter}"] = part.unflatten(0, (n_heads, -1))
        elif kind in ("b_Q", "b_K", "b_V"):
            weights[name] = named.tensor.reshape(n_heads, -1)
        else:
            weights[name] = as_ours(name, named, turn[name], n_heads) if name in turn else named.tensor
    weights, notes = _one_dtype(weights)
    weights, more = _both_mlp_biases(weights, made.n_layers)
    moved, of_biases, problems = without_further_biases(weights, made.n_layers, made.has_norm)
    ours = {_ours(name, made.n_layers): w.contiguous() for name, w in moved.items()}
    return ours, [*notes, *more, *of_biases], problems


def _ours(name: str, n_layers: int) -> str:
    if not name[0].isdigit():
        return name
    return f"blocks.{name}" if n_layers > 1 else name.partition(".")[2]


def _one_dtype(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The widest of the dtypes, float32 at least: halves are too coarse to compute with."""
    dtypes = {w.dtype for w in weights.values()}
    widest = torch.float64 if torch.float64 in dtypes else torch.float32
    notes = []
    if dtypes != {widest}:
        found = ", ".join(sorted(str(dtype)[6:] for dtype in dtypes))
        notes = [f"stored as {found}, read as {str(widest)[6:]}"]
    return {name: w.detach().to(widest).clone() for name, w in weights.items()}, notes


def _both_mlp_biases(weights: dict[str, Tensor], n_layers: int) -> tuple[dict[str, Tensor], list[str]]:
    """b_in and b_out in every layer or in none: where one is there, or something is to be moved into them, zeros."""
    moving = any(kind_of(name) in ("b_V", "b_O") and bool(w.any()) for name, w in weights.items())
    if not moving and not any(kind_of(name) in ("b_in", "b_out") for name in weights):
        return weights, []
    added = {}
    for layer in range(n_layers):
        d_mlp, d_model = weights[f"{layer}.W_out"].shape
        for kind, size in (("b_in", d_mlp), ("b_out", d_model)):
            if f"{layer}.{kind}" not in weights:
                added[f"{layer}.{kind}"] = torch.zeros(size, dtype=weights["W_E"].dtype)
    return weights | added, [f"{', '.join(dict.fromkeys(map(kind_of, added)))} added as zeros"] if added else []
