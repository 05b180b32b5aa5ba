"""Runs in lock step: each has what it has alone, bit for bit on a CPU, whoever is beside it."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import ONE_LAYER
from torch import Tensor

from grok_sweep import optimizers, train
from grok_sweep.companions import AGREE, DIFFER, OWN, Key, compatible_key, together_in_words, why_alone
from grok_sweep.config import (
    Loss,
    OptimizerConfig,
    RunConfig,
    flat,
    from_flat,
    resolved,
)
from grok_sweep.ensemble import Alone, Ensemble, in_step
from grok_sweep.measures.evaluation import evaluate
from grok_sweep.measures.losses import losses_and_accuracies
from grok_sweep.models.parameters import unflatten
from grok_sweep.phases import crossing
from grok_sweep.tasks import Task, make_task
from grok_sweep.train import Setup, TrainState

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "ensembles.json").read_text())
SMALL = {"data.p": 13, "model.d_model": 16, "optimizer.lr": 3e-3}
"""Sizes whose matrices begin at lines of the cache."""

MIXED: list[dict[str, Any]] = [
    {"data.frac_train": 0.3},
    {
        "data.operation": "divide", "data.frac_train": 0.62, "data.split_by": "torch", "data.split_seed": 3,
        "data.label_noise": 0.2, "model.init_seed": 5, "model.init_scale": 1.7, "model.output_scale": 0.6,
        "model.attention_rate": 0.3, "optimizer.lr": 1e-2, "optimizer.weight_decay": 0.3, "optimizer.beta1": 0.8,
        "optimizer.beta2": 0.99, "optimizer.eps": 1e-6, "optimizer.warmup_steps": 0,
    },
    {"data.operation": "random", "data.frac_train": 0.45, "optimizer.beta1": 0.0, "data.split": "unordered"},
    {"data.operation": "quadratic", "data.frac_train": 0.31, "model.output_scale": 3.0, "optimizer.warmup_steps": 30},
]  # fmt: skip
"""Members that differ in every setting in which they may, all at once; but momentum, which sgd alone has."""


def configs_of(members: list[dict[str, Any]], **common: Any) -> list[RunConfig]:
    shared = SMALL | {name.replace("__", "."): value for name, value in common.items()}
    found = [resolved(from_flat(shared | one)) for one in members]
    assert len({compatible_key(flat(config)) for config in found}) == 1
    assert all(config.problems() == [] for config in found)
    return found


def begun(configs: list[RunConfig]) -> tuple[list[Setup], list[TrainState]]:
    fixed = [train.setup(config, make_task(config.data)) for config in configs]
    return fixed, [train.initial_state(each) for each in fixed]


def after(fixed: Setup, state: TrainState, n_steps: int) -> TrainState:
    states = train.training(state, fixed)
    for _ in range(n_steps):
        state = next(states)
    return state


def tensors_of(state: TrainState) -> dict[str, Tensor]:
    assert state.gradient is not None
    assert state.before is not None
    return {"weights": state.weights, "gradient": state.gradient, "before": state.before, **state.optimizer.moments}


def assert_same_bits(ours: TrainState, alone: TrainState) -> None:
    assert (ours.step, ours.optimizer.n_updates) == (alone.step, alone.optimizer.n_updates)
    theirs = tensors_of(alone)
    for name, tensor in tensors_of(ours).items():
        assert torch.equal(tensor, theirs[name]), name
    assert ours.objective == pytest.approx(alone.objective, rel=1e-6)


def assert_equal_to_rounding(together: Ensemble, fixed: list[Setup], states: list[TrainState], n_steps: int) -> None:
    for member, (each, state) in enumerate(zip(fixed, states, strict=True)):
        alone = after(each, state, n_steps)
        difference = (together.state(member).weights - alone.weights).norm() / alone.weights.norm()
        assert difference < 1e-12, member


def key_of(settings: dict[str, Any]) -> Key | None:
    return compatible_key(flat(resolved(from_flat(settings))))


# --- who may train with whom --------------------------------------------------------------------------------


def test_every_setting_says_whether_members_may_differ_in_it():
    for name in flat(RunConfig()):
        of_own = any(name == own or (own.endswith(".") and name.startswith(own)) for own in OWN)
        assert [name in AGREE, name in DIFFER, of_own].count(True) == 1, name
    assert set(AGREE) | set(DIFFER) <= set(flat(RunConfig()))


OTHER = {
    "data.p": 17, "model.d_model": 32, "model.n_heads": 2, "model.d_head": 3, "model.d_mlp": 7,
    "model.activation": "gelu", "model.equals_logit": False, "model.mlp_biases": False, "model.tied": True,
    "optimizer.name": "sgd", "optimizer.decay": "l2", "optimizer.decay_target": "matrices", "loss": "mse",
    "dtype": "float64", "loss_dtype": "float32", "allow_tf32": True, "device": "cuda:1", "ensemble.size": "3",
}  # fmt: skip
ALONE = {
    "model.architecture": "mlp", "model.n_layers": 2, "model.norm": "layer", "model.dropout": 0.1, "compile": True,
    "optimizer.batch_size": 5, "data.operation": "my.operation", "measures.names": ["my.measure"],
}  # fmt: skip


@pytest.mark.parametrize("name", AGREE)
def test_what_differs_in_shape_or_step_does_not_train_together(name):
    values = {n: v for n, v in (OTHER | ALONE).items() if n == name}
    assert values, "give it another value here"
    assert key_of(SMALL | values) != key_of(SMALL)


@pytest.mark.parametrize("name", ALONE)
def test_what_has_no_step_for_many_trains_alone(name):
    assert key_of(SMALL | {name: ALONE[name]}) is None


def test_the_document_names_every_one_of_them():
    text = (Path(__file__).parents[2] / "docs" / "ensembles.md").read_text()
    named = {word.removeprefix(".") for word in re.findall(r"`([\w.]+)`", text)}
    absent = {
        "model.architecture",
        "model.n_layers",
        "model.norm",
        "model.dropout",
        "optimizer.batch_size",
        "compile",
    }
    for name in {*AGREE, *DIFFER} - absent:  # those are told in words: with others they train alone
        assert named & {name, name.rpartition(".")[2]}, name


def test_what_trains_alone_says_for_which_setting():
    found = {name: why_alone(flat(resolved(from_flat(SMALL | {name: ALONE[name]})))) for name in ALONE}
    assert found.pop("measures.names") == "measures.names with my.measure"
    assert found.pop("compile") == "compile=true"
    assert found == {name: f"{name}={ALONE[name]}" for name in found}


def test_a_launch_says_how_many_can_train_together_and_which_cannot():
    plain = flat(resolved(from_flat(SMALL | {"ensemble.size": "4"})))
    assert together_in_words([plain] * 3) == ["ensemble.size=4: 3 can train together, in a worker 4 at most"]
    others = [{"model.norm": "layer"}, {"data.p": 17}, {"compile": True}, {"model.norm": "layer"}]
    (line,) = together_in_words([plain, plain, *(plain | other for other in others)])
    assert line == (
        "ensemble.size=4: 3 can train together, in 2 groups of 1 to 2 that agree in shape and step, in a worker 4 at "
        "most; 2 train alone (model.norm=layer); 1 train alone (compile=true)"
    )
    auto = plain | {"ensemble.size": "auto"}
    assert together_in_words([auto]) == ["ensemble.size=auto: 1 can train together, in a worker as many as pay"]
    assert together_in_words([flat(resolved(from_flat(SMALL)))] * 3) == []


def test_momentum_or_none_makes_another_step():
    plain = SMALL | {"optimizer.name": "sgd"}
    keys = {m: key_of(plain | {"optimizer.momentum": m}) for m in (0.0, 0.5, 0.9)}
    assert keys[0.5] == keys[0.9] != keys[0.0]


# --- the same bits ------------------------------------------------------------------------------------------


def test_the_mixed_members_differ_in_every_setting_in_which_they_may():
    differing = {name for one in MIXED for name in one}
    assert differing == set(DIFFER) - {"optimizer.momentum"}
    for name in differing:
        assert len({flat(config)[name] for config in configs_of(MIXED)}) > 1, name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_members_that_differ_in_everything_have_the_bits_that_they_have_alone(dtype):
    fixed, states = begun(configs_of(MIXED, dtype=dtype))
    together = Ensemble(fixed, states)
    for n_steps, more in ((1, 1), (40, 39), (41, 1)):
        together.train(more)
        for member, (each, state) in enumerate(zip(fixed, states, strict=True)):
            assert_same_bits(together.state(member), after(each, state, n_steps))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", list(Loss))
@pytest.mark.parametrize("variant", [name for name in ONE_LAYER if "attention" not in name and "scale" not in name])
def test_so_it_is_in_every_network_and_loss(variant, loss, dtype):
    model = {f"model.{n}": getattr(v, "name", v) for n, v in ONE_LAYER[variant].items()}
    members = [{"data.frac_train": frac, "model.init_seed": i} for i, frac in enumerate((0.4, 0.7, 0.41))]
    fixed, states = begun(configs_of([model | one for one in members], loss=loss.name, dtype=dtype))
    together = Ensemble(fixed, states)
    together.train(7)
    for member, (each, state) in enumerate(zip(fixed, states, strict=True)):
        assert_same_bits(together.state(member), after(each, state, 7))


OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": {"optimizer.name": "adam"},
    "adamw on matrices": {"optimizer.decay_target": "matrices"},
    "adam on matrices": {"optimizer.name": "adam", "optimizer.decay_target": "matrices"},
    "sgd": {"optimizer.name": "sgd", "optimizer.lr": 0.1},
    "sgd, decoupled": {"optimizer.name": "sgd", "optimizer.lr": 0.1, "optimizer.decay": "decoupled"},
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, "momentum"])
def test_so_it_is_with_every_optimizer(optimizer, dtype):
    common = OPTIMIZERS.get(optimizer, OPTIMIZERS["sgd"])
    members = [{"optimizer.weight_decay": 10.0**-i, "model.init_seed": i} for i in range(3)]
    if optimizer == "momentum":
        members = [one | {"optimizer.momentum": m} for one, m in zip(members, (0.5, 0.9, 0.99), strict=True)]
    fixed, states = begun(configs_of([common | one for one in members], dtype=dtype))
    together = Ensemble(fixed, states)
    together.train(15)
    for member, (each, state) in enumerate(zip(fixed, states, strict=True)):
        assert_same_bits(together.state(member), after(each, state, 15))


def test_a_member_may_have_more_pairs_than_are_taken_at_a_time():
    members = [{"data.frac_train": frac, "model.init_seed": i} for i, frac in enumerate((0.6, 0.1, 0.95))]
    fixed, states = begun(configs_of(members, data__p=59, optimizer__lr=3e-3))
    assert [len(each.batch.labels) for each in fixed] == [2088, 348, 3306]
    together = Ensemble(fixed, states)
    together.train(3)
    for member, (each, state) in enumerate(zip(fixed, states, strict=True)):
        assert_same_bits(together.state(member), after(each, state, 3))


def test_one_pair_is_enough():
    """To rounding: its products are by vectors, which BLAS takes another way."""
    fixed, states = begun(configs_of([{"data.frac_train": 0.006}, {"data.frac_train": 0.9}], dtype="float64"))
    assert len(fixed[0].batch.labels) == 1
    together = Ensemble(fixed, states)
    together.train(5)
    assert_equal_to_rounding(together, fixed, states, 5)


def test_members_may_be_at_different_steps():
    """As those that were continued, or came later; across the blocks in which factors are reckoned."""
    fixed, states = begun(configs_of(MIXED))
    ahead = [after(each, state, n) for each, state, n in zip(fixed, states, (0, 11, 70, 300), strict=True)]
    together = Ensemble(fixed, ahead)
    together.train(100)
    for member, (each, state) in enumerate(zip(fixed, ahead, strict=True)):
        assert_same_bits(together.state(member), after(each, state, 100))


def test_factors_that_have_settled_are_those_that_are_reckoned():
    config = OptimizerConfig(beta1=0.5, beta2=0.9, warmup_steps=30)
    settled = optimizers.settled_after(config)
    assert settled == math.ceil(54 * math.log(2) / -math.log(0.9))
    at = [optimizers.factors(optimizers.hyper_at(config, n), n) for n in (settled - 60, settled, settled + 1, 10**6)]
    assert at[0] != at[1] == at[2] == at[3]
    assert optimizers.settled_after(replace(config, beta1=0.0, beta2=0.0)) == 30


def test_another_membership_changes_nothing():
    fixed, states = begun(configs_of(MIXED))
    first = Ensemble(fixed, states)
    first.train(10)
    left = [0, 2, 3]
    second = Ensemble([fixed[i] for i in left], [first.state(i) for i in left])
    second.train(10)
    for member, i in enumerate(left):
        assert_same_bits(second.state(member), after(fixed[i], states[i], 20))


def test_a_state_of_nobodys_doing_has_no_last_update():
    fixed, states = begun(configs_of(MIXED))
    (state, *_) = [Ensemble(fixed, states).state(i) for i in range(4)]
    assert (state.step, state.objective, state.gradient, state.before) == (0, None, None, None)
    assert torch.equal(state.weights, states[0].weights)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("evenly", [False, True], ids=["bit for bit", "as on a GPU"])
def test_each_is_its_single_run_for_a_thousand_steps_through_grokking(evenly):
    """float64, p = 59; the first of them memorises by step 100 and groks by 1,000 (tests/unit/test_train.py)."""
    members = [
        {"data.frac_train": 0.5},
        {"data.frac_train": 0.45, "data.split_seed": 1, "model.init_seed": 1, "optimizer.weight_decay": 2.0},
        {"data.frac_train": 0.5, "optimizer.lr": 2e-3, "model.init_seed": 2, "optimizer.eps": 1e-7},
    ]
    fixed, states = begun(configs_of(members, data__p=59, model__d_model=64, dtype="float64"))
    tasks = [make_task(each.config.data) for each in fixed]
    together, alone = Ensemble(fixed, states, evenly), list(states)
    looks, worst = range(20, 1001, 20), 0.0
    accuracies: dict[tuple[str, int], list[float]] = {}
    for step in looks:
        together.train(20)
        for i, each in enumerate(fixed):
            alone[i] = after(each, alone[i], 20)
            for name, state in (("together", together.state(i)), ("alone", alone[i])):
                assert state.step == step
                accuracies.setdefault((name, i), []).append(_test_acc(state, each, tasks[i]))
            worst = max(worst, _difference(together.state(i), alone[i]))
            assert together.state(i).objective == pytest.approx(alone[i].objective, rel=1e-9)
    print(f"largest relative difference: {worst:.1e}")
    assert worst <= (GOLDEN["float64_through_grokking"]["tolerance"] if evenly else 0.0)
    t_test = {key: crossing(list(looks), values, 0.9).first for key, values in accuracies.items()}
    print(t_test)
    assert all(t_test["together", i] == t_test["alone", i] for i in range(3))
    assert t_test["together", 0] is not None, "it was to grok within 1,000 steps"
    assert accuracies["together", 0][4] < 0.9, "at step 100 it was to have memorised only"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_in_float32_with_sums_in_another_order_seeds_grok_as_early():
    """p = 31: ten steps of warm-up stay together, and what rounding does after that favours nobody.

    Laid as on a GPU; and each member's pairs in another order, since on a CPU the layout alone changes no bit here.
    """
    n = 16
    members = [{"data.split_seed": i, "model.init_seed": i, "data.frac_train": (0.7, 0.75)[i % 2]} for i in range(n)]
    fixed, states = begun(configs_of(members, data__p=31, model__d_model=32))
    tasks = [make_task(each.config.data) for each in fixed]
    together, alone = Ensemble([_reordered(each, i) for i, each in enumerate(fixed)], states, evenly=True), states
    t_test: dict[tuple[str, int], int] = {}
    while len(t_test) < 2 * n:
        together.train(10)
        alone = [after(each, state, 10) for each, state in zip(fixed, alone, strict=True)]
        if alone[0].step == 10:
            worst = max(_difference(together.state(i), alone[i]) for i in range(n))
            print(f"after ten steps: {worst:.1e}")
            assert 0 < worst < GOLDEN["ten_float32_steps"]["tolerance"]
        for i in range(n):
            for way, state in (("together", together.state(i)), ("alone", alone[i])):
                if (way, i) not in t_test and _test_acc(state, fixed[i], tasks[i]) >= 0.9:
                    t_test[way, i] = state.step
        assert alone[0].step < 4000, "all of them were to grok by now"
    ratios = torch.tensor([math.log(t_test["together", i] / t_test["alone", i]) for i in range(n)])
    student = 1.753  # 95 % of it, with 15 degrees of freedom
    mean, half_width = float(ratios.mean()), student * float(ratios.std()) / n**0.5
    print(f"log t_test, together over alone: {mean:+.4f}, 90 % interval +- {half_width:.4f}; {t_test}")
    assert abs(mean) + half_width < GOLDEN["log_t_test_of_16_seeds"]["tolerance"]


def _reordered(fixed: Setup, seed: int) -> Setup:
    order = torch.randperm(len(fixed.batch.labels), generator=torch.Generator().manual_seed(seed))
    return replace(fixed, batch=fixed.batch[order])


def _difference(ours: TrainState, theirs: TrainState) -> float:
    return float((ours.weights - theirs.weights).norm() / theirs.weights.norm())


def _test_acc(state: TrainState, fixed: Setup, task: Task) -> float:
    evaluation = evaluate(unflatten(state.weights, fixed.shapes), task, fixed.network)
    return losses_and_accuracies(evaluation)["test_acc"]


# --- one that breaks ----------------------------------------------------------------------------------------

BREAKS = {"optimizer.name": "sgd", "optimizer.weight_decay": 0.0}


def test_one_that_breaks_is_seen_at_its_step_and_harms_nobody():
    members = [BREAKS | {"optimizer.lr": lr, "model.init_seed": i} for i, lr in enumerate((0.1, 400.0, 0.2))]
    fixed, states = begun(configs_of(members))
    alone = states[1]
    while alone.objective is None or math.isfinite(alone.objective):
        alone = after(fixed[1], alone, 1)
    assert 2 < alone.step < 60
    together = Ensemble(fixed, states)
    together.train(alone.step - 1)
    assert math.isfinite(together.state(1).objective or 0.0)
    together.train(100)
    broken = together.state(1)
    assert broken.step == alone.step
    assert not math.isfinite(broken.objective or 0.0)
    for member in (0, 2):
        assert_same_bits(together.state(member), after(fixed[member], states[member], alone.step + 99))


@pytest.mark.parametrize("lr", [0.1, 400.0])
def test_one_by_itself_is_an_ensemble_of_one(lr):
    """Up to the step at which it breaks, where it does."""
    fixed, states = begun(configs_of([BREAKS | {"optimizer.lr": lr}]))
    by_itself, of_one = in_step(fixed, states), Ensemble(fixed, states)
    assert isinstance(by_itself, Alone)
    for n_steps in (1, 2, 60):
        by_itself.train(n_steps)
        of_one.train(n_steps)
        ours, theirs = by_itself.state(0), of_one.state(0)
        assert ours.step == theirs.step
        assert ours.objective == pytest.approx(theirs.objective, rel=1e-6, nan_ok=True) or theirs.step < 63
        if theirs.step == 63:
            assert_same_bits(ours, theirs)
    assert by_itself.is_as_alone()
    assert (by_itself.state(0).step < 63) == (lr == 400.0)


def test_broken_once_is_broken(monkeypatch):
    """Its numbers may be finite again by the time that somebody looks."""
    fixed, states = begun(configs_of(MIXED[:2]))
    together, taken = Ensemble(fixed, states), []

    def broken_once(logits: Tensor, labels: Tensor, loss_dtype: torch.dtype, n_pairs: Any) -> tuple[Tensor, Tensor]:
        losses, by_logits = train.cross_entropies(logits, labels, loss_dtype, n_pairs)
        taken.append(1)
        return (losses * math.nan if len(taken) == 3 else losses), by_logits

    monkeypatch.setattr(train, "OBJECTIVES", {Loss.cross_entropy: broken_once})
    together.train(9)
    for member in range(2):
        assert together.state(member).step == 3
        assert not math.isfinite(together.state(member).objective or 0.0)


# --- as a GPU would have it ---------------------------------------------------------------------------------


def test_laid_evenly_it_is_the_same_to_rounding():
    """Pairs of all members in one product; places without a pair come to nothing."""
    members = [one | {"model.init_seed": i} for i, one in enumerate([*MIXED, {"data.frac_train": 0.3}])]
    members.sort(key=lambda one: -one["data.frac_train"])
    fixed, states = begun(configs_of(members, dtype="float64"))
    together = Ensemble(fixed, states, evenly=True)
    groups = [(group.members.start, group.members.stop) for group in together._pairs.groups]
    assert groups == [(0, 1), (1, 2), (2, 5)], "three share their size: 52, 50 and 50 pairs"
    together.train(30)
    assert_equal_to_rounding(together, fixed, states, 30)


def test_a_step_in_place_is_the_step():
    """What a CUDA graph repeats: the new numbers stand where the old ones stood."""
    fixed, states = begun(configs_of(MIXED))
    freely, in_place = Ensemble(fixed, states), Ensemble(fixed, states)
    at = in_place._now.weights.data_ptr()
    for _ in range(5):
        freely.train(1)
        (row,) = in_place._factors(1)
        in_place._now.become(in_place._step(in_place._now, in_place._by(row)))
        in_place._n_taken += 1
    in_place.__dict__.pop("_facts", None)
    assert in_place._now.weights.data_ptr() == at
    for member in range(len(fixed)):
        assert_same_bits(in_place.state(member), freely.state(member))


def test_it_finds_out_whether_its_bits_are_those_of_each_alone(monkeypatch):
    fixed, states = begun(configs_of(MIXED))
    together = Ensemble(fixed, states)
    assert together.is_as_alone()
    assert together.state(0).step == 0
    together.train(3)
    assert together.is_as_alone()
    monkeypatch.setattr(train, "OBJECTIVES", {Loss.cross_entropy: _slightly_other})
    assert not together.is_as_alone()


def _slightly_other(logits: Tensor, labels: Tensor, loss_dtype: torch.dtype, n_pairs: Any) -> tuple[Tensor, Tensor]:
    losses, by_logits = train.cross_entropies(logits, labels, loss_dtype, n_pairs)
    return losses, by_logits * (1 + 1e-6)
