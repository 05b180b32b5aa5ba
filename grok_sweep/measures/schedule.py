"""At which steps a row is logged, and what it holds. Pure functions of the settings: resume changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grok_sweep.config import MeasuresConfig, StopConfig


@dataclass(frozen=True)
class Schedule:
    """Steps with full rows, with losses alone, and with per-frequency lists (a subset of the full rows)."""

    full: frozenset[int]
    losses_only: frozenset[int]
    with_vectors: frozenset[int]

    def __contains__(self, step: int) -> bool:
        return step in self.full or step in self.losses_only


def schedule(config: MeasuresConfig, n_steps: int) -> Schedule:
    """Rows from step 0 to n_steps.

    Dense, then sparse: every step to `dense_until`, then `per_decade` rows a factor 10; or every `every` steps.
    The last step always has a full row, with lists; beyond that a longer run has the same rows.
    """
    if config.every is not None:
        steps = list(range(0, n_steps + 1, config.every))
    else:
        steps = list(range(min(config.dense_until, n_steps) + 1))
        start = max(config.dense_until, 1)
        i = 1
        while (step := round(start * 10 ** (i / config.per_decade))) <= n_steps:
            if step > steps[-1]:
                steps.append(step)
            i += 1
    full = frozenset({*steps, n_steps})
    losses = frozenset(range(0, n_steps + 1, config.loss_every)) if config.loss_every else frozenset()
    return Schedule(full, losses - full, frozenset({*steps[:: config.vector_every], n_steps}))


def stop_step(rows: Sequence[Mapping[str, Any]], rule: StopConfig) -> int | None:
    """The step at which the stop rule ends the run, once a row has fired it; from logged rows alone."""
    if rule.test_loss is None:
        return None
    for row in rows:
        loss = row.get("test_loss")
        if loss is not None and loss < rule.test_loss:
            return row["step"] + rule.more_steps
    return None
