"""Runs that differ only in their seed, as one cell of a map: counts, and times with honest censoring. Pure.

A run that ended (or stands) at step N without having generalised says only that its time is beyond N. Such a time
is neither dropped nor set to N: a quantile is a number where every possible value of the hidden times gives the
same number, and else a bound ("> 3,000").
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from analysis import axes
from analysis.labels import steps_text
from analysis.outcomes import GENERALISED, MIXED, NO_RUN, PHASES, STATES, outcome
from grok_sweep.store import State

LIVE = (State.running.value, State.interrupted.value)
TIMED_STATES = (State.done.value, *LIVE)
TIMES = ("t_train", "t_test", "t_novel", "grok_delay")
QUANTILES = {"median": 0.5, "q25": 0.25, "q75": 0.75}
NEEDED = ("run_id", "state", "outcome", "phase_scale_free", "steps", "has_novel", *TIMES[:3])
"""Columns of the runs' table that cells are made of, beside the settings."""


@dataclass(frozen=True)
class Time:
    """A time in steps; censored: it is beyond `step`, by how much is unknown."""

    step: int
    censored: bool = False


@dataclass(frozen=True)
class Quantile:
    """A quantile of times, in steps.

    Attributes:
        value: the quantile; None where hidden times decide it.
        bound: what it is at least; equals value where that is known.
        beyond: it is certainly above bound, not equal to it.
    """

    value: int | None
    bound: int
    beyond: bool

    def text(self) -> str:
        """525, "> 3,000" or "≥ 600"."""
        if self.value is not None:
            return steps_text(self.value)
        return f"{'>' if self.beyond else '≥'} {steps_text(self.bound)}"


def quantile(times: Sequence[Time], share: float) -> Quantile | None:
    """The first step by which more than `share` of the runs had crossed; None without runs.

    It is always a time that was seen, never a mean of two. With share 1/2 it has no value where at least half of
    the times are censored.

    Args:
        times: one per run.
        share: in [0, 1).
    """
    if not times:
        return None
    i = math.floor(share * len(times))
    # A crossing at a step precedes a time that is only known to be beyond the same step.
    earliest = sorted(times, key=lambda time: (time.step, time.censored))[i]
    latest = sorted(math.inf if time.censored else time.step for time in times)[i]
    known = not earliest.censored and latest == earliest.step
    return Quantile(earliest.step if known else None, earliest.step, earliest.censored)


def cells(runs: pl.DataFrame, x: str, y: str | None, others: Sequence[str] = ()) -> pl.DataFrame:
    """The table behind the map: a row for every combination of the axes' values, also those without a run.

    Where further settings are swept, such a block of rows for every combination of them that has a run.

    Columns beside the axes' own: n_runs; n_<phase> (runs with this outcome), n_<state> (runs in this state),
    n_unsettled_running and _interrupted (those of them that have not generalised); outcome and n_outcome (see
    `cell_outcome`), and both, with _scale_free, by the phases without a scale; n_generalised (of all runs),
    share_generalised (of the runs that are done; null if none is); for each of t_train, t_test, t_novel and
    grok_delay: _n (runs that have or may yet get one), _n_censored, _median, _q25, _q75 (steps; null where censoring
    hides them), _median_bound, and _median_text, _q25_text, _q75_text ("> 3,000"); steps_min, steps_max (done runs);
    run_ids (a list).

    Diverged, failed and planned runs are counted and left out of the times.
    """
    on_axes = [x] if y is None else [x, y]
    names = [*others, *on_axes]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in runs.select({*names, *NEEDED} & set(runs.columns)).to_dicts():
        groups.setdefault(tuple(run[name] for name in names), []).append(run)
    known = {key[: len(others)] for key in groups}
    blocks = [block for block in itertools.product(*(_values(runs, name) for name in others)) if block in known]
    up = [()] if y is None else [(value,) for value in _values(runs, y)]
    keys = [(*block, a, *b) for block in blocks for b in up for a in _values(runs, x)]
    rows = [dict(zip(names, key, strict=True)) | _cell(groups.get(key, [])) for key in keys]
    whole: dict[str, Any] = {
        name: pl.Int64 for name in rows[0] if name.endswith(("_median", "_q25", "_q75", "_bound"))
    }
    whole |= {"steps_min": pl.Int64, "steps_max": pl.Int64, "run_ids": pl.List(pl.String)}
    return pl.DataFrame(rows, schema_overrides=whole, infer_schema_length=None)


