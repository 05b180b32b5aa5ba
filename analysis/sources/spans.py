"""A quantity of one run, and its difference between two: values where they are known, ends where not. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis.cells import TIMES, time_of
from analysis.measured import described

LN_RATIO, DIFFERENCE = "ln(b / a)", "b - a"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Span:
    """A quantity of one run: its value, and between which ends it certainly lies.

    Attributes:
        low, high: of a time its logging bracket, (low, high] in steps; high is inf where it was not reached.
        value: None where it is known only by its ends.
    """

    low: float
    high: float
    value: float | None


def kind_of(name: str) -> str:
    line = described(name.partition(".")[2])
    return LN_RATIO if name in TIMES or (line is not None and line.scale == "log") else DIFFERENCE


def span(run: Row, name: str) -> Span | None:
    """What is known of this quantity of a run; None where there is nothing to know."""
    if name not in TIMES:
        value = run.get(name)
        return None if value is None else Span(value, value, value)
    time = time_of(run, name)
    if time is None:
        return None
    if name == "grok_delay":
        return _delay(run, time.censored)
    if time.censored:
        return Span(time.step, math.inf, None)
    return Span(run[f"{name}_below"] or 0, max(time.step, 1), max(time.step, 1))


def _delay(run: Row, censored: bool) -> Span:
    """A delay that is no longer than the log is fine is known only to be that short."""
    if censored:
        return Span(run["steps"] - run["t_train"], math.inf, None)
    delay = run["t_test"] - run["t_train"]
    low = (run["t_test_below"] or 0) - run["t_train"]
    high = run["t_test"] - (run["t_train_below"] or 0)
    return Span(low, high, delay if delay > 0 else None)


def difference(a: Span, b: Span, kind: str) -> tuple[float, float]:
    """Between which ends b's difference from a lies; equal ends where both are known, infinite where nothing is."""
    ends = [(one.low, one.high) if one.value is None else (one.value, one.value) for one in (a, b)]
    (a_low, a_high), (b_low, b_high) = ends
    if kind == DIFFERENCE:
        return b_low - a_high, b_high - a_low
    if a_high <= 0 or b_high <= 0:
        return -math.inf, math.inf
    return _ln(b_low) - _ln(a_high), _ln(b_high) - _ln(a_low)


def _ln(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def sign(a: Span, b: Span) -> str:
    """Whether b is certainly larger or smaller than a; the same where the log cannot tell them apart."""
    if a.value is not None and b.value is not None and (a.low, a.high) == (b.low, b.high):
        return "same"
    if b.low >= a.high:
        return "larger"
    return "smaller" if b.high <= a.low else "unknown"
