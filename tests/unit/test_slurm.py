"""The slurm launcher without SLURM: settings, arrays, limits (by an sbatch of our own), a job's earlier attempts."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest
from small_runs import plan_of, planned, small_config

from grok_sweep.config import ModelConfig
from grok_sweep.launchers import slurm_jobs
from grok_sweep.launchers.slurm import SlurmLauncher, _refusal
from grok_sweep.launchers.slurm_settings import SlurmSettings
from grok_sweep.launchers.slurm_worker import Job, Order, Signals, _some_died, job_id
from grok_sweep.store import PlannedRun, State, SweepDir, read_jsonl
from grok_sweep.sweep.cancel import ask_to_stop
from grok_sweep.sweep.claims import Claims, process_start, this_machine
from grok_sweep.sweep.command_line import SweepOptions
from grok_sweep.sweep.grid import Plan


def config(**values: object) -> str:
    """As `scontrol show config` prints it."""
    return "\n".join(["Configuration data", *(f"{name:<23} = {value}" for name, value in values.items())])


@pytest.mark.parametrize(
    "n, shown, sizes",
    [
        (10, config(MaxArraySize=3), [3, 3, 3, 1]),
        (3, config(MaxArraySize=3), [3]),
        (16, config(MaxArraySize=1001, SchedulerParameters="bf_continue,max_array_tasks=6,x=1"), [6, 6, 4]),
        (2500, config(MaxArraySize=1001), [1001, 1001, 498]),
        (2, config(MaxArraySize=0), [1, 1]),
        (5, "", [5]),
    ],
)
def test_arrays_as_the_cluster_takes_them(n: int, shown: str, sizes: list[int]):
    assert slurm_jobs.array_sizes(n, shown) == sizes


def test_parallelism_is_shared_out_over_arrays():
    assert slurm_jobs.shares(7, 3) == [3, 2, 2]
    assert slurm_jobs.shares(4, 4) == [1, 1, 1, 1]


@pytest.mark.parametrize(
    "given, said",
    [
        ({"cluster": "pbs"}, "hydra.launcher.cluster must be slurm or local, got 'pbs'"),
        ({"n_workers": 0}, "hydra.launcher.n_workers must be a whole number of at least 1, or null, got 0"),
        ({"array_parallelism": True}, "hydra.launcher.array_parallelism must be a whole number of at least 1"),
        ({"cpus_per_task": None}, "hydra.launcher.cpus_per_task must be a whole number of at least 1, got None"),
        ({"gpus_per_node": -1}, "hydra.launcher.gpus_per_node must be a whole number of at least 0, or null, got -1"),
        ({"timeout_min": 0}, "hydra.launcher.timeout_min must be a number above 0, or null, got 0"),
        ({"mem_gb": "4G"}, "hydra.launcher.mem_gb must be a number above 0, or null, got '4G'"),
        ({"partition": ""}, "hydra.launcher.partition must be a name, or null, got ''"),
        ({"wait": 1}, "hydra.launcher.wait must be true or false, got 1"),
        ({"setup": "module load cuda"}, "hydra.launcher.setup must be a list of shell lines, got 'module load cuda'"),
        ({"additional_parameters": ["x"]}, "hydra.launcher.additional_parameters must be options of sbatch with "),
        ({"additional_parameters": {"open_mode": "t"}}, "hydra.launcher.additional_parameters must be without array"),
        ({"partitions": "gpu"}, "unknown setting hydra.launcher.partitions. Known: cluster, n_workers, partition, "),
    ],
)  # fmt: skip
def test_wrong_settings(given: dict[str, object], said: str):
    (problem,) = SlurmLauncher(**given).problems()
    assert problem.startswith(said)


def test_right_settings():
    right = {"n_workers": 3, "mem_gb": 0.5, "gpus_per_node": 0, "setup": ["module load x"], "partition": 7}
    assert SlurmLauncher(**right).problems() == []
    assert SlurmSettings().n_workers_for(100) == 16
    assert SlurmSettings().n_workers_for(3) == 3
    assert SlurmSettings(n_workers=100).n_workers_for(1000) == 100
    assert SlurmSettings(cluster="local", partition="x", additional_parameters={"a": 1}).unused() == [
        "partition", "additional_parameters",
    ]  # fmt: skip
    assert (SlurmSettings().signal_delay_s, SlurmSettings(timeout_min=2.0).signal_delay_s) == (90, 30)


def plan_for(folder: Path, runs: list[PlannedRun]) -> Plan:
    return Plan(SweepDir(folder / "s"), runs, SweepOptions(), len(runs), [], 300.0)


# --- an sbatch of our own -----------------------------------------------------------------------------------

SBATCH = """#!/bin/sh
n=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$1")
if [ "${n:-0}" -ge LARGEST ]; then
  echo "sbatch: error: REASON" >&2
  exit 1
