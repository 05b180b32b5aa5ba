"""What is measured after a run: from snapshots and by replay the same numbers, proved by the hashes in the rows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_runs import small_config

import grok_sweep
from grok_sweep import train
from grok_sweep.config import DataConfig, MeasuresConfig, ModelConfig, OptimizerConfig, RunConfig, SnapshotsConfig
from grok_sweep.measures.losses import excluded_loss, restricted_loss
from grok_sweep.measures.table import HINDSIGHT
from grok_sweep.replay import Replay, ReplayDiffers
from grok_sweep.run import Hooks, run_one
from grok_sweep.second_pass import measure_run
from grok_sweep.store import RunDir, State, read_jsonl

ROOT = Path(__file__).parents[2]
N_STEPS = 400
ROWS = MeasuresConfig(names=["key_gap", "restricted_loss", "excluded_loss", "gini_W_E"], every=20)


def grokking(**changes) -> RunConfig:
    """p = 23, width 32: memorises by step 60, groks at 200, ends with two key frequencies. Two seconds."""
    defaults = {
        "data": DataConfig(p=23, frac_train=0.7),
        "model": ModelConfig(d_model=32),
        "optimizer": OptimizerConfig(lr=1e-2),
        "measures": ROWS,
        "snapshots": SnapshotsConfig(n=10),
        "n_steps": N_STEPS,
    }
    return small_config(**(defaults | changes))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run that grokked, with snapshots every 40 steps and rows every 20; tests work on copies."""
    path = tmp_path_factory.mktemp("trained")
    assert run_one(grokking(), path) is State.done
    return path


@pytest.fixture
def run_dir(trained, tmp_path) -> RunDir:
    return RunDir(shutil.copytree(trained, tmp_path / "4eacc902bfdb"))


def rows_at(file: Path, steps: list[int]) -> list[dict]:
    return [row for row in read_jsonl(file) if row["step"] in steps]


# --- the same numbers by both ways --------------------------------------------------------------------------


def test_by_replay_and_from_snapshots_the_second_pass_is_the_same(run_dir):
    stored = run_dir.snapshot_steps()
    assert stored == list(range(0, N_STEPS + 1, 40))
    assert measure_run(run_dir.path, list(HINDSIGHT)).n_rows == 11
    from_snapshots = read_jsonl(run_dir.final_keys_file)
    assert [row["step"] for row in from_snapshots] == stored
    run_dir.final_keys_file.unlink()
    assert measure_run(run_dir.path, list(HINDSIGHT), by_replay=True).n_rows == 21
    assert [row["step"] for row in read_jsonl(run_dir.final_keys_file)] == list(range(0, N_STEPS + 1, 20))
    assert rows_at(run_dir.final_keys_file, stored) == from_snapshots
    for step, state in zip(stored, Replay(run_dir).states(stored), strict=True):
        snapshot = run_dir.load_snapshot(step)
        for name, tensor in train.pack(state, Replay(run_dir).fixed.shapes).items():
            assert "/" in name or torch.equal(tensor, snapshot[name]), (step, name)


def test_hindsight_uses_the_final_key_frequencies_at_every_step(run_dir):
    measure_run(run_dir.path, ["excluded_loss_final", "restricted_loss_final"])
    rows = read_jsonl(run_dir.final_keys_file)
    run = grok_sweep.load(run_dir.path.with_name("4eacc9"))
    final = run.evaluation().key_freqs.freqs
    assert final == [3, 9]
    assert all(row["key_freqs_final"] == final for row in rows)
    early = next(row for row in rows if row["step"] == 40)
    logged = next(row for row in run_dir.rows() if row["step"] == 40)
    assert logged["excluded_loss"] is None, "at step 40 it had no key frequencies of its own"
    assert early["excluded_loss_final"] is not None
    # At the end the network's own key frequencies are the final ones.
    assert rows[-1]["excluded_loss_final"] == run_dir.rows()[-1]["excluded_loss"]
    assert rows[-1]["restricted_loss_final"] == run_dir.rows()[-1]["restricted_loss"]


