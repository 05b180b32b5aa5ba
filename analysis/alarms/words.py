"""The ranking as text: a table for the terminal, and the sentences that stand beside it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.alarms.alarm import FALSE_AFTER
from analysis.alarms.ranking import Ranking
from analysis.alarms.threshold import MOST_FALSE
from analysis.alarms.verdict import ADDS, BASELINE, HINDSIGHT, MEASURE, OTHERWISE, adds_whichever_way, says
from analysis.alarms.watched import ACCURACY
from analysis.aligned import aligned

GAINS = ("gain", *OTHERWISE)
HEADS = ("", "measure", "gain (ln)", "90 %", "lead (ln)", "detected", "too early", "false alarms", "verdict")


def text(ranking: Ranking) -> list[str]:
    """What was watched, the table, and what to know when reading it; a line each."""
    lines = [*sentences(ranking)]
    if ranking.table.height:
        lines += ["", *aligned([list(HEADS), *map(_line, ranking.table.to_dicts())]), ""]
    return [*lines, *notes(ranking)]


def sentences(ranking: Ranking) -> list[str]:
    """What was found, how many runs were watched for what, and which were left out."""
    found = ranking.choice.watched
    n_cells, *n_seeds = found.n_labels
    lines = [
        _conclusion(ranking),
        f"{found.n_events} runs with the event, {found.n_non_events} without; {_count(n_cells, 'cell')}, "
        f"{' x '.join(str(n) for n in n_seeds)} seed{'' if n_seeds == [1] else 's'}. "
        f"Event T: accuracy on novel test pairs stays at {ACCURACY:g} or more for two logs.",
    ]
    if n := ranking.choice.n_by_test_acc:
        lines.append(f"{_count(n, 'run')} without novel pairs: their event is that of all test pairs.")
    if left := ranking.choice.left_out:
        lines.append("Left out: " + "; ".join(f"{n} {why}" for why, n in left.items()) + ".")
    return lines


def _conclusion(ranking: Ranking) -> str:
    if few := ranking.why_too_few:
        return few[0].upper() + few[1:] + ". No rank."
    rows = [row for row in ranking.table.to_dicts() if row["role"] == MEASURE and row["rank"] is not None]
    best = next(row["best_baseline"] for row in ranking.table.to_dicts())
    ahead = [row["measure"] for row in rows if adds_whichever_way(row)]
    partly = [
        row["measure"] for row in rows if row["measure"] not in ahead and any(says(row, g) == ADDS for g in GAINS)
    ]
    told = f"surely earlier than {best}, the best baseline"
    lines = [f"{', '.join(ahead)}: {told}." if ahead else f"No measure of {len(rows)} is {told}."]
    if partly:
        lines.append(f"By some ways of counting undecided and too early alarms, not by all: {', '.join(partly)}.")
    return " ".join(lines)


def notes(ranking: Ranking) -> list[str]:
    """What to know when reading the table."""
    n = ranking.table.filter(ranking.table["rank"].is_not_null()).height
    lines = [
        "gain: mean lead ln(T/A) less the best baseline's, with its 90 % interval over cells and seeds; "
        "0.69 is twice as early.",
        f"false alarms: of runs without the event, undecided alarms counted as not false to as false; "
        f"too early: of runs with it, by more than {FALSE_AFTER:g} times. Thresholds allow {MOST_FALSE:.0%} of each, "
        "on other cells and other seeds.",
    ]
    if n >= 10:
        lines.append(
            f"Each interval stands by itself: of {n} measures that add nothing, about {n / 20:.0f} would seem to."
        )
    why: dict[str, list[str]] = {}
    for name, reason in ranking.refused.items():
        why.setdefault(reason, []).append(name)
    return [*lines, *(f"Not ranked, {reason}: {', '.join(names)}." for reason, names in why.items())]


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _line(row: Mapping[str, Any]) -> list[str]:
    rank = {BASELINE: "baseline", HINDSIGHT: "hindsight"}.get(
        row["role"], "" if row["rank"] is None else str(row["rank"])
    )
    alarms = f"{_share(row['false_alarms_decided'])}-{_share(row['false_alarms'])}"
    interval = f"{_signed(row['gain_low'])} to {_signed(row['gain_high'])}"
    shares = [_share(row[name]) for name in ("detection", "too_early")]
    return [
        rank,
        row["measure"],
        _signed(row["gain"]),
        interval,
        _signed(row["lead"]),
        *shares,
        alarms,
        row["verdict"],
    ]


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value + 0:+.2f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
