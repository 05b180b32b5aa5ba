"""The measures that stages are judged by: which ones, of those that a run has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grok_sweep.config import PhasesConfig
from grok_sweep.phases import crossing

Floats = NDArray[np.float64]

LEAST_GAP = 1.5
"""Decades: below this the network has no key frequencies (grok_sweep.measures.frequencies.LEAST_GAP)."""
LEAST_ROWS = 5
ACCURACY = PhasesConfig.accuracy
"""Test accuracy of a run that generalised, unless its own rule says another."""
SPACING = 0.01
"""Rows closer than this in ln t are taken together: finer logs cost time and tell nothing about a boundary."""
VARIANTS = {"K without its weakest": "without_weakest", "K with the next": "with_next"}
"""Other choices of K, and what their columns are called between the measure's name and _final."""
COLUMNS = (
    "train_acc", "test_acc", "train_loss", "sum_sq_weights", "key_gap", "n_key_freqs",
    "restricted_loss", "excluded_loss", "excluded_loss_max",
)  # fmt: skip
"""Of a run's rows, what `gather` looks at."""


@dataclass(frozen=True)
class Series:
    """One measure over a run, without the rows in which it is null or not finite.

    Attributes:
        before: the last logged step before the first value; 0 where there is none.
    """

    name: str
    steps: Floats
    values: Floats
    before: float = 0.0

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def x(self) -> Floats:
        """ln of the steps; step 0 counts as half a step."""
        return ln(self.steps)

    def since(self, x: float) -> Series:
        """Without the rows before ln t = x."""
        kept = self.x >= x
        return replace(self, steps=self.steps[kept], values=self.values[kept])


def ln(steps: Any) -> Floats:
    return np.log(np.maximum(steps, 0.5))


