"""The page of a sweep in a real browser: what a click and each choice show, and that nothing escapes it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest
from analysis_sweeps import FRAC, HOSTILE, INIT, SPLIT, WD, add, every_state
from playwright.sync_api import Page, expect

from analysis.contours import Contour
from analysis.findings import Findings
from analysis.sweep import draw, map_sweep
from analysis.sweep_map import Extras
from grok_sweep.store import PlannedRun, SweepDir

SVG = "{http://www.w3.org/2000/svg}text"
DECAY = "weight decay (AdamW, decoupled)"
LENGTHS, AT_2000 = "runs ended at different steps: 2,000 to 3,000", "the last row at or before step 2,000"
LATER = "> N: at least half of the runs had not generalised by N steps after fitting (≥ N: before it)"


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in every state."""
    sweep = every_state(SweepDir(tmp_path_factory.mktemp("states") / "states"))
    return draw(map_sweep(sweep.path), tmp_path_factory.mktemp("states_out"))[0]


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """wd by frac by p, two seeds, with a boundary, stages and sections of other parts."""
    sweep = SweepDir(tmp_path_factory.mktemp("grid") / "grid")
    stages = {}
    for p in (31, 59):
        for wd in (0.1, 1.0, 10.0):
            for frac in (0.3, 0.5):
                for seed in (0, 1):
                    axes = {"data.p": p, WD: wd, FRAC: frac, SPLIT: seed, INIT: seed}
                    t_test = None if wd == 0.1 and frac == 0.3 else 300 + round(600 / wd) + 25 * seed
                    last = 2000 if (wd, frac) == (10.0, 0.5) else 3000
                    run_id = add(sweep, axes, t_test=t_test, last=last)
                    if (p, wd, frac, seed) == (31, 10.0, 0.5, 0):
                        _measure(sweep, run_id)
                    stages[run_id] = [("memorization", 0, 300), ("cleanup", 300, 900)]
    points = pl.DataFrame({"optimizer.weight_decay": [0.1, 1.0, 10.0], "f_50": [0.45, 0.4, 0.35]}).with_columns(
        **{f"{end}_{band}": pl.col("f_50") + sign * width for end, sign in (("low", -1), ("high", 1))
           for band, width in (("50", 0.02), ("90", 0.05))}
    )  # fmt: skip
    lines = [Contour(budget, budget > 3000, points) for budget in (1000, 3000, 9000)]
    chart = {"mark": "point", "data": {"values": [{"a": 1}]}, "encoding": {"x": {"field": "a"}}}
    sections = [("Alarms <of> these runs", chart), ("Table of f_50", "<table><tr><td>0.41</td></tr></table>")]
    found = map_sweep(sweep.path, "wd", "frac")
    return draw(found, tmp_path_factory.mktemp("grid_out"), findings=Findings(Extras(lines, stages, sections)))[0]


def _measure(sweep: SweepDir, run_id: str) -> None:
    """What `python -m grok_sweep measure` leaves, at two logged steps and at one between them."""
    final = [{"step": step, "restricted_loss_final": 0.1, "excluded_loss_final": 2.0} for step in (300, 310, 500)]
    sweep.run(run_id).final_keys_file.write_text("".join(json.dumps(row) + "\n" for row in final))


def texts(page: Page, place: str) -> list[str]:
    """Every line of every text of the figures there."""
    lines = (
        "nodes => nodes.flatMap(n => n.children.length ? [...n.children].map(c => c.textContent) : [n.textContent])"
    )
    return page.eval_on_selector_all(f"{place} svg text", lines)


def title(page: Page, side: str = "left") -> str:
    return page.locator(f"#{side}-map svg .role-title-text text").first.text_content() or ""


def drawn(page: Page, act) -> None:
    """Do something and wait until the page has answered."""
    before = page.evaluate("document.body.dataset.drawn")
    act()
    page.wait_for_function("before => document.body.dataset.drawn !== before", arg=before)


def choose(page: Page, form: str, label: str, value: str) -> None:
    drawn(page, lambda: page.locator(f'#{form} select[name="{label}"]').select_option(label=value))


def cell(page: Page, spoken: str, side: str = "left"):
    return page.locator(f'#{side}-map svg path[aria-label^="{spoken}"]').first


def select(page: Page, spoken: str, side: str = "left") -> None:
    drawn(page, lambda: cell(page, spoken, side).click(force=True))  # on its words


# --- cells and their runs -----------------------------------------------------------------------------------


