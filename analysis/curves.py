"""The logged rows of runs, thinned to what a page can hold. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from analysis.measured import full_rows
from grok_sweep.measures.table import FINAL

PANELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "Loss (nats)": ("log", ("train_loss", "test_loss", "novel_loss")),
    "Accuracy": ("linear", ("train_acc", "test_acc", "novel_acc")),
    "Progress measures (nats)": (
        "log",
        ("restricted_loss", "excluded_loss", f"restricted_loss{FINAL}", f"excluded_loss{FINAL}"),
    ),
    "Gini coefficient": ("linear", ("gini_W_E", "gini_W_L")),
    "Sum of squared weights": ("log", ("sum_sq_weights",)),
}
"""Panel -> scale and what it shows."""
CURVES = tuple(name for _, names in PANELS.values() for name in names)
HINDSIGHT = tuple(name for name in CURVES if name.endswith(FINAL))
"""With the final key frequencies, from rows of their own."""
LOGGED = tuple(name for name in CURVES if name not in HINDSIGHT)
MOST_POINTS = 100_000
"""Of all runs together."""
MOST_OF_A_RUN, LEAST_OF_A_RUN = 200, 50
UNDEFINED = "x"
"""Of a measure that has no value in a row that holds measures: a curve breaks there."""


def budget(n_runs: int) -> tuple[int, int]:
    """How many points a run, and of how many runs: where points would get too few, not every run is drawn."""
    n_points = min(MOST_OF_A_RUN, MOST_POINTS // max(n_runs, 1))
    return (n_points, n_runs) if n_points >= LEAST_OF_A_RUN else (LEAST_OF_A_RUN, MOST_POINTS // LEAST_OF_A_RUN)


def drawn(cells: Sequence[Sequence[str]], most: int) -> list[str]:
    """The runs that are drawn: the first of every cell, then the second of every cell …, until there are `most`.

    Every cell keeps one, however many that makes.
    """
    turns = max(map(len, cells), default=0)
    found: list[str] = []
    for turn in range(turns):
        these = [runs[turn] for runs in cells if turn < len(runs)]
        if found and len(found) + len(these) > most:
            break
        found += these
    return found


def thinned(rows: pl.DataFrame, n_points: int) -> pl.DataFrame:
    """At most n_points rows a run: the last of each of as many stretches, as even in the step as in its logarithm.

    So a curve is as fine on a linear axis of steps as on a logarithmic one. The last row stays.

    Args:
        rows: columns run_id and step, each run's rows together, ascending.
    """
    step = pl.col("step").cast(pl.Float64)
    last = step.max().over("run_id").clip(lower_bound=1.0)
    way = (step.log1p() / last.log1p() + step / last) / 2
    marked = rows.with_columns((way * (n_points - 1)).floor().cast(pl.Int32).alias("_stretch"))
    ends = (pl.col("_stretch") != pl.col("_stretch").shift(-1)) | (pl.col("run_id") != pl.col("run_id").shift(-1))
    return marked.filter(ends.fill_null(True)).drop("_stretch")


def joined(rows: pl.DataFrame, final: pl.DataFrame) -> pl.DataFrame:
    """Logged rows, and those with the final key frequencies beside them or, at steps of their own, between them.

    Args:
        rows: columns run_id and step, each run's rows together, ascending.
        final: the same two, of some of these runs, and HINDSIGHT.
    """
    order = {run_id: i for i, run_id in enumerate(rows["run_id"].unique(maintain_order=True))}
    both = rows.join(final, on=["run_id", "step"], how="full", coalesce=True)
    place = pl.col("run_id").replace_strict(order, return_dtype=pl.Int64, default=len(order))
    return both.sort(place, "step")


def csv(rows: pl.DataFrame, names: Sequence[str]) -> dict[str, str]:
    """run_id -> its rows as lines "step,value,…" without a head: four significant digits, no zero before the point.

    Empty: not taken in that row; UNDEFINED: taken, but without a value.
    """
    chosen, is_full = full_rows([name for name in names if name not in HINDSIGHT])
    columns = [pl.col("step").cast(pl.String)]
    for name in names:
        text = pl.col(name).cast(pl.Float64).round_sig_figs(4).cast(pl.String)
        short = text.str.replace(r"^0\.", ".").str.replace(r"\.0$", "").str.replace(r"\.0e", "e")
        absent = pl.when(is_full).then(pl.lit(UNDEFINED)).otherwise(pl.lit("")) if name in chosen else pl.lit("")
        columns.append(short.fill_null(absent))
    lines = rows.select("run_id", pl.concat_str(columns, separator=",").alias("line"))
    of_run = lines.group_by("run_id", maintain_order=True).agg(pl.col("line").str.join("\n"))
    return dict(of_run.iter_rows())


def shown(rows: pl.DataFrame) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The panels, with those of their curves that some run has; panels without any are left out."""
    found: Mapping[str, tuple[str, tuple[str, ...]]] = {
        panel: (scale, tuple(name for name in names if rows[name].null_count() < rows.height))
        for panel, (scale, names) in PANELS.items()
    }
    return {panel: (scale, names) for panel, (scale, names) in found.items() if names}
