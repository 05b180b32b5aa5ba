"""The last words of a launch: what failed and where its log is, what is left, and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from grok_sweep import loggers
from grok_sweep.store import ENDED, PlannedRun, RunDir, State, SweepDir
from grok_sweep.sweep.claims import Claims, describe
from grok_sweep.sweep.command_line import EXIT_DONE, EXIT_INTERRUPTED, EXIT_RUN_FAILED
from grok_sweep.sweep.status import needs_work
from grok_sweep.sweep.words import command, end_of_log, named


def last_words(sweep: SweepDir, runs: Sequence[PlannedRun], interrupted: bool) -> tuple[list[str], int]:
    """The lines that end a launch over these runs, and its exit code.

    Diverged is an outcome. Runs that others train are left to them, and are nobody's failure.
    """
    states = {run.run_id: sweep.run(run.run_id).state() for run in runs}
    failed = [run for run in runs if states[run.run_id] is State.failed]
    left = [run for run in runs if states[run.run_id] is not State.failed and needs_work(run, sweep.run(run.run_id))]
    lines = _failures(sweep, failed, len(runs))
    counted = [(state, sum(s is state for s in states.values())) for state in State]
    lines.append(f"{len(runs)} runs in {sweep.path}: " + ", ".join(f"{n} {s.value}" for s, n in counted if n))
    lines += _held_by_others(sweep, left)
    if interrupted:
        lines.append(f"interrupted: {len(left)} of {len(runs)} runs are left; the same command continues")
    elif left:
        lines.append(f"{len(left)} of {len(runs)} runs are left; the same command continues")
    folder = shlex.quote(str(sweep.path))
    ended = [run for run in runs if states[run.run_id] in ENDED and run.settings["logger.kind"] == "wandb"]
    lines += mirrored([sweep.run(run.run_id) for run in ended], f"{folder}/*/")
    if len(failed) < len(runs):
        lines.append("next: " + command("-m analysis sweep", folder))
    if interrupted:
        return lines, EXIT_INTERRUPTED
    return lines, EXIT_RUN_FAILED if failed or left else EXIT_DONE


def _failures(sweep: SweepDir, failed: Sequence[PlannedRun], n_runs: int) -> list[str]:
    if not failed:
        return []
    run_dir = sweep.run(failed[0].run_id)
    return [
        f"{len(failed)} of {n_runs} runs failed. First: {named(failed[0])}, {run_dir.status().get('error')}. "
        f"Log: {run_dir.log_file}",
        *(f"    {line}" for line in end_of_log(run_dir)),
        *(f"  also {named(run)}: {sweep.run(run.run_id).log_file}" for run in failed[1:]),
        "the same command with retry=failed trains them again",
    ]


def mirrored(run_dirs: Sequence[RunDir], where: str) -> list[str]:
    """Of runs that ended and have a mirror: how many of these failed, and how offline ones get to W&B's server.

    Args:
        where: what stands for their folders in a command, with a slash at its end.
    """
    lines = []
    n_failed = sum(any(loggers.FAILED in line for line in end_of_log(run_dir)) for run_dir in run_dirs)
    if n_failed:
        of_which = f" in {n_failed} of {len(run_dirs)} runs" if len(run_dirs) > 1 else ""
        lines.append(
            f"{loggers.FAILED}{of_which}, metrics.jsonl has every row; why: grep '{loggers.FAILED}' {where}log.txt"
        )
    if any(loggers.is_to_be_synced(run_dir) for run_dir in run_dirs):
        lines.append("upload to W&B: " + command("-m wandb sync", f"{where}wandb"))
    return lines


def _held_by_others(sweep: SweepDir, left: Sequence[PlannedRun]) -> list[str]:
    lines = []
    for run in left:
        timeout_s = float(run.settings["claim_timeout_s"])
        holder = Claims(sweep, timeout_s).holder(run.run_id)
        if holder is not None and holder.is_alive(timeout_s):
            lines.append(f"  {named(run)} is held by {describe(holder)}")
    return lines
