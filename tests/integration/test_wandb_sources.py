"""A group at W&B read as a sweep: what our logger wrote comes back as the folder has it, and is read once.

The real client writes, the real public API reads, a stub server stands between them.
"""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import shutil
import tempfile
from pathlib import Path

import polars as pl
import pytest
from test_loggers import stop_after
from test_wandb_online import online
from wandb_server import NOWHERE, WandbServer, alone, forget, wandb_server

from analysis.load import load_rows, load_sweep
from analysis.sources.wandb_group import load_group
from grok_sweep.config import DataConfig, OptimizerConfig, flat, run_id
from grok_sweep.run import run_one
from grok_sweep.store import PlannedRun, SweepDir

GROUP = "tester/grok_sweep/a sweep"
OF_THE_FOLDER = ("updated", "error")
"""What W&B holds in its own way: when it last heard of the run, and why it failed."""


def train(root: Path, hooks=None, **changes) -> str:
    """One run of the sweep, in its folder and at the server; returns its id."""
    config = online(sweep="a sweep", **changes)
    name, sweep = run_id(config), SweepDir(root / "a sweep")
    sweep.add([PlannedRun(name, flat(config), {"optimizer.weight_decay": config.optimizer.weight_decay})])
    run_one(config, sweep.run(name).path, *([hooks] if hooks else []))
    return name


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """Two runs that are done, one that was interrupted: the sweep's folder, and what the server holds."""
    root = tmp_path_factory.mktemp("once")
    with pytest.MonkeyPatch.context() as patch, wandb_server() as stub:
        alone(patch, tmp_path_factory.mktemp("home"), stub.url)
        for wd in (0.1, 1.0):
            train(root, optimizer=OptimizerConfig(lr=3e-3, weight_decay=wd))
        train(root, stop_after(11), data=DataConfig(p=23, frac_train=0.5))
        forget()
        yield root / "a sweep", stub.runs


@pytest.fixture
def trained(server, once, tmp_path) -> Path:
    """A copy of the folder, and one at the server."""
    folder, runs = once
    server.runs = copy.deepcopy(runs)
    return Path(shutil.copytree(folder, tmp_path / folder.name))


def asked(server: WandbServer, what: str) -> int:
    return server.operations.count(what)


def read(tmp_path: Path, told: list[str] | None = None):
    return load_group(GROUP, tmp_path / "cache", (told if told is not None else []).append)


def assert_as_the_folder(group, folder) -> None:
    ours, theirs = (sweep.runs.drop(OF_THE_FOLDER).sort("run_id") for sweep in (folder, group))
    assert theirs.columns == ours.columns
    assert theirs.schema == ours.schema
    assert theirs.rows() == ours.rows()


def test_runs_and_rows_are_those_of_the_folder(server, trained, tmp_path):
    told: list[str] = []
    group, folder = read(tmp_path, told), load_sweep(trained)
    assert_as_the_folder(group, folder)
    assert sorted(group.runs["state"]) == ["done", "done", "interrupted"]
    assert (group.name, set(group.swept)) == ("a sweep", {"optimizer.weight_decay", "data.frac_train"})
    names = ["test_loss", "restricted_loss", "excluded_loss_k", "key_freqs", "n_key_freqs", "seconds"]
    assert load_rows(group, names).sort("run_id", "step").rows() == (
        load_rows(folder, names).sort("run_id", "step").rows()
    )
    assert told[0] == f"{GROUP}: 3 runs, 3 of them new or changed"


def test_a_second_reading_fetches_only_what_changed(server, trained, tmp_path):
    read(tmp_path)
    n_scans = asked(server, "RunParquetHistory")
    told: list[str] = []
    read(tmp_path, told)
    assert told == [f"{GROUP}: 3 runs, 0 of them new or changed"]
    assert asked(server, "RunParquetHistory") == n_scans == 3
    train(tmp_path, data=DataConfig(p=23, frac_train=0.5))  # goes on, and ends
    train(tmp_path, optimizer=OptimizerConfig(lr=3e-3, weight_decay=3.0))
    assert_as_the_folder(read(tmp_path, told), load_sweep(trained))
    assert told[1] == f"{GROUP}: 4 runs, 2 of them new or changed"
    assert asked(server, "RunParquetHistory") == n_scans + 2


def test_a_run_deleted_at_the_server_is_gone(server, trained, tmp_path):
    read(tmp_path)
    gone = server.runs.popitem()[0]
    assert gone.rpartition("-")[2] not in read(tmp_path).runs["run_id"].to_list()


def test_what_stands_in_the_group_and_is_no_run_of_ours_is_left_out_and_told(server, trained, tmp_path):
    one = next(iter(server.runs.values()))
    for name, job in (("a report", "analysis"), ("another", "train")):
        other = type(one)(name, one.project, group=one.group, job_type=job, exit_code=0)
        server.runs[name] = other
    told: list[str] = []
    assert read(tmp_path, told).runs.height == 3
    assert told[-1] == "left out: 1 runs without the settings of a run of grok_sweep in their config"


