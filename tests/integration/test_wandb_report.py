"""What an analysis made, in a W&B run of its own: offline and online, made again, and where W&B fails."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
import vl_convert
from test_wandb_online import sync
from wandb_log import WandbLog, read_log
from wandb_server import NOWHERE, Fault, forget

from analysis import publish
from analysis.load import Sweep
from analysis.publish import publish_sweep, target_of
from grok_sweep.config import LoggerConfig, RunConfig, flat

PNG = vl_convert.svg_to_png('<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10"/>')
PAGE = "<!doctype html><html><body><script>1 < 2</script></body></html>"


def sweep(folder: Path, name: str = "a sweep", **logger) -> Sweep:
    settings = flat(RunConfig(logger=LoggerConfig(timeout_s=3.0)))
    settings |= {f"logger.{key}": value for key, value in logger.items()} | {"logger.tags": "one,two"}
    own = {key: value for key, value in settings.items() if key.startswith("logger.")}
    outcomes = ("grokking", "grokking", "confusion")
    runs = pl.DataFrame([{"run_id": str(i), "outcome": outcome, **own} for i, outcome in enumerate(outcomes)])
    return Sweep(folder, name, runs, ("optimizer.weight_decay",))


@pytest.fixture
def made(tmp_path) -> tuple[list[Path], dict[str, pl.DataFrame]]:
    """Files and tables of an analysis."""
    files = [tmp_path / name for name in ("phase_diagram.html", "phase_diagram.png", "cells.csv")]
    files[0].write_text(PAGE)
    files[1].write_bytes(PNG)
    files[2].write_text("a,b\n1,2\n")
    cells = pl.DataFrame({"wd": [0.1, 1.0], "t": [None, float("inf")], "runs": [["a"], ["b", "c"]], "n": [3, None]})
    return files, {"cells": cells}


def log_of(folder: Path) -> WandbLog:
    """The one offline log, once wandb's helper process has written it to its end."""
    forget()
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    return read_log(file)


def table(stored) -> dict:
    (name,) = [name for name in stored.uploads if name.startswith("media/table/")]
    return json.loads(stored.uploads[name])


def test_offline_is_the_default_and_asks_nobody(server, tmp_path, made, capfd):
    line = publish_sweep(sweep(tmp_path), *made)
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    assert line == f"W&B, offline; to upload it: wandb sync {folder}"
    log = log_of(tmp_path)
    assert (log.run.run_id, log.run.run_group, log.run.job_type) == ("a sweep-report", "a sweep", "analysis")
    assert (log.run.display_name, list(log.run.tags), log.exit_code) == ("a sweep report", ["one", "two"], 0)
    (row,) = log.rows
    assert {name: row[f"{name}._type"] for name in ("phase_diagram", "phase_diagram_page", "cells")} == {
        "phase_diagram": "image-file", "phase_diagram_page": "html-file", "cells": "table-file",
    }  # fmt: skip
    assert {name: log.summary[name] for name in ("n_runs", "n_grokking", "n_confusion")} == {
        "n_runs": 3, "n_grokking": 2, "n_confusion": 1,
    }  # fmt: skip
    assert server.requests == []
    forget()
    assert capfd.readouterr() == ("", "")


def test_what_was_offline_is_whole_once_it_is_synced(server, tmp_path, made):
    publish_sweep(sweep(tmp_path), *made)
    for file in made[0]:
        file.unlink()  # a later analysis may have replaced them
    sync(*tmp_path.glob("wandb/offline-run-*"))
    run = server.runs["a sweep-report"]
    assert table(run)["data"] == [[0.1, None, "['a']", 3], [1.0, None, "['b', 'c']", None]]
    assert PAGE.encode() in run.uploads.values()
    (artifact,) = server.artifacts.named("a_sweep-report")
    assert artifact.is_committed
    assert artifact.files == {
        "phase_diagram.html": PAGE.encode(), "phase_diagram.png": PNG, "cells.csv": b"a,b\n1,2\n",
    }  # fmt: skip


def test_online_it_is_at_the_server_and_again_it_is_the_same_run(server, tmp_path, made):
    line = publish_sweep(sweep(tmp_path, mode="online"), *made)
    assert line == f"W&B: {server.url}/tester/grok_sweep/runs/a%20sweep-report"
    made[0][0].write_text(PAGE + "<!-- new -->")
    assert publish_sweep(sweep(tmp_path, mode="online"), *made) == line
    (run,) = server.runs.values()
    assert (run.id, run.job_type, run.exit_code) == ("a sweep-report", "analysis", 0)
    pages = [run.uploads[row["phase_diagram_page"]["path"]].decode() for row in run.rows]
    assert pages == [PAGE, PAGE + "<!-- new -->"]
    assert run.summary["phase_diagram_page"] == run.rows[-1]["phase_diagram_page"]
    assert [version.is_committed for version in server.artifacts.named("a_sweep-report")] == [True, True]
    assert list(tmp_path.glob("wandb/offline-run-*")) == list(tmp_path.glob("wandb/staged-*")) == []


