"""The benchmark still runs, on what it says: one step of ours, of the plain reference, and twelve products."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from grok_sweep.measures.table import MEASURES

_FILE = Path(__file__).parents[1] / "bench" / "bench.py"
_spec = importlib.util.spec_from_file_location("bench", _FILE)
assert _spec is not None
assert _spec.loader is not None
bench = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bench)


@pytest.fixture(scope="module")
def step():
    return bench.Step(p=11, frac_train=0.4)


def test_the_bound_is_twelve_products_of_the_steps_own_shapes(step):
    n, (d_model, d_mlp, d_vocab_out) = step.task.n_train, (128, 512, 12)
    weights = d_model * d_model + 2 * d_model * d_mlp + d_model * d_vocab_out
    with FlopCounterMode(display=False) as counted:
        bench.products(step)()
    assert counted.get_total_flops() == 3 * 2 * n * weights


def test_both_steps_make_the_same_update(step):
    reference = bench.plain(step)
    for _ in range(2):  # the first has a learning rate of 0
        reference.step()
    state = step.state
    for n_updates in range(2):
        state = bench.train.step(state, step.fixed, bench.optimizers.hyper_at(step.config.optimizer, n_updates))
    for name, ours in bench.unflatten(state.weights, step.fixed.shapes).items():
        torch.testing.assert_close(ours, reference.weights[name].detach(), rtol=1e-3, atol=1e-6)


def test_rows_are_timed_with_key_frequencies(step, monkeypatch):
    monkeypatch.setattr(bench, "FREQS", [2, 5])
    rows = bench.Rows(step)
    rows.full(bench.DEFAULT, vectors=None)
    times = rows.each(list(MEASURES), repeats=1)
    assert times.keys() == MEASURES.keys()
    assert all(0 < ms < 1000 for ms in times.values())
    evaluation = rows.keyed(rows.losses())
    assert bench.measured(evaluation, ["key_freqs", "restricted_loss"])["restricted_loss"] is not None
    of_k = {name for name in MEASURES if bench.measured(rows.losses(), [name]).get(name, 0) is None}
    of_k -= {"key_freqs_by_neurons"}  # has looked at every neuron before it finds none
    assert of_k <= bench._OF_K, "these would be timed doing nothing"


def test_the_least_time_of_each_counts():
    calls: list[str] = []
    found = bench.least_ms({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3)
    assert calls == ["a", "b"] * 4
    assert all(0 <= ms < 100 for ms in found.values())


def test_the_figure_draws_what_was_measured(tmp_path, monkeypatch):
    growth = [{"p": p, "n_train": p * p, "step_ms": p, "bound_ms": p / 2, "row_ms": 3 * p} for p in (5, 7)]
    monkeypatch.setattr(bench, "OUT", tmp_path / "bench.json")
    bench.OUT.write_text(json.dumps({"growth": growth}))
    bench.figure(tmp_path / "growth.svg")
    drawn = (tmp_path / "growth.svg").read_text()
    assert all(
        text in drawn for text in ("p = 5", "p = 7", "a step", "twelve matrix products, pair by pair", "train pairs")
    )