fi
echo "Submitted batch job $$"
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that is the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "sed"):
        (folder / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(folder))
    return folder


def install(folder: Path, largest: int, reason: str) -> None:
    for name in slurm_jobs.PROGRAMS:
        text = (
            SBATCH.replace("LARGEST", str(largest)).replace("REASON", reason) if name == "sbatch" else "#!/bin/sh\n"
        )
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


LIMIT = "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, size and/or time limits)"


def submit(sweep: SweepDir, sizes: list[int]) -> list[slurm_jobs.Array]:
    folder = sweep.submitit / "launch"
    folder.mkdir(parents=True)
    return list(slurm_jobs.submit_to_slurm(SlurmSettings(), sweep, folder, sizes, {"PYTHONPATH": "/a b"}))


def test_where_a_limit_on_jobs_is_in_the_way_what_the_cluster_takes_is_submitted(tmp_path: Path, programs: Path):
    install(programs, 3, LIMIT)
    sweep = SweepDir(tmp_path / "s")
    arrays = submit(sweep, [8, 3])
    assert [array.n_workers for array in arrays] == [2, 3]
    assert [line["n_workers"] for line in read_jsonl(sweep.jobs_file)] == [2, 3]
    assert len(list(sweep.submitit.glob("launch/*_submitted.pkl"))) == 5
    assert len(list(sweep.submitit.glob("launch/*.pkl"))) == 5
    script = next(sweep.submitit.glob("launch/*.sh")).read_text()
    assert "export PYTHONPATH='/a b'" in script
    assert "#SBATCH --requeue" in script
    assert "--cpus-per-task 1" in script or "--cpus-per-task=1" in script.split("srun", 1)[1]
    assert "wckey" not in script


def test_another_refusal_is_told(tmp_path: Path, programs: Path):
    install(programs, 0, "Batch job submission failed: Unable to contact slurm controller")
    with pytest.raises(slurm_jobs.NotSubmitted, match="Unable to contact slurm controller"):
        submit(SweepDir(tmp_path / "s"), [2])


def test_where_there_is_no_cluster_it_says_where_to_go():
    said = _refusal("error: DNS SRV lookup failed; fatal: Could not establish a configuration source")
    assert said.startswith("sbatch finds no SLURM cluster from here (error: DNS SRV")
    assert said.endswith(
        "launch from a login node of the cluster, or give hydra.launcher.cluster=local, or hydra/launcher=pool"
    )
    assert _refusal("invalid partition").startswith("SLURM would refuse such a job: invalid partition; see")


def test_no_sbatch(tmp_path: Path, programs: Path):
    plan = plan_for(tmp_path, planned(small_config()))
    (problem,) = SlurmLauncher().plan_problems(plan)
    assert problem.startswith(
        "hydra/launcher=slurm needs SLURM's sbatch, srun, scontrol, squeue, not found in PATH here"
    )
    assert SlurmLauncher(cluster="local").plan_problems(plan) == []


def test_a_gpu_is_asked_for_where_the_runs_need_one(tmp_path: Path, programs: Path):
    install(programs, 100, "")
    plan = plan_for(tmp_path, planned(small_config(device="cuda")))
    (problem,) = SlurmLauncher().plan_problems(plan)
    assert problem == "device=cuda needs a GPU in each job: give hydra.launcher.gpus_per_node=1"
    assert SlurmLauncher(gpus_per_node=1).plan_problems(plan) == []
    assert SlurmLauncher(additional_parameters={"gres": "gpu:a100:1"}).plan_problems(plan) == []


