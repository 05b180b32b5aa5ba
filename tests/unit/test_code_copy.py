"""The copy of the code that queued jobs run: what is in it, under which name."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from small_runs import planned, small_config

from grok_sweep.commit import RECORD
from grok_sweep.launchers.code_copy import copy_code, own_modules
from grok_sweep.store import PlannedRun, SweepDir

(RUN,) = planned(small_config())


def with_settings(**settings: object) -> PlannedRun:
    return replace(RUN, settings=RUN.settings | {n.replace("__", "."): v for n, v in settings.items()})


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@t", *words], check=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    for name in ("launch.py", "my_tasks.py", "grok_sweep/run.py", "conf/config.yaml", "notes.txt", "runs/s/x.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def copied(copy: Path) -> set[str]:
    return {str(file.relative_to(copy)) for file in copy.rglob("*") if file.is_file()}


def test_outside_git_what_lies_beside_launch_py_and_the_package(project: Path, tmp_path: Path):
    copy = copy_code(SweepDir(tmp_path / "out" / "s"), project, [RUN])
    found = copied(copy)
    assert {"launch.py", "my_tasks.py", "conf/config.yaml", "grok_sweep/run.py", RECORD} <= found
    assert "grok_sweep/launchers/slurm_worker.py" in found  # the package lies elsewhere than launch.py
    assert "notes.txt" not in found
    assert "runs/s/x.py" not in found
    assert json.loads((copy / RECORD).read_text()) == {"commit": None, "changed": None, "diff": None}


def test_in_git_what_is_tracked_or_would_be_as_it_is_now(project: Path, tmp_path: Path):
    git(project, "init", "-q")
    (project / ".gitignore").write_text("ignored.py\n")
    (project / "ignored.py").write_text("")
    git(project, "add", "launch.py", "grok_sweep", ".gitignore")
    git(project, "commit", "-qm", "one")
    (project / "launch.py").write_text("changed")
    copy = copy_code(SweepDir(project / "runs" / "s"), project, [RUN])
    assert (copy / "launch.py").read_text() == "changed"
    assert {"my_tasks.py", "conf/config.yaml"} <= copied(copy)
    assert {"ignored.py", "runs/s/x.py"}.isdisjoint(copied(copy))
    record = json.loads((copy / RECORD).read_text())
    assert record["changed"] is True
    assert len(record["commit"]) == 40
    assert "+changed" in (project / "runs" / "s" / record["diff"]).read_text()


def test_the_same_code_is_copied_once_and_other_code_beside_it(project: Path, tmp_path: Path):
    sweep = SweepDir(tmp_path / "s")
    one = copy_code(sweep, project, [RUN])
    assert copy_code(sweep, project, [RUN]) == one
    (project / "my_tasks.py").write_text("another")
    other = copy_code(sweep, project, [RUN])
    assert {one, other} == set(sweep.code.iterdir())
    assert (one / "my_tasks.py").read_text() == "my_tasks.py"


def test_modules_named_by_a_dotted_path_come_along(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("alone_48.py", "package_48/__init__.py", "package_48/sub/deep.py", "unused_48.py"):
        (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / name).write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path / "own"))
    run = with_settings(
        data__operation="alone_48.x", measures__names=["gini_W_E", "package_48.sub.deep.x", "torch.sum"]
    )
    assert own_modules([RUN, run]) == {"alone_48", "package_48", "torch"}
    found = copied(copy_code(SweepDir(tmp_path / "s"), project, [RUN, run]))
    assert {"alone_48.py", "package_48/__init__.py", "package_48/sub/deep.py"} <= found
    assert "unused_48.py" not in found
    assert not any(name.startswith("torch") for name in found)