def test_losses_with_the_sets_beside_the_final_key_frequencies(run_dir):
    names = [name for name in HINDSIGHT if "_with" in name]
    assert len(names) == 4
    assert measure_run(run_dir.path, names).n_rows == 11
    rows = read_jsonl(run_dir.final_keys_file)
    assert all(set(row) == {"step", "key_freqs_final", *names} for row in rows)
    assert all(row["key_freqs_final"] == [3, 9] for row in rows)
    final = grok_sweep.load(run_dir.path).evaluation()
    costs = final.excluded_loss_k.tolist()
    weakest = min((3, 9), key=lambda k: costs[k - 1])
    following = max((k for k in range(1, 12) if k not in (3, 9)), key=lambda k: costs[k - 1])
    fewer, more = sorted({3, 9} - {weakest}), sorted([3, 9, following])
    last = rows[-1]
    assert last["excluded_loss_without_weakest_final"] == excluded_loss(final, fewer)
    assert last["excluded_loss_with_next_final"] == excluded_loss(final, more)
    assert last["restricted_loss_without_weakest_final"] == restricted_loss(final, fewer)
    assert last["restricted_loss_with_next_final"] == restricted_loss(final, more)
    assert measure_run(run_dir.path, names).note == "measured before"


def test_a_measure_taken_afterwards_is_the_one_that_would_have_been_logged(run_dir):
    assert measure_run(run_dir.path, ["gini_W_E", "gini_W_L"], by_replay=True).n_rows == 21
    afterwards = read_jsonl(run_dir.measured_file)
    assert [row["gini_W_E"] for row in afterwards] == [row["gini_W_E"] for row in run_dir.rows()]
    assert all(set(row) == {"step", "gini_W_E", "gini_W_L"} for row in afterwards)


def test_what_stands_is_not_measured_again_and_keeps_company(run_dir, monkeypatch):
    measure_run(run_dir.path, ["gini_W_E"])
    monkeypatch.setattr(Replay, "all_weights", None)
    assert measure_run(run_dir.path, ["gini_W_E"]).note == "measured before"
    monkeypatch.undo()
    assert measure_run(run_dir.path, ["gini_W_E"], again=True).n_rows == 11
    assert measure_run(run_dir.path, ["gini_W_E", "sum_sq"]).n_rows == 11
    row = read_jsonl(run_dir.measured_file)[0]
    assert {"gini_W_E", "sum_sq.W_E", "sum_sq.b_in"} <= set(row)


def own_norm(evaluation) -> float:
    """A measure of a user's own, named by its dotted path."""
    return float(evaluation.weights["W_pos"].norm())


own_norm.needs = {"embedding"}


def test_a_measure_of_ones_own_by_its_dotted_path(run_dir):
    assert measure_run(run_dir.path, [f"{__name__}.own_norm"]).n_rows == 11
    rows = read_jsonl(run_dir.measured_file)
    assert rows[0]["own_norm"] == pytest.approx(float(run_dir.load_snapshot(0)["W_pos"].norm()))


# --- replay -------------------------------------------------------------------------------------------------


def made_steps(monkeypatch) -> list[tuple[int, int]]:
    """Every step of training made from now on, and the threads that made it."""
    made: list[tuple[int, int]] = []
    step = train.step

    def counted(state, fixed, hyper):
        made.append((state.step, torch.get_num_threads()))
        return step(state, fixed, hyper)

    monkeypatch.setattr(train, "step", counted)
    return made


def test_a_replay_starts_at_what_was_kept_with_the_optimizers_state(tmp_path, monkeypatch):
    config = grokking(n_steps=100, snapshots=SnapshotsConfig(n=4, optimizer_state=True))
    run_one(config, tmp_path)
    made = made_steps(monkeypatch)
    replay = Replay(RunDir(tmp_path))
    found = [state.step for state in replay.states([60, 30, 100])]
    assert found == [30, 60, 100]
    assert [step for step, _ in made] == [*range(25, 30), *range(50, 60)]


