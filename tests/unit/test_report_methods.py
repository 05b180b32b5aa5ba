"""The methods paragraph: it says what the settings say, all of what changes numbers, and nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest

from analysis.report.methods import Outcome, decay, methods, task
from grok_sweep.config import OPERATIONS, RunConfig, flat, from_flat, identity_of, resolved

DONE = Outcome(n_pairs=12769, n_train=3830, step=40_000, state="done")
MLP = {"model.architecture": "mlp", "model.equals_logit": False}
QUADRATIC = {
    "model.architecture": "quadratic", "model.activation": "square", "model.equals_logit": False,
    "model.mlp_biases": False, "model.d_mlp": 500,
}  # fmt: skip


def settings(**changes: Any) -> dict[str, Any]:
    """The paper's with these changed, under their flat names with a double underscore for the dot."""
    given = {name.replace("__", "."): value for name, value in changes.items()}
    config = from_flat(flat(RunConfig()) | given)
    assert config.problems() == []
    return flat(resolved(config))


def of(outcome: Outcome = DONE, **changes: Any) -> str:
    return methods(settings(**changes), outcome)


def test_the_papers_mainline():
    assert of(Outcome(12769, 3830, 40_000, "done", 9.1224e-8, 2.532e-7, 40_000)) == (
        "We trained a one-layer transformer (d_model 128, four attention heads of width 32, 512 ReLU neurons, no "
        'LayerNorm, biases in the MLP only, 114 outputs, the 113 answers and "="), which reads a, b and "=" and '
        'answers at "=", to give (a + b) mod 113 for a pair (a, b). Of the 12,769 pairs it was trained on 3,830, the '
        "fraction 0.3 of ordered pairs (random.shuffle of Python, seed 0); the other 8,939 were the test pairs. The "
        "objective was the mean cross-entropy over all outputs; its log-softmax was computed in float64, "
        "everything else in float32. We used AdamW (β1 0.9, β2 0.98, eps 1e-8) with learning rate 0.001 after a "
        "linear warm-up of ten updates (the first has none) and decoupled weight decay 1 on all parameters, all "
        "train pairs at each step. Initial weights were drawn with seed 0. Training took 40,000 steps. At step "
        "40,000 the train loss was 9.12e-8 and the test loss 2.53e-7 nats: mean cross-entropies over the 113 "
        "answers, in float64, of a network in float32 (ordered split, fraction 0.3, weight decay 1 (decoupled), "
        "eps 1e-8)."
    )


CHANGES: dict[str, Any] = {
    "data.operation": "subtract", "data.p": 97, "data.frac_train": 0.4, "data.split": "unordered",
    "data.split_by": "torch", "data.split_seed": 3, "data.label_noise": 0.1, "model.n_layers": 2,
    "model.d_model": 64, "model.n_heads": 2, "model.d_head": 16, "model.d_mlp": 100, "model.activation": "gelu",
    "model.equals_logit": False, "model.init_seed": 7, "model.norm": "layer", "model.mlp_biases": False,
    "model.tied": True, "model.dropout": 0.2, "model.init_scale": 2.0, "model.output_scale": 0.5,
    "model.attention_rate": 0.3, "model.architecture": "my_models.Net", "optimizer.name": "adam",
    "optimizer.lr": 2e-3,
    "optimizer.weight_decay": 0.5, "optimizer.beta1": 0.8, "optimizer.beta2": 0.99, "optimizer.eps": 1e-6,
    "optimizer.warmup_steps": 0, "optimizer.decay_target": "matrices", "optimizer.batch_size": 512, "loss": "mse",
    "dtype": "float64", "loss_dtype": "float32", "allow_tf32": True,
}  # fmt: skip
ELSEWHERE = {"optimizer.momentum": "sgd alone", "optimizer.decay": "follows the optimizer"}


def test_every_setting_that_changes_numbers_is_tried_here():
    in_identity = {name for name in flat(RunConfig()) if name.startswith(("data.", "model.", "optimizer."))}
    in_identity |= {"loss", "dtype", "loss_dtype", "allow_tf32"}
    assert in_identity == CHANGES.keys() | ELSEWHERE.keys()
    assert identity_of(settings()).keys() <= in_identity


@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_that_changes_numbers_changes_the_paragraph(name):
    assert of(**{name: CHANGES[name]}) != of()


