"""The update rules: thirty float64 steps of each equal torch.optim's, on the plain reference's training."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from networks import LAYER_NORM, OTHERS, SMALL, STEPS_TOLERANCE, reference_of
from reference import ReferenceTraining, pairs_and_labels

from grok_sweep import optimizers, train
from grok_sweep.config import (
    DataConfig,
    Decay,
    DecayTarget,
    Dtype,
    Loss,
    ModelConfig,
    OptimizerConfig,
    OptimizerName,
    RunConfig,
    resolved,
)
from grok_sweep.models.parameters import flatten, unflatten
from grok_sweep.tasks import make_task

MATRICES = {"decay_target": DecayTarget.matrices}
ADAM = {"name": OptimizerName.adam, "lr": 3e-3, "weight_decay": 0.3}
SGD = {"name": OptimizerName.sgd, "lr": 0.03, "weight_decay": 0.1}
DECOUPLED = SGD | {"decay": Decay.decoupled}

RULES: list[dict[str, Any]] = [
    {},
    {"weight_decay": 0.0},
    {"beta1": 0.7, "beta2": 0.999, "eps": 1e-4, "lr": 3e-3},
    {"warmup_steps": 0},
    {"warmup_steps": 3},
    MATRICES,
    ADAM,
    ADAM | {"warmup_steps": 0, "beta1": 0.5, "eps": 1e-3},
    ADAM | MATRICES,
    SGD,
    SGD | {"warmup_steps": 0},
    SGD | {"momentum": 0.9},
    SGD | {"momentum": 0.9, "weight_decay": 0.0},
    SGD | {"momentum": 0.9} | MATRICES,
    DECOUPLED,
    DECOUPLED | {"momentum": 0.9},
    DECOUPLED | {"momentum": 0.9, "warmup_steps": 0} | MATRICES,
]

MODELS: dict[str, dict[str, Any]] = {
    "paper": {},
    "layers": {"n_layers": 2, "tied": True} | LAYER_NORM,
    "mlp": OTHERS["mlp"],
}
"""Their parameters have names with dots, one axis, and biases that start at 0."""


def spelled(rule: dict[str, Any]) -> str:
    return ", ".join(f"{n}={getattr(v, 'name', v)}" for n, v in rule.items()) or "adamw"


def settings(rule: dict[str, Any], model: dict[str, Any] | None = None, loss: Loss = Loss.cross_entropy) -> RunConfig:
    return resolved(
        RunConfig(
            data=DataConfig(p=11, frac_train=0.6),
            model=ModelConfig(**(SMALL | (model or {}))),
            optimizer=OptimizerConfig(**({"lr": 1e-2} | rule)),
            dtype=Dtype.float64,
            loss=loss,
        )
    )


def after_steps(config: RunConfig, n_steps: int = 30) -> float:
    """Largest relative difference over the weight tensors between ours and torch.optim's after so many steps."""
    task, o = make_task(config.data), config.optimizer
    fixed = train.setup(config, task)
    state = train.initial_state(fixed)
    tokens, labels = pairs_and_labels(config.data.p)
    is_own_decay = o.name is OptimizerName.sgd and o.decay is Decay.decoupled
    reference = ReferenceTraining(
        unflatten(state.weights, fixed.shapes),
        tokens[task.train_mask],
        labels[task.train_mask],
        logits=reference_of(fixed.network), loss=config.loss.name,
        optimizer="sgd decoupled" if is_own_decay else o.name.name,
        lr=o.lr, weight_decay=o.weight_decay, betas=(o.beta1, o.beta2), eps=o.eps, momentum=o.momentum,
        warmup_steps=o.warmup_steps, matrices_only=o.decay_target is DecayTarget.matrices,
    )  # fmt: skip
    states = train.training(state, fixed)
    for _ in range(n_steps):
        state, loss = next(states), reference.step()
        assert state.objective == pytest.approx(loss, rel=1e-10)
    assert float((state.weights - train.initial_state(fixed).weights).norm()) > 0.1, "nothing was trained"
    ours = unflatten(state.weights, fixed.shapes)
    plain = {name: w.detach() for name, w in reference.weights.items()}
    return max(float((ours[name] - w).norm() / w.norm()) for name, w in plain.items())


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("rule", RULES, ids=spelled)
def test_thirty_steps_equal_torchs(rule, model):
    assert after_steps(settings(rule, MODELS[model])) < STEPS_TOLERANCE


@pytest.mark.parametrize("rule", [SGD | {"lr": 3.0, "weight_decay": 1e-3}, ADAM], ids=spelled)
def test_thirty_steps_on_the_squared_error_equal_torchs(rule):
    assert after_steps(settings(rule, OTHERS["mlp"], Loss.mse)) < STEPS_TOLERANCE


def test_the_first_update_changes_nothing_and_the_warm_up_is_linear():
    config = settings({})
    fixed = train.setup(config, make_task(config.data))
    state = train.initial_state(fixed)
    first = next(train.training(state, fixed))
    assert torch.equal(first.weights, state.weights)
    lrs = [optimizers.hyper_at(config.optimizer, i).lr for i in range(13)]
    assert lrs == pytest.approx([1e-2 * min(i / 10, 1) for i in range(13)], rel=1e-15)


