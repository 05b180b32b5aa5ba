"""What a job does: the sweep's worker, until no run is left, its time is nearly out, or it is told to leave.

submitit calls `train_ordered` by its name, in another process and mostly on another machine: what it is told stands
in a file. Imports no torch before the handlers of signals are in place.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType

from grok_sweep.store import PlannedRun, State, SweepDir, read_json, write_json
from grok_sweep.sweep.cancel import is_cancelled
from grok_sweep.sweep.claims import BEATS_PER_TIMEOUT, Claims, describe, process_start, this_machine
from grok_sweep.sweep.status import needs_work

LOCAL_RESTART = 144
"""Exit code at which submitit's local executor starts a worker again; five times at most."""
LOCAL_RESTARTS = 5
MAX_DEATHS = 3
"""A run that killed so many workers of one launch is failed."""
CLOCK_S = 0.1
"""How much a file's time may be off."""


@dataclass(frozen=True)
class Order:
    """What all workers of one launch are to do.

    Attributes:
        sweep: the sweep's folder, absolute.
        run_ids: the runs that were left, in the order in which they are to be trained.
        n_workers: workers of the launch.
        asked: when the launch was asked for (time.time()): what failed or was cancelled since then counts.
        retry_failed: train again what had failed before it.
    """

    sweep: str
    run_ids: list[str]
    n_threads: int
    asked: float
    retry_failed: bool
    failures_allowed: int | None
    cluster: str
    n_workers: int = 1

    def write(self, file: Path) -> None:
        write_json(file, asdict(self))

    @staticmethod
    def read(file: Path) -> Order:
        found = read_json(file)
        if found is None:
            raise FileNotFoundError(f"{file} is gone: what this worker was to do stood there")
        return Order(**found)

    @property
    def retry_failed_before(self) -> float | None:
        return self.asked if self.retry_failed else None


class Signals:
    """Flags for what SLURM says by signals, over submitit's handlers, of which one passes over SIGTERM and the other
    raises wherever the program happens to be.

    Attributes:
        time_is_out: SIGUSR2 (or 1), some time before the limit; also what a cluster may send before preemption.
        must_leave: SIGTERM: cancelled, requeued, preempted.
    """

    def __init__(self) -> None:
        self.time_is_out = False
        self.must_leave = False

    def __call__(self) -> bool:
        return self.time_is_out or self.must_leave

    def install(self) -> None:
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, self._time_is_out)
        signal.signal(signal.SIGTERM, self._must_leave)
        signal.signal(signal.SIGCONT, signal.SIG_DFL)

    def _time_is_out(self, number: int, frame: FrameType | None) -> None:
        self.time_is_out = True

    def _must_leave(self, number: int, frame: FrameType | None) -> None:
        self.must_leave = True


def train_ordered(order_file: str) -> None:
    """Train runs of the order; leaves with exit code 1 where some run failed since the order was given."""
    signals = Signals()
    signals.install()
    order = Order.read(Path(order_file))
    job = Job(Path(order_file).parent, order)
    job.clear_up_after_earlier_attempts()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(order.n_threads)  # torch reads them when it is imported
    trained = _train(order, signals)
    failed = job.failed()
    if signals.must_leave:
        job.say("was told to leave: the run has its checkpoint")
        job.go_on_if_preempted()
    elif signals.time_is_out and job.has_work() and not job.had_enough(failed):
        job.say("time is nearly out: the run has its checkpoint")
        job.go_on(trained)
    if failed:
        job.say(f"{len(failed)} runs failed, of all that this launch asked for; first {failed[0]}")
        sys.exit(1)


def _train(order: Order, signals: Signals) -> bool:
    """Whether any run was trained here."""
    sweep = SweepDir(order.sweep)
    planned = {run.run_id: run for run in sweep.plan()}
    if next(_left(sweep, order), None) is None:
        print("nothing is left to do", flush=True)
        return False
    from grok_sweep.sweep.worker import work

    steps: set[str] = set()
    while not signals():
        states = work(
            order.sweep, order.run_ids, n_threads=order.n_threads, n_workers=order.n_workers,
            retry_failed_before=order.retry_failed_before, failures_allowed=order.failures_allowed,
            asked=order.asked, stop=signals, report=lambda progress: steps.add(progress.run_id),
        )  # fmt: skip
        held = [planned[run_id] for run_id, state in states.items() if state is None]
        if not _some_died(sweep, held, signals):
            break
    return bool(steps)


def _left(sweep: SweepDir, order: Order) -> Iterator[PlannedRun]:
    """The runs of the order with work left; none of an order that was cancelled since: its job leaves for good."""
    if is_cancelled(sweep.cancel_file, order.asked):
        return
    wanted = set(order.run_ids)
    for run in sweep.plan():
        if run.run_id in wanted and needs_work(run, sweep.run(run.run_id), order.retry_failed_before):
            yield run


