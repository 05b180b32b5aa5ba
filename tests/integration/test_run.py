"""One run through run_one and the worker: its files, and how it ends, goes on and refuses."""

import json
import math

import pytest
import torch
from small_runs import assert_equal_runs, plan_of, small_config

import grok_sweep.measures.rows as rows_module
from grok_sweep.config import (
    DataConfig,
    MeasuresConfig,
    ModelConfig,
    OptimizerConfig,
    SnapshotsConfig,
    StopConfig,
    flat,
    run_id,
)
from grok_sweep.measures.evaluation import evaluate
from grok_sweep.measures.losses import losses_and_accuracies
from grok_sweep.models import build
from grok_sweep.run import Hooks, run_one
from grok_sweep.store import RunDir, State, load_tensors
from grok_sweep.sweep.claims import Claims
from grok_sweep.sweep.worker import work
from grok_sweep.tasks import make_task


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> RunDir:
    """The undisturbed run of small_config(), to compare with."""
    run_dir = RunDir(tmp_path_factory.mktemp("whole") / "run")
    assert run_one(small_config(), run_dir.path) is State.done
    return run_dir


@pytest.fixture(scope="module")
def with_snapshots(tmp_path_factory) -> RunDir:
    run_dir = RunDir(tmp_path_factory.mktemp("with_snapshots") / "run")
    assert run_one(small_config(snapshots=SnapshotsConfig(4)), run_dir.path) is State.done
    return run_dir


def test_files_of_a_run(with_snapshots):
    config, run_dir = small_config(snapshots=SnapshotsConfig(4)), with_snapshots
    assert run_dir.settings() == flat(config)
    status = run_dir.status()
    assert (status["state"], status["step"], status["end"], status["error"]) == ("done", 200, "n_steps", None)
    rows = run_dir.rows()
    assert [row["step"] for row in rows[:101]] == list(range(101))
    assert rows[-1]["step"] == 200
    assert [i for i, row in enumerate(rows) if "excluded_loss_k" in row] == [*range(0, len(rows), 10), len(rows) - 1]
    summary = run_dir.summary()
    assert summary["run_id"] == run_id(config)
    assert summary["final.train_loss"] == rows[-1]["train_loss"]
    assert summary["max.test_loss"] == max(row["test_loss"] for row in rows)
    assert summary["bitwise"] is True
    assert summary["n_train"] == int(0.4 * 23**2)
    assert sorted(p.name for p in run_dir.snapshots.iterdir()) == [
        f"step_{step:08d}.safetensors" for step in (0, 50, 100, 150, 200)
    ]
    assert not list(run_dir.path.glob(".*")), "temporary files left"
    assert json.loads(run_dir.provenance_file.read_text())["attempts"][0]["torch"] == torch.__version__


def test_a_row_is_what_its_snapshot_says(with_snapshots):
    """Whatever is logged can be computed again from the stored weights."""
    config = small_config()
    weights, _ = load_tensors(with_snapshots.snapshots / "step_00000100.safetensors")
    again = losses_and_accuracies(
        evaluate(weights, make_task(config.data), build.network(config.model, config.data.p))
    )
    logged = next(row for row in with_snapshots.rows() if row["step"] == 100)
    assert {name: logged[name] for name in again} == again


def test_interrupted_goes_on_to_the_same_bits(tmp_path, whole):
    config = small_config()
    asked = iter(range(10_000))
    for stop_at in (1, 37, 101, 150):
        seen = []
        hooks = Hooks(stop=lambda at=stop_at, seen=seen: seen.append(next(asked)) or len(seen) > at)
        state = run_one(config, tmp_path / "parts", hooks)
        if state is State.done:
            break
        assert state is State.interrupted
        assert RunDir(tmp_path / "parts").state() is State.interrupted
    assert run_one(config, tmp_path / "parts") is State.done
    assert_equal_runs(RunDir(tmp_path / "parts"), whole)
    assert len(json.loads((tmp_path / "parts" / "provenance.json").read_text())["attempts"]) == 5


@pytest.mark.parametrize("shorter", [40, 47, 150])
def test_more_steps_continue_as_if_asked_for_at_first(tmp_path, whole, shorter):
    """A shorter run's last row is full and holds lists: in the longer run it must not show.

    40 has a row with lists, 47 one without, 150 none.
    """
    sweep, ids = plan_of(tmp_path / "sweep", small_config(n_steps=shorter))
    assert work(sweep.path, ids) == {ids[0]: State.done}
    plan_of(tmp_path / "sweep", small_config())
    assert work(sweep.path, ids) == {ids[0]: State.done}
    assert_equal_runs(sweep.run(ids[0]), whole)


