"""The worker: takes runs from a sweep's plan by claim and trains them, one after the other, until none is left."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch

from grok_sweep.config import RunConfig, from_flat
from grok_sweep.machine import keep_freed_memory
from grok_sweep.process_state import ProcessState
from grok_sweep.run import Hooks, Progress, run_one
from grok_sweep.store import ENDED, PlannedRun, RunDir, State, SweepDir
from grok_sweep.sweep.cancel import Cancelled
from grok_sweep.sweep.claims import Claim, ClaimLost, Claims
from grok_sweep.sweep.failures import Failures
from grok_sweep.sweep.status import has_work, needs_work


def work(
    sweep: str | Path,
    run_ids: Sequence[str],
    *,
    n_threads: int | None = None,
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
        retry_failed_before: take also runs that failed before this time (time.time()).
        failures_allowed: take no further run once so many have failed since `asked`; None: go on.
        asked: time (time.time()) at which the launch of this worker was asked for; None: now. What was cancelled
            since (python -m grok_sweep cancel) is left with its checkpoint, the rest of the sweep goes on.
        stop: asked between steps; True: checkpoint, leave.
        report: hears how far the present run is.

    Returns the state of each run at the end; None where another living process holds it.
    """
    keep_freed_memory()
    if n_threads is not None:
        torch.set_num_threads(n_threads)
    sweep_dir = SweepDir(sweep)
    planned, fresh = sweep_dir.planned(), ProcessState()
    began = time.time() if asked is None else asked
    failures = Failures(sweep_dir, run_ids, asked) if failures_allowed is not None else None
    cancelled = Cancelled(sweep_dir, began)
    over: set[str] = set()
    found = True

    def leave() -> bool:
        return stop() or cancelled.sweep()

    def enough() -> bool:
        return leave() or (failures is not None and failures.count() >= (failures_allowed or 0))

    while found and not enough():
        # Another pass as long as one found work: a run may have been left by a worker that died meanwhile.
        found = False
        for run_id in [run_id for run_id in run_ids if run_id not in over]:
            if enough():
                break
            run = planned[run_id]
            status = sweep_dir.run(run_id).status()
            if not has_work(run, status, retry_failed_before):
                if State(status["state"]) in ENDED:  # a failed one may be opened again: python -m grok_sweep retry
                    over.add(run_id)
                continue
            if cancelled.run(run_id):
                continue
            fresh.restore()
            if _train(
                sweep_dir, run, retry_failed_before, lambda run_id=run_id: leave() or cancelled.run(run_id), report
            ):
                found = True
                if failures is not None:
                    failures.ended(run_id)
    return {
        run_id: sweep_dir.run(run_id).state()
        if run_id in over
        else _state(sweep_dir, planned[run_id], retry_failed_before)
        for run_id in run_ids
    }


def _train(
    sweep_dir: SweepDir,
    run: PlannedRun,
    retry_failed_before: float | None,
    stop: Callable[[], bool],
    report: Callable[[Progress], None],
) -> bool:
    """One run that has work left, if it can be claimed; True where it was trained."""
    run_dir = sweep_dir.run(run.run_id)
    claim = Claims(sweep_dir, float(run.settings["claim_timeout_s"])).take(run.run_id)
    if claim is None:
        return False
    try:
        # Between the look and the claim another worker may have finished it.
        if needs_work(run, run_dir, retry_failed_before):
            _train_or_record(sweep_dir, run, claim, Hooks(claim.check, claim.fence, stop, report))
    except ClaimLost:
        return True
    except OSError:  # not even the failure could be written: the next one goes on from the checkpoint
        with suppress(OSError):
            claim.release()
        raise
    claim.release()
    return True


def _train_or_record(sweep_dir: SweepDir, run: PlannedRun, claim: Claim, hooks: Hooks) -> None:
    run_dir = sweep_dir.run(run.run_id)
    try:
        run_one(_config(sweep_dir, run), run_dir.path, hooks)
    except ClaimLost:
        raise
    except Exception as error:
        _record_failure(run_dir, run, claim, error)


def _config(sweep_dir: SweepDir, run: PlannedRun) -> RunConfig:
    try:
        return from_flat(run.settings)
    except ValueError as error:
        raise ValueError(f"{sweep_dir.plan_file}: {error} (was it written by another version?)") from error


def _record_failure(run_dir: RunDir, run: PlannedRun, claim: Claim, error: Exception) -> None:
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
