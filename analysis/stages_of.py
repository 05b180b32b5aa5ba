"""Stages of runs in their folders: reads what the rule wants, and nothing else.

Draws are seeded by the run's id: a run has one answer, alone or in whatever table.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.random import Generator

from analysis.load import Sweep, load_rows
from analysis.stages import Stages, find_stages
from analysis.stages.evidence import ACCURACY, COLUMNS, Columns
from analysis.stages.result import BOUNDARIES
from grok_sweep.store import RunDir, SweepDir, read_jsonl

READ = (*COLUMNS, "key_freqs")


def stages_of_run(path: str | os.PathLike[str]) -> Stages:
    """The stages of the run whose folder this is, finished or not.

    Raises ValueError where it is no run's folder, or holds no row yet.
    """
    run_dir = RunDir(path)
    settings = run_dir.settings()
    if settings is None:
        raise ValueError(f"{run_dir.path} is no run's folder: it holds no {run_dir.settings_file.name}")
    rows = run_dir.rows()
    if not rows:
        raise ValueError(f"{run_dir.path} holds no logged row yet")
    return stages_of_rows(
        run_dir.path.resolve().name, rows, read_jsonl(run_dir.final_keys_file, strict=False), settings
    )


def stages_of_rows(
    run_id: str,
    rows: Sequence[Mapping[str, Any]],
    final_rows: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> Stages:
    """The stages of a run whose rows have been read, at least one: those of metrics.jsonl and of final_keys.jsonl."""
    return _stages(run_id, _columns(rows, READ), _as_columns(final_rows), settings)


def _stages(run_id: str, columns: Columns, final: Columns, settings: Mapping[str, Any]) -> Stages:
    accuracy = settings.get("phases.accuracy") or ACCURACY
    return find_stages(columns, settings["data.p"], final, generator=_generator(run_id), accuracy=accuracy)


def stages_of_sweep(sweep: Sweep) -> pl.DataFrame:
    """A row a run, in the sweep's order, with null where there is nothing to say.

    Columns: run_id; of each boundary B0, B1, B2, B3 its step, and with _status, _low, _high, _share behind the name
    the rest of `Boundary`; stages_confidence; stage (the one that the run ended in); stages_decided_by.
    """
    return table(sweep.runs["run_id"].to_list(), dict(each_run(sweep)))


def table(run_ids: Sequence[str], found: Mapping[str, Stages]) -> pl.DataFrame:
    """The table of `stages_of_sweep`, of stages that have been found."""
    empty = dict.fromkeys(_SCHEMA)
    rows = [{**empty, "run_id": i, **(_line(found[i]) if i in found else {})} for i in run_ids]
    return pl.DataFrame(rows, schema=_SCHEMA)


def each_run(sweep: Sweep) -> Iterator[tuple[str, Stages]]:
    """(run_id, its stages) of the runs that have rows."""
    named = [name for name in ("run_id", "data.p", "phases.accuracy") if name in sweep.runs.columns]
    settings = {run["run_id"]: run for run in sweep.runs.select(named).iter_rows(named=True)}
    logged = load_rows(sweep, READ)
    for (run_id,), rows in logged.partition_by("run_id", as_dict=True, maintain_order=True).items():
        final = _as_columns(read_jsonl(SweepDir(sweep.path).run(run_id).final_keys_file, strict=False))
        columns = {name: rows[name].to_list() for name in ("step", *READ)}
        yield run_id, _stages(run_id, columns, final, settings[run_id])


def _as_columns(rows: Sequence[Mapping[str, Any]]) -> Columns:
    return _columns(rows, {name for row in rows for name in row} - {"step"})


def _columns(rows: Sequence[Mapping[str, Any]], names: Sequence[str] | set[str]) -> Columns:
    return {name: [row.get(name) for row in rows] for name in ("step", *names)}


def _generator(run_id: str) -> Generator:
    return np.random.default_rng(list(run_id.encode()))


_SCHEMA: dict[str, Any] = {"run_id": pl.String}
for _name in BOUNDARIES:
    _SCHEMA |= {_name: pl.Int64, f"{_name}_status": pl.String}
    _SCHEMA |= {f"{_name}_{end}": pl.Float64 for end in ("low", "high", "share")}
_SCHEMA |= {"stages_confidence": pl.Float64, "stage": pl.String, "stages_decided_by": pl.String}


def _line(stages: Stages) -> dict[str, Any]:
    line: dict[str, Any] = {
        "stages_confidence": stages.confidence,
        "stage": stages.bands()[-1][0],
        "stages_decided_by": stages.decided_by,
    }
    for name, one in stages.boundaries.items():
        line |= {name: one.step, f"{name}_status": one.status.value}
        line |= {f"{name}_low": one.low, f"{name}_high": one.high, f"{name}_share": one.share}
    return line