def test_a_run_that_another_logger_wrote_nested_and_without_a_summary_is_judged_from_its_rows(
    server, trained, tmp_path
):  # fmt: skip
    run = next(run for run in server.runs.values() if run.exit_code == 0)
    nested: dict = {}
    for name, entry in run.raw_config.items():
        *groups, last = name.split(".")
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = entry["value"]
    run.raw_config = {name: {"value": value} for name, value in nested.items()}
    run.summary = {"_step": 40}
    group = read(tmp_path).runs.filter(pl.col("run_id") == run.id.rpartition("-")[2])
    folder = load_sweep(trained).runs.filter(pl.col("run_id") == group["run_id"][0])
    judged = ["state", "outcome", "phase", "steps", "t_train", "t_test", "data.p", "optimizer.weight_decay"]
    assert group.select(judged).rows() == folder.select(judged).rows()
    assert group["final.test_loss"].to_list() == folder["final.test_loss"].to_list()


def test_a_summary_older_than_the_rows_is_not_believed_and_asked_for_again(server, trained, tmp_path):
    run = next(run for run in server.runs.values() if run.exit_code == 0)
    whole = run.summary
    run.summary = whole | {"steps": 7, "phase": "comprehension"}
    name = run.id.rpartition("-")[2]
    assert read(tmp_path).runs.filter(pl.col("run_id") == name)["phase"].to_list() == ["confusion_so_far"]
    run.summary = whole
    assert_as_the_folder(read(tmp_path), load_sweep(trained))


def test_a_history_that_was_exported_to_parquet_is_read_whole(server, trained, tmp_path):
    for run in server.runs.values():
        # Lists: polars writes a kind of them that wandb's reader does not know.
        scalars = [{name: v for name, v in row.items() if not isinstance(v, list)} for row in run.history]
        content = io.BytesIO()
        pl.DataFrame(scalars, infer_schema_length=None).drop("weights_hash").write_parquet(content)
        run.parquet = content.getvalue()
    names = ["test_loss", "restricted_loss", "novel_acc"]
    group, folder = (load_rows(sweep, names) for sweep in (read(tmp_path), load_sweep(trained)))
    assert group.sort("run_id", "step").rows() == folder.sort("run_id", "step").rows()


@pytest.mark.parametrize(
    "state, expected",
    [("crashed", "interrupted"), ("killed", "interrupted"), ("pending", "planned"), ("failed", "failed")],
)
def test_states_are_said_in_our_words(server, trained, tmp_path, state, expected):
    run = next(iter(server.runs.values()))
    run.state = state
    found = read(tmp_path).runs.filter(pl.col("run_id") == run.id.rpartition("-")[2])
    assert found["state"].to_list() == [expected]


def test_a_failed_run_that_says_where_it_diverged_is_diverged(server, trained, tmp_path):
    run = next(run for run in server.runs.values() if run.exit_code == 0)
    run.exit_code = 1
    run.summary |= {"diverged_at": 40}
    found = read(tmp_path).runs.filter(pl.col("run_id") == run.id.rpartition("-")[2])
    assert found.select("state", "outcome", "diverged_at").rows() == [("diverged", "diverged", 40)]


# --- what is wrong is said in one line ----------------------------------------------------------------------


def message(tmp_path, path: str = GROUP) -> str:
    forget()
    with pytest.raises(ValueError, match=r".") as caught:
        load_group(path, tmp_path / "cache")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_place_that_is_none_is_said_before_anyone_is_asked(server, tmp_path):
    assert "--wandb takes entity/project/group" in message(tmp_path, "grok_sweep/a sweep")
    assert server.requests == []


def test_unknown_projects_and_groups_are_said_with_what_there_is(server, trained, tmp_path):
    assert "no such project" in message(tmp_path, "tester/gork_sweep/a sweep")
    assert message(tmp_path, "tester/grok_sweep/a swep").endswith("did you mean a sweep?")
    assert message(tmp_path, "tester/grok_sweep/x").endswith("newest groups there: a sweep")


def test_without_key_or_network_the_way_out_is_said_and_where_the_last_reading_lies(
    server, trained, tmp_path, monkeypatch
):  # fmt: skip
    there = str(read(tmp_path).path)
    with monkeypatch.context() as changed:
        changed.setenv("WANDB_API_KEY", "local-" + "9" * 40)
        assert "the key is refused" in message(tmp_path)
        changed.delenv("WANDB_API_KEY")
        said = message(tmp_path)
        assert "no key; set WANDB_API_KEY" in said
        assert said.endswith(f"as it was last read, it lies in {there}")
        changed.setenv("WANDB_API_KEY", server.key)
        changed.setenv("WANDB_BASE_URL", NOWHERE)
        changed.setenv("WANDB_HTTP_TIMEOUT", "2")
        assert f"no answer from {NOWHERE}" in message(tmp_path)
    assert load_sweep(there).runs.height == 3


def test_nothing_of_wandbs_is_left_in_the_way(server, trained, tmp_path, capfd, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    read(tmp_path)
    assert not (tmp_path / "temporary" / "tester").exists(), "wandb makes a folder for each run that it lists"
    forget()
    assert capfd.readouterr() == ("", "")
    names = {file.name for file in (tmp_path / "cache").rglob("*") if file.is_file()}
    assert names == {"plan.jsonl", "settings.json", "metrics.jsonl", "summary.json", "status.json", "fetched.json"}


def test_two_runs_of_one_name_are_told_apart(server, trained, tmp_path):
    run = next(iter(server.runs.values()))
    twin = dataclasses.replace(run, id="copy-of-" + run.id)
    server.runs[twin.id] = twin
    group = read(tmp_path)
    assert group.runs["run_id"].n_unique() == group.runs.height == 4
    assert twin.id in group.runs["run_id"].to_list()
    assert json.loads((group.path / twin.id / "settings.json").read_text()) == run.config
