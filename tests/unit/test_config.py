"""Settings: the defaults are the paper's mainline, names and files are inverse, identity is what changes numbers."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import types
import typing
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grok_sweep import config as config_module
from grok_sweep.config import (
    DataConfig,
    Dtype,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    flat,
    from_flat,
    identity,
    require_valid,
    resolved,
    run_id,
)

ROOT = Path(__file__).parents[2]

MAINLINE_IDENTITY = {
    # Nanda et al. 2023, section 3 and appendix A; where the text is silent, the authors' published code.
    "data.operation": "add",
    "data.p": 113,
    "data.frac_train": 0.3,
    "data.split": "ordered",
    "data.split_by": "paper",
    "data.split_seed": 0,
    "model.architecture": "transformer",
    "model.d_model": 128,
    "model.n_heads": 4,
    "model.d_head": 32,
    "model.d_mlp": 512,
    "model.activation": "relu",
    "model.equals_logit": True,
    "model.init_seed": 0,
    "optimizer.name": "adamw",
    "optimizer.lr": 1e-3,
    "optimizer.weight_decay": 1.0,
    "optimizer.beta1": 0.9,
    "optimizer.beta2": 0.98,
    "optimizer.eps": 1e-8,
    "optimizer.warmup_steps": 10,
    "optimizer.decay_target": "all",
    "dtype": "float32",
    "loss_dtype": "float64",
    "allow_tf32": False,
}
"""Every setting that changes the numbers, spelled out, as the default has it."""

MAINLINE_RUN_ID = "eebe889119a5"
"""Golden. To change it is right only together with IDENTITY_VERSION, on purpose: every folder that a user has
trained loses its name, and every sweep trains anew. A setting that is added goes into ADDED_LATER instead."""

OTHER_VALUES = {
    "data.frac_train": 0.37,
    "data.split": "unordered",
    "data.split_by": "torch",
    "model.d_model": 64,
    "model.n_heads": 2,
    "model.d_head": 11,
    "model.d_mlp": 101,
    "model.activation": "gelu",
    "data.operation": "subtract",
    "data.label_noise": 0.1,
    "model.architecture": "own.Network",
    "model.norm": "layer",
    "model.dropout": 0.1,
    "model.attention_rate": 0.5,
    "optimizer.name": "adam",
    "optimizer.batch_size": 512,
    "loss": "mse",
    "optimizer.lr": 3e-3,
    "optimizer.beta1": 0.7,
    "optimizer.beta2": 0.97,
    "optimizer.decay_target": "matrices",
    "measures.names": ["gini_W_E"],
    "measures.every": 7,
    "measures.loss_every": 3,
    "logger.kind": "none",
    "logger.mode": "online",
    "logger.entity": "someone",
    "logger.tags": ["a"],
    "stop.test_loss": 1e-5,
    "phases.accuracy": 0.97,
    "dtype": "float64",
    "loss_dtype": "float32",
    "device": "cpu",
    "sweep": "elsewhere",
    "ensemble.size": "auto",
}
"""A valid value other than the default, where `other` cannot make one up."""

ONLY_WITH_OTHERS = {"optimizer.decay", "optimizer.momentum"}
"""Settings whose other values need another optimizer beside them."""


def other(name: str) -> Any:
    default = flat(RunConfig())[name]
    if name in OTHER_VALUES:
        return OTHER_VALUES[name]
    if isinstance(default, bool):
        return not default
    return default + "x" if isinstance(default, str) else default + 1


def with_settings(**changes: Any) -> RunConfig:
    """RunConfig with dotted settings, written with __ for the dot."""
    return from_flat({name.replace("__", "."): value for name, value in changes.items()})


# --- defaults -----------------------------------------------------------------------------------------------


def test_defaults_are_the_papers_mainline():
    assert identity(RunConfig()) == MAINLINE_IDENTITY
    assert RunConfig().n_steps == 40_000
    assert RunConfig().problems() == []


def test_defaults_of_times_and_phases():
    phases = RunConfig().phases
    assert (phases.accuracy, phases.gap, phases.budget) == (0.9, 1.0, 100_000)


def test_two_configs_share_no_mutable_part():
    one, two = RunConfig(), RunConfig()
    one.data.p = 59
    one.measures.names.append("gini_W_E")
    assert two == RunConfig()


# --- flat and from_flat -------------------------------------------------------------------------------------


def _strategy(hint: Any) -> st.SearchStrategy[Any]:
    if typing.get_origin(hint) is types.UnionType:
        return st.none() | _strategy(typing.get_args(hint)[0])
    if typing.get_origin(hint) is list:
        return st.lists(_strategy(typing.get_args(hint)[0]), max_size=3)
    if issubclass(hint, Enum):
        return st.sampled_from([member.name for member in hint])
    if hint is float:
        return st.floats(allow_nan=False, allow_infinity=False).map(lambda x: float(format(x, ".12g")) + 0.0)
    return {int: st.integers(-(2**70), 2**70), bool: st.booleans(), str: st.text(max_size=5)}[hint]


def _strategies(cls: type, prefix: str = "") -> dict[str, st.SearchStrategy[Any]]:
    out: dict[str, st.SearchStrategy[Any]] = {}
    for f, hint in ((f, typing.get_type_hints(cls)[f.name]) for f in fields(cls)):
        name = prefix + f.name
        out |= _strategies(hint, name + ".") if is_dataclass(hint) else {name: _strategy(hint)}
    return out


ALL_SETTINGS = st.fixed_dictionaries(_strategies(RunConfig))
SOME_SETTINGS = st.fixed_dictionaries({}, optional=_strategies(RunConfig))
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(ALL_SETTINGS)
def test_flat_is_the_inverse_of_from_flat(values: dict[str, Any]):
    config = from_flat(values)
    assert flat(config) == values
    assert from_flat(flat(config)) == config


@QUICK
@given(SOME_SETTINGS)
def test_settings_survive_a_json_file(values: dict[str, Any]):
    assert from_flat(json.loads(json.dumps(flat(from_flat(values)), allow_nan=False))) == from_flat(values)


@QUICK
@given(SOME_SETTINGS)
def test_missing_settings_take_their_default(values: dict[str, Any]):
    assert flat(from_flat(values)) == flat(RunConfig()) | values


def test_settings_are_named_as_on_the_command_line():
    names = set(flat(RunConfig()))
    assert {"data.p", "optimizer.weight_decay", "measures.loss_every", "n_steps", "stop.test_loss"} <= names
    assert not any(is_dataclass(value) or isinstance(value, Enum) for value in flat(RunConfig()).values())


def test_enums_may_be_given_as_members():
    assert from_flat({"dtype": Dtype.float64}) == from_flat({"dtype": "float64"})


@pytest.mark.parametrize(
    "name, value, kind",
    [
        ("data.p", "113", "int"),
        ("data.p", 113.5, "int"),
        ("data.p", True, "int"),
        ("data.p", None, "int"),
        ("data.p", float("inf"), "int"),
        ("data.p", float("nan"), "int"),
        ("optimizer.lr", "1e-3", "float"),
        ("optimizer.lr", False, "float"),
        ("optimizer.lr", 10**400, "float"),
        ("model.equals_logit", 1, "bool"),
        ("model.d_mlp", "wide", "int or null"),
        ("data.split", "both", "ordered|unordered"),
        ("dtype", "float16", "float32|float64"),
        ("dtype", 32, "float32|float64"),
        ("sweep", 3, "str or null"),
        ("measures.names", "gini_W_E", "list"),
        ("measures.names", ["gini_W_E", 3], "list"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_the_type_it_should_have(name: str, value: Any, kind: str):
    with pytest.raises(ValueError, match="wrong settings") as caught:
        from_flat({name: value})
    assert str(caught.value) == f"wrong settings:\n- {name}: {value!r} is no {kind}"


def test_unknown_names_and_wrong_types_are_reported_together():
    with pytest.raises(ValueError, match="wrong settings") as caught:
        from_flat({"data.pp": 5, "n_steps": "many", "data.p": 31, "optimizer.lr": None, "data": {}})
    assert str(caught.value).splitlines() == [
        "wrong settings:",
        "- optimizer.lr: None is no float",
        "- n_steps: 'many' is no int",
        "- unknown setting 'data.pp'",
        "- unknown setting 'data'",
    ]


# --- checks -------------------------------------------------------------------------------------------------

WRONG = [
    # settings, what the one message must hold: name, rule, value met, and a way out where there is one
    ({"data.p": 2}, ["data.p", "at least 3", "got 2"]),
    ({"data.frac_train": 0.0}, ["data.frac_train", "(0, 1)", "got 0.0"]),
    ({"data.frac_train": 1}, ["data.frac_train", "(0, 1)", "both sides", "got 1.0"]),
    ({"data.frac_train": float("nan")}, ["data.frac_train", "got nan"]),
    ({"data.p": 7, "data.frac_train": 0.02}, ["data.frac_train=0.02", "49 pairs", "data.p=7", "raise it"]),
    ({"data.p": 7, "data.frac_train": 0.03, "data.split": "unordered"}, ["data.frac_train=0.03", "28 pairs"]),
    ({"data.split_seed": -1}, ["data.split_seed", "0..2^63-1", "got -1"]),
    ({"data.split_seed": 2**63}, ["data.split_seed", f"got {2**63}"]),
    ({"model.d_model": 0, "model.d_head": 3}, ["model.d_model", "at least 1", "got 0"]),
    ({"model.n_heads": 0}, ["model.n_heads", "at least 1", "got 0"]),
    ({"model.d_head": 0}, ["model.d_head", "at least 1", "got 0"]),
    ({"model.d_mlp": -5}, ["model.d_mlp", "at least 1", "got -5"]),
    (
        {"model.d_model": 130},
        ["model.d_model=130", "not a multiple of model.n_heads=4", "change one, or give model.d_head"],
    ),
    ({"model.init_seed": -1}, ["model.init_seed", "0..2^63-1", "got -1"]),
    ({"optimizer.lr": 0}, ["optimizer.lr", "positive and finite", "got 0.0"]),
    ({"optimizer.lr": float("inf"), "optimizer.weight_decay": 0}, ["optimizer.lr", "finite", "got inf"]),
    ({"optimizer.lr": float("nan")}, ["optimizer.lr", "got nan"]),
    ({"optimizer.weight_decay": -0.5}, ["optimizer.weight_decay", "at least 0", "got -0.5"]),
    ({"optimizer.weight_decay": float("nan")}, ["optimizer.weight_decay", "got nan"]),
    ({"optimizer.lr": 0.5, "optimizer.weight_decay": 2}, ["optimizer.lr * optimizer.weight_decay", "0.5 * 2.0"]),
    ({"optimizer.beta1": 1}, ["optimizer.beta1", "[0, 1)", "got 1.0"]),
    ({"optimizer.beta2": -0.1}, ["optimizer.beta2", "[0, 1)", "got -0.1"]),
    ({"optimizer.eps": 0}, ["optimizer.eps", "positive", "got 0.0"]),
    ({"optimizer.warmup_steps": -1}, ["optimizer.warmup_steps", "at least 0", "got -1"]),
    ({"measures.every": 0}, ["measures.every", "at least 1", "got 0"]),
    ({"measures.loss_every": 0}, ["measures.loss_every", "at least 1", "got 0"]),
    ({"measures.dense_until": -1}, ["measures.dense_until", "at least 0", "got -1"]),
    ({"measures.per_decade": 0}, ["measures.per_decade", "at least 1", "got 0"]),
    ({"measures.vector_every": 0}, ["measures.vector_every", "at least 1", "got 0"]),
    ({"measures.names": ["b", "a", "b", "b"]}, ["measures.names", "twice: b"]),
    ({"logger.project": ""}, ["logger.project", "empty"]),
    ({"stop.test_loss": 0}, ["stop.test_loss", "positive", "got 0.0"]),
    ({"stop.test_loss": float("inf")}, ["stop.test_loss", "finite", "got inf"]),
    ({"stop.more_steps": -1}, ["stop.more_steps", "at least 0", "got -1"]),
    ({"phases.accuracy": 1}, ["phases.accuracy", "(0, 1)", "got 1.0"]),
    ({"phases.gap": 0}, ["phases.gap", "positive", "got 0.0"]),
    ({"phases.gap": float("inf")}, ["phases.gap", "finite", "got inf"]),
    ({"phases.budget": 0}, ["phases.budget", "at least 1", "got 0"]),
    ({"snapshots.n": -1}, ["snapshots.n", "at least 0", "got -1"]),
    ({"checkpoint.every_s": 0}, ["checkpoint.every_s", "positive", "got 0.0"]),
    ({"checkpoint.every_s": float("inf")}, ["checkpoint.every_s", "finite", "got inf"]),
    ({"n_steps": 0}, ["n_steps", "at least 1", "got 0"]),
    ({"device": "gpu"}, ["device", "auto, cpu, cuda or cuda:N", "got 'gpu'"]),
    ({"device": "cuda:"}, ["device", "got 'cuda:'"]),
    ({"device": "cuda:x"}, ["device", "got 'cuda:x'"]),
    ({"device": "cpu:0"}, ["device", "got 'cpu:0'"]),
    ({"sweep": "a/b"}, ["sweep", "no slash", "got 'a/b'"]),
    ({"sweep": ".."}, ["sweep", "no leading dot", "got '..'"]),
    ({"sweep": ""}, ["sweep", "got ''"]),
    ({"root": ""}, ["root", "empty"]),
    ({"claim_timeout_s": 0}, ["claim_timeout_s", "positive", "got 0.0"]),
    ({"claim_timeout_s": float("inf")}, ["claim_timeout_s", "finite", "got inf"]),
]


@pytest.mark.parametrize("wrong, fragments", WRONG, ids=[" ".join(map(str, wrong.items())) for wrong, _ in WRONG])
def test_a_wrong_setting_is_named_with_rule_and_value(wrong: dict[str, Any], fragments: list[str]):
    found = from_flat(wrong).problems()
    assert len(found) == 1, found
    missing = [fragment for fragment in fragments if fragment not in found[0]]
    assert not missing, found[0]


@pytest.mark.parametrize("wrong, fragments", WRONG, ids=[" ".join(map(str, wrong.items())) for wrong, _ in WRONG])
def test_filling_in_defaults_hides_no_problem(wrong: dict[str, Any], fragments: list[str]):
    """A run is checked after `resolved`, a plan before it: what the one says, the other must say."""
    config = from_flat(wrong)
    assert set(config.problems()) <= set(resolved(config).problems())


def test_all_problems_come_at_once():
    wrong = {"data.p": 1, "optimizer.lr": -1, "n_steps": 0, "device": "tpu", "phases.gap": -2.0}
    config = from_flat(wrong)
    found = config.problems()
    assert len(found) == len(wrong), found
    for name in wrong:
        assert any(name in line for line in found), name
    with pytest.raises(ValueError, match="wrong settings") as caught:
        require_valid(config)
    assert str(caught.value).splitlines()[1:] == [f"- {line}" for line in found]


def test_valid_settings_pass():
    require_valid(RunConfig())


@pytest.mark.parametrize("name", sorted(set(flat(RunConfig())) - ONLY_WITH_OTHERS))
def test_the_other_values_used_here_are_valid(name: str):
    assert from_flat({name: other(name)}).problems() == []


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:11"])
def test_devices(device: str):
    assert RunConfig(device=device).problems() == []


@settings(deadline=None, max_examples=100)
@given(
    p=st.integers(3, 60),
    frac_train=st.floats(0, 1, exclude_min=True, exclude_max=True).map(lambda x: float(format(x, ".12g"))),
    split=st.sampled_from(["ordered", "unordered"]),
)
def test_data_settings_that_pass_leave_pairs_on_both_sides(p: int, frac_train: float, split: str):
    config = from_flat({"data.p": p, "data.frac_train": frac_train, "data.split": split})
    n_pairs = p * p if split == "ordered" else p * (p + 1) // 2
    both_sides = 0 < int(frac_train * n_pairs) < n_pairs
    assert (config.problems() == []) == both_sides


# --- identity -----------------------------------------------------------------------------------------------


def test_run_id_of_the_mainline_is_golden():
    assert run_id(RunConfig()) == MAINLINE_RUN_ID


def test_run_id_is_the_hash_of_the_identity_and_its_version():
    payload = json.dumps([1, MAINLINE_IDENTITY], sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(payload.encode()).hexdigest()[:12] == MAINLINE_RUN_ID


@pytest.mark.parametrize("name", sorted(set(flat(RunConfig())) - ONLY_WITH_OTHERS))
def test_run_id_changes_with_the_settings_that_change_the_numbers_and_no_other(name: str):
    changed = from_flat({name: other(name)})
    assert flat(changed)[name] != flat(resolved(RunConfig()))[name]
    assert (run_id(changed) != MAINLINE_RUN_ID) == (name in MAINLINE_IDENTITY or name in config_module.ADDED_LATER)


def test_decay_and_momentum_of_sgd_are_in_the_identity():
    sgd = {"optimizer__name": "sgd"}
    ids = [sgd, sgd | {"optimizer__decay": "decoupled"}, sgd | {"optimizer__momentum": 0.5}]
    assert len({run_id(with_settings(**one)) for one in ids}) == 3
    assert run_id(with_settings(**sgd)) == run_id(with_settings(**sgd, optimizer__decay="l2"))


def test_run_ids_of_a_grid_are_all_different():
    ids = {
        run_id(with_settings(data__split_seed=split, model__init_seed=init, optimizer__weight_decay=wd / 10))
        for split in range(5)
        for init in range(5)
        for wd in range(7)
    }
    assert len(ids) == 5 * 5 * 7


@pytest.mark.parametrize(
    "one, same",
    [
        ({"data.frac_train": 0.1 + 0.2}, {"data.frac_train": 0.3}),
        ({"optimizer.weight_decay": 1}, {"optimizer.weight_decay": 1.0}),
        ({"data.p": 59.0}, {"data.p": 59}),
        ({"optimizer.weight_decay": -0.0}, {"optimizer.weight_decay": 0.0}),
        ({"model.d_model": 60, "model.n_heads": 5}, {"model.d_model": 60, "model.n_heads": 5, "model.d_head": 12}),
        ({"model.d_model": 60}, {"model.d_model": 60, "model.d_mlp": 240}),
        ({}, {"n_steps": 400_000, "stop.test_loss": 0.1, "device": "cpu", "measures.every": 1}),
    ],
)
def test_one_run(one: dict[str, Any], same: dict[str, Any]):
    assert run_id(from_flat(one)) == run_id(from_flat(same))


def test_one_run_also_where_the_config_was_built_by_hand():
    by_hand = RunConfig(data=DataConfig(frac_train=0.1 + 0.2), model=ModelConfig(d_head=32))
    assert run_id(by_hand) == MAINLINE_RUN_ID


@pytest.mark.parametrize(
    "one, different",
    [
        ({"data.frac_train": 0.3}, {"data.frac_train": 0.30000000001}),
        ({"model.d_model": 60}, {"model.d_model": 60, "model.d_mlp": 241}),
        ({"optimizer.eps": 1e-8}, {"optimizer.eps": 1.1e-8}),
    ],
)
def test_two_runs(one: dict[str, Any], different: dict[str, Any]):
    assert run_id(from_flat(one)) != run_id(from_flat(different))


def test_a_setting_added_later_leaves_old_ids_and_enters_where_it_differs(monkeypatch: pytest.MonkeyPatch):
    """As if optimizer.eps had come later, with 1e-8 as what was computed before."""
    old = {name: value for name, value in MAINLINE_IDENTITY.items() if name != "optimizer.eps"}
    payload = json.dumps([1, old], sort_keys=True, separators=(",", ":"))
    old_id = hashlib.sha256(payload.encode()).hexdigest()[:12]

    monkeypatch.setitem(config_module.ADDED_LATER, "optimizer.eps", 1e-8)
    assert run_id(RunConfig()) == old_id
    assert run_id(with_settings(optimizer__eps=1e-6)) != old_id
    assert identity(with_settings(optimizer__eps=1e-6))["optimizer.eps"] == 1e-6


def test_settings_added_later_exist():
    assert set(config_module.ADDED_LATER) <= set(flat(RunConfig()))


def test_resolved_is_a_copy_and_changes_nothing_more_when_done_again():
    config = RunConfig(optimizer=OptimizerConfig(weight_decay=0.1 + 0.2))
    once = resolved(config)
    assert resolved(once) == once
    assert config.model.d_head is None, "the given settings stay as they are"
    assert (once.model.d_head, once.model.d_mlp, once.sweep) == (32, 512, "default")
    assert once.optimizer.weight_decay == 0.3


def test_a_sweep_and_widths_that_are_given_are_kept():
    config = resolved(with_settings(sweep="s", model__d_head=7, model__d_mlp=11))
    assert (config.sweep, config.model.d_head, config.model.d_mlp) == ("s", 7, 11)


def test_import_needs_neither_torch_nor_hydra():
    code = "import sys, grok_sweep.config; print(sorted({'torch', 'hydra', 'omegaconf', 'numpy'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ran.stdout.strip(), ran.stderr) == ("[]", "")
