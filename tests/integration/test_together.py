"""A worker that trains several runs in lock step leaves what one that trains them one by one leaves."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import assert_equal_runs, ensembles_of, plan_of, small_config

from grok_sweep import run as of_run
from grok_sweep import train
from grok_sweep.config import (
    DataConfig,
    EnsembleConfig,
    MeasuresConfig,
    ModelConfig,
    OptimizerConfig,
    OptimizerName,
    RunConfig,
    SnapshotsConfig,
    StopConfig,
)
from grok_sweep.ensemble import Alone, Ensemble
from grok_sweep.measures.rows import Wanted
from grok_sweep.run import Waiting
from grok_sweep.store import State, SweepDir, read_jsonl
from grok_sweep.sweep import together
from grok_sweep.sweep.cancel import ask_to_stop
from grok_sweep.sweep.claims import Claims
from grok_sweep.sweep.worker import _Worker, work
from grok_sweep.tasks import make_task

ROOT = Path(__file__).parents[2]
P = 13


def member(seed: int = 0, **changes: Any) -> RunConfig:
    """p = 13, width 16, rows with every measure."""
    data = {"p": P, "frac_train": 0.4, "split_seed": seed} | changes.pop("data", {})
    defaults: dict[str, Any] = {
        "data": DataConfig(**data),
        "model": ModelConfig(init_seed=seed, **changes.pop("model", {})),
        "optimizer": OptimizerConfig(**({"lr": 3e-3} | changes.pop("optimizer", {}))),
        "ensemble": EnsembleConfig(size="4"),
        "measures": MeasuresConfig(names=["gini_W_E", "key_gap", "excluded_loss_k"], every=25),
        "n_steps": 150,
    }
    defaults["model"] = replace(defaults["model"], d_model=16)
    return small_config(**(defaults | changes))


MIXED = [
    member(0),
    member(
        1,
        data={"operation": "divide", "frac_train": 0.62, "label_noise": 0.2},
        model={"init_scale": 1.7, "output_scale": 0.6, "attention_rate": 0.3},
        optimizer={"lr": 1e-2, "weight_decay": 0.3, "beta1": 0.8, "beta2": 0.99, "eps": 1e-6, "warmup_steps": 0},
        n_steps=130,
        snapshots=SnapshotsConfig(n=3),
    ),
    member(2, data={"frac_train": 0.7}, stop=StopConfig(test_loss=4.0, more_steps=60)),
    member(3, measures=MeasuresConfig(names=["gini_W_E"], every=40, loss_every=11)),
    member(4, n_steps=90),
    member(5, data={"operation": "random"}, measures=MeasuresConfig(every=50)),
]
"""Six runs that differ in every kind of setting, for places for four; one has a stop rule."""


def alone_and_together(tmp_path: Path, configs: list[RunConfig]) -> tuple[SweepDir, SweepDir, list[str]]:
    one_by_one = [replace(config, ensemble=EnsembleConfig()) for config in configs]
    alone, ids = plan_of(tmp_path / "alone", *one_by_one)
    beside, ids_too = plan_of(tmp_path / "beside", *configs)
    assert ids == ids_too, "how it is trained names no run"
    work(alone.path, ids)
    return alone, beside, ids


def assert_equal_sweeps(beside: SweepDir, alone: SweepDir, ids: list[str]) -> None:
    for run_id in ids:
        ours, theirs = beside.run(run_id), alone.run(run_id)
        assert_equal_runs(ours, theirs)
        assert sorted(file.name for file in ours.path.iterdir()) == sorted(f.name for f in theirs.path.iterdir())
        assert ours.snapshot_steps() == theirs.snapshot_steps()
        summaries = [dict(run_dir.summary() or {}) for run_dir in (ours, theirs)]
        for summary in summaries:
            summary["settings"] = {n: v for n, v in summary["settings"].items() if n != "ensemble.size"}
            summary.pop("sweep", None)
        assert summaries[0] == summaries[1]
        statuses = [{n: v for n, v in run.status().items() if n != "updated"} for run in (ours, theirs)]
        assert statuses[0] == statuses[1]


def test_each_run_is_what_it_is_alone(tmp_path):
    alone, beside, ids = alone_and_together(tmp_path, MIXED)
    assert set(work(beside.path, ids).values()) == {State.done}
    assert_equal_sweeps(beside, alone, ids)
    ends = {beside.run(run_id).status()["end"] for run_id in ids}
    assert ends == {"n_steps", "stop_rule"}, "one was to be ended by its stop rule"
    lines = ensembles_of(beside)
    assert len(lines[0]["steps"]) == 4
    assert {run_id for line in lines for run_id in line["steps"]} == set(ids)
    assert all(line["is_as_alone"] for line in lines)
    for line in lines:
        of_the_first = {step for run_id, step in line["steps"].items() if run_id in lines[0]["steps"]}
        assert len(of_the_first) <= 1, "who began together was to stay in step: nobody trains a step twice"
    for run_id in ids:
        (attempt,) = json.loads(beside.run(run_id).provenance_file.read_text())["attempts"]
        assert (beside.path / attempt["ensemble"]).exists()
        assert (beside.run(run_id).summary() or {})["bitwise"] is True


def test_rows_measured_at_once_are_those_of_each_alone_to_rounding(tmp_path, monkeypatch):
    """As on a GPU: one measuring for all that have a row due."""
    monkeypatch.setattr(together, "MEASURED_AT_ONCE", ("cpu",))
    sizes: list[int] = []
    ready = together.ready
    monkeypatch.setattr(together, "ready", lambda wanted, states: sizes.append(len(wanted)) or ready(wanted, states))
    alone, beside, ids = alone_and_together(tmp_path, MIXED[:4])
    assert set(work(beside.path, ids).values()) == {State.done}
    for run_id in ids:
        ours, theirs = beside.run(run_id).rows(), alone.run(run_id).rows()
        assert [row["step"] for row in ours] == [row["step"] for row in theirs]
        for row, other in zip(ours, theirs, strict=True):
            assert list(row) == list(other)
            assert row["weights_hash"] == other["weights_hash"], "training knows nothing of how rows are measured"
            for name in set(row) - {"seconds", "weights_hash"}:
                assert row[name] == pytest.approx(other[name], rel=1e-9, abs=1e-9), (run_id, row["step"], name)
    n_rows = sum(len(beside.run(run_id).rows()) for run_id in ids)
    assert max(sizes) >= 3
    assert sum(sizes) == n_rows - len(ids), "all but the rows with which runs begin"


def test_what_was_measured_with_others_is_what_stands_in_the_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(together, "MEASURED_AT_ONCE", ("cpu",))
    ready = together.ready

    def marked(wanted: Any, states: Any) -> Any:
        found = ready(wanted, states)
        for one in found:
            one.always["test_loss"] = one.measured["gini_W_E"] = 77.0
            one.vectors["excluded_loss_k"] = [77.0]
        return found

    monkeypatch.setattr(together, "ready", marked)
    sweep, ids = plan_of(tmp_path / "s", *(member(i, n_steps=50) for i in range(2)))
    work(sweep.path, ids)
    for run_id in ids:
        first, *others = sweep.run(run_id).rows()
        assert first["test_loss"] != 77, "the row with which a run begins is its own"
        assert {(row["step"], row["test_loss"], row["gini_W_E"]) for row in others} == {
            (25, 77.0, 77.0),
            (50, 77.0, 77.0),
        }
        assert others[-1]["excluded_loss_k"] == [77.0]


def test_a_state_that_is_not_finite_or_not_waited_for_wants_no_row():
    fixed = train.setup(member(), make_task(member().data))
    state = replace(next(train.training(train.initial_state(fixed), fixed)), step=5)
    row = Wanted.of(member(), make_task(member().data), fixed)
    one = together.Member("a", lambda error: None)
    one.waiting = Waiting(fixed, state, 5, row)
    assert one.wants_row(state)
    assert not one.wants_row(replace(state, step=4))
    assert not one.wants_row(replace(state, objective=math.nan))
    one.waiting = Waiting(fixed, state, 5)
    assert not one.wants_row(state)


def test_one_that_breaks_has_no_row_measured_with_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(together, "MEASURED_AT_ONCE", ("cpu",))
    sgd = {"name": OptimizerName.sgd, "weight_decay": 0.0, "warmup_steps": 0}
    configs = [member(i, optimizer=sgd | {"lr": lr}) for i, lr in enumerate((0.1, 300.0))]
    alone, beside, ids = alone_and_together(tmp_path, configs)
    assert [work(beside.path, ids)[run_id] for run_id in ids] == [State.done, State.diverged]
    steps = [[row["step"] for row in sweep.run(ids[1]).rows()] for sweep in (alone, beside)]
    assert steps[0] == steps[1]


# --- who leaves before the end ------------------------------------------------------------------------------


def test_one_that_diverges_leaves_as_it_does_alone(tmp_path):
    sgd = {"name": OptimizerName.sgd, "weight_decay": 0.0, "warmup_steps": 0}
    configs = [member(i, optimizer=sgd | {"lr": lr}) for i, lr in enumerate((0.1, 300.0, 0.2))]
    alone, beside, ids = alone_and_together(tmp_path, configs)
    assert [work(beside.path, ids)[run_id] for run_id in ids] == [State.done, State.diverged, State.done]
    summaries = [sweep.run(ids[1]).summary() or {} for sweep in (alone, beside)]
    assert 0 < summaries[0]["diverged_at"] < 100
    assert summaries[0]["diverged_at"] == summaries[1]["diverged_at"]
    assert [row["step"] for row in beside.run(ids[1]).rows()] == [row["step"] for row in alone.run(ids[1]).rows()]
    assert_equal_sweeps(beside, alone, [ids[0], ids[2]])


def test_one_that_fails_costs_itself_alone(tmp_path, monkeypatch):
    configs = [member(i) for i in range(3)]
    alone, beside, ids = alone_and_together(tmp_path, configs)
    log_row = of_run._log_row

    def broken(run: Any, state: Any, *more: Any) -> None:
        if run.name == ids[1] and state.step == 50:
            raise RuntimeError("a measure of mine broke")
        log_row(run, state, *more)

    monkeypatch.setattr(of_run, "_log_row", broken)
    states = work(beside.path, ids)
    assert [states[run_id] for run_id in ids] == [State.done, State.failed, State.done]
    assert beside.run(ids[1]).status()["error"] == "RuntimeError: a measure of mine broke"
    assert "Traceback" in beside.run(ids[1]).log_file.read_text()
    assert_equal_sweeps(beside, alone, [ids[0], ids[2]])
    monkeypatch.undo()
    assert work(beside.path, ids, retry_failed_before=float("inf"))[ids[1]] is State.done
    assert_equal_sweeps(beside, alone, ids)


def test_stopped_and_asked_again_it_is_what_it_is_undisturbed(tmp_path):
    """Together with others than before, too: the second attempt has two places."""
    alone, beside, ids = alone_and_together(tmp_path, MIXED[:5])
    for calls in (3, 9, 30):
        asked = iter(range(calls))
        states = work(beside.path, ids, stop=lambda asked=asked: next(asked, None) is None)
        assert State.interrupted in states.values()
    beside.add([replace(run, settings=run.settings | {"ensemble.size": "2"}) for run in beside.plan()])
    assert set(work(beside.path, ids).values()) == {State.done}
    assert_equal_sweeps(beside, alone, ids)
    assert all((beside.run(run_id).summary() or {})["bitwise"] for run_id in ids)


def test_a_run_that_is_cancelled_leaves_the_others(tmp_path):
    configs = [member(i, n_steps=600) for i in range(3)]
    sweep, ids = plan_of(tmp_path / "s", *configs)
    reports: list[str] = []

    def report(progress: Any) -> None:
        reports.append(progress.run_id)
        ask_to_stop(sweep.run(ids[1]).cancel_file)

    states = work(sweep.path, ids, report=report, stop=lambda: time.sleep(0.005) or False)
    assert [states[run_id] for run_id in ids] == [State.done, State.interrupted, State.done]
    assert 0 < sweep.run(ids[1]).status()["step"] < 600
    assert {ids[0], ids[2]} <= set(reports)


def test_a_run_that_was_lost_is_left_without_another_write(tmp_path, monkeypatch):
    sweep, ids = plan_of(tmp_path / "s", *(member(i) for i in range(3)))
    log_row = of_run._log_row

    def lost(run: Any, state: Any, *more: Any) -> None:
        if run.name == ids[0] and state.step == 50:
            holder = Claims(sweep, 300.0).holder(ids[0])
            assert holder is not None
            Claims(sweep, 300.0).free(ids[0], holder)
            taken.append(Claims(sweep, 300.0).take(ids[0]))
        log_row(run, state, *more)

    taken: list[Any] = []
    monkeypatch.setattr(of_run, "_log_row", lost)
    states = work(sweep.path, ids)
    assert [states[run_id] for run_id in ids] == [None, State.done, State.done]
    assert taken[0] is not None
    assert [row["step"] for row in sweep.run(ids[0]).rows()] == [0, 25]
    taken[0].check()


# --- places -------------------------------------------------------------------------------------------------


def test_freed_places_are_filled_and_what_does_not_fit_trains_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(together, "TICK_S", 0.0)
    lengths = [20, 30, 40, 90, 90, 90]
    configs = [member(i, n_steps=n) for i, n in enumerate(lengths)]
    configs += [
        member(9, n_steps=5, model={"dropout": 0.1}),
        member(9, n_steps=5, model={"tied": True}),
        member(8, n_steps=5, model={"tied": True}),
    ]
    alone, beside, ids = alone_and_together(tmp_path, configs)
    assert set(work(beside.path, ids).values()) == {State.done}
    assert_equal_sweeps(beside, alone, ids)
    groups = [{ids.index(run_id) for run_id in line["steps"]} for line in ensembles_of(beside)]
    assert groups[0] == {0, 1, 2, 3}
    assert {7, 8} in groups, "tied networks with each other"
    assert all(6 not in group for group in groups), "dropout draws anew at each step"
    joined = [line for line in ensembles_of(beside) if {ids[3], ids[4]} <= line["steps"].keys()]
    assert joined, "one that came later was to train beside one that was there"
    assert joined[0]["steps"][ids[3]] > joined[0]["steps"][ids[4]]


def test_where_nobody_is_left_to_come_nothing_is_laid_anew(tmp_path, monkeypatch):
    """On a GPU a step is recorded anew each time."""
    monkeypatch.setattr(together, "TICK_S", 0.0)
    monkeypatch.setattr(together, "FILL_EVERY_S", 0.0)
    sweep, ids = plan_of(tmp_path / "s", *(member(i, n_steps=60) for i in range(2)))
    asked: list[int] = []
    part = _Worker._part_of_others
    monkeypatch.setattr(_Worker, "_part_of_others", lambda self, key, n: asked.append(n) or part(self, key, n))
    work(sweep.path, ids)
    assert len(asked) > 3, "free places were to be looked at"
    assert len(ensembles_of(sweep)) == 1


def test_each_worker_takes_its_part(tmp_path):
    sweep, ids = plan_of(tmp_path / "s", *(member(i, n_steps=10) for i in range(6)))
    work(sweep.path, ids, n_workers=2)
    assert len(ensembles_of(sweep)[0]["steps"]) == 3


def test_where_another_worker_was_quicker_the_next_run_takes_the_place(tmp_path, monkeypatch):
    """Workers that begin at once look at the same list: the claim decides, and who lost looks again."""
    sweep, ids = plan_of(tmp_path / "s", *(member(i, n_steps=10) for i in range(6)))
    take = Claims.take

    def slow(self: Claims, run_id: str) -> Any:
        claim = take(self, run_id)
        return None if run_id in ids[1:3] else claim

    monkeypatch.setattr(Claims, "take", slow)
    work(sweep.path, ids)
    assert sorted(ensembles_of(sweep)[0]["steps"]) == sorted([ids[0], *ids[3:]])


def test_what_others_hold_takes_no_places(tmp_path):
    """The first eight of twelve are another worker's: the four behind them train together all the same."""
    sweep, ids = plan_of(tmp_path / "s", *(member(i, n_steps=5) for i in range(12)))
    helper = "import sys, time; from grok_sweep.sweep.claims import Claims; from grok_sweep.store import SweepDir\n"
    helper += (
        f"[Claims(SweepDir({str(sweep.path)!r}), 300.0).take(i) for i in {ids[:8]!r}]; print('held', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", helper + "time.sleep(60)"], stdout=subprocess.PIPE, cwd=ROOT
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        states = work(sweep.path, ids, n_workers=2)
        other.kill()
    assert [states[run_id] for run_id in ids] == [None] * 8 + [State.done] * 4
    assert sorted(ensembles_of(sweep)[0]["steps"]) == sorted(ids[8:])


