"""Words, looks and legend of a map: what a reader sees must say what is known, and no more."""

import itertools
import math
import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import captions, legends, looks
from analysis.cells import cells
from analysis.labels import number, phase_lines, steps_text, time_lines, time_look
from analysis.looks import BEYOND, BOUND, COLOURED, COLOURED_DARK, LOOKS, NO_VALUE, NOT_REACHED, Size
from analysis.outcomes import OUTCOMES, outcome
from analysis.tooltips import RUNS_IN_TOOLTIP, tooltip
from grok_sweep.config import RunConfig, flat

FULL, SHORT, NONE = looks.size_for(2, 3), looks.size_for(10, 10), looks.size_for(30, 30)


def run(state="done", phase=None, steps=3000, t_train=300, t_test=None, seed=0, error=None, **settings):
    facts = {"state": state, "phase": phase, "outcome": outcome(state, phase), "steps": steps, "error": error}
    times = {"t_train": t_train, "t_test": t_test, "t_novel": t_test}
    below = {f"{name}_below": None if value is None else value - 25 for name, value in times.items()}
    given = flat(RunConfig()) | {"optimizer.lr": 3e-3, "model.init_seed": seed} | settings
    return {"run_id": f"run{seed}", "has_novel": True} | facts | times | below | given


MEMORIZED = run(phase="memorization_so_far")
GROKKED = run(phase="grokking", t_test=900)
RUNNING = run("running", "memorization_so_far", 1200)


def frame(*runs):
    return pl.DataFrame(
        [row | {"run_id": f"run{i}", "measures.names": ""} for i, row in enumerate(runs)], infer_schema_length=None
    ).drop("logger.tags")


def cell(*runs):
    return cells(frame(*runs), "data.frac_train", None).to_dicts()[0]


@pytest.mark.parametrize(
    "runs,phase,time",
    [
        ([GROKKED], ["grokking"], ["900"]),
        ([MEMORIZED], ["memorization", "so far"], ["> 3,000"]),
        ([RUNNING], ["running"], ["running", "> 1,200"]),
        ([run("running", "grokking", 1200, t_test=900)], ["grokking", "(running)"], ["900"]),
        ([run("planned", None, None, None)], ["planned"], ["planned"]),
        ([run("failed", None, 100)], ["failed"], ["failed"]),
        ([GROKKED, GROKKED, MEMORIZED], ["grokking", "2/3"], ["900", "900 to > 3,000", "2/3"]),
        (
            [GROKKED, run(phase="grokking", t_test=500), run(phase="grokking", t_test=2000)],
            ["grokking", "3/3"],
            ["900", "500 to 2,000", "3/3"],
        ),
        ([MEMORIZED] * 3, ["memorization", "so far, 3/3"], ["> 3,000", "0/3"]),
        ([GROKKED, MEMORIZED], ["mixed", "1 grok, 1 mem."], ["> 3,000", "1/2"]),
        ([GROKKED, RUNNING], ["grokking", "1/2", "1 running"], ["> 1,200", "1/2"]),
        ([GROKKED, RUNNING, run("failed")], ["grokking", "1/3", "2 not done"], ["> 1,200", "1/3"]),
    ],
)
def test_words_in_a_wide_cell(runs, phase, time):
    assert phase_lines(cell(*runs), FULL) == phase
    assert time_lines(cell(*runs), FULL) == time


def test_a_mixed_cell_counts_each_run_once():
    live = run("running", "grokking", 1200, t_test=900)
    assert phase_lines(cell(live, MEMORIZED), FULL) == ["mixed", "1 grok, 1 mem."]


def test_words_in_narrow_cells():
    assert phase_lines(cell(GROKKED, GROKKED, MEMORIZED), SHORT) == ["grok", "2/3"]
    assert time_lines(cell(run(phase="memorization_so_far", steps=40_000)), SHORT) == ["> 40,000"]
    assert phase_lines(cell(GROKKED), NONE) == time_lines(cell(GROKKED), NONE) == []


def test_a_run_that_had_no_chance_yet_never_looks_like_one_that_failed_to_generalise():
    seen = [time_look(cell(row)) for row in (MEMORIZED, RUNNING, run("planned", None, None), run("failed"), GROKKED)]
    assert seen == [BEYOND, "running", "planned", "failed", COLOURED]


def test_a_tooltip_names_every_run_with_its_bracket_up_to_a_limit():
    rows = [run(phase="grokking", t_test=900, seed=seed) for seed in range(RUNS_IN_TOOLTIP + 3)]
    lines = tooltip(cell(*rows), rows)["each run"].split("\n")
    assert (
        lines[1]
        == "run1: seed 1, split 0, done, 3,000 steps, t_train 300 (after 275), t_test 900 (after 875), grokking"
    )
    assert lines[-1] == "… and 3 more"
    assert len(lines) == RUNS_IN_TOOLTIP + 1


def test_a_tooltip_says_how_many_times_are_censored():
    found = tooltip(cell(GROKKED, GROKKED, MEMORIZED), [])
    assert found["t_test (steps)"] == "median 900, quartiles 900 to > 3,000, 1 of 3 censored"
    assert found["generalised"] == "67% of 3 done"


def test_steps_are_grouped_in_threes():
    assert [steps_text(n) for n in (525, 3000, 12_500)] == ["525", "3,000", "12,500"]


