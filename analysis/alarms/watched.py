"""The runs that are watched for the event, their clock, and what they share with one another. Pure.

Event T: the first logged step from which accuracy on novel test pairs stays at .9 or more for two logs. The clock of
a run starts at t_train. Left out: runs that had generalised by then, never memorised, or did not end in good order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from analysis.axes import SEEDS
from grok_sweep.store import State

Array = np.ndarray
ACCURACY = 0.9
ROUNDING = 1e-6
"""metrics.parquet holds float32, in which .9 is less than .9."""


@dataclass(frozen=True)
class Logs:
    """Logged rows as a matrix a measure, a row a run.

    Attributes:
        run_ids: of the rows of the matrices.
        steps: [n_runs, n_logs], ascending; inf after a run's last log.
        rows: of these runs, by run and step.
        at: where in a matrix each row stands.
    """

    run_ids: list[str]
    steps: Array
    rows: pl.DataFrame
    at: tuple[Array, Array]

    def values(self, name: str) -> Array:
        """[n_runs, n_logs]; nan where a row lacks the measure, or has no finite value."""
        found = np.full(self.steps.shape, np.nan)
        found[self.at] = self.rows[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        return np.where(np.isfinite(found), found, np.nan)


def logs(rows: pl.DataFrame, run_ids: Sequence[str]) -> Logs:
    """The rows of these runs; columns run_id, step and measures, each run by step."""
    number = pl.DataFrame(
        {"run_id": list(run_ids), "_run": range(len(run_ids))}, schema={"run_id": pl.String, "_run": pl.Int64}
    )
    kept = rows.join(number, on="run_id", how="inner").sort("_run", "step", maintain_order=True)
    log = kept.select(pl.int_range(pl.len()).over("_run")).to_series()
    at = kept["_run"].to_numpy(), log.to_numpy()
    steps = np.full((len(run_ids), 1 + int(at[1].max(initial=0))), np.inf)
    steps[at] = kept["step"].to_numpy()
    return Logs(list(run_ids), steps, kept.drop("_run"), at)


@dataclass(frozen=True)
class Watched:
    """What is known of each run that is watched; every array has a number a run.

    Attributes:
        t_train: when the clock starts, in steps.
        event: T in steps; nan where it did not happen.
        end: the last logged step.
        factors: labels 0, 1, … of what runs share: the cell first, then the seed, or each seed that varies by itself.
    """

    t_train: Array
    event: Array
    end: Array
    factors: tuple[Array, ...]

    @property
    def has_event(self) -> Array:
        return ~np.isnan(self.event)

    @property
    def n_events(self) -> int:
        return int(self.has_event.sum())

    @property
    def n_non_events(self) -> int:
        return int((~self.has_event).sum())

    @property
    def n_labels(self) -> tuple[int, ...]:
        """How many cells there are, and how many of each seed."""
        return tuple(len(np.unique(each)) for each in self.factors)

    def only(self, kept: Array) -> Watched:
        """Those runs where `kept` is True."""
        factors = tuple(_labels(each[kept]) for each in self.factors)
        return Watched(self.t_train[kept], self.event[kept], self.end[kept], factors)


def _labels(values: Array) -> Array:
    return np.unique(values, return_inverse=True)[1]


@dataclass(frozen=True)
class Choice:
    """The runs of a sweep that can be watched.

    Attributes:
        runs: of the table of runs, in the order of `logs` and `watched`.
        left_out: why -> how many.
        n_by_test_acc: runs without novel pairs (subtraction has none), whose event is that of all test pairs.
    """

    runs: pl.DataFrame
    logs: Logs
    watched: Watched
    left_out: dict[str, int] = field(default_factory=dict)
    n_by_test_acc: int = 0

    def only(self, kept: Array) -> Choice:
        """Those runs where `kept` is True."""
        if kept.all():
            return self
        runs = self.runs.filter(pl.Series(kept))
        return replace(
            self, runs=runs, logs=logs(self.logs.rows, runs["run_id"].to_list()), watched=self.watched.only(kept)
        )


def choose(rows: pl.DataFrame, runs: pl.DataFrame, swept: Sequence[str]) -> Choice:
    """Which runs are watched, and since when.

    Args:
        rows: columns run_id, step, test_acc, novel_acc and measures.
        runs: as analysis.load has it: run_id, state, t_train and settings.
        swept: the settings that vary, seeds included; runs that differ in the seeds alone share a cell.
    """
    left_out: dict[str, int] = {}

    def without(found: pl.DataFrame, kept: Array | pl.Series, why: str) -> pl.DataFrame:
        left = found.filter(pl.Series(kept, dtype=pl.Boolean))
        if left.height < found.height:
            left_out[why] = found.height - left.height
        return left

    for state in (State.diverged, State.failed):
        runs = without(runs, runs["state"] != state.value, state.value)
    runs = without(runs, runs["state"] == State.done.value, "not ended yet")
    runs = without(runs, runs["t_train"].is_not_null(), "never memorised, so that no clock starts")
    runs = without(runs, runs["run_id"].is_in(rows["run_id"].unique().to_list()), "without logged rows")
    found = logs(rows, runs["run_id"].to_list())
    event, by_test_acc = events(found)
    late = ~(event <= runs["t_train"].to_numpy())
    runs = without(runs, late, "generalised by the time they had memorised")
    found, event = logs(rows, runs["run_id"].to_list()), event[late]
    end = np.where(np.isfinite(found.steps), found.steps, -np.inf).max(axis=1, initial=-np.inf)
    watched = Watched(runs["t_train"].cast(pl.Float64).to_numpy(), event, end, factors(runs, swept))
    return Choice(runs, found, watched, left_out, int(by_test_acc[late].sum()))


def events(found: Logs) -> tuple[Array, Array]:
    """T of each run (nan: none), and whether it is that of all test pairs, for want of novel ones."""
    novel, test = found.values("novel_acc"), found.values("test_acc")
    without = np.array([np.isnan(run).all() for run in novel], dtype=bool)
    accuracy, steps = packed(np.where(without[:, None], test, novel), found.steps)
    above = accuracy >= ACCURACY - ROUNDING
    stays = above[:, :-1] & above[:, 1:]
    if not stays.shape[1]:
        return np.full(len(steps), np.nan), without
    first = np.take_along_axis(steps, stays.argmax(axis=1)[:, None], axis=1)[:, 0]
    return np.where(stays.any(axis=1), first, np.nan), without


def packed(values: Array, steps: Array) -> tuple[Array, Array]:
    """The logs with a value, moved to the front of each row: values then nan, steps then inf.

    Two logs in a row are two successive ones of the measure: rows of losses alone may stand between.
    """
    order = np.argsort(np.isnan(values), axis=1, kind="stable")
    values = np.take_along_axis(values, order, axis=1)
    return values, np.where(np.isnan(values), np.inf, np.take_along_axis(steps, order, axis=1))


def factors(runs: pl.DataFrame, swept: Sequence[str]) -> tuple[Array, ...]:
    """Labels of the cells, and of the seeds: one label for both seeds where they go together, else one for each."""
    settings = [name for name in swept if name in runs.columns and name not in SEEDS]
    seeds = [name for name in SEEDS if name in runs.columns and runs[name].n_unique() > 1]
    together = runs.select(seeds).n_unique() if seeds else 0
    if len(seeds) == 2 and together == max(runs[name].n_unique() for name in seeds):
        return _label(runs, settings), _label(runs, seeds)
    if not seeds:
        return _label(runs, settings), _label(runs, [])
    return _label(runs, settings), *(_label(runs, [name]) for name in seeds)


def _label(runs: pl.DataFrame, names: Sequence[str]) -> Array:
    """The same number for rows that are equal in these columns; 0 for all where there are none."""
    if not names:
        return np.zeros(runs.height, dtype=np.int64)
    return runs.select(pl.struct(names).rank("dense").cast(pl.Int64) - 1).to_series().to_numpy()
