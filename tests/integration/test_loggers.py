"""W&B as a mirror, offline: each row once after a resume; and a mirror that fails costs the run nothing.

The logs are read back by W&B's own command and by a reader of our own (tests/wandb_log.py). What needs a server:
test_wandb_online.py.
"""

import errno
import json
import os
import signal
import subprocess
import sys

import pytest
import wandb
from small_runs import assert_equal_runs, small_config
from wandb_log import BLOCK, NotALog, WandbLog, payloads, read_log
from wandb_server import alone, forget, helpers

from grok_sweep import loggers, run
from grok_sweep.config import (
    CheckpointConfig,
    LoggerConfig,
    LoggerKind,
    LoggerMode,
    MeasuresConfig,
    RunConfig,
    flat,
    run_id,
)
from grok_sweep.run import Hooks, run_one
from grok_sweep.store import RunDir, State

MEASURES = MeasuresConfig(names=["restricted_loss", "excluded_loss_k", "key_freqs", "n_key_freqs"])
N_STEPS = 40


@pytest.fixture(autouse=True)
def no_server(monkeypatch, tmp_path_factory):
    """wandb without a user's settings, and with no server to find."""
    alone(monkeypatch, tmp_path_factory.mktemp("home"))
    yield
    forget()


def offline(**changes) -> RunConfig:
    logger = LoggerConfig(kind=LoggerKind.wandb, mode=LoggerMode.offline, tags=["a test"])
    defaults = {"n_steps": N_STEPS, "measures": MEASURES, "logger": logger, "checkpoint": CheckpointConfig(0.001)}
    return small_config(**(defaults | changes))


def silent(**changes) -> RunConfig:
    return offline(logger=LoggerConfig(kind=LoggerKind.none), **changes)


def stop_after(n_steps: int) -> Hooks:
    """The attempt ends once it has made so many steps."""
    left = iter(range(n_steps))
    return Hooks(stop=lambda: next(left, None) is None)


def once_at(n_steps: int, action) -> Hooks:
    """Do something between two steps, once, and go on."""
    left = iter(range(n_steps))

    def stop() -> bool:
        if next(left, None) == n_steps - 1:
            action()
        return False

    return Hooks(stop=stop)


def log_file(run_dir: RunDir):
    (file,) = run_dir.wandb.glob("offline-run-*/*.wandb")
    return file


def offline_log(run_dir: RunDir) -> WandbLog:
    return read_log(log_file(run_dir))


def inspected(run_dir: RunDir) -> list[dict]:
    """Every record of the one offline log, read back by W&B's own command."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(log_file(run_dir))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()]


def logged(log: WandbLog) -> list[dict]:
    """The rows of a log without W&B's own additions."""
    return [{name: value for name, value in row.items() if name[0] != "_"} for row in log.rows]


def told(run_dir: RunDir) -> list[str]:
    """What log.txt says of W&B."""
    return [line for line in run_dir.log_file.read_text().splitlines() if "W&B" in line]


# --- what the offline log holds -----------------------------------------------------------------------------


def test_the_log_of_a_run_resumed_twice_holds_each_row_once_and_all_that_names_the_run(tmp_path):
    config = offline(sweep="a sweep: one")
    assert run_one(config, tmp_path, stop_after(11)) is State.interrupted
    assert run_one(config, tmp_path, stop_after(12)) is State.interrupted
    assert run_one(config, tmp_path) is State.done
    run_dir = RunDir(tmp_path)
    log = offline_log(run_dir)
    assert len(run_dir.rows()) == N_STEPS + 1
    assert logged(log) == run_dir.rows()
    assert [row["_step"] for row in log.rows] == list(range(N_STEPS + 1))
    assert log.metrics == [("step", ""), ("*", "step")]
    assert log.run.run_id == f"a sweep_ one-{run_id(config)}", "W&B allows no colon"
    assert (log.run.run_group, log.run.job_type, log.run.display_name) == ("a sweep: one", "train", run_id(config))
    assert (log.run.project, list(log.run.tags)) == ("grok_sweep", ["a test"])
    assert log.config == flat(config)
    assert log.exit_code == 0
    assert told(run_dir) == []


def test_the_summary_is_that_of_the_run_without_its_settings(tmp_path):
    run_one(offline(), tmp_path)
    summary = RunDir(tmp_path).summary()
    assert summary is not None
    assert {"t_train", "t_test", "grok_delay", "phase", "budget", "final.test_acc", "n_train"} <= summary.keys()
    log = offline_log(RunDir(tmp_path))
    assert {name: log.summary[name] for name in summary if name != "settings"} == {
        name: value for name, value in summary.items() if name != "settings"
    }
    assert "settings" not in log.summary


