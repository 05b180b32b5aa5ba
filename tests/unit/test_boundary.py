"""The boundary of simulated sweeps: what is found, what is withheld and why, and what a table of runs must hold."""

import math

import numpy as np
import polars as pl
import pytest
from boundary_coverage import MANY, STEEP_FLOOR, coverage
from published import published
from simulated_times import BUDGET, DECAYS, Line, critical_runs, simulated_runs, table

from analysis.boundary import (
    contour,
    critical_fractions,
    critical_lines,
    events,
    fit_boundary,
    lines,
)
from analysis.boundary.contours import bracket
from analysis.boundary.critical import profile
from analysis.boundary.events import distinct

BANDS = ("low_90", "low_50", "f_50", "high_50", "high_90")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def runs_of(cells, n_steps=1000):
    """A run for each (frac, weight decay, seed, time)."""
    return table(*(np.array(column) for column in zip(*cells, strict=True)), n_steps)


# --- from runs to times -------------------------------------------------------------------------------------


def test_a_crossing_is_the_bracket_of_its_rows_and_a_run_without_one_is_censored_at_its_last_step():
    runs = runs_of([(0.3, 1.0, 0, 60.5), (0.3, 1.0, 1, math.inf), (0.4, 1.0, 0, 107.0), (0.4, 1.0, 1, 3000.0)])
    found = events(runs)
    assert found.lower.tolist() == [60, 1000, 104, 1000]
    assert found.upper.tolist() == [61, math.inf, 108, math.inf]
    assert found.run_budget == 1000


def test_a_run_that_starts_above_is_at_most_its_first_row():
    runs = runs_of([(0.3, 1.0, 0, 0.0), (0.4, 1.0, 0, 50.0)])
    assert (events(runs).lower[0], events(runs).upper[0]) == (0, 0)
    assert "not identified" in lines(fit_boundary(runs))[0]


def test_live_runs_count_as_far_as_they_have_come_and_others_are_left_out_and_counted(rng):
    runs = simulated_runs(rng, n_seeds=1).head(6)
    states = ["done", "running", "interrupted", "diverged", "failed", "planned"]
    steps = [BUDGET, 700, 800, 500, None, None]
    runs = runs.with_columns(
        pl.Series("state", states),
        pl.Series("steps", steps, dtype=pl.Int64),
        t_test=pl.lit(None, pl.Int64),
        t_test_below=pl.lit(None, pl.Int64),
    )
    found = events(runs)
    assert found.lower.tolist() == [BUDGET, 700, 800]
    assert found.left_out == {"diverged": 1, "failed": 1, "planned": 1}
    assert "left out: 1 diverged, 1 failed, 1 planned" in fit_boundary(runs).notes


def test_the_time_can_be_that_of_novel_pairs_or_of_train_pairs(rng):
    runs = simulated_runs(rng).with_columns(t_train=50, t_train_below=49, t_novel=pl.col("t_test") + 10)
    assert set(events(runs, "t_train").upper.tolist()) == {50.0}
    timed = runs["t_test"].is_not_null().to_numpy()
    assert (events(runs, "t_novel").upper[timed] == events(runs).upper[timed] + 10).all()
    without = runs.with_columns(has_novel=False)
    assert events(without, "t_novel").left_out == {"no novel test pairs": runs.height}
    with pytest.raises(ValueError, match=r"unknown event t_grok\. Known: t_test, t_novel, t_train"):
        events(runs, "t_grok")