@pytest.mark.parametrize("name, value", [("logger.project", "secret"), ("sweep", "a"), ("snapshots.n", 77)])
def test_what_changes_no_number_is_not_said(name, value):
    assert of(**{name: value}) == of()


def test_decay_is_never_named_without_its_kind():
    assert "decoupled weight decay 0.5" in of(optimizer__weight_decay=0.5)
    l2 = of(optimizer__name="adam", optimizer__weight_decay=0.5)
    assert "an L2 term in the gradient, 0.5 times the weights" in l2
    assert "decoupled" not in l2
    assert decay(settings(optimizer__name="sgd")) == "weight decay 1 (L2)"
    assert "decoupled weight decay 1" in of(optimizer__name="sgd", optimizer__decay="decoupled")
    assert "no weight decay" in of(optimizer__weight_decay=0.0)
    assert "matrices only" in of(optimizer__decay_target="matrices")


def test_sgd_has_no_eps_and_no_betas():
    text = of(Outcome(12769, 3830, 40_000, "done", 0.1, 0.2, 40_000), optimizer__name="sgd", optimizer__momentum=0.9)
    assert "gradient descent with momentum 0.9" in text
    assert not re.search(r"\beps\b", text)
    assert "β" not in text


def test_losses_stand_beside_what_they_depend_on():
    text = of(
        Outcome(12769, 3830, 500, "running", 0.25, 1.5, 497),
        optimizer__eps=1e-6, optimizer__weight_decay=3.0, data__split="unordered", dtype="float64",
    )  # fmt: skip
    final = text[text.index("At step 497") :]
    for said in ("0.25", "1.5", "unordered split", "weight decay 3 (decoupled)", "eps 1e-6", "network in float64"):
        assert said in final
    assert "everything was computed in float64" in text


def test_without_rows_no_loss_is_said():
    assert "train loss was" not in of(Outcome(None, None, 0, "running"))


@pytest.mark.parametrize(
    "outcome, changes, said",
    [
        (Outcome(9, 3, 40_000, "done"), {}, "Training took 40,000 steps."),
        (
            Outcome(9, 3, 700, "done"), {"stop.test_loss": 0.01, "stop.more_steps": 100},
            "ended at step 700 of 40,000, 100 steps after the first logged test loss below 0.01.",
        ),
        (Outcome(9, 3, 700, "diverged"), {}, "Training diverged at step 700 of 40,000."),
        (Outcome(9, 3, 700, "failed"), {}, "Training broke off at step 700 of 40,000."),
        (Outcome(9, 3, 700, "running"), {}, "Training stood at step 700 of 40,000."),
    ],
)  # fmt: skip
def test_how_far_it_got(outcome, changes, said):
    assert said in of(outcome, **changes)


@pytest.mark.parametrize("operation", [*OPERATIONS, "my_operations.power"])
@pytest.mark.parametrize("model", [{}, MLP, QUADRATIC, {"model.n_layers": 3, "model.norm": "layer"}])
def test_every_task_and_network_has_a_paragraph_in_whole_sentences(operation, model):
    text = of(data__operation=operation, **model)
    assert not re.search(
        r"None|null|\(\)|  | ,|[a-z]\.[A-Za-z]",
        text.replace("my_operations.power", "X").replace("random.shuffle", "X"),
    )
    assert text.startswith("We trained a ")
    assert text.endswith(".")


def test_tasks_by_their_formulas():
    assert task(settings(data__operation="quadratic", data__p=97)) == "(a² + ab + b²) mod 97"
    assert task(settings(data__operation="multiply")) == "ab mod 113"
    assert "drawn once at random from 0..112" in of(data__operation="random")
    assert "(b is never 0)" in of(data__operation="divide")
    assert "the operation my_ops.f mod 113" in of(data__operation="my_ops.f")


def test_networks():
    assert "a two-layer transformer" in of(model__n_layers=2)
    assert "512 ReLU neurons a layer" in of(model__n_layers=2)
    assert "without attention" in of(**MLP)
    assert "113 outputs)" in of(**MLP)
    assert "one-hot operands (500 squaring neurons, no biases" in of(**QUADRATIC)
    own = of(model__architecture="my_models.Net")
    assert own.startswith("We trained the network my_models.Net to give")
    assert "attention" not in own
