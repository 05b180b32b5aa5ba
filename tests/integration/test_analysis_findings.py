"""What `python -m analysis sweep` works out beside the cells: boundary, stages, alarms, two sweeps compared."""

from __future__ import annotations

import math

import polars as pl
import pytest
from analysis_sweeps import FRAC, INIT, SPLIT, WD, add

from analysis import findings
from analysis.__main__ import main
from analysis.sweep_map import map_sweep
from grok_sweep.store import SweepDir

DECAYS, FRACTIONS, SEEDS = (0.1, 0.3, 1.0, 3.0), (0.2, 0.3, 0.4, 0.5), (0, 1)
LAST = 6000


def time_of(wd: float, frac: float, seed: int, later: float = 1.0) -> float:
    """A planted ln t = 10.6 - 13 (frac - .2) - ln (wd / .1), and seeds 0.2 apart."""
    return later * math.exp(10.6 - 13 * (frac - 0.2) - math.log(wd / 0.1) + 0.2 * (seed - 0.5))


def planted(sweep: SweepDir, later: float = 1.0, **more) -> SweepDir:
    for wd in DECAYS:
        for frac in FRACTIONS:
            for seed in SEEDS:
                t = time_of(wd, frac, seed, later)
                axes = {WD: wd, FRAC: frac, SPLIT: seed, INIT: seed, **more}
                add(sweep, axes, t_train=50, t_test=round(max(t, 75) / 25) * 25 if t <= LAST else None, last=LAST)
    return sweep


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> SweepDir:
    return planted(SweepDir(tmp_path_factory.mktemp("planted") / "planted"))


def test_one_command_writes_boundary_stages_and_alarms_and_says_what_it_found(sweep, tmp_path, capsys):
    assert main(["sweep", str(sweep.path), "--stages", "--alarms", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    figures = {f"{name}.{kind}" for name in ("phase_diagram", "stages") for kind in ("svg", "pdf", "png")}
    tables = {"cells.csv", "f_50.csv", "stages.csv"}
    assert {*figures, *tables, "phase_diagram.html"} <= {file.name for file in tmp_path.iterdir()}
    assert "f_50: the train fraction at which half of the seeds reach t_test within so many steps" in said
    assert "which measure sees grokking coming" in said
    assert "stages in which the runs ended: 26 generalised, stages not told, 6 memorization so far" in said, (
        "there are no key frequencies in these rows"
    )
    assert "more: --stages" not in said
    page = (tmp_path / "phase_diagram.html").read_text()
    for title in ("Phase boundary", "Stages", "Which measure sees grokking coming"):
        assert f"<h2>{title}" in page, title


def test_the_boundary_is_that_which_was_planted(sweep):
    table = findings.boundary(map_sweep(sweep.path)).tables["f_50"]
    for row in table.filter(budget=LAST).iter_rows(named=True):
        expected = 0.2 + (10.6 - math.log(row["weight_decay"] / 0.1) - math.log(LAST)) / 13
        if row["status"] == "identified":
            assert row["low_90"] <= expected <= row["high_90"], row
    assert (table.filter(budget=LAST)["status"] == "identified").sum() >= 2


def test_the_same_command_says_the_same_twice(sweep):
    found = map_sweep(sweep.path)
    assert findings.alarms(found).lines == findings.alarms(found).lines
    assert findings.stages(found).tables["stages"].equals(findings.stages(found).tables["stages"])


def test_each_further_setting_has_a_boundary_of_its_own(tmp_path):
    both = planted(SweepDir(tmp_path / "s"), **{"data.p": 31})
    planted(both, later=3.0, **{"data.p": 59})
    found = findings.boundary(map_sweep(both.path, "wd", "frac"))
    table = found.tables["f_50"]
    assert set(table["data.p"]) == {31, 59}
    at = {p: table.filter(pl.col("data.p") == p, budget=LAST, weight_decay=0.3)["f_50"].item() for p in (31, 59)}
    assert at[59] - at[31] == pytest.approx(math.log(3) / 13, abs=0.03), (
        "three times as late is ln 3 / 13 further right"
    )
    assert {line.where["data.p"] for line in found.extras.boundary} == {31, 59}
    assert [line for line in found.lines if line.startswith("data.p=")] == ["data.p=31", "data.p=59"]


def test_at_many_values_no_critical_fraction_is_looked_for_and_a_line_says_so(sweep, monkeypatch):
    def is_told(found: findings.Findings) -> bool:
        return any(line.startswith("critical train fraction f_c") for line in found.lines)

    assert is_told(findings.boundary(map_sweep(sweep.path)))
    monkeypatch.setattr(findings, "MOST_CRITICAL", len(DECAYS) - 1)
    found = findings.boundary(map_sweep(sweep.path))
    assert not is_told(found)
    assert found.lines[-1] == (
        "critical train fractions: not looked for at 4 values of weight_decay, more than 3; "
        "--where optimizer.weight_decay=VALUE looks at one"
    )
    assert is_told(findings.boundary(map_sweep(sweep.path, where=["optimizer.weight_decay=0.3"])))


def test_without_train_fraction_on_an_axis_there_is_no_boundary(sweep):
    assert findings.boundary(map_sweep(sweep.path, "wd", "seed", ["frac=0.4"])) == findings.Findings()


def test_two_sweeps_are_compared_and_need_a_place(sweep, tmp_path, capsys):
    later = planted(SweepDir(tmp_path / "later"), later=2.0)
    assert main(["sweep", str(sweep.path), str(later.path)]) == 2
    assert "say where to write, --out DIR" in capsys.readouterr().err
    assert main(["sweep", str(sweep.path), str(later.path), "--out", str(tmp_path / "out")]) == 0
    assert "32 pairs of runs in 16 cells" in capsys.readouterr().out
    table = pl.read_csv(tmp_path / "out" / "differences.csv")
    cell = table.filter(pl.col(WD) == 3.0, pl.col(FRAC) == 0.3, name="t_test")
    assert cell["median"].item() == pytest.approx(math.log(2), abs=0.1), "the second sweep takes twice as long"
    figure = (tmp_path / "out" / "phase_diagram.svg").read_text()
    assert ">t_test: " in figure, "the second map is how they differ"
    assert "weight decay (AdamW, decoupled), log-spaced" in figure
    assert "train fraction<" in figure, "the sweeps' own settings are the axes"
    assert not {"differences.csv", "phase_diagram.html"} & {file.name for file in sweep.path.iterdir()}


def test_nothing_is_worked_out_where_nothing_can_be_written(sweep, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["sweep", str(sweep.path), "--stages", "--out", str(tmp_path / "file")]) == 2
    assert "is a file" in capsys.readouterr().err
