"""`python -m analysis sweep`: from folders in every state to tables and figures, and what wrong input is told."""

import html
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest
from analysis_sweeps import FRAC, HOSTILE, INIT, WD, add, every_state, grid_of, rows

from analysis.load import load_sweep
from analysis.sweep import draw, draw_sweep, map_sweep
from grok_sweep.store import State, SweepDir

ROOT = Path(__file__).parents[2]
FILES = ("cells.csv", "cells.parquet", *(f"phase_diagram.{kind}" for kind in ("html", "svg", "pdf", "png")))


def texts(folder):
    """Every text of the SVG, a line each."""
    tree = ElementTree.fromstring((folder / "phase_diagram.svg").read_text())
    return [
        line
        for node in tree.iter("{http://www.w3.org/2000/svg}text")
        for line in ([t.text for t in node] or [node.text])
        if line
    ]


def legend(folder):
    """What the legend explains; title and subtitle, which also hold colons, come last in an SVG."""
    found = [text.partition(":")[0] for text in texts(folder) if ": " in text and "; n/m: " not in text]
    return found[: found.index(folder.name)]


def cli(*arguments, options=()):
    command = [sys.executable, *options, "-m", "analysis", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


# --- reading ------------------------------------------------------------------------------------------------


def test_a_row_a_run_whatever_its_state(tmp_path):
    sweep = load_sweep(every_state(SweepDir(tmp_path / "s")).path)
    assert sweep.runs.height == 14
    assert sweep.swept == (WD, FRAC, INIT)
    by_state = sweep.runs.group_by("state").len().to_dict(as_series=False)
    assert dict(zip(by_state["state"], by_state["len"], strict=True)) == {
        "done": 8, "running": 2, "interrupted": 1, "planned": 1, "diverged": 1, "failed": 1
    }  # fmt: skip
    first = sweep.runs.row(0, named=True)
    expected = {
        "t_train": 300,
        "t_test": 900,
        "t_test_below": 875,
        "grok_delay": 600,
        "phase": "grokking",
        "steps": 3000,
    }
    assert expected.items() <= first.items()
    assert (first[WD], first["optimizer.lr"], first["phases.budget"], first["final.test_loss"]) == (
        0.01,
        3e-3,
        10**5,
        2.0,
    )


def test_a_live_run_is_judged_from_its_rows(tmp_path):
    sweep = SweepDir(tmp_path / "s")
    add(sweep, {FRAC: 0.2}, "running", 300, None, 1200)
    add(sweep, {FRAC: 0.3}, "interrupted", 300, 900, 1200)
    found = load_sweep(sweep.path).runs.select("phase", "outcome", "steps", "t_train", "t_test", "t_novel").rows()
    assert found == [
        ("memorization_so_far", "running", 1200, 300, None, None),
        ("grokking", "grokking", 1200, 300, 900, 900),
    ]


def test_a_run_that_goes_on_is_not_judged_by_its_old_summary(tmp_path):
    sweep = SweepDir(tmp_path / "s")
    run = sweep.run(add(sweep, {FRAC: 0.2}, last=1000))
    add(sweep, {FRAC: 0.3})
    run.open_metrics(rows(300, 1500, 2000)).close()
    run.write_status(State.running, step=2000, n_steps=3000, end=None, error=None)
    assert load_sweep(sweep.path).runs["t_test"].to_list() == [1500, None]


def test_unreadable_files_of_one_run_fail_that_run_alone(tmp_path):
    sweep = SweepDir(tmp_path / "s")
    broken = [sweep.run(add(sweep, {FRAC: frac})) for frac in (0.2, 0.3, 0.4, 0.5)]
    broken[0].status_file.write_text("{")
    broken[1].summary_file.write_text("[]")
    broken[2].summary_file.unlink()
    found = load_sweep(sweep.path).runs
    assert found["state"].to_list() == ["failed", "failed", "done", "done"]
    assert all(error.startswith("unreadable: ") for error in found["error"].to_list()[:2])
    assert found["phase"].to_list()[2] == "memorization_so_far"


# --- figures ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """The sweep with everything in it, drawn once."""
    sweep = every_state(SweepDir(tmp_path_factory.mktemp("runs") / "all_states"))
    assert draw_sweep(sweep.path) == sweep.path / "phase_diagram.html"
    return sweep.path


def test_every_file_is_written_and_of_its_kind(states):
    assert all((states / name).stat().st_size > 500 for name in FILES)
    assert (states / "phase_diagram.png").read_bytes().startswith(b"\x89PNG")
    assert (states / "phase_diagram.pdf").read_bytes().startswith(b"%PDF")
    assert not list(states.glob(".*"))
    csv, parquet = pl.read_csv(states / "cells.csv"), pl.read_parquet(states / "cells.parquet")
    assert csv.columns == parquet.columns
    assert csv.select(WD, FRAC, "n_runs").rows() == parquet.select(WD, FRAC, "n_runs").rows()
    assert csv.height == 5 * 3


def test_the_png_has_twice_the_size_of_the_svg(states):
    png = (states / "phase_diagram.png").read_bytes()
    width = re.search(r'width="(\d+)"', (states / "phase_diagram.svg").read_text())
    assert int.from_bytes(png[16:20]) == 2 * int(width[1])


def test_the_figure_says_what_is_known_of_every_cell(states):
    found = texts(states)
    for word in ("comprehension", "grokking", "running", "interrupted", "planned", "diverged", "failed", "no run"):
        assert word in found, word
    assert found.count("so far") == 4  # two cells, each word above its halo
    assert {"1 grok, 1 mem.", "(running)", "> 3,000", "> 1,200", "> 700", "525", "900"} <= set(found)
    assert {"weight decay (AdamW, decoupled)", "train fraction", "t_test (steps)"} <= set(found)


def test_the_legend_lists_every_look_that_occurs(states):
    assert legend(states) == [
        "comprehension", "grokking", "memorization", "memorization so far (3,000 steps)", "confusion",
        "confusion so far (3,000 steps)", "mixed", "running", "interrupted", "planned", "diverged", "failed",
        "no run", "> N",
    ]  # fmt: skip


def test_only_looks_that_occur_are_in_the_legend_and_cells_ascend(tmp_path):
    sweep = grid_of(SweepDir(tmp_path / "first"))
    draw_sweep(sweep.path)
    found = texts(sweep.path)
    assert legend(sweep.path) == ["comprehension", "grokking", "memorization so far (3,000 steps)", "> N"]
    assert found[found.index("0.1") :][:2] == ["0.1", "1"]
    assert "first: phases and times of generalisation" in found
    assert any(
        text.startswith("p = 59, lr = 0.003, eps = 1e-8, d_model = 64, 3,000 steps, seed 0; ") for text in found
    )


def test_three_seeds_are_one_cell(tmp_path):
    sweep = grid_of(SweepDir(tmp_path / "seeds"), seeds=(0, 1, 2))
    found = map_sweep(sweep.path)
    assert (found.x, found.y, found.cells["n_runs"].to_list()) == (WD, FRAC, [3] * 6)
    draw(found, tmp_path / "elsewhere")
    assert {"3/3", "so far, 3/3", "0/3", "525"} <= set(texts(tmp_path / "elsewhere"))
    assert not (sweep.path / "cells.csv").exists()


def test_one_axis_makes_a_map_of_one_row(tmp_path):
    sweep = SweepDir(tmp_path / "row")
    for frac in (0.2, 0.3, 0.5):
        add(sweep, {FRAC: frac}, t_test=None)
    draw_sweep(sweep.path)
    found = texts(sweep.path)
    assert found.count("train fraction") == 2
    assert "weight decay (AdamW, decoupled)" not in found
    svg = (sweep.path / "phase_diagram.svg").read_text()
    assert svg.count('class="mark-text role-axis-title"') == 2, "no vertical axis"


class Loads(HTMLParser):
    """Collects what a page would load, and its scripts."""

    def __init__(self):
        super().__init__()
        self.loads, self.scripts, self.tags, self.inside = [], [], set(), False

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href", "action", "data")]
        self.inside = tag == "script"

    def handle_data(self, data):
        if self.inside:
            self.scripts.append(data)

    def handle_endtag(self, tag):
        self.inside = False


def parsed(folder):
    page = Loads()
    page.feed((folder / "phase_diagram.html").read_text())
    return page


def test_the_page_loads_nothing(states):
    page = parsed(states)
    assert page.loads == []
    assert not page.tags & {"link", "img", "iframe", "object", "embed", "base", "video", "audio"}
    assert "default-src 'none'" in (states / "phase_diagram.html").read_text()


def test_a_hostile_name_stays_text(tmp_path):
    sweep = SweepDir(tmp_path / HOSTILE.replace("/", "\u2215"))
    for frac in (0.2, 0.3):
        add(sweep, {FRAC: frac}, "failed", error=HOSTILE, logger__tags=[HOSTILE])
    folder = tmp_path / "out"
    draw(map_sweep(sweep.path), folder)
    page = parsed(folder)
    assert page.loads == []
    _, content, script = page.scripts
    assert "<" not in content
    shown = HOSTILE.replace("/", "\u2215").replace("\u202e", "\ufffd").replace("\x1b", "\ufffd")
    assert any(
        HOSTILE.replace("\u202e", "\ufffd").replace("\x1b", "\ufffd")[:80] in run["facts"][0]
        for run in json.loads(content)["runs"]
    )
    assert "onerror" not in script
    assert f"<title>{html.escape(shown)}</title>" in (folder / "phase_diagram.html").read_text()
    assert any("<img src=x onerror=alert(1)>" in text for text in texts(folder))


# --- command line -------------------------------------------------------------------------------------------


def test_the_command_prints_the_cells_and_what_it_wrote_and_needs_no_torch(tmp_path):
    sweep = grid_of(SweepDir(tmp_path / "first"))
    done = cli("sweep", sweep.path, options=["-X", "importtime"])
    assert done.returncode == 0, done.stderr
    head, first, *rest = done.stdout.splitlines()
    assert head.split() == [
        "weight_decay",
        "frac_train",
        "runs",
        "outcome",
        "generalised",
        "t_train",
        "t_test",
        "grok_delay",
    ]
    assert re.split("  +", first) == ["0.1", "0.2", "1", "memorization so far", "no", "300", "> 3,000", "> 2,700"]
    page = sweep.path / "phase_diagram.html"
    assert rest[-1] == str(page), "the last line names the page, to be opened"
    assert all(name in rest[-2] for name in FILES if name != page.name)
    assert all((sweep.path / name).exists() for name in FILES)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "altair" in imported
    assert not imported & {"torch", "hydra", "omegaconf", "wandb"}


def test_of_three_settings_the_figure_shows_a_slice_and_says_so(tmp_path):
    sweep = SweepDir(tmp_path / "three")
    for p in (31, 59):
        for wd in (0.1, 1.0):
            for frac in (0.2, 0.3):
                add(sweep, {"data.p": p, WD: wd, FRAC: frac}, t_test=700 if p == 31 else None)
    found = map_sweep(sweep.path)
    assert (found.x, found.y, found.others, found.cells.height) == ("data.p", WD, (FRAC,), 8)
    draw(found, tmp_path / "out")
    assert any("Shown: train fraction = 0.2." in text for text in texts(tmp_path / "out"))
    assert texts(tmp_path / "out").count("700") == 2 * 2, "each above its halo"
    fixed = map_sweep(sweep.path, "wd", "frac", ["p=59"])
    assert (fixed.x, fixed.y, fixed.others, fixed.runs.height) == (WD, FRAC, (), 4)


def test_wrong_folders_are_told_apart(tmp_path):
    runs = tmp_path / "runs"
    sweep = grid_of(SweepDir(runs / "first"))
    (tmp_path / "empty").mkdir()
    single = SweepDir(runs / "single")
    name = add(single, {})
    cases = {
        runs / "frist": f"no such folder: {runs / 'frist'}; did you mean {runs / 'first'}?",
        tmp_path / "empty": "it holds no plan.jsonl; expected runs/<sweep>",
        runs: f"it holds sweeps: name one of them, for example {runs / 'first'}",
        single.path / name: f"it looks like one run's folder: its sweep is {single.path}",
        sweep.plan_file: "is a file; expected a sweep's folder",
        single.path: "nothing to map: no setting has two values in 1 run",
    }
    for path, message in cases.items():
        with pytest.raises(ValueError, match=re.escape(message)):
            map_sweep(path)
    done = cli("sweep", runs / "frist")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"python -m analysis: {next(iter(cases.values()))}\n"


def test_a_part_of_a_sweep_does_not_replace_the_whole(tmp_path):
    from analysis.__main__ import main

    sweep = SweepDir(tmp_path / "three")
    for p in (31, 59):
        for frac in (0.2, 0.3):
            add(sweep, {"data.p": p, FRAC: frac})
    assert main(["sweep", str(sweep.path)]) == 0
    whole = (sweep.path / "cells.csv").read_bytes()
    assert main(["sweep", str(sweep.path), "--where", "p=59"]) == 0
    assert (sweep.path / "cells.csv").read_bytes() == whole
    assert (sweep.path / "cells_p=59.csv").exists()
    assert "three, p=59" in (sweep.path / "phase_diagram_p=59.svg").read_text()
