"""Files of sweeps and runs: what a kill, a full disk or a second writer may leave, and what is read then."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from grok_sweep import store
from grok_sweep.store import (
    PlannedRun,
    RunDir,
    State,
    SweepDir,
    by_first_digits,
    finite,
    last_row,
    load_tensors,
    read_json,
    read_jsonl,
    write_atomic,
    write_json,
)


def planned(run_id: str, n_steps: int = 7, **axes: Any) -> PlannedRun:
    return PlannedRun(run_id, {"data.p": 113, "n_steps": n_steps, "measures.names": ["gini_W_E"]}, axes)


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    folder = tmp_path / "sweep" / "0123456789ab"
    folder.mkdir(parents=True)
    return RunDir(folder)


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if ".tmp" in path.name]


# --- the plan -----------------------------------------------------------------------------------------------


def test_a_plan_is_read_as_it_was_written(tmp_path: Path):
    sweep = SweepDir(tmp_path / "new" / "sweep")
    assert sweep.plan() == []
    runs = [planned("a", **{"optimizer.weight_decay": 0.3}), planned("b")]
    sweep.add(runs)
    assert sweep.plan() == runs
    assert sweep.run("a").path == tmp_path / "new" / "sweep" / "a"


def test_a_plan_keeps_the_order_of_asking_and_the_last_line_of_a_run_wins(tmp_path: Path):
    sweep = SweepDir(tmp_path)
    sweep.add([planned("b"), planned("a")])
    sweep.add([planned("c"), planned("b", n_steps=11)])
    assert sweep.plan() == [planned("b", n_steps=11), planned("a"), planned("c")]


def test_asking_again_appends_nothing_and_new_runs_leave_old_lines_alone(tmp_path: Path):
    sweep = SweepDir(tmp_path)
    sweep.add([planned("a"), planned("b"), planned("a")])
    before = sweep.plan_file.read_bytes()
    assert before.count(b"\n") == 2
    sweep.add([planned("b"), planned("a")])
    sweep.add([])
    assert sweep.plan_file.read_bytes() == before
    sweep.add([planned("a"), planned("c")])
    assert sweep.plan_file.read_bytes().startswith(before)
    assert sweep.plan_file.read_bytes().count(b"\n") == 3


def test_a_generator_of_runs_will_do(tmp_path: Path):
    sweep = SweepDir(tmp_path)
    sweep.add(planned(name) for name in "ab")
    assert [run.run_id for run in sweep.plan()] == ["a", "b"]


def test_asking_for_nothing_makes_no_folder(tmp_path: Path):
    SweepDir(tmp_path / "sweep").add([])
    assert not (tmp_path / "sweep").exists()


def test_whatever_byte_a_plan_is_cut_at_its_whole_lines_are_read_and_asking_again_repairs_it(tmp_path: Path):
    sweep = SweepDir(tmp_path)
    runs = [planned("a"), planned("b"), planned("c")]
    sweep.add(runs)
    whole = sweep.plan_file.read_bytes()
    for n_bytes in range(len(whole)):
        sweep.plan_file.write_bytes(whole[:n_bytes])
        assert sweep.plan() == runs[: whole[:n_bytes].count(b"\n")], n_bytes
        sweep.add(runs)
        assert sweep.plan() == runs, n_bytes


def test_runs_of_a_plan_are_found_one_by_one_as_the_plan_has_them(tmp_path: Path):
    sweep = SweepDir(tmp_path)
    sweep.add([planned("a", wd=1.0), planned("b")])
    sweep.add([planned("c"), planned("a", n_steps=11)])
    whole = sweep.plan_file.read_bytes()
    for n_bytes in range(len(whole) + 1):
        sweep.plan_file.write_bytes(whole[:n_bytes])
        by_run = sweep.planned()
        for run in sweep.plan():
            assert by_run[run.run_id] == run, n_bytes
    with pytest.raises(KeyError):
        by_run["d"]


def test_launches_are_remembered_in_order_and_a_broken_history_is_kept_aside(tmp_path: Path):
    sweep = SweepDir(tmp_path / "s")
    assert sweep.launches() == []
    for number in range(3):
        sweep.add_launch({"n_runs": number})
    assert [launch["n_runs"] for launch in sweep.launches()] == [0, 1, 2]
    sweep.launches_file.write_text("{")
    sweep.add_launch({"n_runs": 3})
    assert [launch["n_runs"] for launch in sweep.launches()] == [3]
    assert (tmp_path / "s" / "sweep.json.broken").read_text() == "{"


def test_a_setting_that_json_cannot_hold_is_refused_before_the_plan_is_touched(tmp_path: Path):
    sweep = SweepDir(tmp_path)
    sweep.add([planned("a")])
    before = sweep.plan_file.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        sweep.add([planned("b"), planned("c", x=math.inf)])
    assert sweep.plan_file.read_bytes() == before


# --- rows ---------------------------------------------------------------------------------------------------


def test_rows_are_read_as_they_were_written(run_dir: RunDir):
    rows = [{"step": 0, "train_loss": 0.1 + 0.2}, {"step": 1, "train_loss": 1e-300, "key_freqs": [3, 23]}]
    metrics = run_dir.open_metrics([])
    for row in rows:
        metrics.append(row)
    assert run_dir.rows() == rows
    metrics.sync()
    metrics.close()
    assert run_dir.metrics_file.read_bytes().count(b"\n") == 2


def test_what_is_not_finite_becomes_null_in_lists_too(run_dir: RunDir):
    row = {"step": 3, "a": math.nan, "b": -math.inf, "c": [1.5, math.nan, [math.inf, 2]], "d": None, "e": "nan"}
    run_dir.open_metrics([]).append(row)
    expected = {"step": 3, "a": None, "b": None, "c": [1.5, None, [None, 2]], "d": None, "e": "nan"}
    assert run_dir.rows() == [expected]
    assert {name: finite(value) for name, value in row.items()} == expected
    assert math.isnan(row["a"]), "the row of the caller stays as it is"


def test_a_row_is_one_write(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch):
    metrics = run_dir.open_metrics([])
    written: list[bytes] = []
    monkeypatch.setattr(store.os, "write", lambda fd, content: written.append(bytes(content)) or len(content))
    metrics.append({"step": 0, "excluded_loss_k": list(range(10_000))})
    assert len(written) == 1
    assert written[0].endswith(b"\n")


def test_a_write_that_the_system_cuts_short_is_continued(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch):
    metrics = run_dir.open_metrics([])
    write = os.write
    monkeypatch.setattr(store.os, "write", lambda fd, content: write(fd, content[:5]))
    metrics.append({"step": 12, "train_loss": 0.25})
    assert run_dir.rows() == [{"step": 12, "train_loss": 0.25}]


def test_opening_keeps_the_given_rows_and_no_other(run_dir: RunDir):
    run_dir.metrics_file.write_text('{"step": 0}\n{"step": 1}\n{"step": 2}\n{"st')
    metrics = run_dir.open_metrics(run_dir.rows()[:2])
    metrics.append({"step": 2, "again": True})
    assert run_dir.rows() == [{"step": 0}, {"step": 1}, {"step": 2, "again": True}]


def test_opening_fences_an_old_writer(run_dir: RunDir):
    """A worker that was suspended, lost its run and woke up still holds the old file."""
    old = run_dir.open_metrics([])
    old.append({"step": 0, "writer": "old"})
    new = run_dir.open_metrics(run_dir.rows())
    old.append({"step": 1, "writer": "old"})
    new.append({"step": 1, "writer": "new"})
    old.append({"step": 2, "writer": "old"})
    assert [(row["step"], row["writer"]) for row in run_dir.rows()] == [(0, "old"), (1, "new")]


def test_whatever_byte_metrics_are_cut_at_the_whole_rows_are_read(run_dir: RunDir):
    rows = [{"step": i, "train_loss": i / 7, "key_freqs": [i, 2 * i]} for i in range(4)]
    run_dir.open_metrics(rows).close()
    whole = run_dir.metrics_file.read_bytes()
    for n_bytes in range(len(whole) + 1):
        run_dir.metrics_file.write_bytes(whole[:n_bytes])
        n_whole = whole[:n_bytes].count(b"\n")
        assert run_dir.rows() == rows[:n_whole], n_bytes
        assert last_row(run_dir.metrics_file, block=16) == (rows[n_whole - 1] if n_whole else None), n_bytes


def test_a_file_that_is_not_there_has_no_rows(run_dir: RunDir):
    assert run_dir.rows() == []
    assert last_row(run_dir.metrics_file) is None


@pytest.mark.parametrize("line", ["", "{'step': 1}", '{"step": 1', "\xff\xfe"])
def test_a_broken_line_that_is_not_the_last_is_an_error_with_file_and_number(run_dir: RunDir, line: str):
    run_dir.metrics_file.write_bytes(b'{"step": 0}\n' + line.encode("latin-1") + b'\n{"step": 2}\n')
    with pytest.raises(ValueError, match=re.escape(f"{run_dir.metrics_file}, line 2: no JSON: ")):
        run_dir.rows()
    assert read_jsonl(run_dir.metrics_file, strict=False) == [{"step": 0}, {"step": 2}]


def test_the_error_shows_the_head_of_a_long_broken_line_alone(run_dir: RunDir):
    run_dir.metrics_file.write_bytes(b"x" * 10_000 + b"\n")
    with pytest.raises(ValueError, match="line 1: no JSON") as caught:
        run_dir.rows()
    assert 80 <= str(caught.value).count("x") < 200


@pytest.mark.parametrize("block", [1, 7, 64, 1000, 65536])
@pytest.mark.parametrize("size", [0, 5, 900, 20_000])
@pytest.mark.parametrize("torn", ["", '{"step": 99, "long": "' + "y" * 3000])
def test_the_last_row_is_found_however_long_rows_are(tmp_path: Path, block: int, size: int, torn: str):
    file = tmp_path / "rows.jsonl"
    rows = [{"step": i, "filler": "x" * size} for i in range(3)]
    for n in (1, 3):
        file.write_text("".join(json.dumps(row) + "\n" for row in rows[:n]) + torn)
        assert last_row(file, block) == rows[n - 1]


def test_of_a_long_file_only_the_end_is_read(tmp_path: Path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"no JSON at all\n" * 1000 + b'{"step": 41}\n{"step": 43}\n')
    assert last_row(file, block=64) == {"step": 43}


# --- files that are replaced --------------------------------------------------------------------------------


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "summary.json"
    write_json(file, {"a": 1})

    def broken(*args: Any) -> None:
        raise OSError("no space left on device")

    for name in ("replace", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(store.os, name, broken)
            with pytest.raises(OSError, match="no space"):
                write_json(file, {"a": 2})
        assert read_json(file) == {"a": 1}
        assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_a_write_is_on_the_disk_before_it_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(store.os, "fsync", lambda fd: calls.append("fsync") or fsync(fd))
    monkeypatch.setattr(store.os, "replace", lambda *paths: calls.append("replace") or replace(*paths))
    write_atomic(tmp_path / "file", b"content")
    assert calls == ["fsync", "replace"]
    assert (tmp_path / "file").read_bytes() == b"content"


KILLED_BEFORE_THE_RENAME = """
import os, pathlib, signal, sys
from grok_sweep import store
store.os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
store.write_json(pathlib.Path(sys.argv[1]), {"a": 2})
"""


def test_a_writer_that_is_killed_before_the_rename_leaves_the_old_file(tmp_path: Path):
    file = tmp_path / "status.json"
    write_json(file, {"a": 1})
    command = [sys.executable, "-c", KILLED_BEFORE_THE_RENAME, str(file)]
    ran = subprocess.run(command, cwd=Path(__file__).parents[2], timeout=60)
    assert ran.returncode == -9
    assert read_json(file) == {"a": 1}
    assert len(leftovers(tmp_path)) == 1, "named so that a later attempt finds and removes it"
    assert leftovers(tmp_path)[0].startswith(".")


def test_what_is_fenced_off_changes_nothing(run_dir: RunDir):
    asked: list[list[str]] = []
    run_dir.write_status(State.running, step=1)

    def fence() -> None:
        asked.append(leftovers(run_dir.path))
        raise PermissionError("another's")

    fenced = RunDir(run_dir.path, fence)
    for write in (
        lambda: fenced.write_status(State.done, step=2),
        lambda: fenced.write(fenced.summary_file, {"a": 1}),
        lambda: fenced.save_checkpoint({"W": torch.zeros(2)}, {"step": 1}),
        lambda: fenced.save_snapshot(1, {"W": torch.zeros(2)}),
        lambda: fenced.open_metrics([{"step": 0}]),
    ):
        with pytest.raises(PermissionError, match="another's"):
            write()
    assert [len(files) for files in asked] == [1] * 5, "asked once the file is whole, before it has its name"
    assert run_dir.status()["step"] == 1
    assert [file.name for file in run_dir.path.rglob("*") if file.is_file()] == ["status.json"]


def test_a_file_that_was_removed_before_it_got_its_name_asks_the_fence_again(run_dir: RunDir):
    """Whoever takes a run over removes what is half-written."""

    def fence() -> None:
        if not leftovers(run_dir.path):
            raise PermissionError("another's")
        run_dir.remove_half_written()

    with pytest.raises(PermissionError, match="another's"):
        RunDir(run_dir.path, fence).write_status(State.done, step=2)

    asked: list[int] = []

    def passed() -> None:
        """The run is still ours: one who lost it removes, at the last moment, what it takes for half-written."""
        asked.append(len(leftovers(run_dir.path)))
        if len(asked) == 1:
            run_dir.remove_half_written()

    RunDir(run_dir.path, passed).write_status(State.done, step=2)
    assert run_dir.status()["step"] == 2
    assert asked == [1, 0, 1]
    run_dir.snapshots.mkdir()
    (run_dir.snapshots / ".step_1.tmp").touch()
    run_dir.remove_half_written()
    assert list(run_dir.snapshots.iterdir()) == []


def test_json_that_others_could_not_read_is_not_written(tmp_path: Path):
    file = tmp_path / "summary.json"
    write_json(file, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(file, {"a": math.nan})
    assert read_json(file) == {"a": 1}


def test_broken_json_is_an_error_that_names_the_file(run_dir: RunDir):
    assert read_json(run_dir.status_file) is None
    run_dir.status_file.write_text('{"state": "do')
    with pytest.raises(ValueError, match=re.escape(f"{run_dir.status_file}: no JSON: ")):
        run_dir.status()


# --- status, log --------------------------------------------------------------------------------------------


def test_a_run_without_a_status_is_planned(run_dir: RunDir):
    assert run_dir.state() is State.planned
    assert RunDir(run_dir.path / "nowhere").state() is State.planned
    assert run_dir.settings() is None
    assert run_dir.summary() is None


@pytest.mark.parametrize("state", State)
def test_status_is_read_as_it_was_written(run_dir: RunDir, state: State):
    run_dir.write_status(state, step=13, end=None)
    assert run_dir.state() is state
    assert run_dir.status().keys() == {"state", "step", "end", "updated"}
    assert run_dir.status()["step"] == 13


def test_states_are_those_of_the_contract():
    assert [state.value for state in State] == ["planned", "running", "interrupted", "done", "diverged", "failed"]


def test_the_log_grows_by_lines_each_with_its_time(run_dir: RunDir):
    run_dir.log("started")
    run_dir.log("failed:\nTraceback\n  at line 3\n")
    lines = run_dir.log_file.read_text().splitlines()
    stamped = [re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (.*)", line) for line in lines]
    assert [match and match[1] for match in stamped] == ["started", "failed:", "Traceback", "  at line 3"]


def test_a_run_is_found_by_the_first_digits_that_no_other_begins_with(tmp_path: Path):
    for name in ("4eacc902bfdb", "4eacc9ffffff", "053a8540bb28"):
        write_json(RunDir(tmp_path / name).settings_file, {})
    (tmp_path / "053a.txt").touch()
    assert by_first_digits(tmp_path / "053a") == tmp_path / "053a8540bb28"
    assert by_first_digits(tmp_path / "4eacc90") == tmp_path / "4eacc902bfdb"
    for unknown in ("4eacc9", "053", "ffff", "05*"):
        assert by_first_digits(tmp_path / unknown) == tmp_path / unknown
    (tmp_path / "053a").mkdir()
    assert by_first_digits(tmp_path / "053a") == tmp_path / "053a"


def test_files_bear_the_names_of_the_contract(tmp_path: Path):
    run, sweep = RunDir(tmp_path), SweepDir(tmp_path)
    files = {value.name for value in vars(run).values() if isinstance(value, Path)} - {tmp_path.name}
    assert files == {
        "settings.json", "metrics.jsonl", "summary.json", "status.json", "log.txt", "provenance.json",
        "checkpoint.safetensors", "final_keys.jsonl", "measured.jsonl", "snapshots", "wandb", "cancel.json",
    }  # fmt: skip
    assert {value.name for value in vars(sweep).values()} - {tmp_path.name} == {
        "plan.jsonl", "sweep.json", "provenance", "cancel.json", "claims", "workers", "ensembles", "code", "submitit",
        "jobs.jsonl", "runs.parquet", "metrics.parquet",
    }  # fmt: skip


# --- weights ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_checkpoint_comes_back_bit_for_bit_with_its_facts(run_dir: RunDir, dtype: torch.dtype):
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(5 * 7 + 11, dtype=dtype, generator=generator)
    flat[:4] = torch.tensor([math.nan, math.inf, -0.0, torch.finfo(dtype).tiny / 4])
    tensors = {
        "W_E": flat[:35].view(5, 7),  # parts of one vector, as a run holds them
        "b_in": flat[35:],
        "exp_avg/W_E": torch.randn(5, 7, dtype=dtype, generator=generator).T,  # not contiguous
        "n": torch.tensor(2**62),
    }
    facts = {"step": 1009, "seconds": 0.1 + 0.2, "conditions": [{"device": "cpu", "threads": 1}]}
    assert run_dir.load_checkpoint() is None
    run_dir.save_checkpoint(tensors, facts)
    loaded = run_dir.load_checkpoint()
    assert loaded is not None
    assert loaded[1] == facts
    assert loaded[0].keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[0][name].dtype == tensor.dtype
        assert loaded[0][name].shape == tensor.shape
        assert loaded[0][name].numpy().tobytes() == tensor.contiguous().numpy().tobytes(), name


def test_a_checkpoint_is_replaced_whole_or_not_at_all(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch):
    run_dir.save_checkpoint({"W": torch.ones(3)}, {"step": 1})
    with monkeypatch.context() as patch:
        patch.setattr(store.os, "replace", lambda *paths: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_dir.save_checkpoint({"W": torch.zeros(3)}, {"step": 2})
    loaded = run_dir.load_checkpoint()
    assert loaded is not None
    assert (loaded[0]["W"].tolist(), loaded[1]) == ([1, 1, 1], {"step": 1})
    run_dir.save_checkpoint({"W": torch.zeros(3)}, {"step": 2})
    loaded = run_dir.load_checkpoint()
    assert loaded is not None
    assert (loaded[0]["W"].tolist(), loaded[1]) == ([0, 0, 0], {"step": 2})
    assert leftovers(run_dir.path) == []


def test_a_loaded_checkpoint_does_not_hang_on_the_file(run_dir: RunDir):
    run_dir.save_checkpoint({"W": torch.ones(1009)}, {"step": 1})
    loaded = run_dir.load_checkpoint()
    run_dir.save_checkpoint({"W": torch.zeros(1009)}, {"step": 2})
    assert loaded is not None
    assert loaded[0]["W"].sum() == 1009


def test_snapshots_are_named_by_step_and_sort_by_it(run_dir: RunDir):
    for step in (1000, 0, 99):
        run_dir.save_snapshot(step, {"W_E": torch.full((2, 3), float(step))})
    files = sorted(run_dir.snapshots.iterdir())
    assert [file.name for file in files] == [
        "step_00000000.safetensors", "step_00000099.safetensors", "step_00001000.safetensors",
    ]  # fmt: skip
    tensors, metadata = load_tensors(files[1])
    assert metadata == {"step": "99"}
    assert torch.equal(tensors["W_E"], torch.full((2, 3), 99.0))
