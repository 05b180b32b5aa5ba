"""Circuits that were written into the weights are found as they were written."""

import math
from dataclasses import replace

import planted_circuits
import pytest
import torch
from evaluations import TASKS, network_of, of_logits, random, task_of

from analysis.circuit import clock_pizza, keys
from analysis.circuit.ablations import ablations
from analysis.circuit.circuit import Circuit, take_apart
from analysis.circuit.embedding import embedding
from analysis.circuit.logits import logits
from analysis.circuit.neuron_logit_map import neuron_logit_map
from analysis.circuit.neurons import neurons
from analysis.circuit.subject import Subject, subject
from analysis.circuit.values import values
from analysis.circuit.verdict import Verdict, judge
from grok_sweep import fourier
from grok_sweep.config import DataConfig
from grok_sweep.tasks import make_task

P, ALPHAS = 31, {3: 9.0, 5: 4.0, 11: 6.0}
FEW = 20


@pytest.fixture(scope="module")
def exact() -> Circuit:
    network, weights = planted_circuits.exact(P, ALPHAS)
    return take_apart(subject(weights, task_of("add", P), network), FEW)


def test_the_exact_network_has_its_logits():
    network, weights = planted_circuits.exact(P, ALPHAS)
    task = task_of("add", P)
    away = (task.a + task.b)[:, None] - torch.arange(P)
    expected = sum(alpha * (2 * math.pi * k / P * away.double()).cos() for k, alpha in ALPHAS.items())
    assert torch.allclose(network.forward(weights, task.a, task.b).logits, expected, atol=1e-12)


def test_frequencies_amplitudes_and_verdict_are_recovered(exact: Circuit):
    assert exact.keys is not None
    assert exact.judged is not None
    assert exact.keys.used == sorted(ALPHAS)
    assert exact.logits.alphas == pytest.approx(ALPHAS, rel=1e-12)
    assert exact.logits.fve == pytest.approx(1, abs=1e-12)
    assert exact.judged.verdict is Verdict.fourier
    assert exact.judged.of("excluded_loss").value == pytest.approx(math.log(P), rel=1e-12)
    assert all(each.n_as_good == 0 for each in exact.judged.evidence)


def test_the_exact_network_s_parts(exact: Circuit):
    """Of y = mlp_post . u_k = alpha (cos w(a+b) + cos(2wa)/2 + cos(2wb)/2) the sum has two thirds; circles are round;
    half of W_E is at 2k."""
    assert exact.embedding is not None
    assert exact.neuron_logit_map is not None
    assert exact.neurons is None  # neurons that square
    assert all(circle.roundness == pytest.approx(1) for circle in exact.embedding.circles)
    assert exact.embedding.share == pytest.approx(0.5)
    for direction in exact.neuron_logit_map.directions:
        assert direction.fve == pytest.approx(2 / 3)
        assert direction.coefficient == pytest.approx(ALPHAS[direction.k] * math.sqrt(P / 2))
    assert exact.neuron_logit_map.residual == pytest.approx(0, abs=1e-12)
    assert exact.attention is not None
    assert [(head.to_a, head.k) for head in exact.attention] == [(1.0, None)]


def test_what_breaks_in_the_exact_network(exact: Circuit):
    """What leaves the sum waves whole changes nothing; without one frequency, or without the skip, the loss is that
    of the formula."""
    base, found = exact.logits.losses["all"], exact.ablation
    for name in ("restricted", "restricted_2x2", "restricted_3x3", "fit", "attn_uniform", "attn_tangent"):
        assert found[name]["all"] == pytest.approx(base, rel=1e-9), name
    for name in ("excluded", "excluded_2x2", "excluded_3x3", "excluded_3d"):
        assert found[name]["train"] == pytest.approx(math.log(P), rel=1e-9), name
    left = {k: alpha for k, alpha in ALPHAS.items() if k != 5}
    assert found["excluded.5"]["all"] == pytest.approx(_loss_at_zero(left), rel=1e-9)
    assert found["heads_zero"]["all"] == pytest.approx(math.log(P), rel=1e-9)
    assert found["head_zero.0"]["all"] == pytest.approx(math.log(P), rel=1e-9)
    assert found["mlp_on_W_L"]["all"] == pytest.approx(base, rel=1e-9)
    task = exact.subject.task
    shapes = [(1.0, task.a + task.b), (0.5, 2 * task.a), (0.5, 2 * task.b)]
    without_skip = sum(
        alpha * share * (2 * math.pi * k / P * (s[:, None] - torch.arange(P)).double()).cos()
        for k, alpha in ALPHAS.items()
        for share, s in shapes
    )
    expected = torch.nn.functional.cross_entropy(without_skip, task.answers)
    assert found["skip_zero"]["all"] == pytest.approx(float(expected), rel=1e-9)


