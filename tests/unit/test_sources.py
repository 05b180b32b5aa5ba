"""Several sweeps as one, and two run by run: ids stay unique, bounds stay bounds, what is left out is told."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest

from analysis.load import load_rows, load_sweep
from analysis.sources.paired import paired
from analysis.sources.several import load_sweeps
from analysis.sources.spans import DIFFERENCE, LN_RATIO, Span, difference, sign, span
from grok_sweep.config import flat, from_flat, resolved, run_id_of
from grok_sweep.store import PlannedRun, State, SweepDir, write_json
from grok_sweep.summary import summarise

WD, FRAC, SPLIT, INIT = "optimizer.weight_decay", "data.frac_train", "data.split_seed", "model.init_seed"
FIXED = {"data.p": 59, "model.d_model": 64, "optimizer.lr": 3e-3, "phases.budget": 1000}


def add(folder: Path, axes: dict, t_train=100, t_test=None, last=1000, state="done", **more) -> str:
    """A run as a worker leaves it, with a row every 50 steps; returns its id."""
    own = flat(resolved(from_flat(FIXED | {"n_steps": last, "sweep": folder.name} | more | axes)))
    sweep, run_id = SweepDir(folder), run_id_of(own)
    sweep.add([PlannedRun(run_id, own, axes)])
    if state == "planned":
        return run_id
    rows = [
        {"step": s, "train_acc": float(s >= t_train), "test_acc": float(t_test is not None and s >= t_test)}
        | {"train_loss": 1.0, "test_loss": 8.0 / (1 + s), "excluded_loss_k": [1.0, 2.0], "key_gap": 0.5}
        for s in range(0, last + 1, 50)
    ]
    run = sweep.run(run_id)
    run.path.mkdir()
    run.metrics_file.touch()
    run.open_metrics(rows).close()
    run.write_status(State(state), step=last)
    if state in ("done", "diverged"):
        write_json(run.summary_file, summarise(from_flat(own), rows, last, "n_steps", True))
    return run_id


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """AdamW and SGD over weight decay and two seeds, with every kind of pair.

    wd .1: both known in both seeds; wd 1: seed 0 in one alone, seed 1 in neither; wd 3: in the second sweep alone.
    """
    a, b = tmp_path / "adamw", tmp_path / "sgd"
    for seed, (t_a, t_b) in enumerate([(200, 400), (300, 300)]):
        add(a, {WD: 0.1, SPLIT: seed, INIT: seed}, t_test=t_a)
        add(b, {WD: 0.1, SPLIT: seed, INIT: seed}, t_test=t_b, **{"optimizer.name": "sgd"})
    for seed, t_a in enumerate([500, None]):
        add(a, {WD: 1.0, SPLIT: seed, INIT: seed}, t_test=t_a)
        add(b, {WD: 1.0, SPLIT: seed, INIT: seed}, last=2000, **{"optimizer.name": "sgd"})
    add(b, {WD: 3.0, SPLIT: 0, INIT: 0}, **{"optimizer.name": "sgd"})
    return a, b


def one_cell(found, wd: float, name: str = "t_test") -> dict:
    (cell,) = found.cells.filter((pl.col(WD) == wd) & (pl.col("name") == name)).to_dicts()
    return cell


# --- several as one -----------------------------------------------------------------------------------------


def test_several_sweeps_are_one_whose_runs_lie_under_their_ids(two):
    whole = load_sweeps(two)
    parts = [load_sweep(path) for path in two]
    assert whole.runs.height == sum(part.runs.height for part in parts)
    assert whole.runs["run_id"].n_unique() == whole.runs.height
    assert whole.swept == ("sweep", WD, SPLIT, INIT), "the optimizer follows the sweep"
    assert whole.runs["sweep"].to_list() == ["adamw"] * 4 + ["sgd"] * 5
    assert whole.path == two[0].parent
    assert all((whole.path / run_id / "metrics.jsonl").exists() for run_id in whole.runs["run_id"])
    both = [name for name in parts[0].runs.columns if name not in ("run_id", "sweep")]
    for label, part in zip(("adamw", "sgd"), parts, strict=True):
        rows = whole.runs.filter(pl.col("sweep") == label).select(both)
        assert rows.rows() == part.runs.select(both).rows()


def test_the_same_run_in_two_sweeps_stays_two(tmp_path):
    for name in ("one", "other"):
        add(tmp_path / name, {WD: 0.1}, t_test=300)
    whole = load_sweeps([tmp_path / "one", tmp_path / "other"])
    assert [run_id.partition("/")[0] for run_id in whole.runs["run_id"]] == ["one", "other"]
    assert whole.swept == ("sweep",)


def test_sweeps_of_one_name_are_told_apart_by_their_folders(tmp_path):
    for root in ("here", "there"):
        add(tmp_path / root / "same", {WD: 0.1})
    whole = load_sweeps([tmp_path / root / "same" for root in ("here", "there")])
    assert whole.runs["sweep"].to_list() == ["here/same", "there/same"]
    assert load_rows(whole, ["test_loss"]).height == 2 * 21


def test_rows_of_several_come_in_the_order_asked_for(two):
    whole = load_sweeps(two)
    asked = [whole.runs["run_id"][i] for i in (6, 0, 5)]
    rows = load_rows(whole, ["test_loss", "excluded_loss_k", "no_such"], asked)
    assert rows.columns == ["run_id", "step", "test_loss", "excluded_loss_k", "no_such"]
    assert rows["run_id"].unique(maintain_order=True).to_list() == asked
    assert rows.height == 41 + 21 + 21
    assert rows["no_such"].dtype == pl.Float64
    own = load_rows(load_sweep(two[0]), ["test_loss"], [asked[1].partition("/")[2]])
    assert rows.filter(pl.col("run_id") == asked[1])["test_loss"].to_list() == own["test_loss"].to_list()


def test_a_column_without_values_takes_the_others_type(tmp_path):
    add(tmp_path / "words", {WD: 0.1}, **{"optimizer.batch_size": None})
    add(tmp_path / "numbers", {WD: 0.1}, **{"optimizer.batch_size": 64})
    runs = load_sweeps([tmp_path / "words", tmp_path / "numbers"]).runs
    assert runs["optimizer.batch_size"].to_list() == [None, 64]
    assert runs["t_test"].dtype == pl.Int64


def test_what_is_no_choice_of_sweeps_is_said(two, tmp_path):
    for paths, message in (
        ([], "no sweep was named"),
        ([two[0], two[1], two[0]], "was named twice"),
        ([two[0], two[0] / "inside"], "named beside a folder inside it"),
        ([two[0], tmp_path / "sgg"], "did you mean"),
    ):
        with pytest.raises(ValueError, match=message):
            load_sweeps(paths)
    assert load_sweeps([two[0]]).parts == {}


# --- two, pair by pair --------------------------------------------------------------------------------------


def test_pairs_of_a_cell_are_values_bounds_or_unknown(two):
    found = paired(*map(load_sweep, two))
    known = one_cell(found, 0.1)
    assert (known["n_pairs"], known["n_known"], known["n_larger"], known["n_same"]) == (2, 2, 1, 1)
    assert known["median"] == pytest.approx(math.log(2) / 2)
    assert known["text"] == "×1.41"
    hidden = one_cell(found, 1.0)
    assert [hidden[f"n_{name}"] for name in ("pairs", "known", "at_least", "at_most", "hidden")] == [2, 0, 1, 0, 1]
    assert (hidden["n_larger"], hidden["n_unknown"]) == (1, 1)
    assert (hidden["median"], hidden["text"]) == (None, "unknown")
    (bound,) = found.pairs.filter((pl.col(WD) == 1.0) & (pl.col(INIT) == 0) & (pl.col("name") == "t_test")).to_dicts()
    assert (bound["value"], bound["low"], bound["high"]) == (None, pytest.approx(math.log(2000 / 500)), math.inf)


def test_turned_round_the_signs_turn(two):
    a, b = map(load_sweep, two)
    there, back = paired(a, b), paired(b, a)
    for name in ("t_test", "grok_delay"):
        for wd in (0.1, 1.0):
            one, other = one_cell(there, wd, name), one_cell(back, wd, name)
            assert (one["n_larger"], one["n_smaller"]) == (other["n_smaller"], other["n_larger"])
            assert one["median_low"] == pytest.approx(-other["median_high"])
            assert one["n_at_least"] == other["n_at_most"]


def test_what_is_left_out_and_what_differs_is_told(two):
    a = two[0]
    add(a, {WD: 0.1, SPLIT: 7, INIT: 7})
    add(a, {WD: 1.0, SPLIT: 8, INIT: 8}, state="planned")
    add(two[1], {WD: 1.0, SPLIT: 8, INIT: 8}, t_test=300, **{"optimizer.name": "sgd"})
    found = paired(load_sweep(a), load_sweep(two[1]))
    assert found.settings == (WD,)
    assert ("optimizer.name", "adamw", "sgd") in found.differs
    assert ("n_steps", "1000", "1000, 2000") in found.differs
    lines, (a, b) = found.lines(), found.labels
    assert lines[1] == "4 pairs of runs in 2 cells"
    assert f"left out: 1 cells of {b} that the other sweep has not" in lines
    assert f"left out: 1 runs of {a} in common cells whose seeds the other sweep has not" in lines
    assert "left out: 1 pairs in which a run is planned, failed or diverged" in lines
    assert not [line for line in lines if f"cells of {a} " in line or "seeds with several" in line]
    assert next(line for line in lines if line.startswith("t_test")) == (
        f"t_test: later in {b} in 2 of 4 pairs, in {a} in 0, 1 the same, 1 not known; the difference itself is not "
        "known, or a bound alone, in 2"
    )


def test_a_sweep_against_itself_differs_in_nothing(two):
    sweep = load_sweep(two[0])
    found = paired(sweep, sweep, ("t_train", "t_test", "final.test_loss", "final.key_gap"))
    known = found.pairs.filter(pl.col("value").is_not_null())
    assert set(known["value"]) == {0.0}
    assert set(known["sign"]) == {"same"}
    assert found.differs == ()


def test_measures_are_compared_on_their_scale_and_of_other_lengths_told(two):
    found = paired(*map(load_sweep, two), names=("final.test_loss", "final.key_gap"))
    loss, gap = (one_cell(found, 1.0, name) for name in ("final.test_loss", "final.key_gap"))
    assert (loss["kind"], gap["kind"]) == (LN_RATIO, DIFFERENCE)
    assert loss["median"] == pytest.approx(math.log(1001 / 2001))
    assert (loss["n_other_length"], one_cell(found, 0.1, "final.test_loss")["n_other_length"]) == (2, 0)
    assert [line for line in found.lines() if "2 of runs that stopped at different steps" in line]


def test_nothing_in_common_is_no_error_but_told(two, tmp_path):
    add(tmp_path / "far", {WD: 77.0, SPLIT: 0, INIT: 0})
    add(tmp_path / "far", {WD: 78.0, SPLIT: 0, INIT: 0})
    found = paired(load_sweep(two[0]), load_sweep(tmp_path / "far"))
    assert found.pairs.height == found.cells.height == 0
    assert found.lines()[1:] == [
        "0 pairs of runs in 0 cells",
        *(f"left out: 2 cells of {name} that the other sweep has not" for name in found.labels),
    ]


def test_an_unknown_quantity_is_refused(two):
    sweep = load_sweep(two[0])
    with pytest.raises(ValueError, match=r"under the name final.nothing; choose of t_train"):
        paired(sweep, sweep, ("final.nothing",))


def test_a_difference_that_is_no_ratio_is_that_of_b_from_a():
    assert difference(Span(1.0, 1.0, 1.0), Span(4.0, 4.0, 4.0), DIFFERENCE) == (3.0, 3.0)


def test_a_delay_shorter_than_the_log_is_fine_is_a_bound():
    run = {"state": "done", "steps": 900, "t_train": 300, "t_train_below": 250, "t_test": 300, "t_test_below": 250}
    assert span(run, "grok_delay") == Span(-50, 50, None)
    assert span(run | {"t_test": 500, "t_test_below": 450}, "grok_delay") == Span(150, 250, 200)
    assert span(run | {"t_test": None}, "grok_delay") == Span(600, math.inf, None)
    assert span(run | {"t_train": None}, "grok_delay") is None


@pytest.mark.parametrize(
    "a, b, wanted, its_sign",
    [
        (Span(50, 100, 100), Span(150, 200, 200), (math.log(2), math.log(2)), "larger"),
        (Span(50, 100, 100), Span(80, 120, 120), (math.log(1.2), math.log(1.2)), "unknown"),
        (Span(50, 100, 100), Span(90, math.inf, None), (math.log(0.9), math.inf), "unknown"),
        (Span(200, math.inf, None), Span(50, 100, 100), (-math.inf, math.log(0.5)), "smaller"),
        (Span(200, math.inf, None), Span(300, math.inf, None), (-math.inf, math.inf), "unknown"),
        (Span(-50, 40, None), Span(80, 120, 100), (math.log(100 / 40), math.inf), "larger"),
        (Span(-50, 0, None), Span(80, 120, 100), (-math.inf, math.inf), "larger"),
        (Span(0.0, 0.0, 0.0), Span(0.0, 0.0, 0.0), (-math.inf, math.inf), "same"),
    ],
    ids=["known", "within one bracket", "b later", "a later", "neither", "no delay", "negative delay", "no log"],
)
def test_a_difference_lies_between_its_ends(a, b, wanted, its_sign):
    assert difference(a, b, LN_RATIO) == pytest.approx(wanted)
    assert sign(a, b) == its_sign
