"""What is left to do of a planned run. No torch."""

from __future__ import annotations

from grok_sweep.store import PlannedRun, RunDir, State


def needs_work(run: PlannedRun, run_dir: RunDir, retry_failed_before: float | None = None) -> bool:
    """Whether a worker should take this run.

    Done is skipped, but for a run that ended with fewer steps than are now asked for: it goes on. One that
    its stop rule ended stays done. Diverged and failed stay too.

    Args:
        retry_failed_before: take failed runs whose failure is older than this (time.time()).
    """
    status = run_dir.status()
    state = State(status["state"])
    if state is State.done:
        return status["end"] == "n_steps" and status["step"] < run.settings["n_steps"]
    if state is State.failed:
        return retry_failed_before is not None and status["updated"] < retry_failed_before
    return state is not State.diverged
