"""What is read off weights alone: singular values, and how few frequencies a neuron holds."""

import math

import pytest
import torch
from evaluations import network_of, of_logits, random, task_of
from torch import Tensor

from grok_sweep import fourier
from grok_sweep.config import Activation
from grok_sweep.measures import spectrum
from grok_sweep.measures.evaluation import Evaluation
from grok_sweep.measures.participation import ipr, mean_ratio
from grok_sweep.models.network import Network
from grok_sweep.tasks import Task


def of_weights(task: Task, weights: dict[str, Tensor], network: Network | None = None) -> Evaluation:
    return of_logits(task, torch.zeros(task.n_pairs, task.p, dtype=torch.float64), weights, network)


def of_rows(rows: Tensor) -> Evaluation:
    """An embedding of these rows, and a row of "=" that must not count."""
    return of_weights(task_of("add", len(rows)), {"W_E": torch.cat([rows, 100 * torch.ones_like(rows[:1])])})


# --- singular values of W_E ---------------------------------------------------------------------------------


def with_singular_values(p: int, d_model: int, values: list[float]) -> Tensor:
    left, right = torch.linalg.qr(random(p, len(values)))[0], torch.linalg.qr(random(d_model, len(values)))[0]
    return left @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right.T


def test_entropy_is_that_of_the_singular_values_over_their_sum():
    """3 : 1, so shares 3/4 and 1/4; squares would have 9/10 and 1/10."""
    e = of_rows(with_singular_values(11, 4, [6.0, 2.0]))
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert spectrum.spectral_entropy_W_E(e) == pytest.approx(expected, rel=1e-10)
    assert spectrum.effective_rank_W_E(e) == pytest.approx(math.exp(expected), rel=1e-10)


def test_equal_singular_values_count_one_each():
    for rank in (1, 3, 7):
        e = of_rows(with_singular_values(11, 7, [2.0] * rank))
        assert spectrum.effective_rank_W_E(e) == pytest.approx(rank, rel=1e-10)


def test_an_embedding_of_one_frequency_has_rank_2():
    p, width = 11, 5
    e = of_rows(fourier.basis(p)[5:7].T @ torch.linalg.qr(random(width, 2))[0].T)
    assert spectrum.effective_rank_W_E(e) == pytest.approx(2, rel=1e-10)


def test_scale_rotation_and_the_order_of_the_numbers_do_not_matter():
    rows = random(11, 5)
    moved = 7 * rows[torch.randperm(11, generator=torch.Generator().manual_seed(0))]
    moved = moved @ torch.linalg.qr(random(5, 5, seed=1))[0]
    once = spectrum.spectral_entropy_W_E(of_rows(rows))
    assert spectrum.spectral_entropy_W_E(of_rows(moved)) == pytest.approx(once, rel=1e-12)


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_no_spectrum_of_zeros_or_of_what_is_no_number(value):
    e = of_rows(torch.full((7, 3), value, dtype=torch.float64))
    assert spectrum.spectral_entropy_W_E(e) is None
    assert spectrum.effective_rank_W_E(e) is None


# --- the inverse participation ratio ------------------------------------------------------------------------


def wave(n: int, k: int, phase: float) -> Tensor:
    return torch.cos(2 * math.pi * k / n * torch.arange(n, dtype=torch.float64) + phase)


