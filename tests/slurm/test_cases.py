"""What a cluster does to a sweep, case by case, on a real SLURM: `make test-slurm`; .ci/run runs the first four."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import CPUS
from slurm_sweep import OWN, ROOT, TOGETHER, Sweep

from grok_sweep.store import State

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

NAP_S = 0.03
"""Seconds a row: runs of some 5 s."""
SIX = ["frac=0.3,0.4", "seed=range(0,3)"]
TWO = ["frac=0.3,0.4"]


def workers(n: int) -> str:
    return f"hydra.launcher.n_workers={n}"


# --- the four of .ci/run ------------------------------------------------------------------------------------


def test_a_sweep_of_30(sweep: Sweep):
    said = sweep.launch("frac=0.3,0.4,0.5", "seed=range(0,10)", workers(3))
    assert "30 to train, 0 finished before; workers: 3, threads of each: 1" in said
    assert "-m grok_sweep watch" in said
    assert "sacct" not in said
    sweep.until_over()
    sweep.assert_as_undisturbed()
    assert sweep.n_attempts() == 30
    assert [sweep.job(job)["ExitCode"] for job in sweep.jobs()] == ["0:0"] * 3
    assert len(set(sweep.pids().values())) == 3
    again = sweep.launch("frac=0.3,0.4,0.5", "seed=range(0,10)", workers(3))
    assert "30 runs in" in again
    assert "submitted" not in again


def test_a_failing_run_shows_in_its_job_and_costs_itself_alone(sweep: Sweep):
    sweep.environment["FAIL_AT"] = str(int(0.4 * 23**2))
    sweep.launch(*TWO, "hydra.launcher.wait=true", workers(1), exit_code=1)
    sweep.until_over()
    assert sorted(state.value for state in sweep.states()) == ["done", "failed"]
    (job,) = sweep.jobs()
    assert (sweep.job(job)["JobState"], sweep.job(job)["ExitCode"], sweep.job(job)["Restarts"]) == (
        "FAILED",
        "1:0",
        "0",
    )
    assert "pairs are too many" in "".join(sweep.folder.run(run.run_id).log_file.read_text() for run in sweep.runs)
    del sweep.environment["FAIL_AT"]
    said = sweep.launch(*TWO, "hydra.launcher.wait=true", "retry=failed", workers(1))
    assert "1 to train" in said
    assert "2 runs in" in said
    assert "2 done" in said
    sweep.assert_as_undisturbed()


def test_scontrol_requeue(sweep: Sweep):
    sweep.launch(*TWO, workers(1), nap_s=NAP_S)
    sweep.until_training()
    (job,) = sweep.jobs()
    sweep.slurm("scontrol", "requeue", job)
    sweep.until(lambda: State.interrupted in sweep.states(), "a checkpoint", 5)
    sweep.until_over()
    assert sweep.job(job)["Restarts"] == "1"
    sweep.assert_as_undisturbed()
    assert sweep.n_attempts() == 3


def test_a_time_limit(sweep: Sweep):
    sweep.launch(*TWO, workers(1), "hydra.launcher.timeout_min=1", nap_s=0.3)
    (job,) = sweep.jobs()
    sweep.until_over(400)
    assert int(sweep.job(job)["Restarts"]) >= 1
    assert "time is nearly out: the run has its checkpoint" in sweep.logs()
    assert "requeued: it goes on there" in sweep.logs()
    sweep.assert_as_undisturbed()


# --- the others ---------------------------------------------------------------------------------------------


def test_scancel_of_one_worker(sweep: Sweep):
    sweep.launch(*SIX, workers(2), nap_s=NAP_S)
    sweep.until_training(2)
    victim, other = sweep.jobs()
    sweep.slurm("scancel", victim)
    sweep.until(lambda: State.interrupted in sweep.states(), "a checkpoint", 5)
    sweep.until_over()
    assert (sweep.job(victim)["JobState"], sweep.job(victim)["Restarts"]) == ("CANCELLED", "0")
    assert sweep.job(other)["JobState"] == "COMPLETED"
    sweep.assert_as_undisturbed()
    assert sweep.n_attempts() == 7


def test_usr2(sweep: Sweep):
    sweep.launch(*TWO, workers(1), nap_s=NAP_S)
    sweep.until_training()
    (job,) = sweep.jobs()
    sweep.slurm("scancel", "--signal=USR2", job)
    sweep.until(lambda: State.interrupted in sweep.states(), "a checkpoint", 5)
    sweep.until_over()
    assert sweep.job(job)["Restarts"] == "1"
    sweep.assert_as_undisturbed()


def test_sigkill_of_a_worker(sweep: Sweep):
    sweep.launch(*SIX, workers(2), nap_s=NAP_S)
    sweep.until_training(2)
    victim, other = sweep.jobs()
    killed = sweep.pids()[victim]
    os.kill(killed, signal.SIGKILL)
    sweep.until_over()
    assert (sweep.job(victim)["Restarts"], sweep.job(other)["Restarts"]) == ("1", "0")
    assert sweep.pids()[victim] != killed
    sweep.assert_as_undisturbed()


def test_a_run_that_kills_every_worker_ends(sweep: Sweep):
    """As when memory runs out: it is failed after three deaths, and the other run gets its turn."""
    sweep.environment["KILL_AT"] = str(int(0.4 * 23**2))
    sweep.launch("frac=0.4,0.3", workers(1))
    sweep.until_over(300)
    (job,) = sweep.jobs()
    assert sweep.job(job)["Restarts"] == "3"
    assert sweep.job(job)["ExitCode"] == "1:0"
    killer, other = sweep.runs
    assert sweep.folder.run(killer.run_id).status()["error"].startswith("killed its worker 3 times")
    assert sweep.folder.run(other.run_id).state() is State.done


def test_a_node_dies(sweep: Sweep):
    """And comes back, once the controller has taken note."""
    sweep.launch(*SIX, workers(2), nap_s=NAP_S)
    sweep.until_training(2)
    assert sweep.cluster is not None
    sweep.cluster.kill_node()
    sweep.cluster.wait_for_node("down", "down*")
    sweep.cluster.start_node()
    sweep.until_over()
    jobs = [sweep.job(job) for job in sweep.jobs()]
    assert {job["Restarts"] for job in jobs} == {"1"}, jobs
    sweep.assert_as_undisturbed()


def test_restart_of_everything(sweep: Sweep):
    sweep.launch(*SIX, workers(2), nap_s=NAP_S)
    sweep.until_training(2)
    before = sweep.pids()
    assert sweep.cluster is not None
    sweep.cluster.stop()
    assert not any(os.path.exists(f"/proc/{pid}") for pid in before.values())
    sweep.cluster.start_controller()
    sweep.cluster.wait_for_node("down", "down*")
    sweep.cluster.start_node()
    sweep.until_over()
    assert {sweep.job(job)["Restarts"] for job in sweep.jobs()} == {"1"}
    sweep.assert_as_undisturbed()


def test_cancel(sweep: Sweep):
    """`python -m grok_sweep cancel`: workers leave with checkpoints, a job that waits is gone, none comes back."""
    sweep.launch(*SIX, workers(CPUS + 1), nap_s=NAP_S)
    sweep.until_training(CPUS)
    words = [sys.executable, "-m", "grok_sweep", "cancel", str(sweep.folder.path)]
    done = subprocess.run(words, cwd=sweep.project, env=sweep.surroundings(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cancelled: nobody works on" in done.stdout
    sweep.until_over(20)
    assert State.running not in sweep.states()
    assert sweep.states().count(State.interrupted) == CPUS
    jobs = [sweep.job(job) for job in sweep.jobs()]
    assert sorted(job["JobState"] for job in jobs) == ["CANCELLED", *["COMPLETED"] * CPUS]
    assert {job["Restarts"] for job in jobs} == {"0"}
    assert len(sweep.pids()) == CPUS
    sweep.launch(*SIX, workers(2))
    sweep.until_over()
    sweep.assert_as_undisturbed()
    assert sweep.n_attempts() == 6 + CPUS


def test_the_launching_shell_is_killed(sweep: Sweep):
    words = sweep.command(*SIX, workers(2), "hydra.launcher.wait=true")
    launch = subprocess.Popen(
        words, cwd=sweep.project, env=sweep.surroundings(NAP_S), stdout=subprocess.DEVNULL, start_new_session=True
    )
    sweep.until_training(2)
    os.killpg(launch.pid, signal.SIGKILL)
    launch.wait()
    sweep.until_over()
    sweep.assert_as_undisturbed()
    assert sweep.n_attempts() == 6


def test_arrays_of_three_for_ten_workers(sweep_of_small_arrays: Sweep):
    sweep = sweep_of_small_arrays
    said = sweep.launch("frac=0.3,0.4", "seed=range(0,6)", workers(10))
    assert said.count("3 workers)") == 3
    assert said.count("1 worker)") == 1
    sweep.until_over()
    assert len(sweep.jobs()) == 10
    assert len(sweep.pids()) == 10
    sweep.assert_as_undisturbed()


@pytest.mark.parametrize("partition", ["requeued", "cancelled"])
def test_preemption(sweep: Sweep, partition: str):
    """By SLURM's requeue, and where SLURM would end the job."""
    sweep.launch(*TWO, workers(1), f"hydra.launcher.partition={partition}", nap_s=NAP_S)
    sweep.until_training()
    (job,) = sweep.jobs()
    sweep.slurm("sbatch", "--output=/dev/null", "--exclusive", "--wrap", "sleep 5")
    sweep.until(lambda: State.interrupted in sweep.states(), "a checkpoint", 10)
    sweep.until_over()
    assert sweep.job(job)["Restarts"] == "1"
    sweep.assert_as_undisturbed()


