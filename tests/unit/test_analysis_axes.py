"""Axes: which settings a sweep varies, and what the user is told where two cannot show them."""

import polars as pl
import pytest

from analysis.axes import choose, in_order, spacing, swept, value_text, where

WD, FRAC, P, LR = "optimizer.weight_decay", "data.frac_train", "data.p", "optimizer.lr"
SPLIT, INIT = "data.split_seed", "model.init_seed"


def rows(**values):
    """Every combination of the given values, over fixed other settings."""
    found = [{WD: 1.0, FRAC: 0.3, P: 59, LR: 1e-3, SPLIT: 0, INIT: 0, "model.d_model": 64, "model.n_heads": 4}]
    for name, several in values.items():
        found = [row | {name: value} for row in found for value in several]
    return found


def chosen(found, x=None, y=None, asked=()):
    return choose(pl.DataFrame(found), swept(found, asked), x, y)


def test_axes_stand_in_the_order_of_the_command_line():
    found = rows(**{WD: [0.1, 1.0], FRAC: [0.2, 0.3]})
    assert chosen(found, asked=[WD, FRAC]) == (WD, FRAC, ())
    assert chosen(found, asked=[FRAC, WD]) == (FRAC, WD, ())


def test_an_asked_setting_with_one_value_is_no_axis():
    assert chosen(rows(**{FRAC: [0.2, 0.3]}), asked=[WD, FRAC]) == (FRAC, None, ())


def test_seeds_are_gathered_into_cells_unless_nothing_else_is_varied():
    assert chosen(rows(**{INIT: [0, 1], FRAC: [0.2, 0.3]})) == (FRAC, None, ())
    assert chosen(rows(**{INIT: [0, 1]})) == (INIT, None, ())
    assert chosen(rows(**{INIT: [0, 1], FRAC: [0.2, 0.3]}), y="seed") == (FRAC, INIT, ())


def test_of_several_sweeps_the_sweep_comes_last_and_what_follows_it_is_no_axis():
    found = [
        row | {"sweep": sweep, LR: lr}
        for sweep, lr in (("a", 0.01), ("b", 0.003))
        for row in rows(**{WD: [0.1, 1.0], FRAC: [0.2, 0.3]})
    ]
    assert swept(found, ["sweep", WD, FRAC]) == ("sweep", WD, FRAC)
    assert chosen(found, asked=["sweep", WD, FRAC]) == (WD, FRAC, ("sweep",))
    assert chosen(found, "sweep", asked=["sweep", WD, FRAC]) == ("sweep", WD, (FRAC,))


def test_a_setting_that_differs_unasked_is_swept_too():
    found = [*rows(**{WD: [0.1, 1.0]}), *rows(**{WD: [0.1, 1.0], P: [31]})]
    assert swept(found, [WD]) == (WD, P)


def test_sizes_that_follow_the_width_are_no_setting_of_their_own():
    found = [row | {"model.d_mlp": 4 * row["model.d_model"]} for row in rows(**{"model.d_model": [32, 64]})]
    assert swept(found, ["model.d_model"]) == ("model.d_model",)
    found[0]["model.d_mlp"] = 7
    assert swept(found, ["model.d_model"]) == ("model.d_model", "model.d_mlp")


@pytest.mark.parametrize(
    "x,y,expected", [("frac", None, (FRAC, WD)), (None, "wd", (FRAC, WD)), (FRAC, WD, (FRAC, WD))]
)
def test_the_user_chooses_by_shorthand_or_full_name(x, y, expected):
    assert chosen(rows(**{WD: [0.1, 1.0], FRAC: [0.2, 0.3]}), x, y, [WD, FRAC]) == (*expected, ())


def test_the_only_varied_setting_may_be_asked_for_as_y():
    assert chosen(rows(**{WD: [0.1, 1.0]}), y="wd") == (WD, None, ())


@pytest.mark.parametrize(
    "values,x,y,message",
    [
        ({}, None, None, "nothing to map: no setting has two values in 1 run"),
        ({WD: [0.1, 1.0]}, "wd", "wd", "--x and --y are both"),
        ({WD: [0.1, 1.0]}, "wdd", None, "--x: unknown setting wdd; did you mean wd? varied here: wd"),
        ({WD: [0.1, 1.0], FRAC: [0.3, 0.5]}, "foo", None, "--x: unknown setting foo; varied here: wd, frac"),
    ],
)
def test_what_cannot_be_mapped_is_said(values, x, y, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace("?", r"\?")):
        chosen(rows(**values), x, y, [WD, FRAC])