def test_a_click_shows_the_runs_of_that_cell_and_their_curves(open_page, grid):
    page = open_page(grid)
    expect(page.locator("#cell")).to_be_hidden()
    select(page, f"{DECAY} 10, train fraction 0.5")
    assert page.locator("#cell-title").inner_text() == f"{DECAY} 10, train fraction 0.5, modulus p 31: 2 runs"
    rows = page.locator("#runs tr").all_inner_texts()
    assert [row.split("\t")[0].strip() for row in rows[1:]] == ["seed 0", "seed 1"]
    assert "360 (after 350)" not in rows[1], "steps are logged every 25"
    assert "375 (after 350)" in rows[1]
    assert {"Loss (nats)", "Accuracy", "train_loss", "test_acc", "Stages", "seed 0", "seed 1"} <= set(
        texts(page, "#curves")
    )
    command = page.locator("#command").inner_text()
    assert command.startswith(".venv/bin/python launch.py ")
    assert {"wd=10.0", "frac=0.5", "p=31", "seed=0"} <= set(command.split())
    select(page, f"{DECAY} 0.1, train fraction 0.3", "right")
    assert "> 3,000" in page.locator("#runs tr").nth(1).inner_text()


def test_each_run_has_a_line_of_its_own_rows(open_page, grid):
    page = open_page(grid)
    select(page, f"{DECAY} 10, train fraction 0.5")
    lines = page.locator('#curves svg g.mark-line path[aria-label*="curve: test_acc"]')
    assert lines.count() == 2
    firsts = {line.get_attribute("aria-label").partition(";")[0] for line in lines.all()}
    assert firsts == {"step: 25"}, "step 0 has no place on a logarithmic axis"
    choose(page, "steps", "steps", "linear")
    firsts = {line.get_attribute("aria-label").partition(";")[0] for line in lines.all()}
    assert firsts == {"step: 0"}


def test_a_run_can_be_picked_out_and_its_stages_then_stand_behind_its_curves(open_page, grid):
    page = open_page(grid)
    select(page, f"{DECAY} 1, train fraction 0.5")
    bands = page.locator("#curves svg g.mark-rect path")
    assert bands.count() == 2 * 2, "the strip alone: two stages of two runs"
    drawn(page, page.get_by_role("button", name="seed 1").click)
    assert bands.count() > 2 * 2
    assert page.get_by_role("button", name="seed 1").get_attribute("aria-pressed") == "true"
    assert "seed=1" in page.locator("#command").inner_text()


def test_arrow_keys_go_from_cell_to_cell(open_page, grid):
    page = open_page(grid)
    page.locator("#left-map").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#curves svg")
    assert page.locator("#cell-title").inner_text().startswith(f"{DECAY} 0.1, train fraction 0.3")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#cell-title")).to_contain_text(f"{DECAY} 1, train fraction 0.5")


def in_view(page: Page, place: str) -> bool:
    top = page.locator(place).evaluate("e => e.getBoundingClientRect().top / innerHeight")
    return 0 <= top < 1 / 3


def test_a_click_goes_to_the_runs_and_a_button_back_to_the_map(open_page, grid):
    page = open_page(grid)
    assert not page.evaluate("scrollY")
    select(page, f"{DECAY} 1, train fraction 0.5")
    page.wait_for_function("scrollY > 0")
    assert in_view(page, "#cell")
    page.get_by_role("button", name="back to the map").click()
    assert in_view(page, "#overview")


def test_arrow_keys_stay_at_the_map_and_enter_goes_to_the_runs(open_page, grid):
    page = open_page(grid)
    page.locator("#left-map").focus()
    drawn(page, lambda: page.keyboard.press("ArrowRight"))
    assert not page.evaluate("scrollY")
    page.keyboard.press("Enter")
    assert in_view(page, "#cell")


@pytest.mark.parametrize("wanted, behaviour", [("reduce", "auto"), ("no-preference", "smooth")])
def test_motion_is_as_the_reader_wants_it(open_page, grid, wanted, behaviour):
    page = open_page(grid)
    page.emulate_media(reduced_motion=wanted)
    page.evaluate("() => { Element.prototype.scrollIntoView = how => { window.scrolled = how?.behavior; }; }")
    select(page, f"{DECAY} 1, train fraction 0.5")
    assert page.wait_for_function("window.scrolled").json_value() == behaviour


