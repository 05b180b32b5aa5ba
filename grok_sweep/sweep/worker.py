"""The worker: takes runs from a sweep's plan by claim and trains them until none is left, one after the other, or
several of them in lock step."""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import torch

from grok_sweep.companions import Key, compatible_key
from grok_sweep.config import RunConfig, from_flat, resolved
from grok_sweep.machine import keep_freed_memory
from grok_sweep.process_state import ProcessState
from grok_sweep.run import Attempt, Hooks, Progress, attempt, driven
from grok_sweep.store import ENDED, PlannedRun, RunDir, State, SweepDir, append_line
from grok_sweep.sweep.cancel import Cancelled
from grok_sweep.sweep.claims import Claim, ClaimLost, Claims
from grok_sweep.sweep.failures import Failures
from grok_sweep.sweep.sizes import best_size
from grok_sweep.sweep.status import has_work, needs_work
from grok_sweep.sweep.together import Member, Together


def work(
    sweep: str | Path,
    run_ids: Sequence[str],
    *,
    n_threads: int | None = None,
    n_workers: int = 1,
    retry_failed_before: float | None = None,
    failures_allowed: int | None = None,
    asked: float | None = None,
    stop: Callable[[], bool] = lambda: False,
    report: Callable[[Progress], None] = lambda progress: None,
) -> dict[str, State | None]:
    """Train every run of `run_ids` that has work left and that nobody else holds.

    A run that fails costs itself alone: its status is failed and the traceback stands in its log.txt.

    Args:
        sweep: the sweep's folder; the runs stand in its plan.
        n_threads: torch threads; None: as they are.
        n_workers: so many share the list: who trains several runs together leaves the others their part.
        retry_failed_before: take also runs that failed before this time (time.time()).
        failures_allowed: take no further run once so many have failed since `asked`; None: go on.
        asked: time (time.time()) at which the launch of this worker was asked for; None: now. What was cancelled
            since (python -m grok_sweep cancel) is left with its checkpoint, the rest of the sweep goes on.
        stop: asked between steps; True: checkpoint, leave.
        report: hears how far the present runs are.

    Returns the state of each run at the end; None where another living process holds it.
    """
    keep_freed_memory()
    if n_threads is not None:
        torch.set_num_threads(n_threads)
    worker = _Worker(SweepDir(sweep), run_ids, n_workers, retry_failed_before, failures_allowed, asked, stop, report)
    worker.train_all()
    return worker.states()


