"""Measures: the laws they obey, and their definitions written out in full at small sizes."""

import math

import pytest
import torch
from evaluations import network_of, of_logits
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_sweep import fourier, train
from grok_sweep.config import DataConfig, ModelConfig, RunConfig, resolved
from grok_sweep.measures import attention, collapse, energy, fit, losses, sparsity
from grok_sweep.measures.evaluation import Evaluation, evaluate
from grok_sweep.measures.frequencies import LEAST_GAP, largest_gap, neighbours
from grok_sweep.measures.rows import measured, row
from grok_sweep.measures.table import MEASURES
from grok_sweep.models.parameters import unflatten
from grok_sweep.tasks import Task, make_task


def task_of(p: int, frac: float = 0.4) -> Task:
    return make_task(DataConfig(p=p, frac_train=frac))


def planted(p: int, amplitudes: dict[int, float], noise: float = 0.0) -> Evaluation:
    """The paper's circuit exactly: logits = sum of alpha_k cos w_k(a + b - c), and Gaussian noise on top."""
    task = task_of(p)
    c = torch.arange(p)
    difference = (task.a + task.b)[:, None] - c
    logits = sum(
        alpha * torch.cos(2 * math.pi * k / p * (difference % p).double()) for k, alpha in amplitudes.items()
    )
    generator = torch.Generator().manual_seed(p)
    return of_logits(task, logits + noise * torch.randn(logits.shape, generator=generator, dtype=torch.float64))


def directions(p: int, key_freqs: list[int]) -> torch.Tensor:
    """Unit vectors of R^(p²) along cos w_k(a+b) and sin w_k(a+b), built and normalised directly."""
    s = (torch.arange(p).repeat_interleave(p) + torch.arange(p).repeat(p)).double()
    waves = [wave(2 * math.pi * k / p * s) for k in key_freqs for wave in (torch.cos, torch.sin)]
    kept = [w / w.norm() for w in waves if w.norm() > 1e-6]
    return torch.stack(kept)


def random_evaluation(p: int, frac: float = 0.4) -> Evaluation:
    generator = torch.Generator().manual_seed(1)
    return of_logits(task_of(p, frac), 3 * torch.randn(p * p, p + 1, generator=generator, dtype=torch.float64))


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return float(torch.nn.functional.cross_entropy(logits, labels))


