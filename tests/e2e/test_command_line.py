"""launch.py as a user types it: messages, exit codes, and what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from grok_sweep.store import State, SweepDir

ROOT = Path(__file__).parents[2]
SMALL = ["p=23", "frac=0.4", "model.d_model=16", "measures=off", "logger=none", "steps=60"]
LONG = [*SMALL[:-1], "steps=1000000"]
Launch = Callable[..., subprocess.CompletedProcess[str]]


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "launch.py"), *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    """Runs launch.py from an empty folder; its runs/ lies there."""

    def launch(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments), cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120
        )

    return launch


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.05)


def training(sweep: SweepDir) -> bool:
    """Whether every planned run has logged a few rows."""
    runs = sweep.plan()
    return bool(runs) and all(len(sweep.run(run.run_id).rows()) > 3 for run in runs)


# --- wrong settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, messages",
    [
        (["data.pp=3"], ["Key 'pp' not in 'DataConfig'"]),
        (["data.p=abc"], ["Value 'abc' of type 'str' could not be converted to Integer"]),
        (["frac=0.3,0.5"], ["To sweep over it, add --multirun"]),
        (
            ["p=59", "data.p=31", "frac=2", "measures.names=[gini_we]", "max_failures=0"],
            [
                "- p=59 and data.p=31 disagree: p stands for data.p; leave one out",
                "- data.frac_train must lie in (0, 1)",
                "- unknown measures: gini_we (did you mean gini_W_E?). Known: ",
                "- max_failures must be at least 1, got 0",
            ],
        ),
        (
            ["-m", "p=2,23", "frac=0.3,1.5", "steps=5"],
            [
                "- data.p must be at least 3 (one frequency needs three residues), got 2 (2 of 4 runs)",
                "(2 of 4 runs)",
            ],
        ),
        (["-m", "frac=interval(0,1)", "hydra.launcher.n_workers=0"], ["name its points", "n_workers must be"]),
        (["-m", "p=23,31", "hydra/launcher=basic"], ["hydra/launcher=basic takes override strings, not a plan"]),
    ],
)
def test_wrong_settings_leave_with_2_and_nothing_done(
    launch: Launch, tmp_path: Path, arguments: list[str], messages: list[str]
) -> None:
    done = launch(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for message in messages:
        assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


# --- dry run ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_it_is_the_same_training_to_rounding(launch: Launch, tmp_path: Path) -> None:
    """In a process of its own: the hook that checks shapes refuses correct ones in compiled code."""
    words = [*SMALL, "dtype=float64", "steps=30", "snapshots.n=1"]
    rows = {}
    for name in ("compiled", "again", "plain"):
        done = launch(*words, f"compile={name != 'plain'}".lower(), f"sweep={name}")
        assert done.returncode == 0, done.stderr
        (run,) = SweepDir(tmp_path / "runs" / name).plan()
        rows[name] = SweepDir(tmp_path / "runs" / name).run(run.run_id).rows()
        attempt = json.loads((tmp_path / "runs" / name / run.run_id / "provenance.json").read_text())["attempts"][0]
        assert attempt["gradient"] == ("by hand, folded, 2048 pairs at a time" if name == "plain" else "compiled")
    assert [row["weights_hash"] for row in rows["compiled"]] == [row["weights_hash"] for row in rows["again"]]
    for compiled, plain in zip(rows["compiled"], rows["plain"], strict=True):
        assert compiled["test_loss"] == pytest.approx(plain["test_loss"], rel=1e-9)


def test_a_dry_run_read_in_part_complains_of_nothing(tmp_path: Path) -> None:
    words = command("-m", *SMALL, "seed=0,1", "dry_run=true")
    process = subprocess.Popen(
        words, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 0


def test_a_dry_run_prints_the_plan_and_does_nothing(launch: Launch, tmp_path: Path) -> None:
    done = launch("-m", *SMALL, "wd=0.1,1", "seed=0,1,0", "dry_run=true")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["run_id", "wd", "seed", "state", "would"]
    assert [line.split()[1:] for line in lines[1:5]] == [
        [wd, seed, "planned", "run"] for wd in ("0.1", "1.0") for seed in ("0", "1")
    ]
    assert lines[5:7] == [
        "4 runs in runs/default: 4 to train, 0 to skip",
        "  4 are trained from the beginning",
    ]
    assert re.fullmatch(r"about \S+ core-hours: \d+ s for \d workers? of \d threads?; \S+ kB of disk", lines[7])
    assert re.fullmatch(r"  reckoned from steps timed here, \S+ ms", lines[8])
    assert lines[9:] == ["dry_run=true: nothing was started or written"]
    assert max(map(len, lines)) <= 80
    assert "note: 2 of 6 combinations mean a run that is asked for already: planned once" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_launcher_without_m_is_not_ignored_in_silence(launch: Launch) -> None:
    done = launch(*SMALL, "dry_run=true", "hydra/launcher=pool", "hydra.launcher.n_workers=3")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        f"note: {given} is not used without -m: one run is trained in this process"
        for given in ("hydra/launcher=pool", "hydra.launcher.n_workers=3")
    ]


# --- one run ------------------------------------------------------------------------------------------------


def test_one_run_then_the_same_again_then_more_steps(launch: Launch, tmp_path: Path) -> None:
    first = launch(*SMALL)
    assert first.returncode == 0, first.stderr
    (run,) = SweepDir(tmp_path / "runs" / "default").plan()
    assert run.axes == {}
    assert first.stdout.splitlines()[0] == f"run {run.run_id} in runs/default/{run.run_id}"
    assert "step 60/60  train loss " in first.stdout
    assert "done at step 60: t_train not reached, t_test not reached, confusion so far" in first.stdout
    again = launch(*SMALL)
    assert again.returncode == 0
    assert again.stdout.startswith("nothing left to do: done at step 60")
    more = launch(*SMALL[:-1], "steps=80", "hydra.verbose=false")
    assert "done at step 80" in more.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]


def test_ctrl_c_writes_the_checkpoint_and_a_second_process_leaves_a_live_run_alone(
    launch: Launch, tmp_path: Path
) -> None:
    sweep = SweepDir(tmp_path / "runs" / "default")
    process = subprocess.Popen(
        command(*LONG), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        until(lambda: training(sweep))
        second = launch(*LONG)
        assert second.returncode == 1
        assert f"this run is being trained by process {process.pid} on" in second.stderr
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "; the same command continues" in said.splitlines()[-1]
    run_dir = sweep.run(sweep.plan()[0].run_id)
    assert run_dir.state() is State.interrupted
    assert run_dir.checkpoint_file.exists()


@pytest.mark.parametrize("seconds", [0.2, 0.7, 1.2, 1.7])
def test_ctrl_c_while_it_starts_breaks_nothing(tmp_path: Path, seconds: float) -> None:
    process = subprocess.Popen(
        command(*LONG), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode in (-signal.SIGINT, 130)
    assert "Traceback" not in said


def test_what_a_run_that_ended_does_not_heed_is_said(launch: Launch, tmp_path: Path) -> None:
    rule = ["stop.test_loss=100", "stop.more_steps=3"]
    assert "by the stop rule" in launch(*SMALL, *rule).stdout
    again = launch(*SMALL, *rule)
    assert again.returncode == 0
    assert again.stderr == ""
    other = launch(*SMALL[:3], "logger=none", "steps=90", "snapshots.n=3", *rule)
    assert other.stderr.splitlines() == [
        "note: what has ended keeps the settings that it was trained with, here other measures.names, snapshots.n; "
        "python -m grok_sweep measure takes measures afterwards",
        "note: what a stop rule ended stays ended; another sweep=… trains it anew, with other steps or rule",
    ]
    assert "nothing left to do: done at step 3 by the stop rule" in other.stdout


# --- a sweep ------------------------------------------------------------------------------------------------


def test_a_sweep_with_a_run_that_fails(launch: Launch, tmp_path: Path) -> None:
    sweep = SweepDir(tmp_path / "runs" / "default")
    arguments = ["-m", *SMALL, "wd=0.5,1,2"]
    ids = [line.split()[0] for line in launch(*arguments, "dry_run=true").stdout.splitlines()[1:4]]
    # What stands in the way of the second run: a folder with another network's settings.
    sweep.run(ids[1]).path.mkdir(parents=True)
    sweep.run(ids[1]).settings_file.write_text(json.dumps({"data.p": 97}))
    done = launch(*arguments, "hydra.launcher.n_workers=2")
    assert done.returncode == 1, done.stderr
    assert [sweep.run(name).state() for name in ids] == [State.done, State.failed, State.done]
    assert [run.axes for run in sweep.plan()] == [{"optimizer.weight_decay": wd} for wd in (0.5, 1.0, 2.0)]
    assert done.stdout.startswith(
        "3 runs in runs/default: 3 to train, 0 finished before; workers: 2, threads of each: "
    )
    assert f"1 of 3 runs failed. First: {ids[1]} (wd=1.0), ValueError: " in done.stdout
    assert f"Log: runs/default/{ids[1]}/log.txt\n    20" in done.stdout
    assert "3 runs in runs/default: 2 done, 1 failed" in done.stdout
    assert done.stdout.splitlines()[-1] == f"next: {sys.executable} -m analysis sweep runs/default"

    sweep.run(ids[1]).settings_file.unlink()
    again = launch(*arguments)
    assert again.returncode == 1
    assert "starts" not in again.stdout
    retried = launch(*arguments, "retry=failed", "ensemble.size=2")
    assert retried.returncode == 0, retried.stdout
    assert "ensemble.size=2: 1 can train together, in a worker 2 at most" in retried.stdout
    assert "3 runs in runs/default: 3 to train" not in retried.stdout
    assert "3 runs in runs/default: 1 to train, 2 finished before; workers: 1" in retried.stdout
    assert "3 runs in runs/default: 3 done" in retried.stdout


def test_ctrl_c_stops_a_sweep_with_checkpoints(tmp_path: Path) -> None:
    sweep = SweepDir(tmp_path / "runs" / "s")
    process = subprocess.Popen(
        command("-m", *LONG, "sweep=s", "seed=0,1", "hydra.launcher.n_workers=2"),
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        until(lambda: training(sweep))
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted: 2 of 2 runs are left; the same command continues" in said
    for run in sweep.plan():
        assert sweep.run(run.run_id).state() is State.interrupted
        assert sweep.run(run.run_id).checkpoint_file.exists()


def test_workers_stop_with_a_checkpoint_when_the_launch_is_killed(tmp_path: Path) -> None:
    sweep = SweepDir(tmp_path / "runs" / "s")
    process = subprocess.Popen(
        command("-m", *LONG, "sweep=s", "seed=0,1", "hydra.launcher.n_workers=2"),
        cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: training(sweep))
    finally:
        process.kill()
        process.wait()
    until(lambda: all(sweep.run(run.run_id).state() is State.interrupted for run in sweep.plan()), 30)


@pytest.mark.parametrize("many", [(), ("-m", "seed=0,1")], ids=["one", "sweep"])
def test_what_is_not_to_be_had_here_is_told_before_any_work(
    launch: Launch, tmp_path: Path, many: tuple[str, ...]
) -> None:
    """A device that torch does not find, a root that is no folder: exit code 2, one message, nothing written."""
    (tmp_path / "file").write_text("")
    for words, said in (
        ("device=cuda:63", "CUDA devices here; use device=cpu or auto"),
        (f"root={tmp_path / 'file'}", "give another root="),
    ):
        done = launch(*many, "p=23", "model.d_model=16", "steps=5", "logger=none", words)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("wrong settings, nothing was started:\n- ")
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_sweep_without_an_axis_is_said_to_be_one_run(launch: Launch) -> None:
    assert "note: no setting has several values" in launch("-m", "p=23", "dry_run=true").stderr
    assert "note:" not in launch("-m", "p=23,29", "dry_run=true").stderr
