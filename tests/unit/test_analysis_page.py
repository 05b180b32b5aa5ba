"""What a page holds, and how much: 500 runs in 10 MB, every number in four digits, no text that is code."""

import json
import random
import re

import polars as pl
import pytest

from analysis import curves
from analysis.load import Sweep
from analysis.page import inline_json
from analysis.sweep_figure import drawing
from analysis.sweep_map import Extras, SweepMap
from analysis.sweep_page.page import HERE, SCRIPTS, html
from grok_sweep.config import RunConfig, flat, resolved

MEASURES = ("train_loss", "test_loss", "novel_loss", "gini_W_E", "gini_W_L", "sum_sq_weights", "excluded_loss")


def sweep_of(n_cells, n_seeds, n_rows=400):
    """A map of n_cells by n_seeds runs as analysis.sweep_map makes it, of random numbers, without a folder."""
    chance, runs, logged = random.Random(0), [], []
    fixed = {name: value for name, value in flat(resolved(RunConfig())).items() if not isinstance(value, list)}
    for i in range(n_cells * n_seeds):
        cell, seed = divmod(i, n_seeds)
        own = {"optimizer.weight_decay": 0.1 * (1 + cell % 25), "data.frac_train": 0.2 + 0.01 * (cell // 25)}
        own |= {"model.init_seed": seed, "data.split_seed": seed}
        times = {"t_train": 100, "t_test": 100 + i, "t_novel": None, "t_train_below": 99, "t_test_below": 90}
        state = {"state": "done", "outcome": "grokking", "phase": "grokking", "phase_scale_free": "grokking"}
        state |= {"steps": 10_000, "has_novel": True, "error": None, "t_novel_below": None}
        values = {f"{how}.{name}": chance.random() for how in ("final", "min", "max", "at") for name in MEASURES}
        runs.append({"run_id": f"{i:012x}"} | fixed | own | times | state | values)
        steps = sorted({round(10_000 ** (k / n_rows)) for k in range(1, n_rows + 1)} | {0})
        logged.append(
            pl.DataFrame({"run_id": [f"{i:012x}"] * len(steps), "step": steps}).with_columns(
                **{name: pl.Series([chance.random() for _ in steps]) for name in curves.CURVES},
                key_freqs=pl.lit([3, 7, 11]),
            )
        )
    return pl.DataFrame(runs, infer_schema_length=None), pl.concat(logged)


def page_of(n_cells, n_seeds, tmp_path):
    from analysis import measured
    from analysis.cells import cells

    runs, rows = sweep_of(n_cells, n_seeds)
    x, y = "optimizer.weight_decay", "data.frac_train"
    table = cells(runs, x, y).join(measured.quartiles(runs, [y, x], 1000), on=[y, x], how="left")
    n_points, n_runs = curves.budget(runs.height)
    kept = curves.drawn(table["run_ids"].to_list(), n_runs)
    thin = curves.thinned(rows.filter(pl.col("run_id").is_in(kept)), n_points)
    found = SweepMap(Sweep(tmp_path, "many", runs, (x, y)), runs, table, thin, x, y, step=1000)
    return html(drawing(found, [], Extras()), tmp_path)


@pytest.fixture(scope="module")
def of_500(tmp_path_factory):
    return page_of(125, 4, tmp_path_factory.mktemp("page"))


def content(page):
    return json.loads(re.search(r'id="content">(.*?)</script>', page, re.DOTALL)[1])


def test_500_runs_fit_into_10_megabytes_with_all_their_curves(of_500):
    assert len(of_500.encode()) <= 10 * 2**20
    given = content(of_500)
    assert len(given["curves"]) == 500
    points = [curve.count("\n") + 1 for curve in given["curves"].values()]
    assert min(points) >= 120
    assert max(points) <= 200


def test_the_scripts_are_short():
    lines = {name: (HERE / name).read_text().splitlines() for name in SCRIPTS}
    assert len(lines["choices.js"]) <= 150
    assert all(len(line) <= 120 for script in lines.values() for line in script)


def test_every_cell_and_every_colour_is_there(of_500):
    given = content(of_500)
    assert len(given["cells"]) == 125
    assert len(given["runs"]) == 500
    for colour in given["colours"]:
        assert len(colour["looks"]) == 125, colour["key"]
        assert all(len(lines) == 125 for lines in colour["lines"].values())
    keys = [colour["key"] for colour in given["colours"]]
    assert {"phase", "t_test", "grok_delay", "at.test_loss", "max.gini_W_E"} <= set(keys)
    assert len(set(keys)) == len(keys)


def test_no_text_can_end_the_script_it_stands_in():
    text = "</script><!-- \u2028 & ' \" <"
    found = inline_json({"a": [text]})
    assert "<" not in found
    assert json.loads(found) == {"a": [text]}


def test_a_percent_sign_in_a_name_is_no_place_in_the_page(tmp_path):
    from analysis.sweep_page.page import _filled

    assert _filled("<p>%(a)s</p>%(b)s", {"a": "%(b)s %d", "b": "x"}) == "<p>%(b)s %d</p>x"


@pytest.mark.slow
def test_2000_cells_and_10000_runs_stay_a_page_that_opens(tmp_path):
    page = page_of(2000, 5, tmp_path)
    assert len(page.encode()) <= 20 * 2**20
    assert len(content(page)["curves"]) == 2000
