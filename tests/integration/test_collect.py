"""collect: Parquet caches that say what the files say, whenever and however often they are made."""

from __future__ import annotations

import json
import math
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from small_runs import plan_of, small_config
from synthetic_sweep import Counts, synthetic_sweep

from analysis.load import load_sweep
from grok_sweep import collected
from grok_sweep.__main__ import main
from grok_sweep.collected import BOOKKEEPING, collect, read_rows
from grok_sweep.config import DataConfig, MeasuresConfig, ModelConfig
from grok_sweep.store import PlannedRun, State, SweepDir, write_json
from grok_sweep.sweep.worker import work

COUNTS = Counts(running=2, dead=1, failed=3, diverged=2, interrupted=2, planned=3)


@pytest.fixture
def sweep(tmp_path: Path) -> SweepDir:
    return synthetic_sweep(tmp_path / "s", 24, 20, COUNTS)


def rows_of(sweep: SweepDir) -> pl.DataFrame:
    return pl.read_parquet(sweep.metrics_parquet)


def assert_metrics_are_the_files(sweep: SweepDir) -> None:
    """Every whole row once, every number to float32, nothing else."""
    table = rows_of(sweep)
    assert not table.select(pl.struct("run_id", "step").is_duplicated().any()).item()
    n_rows = 0
    for run in sweep.plan():
        rows = sweep.run(run.run_id).rows() if sweep.run(run.run_id).metrics_file.exists() else []
        ours = table.filter(run_id=run.run_id).sort("step").to_dicts()
        assert [row["step"] for row in ours] == [row["step"] for row in rows]
        for our, row in zip(ours, rows, strict=True):
            for name, value in row.items():
                if name != "weights_hash":
                    assert _close(our[name], value), (run.run_id, name, our[name], value)
            assert all(our[name] is None for name in our.keys() - row.keys() - {"run_id"})
        n_rows += len(rows)
    assert table.height == n_rows > 0


def _close(ours, value) -> bool:
    if isinstance(value, list):
        return len(ours) == len(value) and all(map(_close, ours, value))
    return ours == value if value is None else math.isclose(ours, value, rel_tol=1e-6)


def assert_the_caches_change_nothing(sweep: SweepDir) -> None:
    """What analysis reads with them is what it reads without."""
    cached = load_sweep(sweep.path)
    file = sweep.runs_parquet.rename(sweep.path / "aside")
    plain = load_sweep(sweep.path)
    file.rename(sweep.runs_parquet)
    assert_frame_equal(cached.runs, plain.runs, check_exact=True)
    assert cached.swept == plain.swept


def test_both_tables_hold_what_the_files_hold(sweep: SweepDir) -> None:
    made = collect(sweep)
    assert (made.n_runs, made.n_read) == (24, 21)
    assert_metrics_are_the_files(sweep)
    assert_the_caches_change_nothing(sweep)
    runs = pl.read_parquet(sweep.runs_parquet)
    assert runs["run_id"].to_list() == [run.run_id for run in sweep.plan()]
    for row in runs.to_dicts():
        summary = sweep.run(row["run_id"]).summary()
        assert row["state"] == sweep.run(row["run_id"]).state().value
        assert row["key_freqs"] == (None if summary is None else summary["key_freqs"])
        if summary is not None:
            assert {n: row[n] for n in ("t_test", "phase", "final.test_loss", "bitwise", "n_train")} == {
                n: summary[n] for n in ("t_test", "phase", "final.test_loss", "bitwise", "n_train")
            }


def test_the_caches_are_used(sweep: SweepDir, monkeypatch) -> None:
    collect(sweep)
    read = []
    run_row = collected.run_table.run_row
    monkeypatch.setattr(collected.run_table, "run_row", lambda d, run: read.append(run.run_id) or run_row(d, run))
    load_sweep(sweep.path)
    assert read == []
    changed = sweep.plan()[5]
    write_json(sweep.run(changed.run_id).status_file, {"state": "failed", "error": "later", "updated": 1.0})
    assert load_sweep(sweep.path).runs.filter(run_id=changed.run_id)["error"].to_list() == ["later"]
    assert read == [changed.run_id]


