"""Curves for a page: as fine in the step as in its logarithm, short as text, and breaking where undefined."""

import math
import re

import polars as pl
import vl_convert
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.curves import CURVES, HINDSIGHT, LOGGED, MOST_POINTS, budget, csv, drawn, joined, shown, thinned
from analysis.sweep_page.curves_chart import curve_spec

STEPS = st.lists(st.integers(0, 10**6), min_size=1, max_size=300, unique=True).map(sorted)


def rows(steps, **columns):
    return pl.DataFrame({"run_id": ["a"] * len(steps), "step": list(steps)} | columns)


@settings(deadline=None)  # polars warms up
@given(STEPS, st.integers(2, 200))
def test_thinned_rows_are_few_keep_the_last_and_leave_no_gap_that_was_not_there(steps, n_points):
    kept = thinned(rows(steps), n_points)["step"].to_list()
    assert len(kept) <= n_points
    assert kept[-1] == steps[-1]
    assert set(kept) <= set(steps)
    last = max(steps[-1], 1)

    def way(step):
        return (math.log1p(step) / math.log1p(last) + step / last) / 2

    for step in steps:
        assert min(abs(way(step) - way(k)) for k in kept) <= 1 / (n_points - 1) + 1e-9


def test_rows_of_hindsight_stand_beside_the_logged_ones_or_between_them_and_break_no_curve():
    logged = pl.concat([rows([0, 10, 20]).with_columns(run_id=pl.lit(name)) for name in ("b", "a")])
    logged = logged.with_columns(pl.lit(0.5).alias(name) for name in LOGGED)
    final = rows([10, 15]).with_columns(pl.lit(0.25).alias(name) for name in HINDSIGHT)
    both = joined(logged, final)
    assert both.select("run_id", "step").rows() == [("b", s) for s in (0, 10, 20)] + [
        ("a", s) for s in (0, 10, 15, 20)
    ]
    lines = csv(both, ["restricted_loss", "restricted_loss_final"])
    assert lines["a"].split("\n") == ["0,.5,", "10,.5,.25", "15,,.25", "20,.5,"]
    assert lines["b"].split("\n") == ["0,.5,", "10,.5,", "20,.5,"]


def test_runs_are_thinned_apart():
    both = pl.concat([rows(range(1000)), rows(range(10)).with_columns(run_id=pl.lit("b"))])
    found = thinned(both, 20)
    assert found.filter(pl.col("run_id") == "b")["step"].to_list()[-1] == 9
    assert found.filter(pl.col("run_id") == "a").height <= 20


def test_numbers_are_short_and_what_is_undefined_is_told_from_what_was_not_taken():
    table = rows(
        [0, 10, 20],
        test_loss=[0.0123456, 12.0, 1.2346e-9],
        gini_W_E=[0.5, None, 1.0],
        excluded_loss=[None, None, 7.25],
    )
    text = csv(table, ["test_loss", "gini_W_E", "excluded_loss"])["a"]
    assert text.split("\n") == ["0,.01235,.5,x", "10,12,,", "20,1.235e-9,1,7.25"]


@settings(deadline=None)
@given(st.lists(st.floats(1e-12, 1e9), min_size=1, max_size=30))
def test_a_number_survives_its_short_form_to_four_digits(values):
    text = csv(rows(range(len(values)), test_loss=values), ["test_loss"])["a"]
    read = [float(line.split(",")[1]) for line in text.split("\n")]
    assert all(math.isclose(a, b, rel_tol=5.1e-4) for a, b in zip(read, values, strict=True))


@given(st.integers(1, 20_000))
def test_a_page_holds_so_many_points_at_most(n_runs):
    n_points, n_drawn = budget(n_runs)
    assert n_points * n_drawn <= MOST_POINTS
    assert 50 <= n_points <= 200
    assert n_drawn == min(n_runs, 2000)


def test_where_not_every_run_is_drawn_every_cell_has_one_before_any_has_two():
    cells = [["a1", "a2", "a3"], ["b1"], ["c1", "c2", "c3"]]
    assert drawn(cells, 100) == ["a1", "b1", "c1", "a2", "c2", "a3", "c3"]
    assert drawn(cells, 5) == ["a1", "b1", "c1", "a2", "c2"]
    assert drawn(cells, 1) == ["a1", "b1", "c1"], "one of each, whatever that makes"
    assert drawn([], 5) == []


def test_panels_without_a_curve_are_left_out():
    table = rows([0, 1], **{name: [None, None] for name in CURVES} | {"test_loss": [1.0, 0.5]})
    assert shown(table) == {"Loss (nats)": ("log", ("test_loss",))}


# --- as drawn -------------------------------------------------------------------------------------------------


def svg(table, names):
    """The panels of these curves, as the page's script fills them in, without stages."""
    spec = curve_spec(shown(table), None, [])
    spec["vconcat"] = spec["vconcat"][1:]
    for panel in spec["vconcat"][0]["concat"]:
        panel["layer"].pop(0)
    lines = [f"{run_id},{line}" for run_id, text in csv(table, names).items() for line in text.split("\n")]
    spec["data"]["values"] = "\n".join([",".join(["run", "step", *names]), *lines])
    return vl_convert.vegalite_to_svg(spec)


def test_a_curve_of_the_page_breaks_where_undefined_and_a_lone_row_is_a_dot_in_its_colour():
    names = ["restricted_loss", "excluded_loss", "gini_W_E"]
    table = rows(
        [1, 2, 3, 4, 5, 6, 7],
        **{name: [None] * 7 for name in CURVES if name not in names},
        restricted_loss=[None, 4.5, None, 2.0, None, 1.0, 0.5],
        excluded_loss=[1.0, 1.5, 2.0, None, None, 3.0, 4.0],
        gini_W_E=[None, 0.5, None, 0.4, None, 0.4, 0.4],
    )
    found = svg(table, names)
    circles = re.findall(r'aria-roledescription="circle"[^>]*? d="M([\d.]+)[^>]*fill="(#\w+)"', found)
    dots = [colour for radius, colour in circles if float(radius) > 0]
    assert dots == ["#009E73", "#0072B2"], "step 2 alone: step 4 goes on to 6 over a row of losses"
    paths = dict(re.findall(r'aria-roledescription="line mark"[^>]*? d="([^"]*)"[^>]*stroke="(#\w+)"', found))
    moves = {colour: len(re.findall("M", path)) for path, colour in paths.items()}
    assert moves == {"#009E73": 2, "#C98500": 2, "#0072B2": 2}
