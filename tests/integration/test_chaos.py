"""Workers and launches killed, suspended and told to leave, at random, over and over: in the end every run is done
once, with the rows and weights of a sweep that nobody disturbed, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from small_runs import assert_equal_runs, ensembles_of

from grok_sweep.store import RunDir, State, SweepDir
from grok_sweep.sweep.claims import Claims, process_start

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 1.5
"""Of a claim: a worker that is suspended for longer has lost its run."""
N_LAUNCHES = 2
KILL, SUSPEND = "kill a worker", "suspend a worker"


class Chaos:
    """Two launches over one folder, and what befalls them.

    Attributes:
        did: how often each thing was done.
        n_held: how many runs a worker held when it was killed or suspended, each time.
    """

    def __init__(self, folder: Path, words: list[str], draws: random.Random) -> None:
        self.folder, self.words, self.draws = folder, words, draws
        self.sweep = SweepDir(folder / "default")
        self.did: Counter[str] = Counter()
        self.n_held: list[int] = []
        self.log = folder / "launches.log"
        self._launches: list[subprocess.Popen[bytes]] = []
        self._suspended: dict[int, float] = {}

    def go_on_until(self, n_kills: int, most_pause_s: float, seconds: float, n_to_several: int = 0) -> None:
        """Do harm until it was done so often, and to workers of several runs so often; then let the same command
        finish."""
        ends = time.monotonic() + seconds
        while sum(self.did.values()) < n_kills or sum(n > 1 for n in self.n_held) < n_to_several:
            assert time.monotonic() < ends, f"only {dict(self.did)} in {seconds:.0f} s"
            assert not self._is_done() or not self.did, f"done after {dict(self.did)}: make the runs longer"
            self._start_what_is_missing()
            time.sleep(self.draws.uniform(0.2, most_pause_s))
            self._wake()
            self._harm()
        self.finish(ends)

    def finish(self, ends: float) -> None:
        while self._suspended:
            time.sleep(0.1)
            self._wake()
        while not self._is_done():
            assert time.monotonic() < ends, "not done in time"
            self._start_what_is_missing(1)
            self._launches[0].wait(max(ends - time.monotonic(), 1.0))
            ended = self._launches[0].returncode
            assert ended in (0, 1, 130, -signal.SIGTERM, -signal.SIGKILL), f"{ended}: {self.log.read_text()[-5000:]}"

    def _is_done(self) -> bool:
        runs = self.sweep.plan()
        return bool(runs) and all(self.sweep.run(run.run_id).state() is State.done for run in runs)

    def end(self) -> None:
        """Nothing is left behind, whatever happened."""
        for pid in self._suspended:
            _send(pid, signal.SIGCONT)
        for launch in self._launches:
            if launch.poll() is None:
                os.killpg(launch.pid, signal.SIGKILL)
            launch.wait()
        for pid in self._workers():
            _send(pid, signal.SIGKILL)

    def _start_what_is_missing(self, n: int = N_LAUNCHES) -> None:
        self._launches = [launch for launch in self._launches if launch.poll() is None]
        while len(self._launches) < n:
            words = [*self.words, f"root={self.folder}", "hydra.launcher.n_workers=2", "hydra.launcher.n_threads=1"]
            with self.log.open("a") as log:
                launch = subprocess.Popen(
                    [sys.executable, "launch.py", "-m", *words, "retry=failed"],
                    cwd=ROOT, stdout=log, stderr=log, start_new_session=True,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )  # fmt: skip
            self._launches.append(launch)

    def _workers(self) -> list[int]:
        """Those that hold a run, once for each."""
        claims = Claims(self.sweep, TIMEOUT_S)
        holders = [claims.holder(run.run_id) for run in self.sweep.plan()]
        return [h.pid for h in holders if h is not None and h.is_here() and process_start(h.pid) == h.started]

    def _harm(self) -> None:
        workers = [pid for pid in self._workers() if pid not in self._suspended and pid != os.getpid()]
        if not workers:
            return
        worker, launch = self.draws.choice(sorted(set(workers))), self.draws.choice(self._launches)
        what = self.draws.choice(
            ["kill a worker", "kill a worker", "suspend a worker", "kill a launch", "end a launch"]
        )
        if what == KILL:
            _send(worker, signal.SIGKILL)
        elif what == SUSPEND:
            _send(worker, signal.SIGSTOP)
            # Half of them for longer than the claim lasts: somebody takes over.
            self._suspended[worker] = time.monotonic() + self.draws.choice([0.3, TIMEOUT_S + 1.0])
        else:
            if launch.poll() is not None:
                return
            launch.send_signal(signal.SIGKILL if what == "kill a launch" else signal.SIGTERM)
        self.did[what] += 1
        if what in (KILL, SUSPEND):
            self.n_held.append(workers.count(worker))

    def _wake(self) -> None:
        for pid in [pid for pid, at in self._suspended.items() if at <= time.monotonic()]:
            _send(pid, signal.SIGCONT)
            del self._suspended[pid]


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def undisturbed(folder: Path, words: list[str]) -> SweepDir:
    command = [sys.executable, "launch.py", "-m", *words, f"root={folder}", "hydra.launcher.n_threads=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout + done.stderr
    return SweepDir(folder / "default")


def without_settings(run_dir: RunDir) -> dict[str, object]:
    """The summary but for the settings, which hold the sweep's root."""
    summary = run_dir.summary()
    assert summary is not None
    return {name: value for name, value in summary.items() if name != "settings"}


