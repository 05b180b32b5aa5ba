"""W&B as a mirror: offline, each row once after a resume; and a mirror that fails costs the run nothing."""

import json
import subprocess
import sys

import pytest
import wandb
from small_runs import assert_equal_runs, small_config

from grok_sweep.config import LoggerConfig, LoggerKind, LoggerMode, run_id
from grok_sweep.run import Hooks, run_one
from grok_sweep.store import RunDir, State

OFFLINE = LoggerConfig(kind=LoggerKind.wandb, mode=LoggerMode.offline, tags=["a test"])


def offline_log(run_dir: RunDir) -> list[dict]:
    """Every record of the one offline log, read back by W&B's own command."""
    (file,) = run_dir.wandb.glob("offline-run-*/*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_an_offline_mirror_holds_each_row_once_after_a_resume(tmp_path):
    config = small_config(n_steps=40, logger=OFFLINE)
    stops = iter([False] * 17 + [True] * 1000)
    assert run_one(config, tmp_path, Hooks(stop=lambda: next(stops))) is State.interrupted
    assert run_one(config, tmp_path) is State.done
    run_dir = RunDir(tmp_path)
    records = offline_log(run_dir)
    text = json.dumps(records)
    assert f"default-{run_id(config)}" in text
    assert '"a test"' in text
    items = [record["history"]["item"] for record in records if record["type"] == "history"]
    assert [item["step"] for item in items] == [row["step"] for row in run_dir.rows()]
    assert [item["train_loss"] for item in items] == [row["train_loss"] for row in run_dir.rows()]


@pytest.mark.parametrize("broken", ["init", "log"])
def test_a_mirror_that_fails_costs_the_run_nothing(tmp_path, monkeypatch, broken):
    config = small_config(n_steps=30, logger=OFFLINE)
    run_one(small_config(n_steps=30), tmp_path / "without")

    class Dead:
        def define_metric(self, *words, **named):
            pass

        def log(self, row):
            raise ConnectionResetError("the helper process is gone")

    def init(**settings):
        if broken == "init":
            raise wandb.errors.UsageError("No API key configured")
        return Dead()

    monkeypatch.setattr(wandb, "init", init)
    assert run_one(config, tmp_path / "with") is State.done
    assert_equal_runs(RunDir(tmp_path / "with"), RunDir(tmp_path / "without"))
    log = (tmp_path / "with" / "log.txt").read_text()
    assert log.count("W&B stopped") == 1, "told once"
    assert "metrics.jsonl holds every row" in log