def _some_died(sweep: SweepDir, held: list[PlannedRun], signals: Signals) -> bool:
    """Wait until every run that others hold gave a sign of life since now; True as soon as a holder has died.

    A worker on another machine that died beats no more, and only time can tell: who leaves before would leave
    its run to nobody.
    """
    began, waiting = time.monotonic(), list(held)
    while waiting and not signals():
        still = []
        for run in waiting:
            timeout_s = float(run.settings["claim_timeout_s"])
            holder = Claims(sweep, timeout_s).holder(run.run_id)
            if holder is not None and not holder.is_alive(timeout_s):
                print(f"{run.run_id} was left by {describe(holder)}", flush=True)
                return True
            since = time.monotonic() - began - CLOCK_S
            if holder is not None and not holder.is_here() and holder.age_s >= since:
                still.append(run)
        waiting = still
        if waiting:
            time.sleep(min(1.0, float(waiting[0].settings["claim_timeout_s"]) / BEATS_PER_TIMEOUT))
    return False


class Job:
    """This job, as SLURM or submitit's local executor knows it, and its earlier attempts."""

    def __init__(self, folder: Path, order: Order, environment: Mapping[str, str] = os.environ) -> None:
        self._order = order
        self._sweep = SweepDir(order.sweep)
        self._is_on_slurm = order.cluster == "slurm"
        self._began = time.time()
        self.id = job_id(environment)
        file = folder / f"{self.id}_attempts.json"
        self._before: list[dict[str, object]] = (read_json(file) or {"attempts": []})["attempts"]
        me = {"machine": this_machine(), "pid": os.getpid(), "started": process_start(os.getpid()), "at": self._began}
        write_json(file, {"attempts": [*self._before, me]})

    def say(self, line: str) -> None:
        print(f"worker {self.id}: {line}", flush=True)

    def clear_up_after_earlier_attempts(self) -> None:
        """A requeued job's earlier attempt is over, whatever became of its machine: its run waits for no heartbeat.

        One that killed its worker again and again is failed, so that the others get their turn.
        """
        if not self._before:
            return
        earlier = [(attempt["machine"], attempt["pid"], attempt["started"]) for attempt in self._before]
        self.say(f"attempt {len(earlier) + 1} of this job")
        for run in _left(self._sweep, self._order):
            claims = Claims(self._sweep, float(run.settings["claim_timeout_s"]))
            holder = claims.holder(run.run_id)
            if holder is not None and holder.process in earlier:
                claims.free(run.run_id, holder)
            if (deaths := claims.deaths(run.run_id, self._order.asked)) >= MAX_DEATHS:
                self._give_up(run, claims, deaths)

    def _give_up(self, run: PlannedRun, claims: Claims, deaths: int) -> None:
        claim = claims.take(run.run_id)
        if claim is None:
            return
        run_dir = self._sweep.run(run.run_id)
        error = f"killed its worker {deaths} times, as when memory runs out"
        run_dir.log(f"failed: {error}")
        step = run_dir.status().get("step", 0)
        run_dir.write_status(State.failed, step=step, n_steps=run.settings["n_steps"], end=None, error=error)
        claim.release()

    def failed(self) -> list[str]:
        """The runs of the order that failed since it was given."""
        statuses = {run_id: self._sweep.run(run_id).status() for run_id in self._order.run_ids}
        return [
            i for i, s in statuses.items() if s["state"] == State.failed.value and s["updated"] >= self._order.asked
        ]

    def has_work(self) -> bool:
        """Whether a run is left that nobody else trains."""
        for run in _left(self._sweep, self._order):
            timeout_s = float(run.settings["claim_timeout_s"])
            holder = Claims(self._sweep, timeout_s).holder(run.run_id)
            if holder is None or not holder.is_alive(timeout_s):
                return True
        return False

    def had_enough(self, failed: list[str]) -> bool:
        allowed = self._order.failures_allowed
        return allowed is not None and len(failed) >= allowed

    def go_on(self, trained: bool) -> None:
        """Have this job run once more, for the runs that are left."""
        if not trained:
            self.say(
                "no step was made in that time: it would be the same again. Give a larger hydra.launcher.timeout_min"
            )
        elif self._is_on_slurm:
            self._requeue()
        elif len(self._before) < LOCAL_RESTARTS:
            self.say("starting again")
            sys.exit(LOCAL_RESTART)
        else:
            self.say("the local executor starts a worker no more than five times again; the same command continues")

    def go_on_if_preempted(self) -> None:
        """Where preemption cancels (PreemptMode=CANCEL) a job ends unless it asks; after scancel it stays ended."""
        # The state is COMPLETING in all of these cases. A preemption of an earlier attempt may still stand there.
        found = re.search(r"\bPreemptTime=(\d\S*)", _scontrol("show", "job", self.id)) if self._is_on_slurm else None
        if found and datetime.fromisoformat(found[1]).timestamp() >= self._began - 1 and self.has_work():
            self._requeue()

    def _requeue(self) -> None:
        """Without harm where SLURM is doing it already."""
        said = _scontrol("requeue", self.id)
        self.say(f"not requeued ({said}); the same command continues" if said else "requeued: it goes on there")


def job_id(environment: Mapping[str, str]) -> str:
    """12_3 of an array, else 12; the first task's SLURM_JOB_ID names the whole array."""
    if "SLURM_ARRAY_JOB_ID" in environment:
        return f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
    return environment.get("SLURM_JOB_ID") or environment.get("SUBMITIT_LOCAL_JOB_ID") or str(os.getpid())


def _scontrol(*words: str) -> str:
    """What it prints, errors too; an error of our own where it cannot be called."""
    try:
        done = subprocess.run(["scontrol", "-o", *words], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stdout + done.stderr).strip()
