"""python -m grok_sweep status, tail, info over a sweep with runs in every state."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from small_runs import plan_of, small_config
from synthetic_sweep import FAILURES, Counts, synthetic_sweep

from grok_sweep.__main__ import main
from grok_sweep.commands.paths import trained_at
from grok_sweep.commands.status import _workers
from grok_sweep.config import MeasuresConfig, flat
from grok_sweep.measures.table import MEASURES
from grok_sweep.store import PlannedRun, RunDir, State, SweepDir
from grok_sweep.sweep.cancel import ask_to_stop
from grok_sweep.sweep.claims import Holder
from grok_sweep.sweep.survey import Pace, Seen, runs_per_hour, seconds_left, survey
from grok_sweep.sweep.survey import pace as pace_of
from grok_sweep.sweep.worker import work

COUNTS = Counts(running=3, dead=2, failed=7, diverged=4, interrupted=5, planned=6)
N = 40


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> SweepDir:
    return synthetic_sweep(tmp_path_factory.mktemp("runs") / "s", N, 20, COUNTS)


def kinds(files: Path) -> dict[str, object]:
    return {file.name: json.loads(file.read_text().splitlines()[0] if file.suffix == ".jsonl" else file.read_text())
            for file in files.iterdir() if file.suffix in (".json", ".jsonl")}  # fmt: skip


def test_a_synthetic_run_has_the_files_and_keys_of_a_real_one(sweep: SweepDir, tmp_path: Path) -> None:
    names = list(next(run for run in sweep.plan()).settings["measures.names"])
    assert set(names) <= set(MEASURES)
    real, (run_id,) = plan_of(tmp_path, small_config(n_steps=3, measures=MeasuresConfig(names=names)))
    work(tmp_path, [run_id])
    made = sweep.run(next(s.run.run_id for s in survey(sweep) if s.state.value == "done"))
    ours, theirs = kinds(made.path), kinds(real.run(run_id).path)
    assert ours.keys() == theirs.keys()
    for name in ("settings.json", "status.json", "metrics.jsonl", "summary.json"):
        assert dict(ours[name]).keys() == dict(theirs[name]).keys(), name  # type: ignore[call-overload]
    assert made.rows()[1].keys() == {*real.run(run_id).rows()[1], *made.rows()[1]}
    attempts = [files["provenance.json"]["attempts"][0].keys() for files in (ours, theirs)]  # type: ignore[index]
    assert attempts[0] <= attempts[1]


def test_every_state_is_counted_and_who_works_is_named(sweep: SweepDir, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["status", str(sweep.path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{N} runs in {sweep.path}"
    assert lines[1] == "13 done, 4 diverged, 7 failed, 3 running, 2 left by dead workers, 5 interrupted, 6 planned"
    # Half of their steps are made by all that did not end, but for the planned ones.
    assert lines[2].startswith(f"{100 * (13 + 4 + (7 + 3 + 2 + 5) / 2) / N:.1f} % of the steps, 750 steps/s")
    told = next(line for line in lines if line.startswith("at work: 1 on"))
    assert told.endswith(", with 3 runs"), "they are one process's"
    at_work = lines[lines.index(told) + 2 :][:3]
    assert all("7500/15000" in line for line in at_work)
    assert any("left by workers that died: 2" in line for line in lines)


def test_the_runs_of_one_worker_stand_together() -> None:
    held = [("a", 12), ("b", 7), ("c", 12), ("d", 7)]
    runs = {run_id: PlannedRun(run_id, flat(small_config()), {}) for run_id, _ in held}
    status = {"state": "running", "step": 5, "n_steps": 200}
    paces = [
        Pace(Seen(runs[run_id], status, Holder("here", "m", pid, "1", "t", 0, 1.0)), {"step": 5}, 10.0)
        for run_id, pid in held
    ]
    said = _workers(paces, None)
    assert said[1] == "at work: 2 on here, with 4 runs"
    assert [line.split()[0] for line in said[3:]] == ["b", "d", "a", "c"]


def test_runs_cancelled_since_the_last_launch_are_said_to_wait(tmp_path: Path, capsys) -> None:
    sweep = synthetic_sweep(tmp_path / "s", 8, 3, Counts(1, 0, 0, 0, 3, 0))
    waiting = [s.run.run_id for s in survey(sweep) if s.state is State.interrupted]
    told = "cancelled, and left until a launch is given: 2 runs"
    ask_to_stop(sweep.run(waiting[0]).cancel_file)
    ask_to_stop(sweep.run(waiting[1]).cancel_file)
    assert main(["status", str(sweep.path)]) == 0
    assert told in capsys.readouterr().out
    sweep.add_launch({"started": "2999-01-01T00:00:00Z"})
    assert main(["status", str(sweep.path)]) == 0
    assert "left until a launch" not in capsys.readouterr().out


def test_failures_are_told_by_their_errors_with_the_end_of_the_log(sweep: SweepDir, capsys) -> None:
    main(["status", str(sweep.path)])
    said = capsys.readouterr().out
    n = {error: sum(s.status.get("error") == error for s in survey(sweep)) for error in FAILURES}
    assert sum(n.values()) == 7
    for error, times in n.items():
        assert not times or f"  {times} × {error}" in said
    assert said.count("Traceback (most recent call last):") == min(2, sum(times > 0 for times in n.values()))
    assert main(["status", "--failed", str(sweep.path)]) == 1
    assert capsys.readouterr().out.count("Traceback (most recent call last):") == 7


def test_the_same_for_programs(sweep: SweepDir, capsys) -> None:
    assert main(["status", "--json", str(sweep.path)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["counts"] == {
        "planned": 6, "running": 3, "interrupted": 5, "done": 13, "diverged": 4, "failed": 7, "left": 2,
    }  # fmt: skip
    assert sum(found["counts"].values()) == found["n_runs"] == N
    assert [len(found[name]) for name in ("running", "failed", "interrupted", "left")] == [3, 7, 5, 2]
    assert found["running"][0]["steps_per_s"] == pytest.approx(250, rel=0.01)  # 0.004 s a step


def test_the_time_left_is_the_steps_left_at_the_present_speed(sweep: SweepDir) -> None:
    seen = survey(sweep)
    paces = [pace_of(sweep.run(s.run.run_id), s) for s in seen if s.is_worked_on]
    left = sum(15_000 - s.step for s in seen if s.state.value in ("running", "interrupted", "planned"))
    assert seconds_left(seen, paces) == pytest.approx(left / (3 * 250), rel=0.01)
    assert seconds_left(seen, []) is None


def test_runs_an_hour_are_of_those_that_ended_lately(sweep: SweepDir) -> None:
    now = time.time()
    seen = [s for s in survey(sweep) if s.state.value == "done"][:4]
    for s, minutes in zip(seen, (10, 20, 30, 120), strict=True):
        s.status["updated"] = now - 60 * minutes
    assert runs_per_hour(seen, now) == pytest.approx(4.0)  # two after the first of three, in half an hour
    assert runs_per_hour(seen[:1], now) is None


def test_a_status_that_cannot_be_read_is_one_failed_run_with_the_reason(tmp_path: Path, capsys) -> None:
    sweep = synthetic_sweep(tmp_path / "s", 3, 2, Counts(0, 0, 0, 0, 0, 0))
    file = sweep.run(sweep.plan()[0].run_id).status_file
    file.write_text("{")
    assert main(["status", str(sweep.path)]) == 1
    said = capsys.readouterr().out
    assert "2 done, 1 failed" in said
    assert "unreadable" in said


# --- tail, info ---------------------------------------------------------------------------------------------


def test_tail_shows_the_end_of_log_and_rows(sweep: SweepDir, capsys) -> None:
    run = next(s.run for s in survey(sweep) if s.state.value == "failed")
    assert main(["tail", str(sweep.path / run.run_id), "-n", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(sweep.run(run.run_id).log_file)
    assert len(lines) == 1 + 3 + 1 + 1 + 3
    assert lines[-1].split()[0] == "7500"


def test_tail_of_a_sweep_shows_every_running_run(sweep: SweepDir, capsys) -> None:
    assert main(["tail", str(sweep.path)]) == 0
    assert capsys.readouterr().out.count("step 7500/15000") == 3
    assert main(["tail", "-f", str(sweep.path)]) == 2
    assert f"watch {sweep.path} follows a sweep" in capsys.readouterr().err


def test_tail_follows_a_run_to_its_end(tmp_path: Path, capsys, monkeypatch) -> None:
    from grok_sweep.commands import tail

    sweep = synthetic_sweep(tmp_path / "s", 1, 20, Counts(1, 0, 0, 0, 0, 0))
    (run,) = sweep.plan()
    run_dir, waits = RunDir(sweep.path / run.run_id), iter(range(9))

    def meanwhile(seconds: float) -> None:
        with run_dir.metrics_file.open("a") as rows:
            rows.write(json.dumps({"step": 8000 + (i := next(waits)), "train_loss": 0.5}) + "\n")
        run_dir.log(f"a word {i}")
        if i == 2:
            run_dir.status_file.write_text(json.dumps({"state": "done", "step": 15_000, "end": "n_steps"}))

    monkeypatch.setattr(tail.time, "sleep", meanwhile)
    assert main(["tail", "-f", str(run_dir.path)]) == 0
    said = capsys.readouterr().out
    for i in range(3):
        assert said.count(f"step {8000 + i}  train_loss 0.5") == 1
        assert said.count(f"a word {i}") == 1
    assert said.rstrip().endswith("is at its end")


def test_info_of_a_run_in_every_state(sweep: SweepDir, capsys) -> None:
    for seen in survey(sweep):
        assert main(["info", str(sweep.path / seen.run.run_id)]) == 0
        said = capsys.readouterr().out
        assert f"wd={seen.run.settings['optimizer.weight_decay']!r}" in said
        assert ("t_train" in said) == (seen.state.value in ("done", "diverged"))
        assert ", held by process" in said or not seen.is_worked_on


def test_info_of_a_sweep_names_axes_and_commands(sweep: SweepDir, capsys) -> None:
    assert main(["info", str(sweep.path)]) == 0
    said = capsys.readouterr().out
    assert "  seed: 10 values, 0, 1, 2, …, 9\n" in said
    assert "  wd: 0.01, 0.0105, 0.011025, 0.011576\n" in said
    assert "launch.py -m experiment=quick 'wd=geomspace(0.01,1,100)' 'seed=range(0,10)'" in said


# --- PATH ---------------------------------------------------------------------------------------------------


def test_a_wrong_path_is_told_what_it_is(sweep: SweepDir, capsys, tmp_path: Path) -> None:
    run_id = sweep.plan()[0].run_id
    (tmp_path / "file").touch()
    of_run, above, file = f"{sweep.path}/{run_id}", sweep.path.parent, tmp_path / "file"
    written_by = "which launch.py writes into runs/<sweep>"
    asked = "a sweep's folder is asked for, runs/<sweep>, or a run's, runs/<sweep>/<run_id>"
    cases = [
        (["status", of_run], f"{of_run} is one run; this command takes its sweep, {sweep.path}"),
        (["status", f"{sweep.path}x"], f"{sweep.path}x: no such folder; did you mean {sweep.path}?"),
        (["watch", str(above)], f"{above} holds sweeps: name one of them, for example {sweep.path}"),
        (["collect", str(tmp_path)], f"{tmp_path} is no sweep: it holds no plan.jsonl, {written_by}"),
        (["collect", str(file)], f"{file} is a file; {asked}"),
        (["info", f"{sweep.path}/none"], f"{sweep.path}/none: {sweep.path} has no run none"),
        (["info", of_run[:-9]], f"{of_run[:-9]}: four digits or more of a run's id are asked for"),
        (["cancel", f"{sweep.path}/nowhere"], f"{sweep.path}/nowhere: {sweep.path} has no run nowhere"),
    ]  # fmt: skip
    for words, message in cases:
        assert main(words) == 2, words
        assert capsys.readouterr().err == message + "\n"


def test_info_of_a_running_run_is_as_far_as_its_rows(tmp_path: Path, capsys) -> None:
    """status.json is written with checkpoints only."""
    sweep = synthetic_sweep(tmp_path / "s", 6, 20, Counts(1, 1, 1, 1, 1, 1))
    running = next(s for s in survey(sweep) if s.is_worked_on)
    run_dir = sweep.run(running.run.run_id)
    last = run_dir.rows()[-1]["step"]
    run_dir.write_status(State.running, step=0, n_steps=running.n_steps, end=None, error=None)
    assert main(["info", str(run_dir.path)]) == 0
    assert f"  running at step {last}, held by process " in capsys.readouterr().out
    assert last > 0


def test_measure_and_publish_take_a_run_by_its_first_digits(tmp_path: Path) -> None:
    sweep = synthetic_sweep(tmp_path / "s", 6, 20, Counts(1, 1, 1, 1, 1, 0))
    run_id = sweep.plan()[0].run_id
    assert trained_at(sweep.path / run_id[:6]) == [sweep.run(run_id).path]
    assert len(trained_at(sweep.path)) == 6
    assert trained_at(sweep.path / "none") == trained_at(tmp_path / "nowhere") == []
