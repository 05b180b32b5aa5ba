"""hydra.launcher.cluster=local: what jobs do, by submitit's local executor, without a cluster."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from slurm_sweep import Sweep

from grok_sweep.store import State

NAP_S = 0.03
SIX = ["frac=0.3,0.4", "seed=range(0,3)"]
TWO = ["frac=0.3,0.4"]


def workers(n: int) -> str:
    return f"hydra.launcher.n_workers={n}"


@pytest.mark.slow
def test_local_workers_outlive_the_launch_and_go_on_after_usr2(local_sweep: Sweep):
    sweep = local_sweep
    words = sweep.command(*SIX, workers(2), "hydra.launcher.wait=true")
    launch = subprocess.Popen(
        words, cwd=sweep.project, env=sweep.surroundings(NAP_S), stdout=subprocess.DEVNULL, start_new_session=True
    )
    sweep.until_training(2)
    assert len(sweep.jobs()) == 2
    before = sweep.pids()
    os.killpg(launch.pid, signal.SIGINT)
    assert launch.wait() == 130
    assert all(os.path.exists(f"/proc/{pid}") for pid in before.values())
    victim, other = sweep.jobs()
    os.kill(before[victim], signal.SIGUSR2)
    sweep.until(lambda: sweep.pids()[victim] != before[victim], "another attempt of this worker", 20)
    os.kill(before[other], signal.SIGTERM)
    sweep.until(lambda: set(sweep.states()) == {State.done}, "all done")
    assert "starting again" in sweep.logs()
    assert "was told to leave" in sweep.logs()
    sweep.assert_as_undisturbed()


def test_a_local_launch_leaves_at_once(local_sweep: Sweep):
    said = local_sweep.launch(*TWO, workers(1), nap_s=NAP_S)
    assert "started: 1 worker on this machine" in said
    assert State.done not in local_sweep.states()
    local_sweep.until(lambda: set(local_sweep.states()) == {State.done}, "all done")
    local_sweep.assert_as_undisturbed()
