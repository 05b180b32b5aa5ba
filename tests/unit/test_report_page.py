"""The page of a report: everything is text, figures are data; pictures, maps and curves hold what they are given."""

from __future__ import annotations

import base64
import json
import math
import re
import struct
import types
import zlib
from html.parser import HTMLParser
from itertools import pairwise

import altair as alt
import pytest
import torch
import vl_convert

from analysis.report import heat, one, over_time, pixels, stages_of_run, style, words
from analysis.report.blocks import Figure, Listing, Report, Section, Table, Text
from analysis.report.html import page
from analysis.report.over_time import Line
from analysis.stages.result import Boundary, Stage, Stages, Status
from analysis.sweep_page.curves_chart import STAGES

HOSTILE = """a"'&<img src=x onerror=alert(1)> </script><script>alert(2)</script>\x1b]"""


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def hostile_report() -> Report:
    chart = alt.Chart(alt.Data(values=[{"x": HOSTILE}])).mark_point().encode(x="x:N")
    blocks = [
        Text(HOSTILE),
        Text(HOSTILE, quiet=True),
        Listing(f"{HOSTILE}\nsecond line"),
        Table((HOSTILE, "b"), [(HOSTILE, "1")], HOSTILE),
        Figure("figure", chart, HOSTILE, HOSTILE),
    ]
    return Report(HOSTILE, HOSTILE, [(HOSTILE, HOSTILE)], [Section(HOSTILE, blocks)])


def test_whatever_a_name_holds_stays_text():
    report = hostile_report()
    found = page(report, {figure.name: figure.spec() for figure in report.figures}, "/* library */")
    tags = Tags()
    tags.feed(found)
    assert tags.tags.count("script") == 2
    assert "img" not in tags.tags
    # Title, heading, subtitle, a fact's name and value, link, section, two paragraphs, listing, head, cell, captions.
    assert tags.text.count("<img src=x onerror=alert(1)>") == 14
    data = re.search(r"const figures = (.*);\n", found)
    assert data is not None
    assert "<" not in data[1]
    assert json.loads(data[1])["figure"]["data"]["values"] == [{"x": HOSTILE}]


def test_the_page_may_load_nothing():
    found = page(hostile_report(), {}, "")
    assert "default-src 'none'" in found
    assert not re.search(r"(src|href)=\"(?!#)", found)
    assert "http" not in found.replace("http-equiv", "")


def test_sections_can_be_gone_to_and_do_not_share_names_with_figures():
    section = Section("Fourier norms", [Figure("fourier-norms", alt.Chart().mark_point(), "", "")])
    found = page(Report("", "", [], [section]), {}, "")
    ids = re.findall(r'id="([^"]+)"', found)
    assert len(ids) == len(set(ids))
    assert 'href="#part-fourier-norms"' in found