def test_the_stop_rule_ends_the_run_and_is_final(tmp_path):
    first = small_config(n_steps=120)
    run_one(first, tmp_path / "all")
    losses = [(row["step"], row["test_loss"]) for row in RunDir(tmp_path / "all").rows()]
    # Test loss first falls a little, then rises while the network memorises: the rule fires on the way down.
    threshold = min(loss for _, loss in losses) + 1e-9
    fires = next(step for step, loss in losses if loss < threshold)
    for more in (0, 7):
        config = small_config(n_steps=120, stop=StopConfig(test_loss=threshold, more_steps=more))
        sweep, ids = plan_of(tmp_path / f"more{more}", config)
        assert work(sweep.path, ids)[ids[0]] is State.done
        status, rows = sweep.run(ids[0]).status(), sweep.run(ids[0]).rows()
        assert (status["step"], status["end"]) == (fires + more, "stop_rule")
        assert rows[-1]["step"] == fires + more
        assert "excluded_loss_k" in rows[-1]
        plan_of(tmp_path / f"more{more}", small_config(n_steps=300, stop=config.stop))
        before = sweep.run(ids[0]).metrics_file.read_bytes()
        work(sweep.path, ids)
        assert sweep.run(ids[0]).metrics_file.read_bytes() == before, "done by a stop rule stays done"


def test_a_loss_that_is_not_finite_ends_the_run_as_diverged(tmp_path):
    config = small_config(optimizer=OptimizerConfig(lr=1e30, weight_decay=0.0, warmup_steps=0))
    sweep, ids = plan_of(tmp_path, config)
    assert work(sweep.path, ids)[ids[0]] is State.diverged
    run_dir = sweep.run(ids[0])
    summary, rows = run_dir.summary(), run_dir.rows()
    assert summary["diverged_at"] == run_dir.status()["step"]
    assert (summary["end"], summary["phase"], summary["phase_scale_free"]) == ("diverged", None, None)
    broken = next(row for row in rows if row["step"] == summary["diverged_at"])
    assert broken["objective"] is None, "null in the file, where the loss is not finite"
    assert all(row["objective"] is not None for row in rows if row["step"] < summary["diverged_at"])
    assert "NaN" not in run_dir.metrics_file.read_text()
    before = run_dir.metrics_file.read_bytes()
    work(sweep.path, ids)
    assert run_dir.metrics_file.read_bytes() == before, "diverged is final"


def test_wrong_settings_are_refused_before_any_file(tmp_path):
    config = small_config(measures=MeasuresConfig(names=["gini_we"]))
    with pytest.raises(ValueError, match="unknown measures: gini_we"):
        run_one(config, tmp_path / "run")
    config = small_config()
    config.data.frac_train, config.optimizer.lr = 1.5, -1.0
    with pytest.raises(ValueError, match=r"(?s)data\.frac_train.*optimizer\.lr"):
        run_one(config, tmp_path / "run")
    with pytest.raises(ValueError, match="torch finds 0 CUDA devices here; use device=cpu or auto"):
        run_one(small_config(device="cuda:7"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_of_other_settings_is_refused(tmp_path):
    run_one(small_config(n_steps=5), tmp_path)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match=r"model\.d_model: 16 there, 8 asked"):
        run_one(small_config(n_steps=5, model=ModelConfig(d_model=8)), tmp_path)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_a_failing_run_costs_itself_alone(tmp_path, monkeypatch):
    configs = [small_config(n_steps=20, model=ModelConfig(d_model=d)) for d in (8, 12, 16)]
    sweep, ids = plan_of(tmp_path, *configs)
    measure = rows_module.measured

    def failing(evaluation, names, vectors):
        if evaluation.weights["W_E"].shape[1] == 12:
            raise RuntimeError("the disk is on fire")
        return measure(evaluation, names, vectors)

    monkeypatch.setattr(rows_module, "measured", failing)
    assert list(work(sweep.path, ids).values()) == [State.done, State.failed, State.done]
    failed = sweep.run(ids[1])
    assert failed.status()["error"] == "RuntimeError: the disk is on fire"
    log = failed.log_file.read_text()
    assert "Traceback" in log
    assert log.rstrip().endswith("RuntimeError: the disk is on fire")
    monkeypatch.setattr(rows_module, "measured", measure)
    assert work(sweep.path, ids)[ids[1]] is State.failed, "failed is left alone until asked"
    again = work(sweep.path, ids, retry_failed_before=math.inf)
    assert list(again.values()) == [State.done] * 3


def test_a_run_that_another_process_holds_is_left_alone(tmp_path):
    config = small_config(n_steps=20)
    sweep, ids = plan_of(tmp_path, config)
    claim = Claims(sweep, 300.0).take(ids[0])
    assert work(sweep.path, ids) == {ids[0]: None}
    assert not sweep.run(ids[0]).metrics_file.exists()
    claim.release()
    assert work(sweep.path, ids) == {ids[0]: State.done}


def test_a_worker_that_lost_its_claim_leaves_without_a_word(tmp_path):
    """The claim is taken over in the middle of a run: no row, checkpoint or status is written after that."""
    config = small_config(n_steps=150)
    sweep, ids = plan_of(tmp_path, config)
    run_dir, frozen = sweep.run(ids[0]), []

    def steal():
        folder = sweep.claims / ids[0]
        if not frozen and run_dir.metrics_file.exists() and len(run_dir.rows()) > 50:
            # The next generation, held by a process that is alive: this one.
            (folder / "000002.json").write_bytes((folder / "000001.json").read_bytes())
            frozen.append({p: p.read_bytes() for p in run_dir.path.rglob("*") if p.is_file()})
        return False

    assert work(sweep.path, ids, stop=steal) == {ids[0]: None}
    assert {p: p.read_bytes() for p in run_dir.path.rglob("*") if p.is_file()} == frozen[0]
    assert run_dir.state() is State.running
    assert not (sweep.claims / ids[0] / "000003.json").exists(), "the loser released what it no longer held"


def test_a_checkpoint_without_rows_starts_anew(tmp_path):
    config = small_config(n_steps=30)
    run_one(config, tmp_path / "whole")
    run_one(small_config(n_steps=20), tmp_path / "cut")
    (tmp_path / "cut" / "metrics.jsonl").unlink()
    run_one(config, tmp_path / "cut")
    assert_equal_runs(RunDir(tmp_path / "cut"), RunDir(tmp_path / "whole"))
    assert "starting anew" in (tmp_path / "cut" / "log.txt").read_text()


@pytest.mark.parametrize("n_bytes", [10, 5000])
def test_rows_torn_off_that_the_checkpoint_covers_are_trained_again(tmp_path, n_bytes):
    config = small_config(n_steps=30)
    run_one(config, tmp_path / "whole")
    run_one(small_config(n_steps=20), tmp_path / "cut")
    metrics = tmp_path / "cut" / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-n_bytes])
    run_one(config, tmp_path / "cut")
    assert_equal_runs(RunDir(tmp_path / "cut"), RunDir(tmp_path / "whole"))
    assert "of the 21 rows of the checkpoint: starting anew" in (tmp_path / "cut" / "log.txt").read_text()


