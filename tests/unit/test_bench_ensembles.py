"""The benchmark of ensembles still runs, and times what it says; its GPU part on a CPU."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path

import pytest
import torch

_FILE = Path(__file__).parents[1] / "bench" / "ensembles.py"
_spec = importlib.util.spec_from_file_location("ensembles", _FILE)
assert _spec is not None
assert _spec.loader is not None
ensembles = importlib.util.module_from_spec(_spec)
sys.modules["ensembles"] = ensembles
_spec.loader.exec_module(ensembles)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(ensembles, "ROUND_S", 0.0)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_alone_and_together_stand_side_by_side(monkeypatch):
    monkeypatch.setattr(ensembles, "ON_CPU", ({"p": 7, "d_model": 16}, {"p": 11, "d_model": 16}))
    found = ensembles.on_cpu(sizes=(1, 2), rounds=1)
    assert [(one["p"], one["dtype"]) for one in found] == [
        (7, "float32"), (7, "float64"), (11, "float32"), (11, "float64"),
    ]  # fmt: skip
    assert all(set(one["gain"]) == {"1", "2"} for one in found)
    assert all(0 < ms < 1000 for one in found[::2] for ms in one["row_ms"].values())
    assert all(0.02 < gain < 50 for one in found for gain in one["gain"].values())


def test_the_gpus_part_counts_every_product_and_stops_where_memory_does(monkeypatch):
    of_size = ensembles._of_size

    def small(n: int, *arguments: object) -> dict[str, float]:
        if n == 5:
            raise torch.OutOfMemoryError
        return of_size(n, *arguments)

    monkeypatch.setattr(ensembles, "_of_size", small)
    found = ensembles.on_gpu(7, 16, sizes=(1, 3, 5, 6), device="cpu")
    for dtype in ("float32", "float64"):
        assert set(found[dtype]["together"]) == {1, 3}
        for each in found[dtype]["together"].values():
            assert each["step_ms"] > 0
            assert each["share_of_product_rate"] > 0
            assert math.isnan(each["mb_per_run"])
    assert found["gain_over_plain"] > 0
    assert found["best_size"] in (1, 3)
    assert set(found["row_ms"]) == {"at_once", "by_itself"}
    expected = found["row_ms"]["at_once"] / 1000 * 258  # rows of 40,000 steps
    expected *= found["float32"]["together"][found["best_size"]]["run_steps_per_s"] / 40_000
    assert found["measures_of_training"] == pytest.approx(expected, rel=1e-12)


def test_members_differ_in_pairs_and_numbers():
    fixed, states = ensembles.members(4, 7, 16, "float64", "cpu")
    assert len({(each.config.data.frac_train, each.config.optimizer.weight_decay) for each in fixed}) == 4
    assert len({float(state.weights.sum()) for state in states}) == 4
