"""A sweep's folder as a table: a row a run, whatever state each run is in.

Reads only; every file name and format is grok_sweep.store's. Runs that are done or diverged are taken from their
summary; all others are judged from the rows logged so far, so that a map of a live sweep is as honest as one
of a finished sweep.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from analysis import axes, outcomes
from grok_sweep.config import PhasesConfig, RunConfig, flat, resolved
from grok_sweep.phases import Crossing, phase, phase_scale_free, times
from grok_sweep.store import ENDED, PlannedRun, RunDir, State, SweepDir

TIMES = ("t_train", "t_test", "t_novel")


@dataclass(frozen=True)
class Sweep:
    """A sweep read from its folder.

    Attributes:
        runs: a row a run: run_id, state, outcome, every setting under its flat name, steps (last logged step),
            end, error, t_train, t_test, t_novel (steps; null: not reached) with _below (the last row under the
            threshold) and _sustained, grok_delay, phase, phase_scale_free, diverged_at, has_novel, and
            final.<measure>, min.<measure>, max.<measure>.
        swept: settings with more than one value, in the order of the command line; seeds included.
    """

    path: Path
    name: str
    runs: pl.DataFrame
    swept: tuple[str, ...]


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
    rows = [_row(sweep.run(run.run_id), run) for run in plan]
    swept = axes.swept(rows, [name for run in plan for name in run.axes])
    return Sweep(folder, folder.resolve().name, _frame(rows), swept)


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
    return f"{expected}; expected runs/<sweep>, as `python launch.py -m …` makes it"


# --- one run ------------------------------------------------------------------------------------------------


def _row(run_dir: RunDir, planned: PlannedRun) -> dict[str, Any]:
    """One run's row; a run whose files cannot be read counts as failed, with the reason as its error."""
    settings = {**flat(resolved(RunConfig())), **planned.axes, **planned.settings}
    try:
        status = run_dir.status()
        state = State(status["state"])
        summary = run_dir.summary() if state in ENDED else None
        if not isinstance(summary, dict | None):
            raise ValueError(f"{run_dir.summary_file} holds no object")
        logged = run_dir.rows() if summary is None else []
    except (ValueError, KeyError, TypeError, OSError) as error:
        status, state = {"error": f"unreadable: {error}"}, State.failed
        summary, logged = None, []
    if summary is not None:
        settings |= summary.get("settings", {})
        facts = _from_summary(summary)
    else:
        facts = _from_rows(logged, settings)
    return {
        "run_id": planned.run_id,
        "state": state.value,
        "outcome": outcomes.outcome(state.value, facts["phase"]),
        "error": status.get("error"),
        "updated": status.get("updated"),
        "has_novel": "final.novel_acc" in facts,
        **{name: _plain(value) for name, value in settings.items()},
        **facts,
    }


def _plain(value: Any) -> Any:
    """A setting as a table holds it: floats to 12 digits, as in run ids; lists as one string."""
    if isinstance(value, float):
        return float(format(value, ".12g"))
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _from_summary(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Times, phases and measures of a run that ended."""
    facts: dict[str, Any] = {name: summary.get(name) for name in ("steps", "end", "diverged_at", "grok_delay")}
    for name in TIMES:
        bracket = summary.get(f"{name}_bracket")
        facts[name] = summary.get(name)
        facts[f"{name}_below"] = bracket[0] if bracket else None
        facts[f"{name}_sustained"] = summary.get(f"{name}_sustained")
    facts["phase"] = summary.get("phase")
    facts["phase_scale_free"] = summary.get("phase_scale_free")
    measures = {k: v for k, v in summary.items() if k.startswith(("final.", "min.", "max.")) and _is_scalar(v)}
    return facts | measures


def _from_rows(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Times and phases so far; all null before the first row."""
    rule = PhasesConfig(settings["phases.accuracy"], settings["phases.gap"], settings["phases.budget"])
    found = times(rows, rule.accuracy)
    facts: dict[str, Any] = {"steps": rows[-1]["step"] if rows else None, "end": None, "diverged_at": None}
    for name, crossing in zip(TIMES, (found.train, found.test, found.novel), strict=True):
        facts |= _crossing(name, crossing)
    facts |= {"grok_delay": found.grok_delay, "phase": None, "phase_scale_free": None}
    if rows:
        t_train, t_test, steps = facts["t_train"], facts["t_test"], facts["steps"]
        facts["phase"] = phase(t_train, t_test, steps, settings["optimizer.lr"], rule).value
        facts["phase_scale_free"] = phase_scale_free(t_train, t_test, steps, rule.budget).value
        facts |= {f"final.{k}": v for k, v in rows[-1].items() if k != "step" and _is_scalar(v)}
    return facts


def _crossing(name: str, crossing: Crossing) -> dict[str, Any]:
    first, sustained = crossing.first, crossing.sustained
    return {
        name: first.above if first else None,
        f"{name}_below": first.below if first else None,
        f"{name}_sustained": sustained.above if sustained else None,
    }


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, list | dict)


# --- table --------------------------------------------------------------------------------------------------

WHOLE = (
    "steps",
    "diverged_at",
    "grok_delay",
    *(f"{t}{end}" for t in TIMES for end in ("", "_below", "_sustained")),
)


def _frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows with different keys as one table: what a run has not is null."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: _series(name, [row.get(name) for row in rows]) for name in names}
    return pl.DataFrame(columns)


def _series(name: str, values: list[Any]) -> pl.Series:
    if name in WHOLE:
        return pl.Series(name, values, dtype=pl.Int64)
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pl.Series(name, values, dtype=pl.Float64, strict=False)
    if len(kinds) > 1:
        return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)
    return pl.Series(name, values, dtype=None if kinds else pl.String)