def test_a_run_with_which_a_worker_died_trains_alone(tmp_path):
    """Else it would take the others along again."""
    sweep, ids = plan_of(tmp_path / "s", *(member(i, n_steps=10) for i in range(3)))
    began = time.time() - 60
    claims = Claims(sweep, 300.0)
    assert claims.take(ids[1]) is not None
    holder = claims.holder(ids[1])
    assert holder is not None
    claims.free(ids[1], holder)
    assert set(work(sweep.path, ids, asked=began).values()) == {State.done}
    assert [sorted(line["steps"]) for line in ensembles_of(sweep)] == [sorted([ids[0], ids[2]])]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_where_memory_runs_out_half_of_them_wait(tmp_path, monkeypatch, error):
    """However that is told: of cuBLAS, and of a CPU's memory, by a mere RuntimeError."""
    alone, beside, ids = alone_and_together(tmp_path, [member(i, n_steps=60) for i in range(4)])
    step, n_steps = Ensemble._step, []

    def too_large(self: Ensemble, *arguments: Any) -> Any:
        n_steps.append(len(self))
        if len(self) > 2 and len(n_steps) > 40:
            raise error("out of memory")
        return step(self, *arguments)

    monkeypatch.setattr(Ensemble, "_step", too_large)
    assert set(work(beside.path, ids).values()) == {State.done}
    assert_equal_sweeps(beside, alone, ids)
    assert {len(line["steps"]) for line in ensembles_of(beside)} == {4, 2}
    (said,) = [line for file in beside.ensembles.iterdir() for line in read_jsonl(file) if "error" in line]
    assert (said["size"], said["error"]) == (2, f"{error.__name__}: out of memory")
    attempts = [json.loads(beside.run(i).provenance_file.read_text())["attempts"] for i in ids]
    assert sorted(len(found) for found in attempts) == [1, 1, 2, 2]


