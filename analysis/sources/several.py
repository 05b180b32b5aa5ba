"""Several sweeps' folders as one sweep, in which the sweep itself is a setting.

A run is (sweep, run_id): its run_id here is <sweep>/<run_id>, which is also where its folder lies.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from analysis.axes import SWEEP
from analysis.load import Sweep, load_sweep, stacked, swept_settings
from grok_sweep import run_table


def load_sweeps(paths: Sequence[str | os.PathLike[str]]) -> Sweep:
    """Read one sweep's folder, or several as one.

    Raises:
        ValueError: none was named, one was named twice or stands inside another, or is no sweep.
    """
    if not paths:
        raise ValueError("no sweep was named; give one folder or several, runs/<sweep>")
    folders = [Path(path).resolve() for path in paths]
    twice = next((folder for i, folder in enumerate(folders) if folder in folders[:i]), None)
    if twice is not None:
        raise ValueError(f"{twice} was named twice; name each sweep once")
    if len(paths) == 1:
        return load_sweep(paths[0])
    root = Path(os.path.commonpath(folders))
    if root in folders:
        raise ValueError(f"{root} was named beside a folder inside it; name sweeps, runs/<sweep>")
    return joined({folder.relative_to(root).as_posix(): load_sweep(folder) for folder in folders}, root)


def joined(parts: Mapping[str, Sweep], root: Path) -> Sweep:
    """These sweeps as one.

    Args:
        parts: by their names here: each is also its folder's place in `root`.
    """
    runs = stacked([_named(label, part.runs) for label, part in parts.items()], otherwise=pl.String)
    runs = runs.with_columns(pl.col(name).cast(pl.Int64) for name in run_table.WHOLE)
    first = ["run_id", "state", "outcome", SWEEP]
    runs = runs.select(*first, *(name for name in run_table.in_order(set(runs.columns)) if name not in first))
    asked = dict.fromkeys([SWEEP, *(name for part in parts.values() for name in part.swept)])
    return Sweep(root, " + ".join(parts), runs, swept_settings(runs, asked), dict(parts))


def _named(label: str, runs: pl.DataFrame) -> pl.DataFrame:
    return runs.with_columns(pl.format("{}/{}", pl.lit(label), "run_id").alias("run_id"), pl.lit(label).alias(SWEEP))
