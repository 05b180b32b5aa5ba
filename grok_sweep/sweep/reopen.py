"""A run that failed, or that a dead worker left, made one that any worker takes: under its claim. No torch."""

from __future__ import annotations

from grok_sweep.store import PlannedRun, State, SweepDir
from grok_sweep.sweep.claims import Claims


def reopen(sweep: SweepDir, run: PlannedRun, only_from: State, why: str) -> bool:
    """Set the run's state to interrupted, or to planned where there is no checkpoint to go on from.

    Its claim is held meanwhile, so that nobody trains it; and the state is looked at again under the claim.

    Args:
        only_from: the state that it must have.
        why: for its log.txt.

    Returns False where somebody holds the run, or its state is another one by now.
    """
    run_dir = sweep.run(run.run_id)
    claim = Claims(sweep, float(run.settings["claim_timeout_s"])).take(run.run_id)
    if claim is None:
        return False
    try:
        if run_dir.state() is not only_from:
            return False
        has_checkpoint = run_dir.checkpoint_file.exists()
        state = State.interrupted if has_checkpoint else State.planned
        step = run_dir.status().get("step", 0) if has_checkpoint else 0
        run_dir.log(f"{why}: {state.value}, was {only_from.value}")
        claim.check()
        run_dir.write_status(state, step=step, n_steps=run.settings["n_steps"], end=None, error=None)
        return True
    finally:
        claim.release()
