"""Scales of colour: ends, ticks and the ink of words on them. Pure; knows no plotting library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.looks import DARK, LIGHT

MOST_TICKS = 7


@dataclass(frozen=True)
class Scale:
    """Values to colours.

    Attributes:
        kind: "log", "linear", or "diverging" (linear, with 0 in the middle).
        low, high: its ends; every value lies between them.
        ticks: where its key bears a number.
        reverse: low values are bright.
    """

    kind: str
    low: float
    high: float
    ticks: tuple[float, ...]
    reverse: bool = False

    def position(self, value: float) -> float:
        """From 0 at the low end to 1 at the high one."""
        low, high, at = self.low, self.high, value
        if self.kind == "log":
            low, high, at = math.log(low), math.log(high), math.log(max(value, low))
        return (at - low) / (high - low)

    def ink(self, value: float) -> str:
        """Colour of words on a value's colour: viridis is dark at one end, a diverging scheme at both."""
        at = self.position(value)
        if self.kind == "diverging":
            return LIGHT if abs(at - 0.5) > 0.36 else DARK
        return LIGHT if (at > 0.5) == self.reverse and at != 0.5 else DARK


def times(steps: Sequence[float]) -> Scale:
    """Log, from bright for early to dark for late; a step below 1 counts as 1."""
    return log([max(step, 1) for step in steps], reverse=True)


def log(values: Sequence[float], *, reverse: bool = False) -> Scale:
    """The numbers 1, 2 or 5 times a power of ten that enclose the values, which are positive."""
    low, high = _round_below(min(values)), _round_above(max(values))
    if low == high:
        low, high = _round_below(low * 0.99), _round_above(high * 1.01)
    return Scale("log", low, high, _log_ticks(low, high), reverse)


def _round_below(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value) + 1e-12)
    return next(_tidy(m * power) for m in (5, 2, 1) if m * power <= value * (1 + 1e-9))


def _round_above(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value) + 1e-12)
    return next(_tidy(m * power) for m in (1, 2, 5, 10) if m * power >= value * (1 - 1e-9))


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    """1, 2, 5, 10, … where they are few, else powers of ten, else every so many of them."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    fine = [_tidy(m * 10.0**k) for k in range(first, last + 1) for m in (1, 2, 5)]
    fine = [tick for tick in fine if low <= tick <= high]
    if len(fine) <= MOST_TICKS:
        return tuple(fine)
    every = math.ceil((last - first) / (MOST_TICKS - 1))
    return tuple(tick for k in range(last, first - 1, -every) if low <= (tick := _tidy(10.0**k)) <= high)[::-1]


def linear(values: Sequence[float]) -> Scale:
    """Round numbers that enclose the values."""
    return _linear("linear", min(values), max(values))


def diverging(values: Sequence[float]) -> Scale:
    """As far below 0 as above it."""
    most = max(map(abs, values)) or 1.0
    return _linear("diverging", -most, most)


def ratios(logs: Sequence[float]) -> Scale:
    """Natural logarithms of ratios, with 1 in the middle and ticks at powers of 2.

    Args:
        logs: natural logarithms.
    """
    most = max(map(abs, logs)) / math.log(2)
    step = math.log(2) * max(1, math.ceil(most / 3 - 1e-9))
    n = max(1, math.ceil(most * math.log(2) / step - 1e-9))
    ticks = tuple(_tidy(i * step) for i in range(-n, n + 1))
    return Scale("diverging", ticks[0], ticks[-1], ticks)


def _linear(kind: str, low: float, high: float) -> Scale:
    if low == high:
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    step = _round_above((high - low) / (MOST_TICKS - 1))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(_tidy(i * step) for i in range(first, last + 1))
    return Scale(kind, ticks[0], ticks[-1], ticks)


def shares() -> Scale:
    """From 0 to 1."""
    return Scale("linear", 0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0))


def _tidy(value: float) -> float:
    return float(format(value, ".12g"))
