"""What the tensors of a state dict are: names, layers, sizes, orientation; all that does not fit at once. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from analysis.checkpoints.checkpoint import Given
from analysis.checkpoints.names import Meanings, Named, internal, meanings
from analysis.checkpoints.refusal import shape_of
from analysis.checkpoints.turned import (
    EXPECTED,
    HEADS,
    Sizes,
    Turn,
    by_habit,
    kind_of,
    turns,
)
from grok_sweep.models.transformer import N_CTX

OURS = "W_E, W_pos, W_Q, W_K, W_V, W_O, W_in, b_in, W_out, b_out, W_U"
ONE_LAYER = ("W_Q", "W_K", "W_V", "W_O", "W_in", "W_out")


MOST_NAMED = 30
"""Tensors of a file that a message lists."""


@dataclass(frozen=True)
class Assembly:
    """A state dict whose names and shapes are understood.

    Attributes:
        found: each weight as the file has it, by our names ("0.W_Q").
        by_shape: how each matrix is stored, as far as its shape tells.
        turn: the same decided: square ones by the habit of the others, or as the user said.
        is_clear: whether that habit was clear.
        n_layers: layers of attention and MLP.
    """

    found: dict[str, Named]
    by_shape: dict[str, Turn]
    turn: dict[str, Turn]
    is_clear: bool
    sizes: Sizes
    n_layers: int
    has_norm: bool
    notes: tuple[str, ...] = ()

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a weight as ours stand, before heads get an axis of their own."""
        shape = tuple(self.found[name].tensor.shape)
        return (*shape[:-2], shape[-1], shape[-2]) if self.turn.get(name) is Turn.turned else shape

    @property
    def square(self) -> list[str]:
        """The file's names of matrices whose shape does not tell how they are stored."""
        return [self.found[name].theirs for name, turn in self.by_shape.items() if turn is Turn.either]

    @property
    def turned(self) -> list[str]:
        return [name for name, turn in self.turn.items() if turn is Turn.turned]


@dataclass
class _Reading:
    """What is being put together, with what does not fit."""

    found: Meanings
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def assembly(
    tensors: Mapping[str, Tensor], given: Given, n_heads_said: int | None = None
) -> tuple[Assembly | None, list[str]]:
    """What the tensors are; or None, and everything that does not fit.

    Args:
        n_heads_said: heads as the file's settings say, for matrices that hold them side by side.
    """
    names = given.names
    reading = _Reading(meanings(tensors, names))
    absent = [theirs for theirs in names.values() if theirs.removesuffix(".T") not in tensors]
    held = f"it holds {', '.join(list(tensors)[:MOST_NAMED])}{', …' if len(tensors) > MOST_NAMED else ''}"
    missing = [f"--name: the file holds no {theirs.removesuffix('.T')}; {held}" for theirs in absent]
    reading.problems += missing + [f"{both}; say which by --name OURS=THEIRS" for both in reading.found.twice]
    _set_aside(reading)
    n_layers = _layers(reading)
    _check_values(reading)
    _positions(reading)
    _missing(reading, n_layers)
    if "W_pos" not in reading.found.of:
        return None, reading.problems
    if any(named.tensor.numel() == 0 for named in reading.found.of.values()):
        empty = [named.theirs for named in reading.found.of.values() if named.tensor.numel() == 0]
        return None, [*reading.problems, f"{', '.join(empty)}: without a single number"]
    sizes = _sizes(reading, given.n_heads, given.d_head, n_heads_said)
    by_shape, misfits = turns(reading.found, sizes)
    reading.problems += misfits
    by_shape = _as_stated(by_shape, names)
    turn, is_clear = by_habit(reading.found, by_shape)
    if reading.problems:
        return None, reading.problems
    has_norm = any(kind_of(name) in ("w", "b") for name in reading.found.of)
    found = dict(reading.found.of)
    return Assembly(found, by_shape, turn, is_clear, sizes, n_layers, has_norm, tuple(reading.notes)), []


# --- what is there ------------------------------------------------------------------------------------------


def _set_aside(reading: _Reading) -> None:
    """Buffers and copies of the embedding are no weights; whatever else is unknown is a problem."""
    found = reading.found
    W_E = found.of.get("W_E")
    copies = [n for n in found.unknown if W_E and n.tensor.shape == W_E.tensor.shape and n.tensor.equal(W_E.tensor)]
    unknown = [n for n in found.unknown if not any(n is copy for copy in copies)]
    if found.buffers:
        reading.notes.append(f"{', '.join(found.buffers)} left out: no weights")
    if copies:
        reading.notes.append(f"{', '.join(n.theirs for n in copies)} left out: equal to {W_E.theirs if W_E else ''}")
    reading.problems += [f"{n.theirs} {shape_of(n.tensor)}: by its name no weight of this network" for n in unknown]
    if unknown:
        reading.problems.append(f"if it is one, say which by --name OURS={unknown[0].theirs}, OURS one of {OURS}")


