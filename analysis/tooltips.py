"""What a cell's tooltip says: the outcome, counts, quartiles, and every run with its brackets. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.cells import TIMES
from analysis.labels import Cell, steps_text
from analysis.outcomes import PHASES, STATES, words

RUNS_IN_TOOLTIP = 12


def tooltip(cell: Cell, runs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Title to text, the same for every colour: outcome, counts, quartiles and every run with its brackets."""
    found = {"outcome": words(cell["outcome"])}
    if cell["outcome_scale_free"] in PHASES:
        found["free of scale"] = words(cell["outcome_scale_free"])
    found |= {
        "runs": _counts(cell, PHASES) or "none has a phase",
        "states": _counts(cell, STATES) or "no run",
    }
    if cell["share_generalised"] is not None:
        found["generalised"] = f"{cell['share_generalised']:.0%} of {cell['n_done']} done"
    found |= {_titled(name): text for name in TIMES if (text := _spread(cell, name))}
    listed = [_run_line(run) for run in runs[:RUNS_IN_TOOLTIP]]
    if len(runs) > RUNS_IN_TOOLTIP:
        listed.append(f"… and {len(runs) - RUNS_IN_TOOLTIP} more")
    return found | {"each run": "\n".join(listed)}


def _counts(cell: Cell, names: Sequence[str]) -> str:
    return ", ".join(f"{cell[f'n_{name}']} {words(name)}" for name in names if cell[f"n_{name}"])


def _titled(name: str) -> str:
    return f"{name} (steps)"


def _spread(cell: Cell, name: str) -> str:
    """Median with quartiles; "> 3,000, quartiles 700 to > 3,000, 2 of 3 censored"."""
    if not cell[f"{name}_n"]:
        return ""
    text, n, censored = cell[f"{name}_median_text"], cell[f"{name}_n"], cell[f"{name}_n_censored"]
    if n == 1:
        return text
    low, high = cell[f"{name}_q25_text"], cell[f"{name}_q75_text"]
    quartiles = f", quartiles {low} to {high}"
    return f"median {text}{quartiles}" + (f", {censored} of {n} censored" if censored else "")


def _run_line(run: Mapping[str, Any]) -> str:
    parts = [f"{run['run_id']}: {seed_text(run)}{run['state']}"]
    if run["steps"] is not None:
        parts.append(f"{steps_text(run['steps'])} steps")
    parts += [f"{name} {bracket(run, name)}" for name in ("t_train", "t_test") if run[name] is not None]
    if run["phase"] is not None:
        parts.append(words(run["phase"]))
    if run["error"]:
        parts.append(str(run["error"])[:160])
    return ", ".join(parts)


def seed_text(run: Mapping[str, Any]) -> str:
    """ "seed 1, " ("seed 1, split 0, " where the two seeds differ)."""
    seed, split = run.get("model.init_seed"), run.get("data.split_seed")
    if seed is None:
        return ""
    return f"seed {seed}, " if split in (None, seed) else f"seed {seed}, split {split}, "


def bracket(run: Mapping[str, Any], name: str) -> str:
    """900 (after 875): the first row above the threshold, and the last one below it."""
    below = run[f"{name}_below"]
    step = steps_text(run[name])
    return step if below is None else f"{step} (after {steps_text(below)})"
