"""A boundary in the plane of weight decay and train fraction, as lines over the cells of a map. Pure.

Cells stand side by side whatever lies between their settings, so a point is placed between two cells as it lies
between their values: by the logarithm for weight decay, linearly for the train fraction.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from analysis.labels import steps_text
from analysis.places import Setting

WEIGHT_DECAY, FRAC_TRAIN = "optimizer.weight_decay", "data.frac_train"
NOTE = (
    "Lines: half of the runs generalise within so many steps, as fitted (dashed: more steps than were run); shaded: "
    "50 and 90 % bands of one line."
)
POINT = ("weight_decay", "f_50", "low50", "high50", "low90", "high90")


@dataclass(frozen=True)
class Contour:
    """Where half of the runs would have generalised after `budget` steps.

    Attributes:
        beyond: no run was as long: drawn dashed.
        points: columns weight_decay (ascending), f_50, and low50, high50, low90, high90: the bands of f_50.
        where: of the settings that are swept beside the two, the values that it holds for.
    """

    budget: int
    beyond: bool
    points: pl.DataFrame
    where: Mapping[str, Any] = field(default_factory=dict)


def shapes(contour: Contour, weight_decay: Setting, frac_train: Setting) -> dict[str, list[list[float]]]:
    """The line and both bands as points (place along weight decay, place along train fraction), counted in cells.

    A band is the outline of an area: its lower side, then its upper one backwards.
    """
    points = contour.points.select(POINT).drop_nulls().filter(pl.col("weight_decay") > 0).sort("weight_decay")
    along = [place(value, weight_decay.values, log=True) for value in points["weight_decay"].to_list()]

    def side(name: str) -> list[list[float]]:
        up = [place(value, frac_train.values) for value in points[name].to_list()]
        return [[round(a, 3), round(b, 3)] for a, b in zip(along, up, strict=True)]

    line = side("f_50")
    return {
        "line": line,
        "tag": _tag(line, len(weight_decay.values), len(frac_train.values)),
        "50": side("low50") + side("high50")[::-1],
        "90": side("low90") + side("high90")[::-1],
    }


def _tag(line: Sequence[Sequence[float]], n_along: int, n_up: int) -> list[list[float]]:
    """Where the line's name stands: at the edge of high weight decay, beside the line's last point inside the map."""
    inside = [b for a, b in line if -0.5 <= a <= n_along - 0.5 and -0.5 <= b <= n_up - 0.5]
    return [[n_along - 0.5, b] for b in inside[-1:]]


def label(contour: Contour) -> str:
    return f"{steps_text(contour.budget)} steps"


def with_bands(lines: Sequence[Contour]) -> Contour | None:
    """The one whose bands are shown at first: the longest budget that was run, else the shortest."""
    run = [line for line in lines if not line.beyond]
    return max(run, key=lambda line: line.budget) if run else min(lines, key=lambda line: line.budget, default=None)


def place(value: float, values: Sequence[Any], *, log: bool = False) -> float:
    """How many cells from the first: between two as between their values, beyond the ends at the last gap's pace.

    On a log axis a value of 0 is passed over.
    """
    known = [(i, v) for i, v in enumerate(values) if isinstance(v, int | float) and (v > 0 or not log)]
    at = math.log(value) if log else value
    marks = [math.log(v) if log else float(v) for _, v in known]
    if len(known) < 2:
        return float(known[0][0]) if known else 0.0
    i = min(max(bisect.bisect_right(marks, at) - 1, 0), len(marks) - 2)
    return known[i][0] + (at - marks[i]) / (marks[i + 1] - marks[i])


def rows(found: Mapping[str, Any], *, wd_is_across: bool) -> list[dict[str, Any]]:
    """The points of one contour's shapes as a map draws them, as the page's script makes them too.

    Args:
        found: of `shapes`, with label, beyond, and whether its bands are wanted (bands).
    """
    label, side = found["label"], "right" if wd_is_across else "top"
    result = []
    for kind in [*(["90", "50"] if found["bands"] else []), "line", "tag"]:
        shape = {"kind": kind, "shape": f"{label} {kind}", "beyond": found["beyond"], "label": label, "side": side}
        for n, (along, up) in enumerate(found[kind]):
            i, j = (along, up) if wd_is_across else (up, along)
            result.append({"i": i, "j": j, "n": n} | shape)
    return result