def test_one_for_which_memory_is_too_small_by_itself_fails(tmp_path, monkeypatch):
    def too_large(*arguments: Any) -> Any:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(Ensemble, "_step", too_large)
    monkeypatch.setattr(Alone, "train", too_large)
    sweep, ids = plan_of(tmp_path / "s", *(member(i, n_steps=5) for i in range(2)))
    work(sweep.path, ids)
    statuses = [sweep.run(run_id).status() for run_id in ids]
    assert statuses[0]["state"] == "failed"
    assert statuses[0]["error"] == "OutOfMemoryError: out of memory"
    assert statuses[1]["state"] == "done", "this one was trained alone after that"


# --- where numbers depend on who is together ----------------------------------------------------------------


def test_where_bits_are_not_those_of_each_alone_the_run_says_with_whom_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(Ensemble, "is_as_alone", lambda self: False)
    sweep, ids = plan_of(tmp_path / "s", *(member(i, n_steps=n) for i, n in enumerate((40, 90, 90))))
    work(sweep.path, ids)
    summaries = [sweep.run(run_id).summary() or {} for run_id in ids]
    assert [summary["bitwise"] for summary in summaries] == [True, False, False], "the first had the same company"
    loaded = sweep.run(ids[1]).load_checkpoint()
    assert loaded is not None
    told = [conditions["ensemble"] for conditions in loaded[1]["conditions"]]
    assert [words.split(",")[0] for words in told] == ["3 runs", "2 runs"]
    assert "conditions changed" in sweep.run(ids[1]).log_file.read_text()