@pytest.mark.parametrize(
    "value, digits, said",
    [
        (0.2943, 3, "0.294"), (0.00592, 3, "0.00592"), (2.5e-4, 3, "2.5e-4"), (7.0, 3, "7"), (0.0, 3, "0"),
        (523.4, 2, "523"), (52.34, 2, "52"), (1848.2, 3, "1,848"), (999.7, 3, "1,000"), (12_500.0, 4, "12,500"),
        (-2064.3, 4, "-2,064"), (2.06e6, 3, "2.06e6"), (1.37e-7, 4, "1.37e-7"), (math.inf, 3, "inf"),
    ],
)  # fmt: skip
def test_a_number_ends_in_no_zero_and_is_grouped_in_threes(value, digits, said):
    assert number(value, digits) == said


# --- captions -----------------------------------------------------------------------------------------------


def test_the_subtitle_states_what_is_fixed_and_the_rule():
    fixed, rule = captions.subtitle(frame(GROKKED, run("failed", seed=1)), ["optimizer.weight_decay"])
    assert (
        fixed == "p = 113, train fraction = 0.3, lr = 0.003, eps = 1e-8, d_model = 128, 40,000 steps, seeds 0, 1; "
        "2 runs, 1 done, 1 failed"
    )
    assert "accuracy > 0.9. Grokking: t_test - t_train ≥ 1 / lr = 333 steps." in rule
    assert rule.endswith("A run that has not generalised is judged at 100,000 steps.")


def test_runs_that_all_stand_alike_are_told_so():
    assert captions.subtitle(frame(GROKKED, run(seed=1)), [])[0].endswith("; 2 runs, all done")


def test_a_fixed_setting_that_is_not_the_papers_is_stated():
    (fixed, _) = captions.subtitle(frame(run(**{"data.split": "unordered"})), [])
    assert "data.split = unordered" in fixed
    assert "data.split_by" not in fixed


def test_the_rule_of_runs_with_different_learning_rates_stays_a_formula():
    runs = frame(GROKKED, run(**{"optimizer.lr": 1e-3}))
    assert captions.rule_parts(runs)["gap"] == "1 / lr"
    assert "333" not in " ".join(captions.subtitle(runs, []))


def test_weight_decay_says_which_kind_it_is():
    assert captions.axis_title("optimizer.weight_decay", frame(GROKKED)) == "weight decay (AdamW, decoupled)"
    assert captions.axis_title("optimizer.weight_decay", frame(run(**{"optimizer.name": "sgd"}))) == "weight decay"


@pytest.mark.parametrize("several", [True, False])
def test_every_look_has_a_meaning_and_censored_ones_tell_the_steps(several):
    found = legends.legend(list(LOOKS), frame(MEMORIZED), abbreviated=False, several=several)
    assert list(found) == [look for look in LOOKS if look not in (COLOURED, COLOURED_DARK)]
    assert found["memorization_so_far"].startswith("memorization so far (3,000 steps):")
    assert all(meaning.startswith(name.replace("_", " ")) for name, meaning in found.items() if name != BEYOND)


def test_the_legend_spells_abbreviations_out():
    found = legends.legend(["grokking", "failed"], frame(GROKKED), abbreviated=True, several=False)
    assert found["grokking"].startswith("grok = grokking:")
    assert found["failed"].startswith("failed:")


def test_what_no_figure_can_show_is_replaced():
    assert captions.printable("a\x00b\x1b[31m\udcff") == "a\ufffdb\ufffd[31m\ufffd"
    assert captions.printable_lines("one\ntwo\r") == "one\ntwo\ufffd"


# --- looks --------------------------------------------------------------------------------------------------


def test_every_outcome_has_a_look_of_its_own():
    assert set(LOOKS) == {*OUTCOMES, BEYOND, BOUND, NOT_REACHED, NO_VALUE, COLOURED, COLOURED_DARK}
    assert len(set(LOOKS.values())) == len(LOOKS)


def lightness(colour):
    """CIE L* of an sRGB colour, 0 to 100."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 116 * sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True)) ** (1 / 3) - 16


def test_phases_survive_a_grey_print():
    phases = [LOOKS[name] for name in ("comprehension", "grokking", "memorization", "confusion")]
    for one, other in itertools.pairwise(phases):
        assert lightness(one.fill) - lightness(other.fill) > 12


def test_words_stand_out_from_their_cell():
    for name, look in LOOKS.items():
        if not look.fill:  # a number's colour: tests/unit/test_analysis_scales.py
            continue
        assert abs(lightness(look.fill) - lightness(look.ink)) > 35, name


@given(st.floats(4, 300), st.floats(4, 300))
def test_a_hatch_fills_its_cell_and_never_leaves_it(width, height):
    numbers = [float(n) for n in re.findall(r"[-+.\de]+", looks.hatch(width, height))]
    assert numbers
    assert all(abs(x) <= width / 2 * 1.001 for x in numbers[::2])
    assert all(abs(y) <= height / 2 * 1.001 for y in numbers[1::2])


def test_larger_maps_have_smaller_cells():
    sizes = [looks.size_for(n, n) for n in (2, 6, 10, 15, 30, 60)]
    widths = [size.step_x for size in sizes]
    assert widths == sorted(widths, reverse=True)
    assert 100 * sizes[-1].step_x <= 1500, "a hundred cells side by side still fit a screen"
    assert looks.size_for(8, 1).words == "full"
    assert isinstance(sizes[0], Size)