def test_a_click_on_a_cell_without_runs_says_so_and_closes_the_panel(open_page, states):
    page = open_page(states)
    hint = page.locator("#hint")
    assert "Click a cell" in hint.inner_text()
    select(page, f"{DECAY} 1, train fraction 0.2")
    expect(page.locator("#cell")).to_be_visible()
    select(page, f"{DECAY} 9, train fraction 0.2")
    expect(hint).to_have_text(f"No runs here: {DECAY} 9, train fraction 0.2.")
    expect(page.locator("#cell")).to_be_hidden()


def test_a_run_can_be_picked_out_by_keys_and_given_back(open_page, grid):
    page = open_page(grid)
    select(page, f"{DECAY} 1, train fraction 0.5")
    button = page.get_by_role("button", name="seed 1")
    button.focus()
    for key, state in (("Enter", "true"), ("Space", "false")):
        drawn(page, lambda key=key: page.keyboard.press(key))
        assert button.get_attribute("aria-pressed") == state
    looks = [button.evaluate("e => getComputedStyle(e).backgroundColor")]
    drawn(page, button.click)
    page.mouse.move(0, 0)
    assert button.evaluate("e => getComputedStyle(e).backgroundColor") not in looks


def test_curves_known_only_in_hindsight_are_dashed_and_named_so(open_page, grid):
    page = open_page(grid)
    select(page, f"{DECAY} 10, train fraction 0.5")
    assert {"restricted_loss_final", "excluded_loss_final"} <= set(texts(page, "#curves"))
    assert "known only in hindsight" in page.locator("#curves-note").inner_text()
    lines = page.locator('#curves svg g.mark-line path[aria-label*="curve: excluded_loss_final"]')
    assert lines.count() == 1, "of the one run that was measured again"
    assert lines.first.get_attribute("stroke-dasharray") == "6,4"
    assert (lines.first.get_attribute("d") or "").count("L") == 2, "three steps, one of them not logged"
    solid = page.locator('#curves svg g.mark-line path[aria-label*="curve: test_loss"]').first
    assert solid.get_attribute("stroke-dasharray") in (None, "1,0")


@pytest.mark.parametrize("width, abreast", [(1050, True), (1280, True), (700, False)])
def test_two_maps_stand_abreast_where_there_is_room(open_page, grid, width, abreast):
    page = open_page(grid)
    page.set_viewport_size({"width": width, "height": 900})
    tops = [page.locator(f"#{side}").bounding_box()["y"] for side in ("left", "right")]
    assert (tops[0] == tops[1]) == abreast
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [1000, 1280])
def test_the_table_of_runs_is_not_cut_off(open_page, grid, width):
    page = open_page(grid)
    page.set_viewport_size({"width": width, "height": 900})
    select(page, f"{DECAY} 1, train fraction 0.5")
    fits = "e => e.scrollWidth <= e.clientWidth || getComputedStyle(e).overflowX === 'auto'"
    assert page.locator("#run").evaluate(fits)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_an_axis_of_losses_bears_enough_numbers(open_page, grid):
    page = open_page(grid)
    select(page, f"{DECAY} 1, train fraction 0.5")
    panel = "#curves svg g.concat_0_concat_0_group, #curves svg g[class*='concat_1_concat_0_group']"
    labels = page.locator(panel).first.locator("g.role-axis-label text").all_text_contents()
    assert {"0.5", "0.7", "1", "1.5"} <= set(labels)


# --- choosers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "colour, taken, said, words",
    [
        ("phase", None, "Phase", {"comprehension", "2/2"}),
        ("phase_scale_free", None, "Phase, free of scale", {"comprehension"}),
        ("t_train", None, "t_train (steps)", {"300", "300 to 300"}),
        ("grok_delay", None, "grok_delay = t_test − t_train (steps)", {"100", "75 to 100", LATER}),
        ("share_generalised", None, "Share of the runs that generalised", {"100%", "2/2"}),
        ("test_loss", "final: at the end", "test_loss at the end (nats)", {LENGTHS}),
        ("test_loss", "at: at step 2,000", "test_loss at step 2,000 (nats)", {AT_2000}),
        ("train_loss", "max: at its most", "train_loss at its most (nats)", {"0.5", "(nats)"}),
    ],
)  # fmt: skip
def test_a_colour_brings_its_title_its_words_and_its_key(open_page, grid, colour, taken, said, words):
    page = open_page(grid, "left=phase&boundary=")
    if colour != "phase":
        choose(page, "left-choices", "colour", colour)
    if taken:
        choose(page, "left-choices", "taken", taken)
    assert title(page) == said
    assert words <= set(texts(page, "#left-map"))
    has_key = page.locator("#left-map svg .role-legend").count() > 0
    assert has_key == (not said.startswith("Phase"))
    assert title(page, "right") == "t_test (steps)", "the other map stays"


