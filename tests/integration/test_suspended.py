"""A worker that is suspended for longer than its claim lasts, at the worst moments: what it finds when it goes on is
another's, and it leaves without a trace. With real processes and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_runs import assert_equal_runs, plan_of, small_config

from grok_sweep.config import CheckpointConfig, MeasuresConfig, SnapshotsConfig
from grok_sweep.store import RunDir, State
from grok_sweep.sweep.worker import work

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 1.0
CONFIG = small_config(
    n_steps=150, claim_timeout_s=TIMEOUT_S, snapshots=SnapshotsConfig(5), checkpoint=CheckpointConfig(every_s=0.01),
    measures=MeasuresConfig(names=["gini_W_E", "excluded_loss_k"]),
)  # fmt: skip

WORKER = """
import os, signal, sys
from grok_sweep import run, store
from grok_sweep.sweep.worker import work

run.TICK_S = 0.01  # checkpoints are looked for at every tick
folder, run_id, where, name, at = sys.argv[1:]
seen = [0]

def stop_here(place, path):
    if place == where and os.path.basename(path).strip(".").startswith(name):
        seen[0] += 1
        if seen[0] == int(at):
            os.kill(os.getpid(), signal.SIGSTOP)

replaced = store._replaced

def before_the_file(path, content, fence, *others):
    stop_here("before the file", path)
    def then_before_the_name():
        fence()
        stop_here("before the name", path)
    return replaced(path, content, then_before_the_name, *others)

store._replaced = before_the_file
append = store.MetricsFile.append

def before_the_row(self, row):
    stop_here("before the row", self._path)
    append(self, row)

store.MetricsFile.append = before_the_row
print(work(folder, [run_id]), flush=True)
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """The same run, undisturbed."""
    sweep, (run_id,) = plan_of(tmp_path_factory.mktemp("whole") / "s", CONFIG)
    assert work(sweep.path, [run_id]) == {run_id: State.done}
    return sweep.run(run_id)


@pytest.fixture
def suspended() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a worker that suspends itself at a place, and wait until it has; killed in the end."""
    started: list[subprocess.Popen[str]] = []

    def begin(*words: str) -> subprocess.Popen[str]:
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(worker)
        ends = time.monotonic() + 60
        while Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            assert worker.poll() is None, worker.communicate()
            assert time.monotonic() < ends, "it never came to that place"
            time.sleep(0.02)
        return worker

    yield begin
    for worker in started:
        worker.kill()
        worker.communicate()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    "where, name, at",
    [
        ("before the file", "checkpoint", 2),
        ("before the name", "checkpoint", 2),
        ("before the row", "metrics", 30),
        pytest.param("before the file", "status", 2, marks=pytest.mark.slow),
        pytest.param("before the name", "status", 2, marks=pytest.mark.slow),
        pytest.param("before the name", "summary", 1, marks=pytest.mark.slow),
        pytest.param("before the name", "metrics", 1, marks=pytest.mark.slow),
        pytest.param("before the name", "step_", 2, marks=pytest.mark.slow),
    ],
)
def test_what_was_suspended_changes_nothing_once_another_took_over(
    tmp_path: Path, whole: RunDir, suspended: Callable[..., subprocess.Popen[str]], where: str, name: str, at: int
):
    sweep, (run_id,) = plan_of(tmp_path / "s", CONFIG)
    worker = suspended(str(sweep.path), run_id, where, name, str(at))
    assert work(sweep.path, [run_id]) == {run_id: None}, "its claim is fresh: left alone"
    time.sleep(TIMEOUT_S + 0.2)
    assert work(sweep.path, [run_id]) == {run_id: State.done}
    after = contents(sweep.run(run_id).path)
    worker.send_signal(signal.SIGCONT)
    said, errors = worker.communicate(timeout=60)
    assert worker.returncode == 0, errors
    assert "State.done" in said, "it found the run at its end"
    assert contents(sweep.run(run_id).path) == after
    assert_equal_runs(sweep.run(run_id), whole)


def test_while_the_next_one_is_still_at_it_too(
    tmp_path: Path, whole: RunDir, suspended: Callable[..., subprocess.Popen[str]]
):
    """The one that wakes up meets a run in training: both checkpoints and rows are the second one's."""
    sweep, (run_id,) = plan_of(tmp_path / "s", CONFIG)
    first = suspended(str(sweep.path), run_id, "before the name", "checkpoint", "2")
    time.sleep(TIMEOUT_S + 0.2)
    second = suspended(str(sweep.path), run_id, "before the name", "checkpoint", "3")
    before = contents(sweep.run(run_id).path)
    os.kill(first.pid, signal.SIGCONT)
    said, errors = first.communicate(timeout=60)
    assert first.returncode == 0, errors
    assert "None" in said, "another living process holds it"
    assert contents(sweep.run(run_id).path) == before
    os.kill(second.pid, signal.SIGCONT)
    said, errors = second.communicate(timeout=60)
    assert "State.done" in said, errors
    assert_equal_runs(sweep.run(run_id), whole)
