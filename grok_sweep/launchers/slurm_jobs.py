"""Submitting workers through submitit, to SLURM or to this machine, and asking which are left. Needs no sacct."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from grok_sweep.launchers.slurm_settings import SlurmSettings
from grok_sweep.launchers.slurm_worker import train_ordered
from grok_sweep.store import SweepDir, naming, read_jsonl

if TYPE_CHECKING:
    import submitit

PROGRAMS = ("sbatch", "srun", "scontrol", "squeue")
KEPT = ("SLURM_CONF", "SBATCH_")
"""What a user or a site sets for SLURM's commands: it holds for jobs that are submitted from inside a job too."""
TEN_YEARS_MIN = 10 * 365 * 24 * 60
"""The local executor knows no time limit that is none."""
_ONLY_NOW = ("(down, drained or reserved)", "(inactive or drain)")
"""What `sbatch --test-only` refuses and sbatch queues."""
KILLED_RESTARTS = 3
"""A worker that was killed, as when memory runs out, is started again while its job had fewer restarts than this."""
_AFTER_A_KILL = f"""\
status=$?
job=${{SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}${{SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}}
[ $status != 137 ] || [ ${{SLURM_RESTART_COUNT:-0}} -ge {KILLED_RESTARTS} ] || scontrol requeue $job
exit $status"""
"""Shell lines behind the worker. At a time limit or scancel they do not come to be read: the job's shell is gone."""
_LIMIT = re.compile(r"job submit limit|MaxSubmit|temporarily un", re.IGNORECASE)


class NotSubmitted(Exception):
    """sbatch refused; its words."""


@dataclass(frozen=True)
class Array:
    """A line of jobs.jsonl.

    Attributes:
        job_id: SLURM's; of a local worker the pid of its controller.
        submitted: Unix time.
        folder: where its workers' logs are.
    """

    job_id: str
    cluster: str
    n_workers: int
    submitted: float
    folder: str


def missing_programs() -> list[str]:
    return [program for program in PROGRAMS if shutil.which(program) is None]


# --- limits -------------------------------------------------------------------------------------------------


def array_sizes(n_workers: int, config: str) -> list[int]:
    """n workers as arrays that this cluster takes.

    Args:
        config: what `scontrol show config` prints. Indices are below MaxArraySize; an array has no more than
            SchedulerParameters=max_array_tasks elements.
    """
    limits = re.findall(r"\bMaxArraySize\s*=\s*(\d+)", config) + re.findall(r"\bmax_array_tasks=(\d+)", config)
    largest = max(1, min(map(int, limits), default=n_workers))  # 0: no arrays here, so single jobs
    return [min(largest, n_workers - first) for first in range(0, n_workers, largest)]