def test_how_a_measure_is_taken_stays_when_the_measure_changes(open_page, grid):
    page = open_page(grid, "left=min.test_loss")
    choose(page, "left-choices", "colour", "train_loss")
    assert title(page) == "train_loss at its least (nats)"


def test_the_second_map_can_be_taken_away(open_page, grid):
    page = open_page(grid)
    choose(page, "right-choices", "colour", "no second map")
    assert page.locator("#right-map svg").count() == 0


def test_axes_change_places_and_keep_their_values(open_page, grid):
    page = open_page(grid)
    before = cell(page, f"{DECAY} 10, train fraction 0.3").get_attribute("aria-label")
    choose(page, "axes", "x axis", "train fraction")
    said = f"Phase, a map; train fraction: 0.3, 0.5; {DECAY}, log-spaced: 0.1, 1, 10"
    assert page.get_by_label(said, exact=True).count() == 1
    after = cell(page, f"train fraction 0.3, {DECAY} 10").get_attribute("aria-label")
    assert before.partition(": ")[2] == after.partition(": ")[2]


def test_one_axis_alone_makes_a_map_of_one_row(open_page, grid):
    page = open_page(grid)
    choose(page, "axes", "y axis", "nothing")
    assert "at train fraction 0.3, at modulus p 31" in texts(page, "#left-map")
    spoken = page.locator("#left-map svg path[aria-label^='weight decay']")
    assert spoken.count() == 3
    assert (spoken.last.get_attribute("aria-label") or "").endswith("10: comprehension 2/2")


def test_a_third_setting_is_chosen_and_named(open_page, grid):
    page = open_page(grid)
    assert "at modulus p 31" in texts(page, "#left-map")
    choose(page, "axes", "modulus p", "59")
    assert "at modulus p 59" in texts(page, "#left-map")
    select(page, f"{DECAY} 1, train fraction 0.5")
    assert "p=59" in page.locator("#command").inner_text()
    choose(page, "axes", "y axis", "modulus p")
    assert "at train fraction 0.3" in texts(page, "#left-map")


LISTENERS = """() => {
  window.listening = 0;
  for (const [name, by] of [["addEventListener", 1], ["removeEventListener", -1]]) {
    const plain = document[name].bind(document);
    document[name] = (...given) => { window.listening += by; plain(...given); };
  }
}"""


def test_a_figure_that_is_drawn_anew_leaves_nothing_of_the_old_one(open_page, grid):
    page = open_page(grid)
    select(page, f"{DECAY} 1, train fraction 0.5")
    page.evaluate(LISTENERS)
    for decay in (0.1, 10):
        select(page, f"{DECAY} {decay}, train fraction 0.5")
    choose(page, "left-choices", "colour", "grok_delay")
    assert page.evaluate("window.listening") == 0


def test_the_address_holds_the_view(open_page, grid):
    page = open_page(grid)
    choose(page, "left-choices", "colour", "grok_delay")
    choose(page, "axes", "modulus p", "59")
    select(page, f"{DECAY} 1, train fraction 0.5")
    again = open_page(grid, page.url.partition("#")[2], "#curves svg")
    assert title(again) == "grok_delay = t_test − t_train (steps)"
    assert again.locator("#cell-title").inner_text() == page.locator("#cell-title").inner_text()
    assert "p=59" in again.locator("#command").inner_text()


def test_an_address_of_another_sweep_is_passed_over(open_page, grid):
    page = open_page(grid, "left=final.nothing&x=no.such&cell=999&data.p=7&boundary=5 steps&__proto__=1&run=zzz")
    assert (title(page), title(page, "right")) == ("Phase", "t_test (steps)")


def test_the_boundary_has_names_and_bands_and_can_be_taken_away(open_page, grid):
    page = open_page(grid)
    assert {"1,000 steps", "3,000 steps", "9,000 steps"} <= set(texts(page, "#left-map"))
    lines = page.locator('#left-map svg g[class*="boundary_"] path')
    with_bands = lines.count()
    choose(page, "axes", "boundary", "none")
    assert "3,000 steps" not in texts(page, "#left-map")
    assert lines.count() < with_bands
    choose(page, "axes", "boundary", "with bands at 9,000 steps")
    assert lines.count() == with_bands
    choose(page, "axes", "x axis", "modulus p")
    assert "3,000 steps" not in texts(page, "#left-map"), "it lies in another plane"


