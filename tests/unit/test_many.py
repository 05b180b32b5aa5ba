"""Rows of several networks at once: each is what it is by itself, for one round of calls."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
from networks import ONE_LAYER
from torch.utils._python_dispatch import TorchDispatchMode

from grok_sweep import train
from grok_sweep.config import Loss, RunConfig, from_flat, resolved
from grok_sweep.measures import many
from grok_sweep.measures.rows import Row, Wanted
from grok_sweep.measures.table import MEASURES
from grok_sweep.models import folded
from grok_sweep.tasks import make_task
from grok_sweep.train import Setup, TrainState

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "many.json").read_text())
SMALL = {"data.p": 13, "model.d_model": 16, "optimizer.lr": 1e-2, "dtype": "float64", "measures.names": [*MEASURES]}
ADD = [
    {"data.frac_train": frac, "data.split_seed": i, "model.init_seed": i} for i, frac in enumerate((0.3, 0.9, 0.45))
]
UNLIKE = [
    {"data.operation": "divide"}, {"data.operation": "multiply", "data.frac_train": 0.7}, {"data.frac_train": 0.006},
    {"data.label_noise": 0.3}, {"data.label_noise": 0.5, "data.split_seed": 4}, {"data.operation": "random"},
    {"data.operation": "random", "data.split_seed": 1}, {"model.output_scale": 3.0},
    {"model.attention_rate": 0.3, "model.init_scale": 2.0}, {"data.split": "unordered"},
    {"data.operation": "divide", "model.init_seed": 7, "data.frac_train": 0.61}, {"data.operation": "subtract"},
]  # fmt: skip
"""Among them pairs that are measured at once, and such as have nobody like them."""

Members = tuple[list[Wanted], list[TrainState]]


def after(members: list[dict[str, Any]], n_steps: int = 60, **common: Any) -> Members:
    shared = SMALL | {name.replace("__", "."): value for name, value in common.items()}
    configs = [resolved(from_flat(shared | one)) for one in members]
    assert [config.problems() for config in configs] == [[]] * len(configs)
    fixed = [train.setup(config, make_task(config.data)) for config in configs]
    wanted = [Wanted.of(one, make_task(one.data), each) for one, each in zip(configs, fixed, strict=True)]
    return wanted, [trained(each, n_steps) for each in fixed]


def trained(fixed: Setup, n_steps: int) -> TrainState:
    states = train.training(train.initial_state(fixed), fixed)
    return [next(states) for _ in range(n_steps)][-1]


def differences(wanted: list[Wanted], states: list[TrainState]) -> dict[str, float]:
    """Largest relative difference of each value of the rows from those that each has by itself."""
    found: dict[str, float] = {}
    for ready, one, state in zip(many.ready(wanted, states), wanted, states, strict=True):
        alone = Row(state, one)
        for part in ("always", "measured", "vectors"):
            ours, theirs = getattr(ready, part), getattr(alone, part)
            assert list(ours) == list(theirs)
            for name in ours:
                found[name] = max(found.get(name, 0.0), difference(ours[name], theirs[name]))
    return found


def difference(ours: Any, theirs: Any) -> float:
    assert type(ours) is type(theirs)
    if isinstance(theirs, list):
        assert len(ours) == len(theirs)
        return max((difference(one, other) for one, other in zip(ours, theirs, strict=True)), default=0.0)
    if isinstance(theirs, float) and not math.isnan(theirs):
        return abs(ours - theirs) / max(abs(theirs), GOLDEN["floor"]["value"])
    assert ours == theirs or (ours != ours and theirs != theirs)
    return 0.0


def assert_within(found: dict[str, float], dtype: str) -> None:
    tolerances = GOLDEN[dtype]
    for name, largest in found.items():
        assert largest < tolerances.get(name, tolerances["any"])["tolerance"], f"{name}: {largest:.1e}"


# --- the same rows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_steps", [1, 40])
def test_each_row_is_what_it_is_by_itself(n_steps):
    """With every measure."""
    found = differences(*after([*ADD, *UNLIKE], n_steps))
    assert set(MEASURES) <= {name.partition(".")[0] for name in found}
    assert_within(found, "float64")


def test_so_it_is_where_one_has_key_frequencies_and_another_none():
    wanted, states = after([UNLIKE[1], UNLIKE[1] | {"data.frac_train": 0.3}], n_steps=300)
    assert [Row(state, one).measured["n_key_freqs"] for one, state in zip(wanted, states, strict=True)] == [3, None]
    assert_within(differences(wanted, states), "float64")


@pytest.mark.parametrize("variant", [*ONE_LAYER])
def test_so_it_is_in_every_network(variant):
    model = {f"model.{n}": getattr(v, "name", v) for n, v in ONE_LAYER[variant].items()}
    assert_within(differences(*after([one | model for one in ADD], n_steps=20)), "float64")


@pytest.mark.parametrize("loss", list(Loss))
@pytest.mark.parametrize("p", [12, 23])
def test_so_it_is_for_even_numbers_and_in_every_loss(p, loss):
    assert_within(differences(*after(ADD, n_steps=20, data__p=p, loss=loss.name)), "float64")


def test_so_it_is_in_float32_with_losses_in_float32():
    assert_within(differences(*after(ADD, dtype="float32", loss_dtype="float32")), "float32")


def test_a_network_that_broke_is_told_as_it_is_by_itself():
    wanted, states = after(ADD)
    states[1].weights.fill_(math.nan)
    ready = many.ready(wanted, states)
    both = ready[1], Row(states[1], wanted[1])
    nulls, by_itself = ({n for n, v in row.measured.items() if v is None} for row in both)
    assert math.isnan(ready[1].always["test_loss"])
    assert ready[1].measured["restricted_loss"] is None
    assert nulls == by_itself
    assert ready[1].always["test_acc"] == 0.0
    assert not math.isnan(ready[0].always["test_loss"])


# --- in one round of calls ----------------------------------------------------------------------------------


class Calls(TorchDispatchMode):
    """Counts what reaches the device; views do not."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        results = function._schema.returns
        self.n += not any(one.alias_info is not None and not one.alias_info.is_write for one in results)
        return function(*arguments, **(named or {}))


