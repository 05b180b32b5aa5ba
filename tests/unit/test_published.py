"""Check values on networks published by others, in float64; skipped where the files are absent."""

import json
from pathlib import Path

import pytest
import torch
from published import published

from analysis.checkpoints.read import read
from grok_sweep.config import DataConfig, SplitBy
from grok_sweep.measures import fit, losses, neurons, rules, sparsity
from grok_sweep.measures.evaluation import Evaluation, evaluate
from grok_sweep.models import build
from grok_sweep.tasks import make_task

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "published.json").read_text())
FILES = ("low_precision_mod_addition.pth", "C113_T_seed2/model.pt")
REL = GOLDEN["tolerance"]["relative"]


@pytest.fixture(params=FILES, scope="module")
def case(request) -> tuple[dict, Evaluation]:
    golden, checkpoint = GOLDEN[request.param], read(published(request.param))
    split = golden["split"]
    data = DataConfig(p=golden["p"], **{**split, "split_by": SplitBy[split["split_by"]]})
    weights = {name: w.double() for name, w in checkpoint.weights.items()}
    network = build.network(checkpoint.model, checkpoint.p)
    assert network.d_vocab_out == golden["outputs"]
    return golden, evaluate(weights, make_task(data), network)


def mask(evaluation: Evaluation, split: str) -> torch.Tensor:
    return evaluation.task.sets[split]


def test_losses_and_weights(case):
    golden, evaluation = case
    ours = losses.losses_and_accuracies(evaluation) | {
        "excluded_loss_max": losses.excluded_loss_max(evaluation),
        "gini_W_E": sparsity.gini_W_E(evaluation),
        "gini_W_L": sparsity.gini_W_L(evaluation),
        "sum_sq_weights": sparsity.sum_sq_weights(evaluation),
    }
    for name, expected in golden["values"].items():
        assert ours[name] == pytest.approx(expected, rel=REL), name
    for name, expected in golden.get("authors", {}).items():
        assert ours[name] == pytest.approx(expected, rel=GOLDEN["authors_tolerance"]["relative"]), name


def test_key_frequencies_by_the_gap(case):
    golden, evaluation = case
    assert losses.key_freqs(evaluation) == golden["key_freqs"]
    gap, tolerance = golden["key_gap"]
    assert losses.key_gap(evaluation) == pytest.approx(gap, abs=tolerance)
    if "largest_excluded_outside_K" in golden:
        outside = [
            value for k, value in enumerate(losses.excluded_loss_k(evaluation), 1) if k not in golden["key_freqs"]
        ]
        largest = golden["largest_excluded_outside_K"]
        assert max(outside) == pytest.approx(largest["value"], rel=largest["relative"])


def test_restricted_and_excluded(case):
    golden, evaluation = case
    for name, measure in (("restricted", losses.restricted_loss), ("excluded", losses.excluded_loss)):
        for check in golden[name]:
            value = measure(evaluation, check["K"], mask(evaluation, check["split"]))
            assert value == pytest.approx(check["value"], rel=GOLDEN["tolerance_restricted_excluded"]["relative"]), (
                name,
                check,
            )
    # Without K and split: the network's own frequencies, restricted over all pairs, excluded over the train pairs.
    own = golden["key_freqs"]
    assert losses.restricted_loss(evaluation) == losses.restricted_loss(evaluation, own, mask(evaluation, "all"))
    assert losses.excluded_loss(evaluation) == losses.excluded_loss(evaluation, own, mask(evaluation, "train"))


def test_fit_of_the_logits_and_neuron_logit_map(case):
    golden, evaluation = case
    for check in golden["fit"]:
        for name in ("fve_logits", "fit_loss", "W_L_residual"):
            if name in check:
                value = getattr(fit, name)(evaluation, check["K"])
                assert value == pytest.approx(check[name], rel=GOLDEN["tolerance_fit"]["relative"]), (name, check)
        if "alphas" in check:
            found = fit.alphas(evaluation, check["K"])
            assert found == pytest.approx(check["alphas"], rel=GOLDEN["tolerance_alphas"]["relative"])
    assert fit.fve_logits(evaluation) == fit.fve_logits(evaluation, golden["key_freqs"])


def test_neurons_of_one_frequency(case):
    golden, evaluation = case
    expected, rel = golden["neurons"], GOLDEN["tolerance_neurons"]["relative"]
    for name in ("frac_neurons_85", "frac_neurons_85_weighted"):
        assert getattr(neurons, name)(evaluation) == pytest.approx(expected[name], rel=rel), name
    counts = {str(k): count for k, count in enumerate(neurons.neurons_85_k(evaluation) or [], 1) if count}
    if "above_85" in expected:
        assert counts == expected["above_85"]
        shares, best = evaluation.neuron_blocks.shares.max(0)
        below_at_3 = (best + 1 == 3) & (shares <= neurons.LEAST_SHARE)
        assert int(below_at_3.sum()) == expected["below_85_at_3"]


def test_key_frequencies_by_the_other_rules(case):
    golden, evaluation = case
    for rule, expected in golden["key_freqs_by_rule"].items():
        assert getattr(rules, f"key_freqs_by_{rule}")(evaluation) == expected, rule
