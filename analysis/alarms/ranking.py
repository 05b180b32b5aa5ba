"""Measures ranked by what they gain over the best of three baselines: test accuracy, test loss, settings alone. Pure.

Each measure rings at a threshold set on other cells and other seeds; its lead is ln(T / A), 0 if late or never; its
gain is its mean lead less the greatest mean lead of a baseline under the same rule. Intervals come from a bootstrap
over cells and seeds, in which thresholds and foretold times are found anew in every draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from analysis.alarms import admissible, watched
from analysis.alarms.admissible import Derived, is_hindsight, refusal
from analysis.alarms.judged import BASELINES, LEADS, LOGGED_BASELINES, NUMBERS, Judged, judge_all
from analysis.alarms.resampling import interval
from analysis.alarms.verdict import BASELINE, HINDSIGHT, MEASURE, TOO_FEW, verdict, why_too_few
from analysis.alarms.watched import Array, Choice, Watched
from grok_sweep.measures.table import K_FREE, Measure

N_DRAWS = 400
INTERVALS = (*LEADS.values(), *NUMBERS)
"""Columns with _low and _high beside them: the ends of their 90 % intervals."""
SCHEMA: dict[str, Any] = {
    "rank": pl.Int64, "measure": pl.String, "role": pl.String, "sees": pl.String, "kind": pl.String,
    "n_events": pl.Int64, "n_non_events": pl.Int64, "theta": pl.Float64,
    **{f"{name}{end}": pl.Float64 for name in INTERVALS for end in ("", "_low", "_high")},
    "best_baseline": pl.String, "verdict": pl.String,
}  # fmt: skip
ALARMS: dict[str, Any] = {
    "run_id": pl.String, "measure": pl.String, "theta": pl.Float64, "alarm": pl.Int64, "event": pl.Int64,
}  # fmt: skip


@dataclass(frozen=True)
class Ranking:
    """What `rank` found.

    Attributes:
        table: a row a measure or baseline, the greatest gain first; columns as in SCHEMA, explained in `rank`.
        refused: measure -> why it is not in the table.
        alarms: a row a run and measure: run_id, measure, theta, alarm, event (steps; null: never).
        choice: the runs watched, and those left out.
    """

    table: pl.DataFrame
    refused: dict[str, str]
    alarms: pl.DataFrame
    choice: Choice

    @property
    def why_too_few(self) -> str | None:
        """Why nothing could be ranked; None where something could."""
        return why_too_few(self.choice.watched)


def rank(
    rows: pl.DataFrame,
    runs: pl.DataFrame,
    swept: Sequence[str],
    rng: np.random.Generator,
    *,
    derived: Mapping[str, Derived] | None = None,
    n_draws: int = N_DRAWS,
) -> Ranking:
    """Which measure sees grokking coming.

    The table's columns: rank (null: not ranked); measure; role; sees; kind (of key frequencies); n_events and
    n_non_events; theta (median of the runs' thresholds, on the measure's scale); gain and lead (natural logarithms),
    gain_lenient and lead_lenient (with thresholds for which no undecided alarm is false), gain_in_time and
    lead_in_time (no lead for alarms that come too early); detection (share of events with A < T) and too_early (with
    3A < T); false_alarms (share of runs without an event that rang; undecided ones counted as false) and
    false_alarms_decided (as not false); each of these with _low and _high; best_baseline, over which the gain is;
    verdict.

    Args:
        rows: columns run_id, step, test_acc, test_loss, novel_acc and measures; all of them are judged.
        runs: the table of runs (analysis.load.Sweep.runs).
        swept: settings that vary, seeds included (Sweep.swept).
        derived: measures made from rows; one that peeks is refused.
        n_draws: of cells and seeds, for the intervals.
    """
    _require_columns(rows)
    made = dict(derived or {})
    rows, refused = admissible.with_derived(rows, made)
    logged = [name for name in rows.columns if name not in ("run_id", "step", *made)]
    lines = admissible.lines(logged, admissible.own_paths(runs))
    lines |= {name: one.line for name, one in made.items() if name not in refused}
    refused |= {name: why for name, line in lines.items() if (why := refusal(name, line, rows.schema[name]))}
    judged_lines = {name: line for name, line in lines.items() if line is not None and name not in refused}
    choice = watched.choose(rows, runs, swept)
    found: list[dict[str, Any]] = []
    alarms = [pl.DataFrame(schema=ALARMS)]
    for part, names in _parts(choice, judged_lines, refused):
        judged = judge_all(part, {name: judged_lines[name] for name in names}, swept, n_draws, rng)
        new = [name for name in judged if part is choice or name not in BASELINES]
        found += [_row(name, judged_lines.get(name), judged, part.watched) for name in new]
        alarms += [_alarms_of(name, judged[name], part) for name in new]
    return Ranking(_table(found), refused, pl.concat(alarms), choice)


def _require_columns(rows: pl.DataFrame) -> None:
    missing = [name for name in ("run_id", "step", "novel_acc", *LOGGED_BASELINES) if name not in rows.columns]
    if missing:
        raise ValueError(f"rows for alarms lack the columns {', '.join(missing)}; load what admissible.columns names")


def _parts(
    choice: Choice, lines: Mapping[str, Measure], refused: dict[str, str]
) -> Iterator[tuple[Choice, list[str]]]:
    """Measures that the same runs have logged, with the baselines; first those of all runs, with `choice` itself.

    A measure that only some runs have is compared with the baselines of these runs.
    """
    if not len(choice.watched.end):
        return
    everywhere = np.ones(len(choice.watched.end), dtype=bool)
    groups: dict[bytes, list[str]] = {everywhere.tobytes(): []}
    for name in (name for name in lines if name not in LOGGED_BASELINES):
        has = _has(name, lines[name], choice)
        if has.any():
            groups.setdefault(has.tobytes(), []).append(name)
        else:
            refused[name] = "no value in the runs watched"
    for key, names in groups.items():
        yield choice.only(np.frombuffer(key, dtype=bool)), [*LOGGED_BASELINES, *names]


def _has(name: str, line: Measure, choice: Choice) -> Array:
    """Which runs have logged a measure; one that needs key frequencies of its own may be null in a whole run."""
    held = np.isfinite(choice.logs.values(name)).sum(axis=1) > 0
    if line.kind == K_FREE or "measures.names" not in choice.runs.columns or not held.any():
        return held
    asked = choice.runs["measures.names"].fill_null("").str.split(",").list.contains(name.partition(".")[0])
    return held | asked.to_numpy()


# --- the tables ---------------------------------------------------------------------------------------------


def _row(name: str, line: Measure | None, judged: Mapping[str, Judged], found: Watched) -> dict[str, Any]:
    """A row of the table, but for its rank."""
    best = _best(judged, "lead")
    numbers = judged[name].numbers | {
        gain: judged[name].numbers[lead] - judged[_best(judged, lead)].numbers[lead] for lead, gain in LEADS.items()
    }
    row: dict[str, Any] = {
        "measure": BASELINES.get(name, name), "role": _role(name, line), "best_baseline": BASELINES[best],
        "sees": line.sees if line is not None else "settings", "kind": line.kind if line is not None else "",
        "n_events": found.n_events, "n_non_events": found.n_non_events, "theta": float(np.median(judged[name].theta)),
    }  # fmt: skip
    for number in INTERVALS:
        row |= dict(zip((number, f"{number}_low", f"{number}_high"), interval(numbers[number]), strict=True))
    return row | {"verdict": verdict(row, found)}


def _best(judged: Mapping[str, Judged], lead: str) -> str:
    """The baseline with the greatest mean lead in the sweep itself; in every draw it is the one compared with.

    Chosen anew in each draw, the one that varies most would win the most: the settings alone, whose threshold hangs
    on the cells next to the boundary.
    """
    return max(BASELINES, key=lambda baseline: judged[baseline].numbers[lead][0])


def _role(name: str, line: Measure | None) -> str:
    return BASELINE if name in BASELINES else HINDSIGHT if is_hindsight(name, line) else MEASURE


def _table(found: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """By gain, then those too few, by name, then hindsight measures; ranks for the first alone."""
    table = pl.DataFrame(found, schema=SCHEMA, strict=False)
    numbers = [name for name, dtype in SCHEMA.items() if dtype == pl.Float64]
    table = table.with_columns(pl.when(pl.col(n).is_finite()).then(pl.col(n)).alias(n) for n in numbers)
    few = pl.col("verdict").str.starts_with(TOO_FEW)
    gain = pl.when(~few).then(pl.col("gain"))
    table = table.sort(pl.col("role") == HINDSIGHT, few, -gain, "measure", nulls_last=True)
    ranked = (pl.col("role") == MEASURE) & ~few
    return table.with_columns(pl.when(ranked).then(ranked.cast(pl.Int64).cum_sum()).alias("rank"))


def _alarms_of(name: str, judged: Judged, part: Choice) -> pl.DataFrame:
    steps = {"alarm": judged.alarms, "event": part.watched.event}
    whole = [pl.Series(n, np.where(np.isfinite(v), v, -1)).cast(pl.Int64).replace(-1, None) for n, v in steps.items()]
    return pl.DataFrame([part.runs["run_id"], pl.Series("theta", judged.theta), *whole]).select(
        "run_id", pl.lit(BASELINES.get(name, name)).alias("measure"), "theta", "alarm", "event"
    )
