"""A run as W&B holds it, in the words of a sweep's folder: settings, state, rows, summary. Pure.

The inverse of what grok_sweep.loggers writes; runs that others logged with our settings, nested or flat, are judged
from their rows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from analysis.axes import MEASURED
from grok_sweep.config import RunConfig, flat, from_flat
from grok_sweep.run_table import TIMES
from grok_sweep.store import ENDED, State

STATES = {
    "finished": State.done,
    "running": State.running,
    "pending": State.planned,
    "preempting": State.interrupted,
    "preempted": State.interrupted,
    "crashed": State.interrupted,
    "killed": State.interrupted,
    "failed": State.failed,
}
"""W&B's word for what became of a run -> ours; `failed` with the step at which it diverged is diverged."""
NEEDED = ("data.p", "data.frac_train", "optimizer.lr", "optimizer.weight_decay", "n_steps")
"""Settings without which a run is none of ours: nothing may be said of it by our defaults."""
SUMMARY = (
    "run_id", "sweep", "steps", "end", "grok_delay", "phase", "phase_scale_free", "budget", "key_freqs", "key_gap",
    "bitwise", "n_train", "diverged_at",
    *(f"{t}{end}" for t in TIMES for end in ("", "_bracket", "_sustained", "_sustained_bracket")),
)  # fmt: skip
"""What summary.json holds, beside the measures and the settings."""
COUNTS = ("step", "n_key_freqs", "neurons_85_k")
"""Measures that are whole numbers, beside those called key_freqs…; W&B hands back 1 for 1.0 everywhere."""
NOT_FINITE = ("NaN", "Infinity", "-Infinity")
"""W&B's words for numbers that JSON has not; a row of ours holds null there."""


@dataclass(frozen=True)
class Converted:
    """What a run's folder holds.

    Attributes:
        summary: None where W&B has none of ours for these rows: then the run is judged from the rows.
        is_settled: False where its summary and its rows do not belong together: the server is still at it.
    """

    run_id: str
    settings: dict[str, Any]
    status: dict[str, Any]
    rows: list[dict[str, Any]]
    summary: dict[str, Any] | None
    is_settled: bool


def converted(
    wandb_id: str,
    state: str,
    config: Mapping[str, Any],
    summary: Mapping[str, Any],
    history: Iterable[Mapping[str, Any]],
    seen: str | None,
) -> Converted | None:
    """The run, or None where its config lacks settings that every run of ours has.

    Args:
        wandb_id, state, seen: as W&B has them; seen is the time, ISO 8601, when it last heard of the run.
        config: flat ("data.p") or nested ({"data": {"p": …}}).
    """
    settings = settings_of(config)
    if not all(name in settings for name in NEEDED):
        return None
    rows = rows_of(history)
    told = {name: _typed(name, value) for name, value in _flattened(summary) if _is_ours(name)}
    here = STATES.get(state, State.failed)
    if here is State.failed and told.get("diverged_at") is not None:
        here = State.diverged
    is_ours = here in ENDED and {"budget", "steps"} <= told.keys()
    # W&B's summary may be older than its rows, or its rows not all there yet.
    is_settled = not is_ours or (bool(rows) and told["steps"] == rows[-1]["step"])
    status = {
        "state": here.value,
        "step": rows[-1]["step"] if rows else 0,
        "n_steps": settings["n_steps"],
        "end": told.get("end") if here in ENDED else None,
        "error": f"{state} at W&B" if here is State.failed else None,
        "updated": _seconds(seen),
    }
    whole = {**told, "settings": settings} if is_ours and is_settled else None
    return Converted(run_id_in(wandb_id), settings, status, rows, whole, is_settled)


def run_id_in(wandb_id: str) -> str:
    """Our run_id where W&B's id is <sweep>-<run_id>, else W&B's id itself."""
    last = wandb_id.rpartition("-")[2]
    return last if re.fullmatch("[0-9a-f]{12}", last) else wandb_id.replace("/", "_")


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Our settings in a config, flat, in their types: W&B may hand back 1 for 1.0."""
    known = flat(RunConfig())
    ours = {name: value for name, value in _flattened(config) if name in known}
    try:
        return {name: value for name, value in flat(from_flat(ours)).items() if name in ours}
    except ValueError:  # a value that no setting of today takes: shown as it is
        return ours


def rows_of(history: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows by step, each step once (the last counts), without W&B's own entries."""
    by_step: dict[int, dict[str, Any]] = {}
    for row in history:
        step = row.get("step")
        if isinstance(step, int | float) and step == int(step):
            by_step[int(step)] = {name: _typed(name, v) for name, v in row.items() if not name.startswith("_")}
    return [by_step[step] for step in sorted(by_step)]


def axes_of(runs: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Settings that these runs vary and that no table of runs counts by itself (analysis.axes.NUMERICAL)."""
    return tuple(name for name in ("loss",) if len({run.get(name) for run in runs}) > 1)


def _is_ours(name: str) -> bool:
    return name in SUMMARY or name.startswith(MEASURED)


def _typed(name: str, value: Any) -> Any:
    """The value as our files have it: null for what is not finite, whole numbers only where a count stands."""
    if isinstance(value, list):
        return [_typed(name, item) for item in value]
    if isinstance(value, str):
        return None if value in NOT_FINITE else value
    if value is None or isinstance(value, bool):
        return value
    if not math.isfinite(value):
        return None
    is_count = _is_count(name) and value == int(value)
    return int(value) if is_count else float(value)


def _is_count(name: str) -> bool:
    measure = next((name.removeprefix(prefix) for prefix in MEASURED if name.startswith(prefix)), name)
    is_fact = name in SUMMARY and name != "key_gap"
    return is_fact or measure in COUNTS or measure.startswith("key_freqs")


def _seconds(time: str | None) -> float | None:
    try:
        at = datetime.fromisoformat(time or "")
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _flattened(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """{"data": {"p": 59}} -> ("data.p", 59)."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
