"""A row a run, whatever state it is in: settings, state, times, phases and measures, from the files of its folder.

Runs that are done or diverged are taken from their summary; all others are judged from the rows logged so far, so
that a table of a live sweep is as honest as one of a finished sweep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import polars as pl

from grok_sweep.config import PhasesConfig, RunConfig, flat, resolved
from grok_sweep.phases import Crossing, phase, phase_scale_free, times
from grok_sweep.store import ENDED, PlannedRun, RunDir, State

TIMES = ("t_train", "t_test", "t_novel")
MEASURED = ("final.", "min.", "max.")
"""Prefixes of columns that are results, not settings."""
HEAD = ("run_id", "state", "error", "updated", "has_novel")
WHOLE = (
    "steps",
    "diverged_at",
    "grok_delay",
    *(f"{t}{end}" for t in TIMES for end in ("", "_below", "_sustained")),
)
"""Columns of whole numbers, also where all are null."""


def run_row(run_dir: RunDir, planned: PlannedRun) -> dict[str, Any]:
    """One run's row; a run whose files cannot be read counts as failed, with the reason as its error.

    Columns: run_id, state, error, updated, has_novel, every setting under its flat name, steps (last logged step),
    end, t_train, t_test, t_novel (steps; null: not reached) with _below (the last row under the threshold) and
    _sustained, grok_delay, phase, phase_scale_free, diverged_at, and final.<measure>, min.<measure>, max.<measure>.
    """
    settings = {**_defaults(), **planned.axes, **planned.settings}
    try:
        status = run_dir.status()
        state = State(status["state"])
        summary = run_dir.summary() if state in ENDED else None
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
        "error": status.get("error"),
        "updated": status.get("updated"),
        "has_novel": "final.novel_acc" in facts,
        **{name: _plain(value) for name, value in settings.items()},
        **facts,
    }


@lru_cache(maxsize=1)
def _defaults() -> dict[str, Any]:
    """For runs planned before a setting existed."""
    return flat(resolved(RunConfig()))


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
    return facts | {k: v for k, v in summary.items() if k.startswith(MEASURED) and _is_scalar(v)}


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


def table(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows with different keys as one table: what a run has not is null; what no run has is no column."""
    names = {name for row in rows for name in row}
    return _with_values({name: _series(name, [row.get(name) for row in rows]) for name in in_order(names)})


def _with_values(columns: Mapping[str, pl.Series]) -> pl.DataFrame:
    """Without measures that are null throughout: whether rows held these, or lacked them, cannot be told later."""
    always = {*HEAD, *WHOLE, *_defaults(), "end", "phase", "phase_scale_free"}
    return pl.DataFrame({n: c for n, c in columns.items() if n in always or c.null_count() < c.len()})


def in_order(names: set[str]) -> list[str]:
    """Columns as they stand in a table: whatever rows it was made of, and in whatever order these came."""
    return [*(name for name in HEAD if name in names), *sorted(names.difference(HEAD))]


def _series(name: str, values: list[Any]) -> pl.Series:
    if name in WHOLE:
        return pl.Series(name, values, dtype=pl.Int64)
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pl.Series(name, values, dtype=pl.Float64, strict=False)
    if len(kinds) > 1:
        return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)
    return pl.Series(name, values, dtype=None if kinds else pl.String)


def joined(one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame | None:
    """The rows of both, as `table` of all of them has it; None where that cannot be told from the tables.

    That is so for a column that holds words here and numbers there: its numbers were words to begin with.
    """
    columns = {}
    for name in in_order({*one.columns, *other.columns}):
        parts = [_column(frame, name) for frame in (one, other)]
        known = {part.dtype for part in parts if part.null_count() < part.len()}
        if len(known) > 1 and known != {pl.Int64, pl.Float64}:
            return None
        dtype = pl.Float64 if len(known) > 1 else known.pop() if known else parts[0].dtype
        columns[name] = pl.concat([part.cast(dtype) for part in parts])
    return _with_values(columns)


def _column(frame: pl.DataFrame, name: str) -> pl.Series:
    if name in frame.columns:
        return frame[name]
    return pl.Series(name, [None] * frame.height, dtype=pl.Int64 if name in WHOLE else pl.String)