@pytest.mark.parametrize("p", [7, 12, 13])
def test_restricted_and_excluded_are_their_definitions(p):
    """The p x p shortcut against projecting p² x p logits."""
    e = random_evaluation(p)
    logits, labels, train = e.logits, e.task.labels, e.task.train_mask
    for key_freqs in ([2], [1, 3], [p // 2]):
        d = directions(p, key_freqs)
        projected = d.T @ (d @ logits)
        excluded = cross_entropy((logits - projected)[train], labels[train])
        assert losses.excluded_loss(e, key_freqs) == pytest.approx(excluded, rel=1e-12)
        kept = projected + logits.mean(0)
        assert losses.restricted_loss(e, key_freqs) == pytest.approx(cross_entropy(kept, labels), rel=1e-12)
        on_train = losses.restricted_loss(e, key_freqs, train)
        assert on_train == pytest.approx(cross_entropy(kept[train], labels[train]), rel=1e-12)
    each = losses.excluded_loss_k(e)
    assert each == pytest.approx([losses.excluded_loss(e, [k]) for k in range(1, p // 2 + 1)], rel=1e-12)
    assert losses.excluded_loss_max(e) == max(each)


def test_losses_are_cross_entropies_over_the_answers_and_the_objective_over_all_outputs():
    e = random_evaluation(11)
    found = losses.losses_and_accuracies(e)
    for name, mask in e.task.sets.items():
        expected = cross_entropy(e.outputs[mask, :11], e.task.labels[mask])
        assert found[f"{name}_loss"] == pytest.approx(expected, rel=1e-13)
        if name != "all":
            right = (e.outputs[mask, :11].argmax(1) == e.task.labels[mask]).double().mean()
            assert found[f"{name}_acc"] == pytest.approx(float(right), rel=1e-13)
    mask = e.task.train_mask
    assert losses.objective(e) == pytest.approx(cross_entropy(e.outputs[mask], e.task.labels[mask]), rel=1e-13)
    assert losses.objective(e) > found["train_loss"]


def test_pair_losses_keep_their_digits_at_small_and_large_losses():
    """Margins of 40 and -900 nats: a log-softmax in float64 would lose the first, an exponential the second."""
    task = task_of(5)
    for margin in (40.0, -900.0):
        logits = torch.zeros(25, 5, dtype=torch.float64)
        logits[torch.arange(25), task.labels] = margin
        expected = math.log1p(4 * math.exp(-margin)) if margin > 0 else math.log(4) - margin
        assert of_logits(task, logits).pair_losses.tolist() == pytest.approx([expected] * 25, rel=1e-14)


def test_a_set_without_pairs_is_absent():
    task = make_task(DataConfig(p=5, frac_train=0.97))
    e = of_logits(task, torch.zeros(25, 5, dtype=torch.float64))
    assert int(task.test_mask.sum()) == 1
    found = losses.losses_and_accuracies(e)
    assert ("swap_loss" in found) != ("novel_loss" in found)


def test_ties_are_wrong_answers():
    e = of_logits(task_of(5), torch.zeros(25, 5, dtype=torch.float64))
    assert losses.losses_and_accuracies(e)["train_acc"] == 0


@pytest.mark.parametrize("p", [23, 29])
def test_planted_circuit(p):
    """Excluded loss is exactly log p; removing any other frequency changes nothing; restricting changes nothing."""
    amplitudes = {2: 9.0, 5: 7.0, 9: 8.0}
    e = planted(p, amplitudes)
    assert losses.excluded_loss(e, list(amplitudes)) == pytest.approx(math.log(p), rel=1e-13)
    each = losses.excluded_loss_k(e)
    train_loss = losses.losses_and_accuracies(e)["train_loss"]
    for k, value in enumerate(each, 1):
        if k in amplitudes:
            assert value > 2 * train_loss
        else:
            assert value == pytest.approx(train_loss, rel=1e-11)
    assert losses.restricted_loss(e, list(amplitudes)) == pytest.approx(float(e.pair_losses.mean()), rel=1e-11)
    noisy = planted(p, amplitudes, noise=1e-6)
    assert losses.key_freqs(noisy) == sorted(amplitudes)
    assert losses.key_gap(noisy) > 3
    assert losses.n_key_freqs(noisy) == 3


@pytest.mark.parametrize("p", [23, 24])
def test_fit_of_a_planted_circuit_is_exact(p):
    """Its alphas come back, it explains all, and its loss is the network's own. p = 24 has a Nyquist frequency."""
    amplitudes = {2: 3.0, 5: 2.5, p // 2: 2.0}
    e, key_freqs = planted(p, amplitudes), sorted(amplitudes)
    assert fit.alphas(e, key_freqs) == pytest.approx([amplitudes[k] for k in key_freqs], rel=1e-12)
    assert fit.fve_logits(e, key_freqs) == pytest.approx(1, rel=1e-12)
    assert fit.fit_loss(e, key_freqs) == pytest.approx(float(e.pair_losses.mean()), rel=1e-12)
    similarity = fit.cos_sim_k(e)
    assert sum(s**2 for s in similarity) == pytest.approx(1, rel=1e-12)
    assert similarity[2] == pytest.approx(0, abs=1e-13)
    part = fit.fve_logits(e, [2])
    assert part == pytest.approx(similarity[1] ** 2, rel=1e-12)


@pytest.mark.parametrize("p", [7, 12])
def test_fit_is_the_least_squares_fit(p):
    """Against lstsq on all p³ logits, at random ones."""
    e, key_freqs = random_evaluation(p), [1, p // 2]
    c = torch.arange(p)
    difference = ((e.task.a + e.task.b)[:, None] - c) % p
    columns = torch.stack([(2 * math.pi * k / p * difference.double()).cos().flatten() for k in key_freqs], 1)
    centred = (e.logits - e.logits.mean()).flatten()
    found = torch.linalg.lstsq(columns, centred).solution
    assert fit.alphas(e, key_freqs) == pytest.approx(found.tolist(), rel=1e-10)
    fitted = columns @ found
    fve = 1 - float((centred - fitted).square().sum() / centred.square().sum())
    assert fit.fve_logits(e, key_freqs) == pytest.approx(fve, rel=1e-10)
    loss = cross_entropy(fitted.view(p * p, p), e.task.labels)
    assert fit.fit_loss(e, key_freqs) == pytest.approx(loss, rel=1e-12)


def test_W_L_residual_is_the_share_outside_the_key_directions():
    p, basis = 11, fourier.basis(11)
    W_U = torch.cat([3 * basis[3:5] + 0 * basis[0], 4 * basis[7:8]])
    weights = {"W_out": torch.eye(3, dtype=torch.float64), "W_U": W_U}
    e = of_logits(task_of(p), torch.zeros(p * p, p, dtype=torch.float64), weights)
    assert fit.W_L_residual(e, [2]) == pytest.approx(16 / (9 + 9 + 16), rel=1e-12)
    assert fit.W_L_residual(e, [2, 4]) == pytest.approx(0, abs=1e-15)


def test_relabelling_the_residues_permutes_the_frequencies():
    """Multiplying a, b and c by m sends frequency k to k/m: removing mk from the one is removing k from the other."""
    p, m = 13, 5
    e = random_evaluation(p)
    order = torch.tensor([(m * a % p) * p + m * b % p for a in range(p) for b in range(p)])
    classes = torch.tensor([m * c % p for c in range(p)])
    mask = e.task.train_mask
    moved = of_logits(e.task, e.logits[order][:, classes])
    moved_mask = mask[order]
    waves = torch.stack([moved.sum_waves([k]) for k in range(1, p // 2 + 1)])
    permuted = moved.excluded_losses(waves, moved.task.by_sum(moved_mask)).tolist()
    original = losses.excluded_loss_k(e)
    for k in range(1, p // 2 + 1):
        # cos w_k(ma) = cos w_(mk) a; frequencies above p/2 are those below it, mirrored.
        image = min(pow(m, -1, p) * k % p, p - pow(m, -1, p) * k % p)
        assert permuted[k - 1] == pytest.approx(original[image - 1], rel=1e-11)


def test_online_measures_are_null_without_key_frequencies():
    W_L = {"W_out": torch.eye(3, dtype=torch.float64), "W_U": torch.ones(3, 13, dtype=torch.float64)}
    e = of_logits(task_of(13), random_evaluation(13).logits, W_L)
    assert losses.key_gap(e) < LEAST_GAP
    assert losses.key_freqs(e) is None
    assert losses.n_key_freqs(e) is None
    assert losses.restricted_loss(e) is None
    assert losses.excluded_loss(e) is None
    assert fit.fve_logits(e) is None
    assert fit.fit_loss(e) is None
    assert fit.W_L_residual(e) is None


# --- the logits' energy by frequency --------------------------------------------------------------------------


@pytest.mark.parametrize("p", [23, 24])
def test_energy_of_a_planted_circuit_is_1_and_its_parts_go_with_the_squared_amplitudes(p):
    """What the answers' logits have in common with all inputs does not count. p = 24 has a Nyquist frequency."""
    amplitudes = {2: 3.0, 5: 1.0, p // 2: 2.0}
    planted_logits = planted(p, amplitudes).logits
    e = of_logits(task_of(p), planted_logits + 4 * torch.arange(p))
    squares = {k: alpha**2 * (2 if 2 * k == p else 1) for k, alpha in amplitudes.items()}
    expected = [squares.get(k, 0) / sum(squares.values()) for k in range(1, p // 2 + 1)]
    assert energy.logit_energy_k(e) == pytest.approx(expected, rel=1e-11, abs=1e-12)
    assert energy.logit_energy(e) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("p", [7, 12])
def test_energy_is_the_share_of_the_variance_along_the_sum_directions(p):
    """At random logits, written out."""
    e = random_evaluation(p)
    centred = e.logits - e.logits.mean(0)
    whole = centred.square().sum()
    expected = [float((directions(p, [k]) @ centred).square().sum() / whole) for k in range(1, p // 2 + 1)]
    assert energy.logit_energy_k(e) == pytest.approx(expected, rel=1e-11)
    assert energy.logit_energy(e) == pytest.approx(sum(expected), rel=1e-11)


def test_energy_of_a_function_of_the_sum_is_1_whatever_it_does_with_the_answer():
    """So it needs no circuit that is right; a function of a - b has none, and both together have their shares."""
    p, generator = 13, torch.Generator().manual_seed(0)
    task = task_of(p)
    of_sum, of_difference = (torch.randn(p, p, generator=generator, dtype=torch.float64) for _ in range(2))
    of_sum, of_difference = of_sum - of_sum.mean(0), of_difference - of_difference.mean(0)
    s, d = of_sum[(task.a + task.b) % p], of_difference[(task.a - task.b) % p]
    assert energy.logit_energy(of_logits(task, s)) == pytest.approx(1, rel=1e-12)
    assert energy.logit_energy(of_logits(task, d)) == pytest.approx(0, abs=1e-20)
    share = float(of_sum.square().sum() / (of_sum.square().sum() + of_difference.square().sum()))
    assert energy.logit_energy(of_logits(task, s + d)) == pytest.approx(share, rel=1e-12)


def test_energy_contains_what_the_circuit_explains():
    """fve_logits asks for cos w_k(a+b-c), the energy for any function of a + b, and leaves fixed biases out."""
    e = planted(23, {2: 3.0, 5: 2.0}, noise=1.0)
    assert losses.key_freqs(e) == [2, 5]
    fve = fit.fve_logits(e)
    assert fve is not None
    assert energy.logit_energy_k(e)[1] + energy.logit_energy_k(e)[4] > fve


def test_logits_that_do_not_depend_on_the_input_have_no_energy():
    e = of_logits(task_of(7), torch.arange(7, dtype=torch.float64).expand(49, 7) + 0.1)
    assert energy.logit_energy(e) is None
    assert energy.logit_energy_k(e) is None


# --- attention and the softmax -------------------------------------------------------------------------------


def test_attention_to_equals_is_the_mean_over_pairs_and_heads():
    task = task_of(5)
    pattern = torch.rand(25, 4, 3, generator=torch.Generator().manual_seed(0))
    e = of_logits(task, torch.zeros(25, 5), attn_pattern=pattern)
    assert attention.attn_to_equals(e) == pytest.approx(float(pattern[..., 2].double().mean()), rel=1e-14)


@pytest.mark.parametrize("rate", [1.0, 0.25])
def test_uniform_attention_gives_equals_a_third_and_mixing_lifts_it(rate):
    network = network_of(7, d_model=8, attention_rate=rate)
    weights = {name: w.double() for name, w in network.init().items()}
    e = evaluate(weights | {"W_K": torch.zeros_like(weights["W_K"])}, task_of(7), network)
    assert attention.attn_to_equals(e) == pytest.approx(rate / 3 + 1 - rate, rel=1e-13)


def test_the_softmax_collapses_where_the_training_rounds_its_sum_to_1():
    """One wrong answer at a margin of 16 to 38 nats: float32 loses it beyond 16.6, float64 beyond 36.7."""
    task = task_of(5)
    for margin, in_float32, in_float64 in ((16.0, 0, 0), (17.5, 1, 0), (36.0, 1, 0), (38.0, 1, 1)):
        logits = torch.full((25, 6), -1e3)
        logits[:, 1], logits[:, 5] = 0, margin  # "=" is one of the outputs, and any of them may be the largest
        for dtype, expected in ((torch.float32, in_float32), (torch.float64, in_float64)):
            assert collapse.softmax_collapse(of_logits(task, logits, loss_dtype=dtype)) == expected, (margin, dtype)


def test_softmax_collapse_is_a_share_of_the_train_pairs():
    task = task_of(5)
    logits = torch.zeros(25, 5)
    collapsed = task.train_mask.nonzero()[:3, 0]
    logits[collapsed, 2] = 50
    logits[task.test_mask, 2] = 50
    assert collapse.softmax_collapse(of_logits(task, logits)) == 3 / task.n_train
    logits[~task.train_mask] = math.nan
    assert collapse.softmax_collapse(of_logits(task, logits)) == 3 / task.n_train
    logits[collapsed[0], 1] = math.nan
    assert collapse.softmax_collapse(of_logits(task, logits)) is None


# --- the gap ------------------------------------------------------------------------------------------------


def gap_of(*deltas: float):
    return largest_gap(torch.tensor(deltas, dtype=torch.float64)).told()


def test_gap_takes_all_above_the_largest_gap():
    found = gap_of(1e-9, 2.0, 3e-9, 1e-2, 5e-9)
    assert found.freqs == [2, 4]
    assert found.gap == pytest.approx(math.log10(1e-2 / 5e-9), rel=1e-12)


def test_gap_below_its_least_is_none():
    assert gap_of(1.0, 0.1, 0.01, 0.001).freqs is None
    assert gap_of(1.0, 0.1, 0.01, 0.001).gap == pytest.approx(1.0)


def test_gap_takes_no_decrease_for_a_key_and_no_crossing_of_zero_for_a_gap():
    """-1e-3 says that effects of 1e-3 are noise here: 1e-12 is no gap below 1e-2, and 1e-2 only one decade up."""
    found = gap_of(1e-2, 2e-2, -1e-3, 1e-12, 3e-2)
    assert found.freqs is None
    assert found.gap == pytest.approx(1.0)
    assert gap_of(5.0, -1e-3, 1e-12, 4.0).freqs == [1, 4]


@pytest.mark.parametrize("deltas", [(0.0, 0.0, 0.0), (-1.0, -2.0), (math.nan, 1.0), (math.inf, 1.0), (1.0,)])
def test_gap_of_nothing_is_none(deltas):
    assert gap_of(*deltas).freqs is None


@given(st.lists(st.floats(1e-12, 1e3), min_size=2, max_size=30), st.floats(1e-3, 1e3))
@settings(max_examples=200, deadline=None)
def test_gap_does_not_depend_on_the_unit_or_the_order(deltas, factor):
    once = gap_of(*deltas)
    scaled = gap_of(*(d * factor for d in deltas))
    assert scaled.gap == pytest.approx(once.gap, abs=1e-9)
    assert gap_of(*reversed(deltas)).gap == once.gap
    if once.freqs is not None:
        smallest_key = min(deltas[k - 1] for k in once.freqs)
        others = [d for k, d in enumerate(deltas, 1) if k not in once.freqs]
        assert max(others) < smallest_key


# --- sparsity -----------------------------------------------------------------------------------------------


def test_gini_of_equal_values_is_0_and_of_one_value_is_its_maximum():
    assert sparsity.gini(torch.full((7,), 3.0, dtype=torch.float64)) == pytest.approx(0, abs=1e-15)
    one = torch.zeros(7, dtype=torch.float64)
    one[3] = 2.5
    assert sparsity.gini(one) == pytest.approx(6 / 7, rel=1e-14)


@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=20), st.floats(1e-2, 1e2))
@settings(max_examples=100, deadline=None)
def test_gini_is_half_the_relative_mean_difference(values, factor):
    x = torch.tensor(values, dtype=torch.float64)
    mean_difference = (x[:, None] - x[None]).abs().mean()
    assert sparsity.gini(x) == pytest.approx(float(mean_difference / (2 * x.mean())), abs=1e-12)
    assert sparsity.gini(x * factor) == pytest.approx(float(sparsity.gini(x)), abs=1e-12)


def test_gini_of_an_embedding_with_one_frequency_is_its_maximum():
    """W_E with a single cosine: one of p - 1 components holds all; the row of "=" does not count."""
    p = 11
    embedding = fourier.basis(p)[3][:, None] * torch.ones(1, 4, dtype=torch.float64)
    weights = {"W_E": torch.cat([embedding, 100 * torch.ones(1, 4, dtype=torch.float64)])}
    e = of_logits(task_of(p), torch.zeros(p * p, p, dtype=torch.float64), weights)
    assert sparsity.gini_W_E(e) == pytest.approx((p - 2) / (p - 1), rel=1e-12)


def test_neuron_logit_map_leaves_the_equals_logit_out():
    generator = torch.Generator().manual_seed(0)
    W_out, W_U = torch.randn(6, 4, generator=generator), torch.randn(4, 8, generator=generator)
    found = network_of(7).neuron_logit_map({"W_out": W_out, "W_U": W_U})
    assert torch.allclose(found, (W_out.double() @ W_U.double())[:, :7], rtol=1e-14)


# --- rows and the table -------------------------------------------------------------------------------------


def test_a_row_of_a_run_holds_every_name_of_the_contract():
    config = resolved(RunConfig(data=DataConfig(p=13), model=ModelConfig(d_model=16)))
    task = make_task(config.data)
    fixed = train.setup(config, task)
    start = train.initial_state(fixed)
    first = next(train.training(start, fixed))
    second = next(train.training(first, fixed))
    names = list(MEASURES)
    rows = []
    for state in (start, second):
        e = evaluate(unflatten(state.weights, fixed.shapes), task, fixed.network)
        rows.append(row(state, e) | measured(e, names, vectors=False) | measured(e, names, vectors=True))
    sets = ("train", "test", "swap", "novel")
    expected = {"step", "objective", "all_loss", "weights_hash", *names} - {"sum_sq", "ipr"}
    expected |= {f"sum_sq.{name}" for name in fixed.shapes} | {"ipr.W_L", "ipr.W_E"}
    expected |= {f"{s}_loss" for s in sets} | {f"{s}_acc" for s in sets}
    assert set(rows[0]) == expected
    assert set(rows[1]) == expected | {"grad_norm", "update_norm"}
    assert rows[1]["step"] == 2
    assert rows[1]["update_norm"] == pytest.approx(float((second.weights - first.weights).norm()), rel=1e-5)
    assert rows[0]["sum_sq_weights"] == pytest.approx(float(start.weights.square().sum()), rel=1e-5)
    by_parameter = sum(rows[0][f"sum_sq.{name}"] for name in fixed.shapes)
    assert by_parameter == pytest.approx(rows[0]["sum_sq_weights"], rel=1e-12)
    assert rows[0]["weights_hash"] != rows[1]["weights_hash"]
    assert len(rows[0]["excluded_loss_k"]) == 6
    # The objective of an update is taken before it: update 2 saw the weights of step 1, equal to those of step 0.
    assert second.objective == pytest.approx(rows[0]["objective"], rel=1e-6)


def test_the_sets_beside_the_key_frequencies_lack_the_weakest_or_have_the_next():
    costs = torch.tensor([0.1, 3.0, 0.2, 5.0, 4.0], dtype=torch.float64)
    assert neighbours([2, 4, 5], costs) == {"without_weakest": [4, 5], "with_next": [2, 3, 4, 5]}
    assert neighbours([4], costs) == {"with_next": [4, 5]}
    assert neighbours([1, 2, 3, 4, 5], costs) == {"without_weakest": [2, 3, 4, 5]}