@pytest.mark.parametrize("n", [11, 12])
def test_a_single_frequency_has_ratio_1_whatever_its_phase(n):
    for k in range(n // 2 + 1):
        assert mean_ratio(3 * wave(n, k, 0.4)[:, None]) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("n", [11, 12])
def test_m_equal_frequencies_have_ratio_1_over_m(n):
    """The constant is one of them; cosine and sine of one frequency are not two."""
    parts = [torch.ones(n, dtype=torch.float64), *(2**0.5 * wave(n, k, 0.3 * k) for k in range(1, (n + 1) // 2))]
    for m in range(1, len(parts) + 1):
        assert mean_ratio(torch.stack(parts[:m]).sum(0)[:, None]) == pytest.approx(1 / m, rel=1e-12)


def test_it_is_twice_that_of_complex_modes_for_real_weights_without_constant():
    """Gromov's: the sum over all n modes of |w_k|^4, with sum |w_k|^2 = 1."""
    n = 11
    columns = random(n, 5)
    columns = columns - columns.mean(0)
    power = torch.fft.fft(columns, dim=0).abs().square()
    complex_ratio = ((power / power.sum(0)).square().sum(0)).mean()
    assert mean_ratio(columns) == pytest.approx(2 * float(complex_ratio), rel=1e-12)


def test_a_neuron_of_zeros_is_left_out():
    n = 11
    columns = torch.stack([wave(n, 2, 0.1), torch.zeros(n, dtype=torch.float64), wave(n, 2, 0) + wave(n, 3, 0)], 1)
    assert mean_ratio(columns) == pytest.approx((1 + 1 / 2) / 2, rel=1e-12)
    assert mean_ratio(columns[:, 1:2]).isnan()


def one_wave_at(exponents: Tensor, n: int, width: int) -> Tensor:
    """Rows that are waves of frequency 3 over these exponents; 100 where there is none."""
    columns = torch.stack([wave(n, 3, phase) for phase in range(width)], 1)
    return torch.where(exponents[:, None] >= 0, columns[exponents], torch.tensor(100.0, dtype=torch.float64))


@pytest.mark.parametrize("operation", ["add", "subtract", "multiply", "divide"])
def test_every_map_of_the_network_is_read_in_the_order_of_its_exponents(operation):
    """An mlp whose maps are single waves over the exponents, with noise for what lies outside the group."""
    p, d_mlp = 13, 4
    task = task_of(operation, p)
    assert task.group is not None
    n = task.group.n
    network = network_of(p, architecture="mlp", d_model=p, d_mlp=d_mlp, equals_logit=False, mlp_biases=False)
    in_a, in_b = one_wave_at(task.group.of_a, n, d_mlp), one_wave_at(task.group.of_b, n, d_mlp)
    W_U = one_wave_at(task.group.of_c, n, d_mlp).T
    weights = {"W_E": torch.eye(p, dtype=torch.float64), "W_in": torch.stack([in_a, in_b]), "W_U": W_U}
    e = of_weights(task, weights, network)
    for name, rows, exponents in (("in_a", in_a, task.group.of_a), ("in_b", in_b, task.group.of_b)):
        assert torch.equal(e.group_input_maps[name][exponents[exponents >= 0]], rows[exponents >= 0])
    found = ipr(e)
    assert list(found) == ["W_L", "in_a", "in_b", "W_E"]
    assert [found[name] for name in ("W_L", "in_a", "in_b")] == pytest.approx([1, 1, 1], rel=1e-10)
    # The identity as embedding: a coordinate is 1 at one exponent, and every row of the basis has 1/n of that.
    of_frequencies = [1, *([2] * ((n - 1) // 2)), *([1] if n % 2 == 0 else [])]
    assert found["W_E"] == pytest.approx(sum(x**2 for x in of_frequencies) / n**2, rel=1e-10)
    waves = weights | {"W_E": one_wave_at(task.group.of_a, n, 3), "W_in": random(2, 3, d_mlp)}
    assert ipr(of_weights(task, waves, network))["W_E"] == pytest.approx(1, rel=1e-10)


def test_a_network_has_the_ratios_of_the_maps_that_it_has():
    task = task_of("add", 7)
    for expected, model in (
        ({"W_L", "W_E"}, {}),
        ({"W_L", "in_a", "in_b"}, {"architecture": "quadratic", "activation": Activation.square}),
    ):
        settings = {"d_model": 8, "equals_logit": False, "mlp_biases": False} | model
        network = network_of(7, **settings)
        assert set(ipr(of_weights(task, network.init(), network))) == expected
