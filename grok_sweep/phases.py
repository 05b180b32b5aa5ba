"""When a run fitted and when it generalised, and the phase that follows: pure functions of logged rows.

A *phase* is the outcome of a run (Liu et al. 2022, "Towards understanding grokking: an effective theory of
representation learning", table 1); a *stage* is a stretch of one run and lives in the analysis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from grok_sweep.config import PhasesConfig

SCALE_FREE_RATIO = 5.0
"""Grokking by the rule without a scale: t_test / t_train at least this."""


class Phase(Enum):
    """Outcome of a run; the *so_far* ones are censored: the run was shorter than the budget of the rule."""

    comprehension = "comprehension"
    grokking = "grokking"
    memorization = "memorization"
    memorization_so_far = "memorization_so_far"
    confusion = "confusion"
    confusion_so_far = "confusion_so_far"


@dataclass(frozen=True)
class Bracket:
    """A crossing lies after step `below` (the last row under the threshold) and at or before step `above`."""

    below: int | None
    above: int


@dataclass(frozen=True)
class Crossing:
    """`first`: the first row above the threshold; `sustained`: the first of two rows in a row above it.

    `sustained` is the first row from which two successive rows lie above. None where it did not happen yet.
    """

    first: Bracket | None
    sustained: Bracket | None


@dataclass(frozen=True)
class Times:
    """Crossings of the accuracy threshold on train, test and novel pairs."""

    train: Crossing
    test: Crossing
    novel: Crossing

    @property
    def grok_delay(self) -> int | None:
        """t_test - t_train in steps; None where either did not happen."""
        if self.train.first is None or self.test.first is None:
            return None
        return self.test.first.above - self.train.first.above


def crossing(steps: Sequence[int], values: Sequence[float | None], threshold: float) -> Crossing:
    """First and sustained crossing of `threshold` from below (strictly above it), rows in order of steps."""
    above = [value is not None and value > threshold for value in values]
    return Crossing(
        _bracket(steps, next((i for i in range(len(above)) if above[i]), None)),
        _bracket(steps, next((i for i in range(len(above) - 1) if above[i] and above[i + 1]), None)),
    )


def _bracket(steps: Sequence[int], i: int | None) -> Bracket | None:
    return None if i is None else Bracket(steps[i - 1] if i else None, steps[i])


def times(rows: Sequence[Mapping[str, Any]], accuracy: float) -> Times:
    """t_train, t_test, t_novel from logged rows; a set without pairs (no novel ones) never crosses."""

    def of(name: str) -> Crossing:
        given = [row for row in rows if name in row]
        return crossing([row["step"] for row in given], [row[name] for row in given], accuracy)

    return Times(of("train_acc"), of("test_acc"), of("novel_acc"))


def phase(t_train: int | None, t_test: int | None, steps_run: int, lr: float, rule: PhasesConfig) -> Phase:
    """Liu's phase. The gap is measured in lr * steps, so that one rule serves several learning rates.

    Args:
        t_train: first step with train accuracy above the threshold; None if not reached.
        t_test: the same for test accuracy.
        steps_run: length of the run; below `rule.budget` an outcome that has not happened is censored.
        lr: learning rate after warm-up.
    """
    censored = steps_run < rule.budget
    if t_train is None or t_train > rule.budget:
        return Phase.confusion_so_far if censored else Phase.confusion
    if t_test is None or t_test > rule.budget:
        return Phase.memorization_so_far if censored else Phase.memorization
    # Rounded as settings are: 3e-4 * 10,000 is 2.9999999999999996 in floats, and means 3.
    delay = float(format(lr * (t_test - t_train), ".12g"))
    return Phase.grokking if delay >= rule.gap else Phase.comprehension


def phase_scale_free(t_train: int | None, t_test: int | None, steps_run: int, budget: int) -> Phase:
    """The phase without a scale in steps: grokking where t_test >= 5 t_train (t_train = 0 counts as 1)."""
    found = phase(t_train, t_test, steps_run, 1.0, PhasesConfig(gap=1.0, budget=budget))
    if found in (Phase.grokking, Phase.comprehension):
        assert t_train is not None
        assert t_test is not None
        return Phase.grokking if t_test >= SCALE_FREE_RATIO * max(t_train, 1) else Phase.comprehension
    return found
