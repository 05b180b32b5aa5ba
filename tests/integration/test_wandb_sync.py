"""W&B as a mirror, offline and then synced, or published: the server gets each row once, whatever was sent before."""

import os
import subprocess
import sys

import pytest
from test_loggers import N_STEPS, log_file, offline, offline_log, silent, stop_after, told
from test_wandb_online import assert_each_row_once, online, sync, the_run

from grok_sweep.config import DataConfig
from grok_sweep.loggers import publish
from grok_sweep.run import run_one
from grok_sweep.store import RunDir

# --- publish ------------------------------------------------------------------------------------------------


def test_publish_brings_what_is_missing_and_nothing_twice(server, tmp_path):
    run_one(silent(), tmp_path)
    assert publish(tmp_path) == N_STEPS + 1
    assert_each_row_once(server, RunDir(tmp_path))
    assert the_run(server).summary["phase"] == "confusion_so_far"
    assert publish(tmp_path) == 0
    assert_each_row_once(server, RunDir(tmp_path))


def test_publish_goes_on_where_an_online_attempt_broke_off(server, tmp_path):
    run_one(online(), tmp_path, stop_after(11))
    run_one(silent(), tmp_path)
    assert publish(tmp_path) == N_STEPS + 1 - 12
    assert_each_row_once(server, RunDir(tmp_path))


def test_publish_takes_only_finished_runs(server, tmp_path):
    run_one(silent(), tmp_path, stop_after(11))
    with pytest.raises(ValueError, match="interrupted; only a run that is done or diverged"):
        publish(tmp_path)
    with pytest.raises(ValueError, match="planned"):
        publish(tmp_path / "nowhere")
    run_one(silent(n_steps=20), tmp_path)
    run_one(silent(), tmp_path, stop_after(5))
    with pytest.raises(ValueError, match="interrupted"):
        publish(tmp_path)
    assert server.runs == {}


# --- offline folders and the server -------------------------------------------------------------------------


def test_sync_of_a_resumed_offline_run_sends_each_row_once(server, tmp_path):
    for n_steps in (11, 12):
        run_one(offline(), tmp_path, stop_after(n_steps))
    run_one(offline(), tmp_path)
    assert "Finished syncing" in sync(RunDir(tmp_path).wandb)
    assert_each_row_once(server, RunDir(tmp_path))
    run = the_run(server)
    assert (run.exit_code, run.summary["end"], run.group, run.step_axes) == (0, "n_steps", "default", {"*": "step"})


def test_one_command_syncs_a_whole_sweep(server, tmp_path):
    dirs = [RunDir(tmp_path / name) for name in ("one", "other")]
    for frac_train, run_dir in zip((0.3, 0.4), dirs, strict=True):
        run_one(offline(data=DataConfig(p=23, frac_train=frac_train)), run_dir.path)
    sync(*tmp_path.glob("*/wandb"))
    assert sorted(len(run.rows) for run in server.runs.values()) == [N_STEPS + 1] * 2
    assert {run.config["data.frac_train"] for run in server.runs.values()} == {0.3, 0.4}


@pytest.mark.parametrize("cleaned", [False, True], ids=["kept", "removed by wandb clean"])
def test_a_run_resumed_after_a_sync_leaves_only_new_rows_to_sync(server, tmp_path, cleaned):
    wandb_dir = RunDir(tmp_path).wandb
    for n_steps in (11, 12, N_STEPS):
        run_one(offline(), tmp_path, stop_after(n_steps))
        sync(wandb_dir)
        if cleaned:
            command = [sys.executable, "-m", "wandb", "clean", "--min-hours", "0", "--force"]
            subprocess.run(command, env=os.environ | {"WANDB_DIR": str(tmp_path)}, check=True, timeout=60)
    assert_each_row_once(server, RunDir(tmp_path))
    assert len(list(wandb_dir.glob("offline-run-*"))) == (0 if cleaned else 3), "what was synced is the user's"


def test_a_torn_log_that_was_synced_leaves_the_rest_to_publish(server, tmp_path):
    """kill -9, wandb sync, which ends with an error, and the same command again: only the server knows its rows."""
    run_dir = RunDir(tmp_path)
    run_one(offline(), tmp_path, stop_after(30))
    file = log_file(run_dir)
    file.write_bytes(file.read_bytes()[:-12_000])
    n_left = len(offline_log(run_dir).rows)
    assert 10 < n_left < 31
    assert "incomplete record" in sync(run_dir.wandb)
    assert len(the_run(server).rows) == n_left
    run_one(offline(), tmp_path)
    (line,) = told(run_dir)
    assert "only the server knows which rows it took" in line
    publish(tmp_path)
    assert_each_row_once(server, run_dir)
    assert "No runs to sync" in sync(run_dir.wandb)


def test_from_offline_to_online_nothing_is_left_to_sync(server, tmp_path):
    run_one(offline(), tmp_path, stop_after(11))
    run_one(online(), tmp_path)
    assert_each_row_once(server, RunDir(tmp_path))
    assert list(RunDir(tmp_path).wandb.glob("offline-run-*")) == []
    assert "No runs to sync" in sync(RunDir(tmp_path).wandb)


def test_from_synced_to_online_the_rest_is_sent(server, tmp_path):
    run_one(offline(), tmp_path, stop_after(11))
    sync(RunDir(tmp_path).wandb)
    run_one(online(), tmp_path)
    assert_each_row_once(server, RunDir(tmp_path))


def test_from_online_to_offline_the_rest_is_left_to_sync(server, tmp_path):
    run_one(online(), tmp_path, stop_after(11))
    run_one(offline(), tmp_path)
    assert len(offline_log(RunDir(tmp_path)).rows) == N_STEPS + 1 - 12
    sync(RunDir(tmp_path).wandb)
    assert_each_row_once(server, RunDir(tmp_path))


def test_offline_asks_nobody(server, tmp_path):
    """At exit neither: wandb would report its own counts there."""
    program = f"from test_loggers import offline, run_one; run_one(offline(), {str(tmp_path)!r})"
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_ERROR_REPORTING"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment | {"PYTHONPATH": paths}, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert server.requests == []


def test_a_second_log_of_the_same_rows_is_twice_at_the_stub(server, tmp_path):
    """What the care is for: wandb sync always appends."""
    for name in ("one", "other"):
        run_one(offline(), tmp_path / name)
        sync(RunDir(tmp_path / name).wandb)
    assert len(the_run(server).rows) == 2 * (N_STEPS + 1)