def test_edits_while_jobs_wait_change_nothing(sweep: Sweep, tmp_path: Path):
    project = tmp_path / "project"
    project.mkdir()
    for name in ("grok_sweep", "hydra_plugins", "conf", "launch.py", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, project / name)
    own = shutil.copytree(OWN, tmp_path / "own")
    sweep.project, sweep.environment = project, {"PYTHONPATH": str(own)}
    sweep.launch(*TWO, workers(1), "+hydra.launcher.additional_parameters.hold=true")
    for file in (project / "grok_sweep" / "run.py", project / "grok_sweep" / "config.py", own / "naps.py"):
        file.write_text("raise SystemExit('an edited file was read')\n")
    (job,) = sweep.jobs()
    sweep.slurm("scontrol", "release", job)
    sweep.until_over()
    sweep.project, sweep.environment = ROOT, {}
    sweep.assert_as_undisturbed()


def test_enough_failures_end_the_sweep(sweep: Sweep):
    """max_failures counts since the launch, over all workers; none of them comes back."""
    sweep.environment["FAIL_AT"] = str(int(0.4 * 23**2))
    words = ["frac=0.4,0.3", "seed=range(0,6)", workers(2), "max_failures=2", "hydra.launcher.wait=true"]
    said = sweep.launch(*words, exit_code=1)
    assert sweep.states().count(State.failed) in (2, 3)  # the other worker may have been at one
    assert sweep.states().count(State.planned) >= 9 - 3
    assert "the same command continues" in said
    sweep.until_over()
    assert {sweep.job(job)["ExitCode"] for job in sweep.jobs()} == {"1:0"}
    del sweep.environment["FAIL_AT"]
    sweep.launch(*words, "retry=failed")
    sweep.assert_as_undisturbed()


