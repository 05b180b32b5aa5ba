"""Two sweeps cell by cell, seed by seed: how much later, or larger, is the other one. Pure.

Runs with the same split and the same initial network are a pair, so that what the seeds share cancels. A time that
a run did not reach is known only to lie beyond its last step: then the pair's difference is known only as a bound,
which is kept as one and counted. A median is a number where such bounds cannot move it, and else a bound itself.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import polars as pl

from analysis.axes import MEASURED, SEEDS, in_order, value_text
from analysis.cells import TIMES, time_of
from analysis.load import Sweep
from analysis.sources.spans import LN_RATIO, Row, difference, kind_of, sign, span
from grok_sweep.config import identity_of

BESIDE = ("n_steps", "phases.accuracy", "phases.gap", "phases.budget", "stop.test_loss")
"""Settings that change no number of a run but what is said of it: told where they differ."""
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Paired:
    """What two sweeps' common cells and seeds say.

    Attributes:
        labels: the names of the sweeps, a and b.
        settings: those that name a cell.
        pairs: a row a pair and quantity: settings, seeds, run_id_a, run_id_b, name, kind, value (null: hidden), low,
            high (its bounds), sign ("larger", "smaller", "same", "unknown": b against a), other_length (the runs'
            last steps differ).
        cells: a row a cell and quantity: settings, name, kind, n_pairs, n_known, n_at_least, n_at_most, n_hidden
            (value known; as a lower, as an upper bound; not at all), n_larger, n_smaller, n_same, n_unknown (signs),
            n_other_length, median (null: hidden), median_low, median_high, text.
        differs: setting and its values in a and in b, where all of a's are others than all of b's.
        unmatched: what was left out, and how many of it.
    """

    labels: tuple[str, str]
    settings: tuple[str, ...]
    pairs: pl.DataFrame
    cells: pl.DataFrame
    differs: tuple[tuple[str, str, str], ...]
    unmatched: Mapping[str, int]

    def lines(self) -> list[str]:
        """What was compared, what was left out, and the signs over all cells, as prose."""
        a, b = self.labels
        contrast = "; ".join(f"{name}: {of_a} in {a}, {of_b} in {b}" for name, of_a, of_b in self.differs)
        told = [f"{b} beside {a}; {contrast or 'no setting differs'}"]
        n_pairs = self.pairs.select(_seeded(self.settings)).n_unique() if self.pairs.height else 0
        n_cells = self.cells.select(self.settings).n_unique() if self.settings else min(n_pairs, 1)
        told.append(f"{n_pairs} pairs of runs in {n_cells} cells")
        named = {"of a ": f"of {a} ", "of b ": f"of {b} "}
        for what, n in self.unmatched.items():
            told += [f"left out: {n} {_with(named, what)}"] if n else []
        for name in self.cells["name"].unique(maintain_order=True):
            told.append(_signs(name, self.cells.filter(pl.col("name") == name), self.labels))
        return told


def paired(a: Sweep, b: Sweep, names: Sequence[str] = TIMES) -> Paired:
    """Compare two sweeps where they hold the same settings and seeds.

    A cell is what the sweeps vary, seeds apart; settings that each keeps fixed may differ, and are told.

    Args:
        names: t_train, t_test, t_novel, grok_delay, or columns final.<measure>, min.<measure>, max.<measure>. Times,
            and measures that are compared on a log scale, give ln(b / a), the others b - a. A time 0 counts as 1.

    Raises:
        ValueError: a name that is no such column.
    """
    _require(names, a, b)
    of_a, of_b = a.runs.to_dicts(), b.runs.to_dicts()
    settings = _varied(of_a, of_b)
    unmatched: Counter[str] = Counter()
    matches = _matched(of_a, of_b, settings, unmatched)
    rows = [_pair(one, other, name, settings) for one, other in matches for name in names]
    pairs = _frame([row for row in rows if row], settings, a.runs)
    differs = tuple(_differing(of_a, of_b, settings))
    return Paired((a.name, b.name), settings, pairs, _cells(pairs, settings), differs, dict(unmatched))


def _require(names: Sequence[str], a: Sweep, b: Sweep) -> None:
    for name in names:
        if name not in TIMES and not (name.startswith(MEASURED) and name in {*a.runs.columns, *b.runs.columns}):
            raise ValueError(
                f"nothing to compare under the name {name}; choose of {', '.join(TIMES)}, final.<measure>"
            )


# --- cells and pairs ----------------------------------------------------------------------------------------


def _seeded(settings: Sequence[str]) -> list[str]:
    return [*settings, *SEEDS]


def _varied(of_a: Sequence[Row], of_b: Sequence[Row]) -> tuple[str, ...]:
    """Settings that change a run's numbers and of which one of the sweeps has several values, seeds apart."""
    names = dict.fromkeys(name for row in (*of_a, *of_b) for name in identity_of(row) if name not in SEEDS)
    return tuple(name for name in names if any(len({row.get(name) for row in rows}) > 1 for rows in (of_a, of_b)))


