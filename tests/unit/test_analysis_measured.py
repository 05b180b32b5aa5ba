"""Measures of a cell's runs: what is compared stood at one step, and what is missing is counted."""

import polars as pl
import pytest

from analysis.measured import at_step, columns, common_step, measures, quartiles


def runs(*rows):
    names = ("run_id", "wd", "state", "steps", "final.test_loss", "max.test_loss")
    return pl.DataFrame([dict(zip(names, row, strict=True)) for row in rows], infer_schema_length=None)


FOUR = runs(
    ("a", 1.0, "done", 1000, 1.0, 9.0),
    ("b", 1.0, "done", 300, 3.0, 9.0),
    ("c", 1.0, "running", 500, 7.0, None),
    ("d", 1.0, "failed", 900, 8.0, None),
)


def rows(**of_run):
    """run_id -> (step, test_loss, gini_W_E) each."""
    lines = [(run_id, *row) for run_id, found in of_run.items() for row in found]
    return pl.DataFrame(lines, schema=["run_id", "step", "test_loss", "gini_W_E"], orient="row")


# --- the common step ----------------------------------------------------------------------------------------


def test_the_common_step_is_the_smallest_last_step_of_the_runs_that_are_done():
    assert common_step(FOUR) == 300
    assert common_step(FOUR.filter(pl.col("state") != "done")) == 500
    assert common_step(FOUR.filter(pl.col("state") == "failed")) is None


def test_a_value_at_a_step_is_of_the_last_row_at_or_before_it_and_of_runs_that_came_so_far():
    found = at_step(
        rows(
            a=[(0, 5.0, 0.1), (250, 4.0, 0.2), (320, 0.1, 0.9)], b=[(0, 5.0, 0.1), (300, 3.0, 0.3)], c=[(0, 6.0, 0.1)]
        ),
        FOUR.filter(pl.col("run_id") != "c"),
        ["test_loss", "gini_W_E"],
        300,
    )
    assert sorted(found.rows()) == [("a", 4.0, 0.2), ("b", 3.0, 0.3)]
    nobody = at_step(rows(a=[(0, 5.0, 0.1)]), FOUR, ["test_loss"], 2000)
    assert nobody.height == 0


def test_a_row_of_losses_alone_does_not_hide_the_measures_before_it():
    found = at_step(rows(a=[(200, 4.0, 0.2), (300, 3.0, None)]), FOUR, ["test_loss", "gini_W_E"], 300)
    assert found.rows() == [("a", 3.0, 0.2)]


def test_a_measure_that_is_undefined_at_the_last_row_is_not_taken_from_an_earlier_one():
    logged = rows(a=[(200, 4.0, 0.2), (300, 3.0, 0.4)]).with_columns(excluded_loss=pl.Series([7.0, None]))
    found = at_step(logged, FOUR, ["gini_W_E", "excluded_loss"], 300)
    assert found.rows() == [("a", 0.4, None)]


# --- quartiles ----------------------------------------------------------------------------------------------


def test_final_values_are_of_runs_that_are_done_alone():
    (cell,) = quartiles(FOUR, ["wd"]).to_dicts()
    assert (cell["final.test_loss_median"], cell["final.test_loss_n"]) == (2.0, 2)
    assert (cell["final.test_loss_q25"], cell["final.test_loss_q75"]) == (1.5, 2.5)


def test_values_at_a_step_are_of_all_runs_that_stand_and_came_there():
    known = FOUR.with_columns(pl.Series("at.test_loss", [1.0, 2.0, 6.0, 5.0]))
    (cell,) = quartiles(known, ["wd"], 300).to_dicts()
    assert (cell["at.test_loss_median"], cell["at.test_loss_n"], cell["n_reached"]) == (2.0, 3, 3)
    (cell,) = quartiles(known, ["wd"], 600).to_dicts()
    assert cell["n_reached"] == 1


def test_a_cell_without_a_value_has_none_and_says_that_none_of_its_runs_has():
    (cell,) = quartiles(FOUR.filter(pl.col("state") == "failed"), ["wd"]).to_dicts()
    assert (cell["final.test_loss_median"], cell["final.test_loss_n"]) == (None, 0)


# --- names --------------------------------------------------------------------------------------------------


def test_measures_come_in_the_order_of_their_table_and_own_ones_last():
    names = ("final.own", "final.sum_sq.W_E", "final.gini_W_E", "final.test_loss", "final.train_loss")
    table = pl.DataFrame({name: [1.0] for name in names} | {"final.text": ["no number"], "min.gini_W_E": [0.0]})
    assert measures(table) == ["train_loss", "test_loss", "gini_W_E", "sum_sq.W_E", "own"]
    assert columns(table)[2:4] == ["final.gini_W_E", "min.gini_W_E"]


def test_a_step_that_no_run_reached_is_refused(tmp_path):
    from analysis_sweeps import grid_of

    from analysis.sweep import map_sweep
    from grok_sweep.store import SweepDir

    sweep = grid_of(SweepDir(tmp_path / "s"))
    with pytest.raises(ValueError, match="--at 5000: the longest run stands at step 3000"):
        map_sweep(sweep.path, at=5000)
    assert map_sweep(sweep.path, at=500).cells["at.test_loss_median"].to_list() == [2.0] * 6


def test_where_a_page_cannot_hold_every_run_it_holds_those_that_have_rows(tmp_path, monkeypatch):
    from analysis_sweeps import FRAC, INIT, add

    from analysis import curves
    from analysis.sweep import map_sweep
    from grok_sweep.store import SweepDir

    sweep, first = SweepDir(tmp_path / "s"), set()
    for frac in (0.2, 0.3):
        add(sweep, {FRAC: frac, INIT: 0}, "planned")
        first.add(add(sweep, {FRAC: frac, INIT: 1}))
        add(sweep, {FRAC: frac, INIT: 2})
    monkeypatch.setattr(curves, "budget", lambda n_runs: (50, 2))
    assert set(map_sweep(sweep.path).rows["run_id"]) == first
