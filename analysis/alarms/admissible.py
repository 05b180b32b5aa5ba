"""Which measures may be ranked: those with a fixed direction, whose value at t needs the weights up to t only. Pure.

Direction and scale come from the table of measures (docs/measures.md) and are never fitted to the runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from analysis.measured import described
from grok_sweep.measures.table import (
    FINAL,
    HINDSIGHT,
    HINDSIGHT_K,
    MEASURES,
    TAKEN,
    Measure,
    measure,
    own_name,
)

TEST_LABELS, TEST_INPUTS = "test labels", "test inputs"
N_CUTS = 8
"""At how many rows of each run the file is cut, to see whether a measure peeks."""


@dataclass(frozen=True)
class Derived:
    """A measure made from logged rows: a smoothed Gini, a ratio of two norms.

    Attributes:
        values: takes the rows of one run, by step, and returns a number (or null) a row.
        line: direction, scale, and what it sees.
    """

    values: Callable[[pl.DataFrame], pl.Series]
    line: Measure


def lines(names: Iterable[str], paths: Iterable[str] = ()) -> dict[str, Measure | None]:
    """Each column's line of the table; an entry's (sum_sq.W_E) is its measure's; None where there is none.

    Args:
        names: columns of logged rows.
        paths: dotted paths of the user's own measures, whose functions say their direction and scale.
    """
    own = {own_name(path): line for path in dict.fromkeys(paths) if (line := _own(path)) is not None}
    return {name: _line(name, own) for name in names}


def _line(name: str, own: Mapping[str, Measure]) -> Measure | None:
    if name in HINDSIGHT:
        return replace(MEASURES[HINDSIGHT[name]], kind=HINDSIGHT_K)
    return own.get(name) or own.get(name.partition(".")[0]) or described(name)


def _own(path: str) -> Measure | None:
    """None where the user's module is not to be had here: its columns are then unknown, and not ranked."""
    try:
        return measure(path)
    except (ValueError, ImportError):
        return None


def refusal(name: str, line: Measure | None, dtype: pl.DataType) -> str | None:
    """Why nothing can be said of a column; None where it can be drawn, and, unless it is hindsight, ranked."""
    if line is None:
        return "hindsight" if is_hindsight(name, line) else "in no table of measures: no direction"
    if line.is_vector or isinstance(dtype, pl.List):
        return "a list, with one number a frequency"
    return None if line.direction else "no direction in the table of measures"


def is_hindsight(name: str, line: Measure | None) -> bool:
    """Whether it uses the key frequencies of the last step: it may be drawn, never ranked."""
    return name.endswith(FINAL) or (line is not None and line.kind == HINDSIGHT_K)


def columns(runs: pl.DataFrame) -> list[str]:
    """The measures that runs have logged, as the table of runs tells: what to ask load_rows for."""
    prefixes = ("final.", "min.", "max.")
    found = (name.partition(".")[2] for name in runs.columns if name.startswith(prefixes))
    return [*dict.fromkeys(name for name in ("novel_acc", "test_acc", "test_loss", *found) if name not in TAKEN)]


def own_paths(runs: pl.DataFrame) -> list[str]:
    """Dotted paths among the measures that runs asked for."""
    if "measures.names" not in runs.columns:
        return []
    asked = (name for names in runs["measures.names"].drop_nulls().unique() for name in names.split(","))
    return sorted({name for name in asked if "." in name})


def first_peek(values: Callable[[pl.DataFrame], pl.Series], rows: pl.DataFrame) -> int | None:
    """The first step found whose value changes once the rows after it are cut off; None: it does not peek.

    Args:
        values: a measure made from the rows of one run.
        rows: of one run, by step. They are cut at N_CUTS places, and before the last row.
    """
    whole = _numbers(values(rows), rows.height)
    for n in sorted({round(rows.height * i / (N_CUTS + 1)) for i in range(1, N_CUTS + 1)} | {rows.height - 1}):
        if n < 1:
            continue
        cut = _numbers(values(rows.head(n)), n)
        same = np.isclose(cut, whole[:n], rtol=1e-9, atol=0, equal_nan=True)
        if not same.all():
            return int(rows["step"][int(np.argmin(same))])
    return None


def _numbers(values: pl.Series, n: int) -> np.ndarray:
    if len(values) != n:
        raise ValueError(f"a measure made from rows gives a number a row: {n} rows, got {len(values)} numbers")
    return values.cast(pl.Float64).fill_null(np.nan).to_numpy()


def with_derived(rows: pl.DataFrame, derived: Mapping[str, Derived]) -> tuple[pl.DataFrame, dict[str, str]]:
    """The rows with a column for each derived measure that does not peek; and why the others are refused."""
    runs = rows.partition_by("run_id", maintain_order=True)
    refused: dict[str, str] = {}
    for name, made in derived.items():
        step = next((step for run in runs if (step := first_peek(made.values, run)) is not None), None)
        if step is not None:
            refused[name] = f"it peeks: its value at step {step} is another one once later rows are known"
            continue
        runs = [run.with_columns(made.values(run).cast(pl.Float64).alias(name)) for run in runs]
    return (pl.concat(runs) if runs else rows), refused
