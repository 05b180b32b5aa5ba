"""Numbers, steps and settings as prose has them. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from analysis import labels

UP_TO_TWELVE = (
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)


def number(value: Any, digits: int = 3) -> str:
    """2.53e-7, 0.871, 878, 12,500, – where there is none."""
    if value is None:
        return "–"
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int) or (value == int(value) and abs(value) < 1e15 if math.isfinite(value) else False):
        return steps(int(value))
    return labels.number(value, digits)


def setting(value: Any) -> str:
    """A setting's value as one types it: 0.001, 1e-8, 1e8, null, true."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(setting, value)) or "none"
    if isinstance(value, float):
        if abs(value) >= 1e6 and math.isfinite(value):
            mantissa, _, exponent = f"{value:.11e}".partition("e")
            mantissa = mantissa.rstrip("0").rstrip(".")
        else:
            mantissa, _, exponent = f"{value:.12g}".partition("e")
        return f"{mantissa}e{int(exponent)}" if exponent else mantissa
    return str(value)


def steps(n: int) -> str:
    """525, 7,079."""
    return labels.steps_text(n)


def counted(n: int, noun: str, plural: str = "") -> str:
    """one head, four heads, 128 heads."""
    shown = UP_TO_TWELVE[n] if n < len(UP_TO_TWELVE) else steps(n)
    return f"{shown} {noun if n == 1 else plural or noun + 's'}"


def listed(values: Sequence[Any]) -> str:
    """7, 14, 43 and 52."""
    words = [str(value) for value in values]
    return " and ".join(words) if len(words) < 3 else ", ".join(words[:-1]) + " and " + words[-1]


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
