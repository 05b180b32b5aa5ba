"""The words in a cell of a map, and in its tooltip: pure functions of a row of the cells' table and its runs."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.cells import TIMES
from analysis.looks import BEYOND, Size
from analysis.outcomes import BROKEN, CENSORED, MIXED, NO_RUN, PHASES, STATES, UNFINISHED, words

SHORT = {
    "comprehension": "compr.",
    "grokking": "grok",
    "memorization": "mem.",
    "memorization_so_far": "mem.",
    "confusion": "conf.",
    "confusion_so_far": "conf.",
    "interrupted": "interr.",
    "diverged": "div.",
    NO_RUN: "–",
}
"""Abbreviations for narrow cells; other outcomes are short enough."""
RUNS_IN_TOOLTIP = 12
LINE = 17
"""Characters that fit on a line of the widest cells."""
NO_BREAK = "\u00a0"
Cell = Mapping[str, Any]


def short(outcome: str) -> str:
    return SHORT.get(outcome, words(outcome))


def steps_text(n: int) -> str:
    """525, 3000, 12,500."""
    return f"{n:,}" if n >= 10_000 else str(n)


def _narrow(n: int, size: Size) -> str:
    return f"{n / 1000:.3g}k" if n >= 10_000 and size.font < 10 else steps_text(n)


# --- the map of phases --------------------------------------------------------------------------------------


def phase_lines(cell: Cell, size: Size) -> list[str]:
    """Outcome; of several runs, how many have it; what else there is, where there is room."""
    if size.words == "none":
        return []
    outcome, several = cell["outcome"], cell["n_runs"] > 1
    count = f"{cell['n_outcome']}/{cell['n_runs']}"
    if size.words == "short":
        return [short(outcome), *([count] if several and outcome != MIXED else [])]
    if outcome == MIXED:
        return [MIXED, *_composition(cell)]
    lines = [words(outcome)]
    if outcome in CENSORED:
        lines = [outcome.removesuffix("_so_far"), "so far"]
    if several:
        lines[1:] = [", ".join([*lines[1:], count])]
    return [*lines, *_notes(cell)]


def _composition(cell: Cell) -> list[str]:
    """What a mixed cell is made of, in at most three lines: "1 grok, 1 mem."."""
    parts = [f"{cell[f'n_{name}']} {short(name)}" for name in PHASES if cell[f"n_{name}"]]
    open_ones = {name: cell.get(f"n_unsettled_{name}", cell[f"n_{name}"]) for name in (*UNFINISHED, *BROKEN)}
    parts += [f"{n} {short(name)}" for name, n in open_ones.items() if n]
    lines = textwrap.wrap(", ".join(part.replace(" ", NO_BREAK) for part in parts), LINE)
    return [line.replace(NO_BREAK, " ").rstrip(",") for line in lines[:3]]


def _notes(cell: Cell) -> list[str]:
    """One line on the runs that are not done, unless that is the cell's outcome already."""
    others = {name: cell[f"n_{name}"] for name in (*UNFINISHED, *BROKEN) if name != cell["outcome"]}
    others = {name: n for name, n in others.items() if n}
    if not others:
        return []
    if cell["n_runs"] == 1:
        return [f"({next(iter(others))})"]
    return [", ".join(f"{n} {name}" for name, n in others.items()) if len(others) == 1 else _sum(others)]


def _sum(others: Mapping[str, int]) -> str:
    return f"{sum(others.values())} not done"


# --- the map of times ---------------------------------------------------------------------------------------


def time_look(cell: Cell) -> str:
    """ "timed" where the median of t_test is known, BEYOND where it is later than the steps run, else an outcome."""
    if cell["t_test_median"] is not None:
        return "timed"
    if cell["t_test_n"] and cell["n_done"]:
        return BEYOND
    if cell["t_test_n"]:
        return "running" if cell["n_running"] else "interrupted"
    return cell["outcome"]


def time_lines(cell: Cell, size: Size) -> list[str]:
    """Median of t_test, or its bound, and how many runs generalised; a word where there is no time."""
    if size.words == "none":
        return []
    look, several = time_look(cell), cell["n_runs"] > 1
    count = [f"{cell['n_generalised']}/{cell['n_runs']}"] if several else []
    if look == "timed":
        return [_narrow(cell["t_test_median"], size), *count]
    name = words(look) if size.words == "full" else short(look)
    if look not in (BEYOND, "running", "interrupted") or not cell["t_test_n"]:
        return [name]
    sign = cell["t_test_median_text"][0]
    bound = f"{sign} {_narrow(cell['t_test_median_bound'], size)}"
    return [bound, *count] if look == BEYOND else [name, bound]


# --- tooltips -----------------------------------------------------------------------------------------------


def tooltip(cell: Cell, runs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Title to text, the same for both maps: outcome, counts, quartiles and every run with its brackets."""
    found = {
        "outcome": words(cell["outcome"]),
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
    """Median with quartiles; "> 3000, 2 of 3 censored"."""
    if not cell[f"{name}_n"]:
        return ""
    text, n, censored = cell[f"{name}_median_text"], cell[f"{name}_n"], cell[f"{name}_n_censored"]
    if n == 1:
        return text
    low, high = cell[f"{name}_q25"], cell[f"{name}_q75"]
    quartiles = f", quartiles {low} to {'beyond' if high is None else high}" if low is not None else ""
    return f"median {text}{quartiles}" + (f", {censored} of {n} censored" if censored else "")


def _run_line(run: Mapping[str, Any]) -> str:
    parts = [f"{run['run_id']}: {_seed(run)}{run['state']}"]
    if run["steps"] is not None:
        parts.append(f"{steps_text(run['steps'])} steps")
    parts += [f"{name} {_bracket(run, name)}" for name in ("t_train", "t_test") if run[name] is not None]
    if run["phase"] is not None:
        parts.append(words(run["phase"]))
    if run["error"]:
        parts.append(str(run["error"])[:160])
    return ", ".join(parts)


def _seed(run: Mapping[str, Any]) -> str:
    """ "seed 1, " ("seed 1, split 0, " where the two seeds differ)."""
    seed, split = run.get("model.init_seed"), run.get("data.split_seed")
    if seed is None:
        return ""
    return f"seed {seed}, " if split in (None, seed) else f"seed {seed}, split {split}, "


def _bracket(run: Mapping[str, Any], name: str) -> str:
    below = run[f"{name}_below"]
    return f"{run[name]}" if below is None else f"{run[name]} (after {below})"
