"""Unit vectors over the pairs of a group: the waves that a circuit adds by, one frequency at a time. Pure.

Rows are orthonormal in R^(n²), float64; entry i n + j belongs to the pair whose operands have the exponents (i, j).
At Nyquist (k = n/2) there is no sine, and cos w(i+j) = cos w(i-j).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grok_sweep import fourier

Rows = Float[Tensor, "n_rows n_pairs"]


def waves(n: int, k: int) -> Float[Tensor, "n_waves n"]:
    """The unit cosine and sine of frequency k on Z/n."""
    assert 1 <= k <= n // 2, f"frequency {k} is not in 1..{n // 2}"
    return fourier.basis(n)[2 * k - 1 : min(2 * k + 1, n)]


def sums(n: int, k: int) -> Rows:
    """Along cos w_k(i+j) and sin w_k(i+j): the sum directions C_k and S_k."""
    i, j = _exponents(n)
    return waves(n, k)[:, (i + j) % n] / math.sqrt(n)


def products(n: int, k: int) -> Rows:
    """{cos, sin}(w_k i) x {cos, sin}(w_k j): the 2x2 block, which spans the waves of i+j and of i-j."""
    of_k = waves(n, k)
    return torch.einsum("ui,vj->uvij", of_k, of_k).reshape(-1, n * n)


def alone(n: int, k: int) -> Rows:
    """Waves of one operand: cos w_k i, sin w_k i, cos w_k j, sin w_k j."""
    of_k, flat = waves(n, k), torch.full((n,), 1 / math.sqrt(n), dtype=torch.float64)
    return torch.cat([torch.einsum("ui,j->uij", of_k, flat), torch.einsum("i,uj->uij", flat, of_k)]).flatten(1)


def block(n: int, k: int) -> Rows:
    """The 3x3 block {1, cos, sin} x {1, cos, sin} without its constant: every polynomial of degree 2 in k's waves."""
    return torch.cat([alone(n, k), products(n, k)])


def antisymmetric(n: int, k: int) -> Rows:
    """Along cos w_k i - cos w_k j and sin w_k i - sin w_k j: where a head that compares its two operands looks."""
    one, other = alone(n, k).chunk(2)
    return (one - other) / math.sqrt(2)


def constant(n: int) -> Rows:
    return torch.full((1, n * n), 1 / n, dtype=torch.float64)


def project(values: Float[Tensor, "n_pairs width"], rows: Rows) -> Float[Tensor, "n_pairs width"]:
    """What each column of `values` holds along the rows."""
    return rows.T @ (rows @ values)


def _exponents(n: int) -> tuple[Int[Tensor, " n_pairs"], Int[Tensor, " n_pairs"]]:
    return torch.arange(n).repeat_interleave(n), torch.arange(n).repeat(n)