def test_a_replay_follows_the_threads_that_the_run_had(tmp_path, monkeypatch):
    """The run changes threads halfway; so does its replay, and puts them back."""
    config = grokking(n_steps=10, measures=MeasuresConfig(every=1), snapshots=SnapshotsConfig())
    stops = iter([False] * 5 + [True] * 100)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert run_one(config, tmp_path, Hooks(stop=lambda: next(stops))) is State.interrupted
        torch.set_num_threads(1)
        assert run_one(config, tmp_path) is State.done
    finally:
        torch.set_num_threads(before)
    run_dir, made = RunDir(tmp_path), made_steps(monkeypatch)
    assert [state.step for state in Replay(run_dir).states([5, 9])] == [5, 9]
    assert made == [(step, 2 if step < 5 else 1) for step in range(9)]
    assert torch.get_num_threads() == before


def test_a_replay_that_leaves_the_runs_path_says_where(run_dir):
    lines = [json.loads(line) for line in run_dir.metrics_file.read_text().splitlines()]
    lines[3]["weights_hash"] = "0" * 16
    run_dir.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    provenance = json.loads(run_dir.provenance_file.read_text())
    provenance["attempts"][0]["torch"] = "1.0"
    run_dir.provenance_file.write_text(json.dumps(provenance))
    with pytest.raises(ReplayDiffers, match=r"weights at step 60 are not the run's \(torch 1\.0 then, .* now\)"):
        list(Replay(run_dir).states([100]))


def test_weights_kept_of_another_step_are_refused(run_dir):
    shutil.copy(run_dir.snapshots / "step_00000080.safetensors", run_dir.snapshots / "step_00000120.safetensors")
    with pytest.raises(ValueError, match="the weights kept of step 120 are not those of its row"):
        Replay(run_dir).weights(120)


def test_a_step_beyond_the_run_is_refused(run_dir):
    with pytest.raises(ValueError, match=r"step 401 is not in 0\.\.400"):
        next(Replay(run_dir).all_weights([0, 401]))


def test_a_run_without_key_frequencies_says_so(tmp_path):
    run_one(grokking(n_steps=60), tmp_path)
    report = measure_run(tmp_path, list(HINDSIGHT))
    assert report.n_rows == 0
    assert report.note.startswith("the final network has no key frequencies (gap ")
    assert not RunDir(tmp_path).final_keys_file.exists()


def test_a_measure_that_is_not_defined_here_is_absent(tmp_path):
    config = grokking(n_steps=20, data=DataConfig(p=23, frac_train=0.7, operation="cubic"))
    run_one(config, tmp_path)
    assert measure_run(tmp_path, ["gini_W_E"]).note == "not defined for this task or network"
    assert "no cyclic group is known" in measure_run(tmp_path, list(HINDSIGHT)).note
    assert not RunDir(tmp_path).measured_file.exists()


# --- the command --------------------------------------------------------------------------------------------


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "grok_sweep", "measure", *words], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def test_the_command_measures_a_sweep_and_tells_each_run(trained, tmp_path):
    whole = RunDir(shutil.copytree(trained, tmp_path / "sweep" / "a_whole_one"))
    damaged = RunDir(shutil.copytree(trained, tmp_path / "sweep" / "b_damaged_one"))
    damaged.checkpoint_file.write_bytes(b"")
    running = RunDir(shutil.copytree(trained, tmp_path / "sweep" / "c_running_one"))
    running.write_status(State.running, step=3, n_steps=400, end=None, error=None)
    done = command(str(tmp_path / "sweep"), "--n-workers", "2")
    first, second, third = done.stdout.splitlines()
    assert first == "[1 of 3] a_whole_one: 11 rows measured"
    assert second.startswith("[2 of 3] b_damaged_one: ")
    assert "checkpoint.safetensors" in second
    assert third == "[3 of 3] c_running_one: running: only finished runs are measured"
    assert done.stderr == "1 of 3 runs could not be measured\n"
    assert done.returncode == 1
    assert len(read_jsonl(whole.final_keys_file)) == 11


