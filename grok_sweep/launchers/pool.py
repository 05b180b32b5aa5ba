"""Worker processes on this machine over one list of runs: a Hydra launcher that takes a plan, not overrides.

Workers are forked from a server that imported torch and did nothing else (multiprocessing's forkserver): imports are
paid once. Each gets the whole list; claims keep them apart. How far a run is stands in its folder. The only word to
the workers is a pipe that closes: when the launch wants them to stop, or when it has died.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from grok_sweep.companions import together_in_words
from grok_sweep.launchers.devices import gpus_for, shared_out, wrong_here
from grok_sweep.launchers.plan_launcher import PlanLauncher
from grok_sweep.launchers.report import last_words
from grok_sweep.launchers.worker_process import how_it_ended, preload, server_environment, train_runs
from grok_sweep.store import PlannedRun, State
from grok_sweep.sweep.cancel import is_cancelled
from grok_sweep.sweep.claims import Claims
from grok_sweep.sweep.command_line import EXIT_INTERRUPTED
from grok_sweep.sweep.display import Display, display
from grok_sweep.sweep.grid import Plan
from grok_sweep.sweep.interrupt import Interrupt
from grok_sweep.sweep.progress import Watch
from grok_sweep.sweep.words import named

MAX_DEATHS = 3
"""A run that killed its worker so often in one launch is failed; so many deaths without a run end the launch."""
LOOK_EVERY_S = 0.5


class PoolLauncher(PlanLauncher, Launcher):
    """conf/hydra/launcher/pool.yaml: worker processes on this machine.

    Args:
        n_workers: None: one a usable core, or as many as the GPUs take; no more than runs to do.
        n_threads: torch threads of each; None: the usable cores shared out.
        workers_per_gpu: so many workers share a GPU; where there is none this means nothing.
    """

    def __init__(self, n_workers: int | None = None, n_threads: int | None = None, workers_per_gpu: int = 1) -> None:
        self.n_workers = n_workers
        self.n_threads = n_threads
        self.workers_per_gpu = workers_per_gpu

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra hands over what it composed; nothing of it is needed."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        raise HydraException("hydra/launcher=pool takes a plan: use it with hydra/sweeper=plan, the default")

    def problems(self) -> list[str]:
        return [
            f"hydra.launcher.{name} must be a whole number of at least 1, or null, got {value!r}"
            for name, value in (("n_workers", self.n_workers), ("n_threads", self.n_threads))
            if value is not None and not _is_count(value)
        ] + (
            []
            if _is_count(self.workers_per_gpu)
            else [
                f"hydra.launcher.workers_per_gpu must be a whole number of at least 1, got {self.workers_per_gpu!r}"
            ]
        )

    def plan_problems(self, plan: Plan) -> list[str]:
        return wrong_here(plan)

    def shares(self, plan: Plan) -> tuple[int, int]:
        n_places = self.workers_per_gpu * len(_gpus(plan))
        return shared_out(len(plan.runs), self.n_workers, self.n_threads, n_places)

    def train(self, plan: Plan) -> int:
        """Train every run of the plan that has work left; returns the exit code."""
        watch = Watch(plan.sweep, plan.runs, retry_failed=plan.options.retry is not None)
        interrupted = False
        if watch.left:
            n_workers, n_threads = self.shares(plan)
            gpus = _gpus(plan)
            n_workers = min(n_workers, len(watch.left))
            with Interrupt() as stop, display(watch) as shown:
                shown.say(
                    f"{watch.n_runs} runs in {plan.sweep.path}: {len(watch.left)} to train, {watch.n_before} "
                    f"finished before; workers: {n_workers}, threads of each: {n_threads}"
                    + (f", dealt out to {len(gpus)} GPUs" if gpus else "")
                )
                for line in together_in_words([view.run.settings for view in watch.left.values()]):
                    shown.say(line)
                pool = Pool(watch, shown, n_workers, n_threads, gpus)
                pool.run(stop, plan.options.failures_allowed)
                interrupted = stop() or pool.is_cancelled
        lines, exit_code = last_words(plan.sweep, plan.runs, interrupted)
        print("\n".join(lines), flush=True)
        return exit_code


def _gpus(plan: Plan) -> list[str]:
    return gpus_for(run.settings for run in plan.runs)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


@dataclass
class _Worker:
    process: ForkServerProcess
    log_file: Path
    gpu: str | None


class Pool:
    """The worker processes of one launch; each runs `target` (the tests have another one).

    Attributes:
        is_cancelled: somebody gave `python -m grok_sweep cancel`.
    """

    def __init__(
        self,
        watch: Watch,
        shown: Display,
        n_workers: int,
        n_threads: int,
        gpus: Sequence[str] = (),
        target: Callable[..., None] | None = None,
    ) -> None:
        self._target = target or train_runs
        self._watch, self._display = watch, shown
        self._n_workers, self._n_threads, self._gpus = n_workers, n_threads, gpus
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(preload([view.run.settings for view in watch.left.values()]))
        self._workers: list[_Worker] = []
        self._n_started = 0
        self._failures_allowed: int | None = None
        self._deaths: Counter[str | None] = Counter()
        self.is_cancelled = False
        # Workers hold the reading end only: it closes when we close the writing end, or die.
        self._read_end, self._write_end = self._context.Pipe(duplex=False)

    def run(self, stop: Interrupt, failures_allowed: int | None) -> None:
        """Until no run is left that these workers could train, or they were asked to stop and did."""
        self._failures_allowed = failures_allowed
        try:
            for _ in range(self._n_workers):
                self._start()
            while self._workers:
                wait([worker.process.sentinel for worker in self._workers], timeout=LOOK_EVERY_S)
                self._look_for_a_reason_to_stop(stop, failures_allowed)
                self._bury()
                look = self._watch.look()
                self._display.show(look)
                if look.running:
                    self._deaths[None] = 0
        except KeyboardInterrupt:  # the second Ctrl-C
            for worker in self._workers:
                worker.process.kill()
            sys.exit(EXIT_INTERRUPTED)
        finally:
            self._write_end.close()
            self._read_end.close()

    def _look_for_a_reason_to_stop(self, stop: Interrupt, failures_allowed: int | None) -> None:
        failures = self._watch.count(State.failed)
        if self._is_stopping:
            return
        if is_cancelled(self._watch.sweep.cancel_file, self._watch.began):
            self.is_cancelled = True
            self._stop("cancelled: the runs write their checkpoints")
        elif stop():
            self._stop("interrupted: the runs write their checkpoints (once more Ctrl-C kills them)")
        elif failures_allowed is not None and failures >= failures_allowed:
            self._stop(f"{failures} failed: stopping, as was asked for; the other runs write their checkpoints")

    def _bury(self) -> None:
        """Let go of the workers that ended; those that died are noted and replaced."""
        for worker in [worker for worker in self._workers if worker.process.exitcode is not None]:
            self._workers.remove(worker)
            if worker.process.exitcode != 0:
                self._died(worker)
            elif worker.log_file.exists() and worker.log_file.stat().st_size == 0:
                worker.log_file.unlink()

    @property
    def _is_stopping(self) -> bool:
        return self._write_end.closed

    def _stop(self, why: str) -> None:
        self._display.say(why)
        self._write_end.close()

    def _start(self) -> None:
        watch = self._watch
        watch.sweep.workers.mkdir(parents=True, exist_ok=True)
        self._n_started += 1
        log_file = watch.sweep.workers / f"{socket.gethostname()}-{os.getpid()}-{self._n_started}.log"
        taken = Counter(worker.gpu for worker in self._workers)
        gpu = min(self._gpus, key=taken.__getitem__, default=None)
        arguments = (
            str(watch.sweep.path), list(watch.left), self._n_workers, self._n_threads, watch.retry_failed_before,
            self._failures_allowed, watch.began, gpu, self._read_end, str(log_file),
        )  # fmt: skip
        with server_environment(self._n_threads):
            forkserver.ensure_running()
        process = self._context.Process(target=self._target, args=arguments)
        process.start()
        self._workers.append(_Worker(process, log_file, gpu))

    def _died(self, worker: _Worker) -> None:
        """Note it in the logs of the runs it had, fail one that does so again and again, start another worker."""
        reason = f"worker {worker.process.pid} {how_it_ended(worker.process.exitcode)}"
        runs = self._runs_of(worker)
        self._deaths.update([run.run_id for run in runs] or [None])
        for run in runs:
            self._note(run, reason, self._deaths[run.run_id])
        if not runs:
            self._display.say(f"{reason} without a run; its log: {worker.log_file}")
            if self._deaths[None] >= MAX_DEATHS:
                self._stop(f"{MAX_DEATHS} workers died without a run: giving up. The last one's log:")
                with suppress(FileNotFoundError):
                    self._display.say(worker.log_file.read_text(errors="replace")[-4000:])
        if not self._is_stopping:
            self._start()

    def _note(self, run: PlannedRun, reason: str, deaths: int) -> None:
        run_dir = self._watch.sweep.run(run.run_id)
        note = f"{reason} (attempt {deaths} of {MAX_DEATHS} in this launch)"
        with suppress(OSError):  # as on a full disk: it is said here all the same
            run_dir.path.mkdir(exist_ok=True)
            run_dir.log(note)
        self._display.say(f"{named(run)}: {note}")
        if deaths < MAX_DEATHS:
            return
        claim = Claims(self._watch.sweep, float(run.settings["claim_timeout_s"])).take(run.run_id)
        if claim is not None:
            step = run_dir.status().get("step", 0)
            error = f"killed its worker {deaths} times, at last: {reason}"
            run_dir.write_status(State.failed, step=step, n_steps=run.settings["n_steps"], end=None, error=error)
            claim.release()

    def _runs_of(self, worker: _Worker) -> list[PlannedRun]:
        """The runs that this dead process still holds: one, or those that it trained together."""
        held = []
        for run_id in self._watch.claimed():
            holder = Claims(self._watch.sweep, 1.0).holder(run_id)
            if holder is not None and holder.is_here() and holder.pid == worker.process.pid:
                held.append(self._watch.left[run_id].run)
        return held
