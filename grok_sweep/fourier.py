"""The discrete Fourier transform on Z/n in an orthonormal real basis, and the sum directions of the paper.

float64 throughout: in float32 the basis is orthonormal only to 2e-6 at n = 113.

Frequencies are k = 1..n//2 with w_k = 2πk/n. For even n the last one, n/2 (Nyquist), has no sine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

CPU = torch.device("cpu")


def frequencies(n: int) -> Int[Tensor, " n_freqs"]:
    """1..n//2: every non-constant frequency on Z/n."""
    return torch.arange(1, n // 2 + 1)


@lru_cache(maxsize=8)
def basis(n: int, device: torch.device = CPU) -> Float[Tensor, "n n"]:
    """Orthonormal rows: the constant, then cos w_k x and sin w_k x for k = 1, 2, …

    Row 2k-1 is the cosine of frequency k, row 2k its sine; for even n the last row is (-1)^x.
    """
    if device != CPU:
        return basis(n).to(device)
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


def mask_of(freqs: Iterable[int], n: int) -> Bool[Tensor, " n_freqs"]:
    """True at these frequencies, of 1..n//2."""
    mask = torch.zeros(n // 2, dtype=torch.bool)
    for k in freqs:
        assert 1 <= k <= n // 2, f"frequency {k} is not in 1..{n // 2}"
        mask[k - 1] = True
    return mask


def by_row(of_k: Shaped[Tensor, " n_freqs"], n: int) -> Shaped[Tensor, " n"]:
    """A value of each frequency for each row of `basis(n)`; 0 for the constant."""
    return torch.cat([torch.zeros_like(of_k[:1]), of_k.repeat_interleave(2)])[:n]


def component_norms(x: Float[Tensor, "n width"]) -> Float[Tensor, " n"]:
    """Norm of each Fourier component of x along its first axis, over the other axis, in float64."""
    return (basis(x.shape[0], x.device) @ x.double()).norm(dim=1)


def sum_coefficients(by_sum: Float[Tensor, "n classes"]) -> Float[Tensor, "n classes"]:
    """Inner products of a table T[a, b, c] with the sum directions, one row a direction.

    The unit vectors in R^(n²) proportional to cos w_k(a+b) and sin w_k(a+b) are constant where a + b is, and
    equal basis(n)[j, a+b] / sqrt(n). So their inner products with T need only the sums of T over each a + b.

    Args:
        by_sum: sum of T over the n pairs with a + b = s (mod n), for every s.
    """
    n = by_sum.shape[0]
    return basis(n, by_sum.device) @ by_sum / math.sqrt(n)


def sum_waves(
    coefficients: Float[Tensor, "n classes"], is_key: Bool[Tensor, " n_freqs"]
) -> Float[Tensor, "n classes"]:
    """P_K T as a function of s = a + b and the class: what T holds along the directions of the frequencies in K.

    Args:
        coefficients: from `sum_coefficients`.
        is_key: of the frequencies 1..n//2, those in K.
    """
    n = coefficients.shape[0]
    return basis(n, coefficients.device).T @ (by_row(is_key, n)[:, None] * coefficients) / math.sqrt(n)


def sum_waves_of_each(coefficients: Float[Tensor, "n classes"]) -> Float[Tensor, "n_freqs n classes"]:
    """The same for each frequency by itself."""
    n = coefficients.shape[0]
    # Two rows a frequency; for even n the last one has no sine.
    rows, of_rows = (
        torch.nn.functional.pad(t[1:], (0, 0, 0, 1 - n % 2)).unflatten(0, (-1, 2))
        for t in (basis(n, coefficients.device), coefficients)
    )
    return rows.mT @ of_rows / math.sqrt(n)
