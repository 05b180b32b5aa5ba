"""How much of a function of the pairs one frequency explains: the energy of its block {1, cos, sin} x {1, cos, sin}.

Nanda et al. 2023, section 4.3, and `calculate_key_freqs` of the authors' code, for every frequency at once. Of the
block's eight terms beside the constant, the two in the first operand alone need only the sums over the second, and
the other way round. The four products of both span cos and sin of w_k(a+b) and of w_k(a-b), which need only the sums
over the pairs of each a+b and of each a-b. So four tables of n rows stand for the 2-D transform of n² (at n = 113,
for 512 neurons on one thread: 16 ms; the transform 99 ms).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grok_sweep import fourier

CONSTANT = 1e-12
"""A column whose variance is a smaller share of its mean square is constant up to rounding: one computed in float32
has 1e-15 of it from rounding alone."""


@dataclass(frozen=True)
class Blocks:
    """Energies of columns over the pairs of a group.

    Attributes:
        energies: of the block of each frequency 1..n//2, without the constant.
        total: about the mean, so n² times the variance; 0 where the column is constant up to rounding.
    """

    energies: Float[Tensor, "n_freqs width"]
    total: Float[Tensor, " width"]

    @property
    def shares(self) -> Float[Tensor, "n_freqs width"]:
        """Fraction of the variance that each frequency explains; 0 of none."""
        return torch.where(self.total == 0, 0.0, self.energies / self.total)


def blocks(values: Float[Tensor, "n_pairs width"], grid: Int[Tensor, "n n"], at_once: bool = False) -> Blocks:
    """Energy of each column in the block of each frequency, in float64.

    Args:
        grid: the row of `values` that belongs to the exponents (i, j).
        at_once: take the sums over all pairs in few steps, as suits a GPU and several networks at once.
    """
    n = len(grid)
    squares, *sums = (_sums_at_once if at_once else _sums)(values, grid)
    by_a, by_b, by_sum, by_difference = (
        by_frequency((fourier.basis(n, values.device) @ table).square() / n) for table in sums
    )
    energies = by_a + by_b + by_sum + by_difference
    if n % 2 == 0:  # at Nyquist cos w(a+b) and cos w(a-b) are one direction
        energies = torch.cat([energies[:-1], energies[-1:] - by_difference[-1:]])
    total = squares - by_a[0]
    return Blocks(energies[1:], torch.where(total <= CONSTANT * squares, 0.0, total))


def by_frequency(energies: Float[Tensor, "n width"]) -> Float[Tensor, "n_freqs_and_constant width"]:
    """Rows of the Fourier basis summed over cosine and sine: the constant, then frequencies 1..n//2."""
    even = 1 - len(energies) % 2
    of_k = torch.nn.functional.pad(energies[1:], (0, 0, 0, even)).unflatten(0, (-1, 2)).sum(1)
    return torch.cat([energies[:1], of_k])


def frequency_norms(rows: Float[Tensor, "n width"]) -> Float[Tensor, " n_freqs"]:
    """Norm of each frequency 1..n//2, cosine and sine together: the root of the sum of their squares."""
    return by_frequency(fourier.component_norms(rows).square()[:, None])[1:, 0].sqrt()


def _sums(values: Float[Tensor, "n_pairs width"], grid: Int[Tensor, "n n"]) -> tuple[Tensor, ...]:
    """Sum of squares of each column; its sums by i, by j, by i+j and by j-i (mod n), each [n, width].

    One i at a time: n rows stay in the cache while all five sums take them in.
    """
    n, width = len(grid), values.shape[1]
    by_a, by_b, squares = torch.zeros(3, n, width, dtype=torch.float64, device=values.device).unbind()
    # Twice as long, so that no row of pairs is cut where a sum or a difference passes n.
    by_sum, by_difference = torch.zeros(2, 2 * n, width, dtype=torch.float64, device=values.device).unbind()
    for i in range(n):
        rows = values.index_select(0, grid[i]).double()
        torch.sum(rows, 0, out=by_a[i])
        by_b.add_(rows)
        by_sum[i : i + n].add_(rows)  # not +=, which would write the slice once more
        by_difference[n - i : 2 * n - i].add_(rows)
        squares.addcmul_(rows, rows)
    return squares.sum(0), by_a, by_b, by_sum[:n] + by_sum[n:], by_difference[:n] + by_difference[n:]


def _sums_at_once(values: Float[Tensor, "n_pairs width"], grid: Int[Tensor, "n n"]) -> tuple[Tensor, ...]:
    """The same by gathers of all pairs: three times the memory of `values` in float64."""
    n = len(grid)
    i = torch.arange(n, device=values.device)
    rows = values.index_select(0, grid.reshape(-1)).double()
    of_sums, of_differences = (
        rows.index_select(0, (i * n + others % n).reshape(-1)).unflatten(0, (n, n)).sum(1)
        for others in (i[:, None] - i, i[:, None] + i)
    )
    by_pairs = rows.unflatten(0, (n, n))
    return rows.square().sum(0), by_pairs.sum(1), by_pairs.sum(0), of_sums, of_differences