def _differing(of_a: Sequence[Row], of_b: Sequence[Row], settings: Sequence[str]) -> list[tuple[str, str, str]]:
    names = dict.fromkeys(name for row in (*of_a, *of_b) for name in identity_of(row))
    found = []
    for name in [*names, *BESIDE]:
        values = [in_order([row.get(name) for row in rows]) for rows in (of_a, of_b)]
        if name not in _seeded(settings) and values[0] != values[1]:
            found.append((name, *(", ".join(map(value_text, those)) for those in values)))
    return found


def _matched(
    of_a: Sequence[Row], of_b: Sequence[Row], settings: Sequence[str], unmatched: Counter[str]
) -> list[tuple[Row, Row]]:
    """Pairs of runs, in the order of a; what has no partner, or says nothing, is counted."""
    by_key = [_by_key(rows, settings) for rows in (of_a, of_b)]
    cells = [{key[: len(settings)] for key in runs} for runs in by_key]
    for side, here, there in (("a", *cells), ("b", *reversed(cells))):
        unmatched[f"cells of {side} that the other sweep has not"] = len(here - there)
    common = cells[0] & cells[1]
    for side, here, there in (("a", *by_key), ("b", *reversed(by_key))):
        alone = [key for key in here if key not in there and key[: len(settings)] in common]
        unmatched[f"runs of {side} in common cells whose seeds the other sweep has not"] = len(alone)
    found = []
    for key, runs in by_key[0].items():
        others = by_key[1].get(key, [])
        if others and len(runs) == len(others) == 1:
            found.append((runs[0], others[0]))
        elif others:
            unmatched["pairs of seeds with several runs in one sweep"] += 1
    told = [(one, other) for one, other in found if all(time_of(run, "t_train") for run in (one, other))]
    unmatched["pairs in which a run is planned, failed or diverged"] = len(found) - len(told)
    return told


def _by_key(rows: Sequence[Row], settings: Sequence[str]) -> dict[Key, list[Row]]:
    found: dict[Key, list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row.get(name) for name in _seeded(settings)), []).append(row)
    return found


# --- one pair -----------------------------------------------------------------------------------------------


def _pair(a: Row, b: Row, name: str, settings: Sequence[str]) -> dict[str, Any] | None:
    """A row of `pairs`; None where one of the runs has no such quantity."""
    one, other = span(a, name), span(b, name)
    if one is None or other is None:
        return None
    kind = kind_of(name)
    low, high = difference(one, other, kind)
    return {
        **{setting: a[setting] for setting in _seeded(settings)},
        "run_id_a": a["run_id"],
        "run_id_b": b["run_id"],
        "name": name,
        "kind": kind,
        "value": low if low == high else None,
        "low": low,
        "high": high,
        "sign": sign(one, other),
        "other_length": a["steps"] != b["steps"],
    }


