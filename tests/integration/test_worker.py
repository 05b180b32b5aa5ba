"""A worker over many runs: what it counts, and what one run leaves for the next."""

import errno
import json
import os
import random
import time

import numpy as np
import pytest
import torch
from small_runs import plan_of, small_config

from grok_sweep import provenance
from grok_sweep.commit import Code
from grok_sweep.config import EnsembleConfig, ModelConfig
from grok_sweep.run import run_one
from grok_sweep.store import RunDir, State
from grok_sweep.sweep import worker
from grok_sweep.sweep.claims import Claims
from grok_sweep.sweep.failures import Failures
from grok_sweep.sweep.worker import work


def test_failures_of_others_count_too_and_looking_for_them_costs_little(tmp_path, monkeypatch):
    sweep, ids = plan_of(tmp_path, *(small_config(model=ModelConfig(init_seed=i)) for i in range(20)))
    failures = Failures(sweep, ids, time.time())
    assert failures.count() == 0
    sweep.run(ids[3]).path.mkdir()
    sweep.run(ids[3]).write_status(State.failed, step=0)
    failures._next_look = 0.0
    assert failures.count() == 1
    sweep.run(ids[4]).path.mkdir()
    sweep.run(ids[4]).write_status(State.failed, step=0)
    failures.ended(ids[4])
    assert failures.count() == 2, "its own count at once"
    failures._next_look = float("inf")
    monkeypatch.setattr(RunDir, "status", lambda self: pytest.fail("looked at again"))
    assert failures.count() == 2


def test_of_failures_before_its_time_a_worker_makes_nothing(tmp_path):
    sweep, ids = plan_of(tmp_path, small_config())
    sweep.run(ids[0]).path.mkdir()
    sweep.run(ids[0]).write_status(State.failed, step=0)
    time.sleep(0.01)
    began = time.time()
    assert Failures(sweep, ids, began).count() == 0
    assert Failures(sweep, ids, began - 60).count() == 1, "looked at at once: it may have been asked for long ago"


def test_what_a_run_changes_in_its_process_the_next_one_does_not_find(tmp_path, monkeypatch):
    """As a network or a measure of the user's own might: each run draws, and leaves the process in a mess."""
    monkeypatch.chdir(tmp_path)
    threads, found = torch.get_num_threads(), []

    def messy(config, path, hooks):
        found.append(
            (
                os.getcwd(), torch.get_default_dtype(), torch.get_default_device().type, torch.get_num_threads(),
                torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled(), torch.rand(()).item(),
                random.random(), np.random.rand(),
            )
        )  # fmt: skip
        os.chdir("/")
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.set_num_threads(threads + 1)
        torch.set_grad_enabled(False)
        torch.use_deterministic_algorithms(True)
        RunDir(path).path.mkdir(exist_ok=True)
        RunDir(path).write_status(State.done, step=config.n_steps, end="n_steps")
        return State.done
        yield

    monkeypatch.setattr(worker, "attempt", messy)
    sweep, ids = plan_of(tmp_path / "s", *(small_config(model=ModelConfig(init_seed=i)) for i in range(3)))
    try:
        work(sweep.path, ids)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
        torch.set_num_threads(threads)
        torch.set_grad_enabled(True)
        torch.use_deterministic_algorithms(False)
    assert len(found) == 3
    assert found[0] == found[1] == found[2]
    assert found[0][:2] == (str(tmp_path), torch.float32)


def test_a_run_that_takes_its_process_along_keeps_its_claim(tmp_path, monkeypatch):
    """By which whoever buries the process knows that it was this one."""

    def deadly(config, path, hooks):
        raise SystemExit
        yield

    monkeypatch.setattr(worker, "attempt", deadly)
    sweep, ids = plan_of(tmp_path, small_config())
    with pytest.raises(SystemExit):
        work(sweep.path, ids)
    assert Claims(sweep, 300.0).holder(ids[0]) is not None
    assert sweep.run(ids[0]).state() is State.planned


@pytest.mark.parametrize("size", ["1", "4"])
def test_where_not_even_its_failure_can_be_written_a_run_is_free_again(tmp_path, monkeypatch, size):
    def failing(config, path, hooks):
        raise RuntimeError("no luck")
        yield

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(worker, "attempt", failing)
    monkeypatch.setattr(worker, "_record_failure", full)
    sweep, ids = plan_of(tmp_path, small_config(ensemble=EnsembleConfig(size)))
    with pytest.raises(OSError, match="No space left"):
        work(sweep.path, ids)
    assert Claims(sweep, 300.0).holder(ids[0]) is None


def test_each_attempt_names_its_code_and_the_sweep_keeps_it_once(tmp_path, monkeypatch):
    sweep, ids = plan_of(tmp_path / "s", *(small_config(n_steps=3, model=ModelConfig(init_seed=i)) for i in range(2)))
    monkeypatch.setattr(provenance, "code", lambda: Code("abc", b"patch"))
    work(sweep.path, ids)
    attempts = [json.loads(sweep.run(name).provenance_file.read_text())["attempts"][0] for name in ids]
    assert [(a["commit"], a["changed"]) for a in attempts] == [("abc", True)] * 2
    (file,) = sweep.provenance.iterdir()
    assert [a["diff"] for a in attempts] == [f"provenance/{file.name}"] * 2
    assert file.read_bytes() == b"patch"


def test_a_run_without_a_sweep_keeps_it_itself_and_one_that_cannot_keep_it_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "code", lambda: Code("abc", b"patch"))
    run_one(small_config(n_steps=3), tmp_path / "run")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run"]
    (attempt,) = json.loads((tmp_path / "run" / "provenance.json").read_text())["attempts"]
    assert (tmp_path / "run" / attempt["diff"]).read_bytes() == b"patch"
    sweep, ids = plan_of(tmp_path / "s", small_config(n_steps=3))
    sweep.provenance.write_text("a file in its place")
    assert work(sweep.path, ids) == {ids[0]: State.done}
