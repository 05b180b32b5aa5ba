"""Cells: what is said of several runs, and above all of runs that ended too early."""

import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.cells import Time, cell_outcome, cells, quantile
from analysis.outcomes import MIXED, NO_RUN, OUTCOMES, outcome

SHARES = st.sampled_from([0.0, 0.25, 0.5, 0.75])
TIMES = st.lists(st.builds(Time, st.integers(0, 50), st.booleans()), min_size=1, max_size=9)


def crossed(steps):
    return [Time(step) for step in steps]


# --- quantiles ----------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=20), SHARES)
def test_without_censoring_a_quantile_is_the_step_by_which_more_than_that_share_had_crossed(steps, share):
    found = quantile(crossed(steps), share).value
    assert sum(step <= found for step in steps) > share * len(steps)
    assert sum(step < found for step in steps) <= share * len(steps)


@given(TIMES, SHARES, st.data())
def test_no_value_of_the_hidden_times_contradicts_a_quantile(times, share, data):
    later = st.one_of(st.integers(1, 60), st.just(math.inf))
    true = sorted(time.step + data.draw(later) if time.censored else time.step for time in times)
    truth = true[math.floor(share * len(times))]
    found = quantile(times, share)
    assert truth >= found.bound
    assert found.value is None or found.value == truth
    assert not found.beyond or truth > found.bound


@given(TIMES, SHARES)
def test_a_quantile_is_withheld_only_where_two_hidden_truths_give_two_answers(times, share):
    i = math.floor(share * len(times))
    soonest = sorted(time.step + 0.5 * time.censored for time in times)[i]
    never = sorted(math.inf if time.censored else time.step for time in times)[i]
    # A hidden time lies anywhere beyond its step: just beyond it, or nowhere.
    assert (quantile(times, share).value is not None) == (soonest == never)


@given(TIMES)
def test_there_is_no_median_where_at_least_half_is_censored(times):
    if 2 * sum(time.censored for time in times) >= len(times):
        assert quantile(times, 0.5).value is None


@given(TIMES, st.randoms(use_true_random=False))
def test_the_order_of_the_runs_does_not_matter(times, random):
    shuffled = random.sample(times, len(times))
    assert quantile(shuffled, 0.5) == quantile(times, 0.5)


@pytest.mark.parametrize(
    "times,text",
    [
        (crossed([525]), "525"),
        ([Time(3000, True)], "> 3,000"),
        ([Time(500), Time(700), Time(3000, True)], "700"),
        ([Time(500), Time(3000, True)], "> 3,000"),
        # The one that is still running may cross at 200 or at 2000.
        ([Time(500), Time(700), Time(100, True)], "≥ 500"),
    ],
)
def test_a_median_in_words(times, text):
    assert quantile(times, 0.5).text() == text


def test_no_runs_have_no_quantile():
    assert quantile([], 0.5) is None


# --- outcomes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state,phase,expected",
    [
        ("done", "memorization_so_far", "memorization_so_far"),
        ("running", "memorization_so_far", "running"),
        ("running", "grokking", "grokking"),
        ("interrupted", "comprehension", "comprehension"),
        ("interrupted", None, "interrupted"),
        ("planned", None, "planned"),
        ("diverged", "grokking", "diverged"),
        ("failed", "memorization_so_far", "failed"),
        ("done", None, "failed"),
    ],
)
def test_a_run_has_a_phase_only_once_it_is_settled(state, phase, expected):
    assert outcome(state, phase) == expected


@pytest.mark.parametrize(
    "found,expected",
    [
        ({}, (NO_RUN, 0)),
        ({"grokking": 2, "memorization": 1}, ("grokking", 2)),
        ({"grokking": 1, "memorization": 1, "failed": 1}, (MIXED, 1)),
        ({"grokking": 1, "planned": 2}, ("grokking", 1)),
        ({"failed": 2, "planned": 1}, ("failed", 2)),
        ({"running": 1, "planned": 1}, (MIXED, 1)),
    ],
)
def test_the_outcome_of_a_cell(found, expected):
    assert cell_outcome(found) == expected