def test_a_parallelism_below_the_number_of_arrays_is_refused(tmp_path: Path, programs: Path):
    install(programs, 100, "")
    (programs / "scontrol").write_text("#!/bin/sh\necho 'MaxArraySize = 3'\n")
    plan = plan_for(tmp_path, planned(*(small_config(n_steps=5) for _ in range(10))))
    (problem,) = SlurmLauncher(n_workers=10, array_parallelism=2).plan_problems(plan)
    assert problem.startswith("hydra.launcher.array_parallelism=2: 10 workers are 4 arrays here")


def test_a_launch_from_inside_a_job_keeps_what_the_user_set(monkeypatch: pytest.MonkeyPatch):
    for name in ("SLURM_JOB_ID", "SLURM_CPU_BIND", "SRUN_CPUS_PER_TASK", "SLURM_CONF", "SBATCH_ACCOUNT"):
        monkeypatch.setenv(name, "there")
    with slurm_jobs.outside_any_job():
        left = [name for name in os.environ if name.startswith(("SLURM_", "SRUN_", "SBATCH_"))]
        assert sorted(left) == ["SBATCH_ACCOUNT", "SLURM_CONF"]
    assert os.environ["SLURM_JOB_ID"] == "there"


def test_local_gpus_are_dealt_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    assert [slurm_jobs._gpus_of(i, 1) for i in range(5)] == [(4,), (5,), (6,), (7,), (4,)]
    assert [slurm_jobs._gpus_of(i, 2) for i in range(2)] == [(4, 5), (6, 7)]
    assert slurm_jobs._gpus_of(0, 0) == ()


# --- the job's side -----------------------------------------------------------------------------------------


def test_the_name_of_a_job():
    array = {"SLURM_JOB_ID": "12", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}
    assert job_id(array) == "12_3"
    assert job_id({"SLURM_JOB_ID": "12"}) == "12"
    assert job_id({"SUBMITIT_LOCAL_JOB_ID": "99"}) == "99"


def order(sweep: SweepDir, run_ids: list[str], **changes: object) -> Order:
    given = {"n_threads": 1, "asked": 100.0, "retry_failed": False, "failures_allowed": None, "cluster": "slurm"}
    return Order(str(sweep.path), run_ids, **{**given, **changes})


def held_elsewhere(sweep: SweepDir, run_id: str, machine: str = "elsewhere", age_s: float = 0.0) -> Path:
    """A claim of a process on another machine."""
    assert Claims(sweep, 300.0).take(run_id) is not None
    file = sweep.claims / run_id / "000001.json"
    record = json.loads(file.read_text()) | {"machine": machine, "pid": 77, "started": "1"}
    file.write_text(json.dumps(record))
    os.utime(file, (time.time() - age_s,) * 2)
    return file


def test_an_order_is_read_as_it_was_written(tmp_path: Path):
    written = order(SweepDir(tmp_path / "s"), ["a", "b"], failures_allowed=2)
    written.write(tmp_path / "x" / "order.json")
    assert Order.read(tmp_path / "x" / "order.json") == written


def test_a_requeued_job_frees_what_its_earlier_attempt_held(tmp_path: Path):
    sweep, (mine, other) = plan_of(tmp_path / "s", small_config(), small_config(model=ModelConfig(d_model=32)))
    held_elsewhere(sweep, mine)
    held_elsewhere(sweep, other, machine="another one")
    folder = tmp_path / "launch"
    attempts = {"attempts": [{"machine": "elsewhere", "pid": 77, "started": "1", "at": 0.0}]}
    folder.mkdir()
    (folder / "12_0_attempts.json").write_text(json.dumps(attempts))
    job = Job(
        folder,
        order(sweep, [mine, other]),
        {"SLURM_JOB_ID": "1", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "0"},
    )
    job.clear_up_after_earlier_attempts()
    assert Claims(sweep, 300.0).holder(mine) is None
    assert Claims(sweep, 300.0).holder(other) is not None
    (_, me) = json.loads((folder / "12_0_attempts.json").read_text())["attempts"]
    assert (me["machine"], me["pid"], me["started"]) == (this_machine(), os.getpid(), process_start(os.getpid()))


