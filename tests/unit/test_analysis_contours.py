"""A boundary over cells: a point stands between two cells as it stands between their values."""

import itertools
import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.contours import Contour, label, place, rows, shapes, with_bands
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


def test_between_cells_and_beyond_them():
    assert place(math.sqrt(0.1), WD.values, log=True) == pytest.approx(0.5)
    assert place(0.4, FRAC.values) == pytest.approx(1.5)
    assert place(0.1, FRAC.values) == pytest.approx(-1)
    assert place(0.6, FRAC.values) == pytest.approx(2.5)


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
    assert found["line"] == [[0.0, 2.0], [1.0, 1.0], [2.0, 0.5]]
    assert found["tag"] == [[2.5, 0.5]], "beside its end, at the map's edge"
    assert len(found["50"]) == len(found["90"]) == 6, "an outline: there and back"
    assert found["90"][0][0] == found["90"][-1][0]


def test_what_is_not_known_is_left_out():
    found = shapes(contour(f_50=(None, 0.3, 0.25)), WD, FRAC)
    assert found["line"] == [[1.0, 1.0], [2.0, 0.5]]
    nothing = shapes(contour(f_50=(None, None, None)), WD, FRAC)
    assert nothing == {"line": [], "tag": [], "50": [], "90": []}


@pytest.mark.parametrize("is_across, first, side", [(True, (0.0, 2.0), "right"), (False, (2.0, 0.0), "top")])
def test_axes_that_change_places_turn_the_boundary(is_across, first, side):
    found = rows(shapes(contour(), WD, FRAC) | {"label": "N", "beyond": True, "bands": False}, is_across=is_across)
    assert {row["kind"] for row in found} == {"line", "tag"}
    assert (found[0]["i"], found[0]["j"]) == first
    assert {row["side"] for row in found} == {side}
    assert all(row["beyond"] for row in found)


def test_bands_are_those_of_the_longest_budget_that_was_run():
    lines = [contour(1000), contour(3000), contour(9000, beyond=True)]
    assert with_bands(lines) is lines[1]
    assert with_bands(lines[2:]) is lines[2]
    assert with_bands([]) is None
    assert label(contour(12_000)) == "12,000 steps"