@dataclass(frozen=True)
class Evidence:
    """What decides a run's stages.

    Attributes:
        key_gap: of the last row, in decades; None where the run has none.
        n_key_freqs: of the last row.
        restricted, excluded: with the final key frequencies where these were measured.
        variants: the same two with another K, by its name.
        generalised: t_test, the first of two rows in a row with test accuracy above the threshold; None: not so far.
        remarks: what a reader should know of the choice, in sentences.
    """

    p: int
    last_step: int
    key_gap: float | None
    train_acc: Series
    train_loss: Series
    sum_sq_weights: Series
    restricted: Series
    excluded: Series
    n_key_freqs: int | None = None
    variants: Mapping[str, tuple[Series, Series]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    generalised: int | None = None


Columns = Mapping[str, Sequence[Any]]


def gather(rows: Columns, p: int, final: Columns | None = None, accuracy: float = ACCURACY) -> Evidence:
    """Choose the evidence among a run's columns.

    Restricted and excluded loss are those with the final key frequencies (`final`: the columns of final_keys.jsonl).
    Without them: restricted_loss with the key frequencies of its own row, which at B2 are nearly the final ones; and
    for B1 excluded_loss_max, which needs none (Nanda et al., footnote 3), since excluded_loss is null until there are
    key frequencies, which is mostly after B1.

    Args:
        rows: "step" and columns as in metrics.jsonl; None where a row lacks the measure.
        accuracy: on test pairs, above which a run has generalised.

    Raises ValueError where there is no row.
    """
    if not len(rows.get("step", ())):
        raise ValueError("stages need at least one logged row")
    last_step = int(rows["step"][-1])
    final, remarks = _of_this_end(rows, final, last_step)
    restricted = _first_of(((final, "restricted_loss_final"), (rows, "restricted_loss")))
    excluded = _first_of(((final, "excluded_loss_final"), (rows, "excluded_loss_max"), (rows, "excluded_loss")))
    n_key_freqs = _last(rows, "n_key_freqs")
    return Evidence(
        p,
        last_step,
        key_gap=_last(rows, "key_gap"),
        n_key_freqs=None if n_key_freqs is None else round(n_key_freqs),
        train_acc=series(rows, "train_acc"),
        train_loss=series(rows, "train_loss"),
        sum_sq_weights=series(rows, "sum_sq_weights"),
        restricted=restricted,
        excluded=excluded,
        variants=_variants(final),
        remarks=(*remarks, *_remarks(restricted, excluded)),
        generalised=_generalised(rows, accuracy),
    )


def _generalised(rows: Columns, accuracy: float) -> int | None:
    """t_test as sustained (grok_sweep.phases)."""
    known = [(int(step), v) for step, v in zip(rows["step"], rows.get("test_acc", ()), strict=False) if v is not None]
    found = crossing([step for step, _ in known], [v for _, v in known], accuracy).sustained
    return None if found is None else found.above


def _of_this_end(rows: Columns, final: Columns | None, last_step: int) -> tuple[Columns, tuple[str, ...]]:
    """The final columns; none where they belong to an earlier end of a run that has gone on since."""
    if final is None or not len(final.get("step", ())):
        return {}, ()
    then = next((value for value in reversed(list(final.get("key_freqs_final", ()))) if value is not None), None)
    now = list(rows["key_freqs"])[-1] if "key_freqs" in rows else None
    if final["step"][-1] < last_step and then is not None and now is not None and list(then) != list(now):
        return {}, ("final_keys.jsonl is of an earlier end of this run, with other key frequencies: not used.",)
    return final, ()


def _first_of(choices: Iterable[tuple[Columns, str]]) -> Series:
    """The first with enough rows; else the first."""
    found = [series(columns, name) for columns, name in choices]
    return next((one for one in found if len(one) >= LEAST_ROWS), found[-1])


def series(columns: Columns, name: str) -> Series:
    """A column as a series; empty where there is no such column."""
    values = np.array(columns.get(name, ()), dtype=np.float64)
    steps = np.array(columns["step"], dtype=np.float64)[: len(values)] if len(values) else np.empty(0)
    known = np.flatnonzero(np.isfinite(values))
    before = steps[known[0] - 1] if len(known) and known[0] > 0 else 0.0
    return Series(name, *_thinned(steps[known], values[known]), float(before))


def _thinned(steps: Floats, values: Floats) -> tuple[Floats, Floats]:
    """At most one row in SPACING of ln t: the middle one of those there, with their median."""
    if len(steps) < 2:
        return steps, values
    cells = np.floor(ln(steps) / SPACING)
    edges = np.flatnonzero(np.diff(cells, prepend=np.nan, append=np.nan) != 0)
    groups = list(pairwise(edges))
    if len(groups) == len(steps):
        return steps, values
    middle = np.array([(first + last - 1) // 2 for first, last in groups])
    return steps[middle], np.array([np.median(values[first:last]) for first, last in groups])


def _variants(final: Columns) -> dict[str, tuple[Series, Series]]:
    found = {}
    for name, infix in VARIANTS.items():
        pair = [series(final, f"{measure}_loss_{infix}_final") for measure in ("restricted", "excluded")]
        if min(map(len, pair)) >= LEAST_ROWS:
            found[name] = (pair[0], pair[1])
    return found


def _last(rows: Columns, name: str) -> float | None:
    """Of the last row: None where it has none, or null."""
    values = list(rows.get(name, ()))
    return float(values[-1]) if values and values[-1] is not None and np.isfinite(values[-1]) else None


def _remarks(restricted: Series, excluded: Series) -> list[str]:
    found = []
    if not restricted.name.endswith("_final"):
        found.append("B2 by the key frequencies of each row, for want of final_keys.jsonl.")
    if excluded.name == "excluded_loss_max":
        found.append("B1 by excluded_loss_max, which needs no key frequencies, for want of final_keys.jsonl.")
    elif not excluded.name.endswith("_final"):
        found.append("B1 by the key frequencies of each row: it may lie before the first row that has any.")
    return found
