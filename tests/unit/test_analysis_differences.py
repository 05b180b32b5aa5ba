"""Two sweeps compared: every cell shows its own pairs, and a bound is never shown as a number."""

import math
from types import SimpleNamespace

import polars as pl
import pytest

from analysis import looks
from analysis.cells import cells
from analysis.colours import painted
from analysis.diagram import encoding
from analysis.differences import beside, colours
from analysis.looks import BOUND, COLOURED, NO_VALUE

FULL = looks.size_for(3, 3)
PAIRS = [
    (0.1, 0.3, 3, math.log(2), "×2"),
    (1.0, 0.3, 2, None, "> ×1.5"),
    (0.1, 0.5, 1, -math.log(4), "×0.25"),
]


def run(sweep, wd, frac, state="done"):
    given = {"run_id": f"{sweep}/{wd}{frac}", "sweep": sweep, "wd": wd, "frac": frac, "state": state, "steps": 3000}
    times = {"t_train": 300, "t_test": 900, "t_novel": None, "has_novel": False}
    return given | times | {"outcome": "grokking", "phase_scale_free": "grokking"}


@pytest.fixture
def compared():
    table = pl.DataFrame(PAIRS, schema=["wd", "frac", "n_pairs", "median", "text"], orient="row")
    table = table.with_columns(name=pl.lit("t_test"), kind=pl.lit("ln(b / a)"))
    return SimpleNamespace(cells=table, settings=("wd", "frac"), labels=("plain", "<b>"))


@pytest.fixture
def runs():
    grid = [run(sweep, wd, frac) for sweep in ("plain", "<b>") for wd in (0.1, 1.0) for frac in (0.3, 0.5)]
    return pl.DataFrame(grid, infer_schema_length=None)


def test_each_cell_of_either_sweep_shows_its_own_pairs(runs, compared):
    table = beside(cells(runs, "wd", "frac", ("sweep",)), runs, ["sweep", "wd", "frac"], compared)
    known = colours(table, compared)
    colour = known["difference.t_test"]
    assert colour.title == "t_test: <b> / plain"
    shown = {
        (c["sweep"], c["wd"], c["frac"]): p
        for c, p in zip(table.to_dicts(), painted(colour, table.to_dicts(), FULL), strict=True)
    }
    for sweep in ("plain", "<b>"):
        assert shown[sweep, 0.1, 0.3] == {"look": COLOURED, "value": math.log(2), "lines": ["×2", "3 pairs"]}
        assert shown[sweep, 1.0, 0.3] == {"look": BOUND, "value": None, "lines": ["> ×1.5", "2 pairs"]}
        assert shown[sweep, 0.1, 0.5]["lines"] == ["×0.25", "1 pair"]
        assert shown[sweep, 1.0, 0.5] == {"look": NO_VALUE, "value": None, "lines": ["no value"]}


def test_the_scale_has_1_in_its_middle_and_powers_of_2_as_ticks(runs, compared):
    table = beside(cells(runs, "wd", "frac", ("sweep",)), runs, ["sweep", "wd", "frac"], compared)
    scale = colours(table, compared)["difference.t_test"].scale
    assert (scale.position(0), scale.low) == (pytest.approx(0.5), -scale.high)
    assert [round(math.exp(tick), 6) for tick in scale.ticks] == [0.25, 0.5, 1, 2, 4]
    key = encoding(colours(table, compared)["difference.t_test"])
    assert key["scale"]["scheme"] == "purpleorange"
    assert "exp(datum.value)" in key["legend"]["labelExpr"]


def test_a_setting_that_was_narrowed_to_one_value_narrows_the_pairs(runs, compared):
    narrowed = runs.filter(pl.col("frac") == 0.3)
    table = beside(cells(narrowed, "wd", "sweep"), narrowed, ["wd", "sweep"], compared)
    assert table.filter(pl.col("wd") == 0.1)["difference.t_test_text"].to_list() == ["×2", "×2"]


def test_cells_that_hold_several_of_the_pairs_cells_show_none(runs, compared):
    table = beside(cells(runs, "wd", "sweep"), runs, ["wd", "sweep"], compared)
    assert table.filter(pl.col("wd") == 0.1)["difference.t_test_n"].to_list() == [None, None]
