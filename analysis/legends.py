"""What each look of a cell means, in words. Pure: text from the table of runs."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from analysis.captions import rule_parts
from analysis.labels import short, steps_text
from analysis.looks import BEYOND, BOUND, NO_VALUE, NOT_REACHED
from analysis.outcomes import CENSORED, NO_RUN, words
from grok_sweep.phases import SCALE_FREE_RATIO


def legend(looks: Sequence[str], runs: pl.DataFrame, *, abbreviated: bool, several: bool) -> dict[str, str]:
    """What each look means, in the order of `looks`.

    A look without a meaning of its own (a colour that stands for a number has a key) is left out.

    Args:
        abbreviated: cells hold abbreviations, which the legend then spells out.
        several: some cell holds more than one run.
    """
    meanings = _meanings(runs) | _censored(runs, several)
    return {look: _entry(look, meanings[look], abbreviated) for look in looks if look in meanings}


def _entry(look: str, meaning: str, abbreviated: bool) -> str:
    if abbreviated and look != BEYOND and short(look) != words(look):
        return f"{short(look)} = {meaning}"
    return meaning


def scale_free_legend() -> dict[str, str]:
    """The entries that differ where phases are judged without a scale."""
    ratio = f"{SCALE_FREE_RATIO:g}"
    return {
        "comprehension": f"comprehension: t_test below {ratio} t_train",
        "grokking": f"grokking: t_test at least {ratio} t_train",
    }


LATER = {
    "t_train": "not fitted",
    "t_test": "not generalised",
    "t_novel": "not generalised to novel pairs",
    "grok_delay": "not generalised",
}


def beyond_legend(name: str, *, several: bool) -> str:
    """What "> N" means in a map of t_train, t_test, t_novel or grok_delay."""
    step = "N steps after fitting" if name == "grok_delay" else "step N"
    if several:
        return f"> N: at least half of the runs had {LATER[name]} by {step} (≥ N: before it)"
    return f"> N: {LATER[name]} by {step}, where the run ended"


def _meanings(runs: pl.DataFrame) -> dict[str, str]:
    rule = rule_parts(runs)
    return {
        "comprehension": f"comprehension: generalised less than {rule['gap']} steps after fitting",
        "grokking": f"grokking: generalised {rule['gap']} steps or more after fitting",
        "memorization": f"memorization: fitted, not generalised within {rule['budget']}",
        "confusion": f"confusion: not even fitted within {rule['budget']}",
        "mixed": "mixed: several outcomes are equally frequent",
        "running": "running: not generalised yet",
        "interrupted": "interrupted: not generalised yet; goes on when asked for again",
        "planned": "planned: not begun",
        "diverged": "diverged: the loss was no longer finite",
        "failed": "failed: stopped by an error",
        BOUND: "bound: known to be larger, or smaller, alone",
        NO_RUN: "no run: these settings are not in the plan",
        NO_VALUE: "no value: the measure is not defined in any of the runs",
        NOT_REACHED: "not reached: no run has come as far as the common step",
    }


def _censored(runs: pl.DataFrame, several: bool) -> dict[str, str]:
    """The entries of hatched cells: all of them say how long the runs were."""
    ran, budget = _steps_run(runs), rule_parts(runs)["budget"]
    return {
        "memorization_so_far": f"memorization so far ({ran}): fitted, not generalised; the verdict comes at {budget}",
        "confusion_so_far": f"confusion so far ({ran}): not even fitted; the verdict comes at {budget}",
        BEYOND: beyond_legend("t_test", several=several),
    }


def _steps_run(runs: pl.DataFrame) -> str:
    """The length of the runs that were too short to be judged: "3,000 steps"."""
    short_ones = runs.filter(pl.col("outcome").is_in(CENSORED))["steps"].drop_nulls()
    low, high = short_ones.min(), short_ones.max()
    if not isinstance(low, int) or not isinstance(high, int):
        return "N steps"
    return f"{steps_text(low)} steps" if low == high else f"{steps_text(low)} to {steps_text(high)} steps"
