"""What decided a run's boundaries, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from analysis.stages import rule
from analysis.stages.curves import Curves, has_keys
from analysis.stages.evidence import LEAST_GAP, LEAST_ROWS, Evidence
from analysis.stages.result import Boundary, Stage, Status, is_told
from analysis.stages.rule import Found
from analysis.stages.smooth import Curve


def decided_by(name: str, status: Status, nominal: Mapping[str, Found], curves: Curves, evidence: Evidence) -> str:
    """One boundary: the measure and where it stood; or why it is not there."""
    row = int(nominal[name].row[0])
    if name == "B0":
        return _by_accuracy(curves.train_acc, row)
    if not has_keys(evidence):
        return _no_keys(evidence)
    if name == "B1":
        return _by_excluded(evidence, curves, row)
    if name == "B2":
        return _by_restricted(evidence, curves.restricted, row)
    return _by_norm(status, curves.sum_sq, nominal, row)


def summed_up(evidence: Evidence, boundaries: Mapping[str, Boundary]) -> str:
    """What decided all of them: key frequencies, measures, what the intervals hold; why stages are not told."""
    is_untold = evidence.generalised is not None and not is_told(boundaries)
    untold = [_untold(evidence, boundaries["B2"].decided_by)] if is_untold else []
    if not has_keys(evidence):
        return untold[0] if untold else f"{_sentence(_no_keys(evidence))} Only memorization so far."
    number = "The" if evidence.n_key_freqs is None else str(evidence.n_key_freqs)
    gap = "" if evidence.key_gap is None else f" (gap {evidence.key_gap:.1f} decades)"
    keys = f"{number} key frequencies of the last row{gap}; {evidence.restricted.name}, {evidence.excluded.name}."
    varied = ["thresholds halved and doubled", *evidence.variants]
    held = f"90 % intervals hold the gaps between rows, noise, and other rules: {', '.join(varied)}."
    return " ".join([*untold, keys, held, *evidence.remarks])


def _untold(evidence: Evidence, why: str) -> str:
    return f"{_sentence(Stage.untold.value)[:-1]} (t_test {evidence.generalised:,}): {why}."


def _no_keys(evidence: Evidence) -> str:
    if evidence.key_gap is None:
        return "no key frequencies are known at the end"
    return f"no key frequencies at the end: gap {evidence.key_gap:.1f} decades, at least {LEAST_GAP:g} wanted"


def _by_accuracy(curve: Curve | None, row: int) -> str:
    if curve is None:
        return _too_few("train_acc")
    if row < 0:
        return f"train accuracy has come to {curve.y.max():.3g}; {rule.ACCURACY:g} is wanted"
    return f"train accuracy >= {rule.ACCURACY:g}: {_around(curve, row, '.3f')}"


def _by_excluded(evidence: Evidence, curves: Curves, row: int) -> str:
    name, curve = evidence.excluded.name, curves.excluded
    if curve is None:
        return _too_few(name)
    values = np.exp(curve.y)
    if row < 0:
        return (
            f"{name} has a minimum of {values.min():.2g} so far, and has not risen from it by a factor "
            f"{math.exp(rule.RISE):.0f} and to {rule.ABOVE_TRAIN:g} above the train loss"
        )
    return f"{name}: lowest at {_step(curve, row)} ({values[row]:.2g}), later up to {values[row:].max():.3g}"


def _by_restricted(evidence: Evidence, curve: Curve | None, row: int) -> str:
    name, threshold = evidence.restricted.name, rule.SUFFICES * math.log(evidence.p)
    if curve is None:
        return _too_few(name)
    losses = Curve(curve.x, np.exp(curve.y), curve.smoother)
    if row < 0:
        return f"{name} has come down to {losses.y.min():.2g}; {threshold:.2g} (.005 ln p) is wanted"
    return f"{name} <= {threshold:.2g} (.005 ln p): {_around(losses, row, '.2g')}"


def _by_norm(status: Status, curve: Curve | None, nominal: Mapping[str, Found], row: int) -> str:
    if curve is None:
        return _too_few("sum_sq_weights")
    if not np.isfinite(nominal["B2"].x[0]):
        return "cleanup has not begun"
    level = math.exp(np.interp(nominal["B2"].x[0], curve.x, curve.y))
    fall = f"the sum of squares, {level:.4g} at B2 and {math.exp(curve.y[-1]):.4g} at the end, "
    if row >= 0:
        norms = Curve(curve.x, np.exp(curve.y), curve.smoother)
        return f"{fall}has done 95 % of its fall: {_around(norms, row, '.4g')}"
    return fall + ("does not fall" if status is Status.absent else "has not settled")


def _around(curve: Curve, row: int, form: str) -> str:
    """The values of this row and the one before it, with their steps."""
    rows = [row - 1, row] if row > 0 else [row]
    return ", ".join(f"{format(curve.y[i], form)} at {_step(curve, i)}" for i in rows)


def _step(curve: Curve, row: int) -> str:
    return f"{round(float(np.exp(curve.x[row]))):,}"


def _too_few(name: str) -> str:
    return f"{name}: fewer than {LEAST_ROWS} rows"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
