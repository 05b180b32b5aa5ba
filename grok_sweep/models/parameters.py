"""Named weights, and the one flat vector that the optimizer moves.

The optimizer's rules act on each number alone, so all parameters lie end to end in one vector, in the order
of their names' table; the network reads views of it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from grok_sweep.draws import generator

Shapes = dict[str, tuple[int, ...]]
Weights = dict[str, Tensor]


def n_parameters(shapes: Shapes) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


def unflatten(vector: Float[Tensor, "*members n_parameters"], shapes: Shapes) -> Weights:
    """Views of `vector`, or of one a row for each of several networks, under their names."""
    parts, members = vector.split([math.prod(shape) for shape in shapes.values()], -1), vector.shape[:-1]
    return {name: part.view(*members, *shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def flatten(weights: Mapping[str, Tensor], shapes: Shapes) -> Float[Tensor, " n_parameters"]:
    """The named tensors end to end, in the order of `shapes`.

    Raises ValueError where names or shapes do not fit.
    """
    wrong = [
        f"{name}: expected {list(shape)}, found {list(weights[name].shape) if name in weights else 'none'}"
        for name, shape in shapes.items()
        if name not in weights or tuple(weights[name].shape) != shape
    ]
    wrong += [f"{name}: not a weight of this model" for name in weights if name not in shapes]
    if wrong:
        raise ValueError("weights do not fit the model:\n" + "\n".join(wrong))
    return torch.cat([weights[name].reshape(-1) for name in shapes])


def draw(name: str, shape: tuple[int, ...], scale: float, seed: int) -> Tensor:
    """Gaussian float32 draws on the CPU from a generator seeded by (seed, name), times `scale`.

    A generator for each parameter: another output, another device or an ensemble changes no other weight.
    """
    return torch.randn(shape, generator=generator(seed, name), dtype=torch.float32) * scale


def weights_hash(vector: Float[Tensor, " n_parameters"]) -> str:
    """16 hex digits over the bytes of all weights: equal hashes mean equal weights, bit for bit."""
    data = vector.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
    return hashlib.blake2b(data, digest_size=8).hexdigest()