def test_a_click_on_the_boundary_is_a_click_on_the_cell_under_it(open_page, grid):
    page = open_page(grid)
    box = cell(page, f"{DECAY} 0.1, train fraction 0.5").bounding_box()
    assert box is not None
    x, y = box["x"] + 0.8 * box["width"], box["y"] + 0.83 * box["height"]
    drawn(page, lambda: page.mouse.click(x, y))
    assert page.locator("#cell-title").inner_text().startswith(f"{DECAY} 0.1, train fraction 0.5")


def test_sections_of_other_parts_stand_below(open_page, grid):
    page = open_page(grid)
    assert page.get_by_role("heading", name="Alarms <of> these runs").count() == 1
    page.wait_for_selector("#section0 svg")
    assert page.get_by_text("0.41").count() == 1


# --- honesty ------------------------------------------------------------------------------------------------


def test_the_page_and_the_figure_say_the_same(open_page, states):
    page = open_page(states)
    tree = ElementTree.parse(states.with_suffix(".svg"))
    figure = {line for node in tree.iter(SVG) for line in ([t.text for t in node] or [node.text]) if line}
    shown = {line for side in ("left", "right") for line in texts(page, f"#{side}-map")}
    assert len(shown) > 30
    assert shown <= figure


def test_every_state_is_told_apart_in_every_colour(open_page, states):
    """The look of each cell, over all colours: what never ended well is never a number's colour."""
    page = open_page(states)
    options = page.locator("#left-choices select").first.locator("option").all_inner_texts()
    assert {"phase", "t_test", "share_generalised", "train_loss"} <= set(options)
    for option in ("phase", "t_test", "t_novel", "share_generalised", "train_loss"):
        choose(page, "left-choices", "colour", option)
        spoken = {}
        for path in page.locator("#left-map svg path[aria-label]").all():
            where, _, what = path.get_attribute("aria-label").partition(": ")
            spoken[where] = what
        for wd, frac, what in (
            (1.0, 0.3, "diverged"),
            (1.0, 0.5, "failed"),
            (1.0, 0.2, "planned"),
            (9.0, 0.2, "no run"),
        ):
            assert spoken[f"{DECAY} {wd:g}, train fraction {frac:g}"] == what, option
        legend = " ".join(texts(page, "#left-map"))
        assert all(f"{word}: " in legend for word in ("diverged", "failed", "planned", "no run")), option


def test_a_cell_without_rows_says_so(open_page, states):
    page = open_page(states)
    select(page, f"{DECAY} 1, train fraction 0.2")
    expect(page.locator("#curves-note")).to_have_text("No run has logged a row yet.")
    assert page.locator("#curves svg").count() == 0


def test_hostile_words_stay_words(open_page, tmp_path):
    sweep = SweepDir(tmp_path / HOSTILE.replace("/", "\u2215"))
    for frac in (0.2, 0.3):
        add(sweep, {FRAC: frac}, "failed", error=HOSTILE, logger__tags=[HOSTILE])
        planned = sweep.plan()[-1]
        sweep.add([PlannedRun(f"hostile{frac}", planned.settings | {"model.activation": HOSTILE}, planned.axes)])
    file = draw(map_sweep(sweep.path), tmp_path / "out")[0]
    page = open_page(file)
    shown = HOSTILE.replace("\u202e", "\ufffd").replace("\x1b", "\ufffd")
    assert any(text.startswith(shown[:20]) for text in texts(page, "#left-map"))
    assert page.locator("h1").inner_text() == shown.replace("/", "\u2215")
    page.locator("#left-map svg path[aria-label]").first.hover(force=True)
    page.wait_for_selector("#vg-tooltip-element.visible")
    select(page, "train fraction 0.2, model.activation relu")
    expect(page.locator("#runs")).to_contain_text("failed: " + shown[:60])
    assert page.locator("script").count() == 3
    assert page.locator("img").count() == 0
    assert not re.search("<img", page.locator("#vg-tooltip-element").inner_html())


def test_what_is_chosen_by_keys_keeps_the_focus(open_page, grid):
    page = open_page(grid)
    page.locator('#left-choices select[name="colour"]').focus()
    drawn(page, lambda: page.keyboard.press("ArrowDown"))
    assert page.evaluate("document.activeElement.form.id + document.activeElement.name") == "left-choicescolour"
    select(page, f"{DECAY} 1, train fraction 0.5")
    page.get_by_role("button", name="seed 1").focus()
    drawn(page, lambda: page.keyboard.press("Enter"))
    assert page.evaluate("document.activeElement.textContent") == "seed 1"