# --- four runs in a worker ----------------------------------------------------------------------------------


@pytest.fixture
def ensembles(sweep: Sweep) -> Sweep:
    sweep.settings = TOGETHER
    return sweep


def test_sigkill_of_a_worker_of_four(ensembles: Sweep):
    """Those with which it died train alone from then on; the other two train together."""
    sweep = ensembles
    sweep.launch("seed=range(0,6)", workers(1))
    sweep.until_checkpoints(4)
    (job,) = sweep.jobs()
    killed = sweep.pids()[job]
    os.kill(killed, signal.SIGKILL)
    sweep.until_over()
    assert sweep.job(job)["Restarts"] == "1"
    (first,) = sweep.groups(killed)
    assert len(first) == 4
    others = {run.run_id for run in sweep.runs} - first.keys()
    assert sweep.pids()[job] != killed
    assert {frozenset(group) for group in sweep.groups(sweep.pids()[job])} == {frozenset(others)}
    began_at = sweep.began_at()
    assert all(len(began_at[run_id]) == 2 and began_at[run_id][1] >= 200 for run_id in first)
    assert [began_at[run_id] for run_id in others] == [[0], [0]]
    sweep.assert_as_undisturbed()


def test_usr2_to_a_worker_of_four(ensembles: Sweep):
    """Told to leave it did not die: they go on together."""
    sweep = ensembles
    sweep.launch("seed=range(0,4)", workers(1))
    sweep.until_checkpoints(4)
    (job,) = sweep.jobs()
    told = sweep.pids()[job]
    sweep.slurm("scancel", "--signal=USR2", job)
    sweep.until(lambda: sweep.states() == [State.interrupted] * 4, "four checkpoints", 5)
    sweep.until_over()
    assert sweep.job(job)["Restarts"] == "1"
    (before,), (after,) = sweep.groups(told), sweep.groups(sweep.pids()[job])
    assert before.keys() == after.keys() == {run.run_id for run in sweep.runs}
    (step,) = set(after.values())
    assert step > 0
    assert list(sweep.began_at().values()) == [[0, step]] * 4
    sweep.assert_as_undisturbed()


