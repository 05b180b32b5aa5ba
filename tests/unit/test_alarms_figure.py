"""The figure of alarms: every measure, told apart by what it sees; baselines, hindsight and "too few"."""

import json

import numpy as np
import polars as pl
import pytest
import vl_convert as vlc
from planted_alarms import SWEPT, World, norm_of_memorisers, planted_sweep, random_walk, seen

from analysis.alarms.figure import INPUTS, LABELS, PALE, TRAIN, UNSAID, figure
from analysis.alarms.figure import seen as seen_word
from analysis.alarms.ranking import Ranking, rank
from analysis.alarms.words import text
from analysis.captions import printable

CURVES = {"logit_energy": seen(2.0), "gini_W_E": random_walk, "fit_loss_final": norm_of_memorisers}


def ranking_of(**changes):
    rng = np.random.default_rng(0)
    rows, runs = planted_sweep(World(), CURVES, rng, **changes)
    return rank(rows, runs, SWEPT, rng, n_draws=10)


@pytest.fixture(scope="module")
def ranking():
    return ranking_of()


def marks(chart):
    """The rows that the figure is drawn from, by label."""
    spec = chart.to_dict()
    found = spec.get("data") or spec["hconcat"][0]["data"]
    return {row["label"]: row for row in found["values"]}


def test_every_measure_is_in_the_figure_in_the_order_of_the_table(ranking):
    svg = vlc.vegalite_to_svg(figure(ranking, "wd_frac").to_dict())
    for word in ("logit_energy", "gini_W_E", "novel_acc", "test accuracy (baseline)", "test loss (baseline)"):
        assert f">{word}<" in svg
    assert ">settings alone (baseline)<" in svg
    assert ">fit_loss_final (hindsight)<" in svg
    assert [row["measure"] for row in marks(figure(ranking, "s")).values()] == ranking.table["measure"].to_list()


def test_its_axes_have_titles_and_its_legend_all_that_can_be_seen(ranking):
    svg = vlc.vegalite_to_svg(figure(ranking, "s").to_dict())
    for word in (
        "gain: times as early as", "the best baseline", "detected before T", "over 3x too early", "% of events",
        "false alarms", "% of runs without it", LABELS, INPUTS, TRAIN, "settings only", "it sees",
    ):  # fmt: skip
        assert f">{word}<" in svg, word


def test_what_a_measure_sees_decides_colour_and_shape(ranking):
    rows = marks(figure(ranking, "s"))
    assert rows["logit_energy"]["seen"] == INPUTS
    assert rows["gini_W_E"]["seen"] == TRAIN
    assert rows["novel_acc"]["seen"] == LABELS
    assert seen_word("train pairs, test inputs, test labels") == LABELS
    assert seen_word("train pairs") == seen_word("weights") == TRAIN
    assert seen_word("unknown") == UNSAID


def test_hindsight_is_dashed_and_baselines_stand_on_grey(ranking):
    rows = marks(figure(ranking, "s"))
    assert [label for label, row in rows.items() if row["dashed"]] == ["fit_loss_final (hindsight)"]
    assert [label for label, row in rows.items() if row["band"]] == [
        f"{name} (baseline)" for name in ranking.table.filter(pl.col("role") == "baseline")["measure"]
    ]
    svg = vlc.vegalite_to_svg(figure(ranking, "s").to_dict())
    assert 'stroke-dasharray="4,3"' in svg


def test_marks_that_are_not_there_are_not_explained(ranking):
    said = " ".join(figure(ranking, "s").to_dict()["title"]["subtitle"])
    assert "hindsight" in said
    assert "on grey: baselines" in said
    assert "pale" not in said
    without = Ranking(**vars(ranking) | {"table": ranking.table.filter(pl.col("role") != "hindsight")})
    assert "hindsight" not in " ".join(figure(without, "s").to_dict()["title"]["subtitle"])


def test_nothing_ahead_is_the_first_that_is_said(ranking):
    table = ranking.table.filter(pl.col("measure") != "logit_energy")
    said = text(Ranking(**vars(ranking) | {"table": table}))[0]
    n, best = (
        table.filter(pl.col("role") == "measure", pl.col("rank").is_not_null()).height,
        table["best_baseline"][0],
    )
    assert said.startswith(f"No measure of {n} is surely earlier than {best}, the best baseline.")


def test_gains_are_drawn_as_factors(ranking):
    rows = marks(figure(ranking, "s"))
    table = dict(ranking.table.select("measure", "gain").iter_rows())
    assert rows["logit_energy"]["factor"] == pytest.approx(np.exp(table["logit_energy"]))
    assert rows["logit_energy"]["factor"] > 1.5


def test_too_few_is_pale_and_said():
    few = ranking_of(decays=(1.0, 3.0))
    chart = figure(few, "s")
    assert {row["opacity"] for row in marks(chart).values() if not row["dashed"]} == {PALE}
    said = " ".join(chart.to_dict()["title"]["subtitle"])
    assert "Too few: 32 runs with the event, 16 without; 20 of each are needed. No rank." in said


def test_one_seed_draws_what_there_is():
    vlc.vegalite_to_svg(figure(ranking_of(n_seeds=1), "s").to_dict())


def test_no_runs_are_no_figure():
    rng = np.random.default_rng(0)
    rows, runs = planted_sweep(World(), {}, rng, decays=(1.0,))
    empty = rank(rows, runs.with_columns(pl.lit("running").alias("state")), SWEPT, rng)
    with pytest.raises(ValueError, match=r"no alarms to draw: Too few: 0 runs with the event"):
        figure(empty, "s")


def test_a_name_stays_text(ranking):
    svg = vlc.vegalite_to_svg(figure(ranking, "</script><b>&\"'").to_dict())
    assert "<b>" not in svg
    assert (
        figure(ranking, "a\n\x07</b>")
        .to_dict()["title"]["text"]
        .startswith(f"{printable('a' + chr(10) + chr(7))}</b>:")
    )
    json.dumps(figure(ranking, "x").to_dict(), allow_nan=False)


def test_the_text_has_a_line_a_measure_and_says_what_is_not_ranked(ranking):
    lines = text(ranking)
    assert lines[0].startswith("logit_energy: surely earlier than ")
    assert lines[1].startswith("64 runs with the event, 32 without; 24 cells, 4 seeds.")
    for measure in ranking.table["measure"]:
        assert sum(measure in line.split("  ")[1:3] or f"  {measure}  " in line for line in lines) == 1
    assert any("not ranked: hindsight" in line for line in lines)
