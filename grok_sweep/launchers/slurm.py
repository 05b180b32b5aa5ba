"""Workers as jobs of a SLURM cluster, over the same plan and the same worker: a Hydra launcher that takes a plan.

The launch submits and leaves: runs stand in the sweep's folder, whoever trains them. Workers are all alike; each
takes runs by claim until none is left, and a job that is requeued, cancelled or killed costs no finished run.
"""

from __future__ import annotations

import os
import secrets
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from grok_sweep.companions import together_in_words
from grok_sweep.launchers import slurm_jobs
from grok_sweep.launchers.code_copy import copy_code
from grok_sweep.launchers.devices import wrong_here
from grok_sweep.launchers.plan_launcher import PlanLauncher
from grok_sweep.launchers.report import last_words
from grok_sweep.launchers.slurm_settings import SlurmSettings
from grok_sweep.launchers.slurm_worker import Order
from grok_sweep.sweep.command_line import EXIT_DONE, EXIT_INTERRUPTED, EXIT_RUN_FAILED
from grok_sweep.sweep.display import display
from grok_sweep.sweep.grid import Plan
from grok_sweep.sweep.interrupt import Interrupt
from grok_sweep.sweep.progress import Watch
from grok_sweep.sweep.words import command

LOOK_EVERY_S = 1.0
ASK_EVERY_S = 10.0
"""Seconds between questions to SLURM, with wait=true: its controller serves everybody."""