def test_a_further_setting_that_varies_is_refused_by_name(rng):
    runs = simulated_runs(rng)
    mixed = runs.with_columns(pl.Series("optimizer.lr", [0.001, 0.003] * (runs.height // 2)))
    with pytest.raises(ValueError, match=r"optimizer\.lr = 0\.001, 0\.003.*--where optimizer\.lr=0\.001"):
        fit_boundary(mixed)
    other = runs.with_columns(loss=pl.Series(["mse", "cross_entropy"] * (runs.height // 2)))
    assert not fit_boundary(other).reason
    with pytest.raises(ValueError, match="loss = cross_entropy, mse"):
        fit_boundary(other, swept=["data.frac_train", "loss"])


def test_steps_and_seeds_may_vary_and_the_second_setting_is_the_one_that_does(rng):
    runs = simulated_runs(rng).rename({"optimizer.weight_decay": "x", "optimizer.lr": "optimizer.weight_decay"})
    runs = runs.rename({"x": "optimizer.lr"}).with_columns(n_steps=pl.Series([5, 6] * (runs.height // 2)))
    found = fit_boundary(runs, swept=["n_steps"])
    assert found.events.y == "optimizer.lr"
    assert found.table.columns[0] == "lr"
    assert found.table["lr"].unique().sort().to_list() == list(DECAYS)


def test_a_second_setting_of_words_is_refused(rng):
    runs = simulated_runs(rng, decays=(1.0,))
    runs = runs.with_columns(pl.Series("data.operation", ["add", "multiply"] * (runs.height // 2)))
    with pytest.raises(ValueError, match=r"needs a number for data\.operation in every run, got add, multiply"):
        fit_boundary(runs)


@pytest.mark.parametrize("split, init, n_columns", [("s", "s", 3), ("s", "i", 5), ("s", "0", 3), ("0", "0", 1)])
def test_a_seed_that_only_follows_another_adds_no_effect(split, init, n_columns):
    values = {"s": [0, 1, 2] * 4, "i": [7, 7, 7, 8, 8, 8] * 2, "0": [0] * 12}
    runs = table(np.full(12, 0.3), np.ones(12), np.array(values[split]), np.full(12, 500.0))
    runs = runs.with_columns(pl.Series("model.init_seed", values[init]))
    assert events(runs).seeds.shape == (12, n_columns)


# --- the line -----------------------------------------------------------------------------------------------


def test_a_line_without_noise_is_found_as_it_was_planted(rng):
    found = fit_boundary(simulated_runs(rng, n_seeds=8, sigma=0.01, tau=0.01))
    assert found.budgets == (3333, 10_000, 30_000)
    for decay, budget, f_50 in found.table.select("weight_decay", "budget", "f_50").iter_rows():
        # A bracket of rows is 0.04 wide in ln t, that is 0.003 in frac.
        assert f_50 == pytest.approx(Line().f_50(decay, budget), abs=0.004)


def test_bands_lie_in_each_other_and_a_longer_budget_needs_a_smaller_fraction(rng):
    rows = fit_boundary(simulated_runs(rng)).table
    for row in rows.iter_rows(named=True):
        ends = [row[name] for name in BANDS]
        assert ends == sorted(ends)
        assert ends[0] < ends[1] < ends[2] < ends[3] < ends[4]
    by_budget = [rows.filter(budget=budget)["f_50"].to_numpy() for budget in (3333, 10_000, 30_000)]
    assert (by_budget[0] > by_budget[1]).all()
    assert (by_budget[1] > by_budget[2]).all()


def test_a_budget_that_was_not_run_is_marked(rng):
    found = fit_boundary(simulated_runs(rng))
    assert found.table.select("budget", "extrapolated").unique().sort("budget").rows() == [
        (3333, False),
        (10_000, False),
        (30_000, True),
    ]
    marked = [text.split()[1] for text in lines(found) if text.endswith("more steps than were run")]
    assert set(marked) == {"30,000"}


def test_budgets_can_be_chosen(rng):
    found = fit_boundary(simulated_runs(rng), budgets=[5000])
    assert found.table["budget"].unique().to_list() == [5000]
    assert found.table["f_50"][2] == pytest.approx(Line().f_50(1.0, 5000), abs=0.04)
    with pytest.raises(ValueError, match="at least 1 step, got 0"):
        fit_boundary(simulated_runs(rng), budgets=[0])


def test_more_seeds_make_narrower_bands_and_one_seed_says_what_it_assumes():
    few, many = (fit_boundary(simulated_runs(np.random.default_rng(1), n_seeds=n)) for n in (1, 8))
    width = [(b.table["high_90"] - b.table["low_90"]).mean() for b in (few, many)]
    assert width[0] > 2 * width[1]
    assert [note for note in few.notes if note.startswith("one seed")]
    assert not [note for note in many.notes if note.startswith("one seed")]


@pytest.mark.parametrize("decays, terms", [((1.0,), 2), ((0.5, 1.0), 4), ((0.5, 1.0, 2.0), 5)])
def test_the_curve_has_as_many_terms_as_the_sweep_can_tell(rng, decays, terms):
    found = fit_boundary(simulated_runs(rng, decays=decays))
    assert len(found.design.terms) == terms
    for decay, budget, f_50 in found.table.select("weight_decay", "budget", "f_50").iter_rows():
        assert f_50 == pytest.approx(Line().f_50(decay, budget), abs=0.06)


def test_weight_decay_0_has_a_bracket_and_no_line():
    fractions = (0.2, 0.3, 0.35, 0.4, 0.45, 0.5)
    cells = [(f, wd, s, 400 * math.exp(-12 * (f - 0.4))) for f in fractions for wd in (0, 1.0) for s in (0, 1)]
    found = fit_boundary(runs_of(cells), budgets=[600])
    assert found.events.left_out == {"weight_decay 0, which has no logarithm": 12}
    rows = found.table.rows(named=True)
    assert rows[0]["status"] == "not identified: weight_decay 0 has no logarithm"
    assert (rows[0]["bracket_low"], rows[0]["bracket_high"]) == (0.35, 0.4)
    assert rows[1]["f_50"] == pytest.approx(0.4 - math.log(1.5) / 12, abs=0.02)


# --- what is not identified ---------------------------------------------------------------------------------


def test_no_event_and_only_fast_events_say_so(rng):
    none = fit_boundary(simulated_runs(rng, line=Line(frac_1=1.3)))
    assert lines(none) == ["boundary in train fraction: not identified: no run got there within 10,000 steps"]
    assert set(none.table["status"]) == {"not identified: no run got there within 10,000 steps"}
    fast = fit_boundary(simulated_runs(rng, line=Line(frac_1=-0.3)))
    assert fast.reason == "every run got there within 1,000 steps"
    assert none.table["f_50"].null_count() == fast.table["f_50"].null_count() == 12


def test_all_events_within_the_budget_put_the_boundary_below_what_was_swept(rng):
    line = Line(frac_1=0.05, decay=0.0, curve=0.0, mixed=0.0)
    runs = simulated_runs(rng, line=line, fractions=(0.2, 0.21, 0.22, 0.23, 0.3))
    found = fit_boundary(runs)
    here = found.table.filter(budget=BUDGET)
    assert set(here["status"]) == {"not identified: below the fractions swept (0.2)"}
    assert here["f_50"].null_count() == 4
    assert here["bracket_low"].null_count() == 4


def test_what_is_not_identified_is_said_once_for_all_of_its_settings(rng):
    line = Line(frac_1=0.05, decay=0.0, curve=0.0, mixed=0.0)
    found = fit_boundary(simulated_runs(rng, line=line, fractions=(0.2, 0.21, 0.22, 0.23, 0.3)))
    (said,) = [text for text in lines(found) if text.endswith(": below the fractions swept (0.2)")]
    nothing = found.table.filter(pl.col("f_50").is_null(), pl.col("bracket_low").is_null())
    always = [wd for wd in distinct(found.events.other) if nothing.filter(weight_decay=wd).height == 3]
    assert f"{', '.join(f'{wd:g}' for wd in always)} within 3,333 or 10,000 or 30,000 steps" in said
    assert said.startswith("not identified at weight_decay ")


def test_critical_fractions_that_are_not_identified_are_one_line(rng):
    few = critical_fractions(fit_boundary(simulated_runs(rng, fractions=(0.3, 0.4, 0.5))))
    title, only = critical_lines(few)
    assert title.startswith("critical train fraction f_c")
    assert only.startswith("not identified at weight_decay ")
    assert "fewer than 4 train fractions where a run got there in more than " in only
    assert all(f"{wd:g}" in only for wd in few["weight_decay"])


def test_few_events_one_fraction_and_events_at_one_fraction_are_withheld():
    two = [(f, 1.0, s, 300 if (f, s) in ((0.5, 0), (0.4, 1)) else math.inf) for f in (0.3, 0.4, 0.5) for s in (0, 1)]
    assert fit_boundary(runs_of(two)).reason == "too few events: 2 runs got there, 3 are needed"
    one = [(0.3, wd, s, 300) for wd in (0.5, 1.0) for s in range(4)]
    assert fit_boundary(runs_of(one)).reason == "one train fraction"
    top = [(f, 1.0, s, 300 if f == 0.5 else math.inf) for f in (0.3, 0.4, 0.5) for s in range(4)]
    assert fit_boundary(runs_of(top)).reason == "events at one train fraction only"


def test_a_time_that_does_not_fall_with_the_fraction_has_no_boundary(rng):
    found = fit_boundary(simulated_runs(rng, line=Line(slope=0.0, mixed=0.0, decay=-1.0)))
    assert found.table["f_50"].null_count() == 12
    assert found.table["status"].str.contains("whether time falls with train fraction is not sure").any()


def test_no_run_at_all_is_an_empty_table(rng):
    found = fit_boundary(simulated_runs(rng).with_columns(state=pl.lit("planned")))
    assert found.table.is_empty()
    assert lines(found) == [
        "boundary in train fraction: not identified: no run has a t_test to wait for",
        "left out: 96 planned",
    ]


# --- brackets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "times, expected",
    [
        ([(900, 950), (300, 400), (100, 200)], (0.2, 0.3)),
        ([(900, 950), (300, 800), (100, 200)], None),  # a mixed cell
        ([(300, 400), (900, 950), (100, 200)], None),  # there and back
        ([(300, 400), (300, 400), (100, 200)], None),  # no cell without
        ([(math.inf, 950), (900, math.inf), (100, 200)], (0.3, 0.4)),
    ],
)
def test_the_bracket_is_where_all_seeds_change_at_once(times, expected):
    cells = [(f, 1.0, s, t) for f, both in zip((0.2, 0.3, 0.4), times, strict=True) for s, t in enumerate(both)]
    assert bracket(events(runs_of(cells)), 1.0, 500) == expected


def test_a_run_that_ended_before_the_budget_decides_no_cell():
    cells = [(f, 1.0, s, 300 if f > 0.3 else math.inf) for f in (0.3, 0.4) for s in (0, 1)]
    found = events(runs_of(cells))
    assert bracket(found, 1.0, 1000) == (0.3, 0.4)
    assert bracket(found, 1.0, 1001) is None


# --- doubts -------------------------------------------------------------------------------------------------


def test_a_bend_and_a_missed_bracket_are_said(rng):
    """Fast runs taken as they are: the line through them misses where the cells change."""
    line = Line(slope=-16.0, frac_1=0.33, decay=0.0, curve=0.0, mixed=0.0, floor=130.0)
    fractions = np.linspace(0.25, 0.95, 15)
    runs = simulated_runs(rng, line=line, sigma=0.1, tau=0.1, decays=(1.0,), fractions=fractions, n_steps=20_000)
    bent = fit_boundary(runs, budgets=[1000, 5000], fastest=0.0)
    assert [note for note in bent.notes if note.startswith("ln t_test flattens with train fraction (+")]
    assert [note for note in bent.notes if "all seeds change at weight_decay 1 (1,000 steps)" in note]
    straight = fit_boundary(runs, budgets=[1000, 5000])
    assert len(straight.notes) == 1
    assert "runs got there within 300 steps, and that is all that the fit is told" in straight.notes[0]


# --- figures ------------------------------------------------------------------------------------------------


def test_the_contour_passes_through_the_table_and_ends_where_the_sweep_does(rng):
    found = fit_boundary(simulated_runs(rng))
    line = contour(found, BUDGET)
    assert (line["weight_decay"].min(), line["weight_decay"].max()) == (0.1, 3.0)
    row = found.table.filter(weight_decay=3.0, budget=BUDGET).row(0, named=True)
    assert [line[name][-1] for name in BANDS] == pytest.approx([row[name] for name in BANDS], abs=1e-9)


def test_nothing_is_drawn_outside_the_fractions_swept(rng):
    runs = simulated_runs(rng, line=Line(frac_1=0.36), fractions=(0.3, 0.4, 0.5, 0.6))
    line = contour(fit_boundary(runs), 30_000)
    for name in BANDS:
        assert line[name].drop_nulls().is_between(0.3, 0.6).all()
    assert 0 < line["f_50"].null_count() < line.height


def test_no_fit_is_no_line_and_one_weight_decay_one_point(rng):
    assert contour(fit_boundary(simulated_runs(rng, fractions=(0.3,))), BUDGET).is_empty()
    assert contour(fit_boundary(simulated_runs(rng, decays=(1.0,))), BUDGET).height == 1


def test_the_table_as_text_lines_up(rng):
    text = lines(fit_boundary(simulated_runs(rng)))
    head = next(i for i, line in enumerate(text) if line.startswith("weight_decay"))
    place = text[head].index("f_50")
    assert all(line[place : place + 2] == "0." for line in text[head + 1 : head + 13])


# --- coverage: the full one is tests/integration/test_boundary_coverage.py ----------------------------------


def test_bands_cover_the_true_line_and_without_a_seed_effect_do_not():
    """40 sweeps of 4 seeds: three standard errors of a share of 0.9 in 40 independent sweeps are 0.14."""
    found = coverage(40, n_seeds=4, seed=0)
    assert found.share("90") >= 0.76
    assert 0.5 - 0.24 <= found.share("50") <= 0.5 + 0.24
    assert found.share("90 without seeds") < found.share("90") - 0.1


def test_a_long_table_is_cut_as_text_and_says_so(rng):
    text = lines(fit_boundary(simulated_runs(rng, n_seeds=2, decays=np.geomspace(0.1, 3, 25))))
    assert "… and 15 more rows" in text
    assert len([line for line in text if line.startswith(("0.", "1", "2", "3"))]) == 60


# --- a critical fraction ------------------------------------------------------------------------------------


def test_a_planted_critical_fraction_is_found(rng):
    found = critical_fractions(fit_boundary(critical_runs(rng), budgets=[10_000])).row(0, named=True)
    assert found["status"] == "identified"
    assert found["f_c"] == pytest.approx(0.25, abs=0.01)
    assert 0.23 < found["low_90"] <= 0.25 <= found["high_90"] < 0.26
    assert found["gamma"] == pytest.approx(1.0, abs=0.3)


def test_fast_runs_alone_bend_no_sweep_into_a_critical_fraction(rng):
    """An exponential above a floor has none; with the fast runs as they are the profile would say 0.15."""
    runs = simulated_runs(rng, line=STEEP_FLOOR, fractions=MANY, decays=(1.0,), n_steps=30_000)
    found = fit_boundary(runs)
    assert set(critical_fractions(found)["f_c"]) == {None}
    bent = profile(found.events, 1.0)
    assert bent.fall[0] > bent.threshold(0.99)


def test_few_fractions_with_events_tell_no_critical_fraction(rng):
    found = critical_fractions(fit_boundary(simulated_runs(rng)))
    assert set(found["f_c"]) == {None}
    assert found["status"].str.contains("fewer than 4 train fractions where a run got there in more than").any()
    assert len(critical_lines(found)) == 1 + found["status"].n_unique()


@pytest.mark.parametrize("threshold", [math.log(113), 1.0, 0.1, 0.01])
def test_on_the_authors_slice_no_critical_fraction_is_identified(threshold):
    data = np.load(published("frac_train_sweep.npz"))
    times = []
    for frac in data["frac_train"]:
        loss = data[f"test_{frac:g}"]
        times.append(loss.argmax() + np.argmax(loss[loss.argmax() :] < threshold))
    runs = table(data["frac_train"], np.ones(10), np.zeros(10, int), np.array(times, float), 23_276)
    found = fit_boundary(runs)
    assert set(critical_fractions(found)["status"].str.slice(0, 14)) == {"not identified"}
    curve = profile(found.events, 1.0)
    assert curve.fall[0] < curve.threshold(0.99)
    # The slope of DEFINITIONS 9, and a band that holds where the cells change.
    assert (found.fit.weight @ found.fit.mean)[1] == pytest.approx(-13, abs=5)
    row = found.table.filter(budget=7759).row(0, named=True)
    assert row["bracket_low"] is None or row["low_90"] < row["bracket_high"]
    assert not [note for note in found.notes if "misses" in note]