def test_a_worker_waits_until_others_gave_a_sign_of_life(tmp_path: Path):
    sweep, (run_id,) = plan_of(tmp_path / "s", small_config(claim_timeout_s=5.0))
    file = held_elsewhere(sweep, run_id)
    threading.Timer(1.0, lambda: os.utime(file)).start()
    began = time.monotonic()
    assert _some_died(sweep, sweep.plan(), Signals()) is False
    assert 0.9 <= time.monotonic() - began < 4


def test_a_worker_takes_over_where_the_last_holder_died(tmp_path: Path):
    sweep, _ = plan_of(tmp_path / "s", small_config(claim_timeout_s=2.0))
    held_elsewhere(sweep, sweep.plan()[0].run_id, age_s=1.0)
    began = time.monotonic()
    assert _some_died(sweep, sweep.plan(), Signals()) is True
    assert 0.5 <= time.monotonic() - began < 4


def test_nobody_is_waited_for_once_told_to_leave(tmp_path: Path):
    sweep, _ = plan_of(tmp_path / "s", small_config(claim_timeout_s=50.0))
    held_elsewhere(sweep, sweep.plan()[0].run_id)
    signals = Signals()
    signals.must_leave = True
    assert _some_died(sweep, sweep.plan(), signals) is False


def test_what_failed_before_the_order_does_not_count(tmp_path: Path):
    sweep, (run_id,) = plan_of(tmp_path / "s", small_config())
    sweep.run(run_id).path.mkdir()
    sweep.run(run_id).write_status(State.failed, step=0)
    before = Job(tmp_path, order(sweep, [run_id]), {"SLURM_JOB_ID": "1"})
    after = Job(tmp_path, order(sweep, [run_id], asked=time.time() + 1), {"SLURM_JOB_ID": "2"})
    assert (before.failed(), after.failed()) == ([run_id], [])
    assert (before.has_work(), after.has_work()) == (False, False)
    again = Job(tmp_path, order(sweep, [run_id], asked=time.time() + 1, retry_failed=True), {"SLURM_JOB_ID": "3"})
    assert again.has_work()


def test_a_job_of_a_cancelled_order_has_nothing_to_do(tmp_path: Path):
    sweep, (run_id,) = plan_of(tmp_path / "s", small_config())
    asked = ask_to_stop(sweep.cancel_file)
    before = Job(tmp_path, order(sweep, [run_id], asked=asked - 1), {"SLURM_JOB_ID": "1"})
    after = Job(tmp_path, order(sweep, [run_id], asked=asked + 1), {"SLURM_JOB_ID": "2"})
    assert (before.has_work(), after.has_work()) == (False, True)


def test_a_run_that_killed_three_workers_is_failed(tmp_path: Path):
    sweep, (killer, harmless) = plan_of(tmp_path / "s", small_config(), small_config(model=ModelConfig(d_model=32)))
    claims = Claims(sweep, 300.0)
    for run_id, n in ((killer, 3), (harmless, 2)):
        sweep.run(run_id).path.mkdir()
        for _ in range(n):
            dead_claim(sweep, run_id)
        claim = claims.take(harmless)
        if claim is not None:
            claim.release()
    assert (claims.deaths(killer, 0.0), claims.deaths(harmless, 0.0), claims.deaths("none", 0.0)) == (3, 2, 0)
    assert claims.deaths(killer, time.time() + 60) == 0
    folder = tmp_path / "launch"
    folder.mkdir()
    attempts = {"attempts": [{"machine": "elsewhere", "pid": 1, "started": "1", "at": 0.0}]}
    (folder / "1_attempts.json").write_text(json.dumps(attempts))
    Job(folder, order(sweep, [killer, harmless]), {"SLURM_JOB_ID": "1"}).clear_up_after_earlier_attempts()
    assert sweep.run(killer).status()["error"] == "killed its worker 3 times, as when memory runs out"
    assert claims.holder(killer) is None
    assert sweep.run(harmless).state() is State.planned


def dead_claim(sweep: SweepDir, run_id: str) -> None:
    """A claim of a process that is gone, on this machine."""
    assert Claims(sweep, 300.0).take(run_id) is not None
    file = max((sweep.claims / run_id).glob("*.json"))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"started": "0"}))
