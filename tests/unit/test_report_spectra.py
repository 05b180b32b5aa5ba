"""Spectra of a report on what is planted: the paper's circuit, waves of one operand, circles, neurons."""

from __future__ import annotations

import math

import pytest
import torch
from evaluations import TASKS, of_logits, of_neurons, random, task_of
from torch import Tensor

from analysis.report import neurons, spectra
from grok_sweep.measures.blocks import frequency_norms
from grok_sweep.measures.neurons import neurons_85_k
from grok_sweep.tasks import Task


def exponents(task: Task) -> tuple[Tensor, Tensor, Tensor]:
    """Of a and b of each pair, and whether both are in the group."""
    assert task.group is not None
    i, j = task.group.of_a[task.a], task.group.of_b[task.b]
    return i, j, (i >= 0) & (j >= 0)


def planted(task: Task, amplitudes: dict[int, float]) -> Tensor:
    """Logits of the paper's circuit in the task's own group; noise outside it, for answers too."""
    assert task.group is not None
    n = task.group.n
    i, j, inside = exponents(task)
    logits = 9 * random(task.n_pairs, task.p)
    c = task.group.of_c
    for residue in range(task.p):
        if c[residue] >= 0:
            angle = 2 * math.pi / n * (i + j - c[residue]).double()
            wave = sum(alpha * torch.cos(k * angle) for k, alpha in amplitudes.items())
            logits[:, residue] = torch.where(inside, torch.as_tensor(wave), logits[:, residue])
    return logits


@pytest.mark.parametrize("operation, p", TASKS)
def test_the_papers_circuit_lies_on_the_diagonal_with_its_squared_amplitudes(operation, p):
    task = task_of(operation, p)
    spectrum = spectra.logit_spectrum(of_logits(task, planted(task, {1: 3.0, 2: 4.0})))
    expected = torch.zeros_like(spectrum)
    expected[1, 1], expected[2, 2] = 9 / 25, 16 / 25
    torch.testing.assert_close(spectrum, expected, rtol=0, atol=1e-12)


def test_the_first_index_is_that_of_a():
    task = task_of("add", 11)
    a, b = (2 * math.pi / 11 * operand.double() for operand in (task.a, task.b))
    logits = (torch.cos(2 * a) * torch.sin(3 * b))[:, None].expand(-1, 11) + 7
    spectrum = spectra.logit_spectrum(of_logits(task, logits))
    assert float(spectrum[2, 3]) == pytest.approx(1, abs=1e-12)
    assert spectra.largest(spectrum, 1) == [(2, 3, pytest.approx(1))]
    alone = spectra.logit_spectrum(of_logits(task, torch.sin(4 * a)[:, None].expand(-1, 11)))
    assert float(alone[4, 0]) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("operation, p", TASKS)
def test_the_spectrum_is_a_share_of_the_variance(operation, p):
    task = task_of(operation, p)
    assert task.group is not None
    spectrum = spectra.logit_spectrum(of_logits(task, random(task.n_pairs, p) + 3))
    assert float(spectrum.sum()) == pytest.approx(1, rel=1e-12)
    assert spectrum.shape == (task.group.n // 2 + 1,) * 2
    assert float(spectrum[0, 0]) == 0


def test_logits_that_do_not_depend_on_the_input_have_no_spectrum():
    task = task_of("add", 7)
    assert float(spectra.logit_spectrum(of_logits(task, torch.zeros(49, 7))).sum()) == 0


# --- norms and circles --------------------------------------------------------------------------------------


def wave_rows(n: int, k: int, radius: float = 2.0) -> Tensor:
    """n points on a circle in a plane of R^6, at the angles w_k x."""
    angle = 2 * math.pi * k / n * torch.arange(n).double()
    plane = torch.linalg.qr(random(6, 2))[0].T
    return radius * (torch.cos(angle)[:, None] * plane[0] + torch.sin(angle)[:, None] * plane[1])


@pytest.mark.parametrize("n, k", [(11, 3), (12, 5), (23, 1)])
def test_a_clean_frequency_is_a_circle_in_order(n, k):
    x, y = spectra.circle(wave_rows(n, k) + 10, k)
    x, y = x - x.mean(), y - y.mean()
    torch.testing.assert_close(x.square() + y.square(), torch.full((n,), 4.0, dtype=torch.float64))
    angle = torch.atan2(y, x)
    turned = (angle - 2 * math.pi * k / n * torch.arange(n).double()).cos()
    torch.testing.assert_close(turned, torch.ones(n, dtype=torch.float64))


def test_nyquist_has_no_second_coordinate():
    rows = torch.tensor([1.0, -1.0] * 3, dtype=torch.float64)[:, None] * torch.tensor([3.0, 4.0], dtype=torch.float64)
    x, y = spectra.circle(rows, 3)
    torch.testing.assert_close(x.abs(), torch.full((6,), 5.0, dtype=torch.float64))
    assert float(y.abs().max()) == 0


def test_norms_by_component_and_by_frequency():
    rows = wave_rows(12, 5)
    components = spectra.component_norms(rows)
    assert [(c["k"], c["wave"]) for c in components[:3]] == [(1, "cos"), (1, "sin"), (2, "cos")]
    assert [(c["k"], c["wave"]) for c in components[-2:]] == [(5, "sin"), (6, "cos")]
    total = frequency_norms(rows)
    assert total.argmax() == 4
    assert float(total[4]) == pytest.approx(float(rows.norm()), rel=1e-12)  # Parseval: all of it is there
    of_5 = [c["norm"] for c in components if c["k"] == 5]
    assert math.hypot(*of_5) == pytest.approx(float(total[4]))


def test_the_constant_is_no_frequency():
    assert float(frequency_norms(torch.ones(9, 4)).abs().max()) == pytest.approx(0, abs=1e-12)


# --- neurons ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation, p", [("add", 11), ("multiply", 13)])
def test_neurons_go_to_their_frequency_to_none_and_to_the_constant_ones(operation, p):
    task = task_of(operation, p)
    assert task.group is not None
    i, j, inside = exponents(task)
    angles = [2 * math.pi / task.group.n * operand.double() for operand in (i, j)]
    pure = [torch.cos(k * angles[0]) + torch.sin(k * angles[1]) for k in (2, 2, 4)]
    mixed = torch.cos(angles[0]) + torch.cos(3 * angles[1])
    columns = [torch.where(inside, column, 9.0) for column in [*pure, mixed, torch.full_like(mixed, 3.0)]]
    evaluation = of_neurons(task, torch.stack(columns, 1))
    found = spectra.dominant(evaluation)
    assert [neuron["k"] for neuron in found[:3]] == [2, 2, 4]
    assert found[3]["share"] == pytest.approx(0.5, rel=1e-9)
    assert found[4]["k"] == 0
    assert neurons.clusters(found) == {"2": 2, "4": 1, "none": 1, "constant": 1}
    logged = {str(k): n for k, n in enumerate(neurons_85_k(evaluation) or [], 1) if n}
    assert {name: n for name, n in neurons.clusters(found).items() if name.isdigit()} == logged
