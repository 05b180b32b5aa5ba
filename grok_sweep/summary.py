"""summary.json: what a phase diagram needs of a run, from its settings and rows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from grok_sweep.config import RunConfig, flat, run_id_of
from grok_sweep.measures.table import TAKEN
from grok_sweep.phases import Crossing, phase, phase_scale_free, times

KEY_FREQS = frozenset({"key_freqs", "key_freqs_by_neurons", "key_freqs_by_W_E", "key_freqs_by_cos_sim"})
NOT_MEASURES = TAKEN | KEY_FREQS


def summarise(
    config: RunConfig, rows: Sequence[Mapping[str, Any]], steps: int, end: str | None, bitwise: bool
) -> dict[str, Any]:
    """Times, phases, and every scalar measure's final, least and largest value.

    Args:
        config: resolved settings.
        rows: all rows, in order.
        steps: updates made.
        end: n_steps, stop_rule, or None where the run broke off (diverged).
        bitwise: True where every attempt ran under the same conditions, so that a repetition has the same bits.
    """
    found = times(rows, config.phases.accuracy)
    t_train, t_test = _first(found.train), _first(found.test)
    final = rows[-1] if rows else {}
    settings = flat(config)
    summary: dict[str, Any] = {
        "run_id": run_id_of(settings),
        "sweep": config.sweep,
        "settings": settings,
        "steps": steps,
        "end": end,
    }
    for name, crossing in (("t_train", found.train), ("t_test", found.test), ("t_novel", found.novel)):
        summary |= _crossing(name, crossing)
    return summary | {
        "grok_delay": found.grok_delay,
        "phase": phase(t_train, t_test, steps, config.optimizer.lr, config.phases).value,
        "phase_scale_free": phase_scale_free(t_train, t_test, steps, config.phases.budget).value,
        "budget": config.phases.budget,
        **{name: final.get(name) for name in ("key_freqs", "key_gap") if any(name in row for row in rows)},
        "bitwise": bitwise,
        **_extremes(rows),
    }


def _first(crossing: Crossing) -> int | None:
    return crossing.first.above if crossing.first else None


def _crossing(name: str, crossing: Crossing) -> dict[str, Any]:
    first, sustained = crossing.first, crossing.sustained
    return {
        name: first.above if first else None,
        f"{name}_bracket": [first.below, first.above] if first else None,
        f"{name}_sustained": sustained.above if sustained else None,
        f"{name}_sustained_bracket": [sustained.below, sustained.above] if sustained else None,
    }


def _extremes(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """final., min. and max. of every scalar measure; rows without a number (null) do not count."""
    names = dict.fromkeys(name for row in rows for name in row if name not in NOT_MEASURES)
    out: dict[str, float | None] = {}
    for name in names:
        values = [row[name] for row in rows if row.get(name) is not None]
        if any(isinstance(value, list) for value in values):
            continue
        out[f"final.{name}"] = rows[-1].get(name)
        out[f"min.{name}"] = min(values, default=None)
        out[f"max.{name}"] = max(values, default=None)
    return out
