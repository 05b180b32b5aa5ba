"""What the numbers of a measure say: what it adds over the best baseline, or that the runs are too few. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.alarms.watched import Watched

MEASURE, BASELINE, HINDSIGHT = ("measure", "baseline", "hindsight")
"""Roles in the table."""
LEAST_EACH = 20
"""Events, and runs without one, below which nothing is ranked."""
TOO_FEW = "too few"
ADDS, ADDS_NOTHING, LATER = "sees it earlier than", "adds nothing over", "comes later than"
IN_SHORT = {ADDS: "earlier", ADDS_NOTHING: "nothing", LATER: "later"}
OTHERWISE = {
    "gain_lenient": "if undecided alarms are not false",
    "gain_in_time": "if alarms too early have no lead",
}
"""Other ways of counting: gain -> in words."""


def why_too_few(found: Watched) -> str | None:
    """Why these runs are too few for a ranking; None where they are not."""
    if len(found.end) and min(found.n_labels) < 2:
        return f"{TOO_FEW}: thresholds are set on other cells and other seeds; two of each are needed"
    if min(found.n_events, found.n_non_events) < LEAST_EACH:
        n = f"{found.n_events} runs with the event, {found.n_non_events} without"
        return f"{TOO_FEW}: {n}; {LEAST_EACH} of each are needed"
    return None


def verdict(row: Mapping[str, Any], found: Watched) -> str:
    """What the intervals of a row of the table say."""
    if row["role"] == HINDSIGHT:
        return "not ranked: hindsight"
    if few := why_too_few(found):
        return few
    best, said = row["best_baseline"], says(row, "gain")
    if row["role"] == BASELINE:
        return "the best baseline" if row["measure"] == best else "a baseline"
    first = f"sees it {np.exp(row['gain']):.2f} times as early as" if said == ADDS else said
    others = {when: says(row, gain) for gain, when in OTHERWISE.items()}
    differing = [f"{IN_SHORT[other]} {when}" for when, other in others.items() if other != said]
    return f"{first} {best}" + (f" ({', '.join(differing)})" if differing else "")


def adds_whichever_way(row: Mapping[str, Any]) -> bool:
    """Whether it adds something however undecided and too early alarms are counted."""
    return all(says(row, gain) == ADDS for gain in ("gain", *OTHERWISE))


def says(row: Mapping[str, Any], gain: str) -> str:
    """Where the 90 % interval of this gain lies."""
    return ADDS if row[f"{gain}_low"] > 0 else LATER if row[f"{gain}_high"] < 0 else ADDS_NOTHING
