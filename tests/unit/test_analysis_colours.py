"""Colours of a map: each says what it shows, of which runs, and never shows a number that is not there."""

import polars as pl
import pytest

from analysis import looks, measured
from analysis.cells import cells
from analysis.colours import DEFAULT, chosen, colours, painted
from analysis.looks import COLOURED, NO_VALUE, NOT_REACHED
from analysis.outcomes import outcome

FULL, NONE = looks.size_for(3, 3), looks.size_for(30, 30)


def run(frac, state="done", phase="grokking", steps=3000, t_test=900, loss=0.5, **more):
    settled = {"phase": phase, "phase_scale_free": phase, "outcome": outcome(state, phase)}
    times = {"t_train": 300, "t_test": t_test, "t_novel": t_test, "has_novel": True}
    measures = {"final.test_loss": loss, "min.test_loss": loss, "max.test_loss": 9.0, "final.test_acc": 0.99}
    measures |= {"at.test_loss": loss, "final.own": 3.0, "final.sum_sq.W_E": 7.0}
    given = {"run_id": f"{frac}{state}{loss}", "frac": frac, "state": state, "steps": steps, "phases.accuracy": 0.9}
    return given | settled | times | measures | more


def made(*rows, step=1000):
    runs = pl.DataFrame(list(rows), infer_schema_length=None)
    table = cells(runs, "frac", None)
    table = table.join(measured.quartiles(runs, ["frac"], step), on="frac", how="left")
    return colours(runs, table, step), table.to_dicts()


def looks_of(key, *rows, step=1000):
    known, table = made(*rows, step=step)
    return [paint["look"] for paint in painted(known[key], table, FULL)]


# --- titles -------------------------------------------------------------------------------------------------


def test_values_of_runs_that_ended_at_different_steps_say_so():
    same, _ = made(run(0.3), run(0.5))
    other, _ = made(run(0.3), run(0.5, steps=400))
    for key in ("final.test_loss", "min.test_loss", "max.test_loss", "share_generalised"):
        said = "runs ended at different steps: 400 to 3,000"
        assert said not in same[key].notes
        assert said in other[key].notes or (key == "share_generalised" and len(other[key].notes) == 1)
    assert other["at.test_loss"].title == "test_loss at step 1,000 (nats)"
    assert "the last row at or before step 1,000" in other["at.test_loss"].notes


def test_a_measure_has_its_meaning_its_unit_and_its_scale():
    known, _ = made(run(0.3, loss=1e-6), run(0.5, loss=2.0))
    loss = known["final.test_loss"]
    assert (loss.unit, loss.how, loss.label) == ("nats", "at the end", "test_loss")
    assert loss.notes[0] == "mean cross-entropy on test pairs"
    assert (loss.scale.kind, known["final.test_acc"].scale.kind) == ("log", "linear")
    assert (known["final.test_acc"].scale.low, known["final.test_acc"].scale.high) == (0, 1)
    assert known["final.own"].heading == "Measures"
    assert known["final.sum_sq.W_E"].heading == "Sums of squares by parameter"


def test_a_scale_is_log_only_where_the_values_allow_it():
    known, _ = made(run(0.3, loss=0.0), run(0.5, loss=2.0))
    assert known["final.test_loss"].scale.kind == "linear"
    known, _ = made(run(0.3, loss=1.0), run(0.5, loss=1.5))
    assert known["final.test_loss"].scale.kind == "linear"


# --- cells --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["final.test_loss", "min.test_loss", "share_generalised"])
@pytest.mark.parametrize("state", ["running", "interrupted", "planned", "diverged", "failed"])
def test_what_is_not_done_shows_its_state_in_place_of_an_end(key, state):
    last = {"steps": None, "phase": None, "t_test": None} if state == "planned" else {}
    assert looks_of(key, run(0.3, state, **last), run(0.5)) == [state, COLOURED]


def test_a_live_run_that_generalised_has_a_time_and_no_end():
    known, table = made(run(0.3, "running"), run(0.5))
    assert painted(known["t_test"], table, FULL)[0]["value"] == 900
    assert painted(known["final.test_loss"], table, FULL)[0] == {
        "look": "running",
        "value": None,
        "lines": ["running"],
    }


def test_at_a_step_only_what_came_there_has_a_value():
    rows = [run(0.3), run(0.4, steps=400, **{"at.test_loss": None}), run(0.5, **{"at.test_loss": None})]
    rows += [run(0.6, "running"), run(0.7, "failed"), run(0.8, "diverged", None)]
    assert looks_of("at.test_loss", *rows) == [COLOURED, NOT_REACHED, NO_VALUE, COLOURED, "failed", "diverged"]


def test_a_measure_without_a_value_is_no_number():
    assert looks_of("final.test_loss", run(0.3, loss=None), run(0.5)) == [NO_VALUE, COLOURED]


def test_some_seeds_without_a_value_are_counted():
    known, table = made(run(0.3, loss=0.5), run(0.3, loss=None), run(0.3, loss=1.5))
    assert painted(known["final.test_loss"], table, FULL)[0]["lines"] == ["1", "0.75 to 1.25", "2/3"]
    assert painted(known["final.test_loss"], table, NONE)[0]["lines"] == []


def test_novel_pairs_that_do_not_exist_are_no_number():
    assert looks_of("t_novel", run(0.3, has_novel=False), run(0.5)) == [NO_VALUE, COLOURED]


# --- the command line ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word, key",
    [("phase", "phase"), ("grok_delay", "grok_delay"), ("test_loss", "final.test_loss")],
)
def test_a_colour_is_named_shortly(word, key):
    known, _ = made(run(0.3))
    assert chosen(word, known) == key
    assert set(DEFAULT) <= set(known)


@pytest.mark.parametrize(
    "word, near",
    [
        ("t_tset", "t_test"),
        ("tset_loss", "test_loss"),
        ("final.test_los", "test_loss"),
        ("delay", "grok_delay"),
        ("share", "share_generalised"),
    ],
)
def test_a_colour_that_there_is_not_is_refused_with_what_was_meant(word, near):
    known, _ = made(run(0.3))
    with pytest.raises(ValueError, match=f"--colour: nothing to colour by is called {word}; did you mean .*{near}"):
        chosen(word, known)


def test_runs_without_the_phase_that_is_free_of_scale_have_no_such_colour():
    known, _ = made(run(0.3) | {"phase_scale_free": None})
    assert "phase_scale_free" not in known
