"""The Fourier basis on Z/n, and the sum directions: laws, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from grok_sweep.fourier import (
    basis,
    component_norms,
    frequencies,
    mask_of,
    row_frequency,
    sum_coefficients,
    sum_waves,
    sum_waves_of_each,
)

SIZES = [3, 4, 7, 9, 12, 30, 59, 113, 115]
"""Odd and even, prime and composite."""

N_CLASSES = 5
"""Not a size above, so that no axis can pass for another."""


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def table(n: int) -> Tensor:
    """T[a, b, c], not a function of a + b."""
    return torch.randn(n, n, N_CLASSES, dtype=torch.float64, generator=generator())


def by_sum(values: Tensor) -> Tensor:
    """Sum of T over the pairs with a + b = s (mod n), written as loops."""
    n = values.shape[0]
    out = torch.zeros(n, values.shape[2], dtype=values.dtype)
    for a in range(n):
        for b in range(n):
            out[(a + b) % n] += values[a, b]
    return out


def sum_direction(n: int, k: int, wave: str) -> Tensor:
    """The unit vector in R^(n²) proportional to cos or sin w_k(a + b), written out; zero for the Nyquist sine."""
    f = math.cos if wave == "cos" else math.sin
    values = torch.tensor([f(2 * math.pi * k * (a + b) / n) for a in range(n) for b in range(n)], dtype=torch.float64)
    norm = values.norm()
    return values / norm if norm > 1e-6 else torch.zeros_like(values)


# --- the basis ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", SIZES)
def test_the_basis_is_orthonormal(n: int):
    b = basis(n)
    assert b.dtype == torch.float64
    identity = torch.eye(n, dtype=torch.float64)
    torch.testing.assert_close(b @ b.T, identity, rtol=0, atol=1e-12)
    torch.testing.assert_close(b.T @ b, identity, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [7, 12])
def test_rows_are_the_constant_then_cosine_and_sine_of_each_frequency(n: int):
    expected = [[1 / math.sqrt(n)] * n]
    for k in range(1, n // 2 + 1):
        waves = [[f(2 * math.pi * k * x / n) for x in range(n)] for f in (math.cos, math.sin)]
        for wave in waves if 2 * k < n else waves[:1]:
            norm = math.sqrt(sum(value**2 for value in wave))
            expected.append([value / norm for value in wave])
    torch.testing.assert_close(basis(n), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_frequencies_of_odd_and_even_sizes():
    assert frequencies(7).tolist() == [1, 2, 3]
    assert frequencies(8).tolist() == [1, 2, 3, 4]
    assert row_frequency(7).tolist() == [0, 1, 1, 2, 2, 3, 3]
    assert row_frequency(8).tolist() == [0, 1, 1, 2, 2, 3, 3, 4]


@pytest.mark.parametrize("n", SIZES)
def test_parseval(n: int):
    x = torch.randn(n, N_CLASSES, dtype=torch.float64, generator=generator())
    torch.testing.assert_close((component_norms(x) ** 2).sum(), (x**2).sum(), rtol=1e-12, atol=0)


def test_component_norms_of_a_pure_wave_stand_in_its_rows_alone():
    n, k = 13, 4
    x = torch.arange(n, dtype=torch.float64)
    wave = torch.stack([torch.cos(2 * math.pi * k * x / n), 3 * torch.sin(2 * math.pi * k * x / n)], dim=1)
    expected = torch.zeros(n, dtype=torch.float64)
    expected[2 * k - 1], expected[2 * k] = math.sqrt(n / 2), 3 * math.sqrt(n / 2)
    torch.testing.assert_close(component_norms(wave), expected, rtol=0, atol=1e-12)


def test_component_norms_are_taken_in_float64():
    x = torch.ones(113, 1)
    assert component_norms(x).dtype == torch.float64
    assert component_norms(x)[1:].max() < 1e-13


@pytest.mark.parametrize("n, m", [(13, 5), (59, 17), (12, 5), (15, 4)])
def test_multiplying_the_inputs_by_a_unit_permutes_the_frequencies(n: int, m: int):
    """y[x] = wave_k[m x] is a wave of frequency ±m k, for every k; m a unit of Z/n."""
    power = torch.zeros(n // 2 + 1, n // 2 + 1, dtype=torch.float64)
    for row, k in enumerate(row_frequency(n).tolist()):
        y = basis(n)[row][(m * torch.arange(n)) % n]
        power[k].index_add_(0, row_frequency(n), component_norms(y[:, None]) ** 2)
    for k in range(1, n // 2 + 1):
        image = min(m * k % n, n - m * k % n)
        assert power[k, image] == pytest.approx(power[k].sum().item(), abs=1e-12)
        assert power[k].sum() == pytest.approx(1 if 2 * k == n else 2, abs=1e-12)


# --- the sum directions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [7, 9, 12])
def test_sum_coefficients_are_inner_products_with_unit_vectors_over_all_pairs(n: int):
    values = table(n)
    coefficients = sum_coefficients(by_sum(values))
    flat = values.reshape(n * n, N_CLASSES)
    torch.testing.assert_close(coefficients[0], flat.sum(0) / n, rtol=0, atol=1e-12)
    for k in range(1, n // 2 + 1):
        torch.testing.assert_close(coefficients[2 * k - 1], sum_direction(n, k, "cos") @ flat, rtol=0, atol=1e-12)
        if 2 * k < n:
            torch.testing.assert_close(coefficients[2 * k], sum_direction(n, k, "sin") @ flat, rtol=0, atol=1e-12)


def projected(values: Tensor, k: int) -> Tensor:
    """P_k T over all pairs, through sum_waves."""
    n = values.shape[0]
    a_plus_b = (torch.arange(n)[:, None] + torch.arange(n)) % n
    return sum_waves(sum_coefficients(by_sum(values)), mask_of([k], n))[a_plus_b]


@pytest.mark.parametrize("n", [7, 9, 12])
def test_sum_waves_is_the_projection_on_the_directions_of_one_frequency(n: int):
    values = table(n)
    flat = values.reshape(n * n, N_CLASSES)
    for k in range(1, n // 2 + 1):
        directions = torch.stack([sum_direction(n, k, wave) for wave in ("cos", "sin")])
        expected = (directions.T @ (directions @ flat)).reshape(values.shape)
        torch.testing.assert_close(projected(values, k), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [2, 7, 12])
def test_the_waves_of_several_frequencies_are_the_sum_of_those_of_each(n: int):
    coefficients = sum_coefficients(torch.randn(n, N_CLASSES, dtype=torch.float64, generator=generator()))
    of_each = sum_waves_of_each(coefficients)
    assert len(of_each) == n // 2
    for k, waves in enumerate(of_each, 1):
        torch.testing.assert_close(waves, sum_waves(coefficients, mask_of([k], n)), rtol=0, atol=1e-12)
    some = [k for k in range(1, n // 2 + 1) if k != 2]
    total = of_each[[k - 1 for k in some]].sum(0)
    torch.testing.assert_close(sum_waves(coefficients, mask_of(some, n)), total, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [7, 12])
def test_projections_are_idempotent_and_orthogonal_to_each_other(n: int):
    values = table(n)
    for k in range(1, n // 2 + 1):
        once = projected(values, k)
        assert once.norm() > 0.1
        torch.testing.assert_close(projected(once, k), once, rtol=0, atol=1e-12)
        for other in set(range(1, n // 2 + 1)) - {k}:
            assert projected(once, other).abs().max() < 1e-12


@pytest.mark.parametrize("n", [7, 12])
def test_a_function_of_the_sum_is_its_mean_and_all_its_waves(n: int):
    by = torch.randn(n, N_CLASSES, dtype=torch.float64, generator=generator())
    coefficients = sum_coefficients(n * by)
    total = sum((sum_waves(coefficients, mask_of([k], n)) for k in range(1, n // 2 + 1)), by.mean(0).expand(n, -1))
    torch.testing.assert_close(total, by, rtol=0, atol=1e-12)


def test_the_papers_circuit_lies_on_its_frequency_alone():
    """Logits cos w_k(a + b - c): all of T is P_k T."""
    n, k = 11, 3
    x = torch.arange(n, dtype=torch.float64)
    s = torch.cos(2 * math.pi * k / n * (x[:, None] - x[None, :]))
    coefficients = sum_coefficients(n * s)
    torch.testing.assert_close(sum_waves(coefficients, mask_of([k], n)), s, rtol=0, atol=1e-12)
    assert sum_waves(coefficients, mask_of([2], n)).abs().max() < 1e-12


@pytest.mark.parametrize("n, k", [(7, 0), (7, 4), (12, 7), (7, -1)])
def test_a_frequency_that_does_not_exist_is_no_wave_of_zeros(n: int, k: int):
    with pytest.raises(AssertionError, match=f"frequency {k} is not in"):
        sum_waves(torch.zeros(n, N_CLASSES, dtype=torch.float64), mask_of([k], n))