def test_killed_as_it_was_made_longer_a_run_goes_on_all_the_same(tmp_path, whole):
    """The shorter run's last row is gone by then, and its checkpoint still counts it."""
    config, shorter = small_config(), small_config(n_steps=150)
    run_one(shorter, tmp_path / "longer")
    asked = [None]

    def lose():
        asked.pop()

    n_before = len(RunDir(tmp_path / "longer").rows())
    with pytest.raises(IndexError):
        run_one(config, tmp_path / "longer", Hooks(check=lose))
    assert len(RunDir(tmp_path / "longer").rows()) == n_before - 1
    run_one(config, tmp_path / "longer")
    assert_equal_runs(RunDir(tmp_path / "longer"), whole)
    assert "starting anew" not in (tmp_path / "longer" / "log.txt").read_text()


def test_resuming_under_other_conditions_says_so(tmp_path):
    config = small_config(n_steps=60, data=DataConfig(p=23, frac_train=0.5))
    threads = torch.get_num_threads()
    stops = iter([False] * 30 + [True] * 1000)
    try:
        torch.set_num_threads(1)
        run_one(config, tmp_path, Hooks(stop=lambda: next(stops)))
        torch.set_num_threads(2)
        run_one(config, tmp_path)
    finally:
        torch.set_num_threads(threads)
    run_dir = RunDir(tmp_path)
    assert run_dir.summary()["bitwise"] is False
    assert "conditions changed" in run_dir.log_file.read_text()


def test_rows_beyond_the_checkpoint_are_not_kept(tmp_path):
    """They were logged by an attempt whose weights are lost; under other conditions they would be another run's."""
    config = small_config(n_steps=60)
    run_one(small_config(n_steps=30), tmp_path)
    metrics = tmp_path / "metrics.jsonl"
    with metrics.open("a") as file:
        file.write(json.dumps({"step": 31, "train_loss": -1.0}) + "\n" + '{"step": 32, "train_lo')
    run_one(config, tmp_path)
    rows = RunDir(tmp_path).rows()
    assert [row["step"] for row in rows] == list(range(61))
    assert rows[31]["train_loss"] > 0


def test_no_further_run_is_taken_once_enough_failed(tmp_path, monkeypatch):
    def failing(evaluation, names, vectors):
        raise RuntimeError("no luck")

    sweep, ids = plan_of(tmp_path, *(small_config(n_steps=5, model=ModelConfig(d_model=d)) for d in (4, 8, 12, 16)))
    monkeypatch.setattr(rows_module, "measured", failing)
    states = list(work(sweep.path, ids, failures_allowed=2).values())
    assert states == [State.failed, State.failed, State.planned, State.planned]
    # What failed before this call does not count.
    states = list(work(sweep.path, ids, failures_allowed=1).values())
    assert states == [State.failed, State.failed, State.failed, State.planned]


def test_a_checkpoint_that_cannot_be_read_is_named_with_the_way_out(tmp_path):
    run_one(small_config(n_steps=20), tmp_path)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors cannot be read .* delete it"):
        run_one(small_config(n_steps=30), tmp_path)
    (tmp_path / "checkpoint.safetensors").unlink()
    assert run_one(small_config(n_steps=30), tmp_path) is State.done
