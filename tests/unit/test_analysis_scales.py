"""Scales of colour: they enclose their values, and words on them can be read."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import scales
from analysis.looks import DARK, LIGHT

POSITIVE = st.lists(st.floats(1e-12, 1e9), min_size=1, max_size=20)
ANY = st.lists(st.floats(-1e6, 1e6).map(lambda v: round(v, 6)), min_size=1, max_size=20)


@given(st.lists(st.integers(0, 10**6), min_size=1))
def test_the_scale_of_times_encloses_them_between_round_numbers(times):
    scale = scales.times(times)
    assert scale.low <= max(min(times), 1)
    assert max(times) <= scale.high
    assert scale.low < scale.high


@given(POSITIVE)
def test_a_log_scale_has_few_round_ticks_inside_its_ends(values):
    scale = scales.log(values)
    assert scale.low <= min(values) * (1 + 1e-9)
    assert max(values) * (1 - 1e-9) <= scale.high
    assert 1 <= len(scale.ticks) <= scales.MOST_TICKS
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks)
    assert {round(tick / 10 ** math.floor(math.log10(tick) + 1e-9), 6) for tick in scale.ticks} <= {1, 2, 5}


@given(ANY)
def test_a_linear_scale_encloses_its_values_by_its_ticks(values):
    scale = scales.linear(values)
    slack = 1e-9 * (1 + max(map(abs, values)))
    assert scale.low <= min(values) + slack
    assert max(values) - slack <= scale.high
    assert (scale.ticks[0], scale.ticks[-1]) == (scale.low, scale.high)
    assert 2 <= len(scale.ticks) <= scales.MOST_TICKS + 2


@given(ANY)
def test_zero_is_in_the_middle_of_a_diverging_scale(values):
    scale = scales.diverging(values)
    assert scale.position(0) == pytest.approx(0.5)
    assert scale.low == -scale.high


def test_words_are_light_on_late_times_and_dark_on_early_ones():
    scale = scales.times([100, 10_000])
    assert (scale.ink(100), scale.ink(9000)) == (DARK, LIGHT)


def test_words_are_light_on_small_values_and_dark_on_large_ones():
    assert (scales.shares().ink(0.1), scales.shares().ink(0.9)) == (LIGHT, DARK)


def test_words_are_dark_in_the_middle_of_a_diverging_scale_and_light_at_both_ends():
    scale = scales.diverging([-1.0, 1.0])
    assert [scale.ink(value) for value in (-1.0, 0.0, 1.0)] == [LIGHT, DARK, LIGHT]