def _loss_at_zero(alphas: dict[int, float]) -> float:
    """Cross-entropy of sum alpha_k cos w_k d over d, the answer at d = 0."""
    d = torch.arange(P).double()
    table = sum(alpha * (2 * math.pi * k / P * d).cos() for k, alpha in alphas.items())
    return float(table.logsumexp(0) - table[0])


@pytest.mark.parametrize("n_phases", [8, 16, 32])
def test_relu_has_the_error_of_its_phases(n_phases):
    """The circuit is the ReLU's second harmonic; what differs from it are the harmonics that so many phases take for
    it: at most the sum of their amplitudes, and at worst near it."""
    p, k = 31, 3
    network, weights = planted_circuits.relu(p, k, n_phases)
    task = task_of("add", p)
    made = subject(weights, task, network)
    envelope = (2 * (math.pi * k / p * (task.a - task.b).double()).cos()).abs()
    scale = n_phases / 2 * planted_circuits.harmonic(2)
    away = (task.a + task.b)[:, None] - torch.arange(p)
    circuit = scale * envelope[:, None] * (2 * math.pi * k / p * away.double()).cos()
    error = ((made.evaluation.logits - circuit).abs() / envelope[:, None].clamp(min=1e-9)).max()
    aliases = [m * n_phases + side for m in range(1, 100_000) for side in (-2, 2)]
    bound = n_phases / 2 * sum(abs(planted_circuits.harmonic(h)) for h in aliases)
    assert 0.8 * bound < float(error) <= bound * (1 + 1e-5)  # harmonics beyond those summed: 1 / (their number)
    # The mean of |2 cos(pi d / p)| over d is 2 / (p sin(pi / 2p)).
    found = logits(replace(made, given_keys=(k,))).alphas[k]
    # Harmonics that are this frequency mod p add to it, or take from it.
    same = sum(abs(planted_circuits.harmonic(h)) for h in aliases if h // 2 % p in (1, p - 1))
    expected = scale * 2 / (p * math.sin(math.pi / (2 * p)))
    assert found == pytest.approx(expected, rel=same / planted_circuits.harmonic(2))


def test_relu_neurons_are_of_their_frequency():
    p, k = 31, 3
    network, weights = planted_circuits.relu(p, k, 16)
    found = neurons(subject(weights, task_of("add", p), network))
    assert found is not None
    assert found.share == found.weighted == 1.0
    assert [(c.k, c.above, c.below) for c in found.clusters] == [(k, 16, 0)]


# --- mixtures -----------------------------------------------------------------------------------------------


def mixture(scale: float, memory: float, p: int = 31, k: int = 4) -> tuple[Subject, torch.Tensor]:
    """scale cos w_k(a+b-c) and, on train pairs, `memory` nats for the answer, less what that has along the sum
    directions; and that memory."""
    task = task_of("add", p)
    answers = torch.nn.functional.one_hot(task.answers, p).double()
    remembered = memory * answers * task.train_mask[:, None]
    by_itself = of_logits(task, remembered)
    remembered = remembered - by_itself.sum_waves([k])[by_itself.sum_of_pair]
    away = (task.a + task.b)[:, None] - torch.arange(p)
    circuit = scale * (2 * math.pi * k / p * away.double()).cos()
    return Subject(of_logits(task, circuit + remembered, network=network_of(p, architecture="mlp"))), remembered


def test_a_mixture_has_the_shares_of_its_parts():
    made, remembered = mixture(8.0, 5.0)
    assert made.key_freqs == [4]
    circuit_energy = 8.0**2 * 31**3 / 2
    memory_energy = float((remembered - remembered.mean()).square().sum())
    assert logits(made).fve == pytest.approx(circuit_energy / (circuit_energy + memory_energy), rel=1e-3)
    found = {each.name: each.losses for each in ablations(made)}
    alone = torch.nn.functional.cross_entropy(
        remembered[made.task.train_mask], made.task.answers[made.task.train_mask]
    )
    assert found["excluded"]["train"] == pytest.approx(float(alone), rel=1e-9)


@pytest.mark.parametrize(
    "scale, memory, verdict",
    [
        (150.0, 0.0, Verdict.fourier),
        (150.0, 5.0, Verdict.forming),
        (20.0, 0.0, Verdict.forming),
        (0.0, 12.0, Verdict.none),
    ],
)
def test_the_verdict_of_a_mixture(scale, memory, verdict):
    """A circuit alone; one beside a memory that answers the train pairs without it; one too weak to suffice; none."""
    judged = judge(mixture(scale, memory)[0], torch.Generator().manual_seed(0), FEW)
    assert judged is not None
    assert judged.verdict is verdict


def test_neurons_that_remember_are_none_of_a_frequency():
    """Twelve waves of w_k(a+b) and six neurons that know one pair each: shares two thirds, weighted by variance."""
    p, k = 31, 4
    task = task_of("add", p)
    s = (task.a + task.b).double()
    waves = torch.stack([2 * (2 * math.pi * k / p * s + i).cos() for i in range(12)], 1)
    spikes = torch.nn.functional.one_hot(torch.arange(6) * 150, task.n_pairs).double().T
    post = torch.cat([waves, spikes], 1)
    weights = {"W_E": torch.ones(p + 1, 3), "W_out": torch.ones(18, 3), "W_U": torch.zeros(3, p + 1)}
    made = Subject(of_logits(task, torch.zeros(task.n_pairs, p).double(), weights, mlp_post=post))
    found = neurons(made)
    assert found is not None
    energies = (post - post.mean(0)).square().sum(0)
    assert found.share == pytest.approx(2 / 3)
    assert found.weighted == pytest.approx(float(energies[:12].sum() / energies.sum()))
    assert [(c.k, c.above) for c in found.clusters] == [(k, 12)]


# --- networks without a circuit -----------------------------------------------------------------------------


def test_random_networks_are_not():
    for seed in range(3):
        network = network_of(23, d_model=24, n_heads=3, d_head=8, d_mlp=40, init_seed=seed)
        found = take_apart(subject(network.init(), task_of("add", 23), network), FEW)
        assert found.judged is not None
        assert found.judged.verdict is Verdict.none
        assert found.clock_pizza is None
        assert values(found)["restricted_loss"] is None


@pytest.mark.parametrize("operation, p", TASKS)
def test_other_operations_are_read_in_their_exponents(operation, p):
    """The same law in the exponents: the planted frequencies, their amplitudes, and the verdict."""
    task = task_of(operation, p)
    assert task.group is not None
    n = task.group.n
    # Of three frequencies two would leave one beside K, at exactly 0, and no gap to see.
    planted = {2: 30.0} if n == 7 else {1: 30.0, 3: 20.0}
    i, j, c = task.group.of_a[task.a], task.group.of_b[task.b], task.group.of_c
    outputs = sum(
        alpha * (2 * math.pi * k / n * ((i + j)[:, None] - c).double()).cos() for k, alpha in planted.items()
    )
    inside = (i >= 0) & (j >= 0)
    outputs = torch.where(inside[:, None] & (c >= 0), outputs, -50.0)
    made = Subject(of_logits(task, outputs, network=network_of(p, architecture="mlp")))
    assert made.key_freqs == sorted(planted)
    assert logits(made).alphas == pytest.approx(planted, rel=1e-9)
    judged = judge(made, torch.Generator().manual_seed(0), FEW)
    assert judged is not None
    assert judged.verdict is Verdict.fourier
    assert logits(made).accuracies["all"] == 1.0
    assert clock_pizza.distance_irrelevance(made) is None  # every right answer has the same logit


def test_without_a_group_only_what_assumes_no_circuit():
    network = network_of(13, d_model=12, n_heads=2, d_head=6, d_mlp=20)
    found = take_apart(subject(network.init(), task_of("quadratic", 13), network), FEW)
    assert (found.keys, found.judged, found.neurons, found.embedding, found.neuron_logit_map) == (None,) * 5
    assert {each.part for each in found.ablations} == {"neurons", "skips", "attention"}
    flat = values(found)
    assert "all_loss" in flat
    assert not [name for name in flat if "key" in name or name.startswith("ablation.restricted")]


# --- what is given ------------------------------------------------------------------------------------------


def test_without_a_split_every_pair_counts():
    network, weights = planted_circuits.exact(P, ALPHAS)
    found = values(take_apart(subject(weights, task_of("add", P), network, has_split=False), FEW))
    assert found["split"] == "unknown"
    assert found["excluded_loss_all"] == pytest.approx(math.log(P))
    assert not [name for name in found if "train" in name or name in ("excluded_loss", "excluded_loss_k")]


def test_without_a_split_labels_are_the_answers():
    """Which labels were noisy is not known either."""
    noisy = make_task(DataConfig(p=P, frac_train=0.4, label_noise=0.3))
    network, weights = planted_circuits.exact(P, ALPHAS)
    clean = subject(weights, task_of("add", P), network, has_split=False)
    made = subject(weights, noisy, network, has_split=False)
    assert made.evaluation.pair_losses.mean() == clean.evaluation.pair_losses.mean()


def test_given_key_frequencies_replace_the_rule_s():
    network, weights = planted_circuits.exact(P, ALPHAS)
    found = take_apart(subject(weights, task_of("add", P), network, key_freqs=[5, 3]), FEW)
    assert found.keys is not None
    assert (found.keys.used, found.keys.is_given) == ([3, 5], True)
    assert found.keys.by_rule["largest_gap"] == sorted(ALPHAS)
    for wrong in ([0], [16], [3, 99], []):
        with pytest.raises(ValueError, match=r"--key-freqs must name frequencies in 1..15"):
            subject(weights, task_of("add", P), network, key_freqs=wrong)
    with pytest.raises(ValueError, match="no cyclic group"):
        subject(weights, task_of("quadratic", P), network, key_freqs=[3])


def test_rules_that_disagree_are_named():
    by_rule = {"a": [3, 5], "b": [5, 9], "c": None, "d": [3, 5]}
    found = keys.Keys([3, 5], False, 2.0, by_rule, [], [], "train")
    assert found.disputed == {3: ["a", "d"], 9: ["b"]}


def test_the_same_subject_gives_the_same_numbers():
    network, weights = planted_circuits.exact(P, ALPHAS)
    made = subject(weights, task_of("add", P), network)
    assert values(take_apart(made, 5)) == values(take_apart(made, 5))


def test_a_noisy_circle_is_an_ellipse():
    """Roundness is the ratio of the axes: a cosine twice as long as its sine, at right angles, has one half."""
    p, k = 13, 2
    network = network_of(p, d_model=5, n_heads=1, d_head=5, d_mlp=7)
    weights = network.init()
    rows = fourier.basis(p)[2 * k - 1 : 2 * k + 1]
    axes = torch.linalg.qr(random(5, 2)).Q.T * torch.tensor([[2.0], [1.0]])
    weights["W_E"] = torch.cat([rows.T @ axes, torch.zeros(1, 5).double()])
    found = embedding(subject(weights, task_of("add", p), network, key_freqs=[k]))
    assert found is not None
    assert found.circles[0].roundness == pytest.approx(0.5)
    assert found.circles[0].share == pytest.approx(1.0)
    assert neuron_logit_map(subject(weights, task_of("add", p), network)) is not None
