"""runs.parquet and metrics.parquet: caches of a sweep's files, made by `collect`; whatever is newer is read anew.

A file that a cache was made from is known by its time and size, taken before it was read. The files stay the truth: a
cache that is missing, torn or of another version is made anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from grok_sweep import run_table
from grok_sweep.store import ENDED, PlannedRun, RunDir, SweepDir, read_json, read_jsonl, write_atomic

VERSION = "1"
"""Another one makes the caches anew; raise it when what `run_table` says of a run changes."""
_PLANNED, _FILES, _ROWS, _VERSION = BOOKKEEPING = ("_planned", "_files", "_rows", "_version")
"""Columns of runs.parquet that say what it was made from."""
EXTRAS = ("key_freqs", "key_gap", "n_train", "bitwise", "budget")
"""Of summary.json, in runs.parquet beside what `run_table` holds."""
_ENDED = [state.value for state in ENDED]


# --- a row a run --------------------------------------------------------------------------------------------


def read_table(sweep: SweepDir, plan: Sequence[PlannedRun]) -> pl.DataFrame:
    """`run_table` of these runs, in their order: of runs.parquet where that is fresh, of their files where not."""
    cached = _cached(sweep)
    made = _table(sweep, plan, stamps(sweep, plan), cached)
    return made.drop([name for name in (*BOOKKEEPING, *EXTRAS) if name in made.columns])


def stamps(sweep: SweepDir, plan: Sequence[PlannedRun]) -> pl.DataFrame:
    """What the rows of these runs are made from, now."""
    folder, names = os.fspath(sweep.path), ("status.json", "summary.json", "metrics.jsonl")
    made_from = []
    for run in plan:
        status, summary, rows = (_stamp(f"{folder}/{run.run_id}/{name}") for name in names)
        made_from.append((run.run_id, _digest(run), status + summary, rows))
    return pl.DataFrame(made_from, schema=dict.fromkeys(("run_id", _PLANNED, _FILES, _ROWS), pl.String), orient="row")


def _digest(run: PlannedRun) -> str:
    return hashlib.blake2b(json.dumps([run.settings, run.axes]).encode(), digest_size=8).hexdigest()


def _stamp(file: str | os.PathLike[str]) -> str:
    try:
        found = os.stat(file)
    except OSError:
        return "-"
    return f"{found.st_mtime_ns}:{found.st_size};"


def _cached(sweep: SweepDir, names: Sequence[str] | None = None) -> pl.DataFrame | None:
    """runs.parquet, or these of its columns; None where it is missing, torn or of another version."""
    needed = {"run_id", "state", *BOOKKEEPING}
    try:
        if not needed <= set(pl.read_parquet_schema(sweep.runs_parquet)):
            return None
        cached = pl.read_parquet(sweep.runs_parquet, columns=None if names is None else [*names, _VERSION])
    except (OSError, pl.exceptions.PolarsError):
        return None
    return cached if (cached[_VERSION] == VERSION).all() else None


def _table(
    sweep: SweepDir, plan: Sequence[PlannedRun], now: pl.DataFrame, cached: pl.DataFrame | None
) -> pl.DataFrame:
    """The rows of these runs with the columns of runs.parquet; fresh ones from `cached`."""
    fresh = None if cached is None else _fresh(cached, now)
    known = set() if fresh is None else set(fresh["run_id"])
    stale = [run for run in plan if run.run_id not in known]
    made = None if fresh is not None and not stale else _read(sweep, stale)
    both = fresh if made is None else made if fresh is None else run_table.joined(fresh, made)
    if both is None:  # numbers here, words there
        both = _read(sweep, plan)
    marks = now.with_columns(pl.lit(VERSION).alias(_VERSION))
    both = both.drop([name for name in BOOKKEEPING if name in both.columns])
    return marks.join(both, on="run_id", how="left", maintain_order="left").select(
        *both.columns, _PLANNED, _FILES, _ROWS, _VERSION
    )


def _fresh(cached: pl.DataFrame, now: pl.DataFrame) -> pl.DataFrame | None:
    """The cached rows that are as their files are now; None where there are none."""
    at_end = pl.col("state").is_in(_ENDED)
    same = pl.all_horizontal(pl.col(name) == pl.col(f"{name}_now") for name in (_PLANNED, _FILES))
    rows_same = at_end | (pl.col(_ROWS) == pl.col(f"{_ROWS}_now"))
    found = cached.join(now, on="run_id", suffix="_now", maintain_order="left").filter(same & rows_same)
    return found.select(cached.columns) if found.height else None


def _read(sweep: SweepDir, runs: Sequence[PlannedRun]) -> pl.DataFrame:
    rows, extras = [], []
    for run in runs:
        run_dir = sweep.run(run.run_id)
        row = run_table.run_row(run_dir, run)
        rows.append(row)
        summary: dict[str, Any] = {}
        if row["state"] in _ENDED:
            with suppress(ValueError, OSError):
                summary = read_json(run_dir.summary_file) or {}
        extras.append({name: summary.get(name) for name in EXTRAS})
    table = run_table.table(rows)
    dtypes = (pl.List(pl.Int64), pl.Float64, pl.Int64, pl.Boolean, pl.Int64)
    more = pl.DataFrame(extras, schema=dict(zip(EXTRAS, dtypes, strict=True)), strict=False)
    return table.hstack([more[name] for name in EXTRAS if name not in table.columns])


# --- collect ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Collected:
    """What one `collect` did: runs in the tables, those of them that were read, rows in metrics.parquet."""

    n_runs: int
    n_read: int
    n_rows_read: int
    n_rows: int


BATCH_BYTES = 64 * 2**20
"""Of metrics.jsonl files that are read at once."""
ROW_GROUP = 40_000


def collect(sweep: SweepDir, report: Callable[[int, int], None] = lambda done, of: None) -> Collected:
    """Make runs.parquet and metrics.parquet, or bring them up to date; workers may write meanwhile.

    Args:
        report: hears how many of the runs to be read have been.
    """
    plan = sweep.plan()
    now, cached = stamps(sweep, plan), _cached(sweep)
    has_rows = now.filter(pl.col(_ROWS) != "-")
    changed = has_rows
    if cached is not None and _is_whole(sweep.metrics_parquet):
        changed = has_rows.join(
            cached.select("run_id", _ROWS), on=["run_id", _ROWS], how="anti", maintain_order="left"
        )
    n_rows_read = 0
    if changed.height or not _is_whole(sweep.metrics_parquet):
        n_rows_read = _collect_metrics(sweep, changed["run_id"].to_list(), set(has_rows["run_id"]), report)
    table = _table(sweep, plan, now, cached)
    content = io.BytesIO()
    table.write_parquet(content, compression="zstd")
    # Last: what it says of the rows holds once metrics.parquet stands.
    write_atomic(sweep.runs_parquet, content.getvalue())
    n_rows = pl.scan_parquet(sweep.metrics_parquet).select(pl.len()).collect().item()
    return Collected(len(plan), changed.height, n_rows_read, n_rows)


def _is_whole(file: Path) -> bool:
    try:
        return {"run_id", "step"} <= set(pl.read_parquet_schema(file))
    except (OSError, pl.exceptions.PolarsError):
        return False


def _collect_metrics(
    sweep: SweepDir, run_ids: Sequence[str], known: set[str], report: Callable[[int, int], None]
) -> int:
    """Replace metrics.parquet by one with these runs read anew, the others as they stand there; rows read."""
    temporary = [sweep.path / f".metrics.{os.getpid()}.{i}.tmp" for i in range(2)]
    whole, part = temporary
    parts: list[Path] = []
    try:
        nulls, n_rows = set(), 0
        for i, (frame, n_done) in enumerate(_frames(sweep, run_ids)):
            parts.append(part.with_suffix(f".{i}.tmp"))
            narrow, without_a_value = _narrow(frame)
            nulls |= without_a_value
            narrow.write_parquet(parts[-1], compression="lz4")
            n_rows += narrow.height
            report(n_done, len(run_ids))
        old = [pl.scan_parquet(sweep.metrics_parquet)] if _is_whole(sweep.metrics_parquet) else []
        kept = [each.filter(pl.col("run_id").is_in(sorted(known.difference(run_ids)))) for each in old]
        _together([*kept, *map(pl.scan_parquet, parts)], nulls).sink_parquet(
            whole, compression="zstd", row_group_size=ROW_GROUP
        )
        os.replace(whole, sweep.metrics_parquet)
        return n_rows
    finally:
        for file in (*temporary, *parts):
            file.unlink(missing_ok=True)


def _together(frames: Sequence[pl.LazyFrame], nulls: set[str]) -> pl.LazyFrame:
    if not frames:
        return pl.LazyFrame(schema={"run_id": pl.String, "step": pl.Int64})
    all_of_them = pl.concat(frames, how="diagonal_relaxed")
    missing = sorted(nulls.difference(all_of_them.collect_schema().names()))
    return all_of_them.with_columns(pl.lit(None, dtype=pl.Float32).alias(name) for name in missing)


def _narrow(frame: pl.DataFrame) -> tuple[pl.DataFrame, set[str]]:
    """The rows as metrics.parquet holds them, and the columns without a value, which fit every type.

    float32, so that ten thousand runs fit; hashes of weights, which do not compress, are left to metrics.jsonl.
    """
    nulls = {name for name in frame.columns if frame[name].null_count() == frame.height}
    kept = [name for name in frame.columns if name not in nulls and name != "weights_hash"]
    return frame.select(_narrowed(name, frame[name].dtype) for name in kept), nulls - {"run_id", "step"}


def _narrowed(name: str, dtype: Any) -> pl.Expr:
    if name == "step":
        return pl.col(name).cast(pl.Int64)
    if isinstance(dtype, pl.List):
        return pl.col(name).cast(pl.List(pl.Int32 if name.startswith("key_freqs") else pl.Float32))
    return pl.col(name).cast(pl.Float32) if dtype.is_numeric() or dtype == pl.Boolean else pl.col(name)


# --- rows ---------------------------------------------------------------------------------------------------


def read_rows(sweep: SweepDir, run_ids: Sequence[str], names: Sequence[str]) -> pl.DataFrame:
    """Logged rows of these runs, in their order, by step: columns run_id, step and each of `names`.

    Of metrics.parquet (whose numbers are float32) where that is fresh, of metrics.jsonl where not. A name that a row
    lacks is null there; one that no row has is null everywhere. Numbers are Float64, lists of them List(Float64).
    """
    there = {run_id: stamp for run_id in run_ids if (stamp := _stamp(sweep.run(run_id).metrics_file)) != "-"}
    made_from = _rows_made_from(sweep)
    fresh = [run_id for run_id, stamp in there.items() if made_from.get(run_id) == stamp]
    stale = [run_id for run_id, stamp in there.items() if made_from.get(run_id) != stamp]
    frames = [_cached_rows(sweep, fresh, names)] if fresh else []
    frames += [_picked(frame, names) for frame, _ in _frames(sweep, stale)]
    frames = [frame for frame in frames if frame.height]
    empty = pl.DataFrame(schema={"run_id": pl.String, "step": pl.Int64})
    rows = pl.concat(frames, how="diagonal_relaxed") if frames else empty
    missing = [name for name in names if name not in rows.columns]
    rows = rows.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in missing)
    place = pl.DataFrame(
        {"run_id": list(run_ids), "_place": range(len(run_ids))}, schema_overrides={"run_id": pl.String}
    )
    ordered = rows.join(place, on="run_id").sort("_place", "step")
    return ordered.select("run_id", "step", *dict.fromkeys(name for name in names if name not in ("run_id", "step")))


def _rows_made_from(sweep: SweepDir) -> dict[str, str]:
    """What metrics.parquet holds: run_id to the stamp of the file that its rows were read from."""
    cached = _cached(sweep, ("run_id", _ROWS))
    if cached is None or not _is_whole(sweep.metrics_parquet):
        return {}
    return dict(cached.select("run_id", _ROWS).iter_rows())


def _cached_rows(sweep: SweepDir, run_ids: Sequence[str], names: Sequence[str]) -> pl.DataFrame:
    rows = pl.scan_parquet(sweep.metrics_parquet)
    there = [name for name in names if name in rows.collect_schema()]
    every = rows.select("run_id", "step", *there)
    return _picked(every.filter(pl.col("run_id").is_in(run_ids)).collect(), names)


def _picked(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """These columns of the frame, those that it has, in the types of `read_rows`."""
    there = [name for name in dict.fromkeys(names) if name in frame.columns and name not in ("run_id", "step")]
    return frame.select(
        "run_id", pl.col("step").cast(pl.Int64), *(_widened(name, frame[name].dtype) for name in there)
    )


def _widened(name: str, dtype: Any) -> pl.Expr:
    if isinstance(dtype, pl.List):
        return pl.col(name).cast(pl.List(pl.Int64 if name.startswith("key_freqs") else pl.Float64))
    return pl.col(name).cast(pl.Float64) if dtype.is_numeric() or dtype in (pl.Boolean, pl.Null) else pl.col(name)


# --- metrics.jsonl, many at once ----------------------------------------------------------------------------


def _frames(sweep: SweepDir, run_ids: Sequence[str]) -> Iterator[tuple[pl.DataFrame, int]]:
    """The rows of these runs, many runs a frame, and how many runs that makes in all."""
    batch: list[tuple[str, bytes]] = []
    size = 0
    for n_done, run_id in enumerate(run_ids, 1):
        content = _whole_lines(sweep.run(run_id).metrics_file)
        batch.append((run_id, content))
        size += len(content)
        if size >= BATCH_BYTES or n_done == len(run_ids):
            frame = _frame(sweep, batch)
            if frame.height:
                yield frame, n_done
            batch, size = [], 0


def _whole_lines(file: Path) -> bytes:
    """Without a torn last line: a worker died, or is writing."""
    try:
        content = file.read_bytes()
    except OSError:
        return b""
    return content[: content.rfind(b"\n") + 1]


def _frame(sweep: SweepDir, batch: Sequence[tuple[str, bytes]]) -> pl.DataFrame:
    """Rows of several runs. Where a line is broken somewhere, each run is read by itself, without such lines."""
    counts = [content.count(b"\n") for _, content in batch]
    if sum(counts) == 0:
        return pl.DataFrame()
    try:
        # Every row is looked at for its keys and types: by default those of the first hundred count, and a key
        # that comes later is dropped without a word.
        frame = pl.read_ndjson(io.BytesIO(b"".join(content for _, content in batch)), infer_schema_length=None)
        if frame.height == sum(counts) and frame["step"].null_count() == 0:
            run_ids = pl.Series("run_id", [run_id for run_id, _ in batch], dtype=pl.String)
            return frame.insert_column(0, run_ids.gather(_repeated(counts)))
    except (pl.exceptions.PolarsError, KeyError):
        pass
    return pl.concat([_one_by_one(sweep.run(run_id)) for run_id, _ in batch], how="diagonal_relaxed")


def _repeated(counts: Sequence[int]) -> pl.Series:
    """[2, 3] -> 0 0 1 1 1"""
    return pl.select(pl.int_range(len(counts)).repeat_by(pl.Series(counts)).explode()).to_series()


def _one_by_one(run_dir: RunDir) -> pl.DataFrame:
    rows = [{"run_id": run_dir.path.name, **row} for row in read_jsonl(run_dir.metrics_file, strict=False)]
    rows = [row for row in rows if isinstance(row.get("step"), int)]
    names = dict.fromkeys(name for row in rows for name in row)
    whole = [{name: row.get(name) for name in names} for row in rows]
    return pl.from_dicts(whole, infer_schema_length=None) if whole else pl.DataFrame()