class _Worker:
    def __init__(
        self,
        sweep: SweepDir,
        run_ids: Sequence[str],
        n_workers: int,
        retry_failed_before: float | None,
        failures_allowed: int | None,
        asked: float | None,
        stop: Callable[[], bool],
        report: Callable[[Progress], None],
    ) -> None:
        self._sweep, self._run_ids, self._n_workers = sweep, run_ids, n_workers
        self._retry_failed_before, self._failures_allowed = retry_failed_before, failures_allowed
        self._stop, self._report = stop, report
        self._planned, self._fresh = sweep.planned(), ProcessState()
        self._began = time.time() if asked is None else asked
        self._failures = Failures(sweep, run_ids, asked) if failures_allowed is not None else None
        self._cancelled = Cancelled(sweep, self._began)
        self._over: set[str] = set()
        self._held: set[str] = set()
        self._keys: dict[str, Key | None] = {}
        self._sizes: dict[Key, int] = {}
        self._file = sweep.ensembles / f"{socket.gethostname()}-{os.getpid()}.jsonl"

    def train_all(self) -> None:
        found = True
        while found and not self._enough():
            # Another pass as long as one found work: a run may have been left by a worker that died meanwhile.
            found = False
            for run in self._with_work():
                if self._enough():
                    break
                self._fresh.restore()
                found |= self._train(run)

    def states(self) -> dict[str, State | None]:
        return {
            run_id: self._sweep.run(run_id).state()
            if run_id in self._over
            else _state(self._sweep, self._planned[run_id], self._retry_failed_before)
            for run_id in self._run_ids
        }

    def _with_work(self) -> Iterator[PlannedRun]:
        """Runs that have work left, as it is when they are asked for."""
        for run_id in [run_id for run_id in self._run_ids if run_id not in self._over]:
            run = self._planned[run_id]
            status = self._sweep.run(run_id).status()
            if not has_work(run, status, self._retry_failed_before):
                if State(status["state"]) in ENDED:  # a failed one may be opened again: python -m grok_sweep retry
                    self._over.add(run_id)
            elif not self._cancelled.run(run_id):
                yield run

    def _leave(self) -> bool:
        return self._stop() or self._cancelled.sweep()

    def _enough(self) -> bool:
        failures = self._failures
        return self._leave() or (failures is not None and failures.count() >= (self._failures_allowed or 0))

    # --- who is trained with whom -------------------------------------------------------------------------

    def _train(self, run: PlannedRun) -> bool:
        """True where it could be claimed, and was trained, by itself or with whoever is free and fits."""
        key = self._key(run)
        size = 1 if key is None else self._size(run, key)
        claim = _claims(self._sweep, run).take(run.run_id)
        if claim is None:
            return False
        if key is None or size == 1:
            self._train_alone(run, claim)
        elif (first := self._begun(run, claim)) is not None:
            together = Together(size, lambda n: self._others(key, n), self._leave, self._file)
            together.train(first)
            self._sizes[key] = together.size
        return True

    def _key(self, run: PlannedRun) -> Key | None:
        """Of those with which it can train; None: it trains alone. So does one with which a worker died: the others
        are not to die with it again."""
        if run.run_id not in self._keys:
            self._keys[run.run_id] = None
            if run.settings.get("ensemble.size", "1") != "1":
                with suppress(KeyError):  # a plan of another version, which is told where it is trained
                    self._keys[run.run_id] = compatible_key(run.settings)
        key = self._keys[run.run_id]
        return None if key is None or _claims(self._sweep, run).deaths(run.run_id, self._began) else key

    def _size(self, run: PlannedRun, key: Key) -> int:
        """So many of this key at most; with ensemble.size=auto it is found out once."""
        if key not in self._sizes:
            config = resolved(_config(self._sweep, run))
            self._sizes[key] = config.ensemble.most or self._found_out(config)
        return self._sizes[key]

    def _found_out(self, config: RunConfig) -> int:
        try:
            timed = best_size(config)
        except (ValueError, RuntimeError):  # which is told where it is trained
            return 1
        append_line(self._file, {"at": time.time(), "size": timed.size, "ms": timed.ms})
        return timed.size

    def _others(self, key: Key, n: int) -> list[Member]:
        """Up to n further runs that fit, begun; of all that are left, this worker's part."""
        found: list[Member] = []
        is_lost = True
        while is_lost and len(found) < n:
            is_lost = False
            for run in self._part_of_others(key, n - len(found)):
                if self._enough():
                    return found
                claim = _claims(self._sweep, run).take(run.run_id)
                if claim is None:  # another worker was quicker, as when all begin at once: look further
                    is_lost = True
                    continue
                self._fresh.restore()
                if (member := self._begun(run, claim)) is not None:
                    found.append(member)
        return found

    def _part_of_others(self, key: Key, n: int) -> list[PlannedRun]:
        """Runs that nobody holds, n at most, and no more than leaves each worker as many as this one has then."""
        free: list[PlannedRun] = []
        n_held = n_left = len(self._held)
        for run in self._with_work():
            if run.run_id in self._held or self._key(run) != key:
                continue
            n_left += 1
            timeout_s = float(run.settings["claim_timeout_s"])
            holder = _claims(self._sweep, run).holder(run.run_id)
            if holder is None or not holder.is_alive(timeout_s):
                free.append(run)
            if len(free) >= n and n_left >= (n + n_held) * self._n_workers:
                break
        return free[: min(n, max(0, -(-n_left // self._n_workers) - n_held))]

    # --- a claimed run ------------------------------------------------------------------------------------

    def _train_alone(self, run: PlannedRun, claim: Claim) -> None:
        hooks = Hooks(
            claim.check, claim.fence,
            stop=lambda: self._leave() or self._cancelled.run(run.run_id),
            report=self._report,
        )  # fmt: skip
        try:
            driven(self._attempt(run, hooks))
        except Exception as error:
            self._ended(run, claim, error)
        else:
            self._ended(run, claim, None)

    def _begun(self, run: PlannedRun, claim: Claim) -> Member | None:
        """Up to where it waits for its first state; None where it is over by then."""
        member = Member(run.run_id, lambda error: self._ended(run, claim, error))
        hooks = Hooks(
            claim.check, claim.fence,
            stop=lambda: member.is_to_leave or self._leave() or self._cancelled.run(run.run_id),
            report=self._report,
            noted={"ensemble": str(self._file.relative_to(self._sweep.path))},
            conditions=lambda: member.conditions,
        )  # fmt: skip
        self._held.add(run.run_id)
        return member if member.begin(self._attempt(run, hooks)) else None

    def _attempt(self, run: PlannedRun, hooks: Hooks) -> Attempt:
        """Settings that are wrong are told where it begins."""
        run_dir = self._sweep.run(run.run_id)
        # Between the look and the claim another worker may have finished it.
        if not needs_work(run, run_dir, self._retry_failed_before):
            return run_dir.state()
        return (yield from attempt(_config(self._sweep, run), run_dir.path, hooks))

    def _ended(self, run: PlannedRun, claim: Claim, error: BaseException | None) -> None:
        """Let a run go, however its attempt ended."""
        self._held.discard(run.run_id)
        try:
            if error is not None:
                with suppress(ClaimLost):  # which may be what it ended with, too
                    _record_failure(self._sweep.run(run.run_id), run, claim, error)
        finally:  # where not even the failure could be written, the next one goes on from the checkpoint
            claim.release()
        if self._failures is not None:
            self._failures.ended(run.run_id)


def _claims(sweep_dir: SweepDir, run: PlannedRun) -> Claims:
    return Claims(sweep_dir, float(run.settings["claim_timeout_s"]))


def _config(sweep_dir: SweepDir, run: PlannedRun) -> RunConfig:
    try:
        return from_flat(run.settings)
    except ValueError as error:
        raise ValueError(f"{sweep_dir.plan_file}: {error} (was it written by another version?)") from error


def _record_failure(run_dir: RunDir, run: PlannedRun, claim: Claim, error: BaseException) -> None:
    """Status failed, with the error in one line; its traceback in log.txt, if there is room for it."""
    claim.check()
    run_dir = RunDir(run_dir.path, claim.fence)
    step = run_dir.status().get("step", 0)
    run_dir.path.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):
        run_dir.log("failed:\n" + "".join(traceback.format_exception(error)))
    line = " ".join(f"{type(error).__name__}: {error}".split())
    run_dir.write_status(State.failed, step=step, n_steps=run.settings["n_steps"], end=None, error=line)


def _state(sweep_dir: SweepDir, run: PlannedRun, retry_failed_before: float | None) -> State | None:
    run_dir, timeout_s = sweep_dir.run(run.run_id), float(run.settings["claim_timeout_s"])
    if needs_work(run, run_dir, retry_failed_before):
        holder = Claims(sweep_dir, timeout_s).holder(run.run_id)
        if holder is not None and holder.is_alive(timeout_s):
            return None
    return run_dir.state()
