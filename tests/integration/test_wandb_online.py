"""W&B as a mirror, online: the real client against a stub server, which gets each row once whatever happens."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import wandb
from small_runs import assert_equal_runs
from test_loggers import MEASURES, N_STEPS, logged, offline, offline_log, once_at, silent, stop_after, told
from wandb_server import ENTITY, NOWHERE, Fault, StoredRun, WandbServer, alone, forget, helpers, wandb_server

from grok_sweep.config import LoggerConfig, LoggerKind, LoggerMode, RunConfig, flat, run_id
from grok_sweep.loggers import open_mirror, publish
from grok_sweep.run import run_one
from grok_sweep.store import RunDir, State

ROOT = Path(__file__).parents[2]
PATIENT_S, IMPATIENT_S = 30.0, 3.0
SPARE_S = 30.0
"""What a run may take beside its waits for the server, on a busy machine."""


def online(timeout_s: float = PATIENT_S, **changes) -> RunConfig:
    logger = LoggerConfig(kind=LoggerKind.wandb, mode=LoggerMode.online, tags=["a test"], timeout_s=timeout_s)
    return offline(**({"logger": logger} | changes))


def impatient(**changes) -> RunConfig:
    """For servers that are not well."""
    return online(IMPATIENT_S, **changes)


def the_run(server: WandbServer) -> StoredRun:
    (run,) = server.runs.values()
    return run


def assert_each_row_once(server: WandbServer, run_dir: RunDir) -> None:
    """The server holds metrics.jsonl, and none of its rows was sent twice."""
    run, rows = the_run(server), run_dir.rows()
    assert [row["step"] for row in run.rows] == [row["step"] for row in rows]
    assert run.rows == rows
    assert [row["_step"] for row in run.history] == list(range(len(rows)))
    assert run.n_received == len(rows)


def assert_only_the_mirror_failed(path, undisturbed, capfd, reason: str) -> None:
    """Equal rows and weights; one line in the log with the reason and the way out, none on the terminal."""
    assert_equal_runs(RunDir(path), undisturbed)
    (line,) = told(RunDir(path))
    assert reason in line
    assert f"python -m grok_sweep publish {path}" in line
    assert capfd.readouterr() == ("", "")


def sync(*words) -> str:
    """wandb sync, as a user gives it."""
    command = [sys.executable, "-m", "wandb", "sync", *map(str, words)]
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    with tempfile.TemporaryDirectory() as cwd:  # it leaves a wandb/ with logs where it runs
        done = subprocess.run(
            command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=60, check=True
        )
    return done.stderr


# --- what the server holds ----------------------------------------------------------------------------------


def test_the_server_holds_the_run(server, tmp_path, capfd):
    config = online(sweep="a sweep")
    assert run_one(config, tmp_path) is State.done
    run, run_dir = the_run(server), RunDir(tmp_path)
    assert_each_row_once(server, run_dir)
    assert run.id == f"a sweep-{run_id(config)}"
    assert (run.project, run.group, run.name) == ("grok_sweep", "a sweep", run_id(config))
    assert (run.job_type, run.tags) == ("train", ["a test"])
    assert run.config == flat(config)
    assert run.step_axes == {"*": "step"}
    summary = run_dir.summary()
    assert summary is not None
    assert {"t_train", "t_test", "grok_delay", "phase", "budget", "final.test_acc", "n_train"} <= summary.keys()
    # The server has no null: what is not there yet is not in its summary.
    expected = {name: value for name, value in summary.items() if name != "settings" and value is not None}
    assert {name: run.summary.get(name) for name in expected} == expected
    assert not {name for name, value in summary.items() if value is None} & run.summary.keys()
    assert "settings" not in run.summary
    assert (run.exit_code, run.preempting) == (0, False)
    assert told(run_dir) == []
    forget()
    assert capfd.readouterr() == ("", "")


def test_a_run_interrupted_twice_is_sent_once(server, tmp_path):
    assert run_one(online(), tmp_path, stop_after(11)) is State.interrupted
    run = the_run(server)
    assert (run.exit_code, run.preempting) == (1, True)
    assert len(run.rows) == 12
    assert run_one(online(), tmp_path, stop_after(12)) is State.interrupted
    forget()  # another process
    assert run_one(online(), tmp_path) is State.done
    assert_each_row_once(server, RunDir(tmp_path))
    assert (run.exit_code, run.summary["end"]) == (0, "n_steps")
    assert told(RunDir(tmp_path)) == []


def test_a_server_that_says_old_things_of_the_last_row_gets_no_row_twice(server, tmp_path):
    """Its count of rows is up to date; the last row and the summary come from a cache."""
    run_one(online(), tmp_path, stop_after(11))
    server.stale_after = 4
    run_one(online(), tmp_path)
    assert_each_row_once(server, RunDir(tmp_path))


def test_a_run_killed_after_its_rows_were_uploaded_is_sent_once(server, tmp_path):
    """kill -9 between a checkpoint and the end; wandb sends rows every 15 seconds, whatever its settings say."""
    program = (
        "import sys, time; from test_wandb_online import online, run_one\n"
        "from grok_sweep.run import Hooks\n"
        f"run_one(online(n_steps=2000), {str(tmp_path)!r}, Hooks(stop=lambda: time.sleep(0.02) or False))\n"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": paths})
    deadline = time.monotonic() + 60
    while not server.runs or not the_run(server).rows:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    n_killed_at = len(the_run(server).rows)
    assert the_run(server).exit_code is None
    last = RunDir(tmp_path).rows()[-1]["step"]
    assert run_one(online(n_steps=last + 30), tmp_path) is State.done
    assert_each_row_once(server, RunDir(tmp_path))
    assert len(the_run(server).rows) > n_killed_at


def test_more_steps_continue_the_run(server, tmp_path):
    """The shorter run ended with a row that the longer one has not; the server keeps it, and misses none for it."""
    every_7 = dataclasses.replace(MEASURES, every=7)
    run_one(online(measures=every_7), tmp_path)
    assert the_run(server).config["n_steps"] == N_STEPS
    run_one(online(measures=every_7, n_steps=N_STEPS + 30), tmp_path)
    run_one(online(measures=every_7, n_steps=N_STEPS + 60), tmp_path)
    steps = [row["step"] for row in RunDir(tmp_path).rows()]
    assert N_STEPS not in steps
    run = the_run(server)
    assert [row["step"] for row in run.rows] == sorted({*steps, N_STEPS, N_STEPS + 30})
    assert [row for row in run.rows if row["step"] in steps] == RunDir(tmp_path).rows()
    assert run.n_received == len(run.rows)
    assert run.config["n_steps"] == N_STEPS + 60
    assert run.summary["steps"] == N_STEPS + 60
    assert told(RunDir(tmp_path)) == []


def test_a_folder_that_lost_its_record_asks_the_server(server, tmp_path):
    run_one(online(), tmp_path / "here", stop_after(11))
    assert run_one(online(), tmp_path / "elsewhere") is State.done
    run = the_run(server)
    assert [row["step"] for row in run.rows] == list(range(N_STEPS + 1))
    assert run.n_received == N_STEPS + 1


def test_what_is_null_at_the_end_is_not_left_over_from_before(server, tmp_path):
    run_dir = RunDir(tmp_path)
    for t_test in (7, None):
        mirror = open_mirror(online(), run_dir, "name", pytest.fail)
        mirror.finish({"t_test": t_test, "phase": "grokking"}, State.done)
        assert the_run(server).summary.get("t_test") == t_test
    assert the_run(server).summary["phase"] == "grokking"


def test_a_sweep_of_two_workers(server, tmp_path):
    """By the command line: two processes, each with a helper of its own, and nothing of wandb's on the terminal."""
    command = [
        sys.executable, "launch.py", "-m", "frac=0.3,0.4", "p=23", "model.d_model=16", "steps=40", "sweep=two",
        "logger.mode=online", "logger.tags=[a,b]", "hydra.launcher.n_workers=2", f"root={tmp_path}",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wandb" not in done.stdout + done.stderr
    assert len(server.runs) == 2
    for run in server.runs.values():
        sweep, _, name = run.id.rpartition("-")
        assert (sweep, run.group, run.tags, run.exit_code) == ("two", "two", ["a", "b"], 0)
        assert run.rows == RunDir(tmp_path / "two" / name).rows()


# --- failures -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> RunDir:
    """The run without W&B."""
    path = tmp_path_factory.mktemp("undisturbed")
    run_one(silent(), path)
    return RunDir(path)


def no_key(server: WandbServer, monkeypatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY")


def wrong_key(server: WandbServer, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "local-" + "9" * 40)


def no_network(server: WandbServer, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", NOWHERE)


def no_answer(server: WandbServer, monkeypatch) -> None:
    server.fault = Fault.silence


def only_errors(server: WandbServer, monkeypatch) -> None:
    server.fault = Fault.error


@pytest.mark.parametrize(
    "spoil, said",
    [
        (no_key, "No API key configured"),
        (wrong_key, "401"),
        (no_network, "connection refused"),
        (no_answer, "context deadline exceeded"),
        (only_errors, "HTTP 500"),
    ],
)
def test_a_server_out_of_reach_is_told_once_and_the_rows_are_left_to_sync(
    server, tmp_path, monkeypatch, undisturbed, capfd, spoil, said
):
    spoil(server, monkeypatch)
    began = time.monotonic()
    assert run_one(impatient(), tmp_path) is State.done
    assert time.monotonic() - began < IMPATIENT_S + SPARE_S
    run_dir = RunDir(tmp_path)
    assert_equal_runs(run_dir, undisturbed)
    (line,) = told(run_dir)
    assert said in line
    assert f"wandb sync {run_dir.wandb}" in line
    assert logged(offline_log(run_dir)) == run_dir.rows()
    assert capfd.readouterr() == ("", "")
    # Later all is well, and the user does as told.
    server.fault = Fault.none
    monkeypatch.undo()
    alone(monkeypatch, tmp_path, server.url)
    sync(run_dir.wandb)
    assert_each_row_once(server, run_dir)


def test_a_process_waits_for_a_silent_server_only_once(server, tmp_path):
    server.fault = Fault.silence
    run_one(impatient(), tmp_path / "one", stop_after(2))
    run_one(impatient(), tmp_path / "other", stop_after(2))
    (line,) = told(RunDir(tmp_path / "other"))
    assert "not tried, as" in line
    assert len(offline_log(RunDir(tmp_path / "other")).rows) == 3


def test_after_a_missing_key_the_next_run_tries_again(server, tmp_path, monkeypatch):
    with monkeypatch.context() as without:
        without.delenv("WANDB_API_KEY")
        run_one(online(), tmp_path / "one", stop_after(2))
    run_one(online(), tmp_path / "other", stop_after(2))
    assert told(RunDir(tmp_path / "other")) == []
    assert len(the_run(server).rows) == 3


def test_after_an_attempt_without_server_the_next_one_sends_all_rows(server, tmp_path):
    server.fault = Fault.error
    run_one(impatient(), tmp_path, stop_after(11))
    server.fault = Fault.none
    forget()  # another process
    run_one(online(), tmp_path)
    assert_each_row_once(server, RunDir(tmp_path))
    assert list(RunDir(tmp_path).wandb.glob("offline-run-*")) == []


def test_after_an_attempt_with_server_one_without_leaves_only_new_rows_to_sync(server, tmp_path):
    run_one(online(), tmp_path, stop_after(11))
    server.fault = Fault.error
    run_one(impatient(), tmp_path)
    assert len(told(RunDir(tmp_path))) == 1
    server.fault = Fault.none
    sync(RunDir(tmp_path).wandb)
    assert_each_row_once(server, RunDir(tmp_path))


@pytest.mark.parametrize("fault", [Fault.error, Fault.silence, None], ids=["error", "silence", "gone"])
def test_a_server_that_dies_meanwhile_delays_the_end_by_the_timeout_at_most(
    server, tmp_path, undisturbed, capfd, fault
):
    def die():
        if fault is None:
            server.close()
        else:
            server.fault = fault

    began = time.monotonic()
    assert run_one(impatient(), tmp_path, once_at(15, die)) is State.done
    assert time.monotonic() - began < IMPATIENT_S + SPARE_S
    assert_only_the_mirror_failed(tmp_path, undisturbed, capfd, "TimeoutError")


def test_what_a_server_took_without_a_word_is_not_published_again(server, tmp_path):
    """It kept the rows and answered 500 to them, again and again: only asking it tells what it has."""
    run_one(impatient(), tmp_path, stop_after(11))
    run_one(impatient(), tmp_path, once_at(15, lambda: setattr(server, "fault", Fault.mute)))
    run_dir = RunDir(tmp_path)
    assert "TimeoutError" in told(run_dir)[0]
    assert the_run(server).rows == run_dir.rows()
    server.fault = Fault.none
    assert publish(tmp_path) == 0
    assert the_run(server).rows == run_dir.rows()
    assert the_run(server).exit_code == 0


def test_offline_after_an_online_attempt_that_broke_off_sends_nothing_twice(server, tmp_path):
    server_dies = once_at(15, lambda: setattr(server, "fault", Fault.error))
    run_one(impatient(), tmp_path, server_dies)
    server.fault = Fault.none
    run_one(offline(n_steps=N_STEPS + 5), tmp_path)
    run_dir = RunDir(tmp_path)
    assert len(told(run_dir)) == 2
    assert "only the server knows which rows it took" in told(run_dir)[1]
    assert list(run_dir.wandb.glob("offline-run-*")) == []
    publish(tmp_path)
    assert_each_row_once(server, run_dir)


def test_a_helper_killed_online_is_told_once_and_the_rest_can_be_published(server, tmp_path, undisturbed, capfd):
    assert run_one(online(), tmp_path, once_at(15, lambda: os.kill(helpers()[0], signal.SIGKILL))) is State.done
    assert_only_the_mirror_failed(tmp_path, undisturbed, capfd, "Connection")
    publish(tmp_path)
    assert_each_row_once(server, RunDir(tmp_path))


def test_a_helper_killed_online_takes_nothing_from_the_next_run(server, tmp_path):
    run_one(online(), tmp_path / "one", once_at(15, lambda: os.kill(helpers()[0], signal.SIGKILL)))
    run_one(online(sweep="other"), tmp_path / "other")
    assert server.runs[f"other-{run_id(online())}"].rows == RunDir(tmp_path / "other").rows()
    assert told(RunDir(tmp_path / "other")) == []


# --- the stub itself ----------------------------------------------------------------------------------------


def test_the_stub_takes_a_row_sent_twice_once_and_counts_it_twice():
    with wandb_server() as stub:
        stub.answer("mutation UpsertBucket {}", {"name": "r", "project": "p"})
        for _ in range(2):
            stub.take_stream("r", {"files": {"wandb-history.jsonl": {"offset": 1, "content": ['{"a": 1}']}}})
        assert (stub.runs["r"].rows, stub.runs["r"].n_received) == ([{"a": 1}], 2)
        assert stub.answer("query Strange { x }", {}) == {}
        assert stub.unknown == ["Strange"]


def test_the_client_names_the_account_by_its_key(server, tmp_path):
    with contextlib.closing(server):
        run_one(online(), tmp_path, stop_after(2))
    assert any(f"/files/{ENTITY}/grok_sweep/" in path for path in server.requests)
    assert wandb.__version__ == "0.31.0", "the stub answers what this version asks; see constraints.txt"
