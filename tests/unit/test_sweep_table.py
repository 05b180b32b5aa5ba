"""The cells as the command prints them: what is counted is said, and counts add up to the runs."""

import re

import polars as pl
import pytest
from analysis_sweeps import FRAC, WD, add

from analysis.sweep import map_sweep, table
from grok_sweep.store import SweepDir


def rows_of(sweep):
    head, *rows = [re.split("  +", line) for line in table(map_sweep(sweep.path)).splitlines()]
    return [dict(zip(head, row, strict=False)) for row in rows]


@pytest.mark.parametrize(
    "times, states, outcome, generalised",
    [
        ((350, 350), ("done", "done"), "comprehension", "2 of 2"),
        ((350, 2000), ("done", "done"), "1 comprehension, 1 grokking", "2 of 2"),
        ((350, None), ("done", "planned"), "1 comprehension, 1 planned", "1 of 2"),
        ((None, None), ("running", "failed"), "1 failed, 1 running", "0 of 2"),
    ],
)
def test_a_cell_says_how_many_runs_have_which_outcome(tmp_path, times, states, outcome, generalised):
    sweep = SweepDir(tmp_path / "sweep")
    for seed, (time, state) in enumerate(zip(times, states, strict=True)):
        add(sweep, {WD: 1.0, FRAC: 0.3, "model.init_seed": seed, "data.split_seed": seed}, state, t_test=time)
    add(sweep, {WD: 0.1, FRAC: 0.3, "model.init_seed": 0, "data.split_seed": 0}, t_test=350)
    alone, pair, *_ = rows_of(sweep)
    assert (alone["runs"], alone["generalised"]) == ("1", "yes")
    assert (pair["runs"], pair["outcome"], pair["generalised"]) == ("2", outcome, generalised)
    assert "runs: with these settings, one a seed" in table(map_sweep(sweep.path))


def test_a_cell_without_runs_has_no_share(tmp_path):
    sweep = SweepDir(tmp_path / "sweep")
    for wd, frac in ((0.1, 0.2), (1.0, 0.3), (1.0, 0.2)):
        add(sweep, {WD: wd, FRAC: frac}, t_test=350)
    found = map_sweep(sweep.path).cells.filter(pl.col("n_runs") == 0)
    assert found.height == 1
    empty = next(line for line in table(map_sweep(sweep.path)).splitlines() if "no run" in line)
    assert re.split("  +", empty) == ["0.1", "0.3", "0", "no run"]