@pytest.mark.parametrize(
    "words, said",
    [
        (["{here}/nowhere"], "{here}/nowhere: no such folder\n"),
        (["{here}"], "{here}: no run is here\n"),
        (["{run}", "gini_we"], "unknown measures: gini_we (did you mean gini_W_E?). Known: "),
        (
            ["{run}", "gini_W_E_final"],
            "unknown measures: gini_W_E_final. With the final key frequencies: restricted_",
        ),
        (["{run}", "test_loss"], "test_loss: stands in every row already\n"),
        (
            ["{run}", "no_such.measure"],
            "measures.names=no_such.measure: ModuleNotFoundError: No module named 'no_such'",
        ),
        (["{run}", "--n-workers", "0"], "--n-workers must be at least 1, got 0\n"),
    ],
)
def test_wrong_words_are_refused_before_any_work(trained, tmp_path, words, said):
    places = {"here": str(tmp_path), "run": str(trained)}
    done = command(*(word.format(**places) for word in words))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(said.format(**places))
    assert "Traceback" not in done.stderr


# --- the notebook -------------------------------------------------------------------------------------------


def test_load_gives_settings_frames_network_and_weights(run_dir):
    run = grok_sweep.load(str(run_dir.path))
    assert run.settings["data.p"] == 23
    assert run.config == grokking()
    assert run.state == "done"
    assert run.summary is not None
    assert run.summary["t_test"] == 200
    assert run.metrics["step"].to_list() == list(range(0, 401, 20))
    assert run.metrics["key_gap"].dtype.is_float()
    assert run.metrics["restricted_loss"].null_count() > 0
    assert (run.final_keys.is_empty(), run.measured.is_empty()) == (True, True)
    assert run.task.n_pairs == 23**2
    assert run.stored_steps == list(range(0, 401, 40))
    model = run.model()
    activations = model([1, 2, 3], [4, 5, 22])
    assert activations.logits.argmax(1).tolist() == [5, 7, 2]
    assert activations.attn_pattern is not None
    assert tuple(activations.attn_pattern.shape) == (3, 4, 3)
    assert "Transformer at step 400: W_E [24, 32]" in repr(model)
    assert str(run_dir.path.name) in repr(run)


def test_load_gives_weights_at_any_step(run_dir):
    run = grok_sweep.load(str(run_dir.path))
    between = run.weights(100)
    kept = run_dir.load_snapshot(80)
    assert all(torch.equal(run.weights(80)[name], kept[name]) for name in kept)
    assert not torch.equal(between["W_E"], kept["W_E"])
    row = next(row for row in run_dir.rows() if row["step"] == 100)
    assert run.measure("gini_W_E", 100) == row["gini_W_E"]
    assert set(run.measure("sum_sq")) >= {"sum_sq.W_E"}


def test_a_replay_goes_on_from_the_step_it_reached(run_dir, monkeypatch):
    taken = []
    step = train.step
    monkeypatch.setattr(train, "step", lambda state, *rest: taken.append(state.step) or step(state, *rest))
    run = grok_sweep.load(run_dir.path)
    once = run.weights(30)
    assert taken == list(range(30))
    assert torch.equal(run.weights(30)["W_E"], once["W_E"])
    run.weights(35)
    assert taken == list(range(35))
    run.weights(10)
    assert taken == [*range(35), *range(10)]


@pytest.mark.parametrize(
    "name, said",
    [
        ("gini_we", r"unknown measures: gini_we \(did you mean gini_W_E\?\)"),
        ("test_acc", r"test_acc \(stands in every row\)"),
        ("fve_logits_final", r"fve_logits_final \(by python -m grok_sweep measure, after the end\)"),
        ("nowhere.f", "No module named 'nowhere'"),
    ],
)
def test_load_says_what_is_no_measure(run_dir, name, said):
    with pytest.raises(ValueError, match=said):
        grok_sweep.load(run_dir.path).measure(name)


def test_load_says_what_a_folder_is_that_is_no_run(trained, tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        grok_sweep.load(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"is no run's folder: it holds no settings\.json"):
        grok_sweep.load(str(tmp_path))
    shutil.copytree(trained, tmp_path / "abc")
    with pytest.raises(ValueError, match=r"is a sweep's folder: give one of its 1 runs \(abc\)"):
        grok_sweep.load(str(tmp_path))
