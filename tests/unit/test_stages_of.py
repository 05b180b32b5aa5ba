"""Stages of runs in their folders, as one answer, a table and a figure."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import planted_curves
import polars as pl
import pytest
import vl_convert
from small_runs import plan_of, small_config

from analysis.load import load_sweep
from analysis.stages_figure import WORDS, stage_points, stages_figure
from analysis.stages_of import stages_of_rows, stages_of_run, stages_of_sweep
from grok_sweep.config import DataConfig, OptimizerConfig, flat
from grok_sweep.store import RunDir, State

DECAYS, SEEDS = (0.3, 3.0), (0, 1)


@pytest.fixture(scope="module")
def sweep_path(tmp_path_factory):
    """Four runs with planted curves: three through all stages (one without final_keys.jsonl), one without rows."""
    path = tmp_path_factory.mktemp("runs") / "planted"
    configs = [
        small_config(optimizer=OptimizerConfig(lr=1e-3, weight_decay=wd), data=DataConfig(p=113, split_seed=seed))
        for wd in DECAYS
        for seed in SEEDS
    ]
    sweep, run_ids = plan_of(path, *configs)
    shape = replace(planted_curves.shape("four stages", np.random.default_rng(3)), tail=0.0)
    for i, (run_id, config) in enumerate(zip(run_ids[:3], configs, strict=False)):
        times = {name: time * 1.2**i for name, time in shape.times.items()}
        steps = planted_curves.schedule(int(4 * times["B3"]))
        rows, final = planted_curves.columns(replace(shape, times=times), steps, steps, gap=5.0)
        write(sweep.run(run_id), flat(config), rows, {} if i == 2 else final)
    return path, run_ids


def write(run_dir, settings, rows, final):
    run_dir.write(run_dir.settings_file, settings)
    for file, columns in ((run_dir.metrics_file, rows), (run_dir.final_keys_file, final)):
        lines = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        if lines:
            file.write_text("".join(json.dumps(line | {"step": int(line["step"])}) + "\n" for line in lines))
    run_dir.write_status(State.interrupted, step=int(rows["step"][-1]))


@pytest.fixture(scope="module")
def table(sweep_path):
    return stages_of_sweep(load_sweep(sweep_path[0]))


def test_a_run_has_one_answer_alone_and_in_a_table(sweep_path, table):
    path, run_ids = sweep_path
    assert table["run_id"].to_list() == run_ids
    for run_id, line in zip(run_ids[:3], table.iter_rows(named=True), strict=False):
        alone = stages_of_run(path / run_id)
        assert line["stages_confidence"] == alone.confidence
        assert line["stages_decided_by"] == alone.decided_by
        for name, boundary in alone.boundaries.items():
            assert (line[name], line[f"{name}_low"], line[f"{name}_high"], line[f"{name}_share"]) == (
                boundary.step, boundary.low, boundary.high, boundary.share,
            )  # fmt: skip
            assert line[f"{name}_status"] == boundary.status.value == "found"
    assert table["stage"].to_list() == ["after cleanup"] * 3 + [None]
    assert table.row(3, named=True) == dict.fromkeys(table.columns) | {"run_id": run_ids[3]}


def test_final_keys_are_read_where_they_are(table):
    said = table["stages_decided_by"].to_list()
    assert all("restricted_loss_final, excluded_loss_final" in one for one in said[:2])
    assert "for want of final_keys.jsonl" in said[2]


def test_folders_without_a_run_or_rows_are_refused(sweep_path, tmp_path):
    path, run_ids = sweep_path
    with pytest.raises(ValueError, match=r"is no run's folder: it holds no settings\.json"):
        stages_of_run(path / run_ids[3])
    empty = RunDir(tmp_path / "empty")
    empty.write(empty.settings_file, flat(small_config()))
    with pytest.raises(ValueError, match="holds no logged row yet"):
        stages_of_run(empty.path)


# --- the figure ---------------------------------------------------------------------------------------------


def joined(sweep_path, table):
    return load_sweep(sweep_path[0]).runs.join(table, on="run_id", how="left", maintain_order="left")


def test_points_are_the_boundaries_side_by_side(sweep_path, table):
    points = list(stage_points(joined(sweep_path, table), "optimizer.weight_decay"))
    assert len(points) == 3 * 4
    assert {(point["x"], point["place"]) for point in points} == {("0.3", 0), ("0.3", 1), ("3", 0)}
    first = [point for point in points if (point["x"], point["place"]) == ("0.3", 0)]
    assert [point["steps"] for point in first] == [table[name][0] for name in ("B0", "B1", "B2", "B3")]
    assert all(point["low"] <= point["steps"] <= point["high"] for point in points)
    assert {point["status"] for point in points} == {"found"}


def test_a_run_that_ended_early_shows_its_end_and_one_that_overlaps_an_open_sign(sweep_path, table):
    line = joined(sweep_path, table)[:1].with_columns(
        pl.lit("not separable").alias("B1_status"), pl.lit("not yet").alias("B3_status"),
        pl.lit(None, dtype=pl.Int64).alias("B3"), pl.lit("cleanup").alias("stage"),
    )  # fmt: skip
    points = list(stage_points(line, "optimizer.weight_decay"))
    assert [point["status"] for point in points] == ["found", "not separable", "found", "not yet"]
    assert (points[-1]["what"], points[-1]["steps"]) == (WORDS["B3"], line["steps"][0])
    assert points[-1]["tip"].endswith("B3: end of cleanup, not yet")


def test_a_run_whose_stages_are_not_told_has_a_grey_mark_at_its_end(sweep_path, table):
    line = joined(sweep_path, table)[:1].with_columns(
        pl.lit("generalised, stages not told").alias("stage"),
        *(pl.lit(None, dtype=pl.Int64).alias(name) for name in ("B1", "B2", "B3")),
        *(pl.lit("not yet").alias(f"{name}_status") for name in ("B1", "B2", "B3")),
    )
    points = list(stage_points(line, "optimizer.weight_decay"))
    assert [(point["status"], point["steps"]) for point in points] == [
        ("found", line["B0"][0]), ("generalised, stages not told", line["steps"][0]),
    ]  # fmt: skip
    said = " ".join(stages_figure("s", line, "optimizer.weight_decay").to_dict()["title"]["subtitle"])
    assert "open grey triangle: the run generalised" in said
    assert "not yet, it ended" not in said


def test_the_threshold_is_the_runs_own():
    rows = [{"step": step, "test_acc": 0.95, "key_gap": 0.4} for step in range(6)]
    told = [
        stages_of_rows("a", rows, [], {"data.p": 113} | settings).bands()[0][0]
        for settings in ({}, {"phases.accuracy": 0.97})
    ]
    assert told == ["generalised, stages not told", "memorization so far"]


def test_absent_and_not_yet_are_told_apart(sweep_path, table):
    """Of boundaries that a run has not come to, the first stands for all; each absent one has a place at the foot."""
    line = joined(sweep_path, table)[:1].with_columns(
        *(pl.lit(None, dtype=pl.Int64).alias(name) for name in ("B0", "B1", "B2", "B3")),
        *(pl.lit("absent").alias(f"{name}_status") for name in ("B0", "B1")),
        *(pl.lit("not yet").alias(f"{name}_status") for name in ("B2", "B3")),
    )
    points = list(stage_points(line, "optimizer.weight_decay"))
    assert [(point["what"], point["status"]) for point in points] == [
        (WORDS["B0"], "absent"), (WORDS["B1"], "absent"), (WORDS["B2"], "not yet"),
    ]  # fmt: skip
    assert [point.get("row") for point in points] == [0, 1, None]
    assert [point["steps"] for point in points] == [None, None, line["steps"][0]]
    said = " ".join(stages_figure("s", line, "optimizer.weight_decay").to_dict()["title"]["subtitle"])
    assert "cross at the foot: absent" in said
    assert "not yet" in said
    assert "open: not separable" not in said, "no mark of this kind is there"
    assert "by seed" not in said, "there is one"


def test_the_figure_says_what_it_shows(sweep_path, table):
    runs = joined(sweep_path, table)
    figure = stages_figure("a<b", runs, "optimizer.weight_decay", "data.split_seed").to_dict(format="vega-lite")
    drawn = vl_convert.vegalite_to_svg(figure)
    for text in (
        "a&lt;b: stages",
        "weight decay (AdamW, decoupled)",
        "seed of the split 0",
        "B1: end of memorization",
    ):
        assert text in drawn, text
    assert "Every column of marks is a run" in " ".join(figure["title"]["subtitle"])
    assert "step" in drawn
    single = stages_figure("one", runs[:3], "optimizer.weight_decay").to_dict(format="vega-lite")
    assert math.isfinite(single["width"])
    vl_convert.vegalite_to_svg(single)


def test_a_sweep_without_any_rows_makes_an_empty_figure(sweep_path, table):
    runs = joined(sweep_path, table)[3:]
    assert list(stage_points(runs, "optimizer.weight_decay")) == []
    vl_convert.vegalite_to_svg(stages_figure("none", runs, "optimizer.weight_decay").to_dict(format="vega-lite"))
