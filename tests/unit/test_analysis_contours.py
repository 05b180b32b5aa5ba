"""A boundary over cells: a point stands between two cells as it stands between their values."""

import itertools
import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.contours import Contour, label, note, place, rows, shapes, with_bands
from analysis.places import Setting

WD = Setting("optimizer.weight_decay", "weight decay", "weight decay", (0.1, 1.0, 10.0), ("0.1", "1", "10"))
FRAC = Setting("data.frac_train", "train fraction", "train fraction", (0.2, 0.3, 0.5), ("0.2", "0.3", "0.5"))


def contour(budget=1000, beyond=False, f_50=(0.5, 0.3, 0.25), **where):
    points = pl.DataFrame({WD.name: [0.1, 1.0, 10.0], "f_50": list(f_50)})
    for band, width in (("50", 0.01), ("90", 0.05)):
        points = points.with_columns(
            (pl.col("f_50") - width).alias(f"low_{band}"), (pl.col("f_50") + width).alias(f"high_{band}")
        )
    return Contour(budget, beyond, points, where=where)


def test_a_value_of_a_cell_stands_in_its_middle():
    assert [place(v, WD.values, log=True) for v in WD.values] == pytest.approx([0, 1, 2])
    assert [place(v, FRAC.values) for v in FRAC.values] == pytest.approx([0, 1, 2])


def test_between_cells_of_equal_spacing_and_beyond_any():
    assert place(math.sqrt(0.1), WD.values, log=True) == pytest.approx(0.5)
    assert place(0.35, (0.2, 0.3, 0.4, 0.5)) == pytest.approx(1.5)
    assert place(0.1, FRAC.values) == pytest.approx(-1)
    assert place(0.6, FRAC.values) == pytest.approx(2.5)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=7))
def test_a_smooth_line_has_no_kink_at_a_cell(gaps):
    values, step = [0.0, *itertools.accumulate(map(float, gaps))], 1e-4
    for value in values[1:-1]:
        before = (place(value, values) - place(value - step, values)) / step
        after = (place(value + step, values) - place(value, values)) / step
        assert after == pytest.approx(before, abs=5e-3)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=7), st.integers(0, 6), st.floats(0, 1))
def test_a_value_between_two_cells_stands_between_them(gaps, which, share):
    values = [0.0, *itertools.accumulate(map(float, gaps))]
    i = which % len(gaps)
    assert i <= place(values[i] + share * gaps[i], values) <= i + 1


def test_a_zero_before_a_log_axis_keeps_its_cell_and_takes_no_part():
    assert place(0.1, (0.0, 0.1, 1.0), log=True) == pytest.approx(1)
    assert place(1.0, (0.0, 0.1, 1.0), log=True) == pytest.approx(2)


@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=8, unique=True).map(sorted), st.floats(1e-3, 1e3))
def test_places_ascend(values, value):
    if max(b / a for a, b in itertools.pairwise(values)) < 1 + 1e-6:
        return
    assert place(value, values, log=True) <= place(value * 1.1, values, log=True)


def test_the_line_its_bands_and_its_name():
    found = shapes(contour(), WD, FRAC)
    assert found["line"] == [[0.0, 2.0], [1.0, 1.0], [2.0, pytest.approx(0.54, abs=0.05)]]
    end = found["line"][-1]
    assert found["tag"] == [[2.5, end[1]], end], "beside its end, at the map's edge, and a pointer from there"
    assert len(found["50"]) == len(found["90"]) == 6, "an outline: there and back"
    assert found["90"][0][0] == found["90"][-1][0]


def test_what_is_not_known_is_left_out():
    found = shapes(contour(f_50=(None, 0.3, 0.25)), WD, FRAC)
    assert [along for along, _ in found["line"]] == [1.0, 2.0]
    nothing = shapes(contour(f_50=(None, None, None)), WD, FRAC)
    assert nothing == {"line": [], "tag": [], "50": [], "90": []}


@pytest.mark.parametrize("is_across, first, side", [(True, (0.0, 2.0), "right"), (False, (2.0, 0.0), "top")])
def test_axes_that_change_places_turn_the_boundary(is_across, first, side):
    found = rows(shapes(contour(), WD, FRAC) | {"label": "N", "beyond": True, "bands": False}, is_across=is_across)
    assert {row["kind"] for row in found} == {"line", "tag"}
    assert (found[0]["i"], found[0]["j"]) == first
    assert {row["side"] for row in found} == {side}
    assert all(row["beyond"] for row in found)


def test_a_note_names_the_line_whose_bands_are_shown_where_there_are_lines():
    drawn = rows(
        shapes(contour(3000), WD, FRAC) | {"label": "3,000 steps", "beyond": False, "bands": True}, is_across=True
    )
    assert note(drawn)[0].endswith("bands of the line at 3,000 steps.")
    assert "Shaded" not in note([row for row in drawn if row["kind"] == "line"])[0]
    assert note([]) == []


def test_bands_are_those_of_the_longest_budget_that_was_run():
    lines = [contour(1000), contour(3000), contour(9000, beyond=True)]
    assert with_bands(lines) is lines[1]
    assert with_bands(lines[2:]) is lines[2]
    assert with_bands([]) is None
    assert label(contour(12_000)) == "12,000 steps"
