"""The embedding W_E on Z/n: how much of it each frequency holds, and how round its circles are. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.circuit.subject import Subject
from grok_sweep import fourier
from grok_sweep.measures.blocks import frequency_norms


@dataclass(frozen=True)
class Circle:
    """The plane of one frequency in W_E.

    Attributes:
        share: of the squared norm of W_E without its constant.
        roundness: shorter over longer axis of the ellipse on which the residues lie; 1 is a circle, 0 a line.
    """

    k: int
    share: float
    roundness: float


@dataclass(frozen=True)
class Embedding:
    """W_E over the numbers, in the order of the first operand's exponents.

    Attributes:
        norms: of each frequency 1..n//2, cosine and sine together.
        circles: of the key frequencies.
        share: of its squared norm, without the constant, at the key frequencies; None where there are none.
    """

    norms: list[float]
    circles: list[Circle]
    share: float | None


def embedding(subject: Subject) -> Embedding | None:
    """None where the network has no embedding, no group is known, or W_E holds nothing but a constant."""
    rows = None if subject.group is None else subject.evaluation.group_embedding
    if rows is None:
        return None
    norms = frequency_norms(rows)
    if not bool(norms.sum() > 0):
        return None
    shares = norms.square() / norms.square().sum()
    circles = [Circle(k, float(shares[k - 1]), _roundness(rows, k)) for k in subject.key_freqs]
    return Embedding(norms.tolist(), circles, sum(c.share for c in circles) if circles else None)


def _roundness(rows: Float[Tensor, "n d_model"], k: int) -> float:
    """Ratio of the two singular values of the cosine and sine components: of the axes of their ellipse."""
    n = len(rows)
    components = fourier.basis(n)[2 * k - 1 : min(2 * k + 1, n)] @ rows.double()
    sigma = torch.linalg.svdvals(components)
    return float(sigma[1] / sigma[0]) if len(sigma) == 2 and bool(sigma[0] > 0) else 0.0