def test_a_second_collect_reads_what_has_changed_alone(sweep: SweepDir) -> None:
    collect(sweep)
    before = sweep.metrics_parquet.stat()
    again = collect(sweep)
    assert (again.n_read, again.n_rows_read) == (0, 0)
    assert sweep.metrics_parquet.stat() == before
    done, planned = sweep.plan()[0], sweep.plan()[-1]
    with sweep.run(done.run_id).metrics_file.open("a") as file:
        file.write(json.dumps({"step": 20_000, "train_loss": 0.5, "a_late_key": 3}) + "\n")
    sweep.run(planned.run_id).path.mkdir()
    sweep.run(planned.run_id).metrics_file.write_text('{"step": 0, "train_loss": 1}\n')
    again = collect(sweep)
    assert (again.n_read, again.n_rows_read) == (2, 22)
    assert_metrics_are_the_files(sweep)
    assert_the_caches_change_nothing(sweep)


def test_a_resumed_run_that_was_cut_back_has_no_row_twice(sweep: SweepDir) -> None:
    collect(sweep)
    run_dir = sweep.run(sweep.plan()[-4].run_id)
    run_dir.open_metrics(run_dir.rows()[:4]).close()
    collect(sweep)
    assert_metrics_are_the_files(sweep)


TRAPS = {
    "a torn last line": ['{"step": 0, "train_loss": 0.5}\n', '{"step": 1, "train_l'],
    "a key that comes late": [*(f'{{"step": {i}}}\n' for i in range(300)), '{"step": 300, "late": 0.5}\n'],
    "a whole number, then a fraction": ['{"step": 0, "x": 0}\n', '{"step": 1, "x": 0.5}\n'],
    "a list that is null at first": ['{"step": 0, "cos_sim_k": null}\n', '{"step": 1, "cos_sim_k": [1, 0.5]}\n'],
    "null in a list": ['{"step": 0, "cos_sim_k": [null, 0.5]}\n'],
    "null throughout": ['{"step": 0, "restricted_loss": null}\n'],
    "an empty list": ['{"step": 0, "key_freqs": []}\n', '{"step": 1, "key_freqs": [3, 6]}\n'],
}  # fmt: skip


@pytest.mark.parametrize("lines", TRAPS.values(), ids=TRAPS)
@pytest.mark.parametrize("batch_bytes", [1, collected.BATCH_BYTES])
def test_no_row_no_key_and_no_digit_is_lost(tmp_path, monkeypatch, lines: list[str], batch_bytes: int) -> None:
    """Alone and beside runs without the odd line, whether they are read together or one by one."""
    monkeypatch.setattr(collected, "BATCH_BYTES", batch_bytes)
    monkeypatch.setattr(collected, "_one_by_one", lambda run_dir: pytest.fail("read the slow way"))
    sweep = synthetic_sweep(tmp_path / "s", 3, 12, Counts(0, 0, 0, 0, 0, 0))
    sweep.run(sweep.plan()[1].run_id).metrics_file.write_text("".join(lines))
    collect(sweep)
    assert_metrics_are_the_files(sweep)


def test_a_broken_line_costs_itself_alone(tmp_path: Path) -> None:
    sweep = synthetic_sweep(tmp_path / "s", 2, 12, Counts(0, 0, 0, 0, 0, 0))
    run_dir = sweep.run(sweep.plan()[0].run_id)
    lines = run_dir.metrics_file.read_text().splitlines(keepends=True)
    run_dir.metrics_file.write_text("".join([*lines[:5], "no JSON\n", *lines[5:]]))
    collect(sweep)
    run_dir.metrics_file.write_text("".join(lines))
    assert_metrics_are_the_files(sweep)


@pytest.mark.parametrize("content", [b"", b"PAR1 no more", None])
def test_a_cache_that_is_torn_or_gone_is_made_anew(sweep: SweepDir, content: bytes | None) -> None:
    for file in (sweep.metrics_parquet, sweep.runs_parquet):
        collect(sweep)
        file.unlink() if content is None else file.write_bytes(content)
        load_sweep(sweep.path)
        collect(sweep)
        assert_metrics_are_the_files(sweep)
        assert_the_caches_change_nothing(sweep)


def test_a_cache_of_another_version_is_made_anew(sweep: SweepDir, monkeypatch) -> None:
    collect(sweep)
    monkeypatch.setattr(collected, "VERSION", "next")
    assert collect(sweep).n_read == 21


