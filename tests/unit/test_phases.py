"""Crossings of the accuracy threshold, and the phases that follow from them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grok_sweep.config import PhasesConfig
from grok_sweep.phases import Bracket, Crossing, Phase, crossing, phase, phase_scale_free, times

THRESHOLD = 0.9

CURVES = st.lists(
    st.tuples(
        st.integers(1, 40), st.sampled_from([None, THRESHOLD, float("nan"), 0.0, 0.5, 0.91, 1.0]) | st.floats(0, 1)
    ),
    max_size=12,
)
"""(distance to the row before, value), with many values at and about the threshold."""


def curve(drawn: list[tuple[int, float | None]]) -> tuple[list[int], list[float | None]]:
    steps, step = [], -1
    for distance, _ in drawn:
        step += distance
        steps.append(step)
    return steps, [value for _, value in drawn]


def is_above(value: float | None) -> bool:
    return value is not None and value > THRESHOLD


# --- crossings ----------------------------------------------------------------------------------------------


@given(CURVES)
def test_the_first_crossing_parts_the_rows(drawn: list[tuple[int, float | None]]):
    """Every row up to `below` is not above the threshold, the row at `above` is, and none lies between."""
    steps, values = curve(drawn)
    first = crossing(steps, values, THRESHOLD).first
    if first is None:
        assert not any(map(is_above, values))
        return
    assert is_above(values[steps.index(first.above)])
    before = [step for step in steps if step < first.above]
    assert first.below == (max(before) if before else None)
    assert not any(is_above(values[steps.index(step)]) for step in before)


@given(CURVES)
def test_the_sustained_crossing_is_the_first_of_two_rows_in_a_row(drawn: list[tuple[int, float | None]]):
    steps, values = curve(drawn)
    sustained = crossing(steps, values, THRESHOLD).sustained
    runs = "".join("#" if is_above(value) else "." for value in values)
    i = runs.find("##")
    if i < 0:
        assert sustained is None
    else:
        assert sustained == Bracket(steps[i - 1] if i else None, steps[i])


@given(CURVES)
def test_sustained_comes_no_earlier_than_first_and_starts_below(drawn: list[tuple[int, float | None]]):
    steps, values = curve(drawn)
    found = crossing(steps, values, THRESHOLD)
    if found.sustained is not None:
        assert found.first is not None
        assert found.first.above <= found.sustained.above
        if found.sustained.below is not None:
            assert not is_above(values[steps.index(found.sustained.below)])


@given(CURVES, CURVES)
def test_rows_logged_later_move_no_crossing(drawn: list[tuple[int, float | None]], more: list[Any]):
    steps, values = curve(drawn)
    longer = crossing(*curve(drawn + more), THRESHOLD)
    shorter = crossing(steps, values, THRESHOLD)
    assert shorter.first in (None, longer.first)
    assert shorter.sustained in (None, longer.sustained)


@pytest.mark.parametrize(
    "values, first, sustained",
    [
        ([], None, None),
        ([0.1, 0.5], None, None),
        ([0.1, 0.9], None, None),  # at the threshold is not above it
        ([0.1, 0.95], Bracket(0, 7), None),
        ([0.95, 0.1], Bracket(None, 0), None),
        ([0.95, 0.95], Bracket(None, 0), Bracket(None, 0)),
        ([0.1, 0.95, 0.2, 0.91, 0.92], Bracket(0, 7), Bracket(14, 21)),
        ([0.1, None, 0.95, 0.95], Bracket(7, 14), Bracket(7, 14)),
        ([0.1, 0.95, None, 0.95], Bracket(0, 7), None),
    ],
)
def test_crossings_by_hand(values: list[float | None], first: Bracket | None, sustained: Bracket | None):
    steps = [7 * i for i in range(len(values))]
    assert crossing(steps, values, THRESHOLD) == Crossing(first, sustained)


def test_times_of_the_three_sets_and_the_delay_between_train_and_test():
    rows = [
        {"step": 0, "train_acc": 0.1, "test_acc": 0.1, "novel_acc": 0.0},
        {"step": 11, "train_acc": 0.95, "test_acc": 0.1},  # rows need not hold everything
        {"step": 13, "train_acc": 1.0, "test_acc": 0.1, "novel_acc": 0.0},
        {"step": 29, "train_acc": 1.0, "test_acc": 0.93, "novel_acc": 0.2},
        {"step": 31, "train_acc": 1.0, "test_acc": 0.97, "novel_acc": 0.92},
    ]
    found = times(rows, 0.9)
    assert found.train == Crossing(Bracket(0, 11), Bracket(0, 11))
    assert found.test == Crossing(Bracket(13, 29), Bracket(13, 29))
    assert found.novel == Crossing(Bracket(29, 31), None)
    assert found.grok_delay == 29 - 11
    assert times(rows, 0.94).test == Crossing(Bracket(29, 31), None)


def test_a_set_without_pairs_never_crosses():
    found = times([{"step": 0, "train_acc": 1.0}, {"step": 1, "train_acc": 1.0}], 0.9)
    assert found.test == found.novel == Crossing(None, None)
    assert found.grok_delay is None
    assert times([], 0.9).train == Crossing(None, None)


# --- phases -------------------------------------------------------------------------------------------------

RULE = PhasesConfig(gap=1.0, budget=10_007)
LONG, SHORT = 10_007, 10_006
LR = 1e-3


@pytest.mark.parametrize(
    "t_train, t_test, steps_run, expected",
    [
        # Liu et al. 2022, table 1: train reached, test reached, both within the gap.
        (100, 101, LONG, Phase.comprehension),
        (100, 1099, LONG, Phase.comprehension),
        (100, 1100, LONG, Phase.grokking),  # exactly at the gap
        (100, 9000, LONG, Phase.grokking),
        (100, 90, LONG, Phase.comprehension),
        (100, None, LONG, Phase.memorization),
        (None, None, LONG, Phase.confusion),
        (None, 50, LONG, Phase.confusion),
        # A run shorter than the budget has not failed yet; what it did reach, it reached.
        (100, None, SHORT, Phase.memorization_so_far),
        (None, None, SHORT, Phase.confusion_so_far),
        (100, 1100, SHORT, Phase.grokking),
        (100, 101, SHORT, Phase.comprehension),
        # The budget is a step of its own: what came after it does not count, however long the run was.
        (100, 10_007, 50_000, Phase.grokking),
        (100, 10_008, 50_000, Phase.memorization),
        (10_008, 10_009, 50_000, Phase.confusion),
        (10_007, None, 50_000, Phase.memorization),
    ],
)
def test_phases_of_liu(t_train: int | None, t_test: int | None, steps_run: int, expected: Phase):
    assert phase(t_train, t_test, steps_run, LR, RULE) is expected


@pytest.mark.parametrize("lr", ["1e-4", "3e-4", "6e-4", "1e-3", "3e-3", "3e-2"])
@pytest.mark.parametrize("gap", ["0.3", "0.9", "1.5", "3", "6"])
def test_exactly_at_the_gap_is_grokking_whatever_the_floats_say(lr: str, gap: str):
    """3e-4 * 10,000 is 2.9999999999999996 in floats: not below 3."""
    steps = Fraction(gap) / Fraction(lr)
    assert steps.denominator == 1
    rule = PhasesConfig(gap=float(gap), budget=1_000_000)
    assert phase(17, 17 + int(steps), 1_000_000, float(lr), rule) is Phase.grokking
    assert phase(17, 17 + int(steps) - 1, 1_000_000, float(lr), rule) is Phase.comprehension


def test_the_gap_is_measured_in_lr_times_steps():
    assert phase(0, 500, LONG, 1e-3, RULE) is Phase.comprehension
    assert phase(0, 500, LONG, 2e-3, RULE) is Phase.grokking
    assert phase(0, 500, LONG, 1e-3, PhasesConfig(gap=0.5, budget=10_007)) is Phase.grokking


@given(
    t_train=st.none() | st.integers(0, 20_000),
    t_test=st.none() | st.integers(0, 20_000),
    steps_run=st.integers(1, 20_000),
    more=st.integers(1, 20_000),
)
def test_training_on_turns_so_far_into_an_outcome_and_changes_no_outcome(
    t_train: int | None, t_test: int | None, steps_run: int, more: int
):
    so_far = {Phase.memorization_so_far: Phase.memorization, Phase.confusion_so_far: Phase.confusion}
    now, later = (phase(t_train, t_test, n, LR, RULE) for n in (steps_run, steps_run + more))
    assert later in (now, so_far.get(now))
    assert (now in so_far) <= (steps_run < RULE.budget)


@pytest.mark.parametrize(
    "t_train, t_test, steps_run, expected",
    [
        (100, 500, LONG, Phase.grokking),  # exactly five times
        (100, 499, LONG, Phase.comprehension),
        (7, 35, LONG, Phase.grokking),
        (7, 34, LONG, Phase.comprehension),
        (100, 90, LONG, Phase.comprehension),
        (0, 0, LONG, Phase.comprehension),  # both from the start: nothing came late
        (0, 5, LONG, Phase.grokking),
        (100, None, LONG, Phase.memorization),
        (100, None, SHORT, Phase.memorization_so_far),
        (100, 10_008, 20_000, Phase.memorization),
        (None, None, LONG, Phase.confusion),
        (None, None, SHORT, Phase.confusion_so_far),
    ],
)
def test_the_phase_without_a_scale(t_train: int | None, t_test: int | None, steps_run: int, expected: Phase):
    assert phase_scale_free(t_train, t_test, steps_run, RULE.budget) is expected


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 20))
def test_the_phase_without_a_scale_has_none(t_train: int, t_test: int, factor: int):
    """Time measured in other units: the same phase."""
    one = phase_scale_free(t_train, t_test, 10_000, 10_000)
    assert phase_scale_free(factor * t_train, factor * t_test, 10_000, 10_000) is one
