"""At which steps a row is logged, and where the stop rule ends a run."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grok_sweep.config import MeasuresConfig, StopConfig
from grok_sweep.measures.schedule import schedule, stop_step

CONFIGS = st.fixed_dictionaries(
    {
        "every": st.none() | st.integers(1, 60),
        "loss_every": st.none() | st.integers(1, 60),
        "dense_until": st.integers(0, 130),
        "per_decade": st.integers(1, 80),
        "vector_every": st.integers(1, 12),
    }
)


def test_the_mainline_is_dense_to_100_and_then_has_about_60_rows_a_decade():
    full = schedule(MeasuresConfig(), 1_000_000).full
    assert set(range(101)) <= full
    for start in (100, 200, 500, 1000, 2300, 10_000, 70_000, 100_000):
        assert 58 <= sum(start < step <= 10 * start for step in full) <= 62, start
    gaps = sorted(full)
    widest = max(b / a for a, b in pairwise(gaps[100:]))
    assert widest < 10 ** (1 / 60) * 1.01, "evenly in log steps, but for rounding"


def test_rows_of_losses_alone_are_off_unless_asked_for():
    assert schedule(MeasuresConfig(), 997).losses_only == frozenset()


@given(CONFIGS, st.integers(1, 2000))
def test_the_last_step_has_everything_and_no_row_lies_outside_the_run(config: dict[str, Any], n_steps: int):
    found = schedule(MeasuresConfig(**config), n_steps)
    assert {0, n_steps} <= found.full
    assert n_steps in found.with_vectors
    assert found.with_vectors <= found.full
    assert not found.losses_only & found.full
    assert found.full | found.losses_only <= set(range(n_steps + 1))
    assert {step for step in range(n_steps + 2) if step in found} == found.full | found.losses_only


@given(CONFIGS, st.integers(1, 1000), st.integers(1, 1000))
def test_a_longer_run_has_the_same_rows_but_for_the_last(config: dict[str, Any], n_steps: int, more: int):
    short, long = schedule(MeasuresConfig(**config), n_steps), schedule(MeasuresConfig(**config), n_steps + more)
    before = set(range(n_steps))
    assert short.full & before == long.full & before
    assert short.losses_only & before == long.losses_only & before
    assert short.with_vectors & before == long.with_vectors & before


@given(CONFIGS, st.integers(1, 2000))
def test_sparse_rows_follow_the_dense_ones(config: dict[str, Any], n_steps: int):
    config["every"] = None
    full = sorted(schedule(MeasuresConfig(**config), n_steps).full)
    dense, per_decade = min(config["dense_until"], n_steps), config["per_decade"]
    assert full[: dense + 1] == list(range(dense + 1))
    expected = {round(max(dense, 1) * 10 ** (i / per_decade)) for i in range(1, 4 * per_decade)}
    assert set(full[dense + 1 :]) - {n_steps} <= expected
    assert {step for step in expected if dense < step <= n_steps} <= set(full)


def test_every():
    found = schedule(MeasuresConfig(every=13, vector_every=3), 100)
    assert sorted(found.full) == [0, 13, 26, 39, 52, 65, 78, 91, 100]
    assert sorted(found.with_vectors) == [0, 39, 78, 100]


def test_every_above_the_length_of_the_run_leaves_its_ends():
    assert schedule(MeasuresConfig(every=1009), 97).full == {0, 97}


def test_loss_every_fills_between_the_full_rows():
    found = schedule(MeasuresConfig(every=12, loss_every=5), 31)
    assert sorted(found.full) == [0, 12, 24, 31]
    assert sorted(found.losses_only) == [5, 10, 15, 20, 25, 30]


def test_lists_stand_in_every_tenth_full_row():
    found = schedule(MeasuresConfig(), 100_000)
    kept = sorted(found.full)
    assert sorted(found.with_vectors) == sorted({*kept[:-1][::10], *kept[-1:]})


def test_a_dense_part_longer_than_the_run():
    assert schedule(MeasuresConfig(dense_until=500), 7).full == set(range(8))


def test_no_dense_part():
    assert schedule(MeasuresConfig(dense_until=0, per_decade=1), 1000).full == {0, 10, 100, 1000}


# --- the stop rule ------------------------------------------------------------------------------------------

ROWS = [
    {"step": 0, "test_loss": 4.7},
    {"step": 3, "test_loss": None},
    {"step": 5},
    {"step": 7, "test_loss": 0.5},
    {"step": 11, "test_loss": 0.4},
    {"step": 13, "test_loss": 3.0},
]


@pytest.mark.parametrize(
    "rule, expected",
    [
        (StopConfig(), None),
        (StopConfig(more_steps=5), None),
        (StopConfig(test_loss=0.1), None),
        (StopConfig(test_loss=0.4), None),  # below, not at
        (StopConfig(test_loss=0.45), 11),
        (StopConfig(test_loss=0.6), 7),  # the first row that fires; a later spike changes nothing
        (StopConfig(test_loss=0.6, more_steps=100), 107),
        (StopConfig(test_loss=5.0), 0),
    ],
)
def test_the_stop_rule(rule: StopConfig, expected: int | None):
    assert stop_step(ROWS, rule) == expected


def test_the_stop_rule_needs_rows():
    assert stop_step([], StopConfig(test_loss=1.0)) is None


@given(st.lists(st.none() | st.floats(0, 2), max_size=10), st.integers(0, 10))
def test_rows_after_the_one_that_fired_change_nothing(losses: list[float | None], n: int):
    rows = [{"step": 3 * i, "test_loss": loss} for i, loss in enumerate(losses)]
    rule = StopConfig(test_loss=1.0, more_steps=2)
    assert stop_step(rows[:n], rule) in (None, stop_step(rows, rule))