@given(st.dictionaries(st.sampled_from(OUTCOMES[:-1]), st.integers(1, 5), min_size=1))
def test_an_outcome_of_a_cell_is_one_of_its_runs_or_a_tie(found):
    name, n = cell_outcome(found)
    assert (name in found and found[name] == n) or (name == MIXED and n in found.values())


# --- the table ----------------------------------------------------------------------------------------------


def run(wd, frac, state="done", phase=None, steps=3000, t_train=300, t_test=None, **more):
    return {
        "run_id": f"{wd}{frac}{state}{t_test}",
        "wd": wd,
        "frac": frac,
        "state": state,
        "phase": phase,
        "outcome": outcome(state, phase),
        "steps": steps,
        "t_train": t_train,
        "t_test": t_test,
        "t_novel": t_test,
        "has_novel": True,
        **more,
    }


def table(*runs):
    return cells(pl.DataFrame(list(runs), infer_schema_length=None), "wd", "frac")


def test_every_combination_has_a_row_in_ascending_order():
    found = table(run(1.0, 0.5), run(0.1, 0.3), run(10.0, 0.3))
    assert found.select("frac", "wd").rows() == [
        (0.3, 0.1),
        (0.3, 1.0),
        (0.3, 10.0),
        (0.5, 0.1),
        (0.5, 1.0),
        (0.5, 10.0),
    ]
    assert found["n_runs"].to_list() == [1, 0, 1, 0, 1, 0]
    assert found["outcome"].to_list()[1] == NO_RUN


def test_a_cell_of_three_seeds():
    (cell,) = table(
        run(1.0, 0.5, phase="grokking", t_test=900),
        run(1.0, 0.5, phase="comprehension", t_test=500),
        run(1.0, 0.5, phase="memorization_so_far"),
    ).to_dicts()
    assert (cell["outcome"], cell["n_generalised"], cell["share_generalised"]) == (MIXED, 2, 2 / 3)
    assert (cell["t_test_median"], cell["t_test_q25"], cell["t_test_q75"]) == (900, 500, None)
    assert (cell["grok_delay_median"], cell["grok_delay_n_censored"]) == (600, 1)
    assert (cell["n_grokking"], cell["n_memorization_so_far"], cell["n_done"]) == (1, 1, 3)


def test_runs_that_broke_or_did_not_begin_are_counted_and_have_no_time():
    (cell,) = table(
        run(1.0, 0.5, "diverged", "grokking", t_test=900),
        run(1.0, 0.5, "failed", None, 100),
        run(1.0, 0.5, "planned", None, None, None),
    ).to_dicts()
    assert (cell["t_test_n"], cell["t_test_median"], cell["t_test_median_text"]) == (0, None, "")
    assert (cell["n_diverged"], cell["n_failed"], cell["n_planned"], cell["n_runs"]) == (1, 1, 1, 3)
    assert cell["share_generalised"] is None


def test_live_runs_count_as_beyond_their_last_step_and_stay_out_of_the_share():
    (cell,) = table(
        run(1.0, 0.5, "running", "memorization_so_far", 1200),
        run(1.0, 0.5, "running", "grokking", 1200, t_test=900),
        run(1.0, 0.5, phase="memorization_so_far"),
    ).to_dicts()
    assert cell["share_generalised"] == 0
    assert (cell["n_running"], cell["n_unsettled_running"], cell["n_generalised"]) == (2, 1, 1)
    assert (cell["t_test_n_censored"], cell["t_test_median_text"]) == (2, "> 1,200")


def test_a_delay_needs_a_start_and_novel_pairs_need_to_exist():
    (cell,) = table(run(1.0, 0.5, phase="confusion_so_far", t_train=None, has_novel=False)).to_dicts()
    assert (cell["grok_delay_n"], cell["t_novel_n"], cell["t_train_n"]) == (0, 0, 1)
    assert cell["t_train_median_text"] == "> 3,000"
