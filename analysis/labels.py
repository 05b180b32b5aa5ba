"""The words in a cell of a map: pure functions of a row of the cells' table."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from typing import Any

from analysis.looks import BEYOND, COLOURED, NO_VALUE, NOT_REACHED, Size
from analysis.outcomes import BROKEN, CENSORED, MIXED, NO_RUN, PHASES, UNFINISHED, words

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
    NO_VALUE: "none",
    NOT_REACHED: "short",
}
"""Abbreviations for narrow cells; other outcomes are short enough."""
LINE = 17
"""Characters that fit on a line of the widest cells."""
NO_BREAK = "\u00a0"
Cell = Mapping[str, Any]


def short(outcome: str) -> str:
    return SHORT.get(outcome, words(outcome))


def steps_text(n: int) -> str:
    """525, 3,000, 12,500."""
    return f"{n:,}"


def _narrow(n: int, size: Size) -> str:
    return f"{n / 1000:.3g}k" if n >= 10_000 and size.font < 10 else steps_text(n)


def number(value: float, digits: int = 3) -> str:
    """So many significant digits, no 0 at their end, and whole numbers whole: 0.294, 2.5e-4, 7, 12,500, 2.06e6."""
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if round(size) >= 10 ** min(digits, 3) and size < 1e6:
        return f"{round(value):,}"
    if value == 0 or 1e-3 <= size < 1000:
        return f"{value:.{digits}g}"
    mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(power)}"


# --- maps of phases -----------------------------------------------------------------------------------------


def phase_lines(cell: Cell, size: Size, rule: str = "") -> list[str]:
    """Outcome; of several runs, how many have it; what else there is, where there is room.

    Args:
        rule: "" for Liu's phases, "_scale_free" for those without a scale.
    """
    if size.words == "none":
        return []
    outcome, several = cell[f"outcome{rule}"], cell["n_runs"] > 1
    count = f"{cell[f'n_outcome{rule}']}/{cell['n_runs']}"
    if size.words == "short":
        return [short(outcome), *([count] if several and outcome != MIXED else [])]
    if outcome == MIXED:
        return [MIXED, *_composition(cell, rule)]
    lines = [words(outcome)]
    if outcome in CENSORED:
        lines = [outcome.removesuffix("_so_far"), "so far"]
    if several:
        lines[1:] = [", ".join([*lines[1:], count])]
    return [*lines, *_notes(cell, outcome)]


def _composition(cell: Cell, rule: str) -> list[str]:
    """What a mixed cell is made of, in at most three lines: "1 grok, 1 mem."."""
    n = "n" + rule
    parts = [f"{cell[f'{n}_{name}']} {short(name)}" for name in PHASES if cell[f"{n}_{name}"]]
    open_ones = {name: cell.get(f"n_unsettled_{name}", cell[f"n_{name}"]) for name in (*UNFINISHED, *BROKEN)}
    parts += [f"{n} {short(name)}" for name, n in open_ones.items() if n]
    lines = textwrap.wrap(", ".join(part.replace(" ", NO_BREAK) for part in parts), LINE)
    return [line.replace(NO_BREAK, " ").rstrip(",") for line in lines[:3]]


def _notes(cell: Cell, outcome: str) -> list[str]:
    """One line on the runs that are not done, unless that is the cell's outcome already."""
    others = {name: cell[f"n_{name}"] for name in (*UNFINISHED, *BROKEN) if name != outcome}
    others = {name: n for name, n in others.items() if n}
    if not others:
        return []
    if cell["n_runs"] == 1:
        return [f"({next(iter(others))})"]
    return [", ".join(f"{n} {name}" for name, n in others.items()) if len(others) == 1 else _sum(others)]


def _sum(others: Mapping[str, int]) -> str:
    return f"{sum(others.values())} not done"


# --- maps of times ------------------------------------------------------------------------------------------


def time_look(cell: Cell, name: str = "t_test") -> str:
    """COLOURED where the median is known, BEYOND where it is later than the steps run, else an outcome.

    A time that the cell's runs cannot have (t_novel without novel pairs) is NO_VALUE.
    """
    if cell[f"{name}_median"] is not None:
        return COLOURED
    if cell[f"{name}_n"] and cell["n_done"]:
        return BEYOND
    if cell[f"{name}_n"]:
        return "running" if cell["n_running"] else "interrupted"
    confused = cell["outcome"].startswith("confusion")
    return NO_VALUE if cell["outcome"] in (*PHASES, MIXED) and not confused else cell["outcome"]


def time_lines(cell: Cell, size: Size, name: str = "t_test") -> list[str]:
    """Median, or its bound, quartiles, and how many runs got there; a word where there is no time."""
    if size.words == "none":
        return []
    look, several = time_look(cell, name), cell["n_runs"] > 1
    got_there = cell["n_generalised"] if name == "t_test" else cell[f"{name}_n"] - cell[f"{name}_n_censored"]
    count = [f"{got_there}/{cell['n_runs']}"] if several else []
    if look == COLOURED:
        return [_narrow(cell[f"{name}_median"], size), *_quartiles(cell, name, size), *count]
    word = look_word(look, size)
    if look not in (BEYOND, "running", "interrupted") or not cell[f"{name}_n"]:
        return [word]
    sign = cell[f"{name}_median_text"][0]
    bound = f"{sign} {_narrow(cell[f'{name}_median_bound'], size)}"
    return [bound, *count] if look == BEYOND else [word, bound]


def look_word(look: str, size: Size) -> str:
    """The look as a word that fits: "memorization so far", "mem."."""
    return words(look) if size.words == "full" else short(look)


def _quartiles(cell: Cell, name: str, size: Size) -> list[str]:
    """620 to 700, where there is room and more than one run; a hidden one as its bound: "> 3,000"."""
    if size.words != "full" or cell[f"{name}_n"] < 2:
        return []
    text = f"{cell[f'{name}_q25_text']} to {cell[f'{name}_q75_text']}"
    return [text] if len(text) <= LINE + 1 else []


# --- maps of shares and measures ----------------------------------------------------------------------------


def share_lines(cell: Cell, size: Size, look: str) -> list[str]:
    """67 %, and 2/3 of the runs that are done."""
    if size.words == "none":
        return []
    if look != COLOURED:
        return [look_word(look, size)]
    share, n = cell["share_generalised"], cell["n_done"]
    return [f"{share:.0%}", f"{round(share * n)}/{n}"]


def measure_lines(cell: Cell, size: Size, name: str, look: str) -> list[str]:
    """Median and quartiles of a measure, and how many runs have a value where some have none."""
    if size.words == "none":
        return []
    if look != COLOURED:
        return [look_word(look, size)]
    n, digits = cell[f"{name}_n"], 3 if size.words == "full" else 2
    lines = [number(cell[f"{name}_median"], digits)]
    if n > 1 and size.words == "full":
        low, high = (number(cell[f"{name}_{end}"]) for end in ("q25", "q75"))
        if len(low) + len(high) > LINE - 4:
            low, high = (number(cell[f"{name}_{end}"], 2) for end in ("q25", "q75"))
        lines.append(f"{low} to {high}")
    return lines + ([f"{n}/{cell['n_runs']}"] if n != cell["n_runs"] else [])