def n_calls(wanted: list[Wanted], states: list[TrainState]) -> int:
    many.ready(wanted, states)  # what tasks have worked out once is theirs for good
    with Calls() as calls:
        many.ready(wanted, states)
    return calls.n


def test_a_hundred_rows_take_hardly_more_calls_than_one(monkeypatch):
    monkeypatch.setattr(folded, "by_vector", lambda left, right, n_axes=2: left @ right)  # as on a GPU
    wanted, states = after(ADD, n_steps=2)
    one = n_calls(wanted[:1], states[:1])
    hundred = n_calls(wanted[:1] * 100, states[:1] * 100)
    assert one > 300
    assert hundred - one < 100, "what is left for each is to hash its weights, on the host"


def test_no_step_is_taken_network_by_network_behind_the_scenes():
    """Where torch.vmap knows no way it loops, and warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for loss in Loss:
            many.ready(*after(ADD, n_steps=1, loss=loss.name))
        many.ready(*after([one | {"data.label_noise": 0.3} for one in ADD], n_steps=1))


def test_so_many_at_once_as_memory_is_meant_to_hold(monkeypatch):
    wanted, states = after([*ADD, *ADD, ADD[0]], n_steps=3)
    at_once = many.ready(wanted, states)
    sizes: list[int] = []
    values = many._values
    monkeypatch.setattr(many, "_values", lambda some, weights: sizes.append(len(some)) or values(some, weights))
    monkeypatch.setattr(many, "AT_ONCE", 3 * 13**2 + 1)
    in_parts = many.ready(wanted, states)
    assert sizes == [3, 3, 1]
    for one, other in zip(at_once, in_parts, strict=True):
        assert_within({n: difference(one.always[n], other.always[n]) for n in one.always}, "float64")


def test_who_is_alike(monkeypatch):
    wanted, states = after([*ADD, *UNLIKE], n_steps=1)
    groups: list[list[int]] = []
    values = many._values

    def noted(some: list[Wanted], weights: Any) -> Any:
        groups.append([wanted.index(one) for one in some])
        return values(some, weights)

    monkeypatch.setattr(many, "_values", noted)
    many.ready(wanted, states)
    n = len(ADD)
    together = [[i - n for i in group if i >= n] for group in groups]
    assert groups[0][:3] == [0, 1, 2]
    assert [0, 10] in together, "division with division, whatever is trained on"
    assert [3, 4] in together, "noise with noise"
    assert [5] in together, "random answers are drawn by a seed"
    assert [7] in together, "another scale is another network"
    assert [8] in together, "and so is another rate of attention"


def test_what_is_wanted_is_what_the_settings_say():
    config = resolved(from_flat(SMALL))
    fixed = train.setup(config, make_task(config.data))
    wanted = Wanted.of(config, make_task(config.data), fixed)
    assert (wanted.names, wanted.loss, wanted.operation) == (tuple(MEASURES), Loss.cross_entropy, ("add",))
    assert isinstance(config, RunConfig)
