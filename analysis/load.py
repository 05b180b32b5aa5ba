"""A sweep's folder as a table: a row a run, whatever state each run is in.

Reads only; what a run's row holds is grok_sweep.run_table's. Where `python -m grok_sweep collect` has made
runs.parquet, and it is fresh, the rows are taken from there: the same ones, sooner.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from analysis import axes, outcomes
from grok_sweep.collected import read_rows, read_table
from grok_sweep.store import SweepDir, read_jsonl


@dataclass(frozen=True)
class Sweep:
    """A sweep read from its folder, or several as one (analysis.sources).

    Attributes:
        path: the folder in which each run's own is found under its run_id.
        runs: a row a run, in the plan's order: as grok_sweep.run_table has it, and its outcome.
        swept: settings with more than one value, in the order of the command line; seeds included.
        parts: of several sweeps as one, each by the name that stands in column `sweep` and, with a slash, before its
            runs' ids.
    """

    path: Path
    name: str
    runs: pl.DataFrame
    swept: tuple[str, ...]
    parts: Mapping[str, Sweep] = field(default_factory=dict)


def load_sweep(path: str | os.PathLike[str]) -> Sweep:
    """Read runs/<sweep>.

    Raises:
        ValueError: there is no such folder, or it holds no plan; the message says what was probably meant.
    """
    folder = Path(path)
    sweep = SweepDir(folder)
    plan = sweep.plan() if folder.is_dir() else []
    if not plan:
        raise ValueError(_no_plan(folder, sweep))
    runs = read_table(sweep, plan)
    ends = [outcomes.outcome(state, phase) for state, phase in runs.select("state", "phase").iter_rows()]
    runs = runs.insert_column(2, pl.Series("outcome", ends, dtype=pl.String))
    asked = dict.fromkeys(name for run in plan for name in run.axes)
    return Sweep(folder, folder.resolve().name, runs, swept_settings(runs, asked))


def load_rows(sweep: Sweep, names: Sequence[str], run_ids: Sequence[str] | None = None) -> pl.DataFrame:
    """Logged rows: columns run_id, step and each of `names`, the runs in their order, each by step.

    Args:
        names: measures, as docs/measures.md has them; null where a row lacks it.
        run_ids: of these runs alone; None: of all.
    """
    wanted = sweep.runs["run_id"].to_list() if run_ids is None else list(run_ids)
    if not sweep.parts:
        return read_rows(SweepDir(sweep.path), wanted, names)
    frames = [_rows_of_part(label, part, wanted, names) for label, part in sweep.parts.items()]
    place = pl.DataFrame({"run_id": wanted, "_place": range(len(wanted))}, schema_overrides={"run_id": pl.String})
    return stacked(frames).join(place, on="run_id").sort("_place", "step").drop("_place")


def _rows_of_part(label: str, part: Sweep, run_ids: Sequence[str], names: Sequence[str]) -> pl.DataFrame:
    """Of those runs that are this part's, under the names that they have in the whole."""
    own = [run_id.removeprefix(f"{label}/") for run_id in run_ids if run_id.startswith(f"{label}/")]
    return load_rows(part, names, own).with_columns(pl.format("{}/{}", pl.lit(label), "run_id").alias("run_id"))


def load_final_rows(sweep: Sweep, names: Sequence[str], run_ids: Sequence[str]) -> pl.DataFrame:
    """Rows of final_keys.jsonl, of the runs that have one: columns run_id, step and each of `names`, as load_rows."""
    schema = {"step": pl.Int64, **dict.fromkeys(names, pl.Float64)}
    frames = [pl.DataFrame(schema={"run_id": pl.String, **schema})]
    for run_id in run_ids:
        file = SweepDir(sweep.path).run(run_id).final_keys_file
        if file.exists():
            frames.append(_final_rows(file, schema).select(pl.lit(run_id).alias("run_id"), *schema).sort("step"))
    return pl.concat(frames)


def _final_rows(file: Path, schema: Mapping[str, Any]) -> pl.DataFrame:
    try:
        return pl.read_ndjson(file, schema=schema)
    except pl.exceptions.PolarsError:  # a line that is torn, or being written
        return pl.DataFrame(read_jsonl(file, strict=False), schema=schema)


def stacked(tables: Sequence[pl.DataFrame], otherwise: type[pl.DataType] = pl.Float64) -> pl.DataFrame:
    """The rows of all; what a table has not is null, and a column without values takes the type that others have.

    Args:
        otherwise: type of a column without values in any.
    """
    bare = [table.with_columns(pl.col(_without_values(table)).cast(pl.Null)) for table in tables]
    whole = pl.concat(bare, how="diagonal_relaxed")
    return whole.with_columns(pl.col(_without_values(whole)).cast(otherwise))


def _without_values(table: pl.DataFrame) -> list[str]:
    return [name for name in table.columns if table[name].null_count() == table.height]


def swept_settings(runs: pl.DataFrame, asked: Iterable[str]) -> tuple[str, ...]:
    """Settings of which these runs have more than one value; those that a command asked for come first."""
    asked = list(asked)
    sizes = [name for name in ("model.d_model", "model.n_heads") if name in runs.columns]
    varied = [name for name in runs.columns if name.startswith(axes.NUMERICAL) and runs[name].n_unique() > 1]
    needed = [name for name in dict.fromkeys([*asked, *varied, *sizes]) if name in runs.columns]
    return axes.swept(runs.select(needed).unique(maintain_order=True).to_dicts(), asked)


def _no_plan(folder: Path, sweep: SweepDir) -> str:
    """Why this folder is no sweep, in one line."""
    if not folder.exists():
        known = [item.name for item in folder.parent.iterdir() if item.is_dir()] if folder.parent.is_dir() else []
        near = difflib.get_close_matches(folder.name, known, n=1)
        return f"no such folder: {folder}" + (f"; did you mean {folder.parent / near[0]}?" if near else "")
    if not folder.is_dir():
        return f"{folder} is a file; expected a sweep's folder, runs/<sweep>"
    if sweep.plan_file.exists():
        return f"{sweep.plan_file} holds no run yet; is the sweep still being planned?"
    expected = f"{folder} is no sweep: it holds no plan.jsonl"
    if SweepDir(folder.resolve().parent).plan_file.exists():
        return f"{expected}; it looks like one run's folder: its sweep is {folder.parent}"
    inside = sorted(item.parent.name for item in folder.glob("*/plan.jsonl"))
    if inside:
        return f"{expected}; it holds sweeps: name one of them, for example {folder / inside[0]}"
    return f"{expected}; expected runs/<sweep>, as `.venv/bin/python launch.py -m …` makes it"
