"""dry_run=true: the plan as a table that fits a terminal, what would become of its runs, and what they will cost."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence

from grok_sweep.companions import together_in_words
from grok_sweep.store import PlannedRun
from grok_sweep.sweep.claims import Claims
from grok_sweep.sweep.grid import Plan
from grok_sweep.sweep.status import needs_work
from grok_sweep.sweep.words import columns, short_axes

SHOWN = 20
"""Runs that the table holds; of more its first and last ones stand for the rest."""


def print_plan(plan: Plan, cost: Callable[[Sequence[PlannedRun]], Sequence[str]]) -> None:
    """Print the plan; do nothing.

    Args:
        cost: what the runs that are left will cost, in lines.
    """
    fates = _fates(plan)
    left = [run for run in plan.runs if fates[run.run_id] in (_RUN, _CONTINUE)]
    counted = Counter(fates.values())
    lines = [
        *_table(plan, fates),
        f"{len(plan.runs)} runs in {plan.sweep.path}: {len(left)} to train, {len(plan.runs) - len(left)} to skip",
        *(f"  {n} {_MEANING[fate]}" for fate in _MEANING if (n := counted[fate])),
    ]
    _say(lines)
    if left:
        _say(cost(left))
        if company := together_in_words([run.settings for run in left]):
            _say([*company, "(times and core-hours are those of runs trained one by one)"])
    _say(["dry_run=true: nothing was started or written"])


_RUN, _CONTINUE, _SKIP, _HELD = "run", "continue", "skip", "held"
_MEANING = {
    _RUN: "are trained from the beginning",
    _CONTINUE: "continue from their checkpoints",
    _SKIP: "have nothing left to do",
    _HELD: "are held by a living process: left to it",
}


def _fates(plan: Plan) -> dict[str, str]:
    """What would become of each run."""
    retry_before = time.time() if plan.options.retry else None
    claims = Claims(plan.sweep, plan.claim_timeout_s)
    try:
        claimed = set(os.listdir(plan.sweep.claims))
    except FileNotFoundError:
        claimed = set()
    fates = {}
    for run in plan.runs:
        run_dir = plan.sweep.run(run.run_id)
        if not needs_work(run, run_dir, retry_before):
            fates[run.run_id] = _SKIP
            continue
        holder = claims.holder(run.run_id) if run.run_id in claimed else None
        if holder is not None and holder.is_alive(plan.claim_timeout_s):
            fates[run.run_id] = _HELD
        else:
            fates[run.run_id] = _CONTINUE if run_dir.checkpoint_file.exists() else _RUN
    return fates


def _table(plan: Plan, fates: dict[str, str]) -> list[str]:
    axes = list(dict.fromkeys(name for run in plan.runs for name in short_axes(run)))
    n_left_out = max(len(plan.runs) - SHOWN, 0)
    shown = plan.runs if not n_left_out else [*plan.runs[: SHOWN - 3], *plan.runs[-3:]]
    rows = [["run_id", *axes, "state", "would"]]
    for run in shown:
        values = short_axes(run)
        state = plan.sweep.run(run.run_id).state().value
        rows.append([run.run_id, *(str(values.get(name, "")) for name in axes), state, fates[run.run_id]])
    lines = columns(rows)
    if n_left_out:
        lines.insert(-3, f"… {n_left_out} more …")
    return lines


def _say(lines: Sequence[str]) -> None:
    """Print; where the reader (`head`) has seen enough, leave without a word."""
    try:
        print("\n".join(lines), flush=True)
    except BrokenPipeError:
        # Python writes out what is left when it ends, and would complain of that.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
