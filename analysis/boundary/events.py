"""When each run got there, as intervals, and what its time is modelled by: from the table of runs to arrays. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis import axes
from analysis.axes import FRAC_TRAIN, WEIGHT_DECAY
from analysis.boundary.likelihood import Array
from analysis.cells import time_of
from analysis.tooltips import seed_text

EVENTS = ("t_test", "t_novel", "t_train")
ALLOWED = (*axes.SEEDS, "n_steps", "steps", FRAC_TRAIN)
"""Settings that may vary beside the vertical one: steps censor, they do not change what happens before."""


@dataclass(frozen=True)
class Events:
    """Runs with a time, known or censored; one entry a run, in the table's order.

    Attributes:
        event: t_test, t_novel or t_train.
        y: full name of the second setting.
        lower, upper: [n_run], steps: the event came after `lower` and not after `upper`; inf: not within the run.
        frac, other: [n_run], train fraction and the second setting.
        seeds: [n_run, n_seed], 1 where the run has the seed. With split and initial seeds that vary on their own,
            the columns are those of both.
        run_budget: most steps run.
        left_out: runs without a time, by reason.
        named: [n_run], ", seed 1, run 3fa9c1d20b7e"; as much of it as the table has.
    """

    event: str
    y: str
    lower: Array
    upper: Array
    frac: Array
    other: Array
    seeds: Array
    run_budget: int
    left_out: Mapping[str, int]
    named: Sequence[str]

    @property
    def name(self) -> str:
        """The second setting's column: weight_decay."""
        return self.y.rpartition(".")[2]

    @property
    def positive(self) -> NDArray[np.bool_]:
        """[n_run], the second setting has a logarithm."""
        return self.other > 0


def events(runs: pl.DataFrame, event: str = "t_test", y: str | None = None, swept: Sequence[str] = ()) -> Events:
    """The runs' times.

    Args:
        runs: a row a run, as in grok_sweep.run_table, narrowed to one value of every setting but train fraction,
            seeds, steps and one more.
        y: full name of that one; None: the one that varies, weight decay if none does.
        swept: settings to look at beside those that change a run's numbers.

    Raises:
        ValueError: an unknown event; a further setting varies; the second setting is not a number in every run.
    """
    if event not in EVENTS:
        raise ValueError(f"unknown event {event}. Known: {', '.join(EVENTS)}")
    second = _second(runs, y, swept)
    for name in (FRAC_TRAIN, second):
        _require_numbers(runs, name)
    times, kept, left_out = [], [], Counter[str]()
    for i, run in enumerate(runs.select(_needed(runs, event)).iter_rows(named=True)):
        reason = _why_not(run, event)
        if reason is not None:
            left_out[reason] += 1
            continue
        kept.append(i)
        times.append(_interval(run, event))
    rows = runs[kept]
    bounds = np.array(times, dtype=np.float64).reshape(-1, 2)
    other = rows[second].cast(pl.Float64).to_numpy()
    name, without = second.rpartition(".")[2], int((other <= 0).sum())
    if without:
        left_out[f"{name} 0, which has no logarithm"] = without
    return Events(
        event=event,
        y=second,
        lower=bounds[:, 0],
        upper=bounds[:, 1],
        frac=rows[FRAC_TRAIN].cast(pl.Float64).to_numpy(),
        other=other,
        seeds=_seeds(rows),
        run_budget=int(rows["steps"].cast(pl.Int64).max() or 0),  # pyright: ignore[reportArgumentType]
        left_out=dict(left_out),
        named=[_named(run) for run in rows.select(_naming(rows)).iter_rows(named=True)],
    )


def distinct(x: Array) -> list[float]:
    """Values, ascending, each once."""
    return sorted(set(x.tolist()))


def _needed(runs: pl.DataFrame, event: str) -> list[str]:
    names = ("state", "steps", "has_novel", event, f"{event}_below")
    return [name for name in names if name in runs.columns]


def _why_not(run: Mapping[str, Any], event: str) -> str | None:
    """Why a run has no time; None where it has one."""
    if time_of(run, event) is not None and run["steps"] > 0:
        return None
    if run["state"] in ("diverged", "failed", "planned"):
        return run["state"]
    return "no step yet" if not run["steps"] else "no novel test pairs"


def _interval(run: Mapping[str, Any], event: str) -> tuple[float, float]:
    if run[event] is None:
        return float(run["steps"]), math.inf
    below = run[f"{event}_below"]
    return 0.0 if below is None else float(below), float(run[event])


def _naming(rows: pl.DataFrame) -> list[str]:
    return [name for name in ("run_id", *axes.SEEDS) if name in rows.columns]


def _named(run: Mapping[str, Any]) -> str:
    seed = seed_text(run).rstrip(", ")
    return "".join(f", {part}" for part in (seed, f"run {run['run_id']}" if "run_id" in run else "") if part)


# --- which settings -----------------------------------------------------------------------------------------


def _second(runs: pl.DataFrame, y: str | None, swept: Sequence[str]) -> str:
    varied = [name for name in _varied(runs, swept) if name not in ALLOWED]
    chosen = y if y is not None else next((n for n in (WEIGHT_DECAY, *varied) if n in varied), WEIGHT_DECAY)
    others = [name for name in varied if name != chosen]
    if others:
        values = "; ".join(
            f"{n} = {', '.join(map(axes.value_text, axes.in_order(runs[n].to_list())))}" for n in others
        )
        raise ValueError(
            f"the boundary is fitted over {FRAC_TRAIN} and {chosen} with all else fixed, and here more varies: "
            f"{values}. Choose one value of each, for example "
            + " ".join(f"--where {n}={axes.value_text(axes.in_order(runs[n].to_list())[0])}" for n in others)
        )
    return chosen


def _varied(runs: pl.DataFrame, swept: Sequence[str]) -> tuple[str, ...]:
    asked = [name for name in swept if name in runs.columns]
    numbers = [*asked, *(name for name in runs.columns if name.startswith(axes.NUMERICAL))]
    sizes = [name for name in ("model.d_model", "model.n_heads") if name in runs.columns]
    varied = [name for name in numbers if runs[name].n_unique() > 1]
    needed = list(dict.fromkeys([*varied, *sizes]))
    return axes.swept(runs.select(needed).unique(maintain_order=True).to_dicts(), asked)


def _require_numbers(runs: pl.DataFrame, name: str) -> None:
    if name not in runs.columns:
        raise ValueError(f"the boundary needs the setting {name}, which the table of runs lacks")
    if not runs[name].dtype.is_numeric() or runs[name].null_count():
        values = ", ".join(map(axes.value_text, axes.in_order(runs[name].to_list())))
        raise ValueError(f"the boundary needs a number for {name} in every run, got {values}; choose another setting")


# --- seeds --------------------------------------------------------------------------------------------------


def _seeds(rows: pl.DataFrame) -> Array:
    """Indicator columns of the seeds; a seed that only follows another one adds none."""
    found: list[Array] = []
    for name in axes.SEEDS:
        if name in rows.columns and rows[name].n_unique() > 1:
            codes = rows[name].rank("dense").to_numpy() - 1
            found += [] if any(_same(codes, other) for other in found) else [codes]
    columns = [np.eye(int(codes.max()) + 1)[codes.astype(int)] for codes in found]
    return np.hstack(columns) if columns else np.ones((rows.height, 1))


def _same(a: Array, b: Array) -> bool:
    """Whether two codings part the runs alike."""
    pairs = {(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)}
    return len(pairs) == len(set(a.tolist())) == len(set(b.tolist()))
