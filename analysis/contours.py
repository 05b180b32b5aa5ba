"""A boundary in the plane of train fraction and another setting, as lines over the cells of a map. Pure.

Cells stand side by side whatever lies between their settings, so a point is placed between two cells as it lies
between their values, the train fraction as it is, the other setting by its logarithm: by a smooth rising curve
through the cells, which leaves a smooth line smooth where the rows' spacing changes.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from analysis.axes import WEIGHT_DECAY
from analysis.labels import steps_text
from analysis.places import Setting

BANDS = {"50": ("low_50", "high_50"), "90": ("low_90", "high_90")}
NOTE = (
    "Lines: half of the seeds generalise within the steps that stand beside them, as fitted; dashed: more steps than "
    "were run. Cells are equally large whatever lies between their values; between their middles a line is placed "
    "by its values."
)
SHADED = "Shaded: 50 and 90 % bands of the line at {line}."
"""{line} is its label."""


@dataclass(frozen=True)
class Contour:
    """The train fraction at which half of the seeds would have generalised after `budget` steps.

    Attributes:
        beyond: no run was as long: drawn dashed.
        points: columns <setting> (ascending), f_50, and low_50, high_50, low_90, high_90: its bands; null where it
            is not known or lies outside the map.
        setting: the other axis.
        where: of the settings that are swept beside the two, the values that it holds for.
    """

    budget: int
    beyond: bool
    points: pl.DataFrame
    setting: str = WEIGHT_DECAY
    where: Mapping[str, Any] = field(default_factory=dict)


def shapes(contour: Contour, other: Setting, frac_train: Setting) -> dict[str, list[list[float]]]:
    """The line, its name's place and both bands as points (place along the setting, place along train fraction).

    Places are counted in cells from the first. A band is the outline of an area: its lower side, then its upper one
    backwards.
    """
    line = _side(contour.points, "f_50", other, frac_train)
    found = {"line": line, "tag": _tag(line, len(other.values), len(frac_train.values))}
    for band, (low, high) in BANDS.items():
        known = contour.points.filter(pl.col(low).is_not_null() & pl.col(high).is_not_null())
        found[band] = _side(known, low, other, frac_train) + _side(known, high, other, frac_train)[::-1]
    return found


def _side(points: pl.DataFrame, name: str, other: Setting, frac_train: Setting) -> list[list[float]]:
    """The known points of one column, in cells."""
    known = points.select(points.columns[0], name).drop_nulls()
    return [
        [round(place(along, other.values, log=True), 3), round(place(up, frac_train.values), 3)]
        for along, up in known.iter_rows()
        if along > 0
    ]


def _tag(line: Sequence[Sequence[float]], n_along: int, n_up: int) -> list[list[float]]:
    """Where the line is named, at the edge of the highest setting, and its last point inside the map, beside that."""
    inside = [[a, b] for a, b in line if -0.5 <= a <= n_along - 0.5 and -0.5 <= b <= n_up - 0.5]
    return [place for a, b in inside[-1:] for place in ([n_along - 0.5, b], [a, b])]


def label(contour: Contour) -> str:
    return f"{steps_text(contour.budget)} steps"


def with_bands(lines: Sequence[Contour]) -> Contour | None:
    """The one whose bands are shown at first: the longest budget that was run, else the shortest."""
    run = [line for line in lines if not line.beyond]
    return max(run, key=lambda line: line.budget) if run else min(lines, key=lambda line: line.budget, default=None)


def place(value: float, values: Sequence[Any], *, log: bool = False) -> float:
    """How many cells from the first: at a cell's own value its middle, between two as between their values.

    A monotone cubic (Fritsch and Butland 1984) through the cells' middles; beyond them straight on. On a log axis a
    value of 0 is passed over.
    """
    known = [(i, v) for i, v in enumerate(values) if isinstance(v, int | float) and (v > 0 or not log)]
    at = math.log(value) if log else value
    marks = [math.log(v) if log else float(v) for _, v in known]
    if len(known) < 2:
        return float(known[0][0]) if known else 0.0
    gaps = [b - a for a, b in itertools.pairwise(marks)]
    slopes = _slopes(gaps)
    i = min(max(bisect.bisect_right(marks, at) - 1, 0), len(gaps) - 1)
    way = (at - marks[i]) / gaps[i]
    first, last = slopes[i] * gaps[i], slopes[i + 1] * gaps[i]
    if way < 0:
        return known[i][0] + way * first
    if way > 1:
        return known[i][0] + 1 + (way - 1) * last
    bend = first * way * (1 - way) ** 2 - last * way**2 * (1 - way)
    return known[i][0] + way**2 * (3 - 2 * way) + bend


def _slopes(gaps: Sequence[float]) -> list[float]:
    """Cells per unit at every mark: between two gaps a weighted harmonic mean of their slopes, so that all rises."""
    inner = [3 * (a + b) / ((2 * b + a) * a + (2 * a + b) * b) for a, b in itertools.pairwise(gaps)]
    return [1 / gaps[0], *inner, 1 / gaps[-1]]


def note(drawn: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the lines of a map are, and whose bands, from its rows; nothing without any."""
    shaded = [row["label"] for row in drawn if row["kind"] in BANDS][:1]
    return [" ".join([NOTE, *(SHADED.format(line=label) for label in shaded)])] if drawn else []


def rows(found: Mapping[str, Any], *, is_across: bool) -> list[dict[str, Any]]:
    """The points of one contour's shapes as a map draws them, as the page's script makes them too.

    Args:
        found: of `shapes`, with label, beyond, and whether its bands are wanted (bands).
    """
    label, side = found["label"], "right" if is_across else "top"
    result = []
    for kind in [*(["90", "50"] if found["bands"] else []), "line", "tag"]:
        shape = {"kind": kind, "shape": f"{label} {kind}", "beyond": found["beyond"], "label": label, "side": side}
        for n, (along, up) in enumerate(found[kind]):
            i, j = (along, up) if is_across else (up, along)
            result.append({"i": i, "j": j, "n": n} | shape)
    return result