@pytest.mark.parametrize(
    "x,y,expected", [(None, None, (WD, FRAC, (P,))), ("p", None, (P, WD, (FRAC,))), ("wd", "p", (WD, P, (FRAC,)))]
)
def test_what_is_swept_beside_the_axes_is_left_to_choose(x, y, expected):
    found = rows(**{WD: [0.1, 1.0], FRAC: [0.2, 0.3], P: [31, 59], INIT: [0, 1]})
    assert chosen(found, x, y, asked=[WD, FRAC]) == expected


# --- --where ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", ["p=59", "data.p=59", "data.p=59.0"])
def test_where_narrows_the_runs(condition):
    found = where(pl.DataFrame(rows(**{P: [31, 59], WD: [0.1, 1.0]})), [condition])
    assert found[P].to_list() == [59, 59]


def test_where_seed_means_both_seeds_and_conditions_add_up():
    found = where(pl.DataFrame(rows(**{INIT: [0, 1], SPLIT: [0, 1], LR: [1e-3, 0.3]})), ["seed=1", "lr=1e-3"])
    assert found.select(INIT, SPLIT, LR).rows() == [(1, 1, 1e-3)]


@pytest.mark.parametrize(
    "condition,message",
    [
        ("p", "takes name=value"),
        ("q=3", "unknown setting q; did you mean p|--where: unknown setting q; varied here: p"),
        ("state=done", "unknown setting state"),
        ("p=97", "--where p=97: no run has it; data.p is one of 31, 59"),
    ],
)
def test_a_wrong_condition_is_explained(condition, message):
    runs = pl.DataFrame(rows(**{P: [59, 31]})).with_columns(state=pl.lit("done"))
    with pytest.raises(ValueError, match=message):
        where(runs, [condition])


# --- values -------------------------------------------------------------------------------------------------


def test_values_ascend_by_number_not_by_spelling():
    assert in_order([10.0, 9.0, 1e-5, 9.0]) == [1e-5, 9.0, 10.0]
    assert in_order(["b", None, 2, "a"]) == [2, "a", "b", None]


@pytest.mark.parametrize(
    "value,text", [(0.1 + 0.2, "0.3"), (1.0, "1"), (None, "null"), (True, "true"), ("relu", "relu")]
)
def test_values_read_as_on_the_command_line(value, text):
    assert value_text(value) == text


@pytest.mark.parametrize(
    "values,rule",
    [
        ([0.1, 0.3, 1.0], "log"),
        ([0.0, 0.1, 1.0, 10.0], "log"),
        ([1, 2, 5, 10, 20], "log"),
        ([1, 10, 1000], ""),
        ([0.2, 0.3, 0.5], ""),
        ([0.2, 0.3, 0.4], "linear"),
        ([31, 59], ""),
        (["add", "multiply", "divide"], ""),
        ([1, 2, None], ""),
    ],
)
def test_how_values_follow_one_another(values, rule):
    assert spacing(values) == rule


# --- groups -------------------------------------------------------------------------------------------------

GROUPED = [
    {"data": name, "data.operation": name, FRAC: frac, "model.d_mlp": 512}
    for name in ("add", "multiply")
    for frac in (0.3, 0.5)
]


def test_a_group_is_one_axis():
    assert swept(GROUPED, ["data", FRAC]) == ("data", FRAC)
    assert chosen(GROUPED, asked=["data", FRAC]) == ("data", FRAC, ())
    assert chosen(GROUPED, "data", "frac", ["data", FRAC]) == ("data", FRAC, ())
    assert chosen(GROUPED, "data.operation", "frac", ["data", FRAC]) == ("data.operation", FRAC, ())
    assert where(pl.DataFrame(GROUPED), ["data=add"]).height == 2


def test_a_setting_that_differs_within_a_group_is_an_axis_of_its_own():
    found = [row | {P: p} for row in GROUPED for p in (31, 59)]
    assert swept(found, ["data", FRAC]) == ("data", FRAC, P)