class SlurmLauncher(PlanLauncher, Launcher):
    """conf/hydra/launcher/slurm.yaml: workers as jobs."""

    def __init__(self, **settings: Any) -> None:
        known = {f.name for f in fields(SlurmSettings)}
        self._unknown = sorted(set(settings) - known)
        self.settings = SlurmSettings()
        for name in known & set(settings):  # of whatever type: problems() says what is wrong with it
            setattr(self.settings, name, _plain(settings[name]))

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra hands over what it composed; nothing of it is needed."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        raise HydraException("hydra/launcher=slurm takes a plan: use it with hydra/sweeper=plan, the default")

    def problems(self) -> list[str]:
        known = ", ".join(f.name for f in fields(SlurmSettings))
        found = [f"unknown setting hydra.launcher.{name}. Known: {known}" for name in self._unknown]
        return found + self.settings.problems()

    def plan_problems(self, plan: Plan) -> list[str]:
        settings = self.settings
        if settings.cluster == "local":
            return wrong_here(plan)
        if missing := slurm_jobs.missing_programs():
            return [
                f"hydra/launcher=slurm needs SLURM's {', '.join(missing)}, not found in PATH here: launch from a "
                "login node of the cluster, or give hydra.launcher.cluster=local, or hydra/launcher=pool"
            ]
        found = []
        if any(run.settings["device"].startswith("cuda") for run in plan.runs) and not settings.asks_for_gpus():
            found.append("device=cuda needs a GPU in each job: give hydra.launcher.gpus_per_node=1")
        if (said := slurm_jobs.refused(settings, plan.sweep.path.name)) is not None:
            found.append(_refusal(said))
        sizes = self._array_sizes(len(plan.runs))
        if settings.array_parallelism is not None and settings.array_parallelism < len(sizes):
            found.append(
                f"hydra.launcher.array_parallelism={settings.array_parallelism}: {sum(sizes)} workers are "
                f"{len(sizes)} arrays here (MaxArraySize), each of which has a worker at work: give at least "
                f"{len(sizes)}, or fewer hydra.launcher.n_workers"
            )
        return found

    def shares(self, plan: Plan) -> tuple[int, int]:
        """Workers that train these runs at a time, and torch threads of each."""
        n = self.settings.n_workers_for(len(plan.runs))
        return min(n, self.settings.array_parallelism or n), self.settings.cpus_per_task

    def train(self, plan: Plan) -> int:
        """Submit workers for what is left; with wait=true stay until they have left. Returns the exit code."""
        watch = Watch(plan.sweep, plan.runs, retry_failed=plan.options.retry is not None)
        if not watch.left:
            return _last_words(plan)
        for name in self.settings.unused():
            print(f"note: hydra.launcher.{name} is not used with cluster=local", file=sys.stderr)
        folder = (
            plan.sweep.submitit.resolve() / f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
        )
        self._write_order(plan, watch, folder)
        n_workers = self.settings.n_workers_for(len(watch.left))
        print(
            f"{watch.n_runs} runs in {plan.sweep.path}: {len(watch.left)} to train, {watch.n_before} finished "
            f"before; workers: {n_workers}, threads of each: {self.settings.cpus_per_task}",
            *together_in_words([view.run.settings for view in watch.left.values()]),
            sep="\n",
            flush=True,
        )
        is_here = self.settings.cluster == "local"
        at_work = (self._submit_here if is_here else self._submit)(plan, folder, n_workers)
        if at_work is None:
            return EXIT_RUN_FAILED
        if self.settings.wait:
            return _stay(plan, watch, at_work)
        here = shlex.quote(str(plan.sweep.path))
        print("watch:  " + command("-m grok_sweep watch", here))
        print("cancel: " + command("-m grok_sweep cancel", here), flush=True)
        return EXIT_DONE

    def _write_order(self, plan: Plan, watch: Watch, folder: Path) -> None:
        Order(
            sweep=str(plan.sweep.path.resolve()), run_ids=list(watch.left), n_threads=self.settings.cpus_per_task,
            n_workers=self.settings.n_workers_for(len(watch.left)), asked=watch.began,
            retry_failed=plan.options.retry is not None,
            failures_allowed=plan.options.failures_allowed, cluster=self.settings.cluster,
        ).write(slurm_jobs.order_file(folder))  # fmt: skip

    def _array_sizes(self, n_left: int) -> list[int]:
        return slurm_jobs.array_sizes(self.settings.n_workers_for(n_left), slurm_jobs.cluster_config())

    def _submit(self, plan: Plan, folder: Path, n_workers: int) -> Callable[[], bool] | None:
        """The arrays; whether one of their jobs is left, as a function. None where SLURM took none."""
        if earlier := slurm_jobs.in_queue(slurm_jobs.submitted(plan.sweep)):
            print(
                f"note: workers of earlier launches are in the queue too: job {', '.join(earlier)}", file=sys.stderr
            )
        sizes = self._array_sizes(n_workers)
        arrays: list[slurm_jobs.Array] = []
        why = "a limit on submitted jobs"
        try:
            environment = self._environment(plan)
            for array in slurm_jobs.submit_to_slurm(self.settings, plan.sweep, folder, sizes, environment):
                arrays.append(array)  # those before one that is refused are at work
        except slurm_jobs.NotSubmitted as error:
            why = str(error)
        n_taken = sum(array.n_workers for array in arrays)
        if n_taken < n_workers:
            print(f"SLURM took {n_taken} of {n_workers} workers: {why}", file=sys.stderr)
        if not arrays:
            print("nothing was submitted; the same command tries again", file=sys.stderr)
            return None
        named = ", ".join(f"{array.job_id} ({_workers(array.n_workers)})" for array in arrays)
        print(f"submitted: job {named}; their logs: {_shown(folder)}")
        ids = [array.job_id for array in arrays]
        return lambda: slurm_jobs.in_queue(ids) != []

    def _submit_here(self, plan: Plan, folder: Path, n_workers: int) -> Callable[[], bool]:
        jobs = slurm_jobs.submit_here(self.settings, plan.sweep, folder, n_workers, self._environment(plan))
        print(f"started: {_workers(n_workers)} on this machine; their logs: {_shown(folder)}")
        return lambda: not all(job.done() for job in jobs)

    def _environment(self, plan: Plan) -> Mapping[str, str]:
        """Where workers find the code: the copy first, and nothing in the folder in which they start.

        What PYTHONPATH names stands behind it, for modules of the user's own and what these import.
        """
        project = Path(sys.argv[0]).resolve().parent
        code = copy_code(plan.sweep, project, plan.runs).resolve() if self.settings.snapshot else project
        paths = [str(code), *_absolute(os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(paths)}


def _stay(plan: Plan, watch: Watch, at_work: Callable[[], bool]) -> int:
    """Show the runs until none is left or every worker has left; then the last words."""
    with Interrupt() as stop, display(watch) as shown:
        asked = time.monotonic()
        while watch.left and not stop():
            gone = False
            if time.monotonic() - asked >= ASK_EVERY_S:
                gone, asked = not at_work(), time.monotonic()
            shown.show(watch.look())
            if gone:
                break
            time.sleep(LOOK_EVERY_S)
        if stop():
            here = shlex.quote(str(plan.sweep.path))
            shown.say("no longer waiting: the workers go on. " + command("-m grok_sweep cancel", here) + " ends them")
            return EXIT_INTERRUPTED
    return _last_words(plan)


def _last_words(plan: Plan) -> int:
    lines, exit_code = last_words(plan.sweep, plan.runs, interrupted=False)
    print("\n".join(lines), flush=True)
    return exit_code


def _workers(n: int) -> str:
    return f"{n} worker" + ("s" if n > 1 else "")


def _shown(folder: Path) -> str:
    return str(folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder)


def _absolute(paths: Iterable[str]) -> list[str]:
    return [os.path.abspath(path) for path in paths if path]


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


_NO_CLUSTER = ("configuration source", "Unable to contact slurm controller")
"""What sbatch says where there is none."""


def _refusal(said: str) -> str:
    if any(words in said for words in _NO_CLUSTER):
        return (
            f"sbatch finds no SLURM cluster from here ({said}): launch from a login node of the cluster, or give "
            "hydra.launcher.cluster=local, or hydra/launcher=pool"
        )
    return f"SLURM would refuse such a job: {said}; see hydra.launcher.* in docs/slurm.md"
