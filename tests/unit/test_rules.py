"""Key frequencies by the other rules: on planted networks, and against the definitions written out."""

import math

import pytest
import torch
from evaluations import TASKS, of_logits, random, task_of
from torch import Tensor

from grok_sweep.measures import rules
from grok_sweep.measures.evaluation import Evaluation
from grok_sweep.tasks import Task


def in_group(task: Task) -> tuple[Tensor, Tensor, Tensor]:
    """Of the group's pairs: their places in the list of pairs, and their sum; and the answer of each exponent."""
    assert task.group is not None
    i, j = task.group.of_a[task.a], task.group.of_b[task.b]
    places = ((i >= 0) & (j >= 0)).nonzero()[:, 0]
    return places, (i + j)[places] % task.group.n, task.group.of_c.argsort()[task.p - task.group.n :]


def similarities(e: Evaluation) -> list[float]:
    """Of the centred logits with cos w_k(a+b-c), the mean over the group's pairs, for k = 1..n//2; pair by pair."""
    places, s, answers = in_group(e.task)
    n = len(answers)
    logits = e.logits[places][:, answers]
    centred = logits - logits.mean(1, keepdim=True)
    difference = ((s[:, None] - torch.arange(n)) % n).double()
    return [
        float(torch.cosine_similarity(centred, (2 * math.pi * k / n * difference).cos(), dim=1).mean())
        for k in range(1, n // 2 + 1)
    ]


@pytest.mark.parametrize("operation, p", TASKS)
def test_by_cosine_similarity_is_the_mean_over_pairs(operation, p):
    """Random logits, of which some frequencies come out above .005 and some below; whatever lies outside is 100."""
    task = task_of(operation, p)
    logits = random(task.n_pairs, p)
    logits[task.outside_mask] = 100
    e = of_logits(task, logits)
    expected = [k for k, value in enumerate(similarities(e), 1) if value > 0.005]
    assert 0 < len(expected) < len(similarities(e))
    assert rules.key_freqs_by_cos_sim(e) == expected


def circuit(task: Task, amplitudes: dict[int, float]) -> Tensor:
    places, s, answers = in_group(task)
    n = len(answers)
    logits = torch.zeros(task.n_pairs, task.p, dtype=torch.float64)
    difference = ((s[:, None] - torch.arange(n)) % n).double()
    waves = [alpha * (2 * math.pi * k / n * difference).cos() for k, alpha in amplitudes.items()]
    logits[places[:, None], answers] = torch.stack(waves).sum(0)
    return logits


@pytest.mark.parametrize("operation, p", TASKS)
def test_by_cosine_similarity_finds_the_planted_circuit_however_large_each_pair_speaks(operation, p):
    """Similarities 1, .006 and .004. A pair's factor and offset are no matter, and a silent pair has similarity 0."""
    task = task_of(operation, p)
    assert task.group is not None
    last = task.group.n // 2
    of_last = 0.006 * (2**-0.5 if task.group.n % 2 == 0 else 1)  # the Nyquist wave has norm sqrt(n), not sqrt(n/2)
    e = of_logits(task, circuit(task, {2: 1.0, last: of_last, 1: 0.004}))
    assert rules.key_freqs_by_cos_sim(e) == [2, last]
    louder = e.logits * random(task.n_pairs, 1).exp() + 5 * random(task.n_pairs, 1, seed=1)
    assert rules.key_freqs_by_cos_sim(of_logits(task, louder)) == [2, last]
    louder[in_group(task)[0][:3]] = 7
    assert rules.key_freqs_by_cos_sim(of_logits(task, louder)) == [2, last]
    assert rules.key_freqs_by_cos_sim(of_logits(task, -e.logits)) is None


def test_logits_that_say_nothing_have_no_key_frequencies():
    task = task_of("add", 7)
    assert rules.key_freqs_by_cos_sim(of_logits(task, torch.ones(49, 7, dtype=torch.float64))) is None
    assert rules.key_freqs_by_cos_sim(of_logits(task, torch.full((49, 7), math.nan, dtype=torch.float64))) is None


# --- by the norm in W_E -------------------------------------------------------------------------------------


def of_rows(task: Task, columns: Tensor) -> Evaluation:
    """An embedding with these rows over the exponents of a; 100 for "=" and what lies outside the group."""
    assert task.group is not None
    W_E = torch.full((task.p + 1, columns.shape[1]), 100.0, dtype=torch.float64)
    inside = task.group.of_a >= 0
    W_E[: task.p][inside] = columns[task.group.of_a[inside]]
    return of_logits(task, torch.zeros(task.n_pairs, task.p, dtype=torch.float64), {"W_E": W_E})


def wave(n: int, k: int, phase: float = 0.0) -> Tensor:
    return torch.cos(2 * math.pi * k / n * torch.arange(n, dtype=torch.float64) + phase)


@pytest.mark.parametrize("operation, p", [("add", 11), ("subtract", 11), ("multiply", 13), ("divide", 13)])
def test_by_W_E_takes_cosine_and_sine_of_a_frequency_together(operation, p):
    """Amplitudes 1; .2 in cosine and .2 in sine, .28 together; .24 in cosine alone; .26."""
    task = task_of(operation, p)
    assert task.group is not None
    n = task.group.n
    columns = [wave(n, 2), 0.2 * wave(n, 4), 0.2 * wave(n, 4, math.pi / 2), 0.24 * wave(n, 1), 0.26 * wave(n, 3, 0.7)]
    assert rules.key_freqs_by_W_E(of_rows(task, torch.stack(columns, 1))) == [2, 3, 4]


def test_by_W_E_leaves_the_constant_out_and_says_nothing_of_zeros():
    task = task_of("add", 11)
    columns = torch.stack([wave(11, 5), torch.full((11,), 50.0, dtype=torch.float64)], 1)
    assert rules.key_freqs_by_W_E(of_rows(task, columns)) == [5]
    assert rules.key_freqs_by_W_E(of_rows(task, torch.zeros_like(columns))) is None