def test_a_plan_that_grows_or_changes_is_followed(sweep: SweepDir) -> None:
    collect(sweep)
    run = sweep.plan()[0]
    sweep.add([PlannedRun(run.run_id, run.settings | {"n_steps": 20_000}, run.axes | {"p": 97})])
    other = run.settings | {"data.split_seed": 99, "optimizer.decay": "l2"}
    sweep.add([PlannedRun("0123456789ab", other, {"data.split_seed": 99})])
    assert_the_caches_change_nothing(sweep)
    collect(sweep)
    assert_the_caches_change_nothing(sweep)


def test_words_where_there_were_numbers_are_words_everywhere(sweep: SweepDir) -> None:
    """A user's own axis, say."""
    first, *_, last = sweep.plan()
    sweep.add([PlannedRun(first.run_id, first.settings, first.axes | {"mine": 3})])
    collect(sweep)
    sweep.add([PlannedRun(last.run_id, last.settings, last.axes | {"mine": "three"})])
    assert_the_caches_change_nothing(sweep)


def test_real_runs_in_the_middle_of_their_training(tmp_path: Path) -> None:
    configs = [
        small_config(n_steps=40, data=DataConfig(p=p, frac_train=0.4), model=ModelConfig(d_model=16, init_seed=p))
        for p in (11, 13)
    ] + [small_config(n_steps=40, measures=MeasuresConfig(names=["gini_W_E"], every=7))]
    sweep, run_ids = plan_of(tmp_path / "s", *configs)
    work(sweep.path, run_ids[:1])
    looked = []

    def look(progress) -> None:
        looked.append(collect(sweep).n_rows)
        assert_metrics_are_the_files(sweep)
        assert_the_caches_change_nothing(sweep)

    assert set(work(sweep.path, run_ids, report=look).values()) == {State.done}
    assert len(looked) >= 2
    collect(sweep)
    assert_metrics_are_the_files(sweep)
    assert_the_caches_change_nothing(sweep)


def test_the_command_says_what_it_did(sweep: SweepDir, capsys) -> None:
    assert main(["collect", str(sweep.path)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("24 runs, 320 rows; read anew: 21 runs, 320 rows, in ")
    assert f"{sweep.metrics_parquet}  " in said
    assert not [file for file in sweep.path.iterdir() if file.name.endswith(".tmp")]


NAMES = ["excluded_loss", "excluded_loss_k", "key_freqs", "no_such_measure"]


def assert_rows_read(sweep: SweepDir, run_ids: list[str]) -> None:
    """`read_rows` gives what the files hold, run by run in the order asked for; null where a row lacks a name."""
    found = read_rows(sweep, run_ids, NAMES)
    assert found.columns == ["run_id", "step", *NAMES]
    expected = [
        {"run_id": run_id, "step": row["step"], **{name: row.get(name) for name in NAMES}}
        for run_id in run_ids
        for row in (sweep.run(run_id).rows() if sweep.run(run_id).metrics_file.exists() else [])
    ]
    assert found.height == len(expected) > 0
    for ours, row in zip(found.to_dicts(), expected, strict=True):
        assert (ours["run_id"], ours["step"]) == (row["run_id"], row["step"])
        assert all(_close(ours[name], row[name]) if row[name] is not None else ours[name] is None for name in NAMES)


def test_rows_come_from_the_cache_where_it_is_fresh_and_from_the_files_where_not(sweep: SweepDir, monkeypatch):
    run_ids = [run.run_id for run in sweep.plan()][::-1]
    assert_rows_read(sweep, run_ids)
    collect(sweep)
    stale = next(run_id for run_id in run_ids if sweep.run(run_id).metrics_file.exists())
    with sweep.run(stale).metrics_file.open("a") as file:
        file.write('{"step": 999999, "excluded_loss": 0.5, "key_freqs": [1, 2]}\n')
    read = []
    frames = collected._frames
    monkeypatch.setattr(collected, "_frames", lambda s, run_ids: (read.extend(run_ids), frames(s, run_ids))[1])
    assert_rows_read(sweep, run_ids)
    assert read == [stale]
    assert_rows_read(sweep, [stale])


def test_nothing_of_the_bookkeeping_reaches_analysis(sweep: SweepDir) -> None:
    collect(sweep)
    assert not {*BOOKKEEPING, *collected.EXTRAS} & set(load_sweep(sweep.path).runs.columns)
