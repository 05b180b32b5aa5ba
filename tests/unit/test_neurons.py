"""What one frequency explains of a neuron: against the definition written out, and on neurons that are planted."""

import math

import pytest
import torch
from evaluations import TASKS, network_of, of_neurons, random, task_of
from torch import Tensor

from grok_sweep import fourier
from grok_sweep.config import Activation, Norm
from grok_sweep.measures import neurons, rules
from grok_sweep.measures.blocks import blocks, by_frequency
from grok_sweep.measures.rows import measured
from grok_sweep.tasks import Task

MEASURED = ["frac_neurons_85", "frac_neurons_85_weighted", "neurons_85_k", "key_freqs_by_neurons"]


def exponents(task: Task) -> tuple[Tensor, Tensor, Tensor]:
    """Of both operands of each pair, and True where the pair lies in the group."""
    assert task.group is not None
    i, j = task.group.of_a[task.a], task.group.of_b[task.b]
    return i, j, (i >= 0) & (j >= 0)


def of_exponents(task: Task, table: Tensor) -> Tensor:
    """A column over the pairs, that takes its values from a table over (i, j); 100 outside the group."""
    i, j, inside = exponents(task)
    return torch.where(inside, table[i, j], torch.tensor(100.0, dtype=table.dtype))


def waves(n: int, k: int) -> list[Tensor]:
    """1, cos w_k x and, but at Nyquist, sin w_k x."""
    angle = 2 * math.pi * k / n * torch.arange(n, dtype=torch.float64)
    return [torch.ones(n, dtype=torch.float64), angle.cos()] + ([] if 2 * k == n else [angle.sin()])


def planted(n: int, k: int, seed: int = 0) -> Tensor:
    """Any polynomial of degree 1 in the waves of frequency k of either operand: the whole block, [n, n]."""
    w = torch.stack(waves(n, k))
    return torch.einsum("fi,fg,gj->ij", w, random(len(w), len(w), seed=seed), w)


def shares(task: Task, columns: list[Tensor]) -> Tensor:
    return of_neurons(task, torch.stack(columns, 1)).neuron_blocks.shares


@pytest.mark.parametrize("operation, p", TASKS)
def test_taken_at_once_they_are_the_same(operation, p):
    grid = task_of(operation, p).group_pairs
    assert grid is not None
    values = random(int(grid.max()) + 1, 5) + 3
    one_by_one, at_once = blocks(values, grid), blocks(values, grid, at_once=True)
    torch.testing.assert_close(at_once.energies, one_by_one.energies, rtol=1e-12, atol=0)
    torch.testing.assert_close(at_once.total, one_by_one.total, rtol=1e-12, atol=0)