# --- laws ---------------------------------------------------------------------------------------------------


def one_step(rule: dict[str, Any], gradient: torch.Tensor, weights: torch.Tensor, n_steps: int = 1) -> torch.Tensor:
    """The weights after steps with the same gradient each."""
    config = resolved(RunConfig(optimizer=OptimizerConfig(**({"warmup_steps": 0} | rule)))).optimizer
    state = optimizers.start(config, weights)
    for _ in range(n_steps):
        hyper = optimizers.hyper_at(config, state.n_updates)
        weights, state = optimizers.updated(config.name, weights, gradient, state, hyper)
    return weights


WEIGHTS = torch.tensor([2.0, -3.0, 0.5], dtype=torch.float64)
NO_GRADIENT = torch.zeros(3, dtype=torch.float64)


@pytest.mark.parametrize("name", [OptimizerName.adamw, OptimizerName.sgd])
def test_decoupled_decay_alone_shrinks_every_weight_by_the_same_share(name):
    rule = {"name": name, "decay": Decay.decoupled, "lr": 0.1, "weight_decay": 0.5}
    assert torch.allclose(one_step(rule, NO_GRADIENT, WEIGHTS, 7), WEIGHTS * 0.95**7, rtol=1e-14)


def test_l2_in_sgd_without_momentum_is_decoupled_decay():
    gradient = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    l2, decoupled = (one_step(SGD | {"decay": decay}, gradient, WEIGHTS) for decay in Decay)
    assert torch.allclose(l2, decoupled, rtol=1e-14)
    l2, decoupled = (one_step(SGD | {"decay": d, "momentum": 0.9}, gradient, WEIGHTS, 5) for d in Decay)
    assert not torch.allclose(l2, decoupled, rtol=1e-6), "momentum carries the L2 on"


def test_l2_in_adam_moves_large_and_small_weights_alike():
    """Adam divides by the gradient's size: as a first gradient, decay alone moves each weight by lr towards 0."""
    moved = one_step(ADAM | {"eps": 1e-30}, NO_GRADIENT, WEIGHTS)
    assert torch.allclose(WEIGHTS - moved, 3e-3 * WEIGHTS.sign(), rtol=1e-12)


def test_momentum_sums_to_a_longer_step():
    """The same gradient for long moves by lr / (1 - momentum) a step: Polyak's heavy ball."""
    rule = {"name": OptimizerName.sgd, "lr": 0.1, "weight_decay": 0.0, "momentum": 0.8}
    gradient = torch.ones(3, dtype=torch.float64)
    last = one_step(rule, gradient, WEIGHTS, 200) - one_step(rule, gradient, WEIGHTS, 199)
    assert torch.allclose(last, -gradient * 0.1 / 0.2, rtol=1e-12)


@pytest.mark.parametrize("rule", [{}, ADAM, SGD, DECOUPLED], ids=spelled)
def test_decay_of_matrices_leaves_biases_and_layer_norms_alone(rule):
    """Beside no decay at all, from the same state."""
    config = settings(rule | {"warmup_steps": 0}, MODELS["layers"])
    fixed = train.setup(config, make_task(config.data))
    state = train.initial_state(fixed)
    state = replace(state, weights=state.weights + 0.1)
    after = {}
    for decay, target in ((0.3, DecayTarget.matrices), (0.0, DecayTarget.matrices), (0.3, DecayTarget.all)):
        hyper = replace(optimizers.hyper_at(config.optimizer, 0), weight_decay=decay)
        masked = replace(fixed, mask=optimizers.decay_mask(fixed.shapes, target, state.weights))
        after[decay, target] = unflatten(train.step(state, masked, hyper).weights, fixed.shapes)
    matrices, none, every = after.values()
    for name, shape in fixed.shapes.items():
        has_one_axis = len(shape) == 1
        assert torch.equal(matrices[name], none[name]) == has_one_axis, name
        assert torch.equal(matrices[name], every[name]) != has_one_axis, name


@pytest.mark.parametrize("rule", [{}, ADAM, SGD, SGD | {"momentum": 0.9}], ids=spelled)
def test_packed_and_unpacked_a_state_goes_on_to_the_same_bits(rule):
    config = settings(rule, MODELS["layers"])
    fixed = train.setup(config, make_task(config.data))
    states = train.training(train.initial_state(fixed), fixed)
    for _ in range(5):
        state = next(states)
    packed = train.pack(state, fixed.shapes)
    means = {name.partition("/")[0] for name in packed if "/" in name}
    assert means == set(optimizers.moment_names(config.optimizer))
    again = train.unpack({name: t.clone() for name, t in packed.items()}, 5, fixed)
    expected, found = next(states), next(train.training(again, fixed))
    assert torch.equal(found.weights, expected.weights)
    assert flatten(unflatten(found.weights, fixed.shapes), fixed.shapes).equal(expected.weights)
    assert found.optimizer.n_updates == expected.optimizer.n_updates == 6
    for name, mean in expected.optimizer.moments.items():
        assert torch.equal(found.optimizer.moments[name], mean), name