def _frame(rows: Sequence[Row], settings: Sequence[str], runs: pl.DataFrame) -> pl.DataFrame:
    schema: dict[str, Any] = {name: runs.schema.get(name, pl.Null) for name in _seeded(settings)}
    schema |= dict.fromkeys(("run_id_a", "run_id_b", "name", "kind"), pl.String)
    schema |= dict.fromkeys(("value", "low", "high"), pl.Float64) | {"sign": pl.String, "other_length": pl.Boolean}
    return pl.DataFrame(rows, schema=schema)


# --- the pairs of a cell ------------------------------------------------------------------------------------


def _cells(pairs: pl.DataFrame, settings: Sequence[str]) -> pl.DataFrame:
    """A row a cell and quantity; without pairs, none."""
    rows = []
    for key, group in pairs.group_by([*settings, "name", "kind"], maintain_order=True):
        rows.append(dict(zip([*settings, "name", "kind"], key, strict=True)) | _cell(group, kind=str(key[-1])))
    whole = [*(f"n_{name}" for name in COUNTS), "n_other_length"]
    schema: dict[str, Any] = {name: pairs.schema[name] for name in [*settings, "name", "kind"]}
    schema |= dict.fromkeys(whole, pl.Int64) | dict.fromkeys(("median", "median_low", "median_high"), pl.Float64)
    return pl.DataFrame(rows, schema=schema | {"text": pl.String})


COUNTS = ("pairs", "known", "at_least", "at_most", "hidden", *(SIGNS := ("larger", "smaller", "same", "unknown")))


def _cell(pairs: pl.DataFrame, kind: str) -> dict[str, Any]:
    spans = list(pairs.select("low", "high").iter_rows())
    signs = Counter(pairs["sign"])
    low, high = (median(ends) for ends in zip(*spans, strict=True))
    return {
        "n_pairs": len(spans),
        "n_known": sum(a == b for a, b in spans),
        "n_at_least": sum(math.isfinite(a) and b == math.inf for a, b in spans),
        "n_at_most": sum(a == -math.inf and math.isfinite(b) for a, b in spans),
        "n_hidden": sum(a == -math.inf and b == math.inf for a, b in spans),
        **{f"n_{name}": signs[name] for name in SIGNS},
        "n_other_length": int(pairs["other_length"].sum()),
        "median": low if low == high else None,
        "median_low": low,
        "median_high": high,
        "text": _text(low, high, kind),
    }


def _text(low: float, high: float, kind: str) -> str:
    """×1.8, +0.12, "> ×2.1", "×0.5 to ×2", or unknown."""
    one, other = (f"×{math.exp(end):.3g}" if kind == LN_RATIO else f"{end:+.3g}" for end in (low, high))
    if low == high:
        return one
    if math.isinf(low) or math.isinf(high):
        return "unknown" if math.isinf(low) and math.isinf(high) else f"> {one}" if math.isinf(high) else f"< {other}"
    return f"{one} to {other}"


def _with(words: Mapping[str, str], text: str) -> str:
    for old, new in words.items():
        text = text.replace(old, new)
    return text


def _signs(name: str, cells: pl.DataFrame, labels: tuple[str, str]) -> str:
    """The signs of one quantity over all cells: t_test: later in b in 2 of 5 pairs, in a in 0; …"""
    n = {count: int(cells[f"n_{count}"].sum()) for count in COUNTS}
    bounds = n["at_least"] + n["at_most"] + n["hidden"]
    hidden = f"; the difference itself is not known, or a bound alone, in {bounds}" if bounds else ""
    other = int(cells["n_other_length"].sum()) if "." in name else 0
    lengths = f"; {other} of runs that stopped at different steps" if other else ""
    a, b = labels
    more = "later" if name.startswith("t_") else "larger"
    signs = f"{more} in {b} in {n['larger']} of {n['pairs']} pairs, in {a} in {n['smaller']}"
    rest = [f"{n[key]} {said}" for key, said in (("same", "the same"), ("unknown", "not known")) if n[key]]
    return f"{name}: {', '.join([signs, *rest])}{hidden}{lengths}"
