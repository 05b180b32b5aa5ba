"""The discrete Fourier transform on Z/n in an orthonormal real basis, and the sum directions of the paper.

float64 throughout: in float32 the basis is orthonormal only to 2e-6 at n = 113.

Frequencies are k = 1..n//2 with w_k = 2πk/n. For even n the last one, n/2 (Nyquist), has no sine.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor


def frequencies(n: int) -> Int[Tensor, " n_freqs"]:
    """1..n//2: every non-constant frequency on Z/n."""
    return torch.arange(1, n // 2 + 1)


@lru_cache(maxsize=8)
def basis(n: int) -> Float[Tensor, "n n"]:
    """Orthonormal rows: the constant, then cos w_k x and sin w_k x for k = 1, 2, …

    Row 2k-1 is the cosine of frequency k, row 2k its sine; for even n the last row is (-1)^x.
    """
    x = torch.arange(n, dtype=torch.float64)
    rows = [torch.full((n,), 1 / math.sqrt(n), dtype=torch.float64)]
    for k in range(1, n // 2 + 1):
        # k * x mod n in whole numbers first: the angle stays small and exact for large n.
        angle = 2 * math.pi / n * ((k * torch.arange(n)) % n).to(x.dtype)
        scale = math.sqrt((1 if 2 * k == n else 2) / n)
        rows.append(torch.cos(angle) * scale)
        if 2 * k != n:
            rows.append(torch.sin(angle) * scale)
    return torch.stack(rows)


def row_frequency(n: int) -> Int[Tensor, " n"]:
    """Frequency of each row of `basis(n)`; 0 for the constant."""
    return (torch.arange(n) + 1) // 2


def component_norms(x: Float[Tensor, "n width"]) -> Float[Tensor, " n"]:
    """Norm of each Fourier component of x along its first axis, over the other axis, in float64."""
    return (basis(x.shape[0]).to(x.device) @ x.double()).norm(dim=1)


def sum_coefficients(by_sum: Float[Tensor, "n classes"]) -> Float[Tensor, "n classes"]:
    """Inner products of a table T[a, b, c] with the sum directions, one row a direction.

    The unit vectors in R^(n²) proportional to cos w_k(a+b) and sin w_k(a+b) are constant where a + b is, and
    equal basis(n)[j, a+b] / sqrt(n). So their inner products with T need only the sums of T over each a + b.

    Args:
        by_sum: sum of T over the n pairs with a + b = s (mod n), for every s.
    """
    n = by_sum.shape[0]
    return basis(n).to(by_sum.device) @ by_sum / math.sqrt(n)


def sum_waves(coefficients: Float[Tensor, "n classes"], k: int) -> Float[Tensor, "n classes"]:
    """P_k T as a function of s = a + b and the class: what T holds along the directions of frequency k.

    Args:
        coefficients: from `sum_coefficients`.
        k: frequency in 1..n//2.
    """
    n = coefficients.shape[0]
    assert 1 <= k <= n // 2, f"frequency {k} is not in 1..{n // 2}"
    rows = slice(2 * k - 1, min(2 * k + 1, n))
    return basis(n).to(coefficients.device)[rows].T @ coefficients[rows] / math.sqrt(n)