def shares(parallel: int, n_arrays: int) -> list[int]:
    """How many workers of each array may run at a time, so that they are `parallel` together."""
    return [parallel // n_arrays + (i < parallel % n_arrays) for i in range(n_arrays)]


def cluster_config() -> str:
    done = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else ""


# --- before any work ----------------------------------------------------------------------------------------


def refused(settings: SlurmSettings, sweep: str) -> str | None:
    """What sbatch would say against such a worker; None where it would take it."""
    with tempfile.TemporaryDirectory() as folder:
        executor = _slurm_executor(settings, sweep, Path(folder), 1, {})
        script = Path(folder) / "test.sh"
        script.write_text(executor._make_submission_file_text("true", ""))
        with outside_any_job():
            done = subprocess.run(["sbatch", "--test-only", str(script)], capture_output=True, text=True)
    said = "; ".join(line.removeprefix("sbatch: ") for line in done.stderr.strip().splitlines())
    return said if done.returncode != 0 and not any(words in said for words in _ONLY_NOW) else None


# --- submitting ---------------------------------------------------------------------------------------------


def submit_to_slurm(
    settings: SlurmSettings, sweep: SweepDir, folder: Path, sizes: Sequence[int], environment: Mapping[str, str]
) -> Iterator[Array]:
    """The arrays, each written to jobs.jsonl as soon as SLURM has it. NotSubmitted where it refuses one.

    Where a limit on submitted jobs is in the way, what SLURM takes is submitted: workers are all alike.
    """
    parallel = shares(min(settings.array_parallelism or sum(sizes), sum(sizes)), len(sizes))
    for n, at_a_time in zip(sizes, parallel, strict=True):
        executor = _slurm_executor(settings, sweep.path.name, folder, min(n, at_a_time), environment)
        job_id = _submit(executor, folder, n)
        while job_id is None and n > 1:
            n //= 2
            job_id = _submit(executor, folder, n)
        if job_id is None:
            return
        yield _note(sweep, Array(job_id, "slurm", n, time.time(), str(folder)))


def _submit(executor: submitit.SlurmExecutor, folder: Path, n: int) -> str | None:
    """Job id of an array of n workers; None where a limit on jobs is in its way."""
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        with outside_any_job():
            jobs = executor.map_array(train_ordered, [str(order_file(folder))] * n)
    except (FailedJobError, FailedSubmissionError) as error:
        for leftover in folder.glob("*.pkl"):
            if "_submitted" not in leftover.name:
                leftover.unlink()
        said = " ".join(str(error).split())
        if _LIMIT.search(said):
            return None
        raise NotSubmitted(said) from error
    return jobs[0].job_id.partition("_")[0]


def submit_here(
    settings: SlurmSettings, sweep: SweepDir, folder: Path, n: int, environment: Mapping[str, str]
) -> list[submitit.LocalJob[None]]:
    """n workers of submitit's local executor, which outlive this process and its terminal."""
    from submitit import LocalExecutor

    executor = LocalExecutor(folder, max_num_timeout=0)
    executor.update_parameters(
        timeout_min=settings.timeout_min or TEN_YEARS_MIN, signal_delay_s=settings.signal_delay_s,
        stderr_to_stdout=True, setup=list(settings.setup), gpus_per_node=settings.gpus_per_node or 0,
    )  # fmt: skip
    jobs = []
    with outside_any_job(), _on_their_own(folder / "controllers.log"), _environment(environment):
        for number in range(n):
            executor.update_parameters(visible_gpus=_gpus_of(number, settings.gpus_per_node or 0))
            job = executor.submit(train_ordered, str(order_file(folder)))
            _note(sweep, Array(job.job_id, "local", 1, time.time(), str(folder)))
            jobs.append(job)
    return jobs


def order_file(folder: Path) -> Path:
    return folder / "order.json"


def _slurm_executor(
    settings: SlurmSettings, sweep: str, folder: Path, at_a_time: int, environment: Mapping[str, str]
) -> submitit.SlurmExecutor:
    from submitit import SlurmExecutor

    executor = SlurmExecutor(folder, max_num_timeout=0)
    exports = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    parameters = settings.sbatch_parameters(sweep, at_a_time)
    executor.update_parameters(**parameters, setup=[*settings.setup, *exports], teardown=_AFTER_A_KILL.splitlines())
    return executor


def _note(sweep: SweepDir, array: Array) -> Array:
    with naming(sweep.jobs_file), sweep.jobs_file.open("a") as file:
        file.write(json.dumps(asdict(array)) + "\n")
    return array


def _gpus_of(number: int, n: int) -> tuple[int, ...]:
    """The n GPUs of a local worker, dealt out in turn: submitit gives every one the first ones."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    there = [int(gpu) for gpu in given.split(",") if gpu.isdecimal()] if given else []
    there = there or list(range(len(list(Path("/proc/driver/nvidia/gpus").glob("*")))))
    return tuple(there[(number * n + i) % len(there)] for i in range(n)) if there else tuple(range(n))


# --- surroundings -------------------------------------------------------------------------------------------


@contextmanager
def outside_any_job() -> Iterator[None]:
    """Without what a job inherits, where the launch is typed inside one; with what a user or site sets by hand."""
    from submitit.helpers import clean_env

    kept = {name: value for name, value in os.environ.items() if name.startswith(KEPT)}
    with clean_env():
        os.environ.update(kept)
        yield


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def _on_their_own(log_file: Path) -> Iterator[None]:
    """What is started inside hears neither Ctrl-C nor a closing terminal, and holds none of our pipes open."""
    signals = (signal.SIGINT, signal.SIGHUP)
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in signals}
    kept = [os.dup(fd) for fd in (1, 2)]
    log = os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        for fd in (1, 2):
            os.dup2(log, fd)
        yield
    finally:
        for fd, before in zip((1, 2), kept, strict=True):
            os.dup2(before, fd)
            os.close(before)
        os.close(log)
        for number, handler in handlers.items():
            signal.signal(number, handler)


# --- afterwards ---------------------------------------------------------------------------------------------


def submitted(sweep: SweepDir) -> list[str]:
    """SLURM's ids of all arrays of this sweep, those that are over too."""
    lines = read_jsonl(sweep.jobs_file, strict=False)
    return [line["job_id"] for line in lines if line["cluster"] == "slurm"]


def in_queue(job_ids: Sequence[str]) -> list[str] | None:
    """Those of the arrays that have a job waiting or running; None where SLURM does not answer."""
    try:
        done = subprocess.run(
            ["squeue", "-h", "-u", str(os.getuid()), "-o", "%F"], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    found = set(done.stdout.split())
    return [job_id for job_id in job_ids if job_id in found]