# --- words --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value, said",
    [
        (None, "–"), (0, "0"), (7079, "7,079"), (9.1224e-8, "9.12e-8"), (0.8711, "0.871"), (878.04, "878"),
        (3655.8, "3,656"), (1.0, "1"), (1.2e7, "12,000,000"), (4.8e37, "4.8e37"), (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)  # fmt: skip
def test_numbers_as_prose_has_them(value, said):
    assert words.number(value) == said


@pytest.mark.parametrize(
    "value, said",
    [(1e-8, "1e-8"), (0.001, "0.001"), (1.0, "1"), (5e5, "500000"), (1e8, "1e8"), (2.5e7, "2.5e7"), (None, "null"),
     (True, "true"), (["a", "b"], "a, b"), ([], "none"), (113, "113")],
)  # fmt: skip
def test_settings_as_one_types_them(value, said):
    assert words.setting(value) == said


# --- pictures -----------------------------------------------------------------------------------------------


def decoded(uri: str) -> tuple[torch.Tensor, bytes]:
    """Palette indices of a PNG [height, width], and its palette."""
    content = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    at, parts = 8, {}
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert struct.unpack(">I", content[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + body)
        parts[kind] = body
        at += 12 + length
    width, height = struct.unpack(">II", parts[b"IHDR"][:8])
    rows = torch.frombuffer(bytearray(zlib.decompress(parts[b"IDAT"])), dtype=torch.uint8).view(height, width + 1)
    assert not rows[:, 0].any()
    return rows[:, 1:], parts[b"PLTE"]


def test_an_image_holds_every_cell_with_row_0_at_the_bottom():
    cells = torch.tensor([[0, 1, 2], [127, 128, 255]], dtype=torch.uint8)
    pixels_of, palette = decoded(pixels.image(cells))
    size = pixels.MOST_PIXELS // 3
    assert pixels_of.shape == (2 * size, 3 * size)
    assert torch.equal(pixels_of[size // 2 :: size, size // 2 :: size], cells.flip(0))
    colours = [palette[3 * i : 3 * i + 3].hex() for i in (0, 127, 128, 255)]
    assert ["#" + colour for colour in colours] == [
        pixels.RAMP[0],
        pixels.RAMP[-1],
        pixels.GREYS[0],
        pixels.GREYS[-1],
    ]


def test_levels_run_from_end_to_end_and_stop_there():
    found = pixels.levels(torch.tensor([-5.0, 0.0, 0.5, 1.0, 7.0]), 0.0, 1.0)
    assert found.tolist() == [0, 0, 64, 127, 127]
    assert pixels.levels(torch.tensor([3.0]), 3.0, 3.0).tolist() == [0]


# --- maps over time -----------------------------------------------------------------------------------------


def test_cells_of_a_map_meet_halfway_and_leave_out_step_0_on_a_log_axis():
    table = {0: [1.0], 10: [2.0, 3.0], 1000: [4.0, None]}
    found = heat.cells(table, log=True)
    assert [(cell["at"], cell["k"], cell["value"]) for cell in found] == [(10, 1, 2), (10, 2, 3), (1000, 1, 4)]
    assert [(cell["step"], cell["end"]) for cell in found] == [(10, 100), (10, 100), (100, 1000)]
    linear = heat.cells(table, log=False)
    assert [(cell["at"], cell["step"], cell["end"]) for cell in linear if cell["k"] == 1] == [
        (0, 0, 5), (10, 5, 505), (1000, 505, 1000),
    ]  # fmt: skip


def test_names_of_key_frequencies_do_not_touch():
    assert heat.spread([7, 14, 43], 3) == [7, 14, 43]
    moved = heat.spread([14, 15, 16, 50], 3)
    assert all(b - a >= 3 - 1e-6 for a, b in pairwise(moved))
    assert sum(moved[:3]) / 3 == pytest.approx(15)


def test_a_map_keeps_its_ends_and_not_too_many_cells():
    kept = heat.thinned_steps(list(range(0, 10_000, 10)), 56)
    assert (kept[0], kept[-1]) == (0, 9990)
    assert len(kept) * 56 <= heat.MOST_CELLS
    assert heat.thinned_steps([1, 2, 3], 56) == [1, 2, 3]


# --- curves -------------------------------------------------------------------------------------------------

ROWS = [
    {"step": 0, "loss": 4.0},
    {"step": 1, "loss": 2.0, "share": 0.0},
    {"step": 2, "loss": None, "share": 0.5},
    {"step": 3, "loss": 0.0, "share": True},
]


def test_points_are_the_numbers_that_an_axis_can_show():
    lines = [Line("loss", "red"), Line("share", "blue")]
    shown = [(point["step"], point["name"], point["value"]) for point in over_time.points(ROWS, lines, log=True)]
    assert shown == [(1, "loss", 2.0), (2, "share", 0.5)]
    shown = [(point["step"], point["name"], point["value"]) for point in over_time.points(ROWS, lines, log=False)]
    assert shown == [(1, "loss", 2.0), (3, "loss", 0.0), (1, "share", 0.0), (2, "share", 0.5)]


LOSSES = {1: 2.0, 2: None, 3: 1.0, 5: 0.5, 6: math.nan, 7: None, 8: 0.2, 9: 0.1, 10: None}
GAPPED = [{"step": step, "loss": LOSSES[step]} if step in LOSSES else {"step": step} for step in range(1, 11)]


def test_a_line_breaks_at_rows_without_a_value_and_not_at_rows_without_the_measure():
    found = over_time.points(GAPPED, [Line("loss", "red")], log=True)
    assert [(point["step"], point["stretch"]) for point in found] == [(1, 0), (3, 1), (5, 1), (8, 2), (9, 2)]
    zero = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.0}, {"step": 3, "loss": 1.0}]
    assert [p["stretch"] for p in over_time.points(zero, [Line("loss", "red")], log=True)] == [0, 1]
    assert [p["stretch"] for p in over_time.points(zero, [Line("loss", "red")], log=False)] == [0, 0, 0]


def test_breaks_outlast_the_thinning():
    rows = [{"step": step, "loss": None if 15_003 < step < 15_006 else 1.0} for step in range(1, 20_000)]
    found = over_time.points(rows, [Line("loss", "red")], log=True)
    assert len(found) <= over_time.MOST_ROWS + 2
    assert [p["step"] for p in found if p["stretch"] == 0][-1] <= 15_003
    assert next(p["step"] for p in found if p["stretch"] == 1) >= 15_006


def test_stretches_are_drawn_apart_and_a_lone_row_as_a_dot_of_its_lines_colour():
    lines = [Line("loss", "#123456")]
    data = over_time.points(GAPPED, lines, log=True)
    y = style.value_axis("loss", [point["value"] for point in data], log=True)
    drawn = vl_convert.vegalite_to_svg(style.styled(over_time.curves(data, lines, y, 10)).to_dict())
    paths = re.findall(r'aria-roledescription="line mark"[^>]* d="([^"]*)"', drawn)
    assert [path.count("L") for path in paths] == [0, 1, 1]
    assert drawn.count('fill="#123456"') == 1
    whole = over_time.curves(data[1:3], lines, y, 10).to_dict()
    assert "circle" not in json.dumps(whole), "where no row is alone there is no layer of dots"


def test_many_rows_are_thinned_evenly_in_the_log_with_both_ends():
    rows = [{"step": step} for step in range(50_001)]
    kept = [row["step"] for row in over_time.thinned(rows)]
    assert (kept[0], kept[-1]) == (0, 50_000)
    assert len(kept) <= over_time.MOST_ROWS + 2
    assert sum(step >= 5_000 for step in kept) == pytest.approx(over_time.MOST_ROWS / math.log10(50_000), rel=0.05)


def test_bands_stay_within_the_axis_and_an_empty_one_is_not_drawn():
    x = style.step_axis(1000)
    area, *_ = over_time.stage_bands([("memorization", 0, 100), ("circuit", 100, 100), ("cleanup", 100, 5000)], x)
    values = area.to_dict()["data"]["values"]
    assert [(v["stage"], v["step"], v["end"]) for v in values] == [("memorization", 1, 100), ("cleanup", 100, 1000)]
    assert over_time.stage_bands([], x) == []


@pytest.mark.parametrize(
    "low, high, ticks",
    [
        (1, 40_000, [1, 10, 100, 1000, 10_000]),
        (1, 30, [1, 2, 5, 10, 20]),
        (3e-5, 2.0, [1e-4, 1e-3, 1e-2, 0.1, 1.0]),
        (1e-12, 1.0, [1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1.0]),
    ],
)
def test_ticks_of_log_axes(low, high, ticks):
    assert style.decades(low, high) == pytest.approx(ticks)


def test_a_run_of_few_steps_still_has_an_axis():
    assert style.step_axis(1)["scale"]["domain"] == [1, 2]


# --- which steps, which stages ------------------------------------------------------------------------------


def test_moments_worth_a_picture():
    stored = list(range(0, 10_001, 100))
    assert one.moments(stored, 126, 7079) == [(200, "fitted"), (900, "in between"), (7100, "generalised")]
    assert one.moments(stored, 126, None) == [(200, "fitted")]
    assert one.moments(stored, None, None) == []
    assert one.moments([0, 500], 126, 130) == [(500, "fitted")]


def test_bands_and_table_come_from_the_stages():
    boundary = types.SimpleNamespace(
        status=types.SimpleNamespace(value="found"), step=1400, low=1200.4, high=1700.0, decided_by="excluded_loss"
    )
    missing = types.SimpleNamespace(
        status=types.SimpleNamespace(value="not yet"), step=None, low=None, high=None, decided_by="no rise"
    )
    stages = types.SimpleNamespace(
        boundaries={"B1": boundary, "B2": missing}, confidence=0.93, decided_by="K by the gap",
        bands=lambda: [("memorization", 0, 1400)],
    )  # fmt: skip
    assert stages_of_run.bands(stages) == [("memorization", 0, 1400)]
    section = stages_of_run.section(stages)
    assert section is not None
    table = section.blocks[0]
    assert isinstance(table, Table)
    assert table.rows[0] == ("B1: end of memorization", "found", "1,400", "1,200 to 1,700", "excluded_loss")
    assert table.rows[1][1:4] == ("not yet", "–", "–")
    assert "93%" in table.caption


def test_runs_side_by_side_have_a_strip_of_stages_each_in_the_colour_of_their_curves():
    b1 = Boundary(Status.found, 1400, 1200.4, 1700.0, 1.0, "excluded_loss")
    b2 = Boundary(Status.not_yet, None, None, None, 0.0, "no rise")
    found = {"x: wd=1": Stages({"B1": b1, "B2": b2}, 0.93, 5000, ""), "y: wd=3": Stages({"B1": b2}, 0.0, 900, "")}
    section = stages_of_run.side_by_side(found, {"x: wd=1": "#111111", "z": "#222222", "y: wd=3": "#333333"})
    assert section is not None
    figure, table = section.blocks
    assert isinstance(table, Table)
    assert table.head == ("boundary", "x: wd=1", "y: wd=3")
    assert table.rows[0] == ("B1: end of memorization", "1,400 (1,200 to 1,700)", "not yet")
    assert table.rows[1:] == [
        ("B2: start of cleanup", "not yet", "–"),
        ("found in this order, share of draws", "93%", "0%"),
    ]
    assert isinstance(figure, Figure)
    spec = figure.spec()
    bands, whiskers = ([tuple(mark.values()) for mark in layer["data"]["values"]] for layer in spec["layer"])
    assert bands == [
        ("x: wd=1", "memorization", 1, 1400),
        ("x: wd=1", "circuit formation", 1400, 5000),
        ("y: wd=3", "memorization so far", 1, 900),
    ]
    assert whiskers == [("x: wd=1", 1200.4, 1700.0)]
    frames = spec["layer"][0]["encoding"]["stroke"]["scale"]
    assert dict(zip(frames["domain"], frames["range"], strict=True))["y: wd=3"] == "#333333"


def test_every_stage_has_a_colour_and_one_that_is_not_told_is_neutral():
    assert set(STAGES) == {stage.value for stage in Stage}
    tint = STAGES[Stage.untold.value].removeprefix("#")
    assert tint[:2] == tint[2:4] == tint[4:]
    assert list(STAGES.values()).count(f"#{tint}") == 1


def test_without_rows_there_are_no_stages():
    assert stages_of_run.bands(None) == []
    assert stages_of_run.section(None) is None
    assert stages_of_run.side_by_side({}, {"x": "#111111"}) is None
