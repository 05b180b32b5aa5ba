"""The parts of a circuit's analysis, each against what it must give."""

import json
import math
from dataclasses import replace

import planted_circuits
import pytest
import torch
from evaluations import TASKS, network_of, of_logits, random, task_of
from networks import ONE_LAYER, small_network

from analysis.circuit import attention, clock_pizza, directions, verdict
from analysis.circuit.ablations import ablations
from analysis.circuit.circuit import take_apart
from analysis.circuit.logits import logits
from analysis.circuit.markdown import markdown
from analysis.circuit.one_layer import one_layer
from analysis.circuit.paper import MAINLINE, beside
from analysis.circuit.subject import Subject, subject
from analysis.circuit.tables import doubts, headline, sections
from analysis.circuit.text import text
from analysis.circuit.values import values
from analysis.report.blocks import Figure, Listing, Report, Section, Table, Text
from grok_sweep.groups import Group
from grok_sweep.measures.evaluation import evaluate
from grok_sweep.measures.losses import excluded_loss, restricted_loss

# --- directions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [7, 12])
def test_directions_are_orthonormal_and_span_each_other(n):
    for k in range(1, n // 2 + 1):
        block, products = directions.block(n, k), directions.products(n, k)
        everything = torch.cat([directions.constant(n), block])
        assert torch.allclose(everything @ everything.T, torch.eye(len(everything)).double(), atol=1e-12)
        sums, apart = directions.sums(n, k), directions.antisymmetric(n, k)
        assert torch.allclose(sums @ sums.T, torch.eye(len(sums)).double(), atol=1e-12)
        assert torch.allclose(apart @ apart.T, torch.eye(len(apart)).double(), atol=1e-12)
        # cos w(i+j) is a product of waves; cos w i - cos w j is a sum of waves of one operand each.
        assert torch.allclose(directions.project(sums.T, products), sums.T, atol=1e-12)
        assert torch.allclose(directions.project(apart.T, directions.alone(n, k)), apart.T, atol=1e-12)
        i, j = torch.arange(n).repeat_interleave(n), torch.arange(n).repeat(n)
        wave = (2 * math.pi * k / n * (i + j).double()).cos()[:, None]
        assert torch.allclose(directions.project(wave, sums[:1]), wave, atol=1e-12)


# --- one layer in parts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ONE_LAYER)
def test_the_parts_make_the_whole(what):
    """Heads and what "=" brings make the stream, skip and neurons the logits; the network's own pattern changes
    nothing, nor does the logits' gradient's way of reading embedded tokens."""
    network, weights = small_network(11, **ONE_LAYER[what])
    made = subject(weights, task_of("add", 11), network)
    parts = one_layer(made)
    assert parts is not None
    assert torch.allclose(parts.resid_pre + parts.heads.sum(0), parts.resid_mid, atol=1e-12)
    assert torch.allclose(parts.stream(parts.pattern), parts.resid_mid, atol=1e-12)
    assert torch.allclose(parts.from_skip + parts.from_neurons, made.evaluation.logits, atol=1e-10)
    assert torch.allclose(parts.of_stream(parts.resid_mid), made.evaluation.logits, atol=1e-10)
    resid = parts.tokens.resid
    embedded = torch.stack([resid[made.task.a], resid[11 + made.task.b]], 1)
    assert torch.allclose(clock_pizza._read(made, embedded, resid[-1]), made.evaluation.outputs, atol=1e-10)


def test_heads_set_to_zero_one_by_one_and_at_once():
    """With one head the two are one; with uniform attention already, uniform attention changes nothing."""
    network, weights = small_network(11, n_heads=1, d_head=7)
    found = {each.name: each.losses for each in ablations(subject(weights, task_of("add", 11), network))}
    assert found["head_zero.0"]["all"] == pytest.approx(found["heads_zero"]["all"], rel=1e-12)
    assert found["head_mean.0"]["all"] == pytest.approx(found["heads_mean"]["all"], rel=1e-12)
    weights["W_Q"] = torch.zeros_like(weights["W_Q"])  # scores are 0: a third to each
    made = subject(weights, task_of("add", 11), network)
    found = {each.name: each.losses for each in ablations(made)}
    assert found["attn_linear"]["all"] == pytest.approx(made.losses(made.evaluation.logits)["all"], rel=1e-12)
    assert found["attn_tangent"]["all"] == pytest.approx(found["attn_uniform"]["all"], rel=1e-12)


def test_means_are_over_the_group_s_pairs():
    """mlp_mean of a multiplication: the mean of mlp_post over pairs without a 0."""
    network, weights = small_network(11)
    made = subject(weights, task_of("multiply", 11), network)
    parts = one_layer(made)
    assert parts is not None
    inside = (made.task.a != 0) & (made.task.b != 0)
    expected = parts.from_skip + parts.from_neurons[inside].mean(0)
    loss = torch.nn.functional.cross_entropy(expected[inside], made.task.answers[inside])
    found = {each.name: each.losses for each in ablations(made)}
    assert found["mlp_mean"]["all"] == pytest.approx(float(loss), rel=1e-12)


# --- attention ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation, p", TASKS)
def test_a_planted_pattern_is_fitted(operation, p):
    """Attention to a = .45 + alpha (cos w a - cos w b) + beta (sin w a - sin w b) in the tokens' exponents."""
    task = task_of(operation, p)
    assert task.group is not None
    n, k = task.group.n, 2
    i, j = task.group.of_a[task.a].double(), task.group.of_a[task.b].double()
    w = 2 * math.pi * k / n
    tilt = 0.2 * ((w * i).cos() - (w * j).cos()) - 0.1 * ((w * i).sin() - (w * j).sin())
    pattern = torch.stack([0.45 + tilt, 0.45 - tilt, torch.full_like(tilt, 0.1)], 1)[:, None, :].expand(-1, 2, -1)
    made = Subject(of_logits(task, random(task.n_pairs, p), attn_pattern=pattern))
    found = attention.heads(made)
    assert found is not None
    for head in found:
        assert head.k == k
        assert (head.fve, head.alpha, head.beta) == pytest.approx((1.0, 0.2, -0.1))
        assert head.to_equals == pytest.approx(0.1)
    again = attention.fitted(made)
    assert again is not None
    inside = ~task.outside_mask
    assert torch.allclose(again[inside], pattern[inside], atol=1e-12)


# --- logits -------------------------------------------------------------------------------------------------


def test_margins_and_runners_up():
    """The right answer leads by 3 nats over that at distance 4, everywhere but on one pair."""
    p, task = 13, task_of("add", 13)
    right = torch.nn.functional.one_hot(task.answers, p).double()
    second = torch.nn.functional.one_hot((task.answers + 4) % p, p).double()
    outputs = 8 * right + 5 * second
    outputs[5] = 5 * right[5] + 8 * second[5]
    found = logits(Subject(of_logits(task, outputs, network=network_of(p, architecture="mlp"))))
    assert (found.margins["all"].least, found.margins["all"].median) == pytest.approx((-3, 3))
    assert found.margins["all"].share_right == found.accuracies["all"] == pytest.approx(168 / 169)
    assert [(each.distance, each.share) for each in found.runners_up] == [(4, 1.0)]


# --- clock, pizza -------------------------------------------------------------------------------------------


def test_a_network_that_adds_embeddings_first_has_equal_gradients():
    """The planted network sees E_a + E_b alone: gradient symmetricity 1; its one circle has circularity 1."""
    network, weights = planted_circuits.relu(31, 3, 16)
    found = clock_pizza.clock_pizza(subject(weights, task_of("add", 31), network), torch.Generator().manual_seed(1))
    assert found is not None
    assert found.gradient_symmetricity == pytest.approx(1)
    assert found.circularity == pytest.approx(1)


def test_gradients_tell_a_from_b():
    """By autograd through the network itself, for pairs whose tokens differ."""
    network, weights = small_network(11)
    task = task_of("add", 11)
    made = subject(weights, task, network)
    generator = torch.Generator().manual_seed(3)
    chosen, c = torch.randint(task.n_pairs, (6,), generator=generator), torch.randint(11, (6,), generator=generator)
    expected = []
    for pair, answer in zip(chosen, c, strict=True):
        leaf = {name: w.clone().requires_grad_() for name, w in made.weights.items()}
        a, b = task.a[pair], task.b[pair]
        assert a != b
        network.forward(leaf, a[None], b[None]).logits[0, answer].backward()
        gradient = leaf["W_E"].grad
        assert gradient is not None
        expected.append(torch.nn.functional.cosine_similarity(gradient[a], gradient[b], dim=0))
    found = clock_pizza.gradient_symmetricity(made, torch.Generator().manual_seed(3), 6)
    assert found == pytest.approx(float(torch.stack(expected).mean()), rel=1e-9)


@pytest.mark.parametrize("operation, p", TASKS)
def test_distance_irrelevance_has_its_ends(operation, p):
    """0 where the right logit depends on i - j alone; near 1 where it depends on i + j alone."""
    task = task_of(operation, p)
    assert task.group is not None
    n = task.group.n
    i, j = task.group.of_a[task.a], task.group.of_b[task.b]
    inside = ((i >= 0) & (j >= 0))[:, None]
    right = torch.nn.functional.one_hot(task.answers, p).double()
    for angle, expected in ((i - j, 0.0), (i + j, 1.0)):
        wave = (2 * math.pi / n * angle.double()).cos()[:, None]
        made = Subject(of_logits(task, torch.where(inside, wave * right, 7.0), network=network_of(p)))
        # With an even n, i + j has the parity of i - j: half of the waves' values meet in each row.
        assert clock_pizza.distance_irrelevance(made) == pytest.approx(expected, abs=1e-9 if n % 2 else 1e-2)


# --- the verdict --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation, p", TASKS[:4])
def test_losses_under_the_own_naming_are_the_measures(operation, p):
    made = Subject(of_logits(task_of(operation, p), 3 * random(task_of(operation, p).n_pairs, p)))
    novel = made.sets["novel" if "novel" in made.sets else "test"]
    found = verdict._losses(made, made.evaluation, [1, 3])
    expected = (restricted_loss(made.evaluation, [1, 3], novel), excluded_loss(made.evaluation, [1, 3]))
    assert found == pytest.approx(expected, rel=1e-12)


def test_affine_names_change_nothing_and_are_not_drawn():
    """i -> u i + v takes frequency k to k / u, with its excluded loss; none is drawn, though of five residues one in
    six names is affine."""
    p, network_and_weights = 13, small_network(13)
    made = subject(network_and_weights[1], task_of("add", p), network_and_weights[0])
    permutation = (5 * torch.arange(p) + 2) % p
    assert verdict._is_affine(permutation)
    renamed = verdict._with_group(made.evaluation, Group(p, permutation, permutation, permutation))
    frequency = [min(5 * k % p, -5 * k % p) for k in range(1, 7)]
    own = made.evaluation.excluded_loss_k[torch.tensor(frequency) - 1]
    assert torch.allclose(renamed.excluded_loss_k, own, atol=1e-12)
    few = Subject(of_logits(task_of("add", 5), random(25, 5)))
    for seed in range(40):
        drawn = verdict.relabelled(few, torch.Generator().manual_seed(seed)).task.group
        assert drawn is not None
        assert not verdict._is_affine(drawn.of_a)


def test_what_no_naming_changes_is_worked_out_once():
    network, weights = small_network(11)
    made = subject(weights, task_of("add", 11), network)
    other = verdict.relabelled(made, torch.Generator().manual_seed(0))
    fresh = evaluate(made.weights, other.task, network)
    for name in verdict.SHARED:
        assert getattr(other, name) is getattr(made.evaluation, name)
        assert torch.equal(getattr(fresh, name), getattr(other, name)), name
    assert torch.allclose(other.excluded_loss_k, fresh.excluded_loss_k, atol=1e-12)
    assert not torch.allclose(other.excluded_loss_k, made.evaluation.excluded_loss_k, atol=1e-6)


# --- numbers, words -----------------------------------------------------------------------------------------


def test_numbers_are_flat_and_json():
    network, weights = planted_circuits.relu(31, 3, 16)
    found = values(take_apart(subject(weights, task_of("add", 31), network), 3))
    assert json.loads(json.dumps(found)) == found
    assert not [name for name, value in found.items() if isinstance(value, dict) and name != "key_freqs_by_rule"]
    for name in ("u_fve.3", "alpha.3", "neurons_85.3", "ablation.neurons_without.3.train", "attn_to_equals.0"):
        assert name in found


def test_the_paper_s_value_of_a_name():
    assert beside("ablation.skip_zero") == MAINLINE["ablation.skip_zero"] == 9.12e-7
    assert beside("u_fve.14") == beside("u_fve.3") == MAINLINE["u_fve.*"]
    assert beside("ablation.excluded.train") == 5.97
    assert beside("ablation.excluded.14.train") == MAINLINE["ablation.excluded.*.train"]
    assert beside("ablation.excluded.14") is None


def test_every_section_is_text_and_markdown():
    network, weights = planted_circuits.relu(31, 3, 16)
    found = take_apart(subject(weights, task_of("add", 31), network), 3)
    told = text(sections(found))
    assert max(map(len, told.splitlines())) < 140
    for title in ("VERDICT", "ABLATIONS", "KEY FREQUENCIES", "BETWEEN CLOCK AND PIZZA"):
        assert title in told.splitlines()


def test_given_frequencies_are_not_said_to_stand_out():
    network, weights = planted_circuits.exact(31, {3: 30.0, 5: 20.0})
    made = subject(weights, task_of("add", 31), network, key_freqs=[5])
    assert headline(take_apart(made, 3)) == (
        "With the frequency 5, as given: they alone do not suffice, and without them the network still answers well. "
        "The rule finds 3 and 5, and the gap is that of its own."
    )


def test_what_speaks_against_a_circuit_is_said():
    network, weights = planted_circuits.exact(31, {3: 30.0, 5: 20.0})
    found = take_apart(subject(weights, task_of("add", 31), network), 3)
    assert found.neuron_logit_map is not None
    assert list(doubts(found)) == []
    wide = replace(found, neuron_logit_map=replace(found.neuron_logit_map, residual=0.41))
    poor = replace(wide, logits=replace(found.logits, fve=0.33))
    assert list(doubts(poor)) == [
        "cos w_k(a+b-c) explains 33% of the logits' variance (the paper's 95 %)",
        "41% of W_L's squared norm lie outside K (the paper's < .55 %)",
    ]


def test_markdown_keeps_words_words():
    figure = Figure("known", None, "what it shows", "spoken")  # type: ignore[arg-type]
    blocks = [Text("a_b <i>"), Table(("x", "y"), [("1|2", "*")], "under", numbers=(0,)), Listing("run\nit"), figure]
    page = markdown(
        Report("T", "under", [("p", "3")], [Section("S", [*blocks, replace(figure, name="not")])]), ["known"], "pre_"
    )
    assert "a\\_b \\<i>" in page
    assert "| ---: | --- |\n| 1\\|2 | \\* |\n\nunder" in page
    assert "    run\n    it" in page
    assert "![spoken](pre_known.svg)\n\nwhat it shows" in page
    assert "not.svg" not in page