def _layers(reading: _Reading) -> int:
    """Layers, without gaps in their numbers; LayerNorm by other names than TransformerLens's or ours is refused."""
    numbers = {int(name.partition(".")[0]) for name in reading.found.of if name[0].isdigit()}
    n_layers = max(numbers, default=0) + 1
    if gaps := sorted(set(range(n_layers)) - numbers) if numbers else []:
        reading.problems.append(f"layers {', '.join(map(str, gaps))} of {n_layers} have no weights")
    norms = [n.theirs for name, n in reading.found.of.items() if kind_of(name) in ("w", "b")]
    foreign = [name for name in norms if not name.endswith((".w", ".b"))]
    if foreign:
        reading.problems.append(
            f"LayerNorm ({', '.join(foreign)}): whether it stands before a block or behind it is not in a file of "
            "weights, so it is read only under TransformerLens's names (ln1.w, ln1.b: before)"
        )
    return n_layers


def _check_values(reading: _Reading) -> None:
    for named in reading.found.of.values():
        tensor = named.tensor
        if tensor.device.type != "cpu":
            reading.problems.append(f"{named.theirs} holds no numbers: it was saved from the device {tensor.device}")
        elif not tensor.is_floating_point():
            reading.problems.append(f"{named.theirs} holds {str(tensor.dtype)[6:]}, no floating-point numbers")
        elif tensor.is_sparse or tensor.layout is not torch.strided:
            reading.problems.append(f"{named.theirs} is a sparse tensor")
        elif tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            reading.problems.append(f"{named.theirs} declares shape {shape_of(tensor)}, more than the file holds")
        elif wrong := int((~tensor.double().isfinite()).sum()):
            reading.problems.append(f"{named.theirs} holds {wrong} numbers that are not finite (of {tensor.numel()})")


def _positions(reading: _Reading) -> None:
    """W_pos, its first three rows: positions of a, b and "="."""
    named = reading.found.of.get("W_pos")
    if named is None:
        return
    tensor = named.tensor
    if tensor.ndim == 3 and 1 in (tensor.shape[0], tensor.shape[1]):
        tensor = tensor.squeeze(0 if tensor.shape[0] == 1 else 1)
    if tensor.ndim != 2 or len(tensor) < N_CTX:
        reading.problems.append(
            f'{named.theirs}, read as W_pos: expected {EXPECTED["W_pos"]} for the positions of a, b and "=", found '
            f"{shape_of(named.tensor)}"
        )
        del reading.found.of["W_pos"]
        return
    if len(tensor) > N_CTX:
        reading.notes.append(f"{named.theirs} has {len(tensor)} rows; the first {N_CTX} are taken for a, b and =")
    reading.found.of["W_pos"] = Named(named.theirs, tensor[:N_CTX])


def _missing(reading: _Reading, n_layers: int) -> None:
    """What the network cannot do without."""
    of = reading.found.of
    wanted = ["W_E", "W_pos", "W_U"]
    for layer in range(n_layers):
        fused = f"{layer}.W_QKV" in of
        wanted += [f"{layer}.{kind}" for kind in ONE_LAYER if not (fused and kind in HEADS)]
    told = any("W_pos" in problem for problem in reading.problems)
    for name in wanted:
        if name not in of and not (name == "W_pos" and told):
            where = f" of layer {name.partition('.')[0]}" if n_layers > 1 and name[0].isdigit() else ""
            reading.problems.append(
                f"{kind_of(name)}{where} is missing: expected {EXPECTED[kind_of(name)]}, found none"
            )


def _sizes(reading: _Reading, n_heads: int | None, d_head: int | None, n_heads_said: int | None) -> Sizes:
    """d_model of W_pos; heads of a matrix with an axis for them, else as given; the last axis by what is left."""
    d_model = reading.found.of["W_pos"].tensor.shape[1]
    W_Q = next((n for name, n in reading.found.of.items() if kind_of(name) in (*HEADS, "W_QKV")), None)
    if W_Q is None:
        return Sizes(d_model, n_heads, d_head)
    if W_Q.tensor.ndim == 3:
        read = W_Q.tensor.shape[0]
        if n_heads not in (None, read):
            reading.problems.append(f"n_heads={n_heads}, but {W_Q.theirs} {shape_of(W_Q.tensor)} has {read} heads")
        n_heads = read
    parts = 3 if kind_of(next(k for k, n in reading.found.of.items() if n is W_Q)) == "W_QKV" else 1
    width = W_Q.tensor.numel() // max(d_model * parts, 1)
    if n_heads is None:
        n_heads = width // d_head if d_head else n_heads_said
    if n_heads is None:
        reading.problems.append(
            f"n_heads is not known: {W_Q.theirs} {shape_of(W_Q.tensor)} holds the heads side by side; give the "
            f"number of heads (a divisor of {width})"
        )
        return Sizes(d_model, None, None)
    if n_heads < 1 or width % n_heads or (d_head is not None and n_heads * d_head != width):
        reading.problems.append(
            f"n_heads={n_heads}{f' and d_head={d_head}' if d_head else ''} do not make the width {width} of "
            f"{W_Q.theirs} {shape_of(W_Q.tensor)}"
        )
        return Sizes(d_model, None, None)
    return Sizes(d_model, n_heads, width // n_heads)


def _as_stated(by_shape: dict[str, Turn], names: Mapping[str, str]) -> dict[str, Turn]:
    """Where the user named a matrix: turned with .T, and a square one as it stands without."""
    stated = {internal(ours): theirs.endswith(".T") for ours, theirs in names.items()}
    as_said = {True: Turn.turned, False: Turn.ours}
    return {
        name: as_said[stated[name]] if name in stated and (stated[name] or turn is Turn.either) else turn
        for name, turn in by_shape.items()
    }
