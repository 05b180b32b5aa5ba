"""cancel.json: heard by what was asked for before it, by nothing later; what the command says, and what it leaves."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from pathlib import Path

import pytest
from small_runs import assert_equal_runs, plan_of, small_config
from synthetic_sweep import Counts, synthetic_sweep

from grok_sweep.__main__ import main
from grok_sweep.config import MeasuresConfig, ModelConfig
from grok_sweep.store import State, SweepDir
from grok_sweep.sweep import cancel
from grok_sweep.sweep.cancel import Cancelled, ask_to_stop, is_cancelled
from grok_sweep.sweep.claims import Claims
from grok_sweep.sweep.worker import work

ENDLESS = 10_000_000


def config(seed: int, n_steps: int = ENDLESS):
    return small_config(n_steps=n_steps, model=ModelConfig(d_model=16, init_seed=seed), measures=MeasuresConfig())


def training(sweep: SweepDir, run_id: str) -> bool:
    return len(sweep.run(run_id).rows()) > 3


def until(true, seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.02)


# --- the word -----------------------------------------------------------------------------------------------


def test_what_was_asked_for_before_is_cancelled_and_nothing_later(tmp_path: Path) -> None:
    file = tmp_path / "cancel.json"
    assert not is_cancelled(file, 0.0)
    asked = ask_to_stop(file)
    assert is_cancelled(file, asked - 0.001)
    assert not is_cancelled(file, asked)
    assert not is_cancelled(file, asked + 0.001)


@pytest.mark.parametrize("content", ["", "no JSON", "{}"])
def test_a_word_written_by_hand_counts_from_its_files_time(tmp_path: Path, content: str) -> None:
    file = tmp_path / "cancel.json"
    file.write_text(content)
    os.utime(file, (1000, 1000))
    assert is_cancelled(file, 999.0)
    assert not is_cancelled(file, 1001.0)


def test_the_file_is_looked_at_now_and_then_and_the_word_stands(tmp_path: Path, monkeypatch) -> None:
    sweep, now = SweepDir(tmp_path), [100.0]
    monkeypatch.setattr(cancel.time, "monotonic", lambda: now[0])
    heard = Cancelled(sweep, 0.0)
    assert not heard.sweep()
    ask_to_stop(sweep.cancel_file)
    now[0] += cancel.LOOK_EVERY_S / 2
    assert not heard.sweep()
    now[0] += cancel.LOOK_EVERY_S
    assert heard.sweep()
    assert not heard.run("another")
    sweep.cancel_file.unlink()
    now[0] += 10
    assert heard.sweep()


# --- the worker ---------------------------------------------------------------------------------------------


def test_a_cancelled_worker_leaves_with_a_checkpoint_and_the_run_goes_on_as_if_undisturbed(tmp_path: Path) -> None:
    sweep, (run_id,) = plan_of(tmp_path / "s", config(0, n_steps=20_000))
    worker = threading.Thread(target=work, args=(sweep.path, [run_id]), daemon=True)
    worker.start()
    until(lambda: training(sweep, run_id))
    ask_to_stop(sweep.cancel_file)
    worker.join(60)
    assert sweep.run(run_id).state() is State.interrupted
    step = sweep.run(run_id).status()["step"]
    assert 3 < step < 20_000
    # Asked for later, it goes on; from the checkpoint, to the rows and weights of a run that nobody stopped.
    sweep.add([_to(sweep, step + 300)])
    assert work(sweep.path, [run_id]) == {run_id: State.done}
    other, _ = plan_of(tmp_path / "undisturbed", config(0, n_steps=step + 300))
    work(other.path, [run_id])
    assert_equal_runs(sweep.run(run_id), other.run(run_id))


def _to(sweep: SweepDir, n_steps: int):
    (run,) = sweep.plan()
    return type(run)(run.run_id, run.settings | {"n_steps": n_steps}, run.axes)


def test_a_worker_asked_for_before_trains_nothing(tmp_path: Path) -> None:
    sweep, run_ids = plan_of(tmp_path, config(0, 5), config(1, 5))
    asked = ask_to_stop(sweep.cancel_file)
    assert set(work(tmp_path, run_ids, asked=asked - 1).values()) == {State.planned}
    assert not sweep.claims.exists()
    assert set(work(tmp_path, run_ids, asked=asked + 1).values()) == {State.done}


def test_one_cancelled_run_is_left_and_the_worker_goes_on_with_the_others(tmp_path: Path) -> None:
    sweep, run_ids = plan_of(tmp_path, config(0), config(1, 20), config(2, 20))
    found = {}
    worker = threading.Thread(target=lambda: found.update(work(tmp_path, run_ids)), daemon=True)
    worker.start()
    until(lambda: training(sweep, run_ids[0]))
    ask_to_stop(sweep.run(run_ids[0]).cancel_file)
    worker.join(60)
    assert found == {run_ids[0]: State.interrupted, run_ids[1]: State.done, run_ids[2]: State.done}


# --- the command --------------------------------------------------------------------------------------------


def test_runs_left_by_the_dead_are_marked_and_what_has_ended_stays(tmp_path: Path, capsys) -> None:
    counts = Counts(running=0, dead=3, failed=2, diverged=1, interrupted=1, planned=1)
    sweep = synthetic_sweep(tmp_path / "s", 12, 5, counts)
    before = {run.run_id: sweep.run(run.run_id).status() for run in sweep.plan()}
    assert main(["cancel", str(sweep.path)]) == 0
    said = capsys.readouterr().out
    assert "marked as interrupted, as their workers were gone: 3 runs" in said
    assert f"cancelled: nobody works on {sweep.path}; 5 runs left" in said
    for run_id, status in before.items():
        now = sweep.run(run_id).status()
        # Without a checkpoint there is nothing to go on from.
        assert now["state"] == ("planned" if status["state"] == "running" else status["state"])


def test_where_nothing_is_left_no_word_is_written(tmp_path: Path, capsys) -> None:
    sweep = synthetic_sweep(tmp_path / "s", 3, 3, Counts(0, 0, 0, 0, 0, 0))
    assert main(["cancel", str(sweep.path)]) == 0
    assert "nothing is left to do" in capsys.readouterr().out
    assert not sweep.cancel_file.exists()


def test_who_does_not_leave_is_named_and_the_exit_code_says_so(tmp_path: Path, capsys) -> None:
    sweep, (run_id,) = plan_of(tmp_path, config(0))
    assert Claims(sweep, 300.0).take(run_id) is not None
    assert main(["cancel", str(tmp_path), "--wait-s", "0"]) == 1
    told = capsys.readouterr().err
    assert "still worked on after 0 s: 1 run" in told
    assert f"{run_id} pid {os.getpid()} on" in told


def test_slurm_jobs_that_wait_are_cancelled_at_once_and_the_rest_only_where_workers_stay(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    calls = tmp_path / "calls"
    scancel = tmp_path / "bin" / "scancel"
    scancel.parent.mkdir()
    scancel.write_text(f'#!/bin/sh\necho "$@" >> {calls}\necho "scancel: error: Invalid job id 12" >&2\n')
    scancel.chmod(scancel.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{scancel.parent}:{os.environ['PATH']}")
    sweep, (run_id,) = plan_of(tmp_path / "s", config(0))
    sweep.submitit.mkdir()
    jobs = [{"job_id": n, "cluster": at} for n, at in (("12", "slurm"), ("99", "local"), ("13", "slurm"))]
    sweep.jobs_file.write_text("".join(json.dumps(job) + "\n" for job in jobs))
    assert main(["cancel", str(sweep.path)]) == 0
    assert calls.read_text() == "--state=PENDING 12 13\n"
    assert "error" not in capsys.readouterr().err
    assert Claims(sweep, 300.0).take(run_id) is not None
    assert main(["cancel", str(sweep.path), "--wait-s", "0"]) == 1
    assert calls.read_text() == "--state=PENDING 12 13\n" * 2 + "12 13\n"


def test_without_scancel_the_user_is_told_what_to_type_where(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    sweep, _ = plan_of(tmp_path / "s", config(0))
    sweep.submitit.mkdir()
    sweep.jobs_file.write_text('{"job_id": "12", "cluster": "slurm"}\n')
    assert main(["cancel", str(sweep.path)]) == 0
    assert "on the cluster: scancel 12" in capsys.readouterr().err
