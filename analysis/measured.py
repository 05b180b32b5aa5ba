"""Measures of the runs of a cell: at their last row, at their least, at their most, and at one step. Pure.

Runs that stopped at different times are compared at one step that all of them reached; their last rows, and extremes
over rows of different number, are taken too, and whatever shows them says how long the runs were.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import polars as pl

from grok_sweep.measures.table import ALWAYS, MEASURES, Measure
from grok_sweep.store import State

TAKEN = ("final", "min", "max", "at")
"""How a value is taken of a run: last row, least, most, last row at or before the common step."""
STANDING = [State.done.value, State.running.value, State.interrupted.value]


def measures(runs: pl.DataFrame) -> list[str]:
    """The scalar measures that some run has, in the order of the table of measures; one's own come last."""
    found = [
        name.removeprefix("final.")
        for name in runs.columns
        if name.startswith("final.") and runs[name].dtype.is_numeric()
    ]
    order = {name: i for i, name in enumerate([*ALWAYS, *MEASURES])}
    return sorted(found, key=lambda name: (order.get(name, order.get(name.partition(".")[0], len(order))), name))


def described(name: str) -> Measure | None:
    """The line of the table of measures; an entry of a dictionary (sum_sq.W_E) has that of the whole."""
    whole = name.partition(".")[0]
    return ALWAYS.get(name) or MEASURES.get(name) or MEASURES.get(whole)


def common_step(runs: pl.DataFrame) -> int | None:
    """The smallest last step of the runs that are done, else of those that go on; None before the first row."""
    for states in ([State.done.value], STANDING):
        steps = runs.filter(pl.col("state").is_in(states))["steps"].drop_nulls()
        if steps.len():
            return int(steps.min())  # pyright: ignore[reportArgumentType]
    return None


def full_rows(names: Sequence[str]) -> tuple[list[str], pl.Expr]:
    """Those of `names` that not every row has, and whether a row holds any of them."""
    chosen = [name for name in names if name not in ALWAYS]
    return chosen, pl.any_horizontal(pl.col(name).is_not_null() for name in chosen) if chosen else pl.lit(False)


def at_step(rows: pl.DataFrame, runs: pl.DataFrame, names: Sequence[str], step: int) -> pl.DataFrame:
    """run_id and at.<name> of each of `names`: the last row at or before `step`, of runs that came as far.

    Measures are taken of the last row that holds any; losses and accuracies stand in more rows than they do.

    Args:
        rows: columns run_id, step (ascending in each run) and `names`.
        runs: columns run_id and steps, a run's last one.
    """
    reached = runs.filter(pl.col("steps") >= step)["run_id"]
    early = rows.filter((pl.col("step") <= step) & pl.col("run_id").is_in(reached.to_list()))
    chosen, is_full = full_rows(names)
    always = [name for name in names if name in ALWAYS]
    of_losses = early.group_by("run_id").agg(pl.col(name).last().alias(f"at.{name}") for name in always)
    full = early.filter(is_full).group_by("run_id").agg(pl.col(name).last().alias(f"at.{name}") for name in chosen)
    return of_losses.join(full, on="run_id", how="left")


def quartiles(runs: pl.DataFrame, by: Sequence[str], step: int | None = None) -> pl.DataFrame:
    """For each group of runs and each final., min., max. and at. measure: _median, _q25, _q75, _n; and n_reached.

    Of the runs that have a value: for the first three of those that are done, for the last of all that stand. The
    quantiles lie between two values where they fall there (numpy's linear ones).

    Args:
        by: the settings that make a group.
        step: at which the at. measures were taken; n_reached counts the runs that came as far.
    """
    came = pl.col("state").is_in(STANDING) & (pl.col("steps") >= (step if step is not None else math.inf))
    aggregates = [came.sum().cast(pl.Int64).alias("n_reached")]
    for name in columns(runs):
        states = STANDING if name.startswith("at.") else [State.done.value]
        values = pl.col(name).cast(pl.Float64).filter(pl.col("state").is_in(states) & pl.col(name).is_not_null())
        aggregates += [values.median().alias(f"{name}_median"), values.len().cast(pl.Int64).alias(f"{name}_n")]
        for end, share in (("q25", 0.25), ("q75", 0.75)):
            aggregates.append(values.quantile(share, "linear").alias(f"{name}_{end}"))
    return runs.group_by(list(by), maintain_order=True).agg(aggregates)


def columns(runs: pl.DataFrame) -> list[str]:
    """The columns of the runs' table that hold a measure, by measure."""
    return [f"{taken}.{name}" for name in measures(runs) for taken in TAKEN if f"{taken}.{name}" in runs.columns]