@pytest.mark.timeout(2700)
@pytest.mark.parametrize(
    "n_kills, most_pause_s, n_runs, n_steps, seconds, size",
    [
        pytest.param(8, 1.5, 4, 2000, 150, 1, id="short", marks=pytest.mark.slow),
        pytest.param(60, 4.0, 32, 3000, 800, 1, id="long", marks=pytest.mark.slow),
        pytest.param(8, 1.5, 8, 1200, 150, 3, id="short-together", marks=pytest.mark.slow),
        pytest.param(60, 4.0, 32, 3000, 800, 4, id="long-together", marks=pytest.mark.slow),
    ],
)
def test_whatever_is_killed_every_run_is_done_once_with_the_same_bits(
    tmp_path: Path, n_kills: int, most_pause_s: float, n_runs: int, n_steps: int, seconds: float, size: int
):
    words = [
        "p=31", "model.d_model=32", "lr=3e-3", "logger=none", f"steps={n_steps}", f"seed=range(0,{n_runs})",
    ]  # fmt: skip
    seed = random.SystemRandom().randrange(10**6)
    print(f"drawn with random.Random({seed})")
    (tmp_path / "chaos").mkdir()
    often = ["checkpoint.every_s=0.2", f"claim_timeout_s={TIMEOUT_S}", f"ensemble.size={size}"]
    chaos = Chaos(tmp_path / "chaos", [*words, *often], random.Random(seed))
    try:
        chaos.go_on_until(n_kills, most_pause_s, seconds, n_to_several=0 if size == 1 else n_kills // 4)
    finally:
        chaos.end()
        print(dict(chaos.did), "runs of a worker harmed:", chaos.n_held)
    whole = undisturbed(tmp_path / "whole", words)
    assert len(whole.plan()) == n_runs
    assert [run.run_id for run in chaos.sweep.plan()] == [run.run_id for run in whole.plan()]
    n_attempts = 0
    for run in whole.plan():
        run_dir = chaos.sweep.run(run.run_id)
        assert_equal_runs(run_dir, whole.run(run.run_id))  # each step once among it
        assert without_settings(run_dir) == without_settings(whole.run(run.run_id))
        log = run_dir.log_file.read_text()
        assert log.count(f"done at step {n_steps}") <= 1, log
        assert "failed:" not in log, log
        assert not list(run_dir.path.glob(".*.tmp"))
        n_attempts += log.count("started: ") + log.count("resumed at ")
    assert n_attempts > n_runs
    together = ensembles_of(chaos.sweep)
    most = max((len(line["steps"]) for line in together), default=1)
    assert 1 < most <= size or most == size == 1
    assert all(line["is_as_alone"] for line in together)