@pytest.mark.parametrize("operation, p", TASKS)
def test_energies_are_those_of_the_block_of_the_whole_two_dimensional_transform(operation, p):
    task, width = task_of(operation, p), 5
    n = task.group.n
    tables = random(n, n, width) + 3
    found = of_neurons(task, torch.stack([of_exponents(task, tables[..., m]) for m in range(width)], 1)).neuron_blocks
    whole = torch.einsum("fi,gj,ijm->fgm", fourier.basis(n), fourier.basis(n), tables).square()
    frequency = fourier.row_frequency(n)
    for k in range(1, n // 2 + 1):
        rows = ((frequency == k) | (frequency == 0)).nonzero()[:, 0]
        expected = whole[rows][:, rows].sum((0, 1)) - whole[0, 0]
        torch.testing.assert_close(found.energies[k - 1], expected, rtol=1e-12, atol=0)
    centred = tables - tables.mean((0, 1))
    torch.testing.assert_close(found.total, centred.square().sum((0, 1)), rtol=1e-12, atol=0)
    assert bool((found.shares.sum(0) < 1).all())


@pytest.mark.parametrize("operation, p", TASKS)
def test_a_planted_neuron_is_explained_by_its_frequency_alone(operation, p):
    task = task_of(operation, p)
    n = task.group.n
    found = shares(task, [of_exponents(task, planted(n, k, seed=k)) for k in range(1, n // 2 + 1)])
    torch.testing.assert_close(found, torch.eye(n // 2, dtype=torch.float64), rtol=0, atol=1e-12)


def test_multiplying_the_exponents_by_a_unit_permutes_the_frequencies():
    task, n, m = task_of("add", 13), 13, 5
    table, scaled = random(n, n), m * torch.arange(n) % n
    once, moved = shares(task, [of_exponents(task, t) for t in (table, table[scaled][:, scaled])]).T
    for k in range(1, n // 2 + 1):
        image = min(m * k % n, n - m * k % n)
        assert moved[image - 1] == pytest.approx(float(once[k - 1]), rel=1e-12)


def test_the_sums_by_frequency_take_cosine_and_sine_together():
    assert by_frequency(torch.ones(7, 2)).tolist() == [[1, 1], [2, 2], [2, 2], [2, 2]]
    assert by_frequency(torch.ones(6, 1)).tolist() == [[1], [2], [2], [1]]


# --- how many neurons, and which frequencies ----------------------------------------------------------------


def of_share(n: int, k: int, other: int, share: float) -> Tensor:
    """A neuron of which frequency k explains this share, and another one the rest."""
    cos_k, cos_other = waves(n, k)[1], waves(n, other)[1]
    return share**0.5 * cos_k[:, None].expand(n, n) + (1 - share) ** 0.5 * cos_other[None].expand(n, n)


def test_neurons_above_85_percent_are_counted_at_their_frequency():
    task, n = task_of("add", 13), 13
    tables = [of_share(n, 2, 5, 0.86), of_share(n, 2, 5, 0.84), of_share(n, 6, 1, 0.99), of_share(n, 2, 4, 0.9)]
    dead = [torch.zeros(n, n, dtype=torch.float64), torch.full((n, n), 0.1, dtype=torch.float64)]
    e = of_neurons(task, torch.stack([of_exponents(task, t) for t in tables + dead], 1))
    assert neurons.neurons_85_k(e) == [0, 2, 0, 0, 0, 1]
    assert neurons.frac_neurons_85(e) == 0.5
    assert rules.key_freqs_by_neurons(e) == [2, 6]


def test_a_neuron_that_is_constant_but_for_rounding_has_no_frequency():
    """In float32 1 + 1e-7 cos w_k a keeps a trace of the wave in its last bit."""
    task, n = task_of("add", 13), 13
    column = of_exponents(task, 1 + 1e-7 * waves(n, 1)[1][:, None].expand(n, n)).float()
    assert column.unique().numel() > 1
    e = of_neurons(task, column[:, None])
    assert neurons.frac_neurons_85(e) == 0
    assert rules.key_freqs_by_neurons(e) is None
    assert neurons.frac_neurons_85_weighted(with_readout(e, torch.ones(1, 3))) is None


def with_readout(evaluation, W_out: Tensor):
    return of_neurons(evaluation.task, evaluation.activations.mlp_post, {"W_out": W_out})


def test_the_weighted_share_counts_variance_times_the_squared_readout():
    """Variances 1/2 and 9/2, rows of W_out of norm 5 and 2: weights 25 and 36."""
    task, n = task_of("add", 11), 11
    clean, mixed = waves(n, 3)[1][:, None].expand(n, n), 3 * of_share(n, 1, 2, 0.6)
    e = of_neurons(task, torch.stack([of_exponents(task, t) for t in (clean, mixed)], 1))
    W_out = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 2.0]])
    assert neurons.frac_neurons_85_weighted(with_readout(e, W_out)) == pytest.approx(25 / 61, rel=1e-12)
    assert neurons.frac_neurons_85(e) == 0.5
    assert neurons.frac_neurons_85_weighted(with_readout(e, torch.zeros(2, 3))) is None


def test_the_readout_is_W_out_of_the_last_layer_and_W_L_where_there_is_none():
    task = task_of("add", 7)
    mlp_post = random(task.n_pairs, 4)
    for model, name in (
        ({"n_layers": 2, "d_model": 8, "d_mlp": 4}, "blocks.1.W_out"),
        ({"norm": Norm.layer, "d_model": 8, "d_mlp": 4}, "W_out"),
        ({"architecture": "mlp", "d_mlp": 4, "equals_logit": False}, "W_U"),
        ({"architecture": "quadratic", "d_mlp": 4, "equals_logit": False, "mlp_biases": False}, "W_U"),
    ):
        network = network_of(7, **model)
        weights = {key: w.double() for key, w in network.init().items()}
        readout = of_neurons(task, mlp_post, weights, network=network).readout
        ratio = readout / weights[name]
        assert torch.allclose(ratio, ratio[0, 0].expand_as(ratio), rtol=1e-12), model


def test_a_parameter_that_only_bears_the_name_is_no_readout():
    """A network of the user's own may call anything W_out."""
    task, network = task_of("add", 7), network_of(7, architecture="mlp", d_mlp=4, equals_logit=False)
    weights = {key: w.double() for key, w in network.init().items()}
    for other in (random(5, 4), random(4, 2, 3)):
        readout = of_neurons(task, random(49, 4), weights | {"W_out": other}, network=network).readout
        assert torch.equal(readout, weights["W_U"])


# --- where it is not defined --------------------------------------------------------------------------------


def test_of_squared_waves_a_frequency_explains_four_fifths():
    """Gromov's neurons, exactly: so no share above .85 can be asked of neurons that square, and none is logged."""
    task, n = task_of("add", 13), 13
    k, phase_a, phase_b = 3, 0.7, -1.1
    angle = 2 * math.pi * k / n * torch.arange(n, dtype=torch.float64)
    column = of_exponents(task, ((angle + phase_a).cos()[:, None] + (angle + phase_b).cos()[None]).square())
    found = shares(task, [column])[:, 0]
    assert found[k - 1] == pytest.approx(0.8, rel=1e-12)
    assert found[2 * k - 1] == pytest.approx(0.2, rel=1e-12)
    for network in (
        network_of(
            n, architecture="quadratic", activation=Activation.square, d_mlp=1, equals_logit=False, mlp_biases=False
        ),
        network_of(n, activation=Activation.square),
    ):
        weights = {name: w.double() for name, w in network.init().items()}
        e = of_neurons(task, column[:, None], weights, network=network)
        assert {"neurons", "readout"} <= e.has
        assert measured(e, MEASURED, vectors=False) | measured(e, MEASURED, vectors=True) == {}


def test_neurons_that_are_no_numbers_give_no_number():
    task = task_of("add", 7)
    e = of_neurons(task, torch.full((49, 3), math.nan, dtype=torch.float64), {"W_out": torch.ones(3, 2)})
    assert neurons.frac_neurons_85(e) is None
    assert neurons.frac_neurons_85_weighted(e) is None
    assert rules.key_freqs_by_neurons(e) is None


def test_float32_activations_are_summed_in_float64():
    """At a mean of 1e3 the variance of float32 sums would be noise."""
    n, task = 13, task_of("add", 13)
    column = of_exponents(task, 1e3 + planted(n, 4)).float()
    found = blocks(column[:, None], task.group_pairs).shares[:, 0]
    assert found.dtype == torch.float64
    assert found[3] == pytest.approx(1, abs=1e-8)