def test_again_offline_replaces_what_was_not_synced_and_keeps_what_was(server, tmp_path, made):
    publish_sweep(sweep(tmp_path), *made)
    (first,) = tmp_path.glob("wandb/offline-run-*")
    time.sleep(1.1)  # wandb names its folders by the second
    publish_sweep(sweep(tmp_path), *made)
    (second,) = tmp_path.glob("wandb/offline-run-*")
    assert second != first
    time.sleep(1.1)
    sync(second)
    publish_sweep(sweep(tmp_path), *made)
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 2, "what was synced is the user's"


@pytest.mark.parametrize("spoil", ["no key", "no network", "error"])
def test_where_w_and_b_fails_it_is_offline_and_one_line_says_why(
    server, tmp_path, made, monkeypatch, capfd, spoil
):  # fmt: skip
    if spoil == "no key":
        monkeypatch.delenv("WANDB_API_KEY")
    elif spoil == "no network":
        monkeypatch.setenv("WANDB_BASE_URL", NOWHERE)
    else:
        server.fault = Fault.error
    line = publish_sweep(sweep(tmp_path, mode="online"), *made)
    assert line.startswith("W&B failed (")
    assert "to upload it: wandb sync" in line
    assert "\n" not in line
    assert len(log_of(tmp_path).rows) == 1
    assert capfd.readouterr() == ("", "")


def test_a_server_that_dies_meanwhile_is_waited_for_once(server, tmp_path, made, monkeypatch):
    shown = publish._shown

    def die(*given):
        server.fault = Fault.error
        return shown(*given)

    monkeypatch.setattr(publish, "_shown", die)
    monkeypatch.setattr(publish, "UPLOAD_S", 3.0)
    monkeypatch.setenv("WANDB_HTTP_TIMEOUT", "2")
    began = time.monotonic()
    line = publish_sweep(sweep(tmp_path, mode="online"), *made)
    assert time.monotonic() - began < 30
    assert line.startswith("W&B failed (")
    assert "to upload it: wandb sync" in line


def test_where_nothing_can_be_written_the_line_says_that_the_files_stand(server, tmp_path, made):
    (tmp_path / "wandb").write_text("a file in the way")
    line = publish_sweep(sweep(tmp_path), *made)
    assert line.startswith("W&B failed (FileExistsError")
    assert line.endswith("the analysis' files stand; to try again: the same command")


def test_without_wandb_the_analysis_stands(tmp_path, made, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    line = publish_sweep(sweep(tmp_path), *made)
    assert line.startswith("W&B failed (ModuleNotFoundError")


def test_the_target_is_that_of_the_sweeps_runs(tmp_path):
    own = {"project": "theirs", "entity": "team", "mode": "online"}
    target = target_of(sweep(tmp_path, **own))
    assert (target.project, target.entity, target.mode, target.tags) == ("theirs", "team", "online", ["one", "two"])
    assert target_of(sweep(tmp_path, **own), "offline").mode == "offline"
    for quiet in ({"kind": "none"}, {"mode": "disabled"}):
        assert target_of(sweep(tmp_path, **(own | quiet))).mode == "offline"
    assert target_of(sweep(tmp_path, **own, kind="none")).project == "grok_sweep"


def test_the_report_of_a_sweep_with_a_hostile_name(server, tmp_path, made):
    line = publish_sweep(sweep(tmp_path, "it's/<a> #1? ü + b", mode="online"), *made)
    assert line.startswith("W&B: http"), line
    (run,) = server.runs.values()
    assert run.id == "it_s_<a> _1_ ü + b-report"
    assert run.group == "it's/<a> #1? ü + b"


def test_reading_the_group_passes_over_the_report(server, tmp_path, made):
    from analysis.sources.wandb_api import WandbGroup, place

    publish_sweep(sweep(tmp_path, mode="online"), *made)
    with pytest.raises(ValueError, match="no training run in the group a sweep"):
        WandbGroup(place("tester/grok_sweep/a sweep")).listed()


def test_wandb_stays_out_of_a_process_that_publishes_nothing():
    program = "import sys, analysis.publish, analysis.sources.read; sys.exit('wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
