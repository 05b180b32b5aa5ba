"""python -m grok_sweep publish: each run in a line; what is not finished is nobody's failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from grok_sweep import loggers
from grok_sweep.__main__ import main
from grok_sweep.store import RunDir, write_json


@pytest.fixture
def sweep(tmp_path) -> Path:
    for name in ("a", "b", "c"):
        write_json(RunDir(tmp_path / name).settings_file, {})
    return tmp_path


def test_each_run_is_told_in_a_line(sweep, monkeypatch, capsys):
    def publish(folder: Path) -> int:
        if folder.name == "a":
            return 17
        if folder.name == "b":
            raise ValueError(f"{folder}: running; only a run that is done or diverged can be published")
        raise ConnectionError("nobody\nanswers")

    monkeypatch.setattr(loggers, "publish", publish)
    assert main(["publish", str(sweep)]) == 1
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "[1 of 3] a: 17 rows uploaded",
        "[2 of 3] b: running; only a run that is done or diverged can be published",
        "[3 of 3] c: ConnectionError: nobody answers",
    ]
    assert told.err == "1 of 3 runs could not be published\n"


@pytest.mark.parametrize("first_succeeds, n_tried", [(False, 3), (True, 6)])
def test_one_reason_that_stops_all_of_them_is_told_three_times(
    tmp_path, monkeypatch, capsys, first_succeeds, n_tried
):
    for name in "abcdef":
        write_json(RunDir(tmp_path / name).settings_file, {})

    def publish(folder: Path) -> int:
        if first_succeeds and folder.name == "a":
            return 1
        raise ConnectionError("no key")

    monkeypatch.setattr(loggers, "publish", publish)
    assert main(["publish", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == n_tried
    assert ("the first 3 that were tried failed for one reason: 3 left out" in told.err) is not first_succeeds


def test_one_run_by_its_own_folder(sweep, monkeypatch, capsys):
    monkeypatch.setattr(loggers, "publish", lambda folder: 0)
    assert main(["publish", str(sweep / "b")]) == 0
    assert capsys.readouterr().out == "[1 of 1] b: 0 rows uploaded\n"


def test_a_folder_without_runs_is_refused(tmp_path, capsys):
    assert main(["publish", str(tmp_path / "nowhere")]) == 2
    assert main(["publish", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"{tmp_path}/nowhere: no such folder\n{tmp_path}: no run is here\n"
