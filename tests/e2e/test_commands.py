"""python -m grok_sweep … as a user types it, over a sweep that workers of a pool train meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from synthetic_sweep import Counts, synthetic_sweep

from grok_sweep.store import State, SweepDir

ROOT = Path(__file__).parents[2]
LAUNCH = ["-m", "p=23", "frac=0.4", "model.d_model=16", "measures=off", "logger=none", "seed=range(0,4)", "sweep=s"]
LAUNCH += ["steps=4000", "checkpoint.every_s=0.2"]
TORCH_FREE = """
import sys
from grok_sweep.__main__ import main
code = main({words!r})
assert "torch" not in sys.modules
sys.exit(code)
"""


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *words], cwd=folder, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def run(folder: Path, *words: str) -> tuple[int, str]:
    """A command of ours, and that it needed no torch."""
    process = start(folder, "-c", TORCH_FREE.format(words=list(words)))
    said, _ = process.communicate(timeout=120)
    return process.returncode, said


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[tuple[SweepDir, subprocess.Popen[str]]]:
    """A launch of four runs by two workers that are both at it."""
    sweep = SweepDir(tmp_path / "runs" / "s")
    process = start(tmp_path, str(ROOT / "launch.py"), *LAUNCH, "hydra.launcher.n_workers=2")
    try:
        until(lambda: sum(len(sweep.run(run.run_id).rows()) > 3 for run in sweep.plan()) >= 2)
        yield sweep, process
    finally:
        process.kill()
        process.communicate()


def test_a_sweep_is_watched_cancelled_and_continued(launched, tmp_path: Path) -> None:
    sweep, launch = launched
    code, said = run(tmp_path, "status", "runs/s")
    assert code == 0
    assert said.splitlines()[1] == "2 running, 2 planned"

    watch = start(tmp_path, "-m", "grok_sweep", "watch", "runs/s")
    assert watch.stdout is not None
    lines = [watch.stdout.readline() for _ in range(3)]
    assert lines[0] == "4 runs in runs/s: 0 finished before\n"
    assert all(" is at step " in line for line in lines[1:])
    watch.send_signal(signal.SIGINT)
    said, _ = watch.communicate(timeout=30)
    assert watch.returncode == 130
    assert "no longer watched: 2 running, 2 planned" in said
    assert launch.poll() is None

    code, said = run(tmp_path, "cancel", "runs/s")
    assert code == 0, said
    assert "stopping 2 runs" in said
    assert "cancelled: nobody works on runs/s; 4 runs left" in said
    assert "launch.py -m p=23" in said
    told, _ = launch.communicate(timeout=60)
    assert launch.returncode == 130
    assert "cancelled: the runs write their checkpoints" in told
    states = [sweep.run(r.run_id).state() for r in sweep.plan()]
    assert set(states) == {State.interrupted, State.planned}
    assert all(
        sweep.run(r.run_id).checkpoint_file.exists()
        for r, state in zip(sweep.plan(), states, strict=True)
        if state is State.interrupted
    )

    watch = start(tmp_path, "-m", "grok_sweep", "watch", "runs/s")
    assert watch.stdout is not None
    assert watch.stdout.readline() == "4 runs in runs/s: 0 finished before\n"
    assert watch.stdout.readline() == "nobody works on the 4 runs left; waiting for workers\n"
    assert watch.stdout.readline() == "to train them:\n"
    watch.send_signal(signal.SIGINT)
    watch.communicate(timeout=30)

    again = start(tmp_path, str(ROOT / "launch.py"), *LAUNCH)
    code, said = run(tmp_path, "watch", "runs/s", "--every-s", "0.2")
    again.communicate(timeout=120)
    assert again.returncode == 0
    assert code == 0, said
    assert "[4 of 4]" in said
    assert "4 runs in runs/s: 4 done" in said
    for r in sweep.plan():
        steps = [row["step"] for row in sweep.run(r.run_id).rows()]
        assert steps == sorted(set(steps))
        assert steps[-1] == 4000


@pytest.mark.parametrize(
    "words, code",
    [
        (["status", "s"], 1),
        (["status", "--json", "s"], 1),
        (["info", "s"], 0),
        (["tail", "s"], 0),
        (["collect", "s"], 0),
        (["retry", "s"], 0),
        (["cancel", "s"], 0),
        (["settings"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_no_command_that_reads_needs_torch(tmp_path: Path, words: list[str], code: int) -> None:
    synthetic_sweep(tmp_path / "s", 12, 5, Counts(running=0, dead=1, failed=2, diverged=1, interrupted=1, planned=1))
    left_with, said = run(tmp_path, *words)
    assert left_with == code, said
    assert "Traceback" not in said.replace("| 2026-11-28T00:10:00Z Traceback", "")


def test_a_wrong_path_leaves_with_2_and_one_line(tmp_path: Path) -> None:
    for command in ("status", "watch", "tail", "info", "retry", "cancel", "collect", "publish"):
        code, said = run(tmp_path, command, "nowhere")
        assert (code, said) == (2, "nowhere: no such folder\n"), command
