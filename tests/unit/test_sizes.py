"""ensemble.size=auto: the size that pays, by what was timed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from small_runs import plan_of, small_config

from grok_sweep.config import DataConfig, EnsembleConfig, ModelConfig
from grok_sweep.store import State, read_jsonl
from grok_sweep.sweep import sizes, worker
from grok_sweep.sweep.sizes import Timed, best_size
from grok_sweep.sweep.worker import work

CONFIG = small_config(
    data=DataConfig(p=13, frac_train=0.4), model=ModelConfig(d_model=16), ensemble=EnsembleConfig(size="auto"),
    n_steps=5,
)  # fmt: skip


@pytest.mark.parametrize(
    "of_many, best",
    [
        ([4.5, 20.0], 1),
        ([3.5, 12.7], 4),
        ([3.5, 12.5], 16),
        ([3.6, 9.0], 16),
        ([3.61, 1.0], 1),
    ],
)
def test_the_largest_that_still_saves_a_tenth(monkeypatch, of_many, best):
    """A step alone takes 1 ms; ensembles of 4 and 16 take these."""
    times = iter(of_many)
    monkeypatch.setattr(sizes, "_least_ms", lambda device, *steps: iter([1.0, next(times)]))
    timed = best_size(CONFIG)
    assert timed.size == best
    assert timed.ms[1] == 1.0
    assert timed.ms[4] == of_many[0] / 4


def test_where_memory_runs_out_the_last_that_fitted_is_taken(monkeypatch):
    def least_ms(device: Any, *steps: Any) -> Iterator[float]:
        sizes_tried.append(1)
        if len(sizes_tried) == 2:
            raise torch.OutOfMemoryError
        return iter([1.0, 0.5])

    sizes_tried: list[int] = []
    monkeypatch.setattr(sizes, "_least_ms", least_ms)
    assert best_size(CONFIG).size == 4


def test_it_times_what_it_says(monkeypatch):
    monkeypatch.setattr(sizes, "ROUND_S", 0.001)
    timed = best_size(CONFIG)
    assert timed.size in (1, 4, 16)
    assert all(0.01 < ms < 1000 for ms in timed.ms.values())


@pytest.mark.parametrize("size", [1, 3])
def test_a_worker_finds_it_out_once_and_writes_it_down(tmp_path, monkeypatch, size):
    asked: list[Any] = []
    monkeypatch.setattr(worker, "best_size", lambda config: asked.append(config) or Timed(size, {1: 1.0, 3: 0.5}))
    configs = [small_config(**{**vars(CONFIG), "model": ModelConfig(d_model=16, init_seed=i)}) for i in range(4)]
    sweep, ids = plan_of(tmp_path / "s", *configs)
    assert set(work(sweep.path, ids).values()) == {State.done}
    assert len(asked) == 1
    (file,) = sweep.ensembles.iterdir()
    first, *others = read_jsonl(file)
    assert (first["size"], first["ms"]) == (size, {"1": 1.0, "3": 0.5})
    assert [len(line["steps"]) for line in others] == ([] if size == 1 else [3, 1])


def test_where_it_cannot_be_timed_the_run_says_why(tmp_path, monkeypatch):
    def broken(config: Any) -> Timed:
        raise RuntimeError("no device")

    monkeypatch.setattr(worker, "best_size", broken)
    sweep, ids = plan_of(tmp_path / "s", CONFIG)
    assert work(sweep.path, ids) == {ids[0]: State.done}
