"""Stages of a run: the rule on curves whose boundaries were planted."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import planted_curves
import pytest
from planted_curves import P, plant
from stage_calibration import figures, judged

from analysis.stages import Stage, Status, evidence, find_stages, smooth, stage_bands
from grok_sweep.measures.frequencies import LEAST_GAP

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "stages.json").read_text())
FOUR = ["memorization", "circuit formation", "cleanup", "after cleanup"]


def stages_of(rows, final=None, seed=0, **more):
    return find_stages(rows, P, final, generator=np.random.default_rng(seed), **more)


def whole_run(seed=3, **changes):
    """(rows, final columns) of a run through all stages, without noise, at the default cadence; and its times."""
    shape = replace(planted_curves.shape("four stages", np.random.default_rng(seed)), tail=0.0, **changes)
    steps = planted_curves.schedule(int(4 * shape.times["B3"]))
    rows, final = planted_curves.columns(shape, steps, steps, gap=5.0 if shape.keys else 0.4)
    return rows, final, shape.times


def statuses(found):
    return [boundary.status.value for boundary in found.boundaries.values()]


# --- the rule -----------------------------------------------------------------------------------------------


def test_boundaries_lie_in_their_brackets():
    rows, final, times = whole_run()
    found = stages_of(rows, final)
    assert statuses(found) == ["found"] * 4
    for name, boundary in found.boundaries.items():
        at = rows["step"].index(boundary.step)
        below, above = rows["step"][at - 1], rows["step"][at + (name == "B1")]
        assert below < times[name] <= above, name
        assert boundary.low <= times[name] <= boundary.high
        assert boundary.low <= boundary.step <= boundary.high
        assert boundary.share >= 0.9
    assert found.confidence >= 0.95
    assert [band[0] for band in found.bands()] == FOUR


def test_bands_follow_one_another_from_0_to_the_end():
    rows, final, _ = whole_run()
    found = stages_of(rows, final)
    bands = stage_bands(found)
    assert bands[0].start == 0
    assert bands[-1].stop == rows["step"][-1]
    assert all(one.stop == other.start for one, other in pairwise(bands))
    assert [band.boundary for band in bands] == ["B1", "B2", "B3", None]
    assert all(band.low <= band.stop <= band.high for band in bands[:-1])


def test_the_same_generator_gives_the_same_answer():
    run = plant("four stages", np.random.default_rng(1))
    one, again, other = (stages_of(run.rows, run.final, seed) for seed in (0, 0, 1))
    assert one == again
    assert one != other
    assert [b.step for b in one.boundaries.values()] == [b.step for b in other.boundaries.values()]


def test_without_key_frequencies_there_is_only_memorization_so_far():
    rows, final, _ = whole_run(keys=False)
    assert final == {}
    found = stages_of(rows)
    assert statuses(found) == ["found", "not yet", "not yet", "not yet"]
    assert found.confidence == 0
    assert found.bands() == [("memorization so far", 0, rows["step"][-1])]
    assert found.decided_by.startswith("No key frequencies at the end: gap 0.4 decades, at least 1.5 wanted.")


def test_with_a_gap_below_the_limit_good_curves_count_for_nothing():
    rows, final, _ = whole_run()
    found = stages_of(rows | {"key_gap": [1.49] * len(rows["step"])}, final)
    assert statuses(found) == ["found", "not yet", "not yet", "not yet"]
    assert evidence.LEAST_GAP == LEAST_GAP


def test_without_weight_decay_excluded_loss_only_falls_and_memorization_has_not_ended():
    """wd = 0: no circuit, the norm grows, and a gap that is there by chance."""
    rows, _, _ = whole_run(keys=False)
    n = len(rows["step"])
    excluded = [float(10 / (1 + step)) for step in rows["step"]]
    final = {"step": rows["step"], "excluded_loss_final": excluded, "restricted_loss_final": [4.0] * n}
    norm = [1800 + 100 * np.log1p(step) for step in rows["step"]]
    found = stages_of(rows | {"key_gap": [1.8] * n, "sum_sq_weights": norm}, final)
    assert statuses(found) == ["found", "not yet", "not yet", "not yet"]
    assert "has not risen from it" in found.boundaries["B1"].decided_by


def test_a_rise_below_a_factor_three_or_next_to_the_train_loss_ends_nothing():
    for changes in ({"rise": 0.9 * np.log(3)}, {"highest": 0.09}):
        rows, final, _ = whole_run(reach=(1.0, 0.4), **changes)
        assert stages_of(rows, final).boundaries["B1"].status is Status.absent  # B2 is reached without it
    for changes in ({"rise": 1.2 * np.log(3)}, {"highest": 0.15}):
        rows, final, _ = whole_run(reach=(1.0, 0.4), **changes)
        assert stages_of(rows, final).boundaries["B1"].status is Status.found


@pytest.mark.parametrize(
    "end, expected", [(0.5, "memorization so far"), (0.98, "circuit formation"), (1.4, "cleanup")]
)
def test_a_run_that_ended_early_is_told_so_far(end, expected):
    shape = replace(planted_curves.shape("four stages", np.random.default_rng(3)), tail=0.0)
    last = shape.times["B1" if end == 0.5 else "B2"] * end if end < 1 else (shape.times["B2"] + shape.times["B3"]) / 2
    steps = planted_curves.schedule(int(last))
    found = stages_of(*planted_curves.columns(shape, steps, steps, gap=4.0))
    assert found.bands()[-1] == (expected, found.bands()[-1][1], int(last))
    assert found.boundaries["B3"].status is Status.not_yet
    assert found.boundaries["B3"].step is None
    assert found.confidence == 0


def test_a_norm_that_still_falls_has_no_plateau():
    t2, t3 = 3000.0, 9000.0
    shape = replace(planted_curves.shape("four stages", np.random.default_rng(3)), tail=0.0)
    shape = replace(shape, times={"B0": 200.0, "B1": 800.0, "B2": t2, "B3": t3})
    for beyond, expected in ((1.15, Status.not_yet), (2.5, Status.found)):
        steps = planted_curves.schedule(int(t2 + beyond * (t3 - t2)))
        b3 = stages_of(*planted_curves.columns(shape, steps, steps, gap=4.0)).boundaries["B3"]
        assert b3.status is expected
        assert ("has not settled" in b3.decided_by) == (expected is Status.not_yet)


def test_overlapping_stages_are_not_separable():
    times = {"B0": 200.0, "B1": 800.0, "B2": 800.0 * 1.45, "B3": 2000.0}
    rows, final, _ = whole_run(times=times, reach=(1.0, 0.3))
    found = stages_of(rows, final)
    assert statuses(found) == ["found", "not separable", "found", "found"]
    assert found.boundaries["B1"].step is not None
    assert [stage for stage, _, _ in found.bands()] == [
        "memorization and circuit formation",
        "cleanup",
        "after cleanup",
    ]
    # The smallest excluded loss of all lies before B0.
    rows, final, _ = whole_run(times=times | {"B1": 170.0}, reach=(1.0, 0.8))
    found = stages_of(rows, final)
    assert statuses(found) == ["found", "not separable", "found", "found"]
    assert found.boundaries["B1"].step >= found.boundaries["B0"].step
    rows, final, _ = whole_run(times=times | {"B2": 800.0 * 1.7}, reach=(1.0, 0.3))
    assert statuses(stages_of(rows, final)) == ["found"] * 4


def test_a_norm_that_does_not_fall_has_no_end_of_cleanup():
    rows, final, times = whole_run()
    norm = [1000 + 500 * (1 - np.exp(-3 * step / times["B2"])) for step in rows["step"]]
    found = stages_of(rows | {"sum_sq_weights": norm}, final)
    assert statuses(found) == ["found", "found", "found", "absent"]
    assert found.bands()[-1] == (Stage.cleanup.value, found.boundaries["B2"].step, rows["step"][-1])


def test_spikes_move_nothing():
    rows, final, times = whole_run(times={"B0": 200.0, "B1": 800.0, "B2": 3000.0, "B3": 8000.0}, reach=(1.0, 0.8))
    plain = stages_of(rows, final)
    at = {name: int(np.searchsorted(rows["step"], time)) for name, time in times.items()}
    rows["train_acc"] = _spiked(rows["train_acc"], at["B0"] - 6, 1 / rows["train_acc"][at["B0"] - 6])
    final["excluded_loss_final"] = _spiked(final["excluded_loss_final"], at["B1"] + 7, 0.01)
    final["restricted_loss_final"] = _spiked(final["restricted_loss_final"], at["B2"] - 6, 1e-3)
    rows["sum_sq_weights"] = _spiked(rows["sum_sq_weights"], at["B3"] - 8, 0.4)
    assert [b.step for b in stages_of(rows, final).boundaries.values()] == [b.step for b in plain.boundaries.values()]


def _spiked(values, place, factor):
    """Two rows from `place` on lie on a spike."""
    return [value * factor if i - place in (0, 1) else value for i, value in enumerate(values)]


def test_a_deep_valley_between_sparse_rows_is_no_spike():
    """Snapshots every 400 steps: the rows beside the lowest one lie far above it, and it counts all the same."""
    rows, _, times = whole_run(
        times={"B0": 140.0, "B1": 1200.0, "B2": 7000.0, "B3": 12000.0}, reach=(0.5, 0.8), falls=6.0, rise=9.0
    )
    shape = replace(planted_curves.shape("four stages", np.random.default_rng(3)), tail=0.0)
    shape = replace(shape, times=times, reach=(0.5, 0.8), falls=6.0, rise=9.0)
    _, sparse = planted_curves.columns(shape, np.array(rows["step"]), np.arange(0.0, 48_001, 400), gap=5.0)
    found = stages_of(rows, sparse).boundaries
    assert found["B1"].step == 1200
    assert found["B1"].low > 800
    assert found["B2"].step == 7200  # the first after 7,000


def test_a_local_quadratic_gives_quadratics_back_and_stays_near_a_curve_whose_first_row_is_far():
    x = np.log(np.array([0.5, *range(400, 20_001, 400)]))
    smoother = smooth.local_quadratic(x, 0.1, 2)
    assert smoother @ (3 - 2 * x + 0.5 * x**2) == pytest.approx(3 - 2 * x + 0.5 * x**2, abs=1e-6)
    steep = 1.5 - 8 * (np.exp(x) / 7000) ** 2
    assert smoother @ steep == pytest.approx(steep, abs=0.5)


# --- evidence -----------------------------------------------------------------------------------------------


def test_the_final_key_frequencies_decide_where_they_were_measured():
    rows, final, times = whole_run()
    early = [
        value if step < times["B1"] / 2 else 9.0
        for step, value in zip(rows["step"], rows["excluded_loss_max"], strict=True)
    ]
    found = stages_of(rows | {"excluded_loss_max": early}, final)
    assert "excluded_loss_final: lowest" in found.boundaries["B1"].decided_by
    assert found == stages_of(rows, final)


def test_without_them_measures_that_need_none_and_the_reader_is_told():
    rows, final, _ = whole_run()
    found = stages_of(rows)
    assert [b.step for b in found.boundaries.values()] == [b.step for b in stages_of(rows, final).boundaries.values()]
    assert "B1 by excluded_loss_max, which needs no key frequencies" in found.decided_by
    assert "B2 by the key frequencies of each row" in found.decided_by


def test_excluded_loss_of_each_row_leaves_open_when_memorization_ended_before_there_were_keys():
    rows, _, times = whole_run()
    later = 1.5 * times["B1"]
    online = [None if step < later else v for step, v in zip(rows["step"], rows["excluded_loss_max"], strict=True)]
    del rows["excluded_loss_max"]
    b1 = stages_of(rows | {"excluded_loss": online}).boundaries["B1"]
    assert b1.step >= later
    assert b1.low <= times["B1"] <= b1.high


def test_restricted_loss_that_is_there_too_late_has_come_down_since_the_row_before():
    rows, _, times = whole_run()
    online = [
        None if step < 1.3 * times["B2"] else v for step, v in zip(rows["step"], rows["restricted_loss"], strict=True)
    ]
    b2 = stages_of(rows | {"restricted_loss": online}).boundaries["B2"]
    at = rows["step"].index(b2.step)
    assert online[at - 1] is None
    assert rows["step"][at - 1] <= b2.low < b2.step - 1


def test_final_keys_of_an_earlier_end_are_not_used():
    rows, final, _ = whole_run()
    n = len(rows["step"])
    earlier = {name: values[: n - 5] for name, values in final.items()} | {"key_freqs_final": [[1, 2]] * (n - 5)}
    found = stages_of(rows | {"key_freqs": [[1, 3]] * n}, earlier)
    assert "of an earlier end of this run" in found.decided_by
    assert "excluded_loss_max" in found.boundaries["B1"].decided_by
    found = stages_of(rows | {"key_freqs": [[1, 2]] * n}, earlier)
    assert "excluded_loss_final" in found.boundaries["B1"].decided_by


def test_other_choices_of_the_key_frequencies_widen_the_intervals():
    rows, final, _ = whole_run(other_keys=(0.4, 2.5))
    alone = {name: values for name, values in final.items() if "with" not in name}
    narrow, wide = stages_of(rows, alone), stages_of(rows, final)
    assert "K" not in narrow.decided_by
    assert "K without its weakest, K with the next" in wide.decided_by
    one, other = (found.boundaries["B2"] for found in (narrow, wide))
    assert other.high - other.low > 1.2 * (one.high - one.low)
    assert other.step == one.step


def test_dense_rows_are_taken_together():
    rows, _, times = whole_run()
    steps = np.arange(0.0, rows["step"][-1], 2)
    shape = replace(planted_curves.shape("four stages", np.random.default_rng(3)), tail=0.0)
    dense = stages_of(*planted_curves.columns(shape, steps, steps, gap=5.0))
    for name, time in times.items():
        assert dense.boundaries[name].step == pytest.approx(time, rel=0.025), name


def test_a_run_without_rows_is_refused_and_one_with_few_says_what_is_missing():
    with pytest.raises(ValueError, match="at least one logged row"):
        stages_of({"step": []})
    found = stages_of({"step": [0, 1], "train_acc": [0.01, 0.02], "key_gap": [0.1, 0.1]})
    assert statuses(found) == ["not yet"] * 4
    assert found.boundaries["B0"].decided_by == "train_acc: fewer than 5 rows"


# --- runs that generalised without a stage --------------------------------------------------------------------


def generalising(rows, at=None):
    """The rows with a test accuracy that is at 1 from the step `at` on; None: low throughout, but for one row."""
    lone = rows["step"][-3]
    high = [step == lone if at is None else step >= at for step in rows["step"]]
    return rows | {"test_acc": [1.0 if is_high else 0.2 for is_high in high]}


def test_a_run_that_generalised_without_key_frequencies_is_no_memoriser():
    rows, _, times = whole_run(keys=False)
    t_test = next(step for step in rows["step"] if step >= times["B1"])
    found = stages_of(generalising(rows, t_test))
    assert found.bands() == [("generalised, stages not told", 0, rows["step"][-1])]
    assert found.decided_by == (
        f"Generalised, stages not told (t_test {t_test:,.0f}): no key frequencies at the end: gap 0.4 decades, at "
        "least 1.5 wanted."
    )
    assert found.boundaries == stages_of(rows).boundaries, "no boundary hangs on it"


def test_a_run_that_generalised_with_its_restricted_loss_above_the_bar_says_so():
    rows, final, times = whole_run(keys=False)
    n = len(rows["step"])
    excluded = [float(10 / (1 + step)) for step in rows["step"]]
    final = {"step": rows["step"], "excluded_loss_final": excluded, "restricted_loss_final": [0.04] * n}
    found = stages_of(generalising(rows, times["B1"]) | {"key_gap": [1.9] * n}, final)
    assert [stage for stage, _, _ in found.bands()] == ["generalised, stages not told"]
    assert "): restricted_loss_final has come down to 0.04; 0.024 (.005 ln p) is wanted. " in found.decided_by


def test_one_high_row_or_another_threshold_makes_no_generaliser():
    rows, _, times = whole_run(keys=False)
    alone = stages_of(generalising(rows))
    assert [stage for stage, _, _ in alone.bands()] == ["memorization so far"]
    assert alone.decided_by.endswith("Only memorization so far.")
    partly = generalising(rows, times["B1"])
    partly = partly | {"test_acc": [0.95 * value for value in partly["test_acc"]]}
    told = [stages_of(partly, accuracy=accuracy).bands()[0][0] for accuracy in (0.9, 0.97)]
    assert told == ["generalised, stages not told", "memorization so far"]


def test_a_run_with_stages_keeps_them_whatever_its_test_accuracy():
    rows, final, times = whole_run()
    assert [stage for stage, _, _ in stages_of(generalising(rows, times["B2"]), final).bands()] == FOUR


# --- calibration --------------------------------------------------------------------------------------------


def test_intervals_hold_what_was_planted():
    """36 of the 300 runs."""
    found = figures(judged(36))
    low, _ = GOLDEN["planted"]["limits"]["coverage"]
    assert found["false"] == 0
    for name, share in found["coverage"].items():
        # Two standard deviations of a share of .9 among some 27 boundaries, and a bit.
        assert low - 0.13 <= share <= 1.0, name
    assert found["reliability"][0]["whole"] <= 0.15
    assert found["reliability"][-1]["whole"] >= 0.9


@pytest.mark.slow
def test_intervals_and_confidence_of_300_planted_runs():
    found, golden = figures(judged(300)), GOLDEN["planted"]
    low, high = golden["limits"]["coverage"]
    assert found["false"] == golden["false"]
    for name, share in golden["coverage"].items():
        assert found["n"][name] == pytest.approx(golden["n"][name], abs=golden["tolerance"]["n"])
        assert found["coverage"][name] == pytest.approx(share, abs=golden["tolerance"]["coverage"])
        assert found["width"][name] == pytest.approx(golden["width"][name], abs=golden["tolerance"]["width"])
        assert low <= found["coverage"][name] <= high
    for one, other in zip(found["reliability"], golden["reliability"], strict=True):
        assert one == pytest.approx(other, abs=0.1) or one["n"] == pytest.approx(other["n"], abs=5)
