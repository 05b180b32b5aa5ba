"""kill -9 at random moments, then the same command again: rows and weights equal the undisturbed run's bits."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_runs import assert_equal_runs

from grok_sweep.store import State, SweepDir

ROOT = Path(__file__).parents[2]
SETTINGS = [
    "p=31", "model.d_model=32", "lr=3e-3", "steps=1000", "logger=none", "checkpoint.every_s=0.1",
]  # fmt: skip
KILLS = 4


def start(root: Path, *words: str) -> subprocess.Popen:
    """The command in a process group of its own, one torch thread a process."""
    return subprocess.Popen(
        [sys.executable, "launch.py", *words, *SETTINGS, f"root={root}"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def rows_of_sweep(sweep: SweepDir) -> int:
    """Counted, not read: it is asked fifty times a second."""
    return sum(file.read_bytes().count(b"\n") for file in sweep.path.glob("*/metrics.jsonl"))


def kill_once_it_writes(root: Path, words: list[str], delay_s: float) -> bool:
    """Start, wait for new rows, wait on, kill the whole group; False where it ended first."""
    sweep = SweepDir(root / "default")
    process = start(root, *words)
    before, deadline = rows_of_sweep(sweep), time.monotonic() + 60
    resumed = False
    while process.poll() is None and not resumed:
        assert time.monotonic() < deadline, "no row in 60 s"
        time.sleep(0.02)
        count = rows_of_sweep(sweep)
        # A resumed run first cuts its rows back: then they grow again.
        resumed, before = count > before, min(before, count)
    time.sleep(delay_s)
    ended = process.poll() is not None
    if not ended:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return not ended


def finish(root: Path, words: list[str]) -> str:
    process = start(root, *words)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return output


SWEEP = ["-m", "frac=0.3,0.4,0.5", "hydra.launcher.n_threads=1"]


@pytest.mark.parametrize(
    "words",
    [["frac=0.4"], [*SWEEP, "hydra.launcher.n_workers=2"], [*SWEEP, "hydra.launcher.n_workers=1", "ensemble.size=3"]],
    ids=["single", "sweep", "ensemble"],
)
def test_killed_and_started_again_equals_undisturbed(tmp_path, words):
    seed = random.SystemRandom().randrange(10**6)
    print(f"delays drawn with random.Random({seed})")
    delays = random.Random(seed)
    finish(tmp_path / "whole", [word for word in words if "ensemble" not in word])
    killed = 0
    for _ in range(KILLS):
        killed += kill_once_it_writes(tmp_path / "killed", words, delays.uniform(0.0, 1.0))
    assert killed >= 2, "the run ended before it could be killed: make it longer"
    finish(tmp_path / "killed", words)
    whole, parts = SweepDir(tmp_path / "whole" / "default"), SweepDir(tmp_path / "killed" / "default")
    ids = [run.run_id for run in whole.plan()]
    assert ids == [run.run_id for run in parts.plan()]
    attempts = 0
    for run_id in ids:
        assert parts.run(run_id).state() is State.done
        assert_equal_runs(parts.run(run_id), whole.run(run_id))
        assert parts.run(run_id).summary()["bitwise"] is True
        attempts += parts.run(run_id).provenance_file.read_text().count('"started"')
    assert attempts > len(ids)


def test_a_second_process_on_a_live_run_says_so_and_leaves(tmp_path):
    first = start(tmp_path, "frac=0.4")
    try:
        sweep = SweepDir(tmp_path / "default")
        deadline = time.monotonic() + 60
        while rows_of_sweep(sweep) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        second = start(tmp_path, "frac=0.4")
        output, _ = second.communicate(timeout=60)
        assert second.returncode == 1, output
        assert f"process {first.pid} on" in output
        assert first.poll() is None, "the first one was to go on"
        first.send_signal(signal.SIGINT)
        output, _ = first.communicate(timeout=60)
        assert first.returncode == 130, output
        assert "the same command continues" in output
        (run,) = sweep.plan()
        assert sweep.run(run.run_id).state() is State.interrupted
    finally:
        if first.poll() is None:
            first.kill()
            first.communicate()