def test_an_interrupted_run_is_no_finished_one(tmp_path):
    run_one(offline(), tmp_path, stop_after(11))
    log = offline_log(RunDir(tmp_path))
    assert log.exit_code == 1
    assert "preempting" in log.kinds


def test_our_reader_and_wandbs_own_command_agree(tmp_path):
    run_one(offline(), tmp_path)
    run_dir = RunDir(tmp_path)
    assert log_file(run_dir).stat().st_size > BLOCK, "else no record goes over the end of a block"
    theirs, ours = inspected(run_dir), offline_log(run_dir)
    assert ours.kinds == [record["type"] for record in theirs]
    assert ours.rows == [record["history"]["item"] for record in theirs if record["type"] == "history"]
    assert ours.exit_code == theirs[-1]["exit"]["exit_code"]
    (run,) = [record["run"] for record in theirs if record["type"] == "run"]
    assert (ours.run.run_id, ours.run.run_group) == (run["run_id"], run["run_group"])


def test_our_reader_bears_a_torn_end_and_no_changed_byte(tmp_path):
    run_one(offline(), tmp_path)
    content = log_file(RunDir(tmp_path)).read_bytes()
    whole = list(payloads(content))
    torn = [list(payloads(content[:n])) for n in range(8, len(content), 1009)]
    assert all(records == whole[: len(records)] for records in torn)
    assert len(torn[-1]) < len(whole)
    with pytest.raises(NotALog, match="checksum"):
        list(payloads(content[:20_000] + bytes([content[20_000] ^ 1]) + content[20_001:]))
    with pytest.raises(NotALog, match="begins"):
        list(payloads(b"else" + content))


def test_a_longer_run_begins_its_log_anew(tmp_path):
    run_one(offline(), tmp_path)
    first = log_file(RunDir(tmp_path)).parent
    run_one(offline(n_steps=N_STEPS + 20), tmp_path)
    assert not first.exists()
    log = offline_log(RunDir(tmp_path))
    assert logged(log) == RunDir(tmp_path).rows()
    assert log.config["n_steps"] == N_STEPS + 20


def test_a_mirror_is_shown_a_row_only_once_it_stands_behind_a_checkpoint(tmp_path, monkeypatch):
    run_dir, shown = RunDir(tmp_path), []

    class Spy(loggers.NoMirror):
        def rows(self, rows):
            checkpoint = run_dir.load_checkpoint()
            assert [row["step"] for row in rows] == (
                [] if checkpoint is None else list(range(checkpoint[1]["step"] + 1))
            )
            shown.append(len(rows))

    monkeypatch.setattr(run, "open_mirror", lambda *words: Spy())
    run_one(offline(), tmp_path, stop_after(11))
    assert shown[0] == 0
    assert shown[-1] == 12
    assert len(set(shown)) > 3, "else nothing was shown on the way"


def test_no_number_is_null_in_the_log(tmp_path):
    run_one(offline(), tmp_path)
    rows = logged(offline_log(RunDir(tmp_path)))
    assert rows[0]["restricted_loss"] is None, "no key frequencies at the start"


# --- failures -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> RunDir:
    """The run without W&B."""
    path = tmp_path_factory.mktemp("undisturbed")
    run_one(silent(), path)
    return RunDir(path)


def test_an_error_in_training_ends_the_run_in_wb_too(tmp_path):
    def fail():
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"):
        run_one(offline(), tmp_path, once_at(15, fail))
    log = offline_log(RunDir(tmp_path))
    assert log.exit_code == 1
    assert logged(log) == RunDir(tmp_path).rows()[: len(log.rows)]
    assert run_one(offline(), tmp_path) is State.done
    log = offline_log(RunDir(tmp_path))
    assert (logged(log), log.exit_code) == (RunDir(tmp_path).rows(), 0)


def test_a_killed_helper_is_told_once_and_the_log_begun_anew(tmp_path, undisturbed, capfd):
    def kill_helper():
        (pid,) = helpers()
        os.kill(pid, signal.SIGKILL)

    assert run_one(offline(), tmp_path, once_at(15, kill_helper)) is State.done
    run_dir = RunDir(tmp_path)
    assert_equal_runs(run_dir, undisturbed)
    (line,) = told(run_dir)
    assert "W&B failed (Connection" in line
    assert f"wandb sync {run_dir.wandb}" in line
    log = offline_log(run_dir)
    assert logged(log) == run_dir.rows()
    assert log.exit_code == 0
    assert capfd.readouterr() == ("", "")