def _values(runs: pl.DataFrame, name: str) -> list[Any]:
    return axes.in_order(runs[name].to_list())


def _cell(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    states = Counter(run["state"] for run in runs)
    found = Counter(run["outcome"] for run in runs)
    scale_free = Counter(outcome(run["state"], run.get("phase_scale_free")) for run in runs)
    done = [run for run in runs if run["state"] == State.done.value]
    row: dict[str, Any] = {"n_runs": len(runs)}
    row["outcome"], row["n_outcome"] = cell_outcome(found)
    row["outcome_scale_free"], row["n_outcome_scale_free"] = cell_outcome(scale_free)
    row |= {f"n_{name}": found[name] for name in PHASES} | {f"n_{name}": states[name] for name in STATES}
    row |= {f"n_scale_free_{name}": scale_free[name] for name in PHASES}
    row |= {f"n_unsettled_{name}": found[name] for name in LIVE}
    row["n_generalised"] = sum(found[name] for name in GENERALISED)
    row["share_generalised"] = _generalised(done) / len(done) if done else None
    for name in TIMES:
        row |= _time_columns(name, [time for run in runs if (time := time_of(run, name)) is not None])
    steps = [run["steps"] for run in done if run["steps"] is not None]
    row |= {"steps_min": min(steps, default=None), "steps_max": max(steps, default=None)}
    return row | {"run_ids": [run["run_id"] for run in runs]}


def _generalised(runs: Sequence[Mapping[str, Any]]) -> int:
    return sum(run["outcome"] in GENERALISED for run in runs)


def cell_outcome(found: Mapping[str, int]) -> tuple[str, int]:
    """The most frequent outcome and how many runs have it; phases come before states, to show what is known so far.

    Equally frequent ones are MIXED (the number is that of each of them); a cell without runs is NO_RUN.
    """
    phases = {name: n for name, n in found.items() if n and name in PHASES}
    candidates = phases or {name: n for name, n in found.items() if n}
    most = max(candidates.values(), default=0)
    first = [name for name, n in candidates.items() if n == most]
    return (first[0] if len(first) == 1 else (MIXED if first else NO_RUN)), most


def time_of(run: Mapping[str, Any], name: str) -> Time | None:
    """A run's t_train, t_test, t_novel or grok_delay; None where it has none to wait for.

    That is a run that is diverged, failed or not begun; t_novel of a task without novel pairs; and the delay of a
    run that has not fitted its train pairs, for then the clock has not started.
    """
    if run["state"] not in TIMED_STATES or run["steps"] is None:
        return None
    if name == "t_novel" and not run["has_novel"]:
        return None
    if name == "grok_delay":
        return _delay(run)
    return Time(run["steps"], censored=True) if run[name] is None else Time(run[name])


def _delay(run: Mapping[str, Any]) -> Time | None:
    if run["t_train"] is None:
        return None
    end, censored = (run["steps"], True) if run["t_test"] is None else (run["t_test"], False)
    return Time(end - run["t_train"], censored)


def _time_columns(name: str, times: Sequence[Time]) -> dict[str, Any]:
    row: dict[str, Any] = {f"{name}_n": len(times), f"{name}_n_censored": sum(time.censored for time in times)}
    for end, share in QUANTILES.items():
        found = quantile(times, share)
        row[f"{name}_{end}"] = found.value if found else None
        row[f"{name}_{end}_text"] = found.text() if found else ""
        if end == "median":
            row[f"{name}_median_bound"] = found.bound if found else None
    return row