def test_scancel_of_one_worker_of_four(ensembles: Sweep):
    """The other one takes them over, once its own four are done."""
    sweep = ensembles
    said = sweep.launch("seed=range(0,8)", workers(2))
    assert "ensemble.size=4: 8 can train together, in a worker 4 at most" in said
    sweep.until_checkpoints(8)
    victim, other = sweep.jobs()
    sweep.slurm("scancel", victim)
    sweep.until(lambda: sweep.states().count(State.interrupted) == 4, "four checkpoints", 5)
    sweep.until_over()
    assert (sweep.job(victim)["JobState"], sweep.job(victim)["Restarts"]) == ("CANCELLED", "0")
    assert sweep.job(other)["JobState"] == "COMPLETED"
    (left,), (own, *taken_over) = (sweep.groups(sweep.pids()[job]) for job in (victim, other))
    assert len(left) == len(own) == 4
    assert {*left, *own} == {run.run_id for run in sweep.runs}
    assert len(taken_over[0]) == 2, "its part: for all it knows the launch has two workers"
    assert {run_id for group in taken_over for run_id in group} == set(left)
    assert min(step for group in taken_over for step in group.values()) >= 200
    assert sweep.n_attempts() == 12
    sweep.assert_as_undisturbed()


# --- launches -----------------------------------------------------------------------------------------------


def test_a_launch_from_inside_a_job(sweep: Sweep, tmp_path: Path):
    """What that job's environment says of its own cores and memory is not the workers'."""
    script = tmp_path / "launch.sh"
    script.write_text(
        "#!/bin/bash\n" + shlex.join(sweep.command(*TWO, workers(2), "hydra.launcher.setup=[env]")) + "\n"
    )
    words = ["sbatch", "--wait", f"--chdir={ROOT}", "--cpus-per-task=2", "--mem=500M", "--ntasks=2", str(script)]
    subprocess.run(words, check=True, env=sweep.surroundings(), cwd=tmp_path)
    sweep.until_over()
    for job in sweep.jobs():
        assert sweep.job(job)["NumCPUs"] == "1"
    environments = sweep.logs()
    assert environments.count("SLURM_JOB_ID=") == 2
    assert "SLURM_MEM_PER_NODE=500" not in environments
    sweep.assert_as_undisturbed()


def test_what_sbatch_would_refuse_is_refused_before_any_work(sweep: Sweep):
    said = sweep.launch(*TWO, "hydra.launcher.partition=nope", exit_code=2)
    assert "SLURM would refuse such a job:" in said
    assert "invalid partition specified: nope" in said
    assert not sweep.folder.path.exists()


def test_threads_are_the_jobs_cores(sweep: Sweep):
    sweep.launch(*TWO, workers(1), "hydra.launcher.cpus_per_task=2")
    (job,) = sweep.jobs()
    sweep.until_over()
    assert sweep.job(job)["NumCPUs"] == "2"
    provenance = sweep.folder.run(sweep.runs[0].run_id).provenance_file.read_text()
    assert '"n_threads": 2' in provenance