def test_a_helper_killed_just_before_the_end_costs_no_row(tmp_path):
    run_dir = RunDir(tmp_path)
    tell: list[str] = []
    run_one(silent(), tmp_path)
    mirror = loggers.open_mirror(offline(), run_dir, "name", tell.append)
    mirror.rows(run_dir.rows())
    os.kill(helpers()[0], signal.SIGKILL)
    mirror.finish({"phase": "grokking"}, State.done)
    assert len(tell) == 1
    log = offline_log(run_dir)
    assert logged(log) == run_dir.rows()
    assert (log.summary["phase"], log.exit_code) == ("grokking", 0)


def test_a_dead_helper_leaves_no_trace_at_exit(tmp_path):
    """Its death must not become the process's exit code, nor a traceback of wandb's atexit hook."""
    program = (
        "import os, signal\n"
        "from test_loggers import helpers, offline, once_at, run_one\n"
        f"run_one(offline(), {str(tmp_path)!r}, once_at(15, lambda: os.kill(helpers()[0], signal.SIGKILL)))\n"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert RunDir(tmp_path).state() is State.done


class Broken:
    """A W&B run that can be opened, and no more."""

    dir, id = "offline-run-x/files", "x"

    def define_metric(self, *words, **named):
        pass

    def log(self, *words, **named):
        raise ConnectionResetError("the helper process is gone")


def no_init(**settings):
    raise wandb.errors.UsageError("something is wrong")


@pytest.mark.parametrize("init", [no_init, lambda **settings: Broken()], ids=["init", "log"])
def test_a_mirror_that_fails_for_good_is_told_once(tmp_path, monkeypatch, undisturbed, init):
    monkeypatch.setattr(wandb, "init", init)
    assert run_one(offline(), tmp_path) is State.done
    assert_equal_runs(RunDir(tmp_path), undisturbed)
    (line,) = told(RunDir(tmp_path))
    assert "the run goes on without it, metrics.jsonl holds every row" in line
    assert f"python -m grok_sweep publish {tmp_path}" in line
    assert "logger=none" in line


def test_wandb_that_is_not_installed(tmp_path, monkeypatch, undisturbed):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert run_one(offline(), tmp_path) is State.done
    assert_equal_runs(RunDir(tmp_path), undisturbed)
    (line,) = told(RunDir(tmp_path))
    assert "wandb" in line
    assert "logger=none" in line


def test_a_full_disk(tmp_path, monkeypatch, undisturbed):
    """From the middle of the run on nothing can be written beside W&B's log."""
    full = iter(range(1000))

    def write(path, content):
        if next(full) > 15:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(loggers, "write_atomic", write)
    assert run_one(offline(), tmp_path) is State.done
    assert_equal_runs(RunDir(tmp_path), undisturbed)
    (line,) = told(RunDir(tmp_path))
    assert "No space left on device" in line


def test_after_a_failure_a_resumed_run_is_mirrored_again_from_its_first_row(tmp_path, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(wandb, "init", no_init)
        run_one(offline(), tmp_path, stop_after(11))
    assert list(RunDir(tmp_path).wandb.glob("offline-run-*")) == []
    assert run_one(offline(), tmp_path) is State.done
    assert logged(offline_log(RunDir(tmp_path))) == RunDir(tmp_path).rows()
    assert len(told(RunDir(tmp_path))) == 1


def test_a_run_that_failed_can_be_mirrored_again_in_the_same_process(tmp_path):
    """It leaves its W&B run open, and W&B refuses an id that is open."""

    def fail():
        raise MemoryError

    with pytest.raises(MemoryError):
        run_one(offline(), tmp_path, once_at(15, fail))
    assert run_one(offline(), tmp_path) is State.done
    assert told(RunDir(tmp_path)) == []
    assert logged(offline_log(RunDir(tmp_path))) == RunDir(tmp_path).rows()


def test_runs_that_are_open_at_the_same_time_keep_apart(tmp_path):
    """One of them dies: the others' helper process is not taken from them."""
    dirs = [RunDir(tmp_path / name) for name in ("one", "other")]
    for run_dir in dirs:
        run_dir.path.mkdir()
    tell: list[str] = []
    one, other = [loggers.open_mirror(offline(), run_dir, run_dir.path.name, tell.append) for run_dir in dirs]
    one.rows([{"step": 0, "train_loss": 1.0}])
    other.rows([{"step": 0, "train_loss": 2.0}])
    one.rows([{"step": 0}, {"step": 1, 2: "no name"}])
    assert len(tell) == 1
    other.rows([{"step": 0}, {"step": 1, "train_loss": 3.0}])
    other.finish({}, State.done)
    assert logged(offline_log(dirs[1])) == [{"step": 0, "train_loss": 2.0}, {"step": 1, "train_loss": 3.0}]
    assert len(tell) == 1


def test_nothing_is_written_to_the_terminal(tmp_path, capfd):
    run_one(offline(), tmp_path)
    forget()
    assert capfd.readouterr() == ("", "")
