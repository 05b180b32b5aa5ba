"""A run for a notebook: settings, frames, the network with named activations, weights at any step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor

from grok_sweep.config import RunConfig
from grok_sweep.measures.evaluation import Evaluation
from grok_sweep.measures.rows import measured
from grok_sweep.measures.table import own_name, problems
from grok_sweep.models.network import Activations, Network
from grok_sweep.replay import Replay
from grok_sweep.replay import ReplayDiffers as ReplayDiffers  # what weights() raises, for whoever catches it
from grok_sweep.store import RunDir, by_first_digits, read_json, read_jsonl, run_folders
from grok_sweep.tasks import Task


class Model:
    """The network of one step: call it on operands.

    Attributes:
        weights: by name, as the run's dtype has them.
    """

    def __init__(self, network: Network, weights: dict[str, Tensor], step: int) -> None:
        self.network, self.weights, self.step = network, weights, step

    def __call__(self, a: Tensor | Sequence[int], b: Tensor | Sequence[int]) -> Activations:
        """Logits and named activations at "=" for the pairs (a, b); without gradients."""
        with torch.no_grad():
            return self.network.forward(self.weights, torch.as_tensor(a), torch.as_tensor(b))

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {list(w.shape)}" for name, w in self.weights.items())
        return f"{type(self.network).__name__} at step {self.step}: {sizes}"


class LoadedRun:
    """One run's folder, read when asked.

    Attributes:
        path: its folder.
    """

    def __init__(self, path: str | os.PathLike[str], device: str = "cpu") -> None:
        """The id's first digits suffice. Raises ValueError where it is no run's folder; a sweep's: with its runs."""
        self.path = by_first_digits(Path(path))
        self._dir = RunDir(self.path)
        if self._dir.settings() is None:
            raise ValueError(_no_run(self.path))
        self._replay = Replay(self._dir, device)

    def __repr__(self) -> str:
        return f"run {self.path.name}: {self.state} at step {self.status.get('step', 0)}, {len(self.metrics)} rows"

    # --- what it says -------------------------------------------------------------------------------------

    @property
    def config(self) -> RunConfig:
        """Its settings, as dataclasses."""
        return self._replay.config

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Its settings, flat: {"data.p": 113, …}."""
        return self._dir.settings() or {}

    @property
    def status(self) -> dict[str, Any]:
        return self._dir.status()

    @property
    def state(self) -> str:
        """planned, running, interrupted, done, diverged or failed."""
        return self.status["state"]

    @property
    def summary(self) -> dict[str, Any] | None:
        """Times, phases, key frequencies, final values; None before the end."""
        return self._dir.summary()

    @property
    def provenance(self) -> dict[str, Any]:
        """Every attempt: when, where, by which command and code."""
        return read_json(self._dir.provenance_file) or {"attempts": []}

    @property
    def metrics(self) -> pl.DataFrame:
        """metrics.jsonl: a row a logged step."""
        return _frame(self._dir.rows())

    @property
    def final_keys(self) -> pl.DataFrame:
        """final_keys.jsonl: measures with the final key frequencies; empty before `python -m grok_sweep measure`."""
        return _frame(read_jsonl(self._dir.final_keys_file))

    @property
    def measured(self) -> pl.DataFrame:
        """measured.jsonl: what was measured afterwards."""
        return _frame(read_jsonl(self._dir.measured_file))

    # --- the task and the network -------------------------------------------------------------------------

    @property
    def task(self) -> Task:
        """All pairs with answers, split and group."""
        return self._replay.task

    @property
    def stored_steps(self) -> list[int]:
        """Steps whose weights are at hand; any other is trained once more."""
        return self._replay.stored_steps

    @property
    def last_step(self) -> int:
        return self._replay.last_step

    def weights(self, step: int | None = None) -> dict[str, Tensor]:
        """Named weights at this step (default: the last): stored, or by exact replay, which trains up to there.

        Raises ValueError for a step it did not reach, ReplayDiffers where it cannot be repeated here.
        """
        return self._replay.weights(self.last_step if step is None else step)

    def model(self, step: int | None = None) -> Model:
        """The network at this step (default: the last)."""
        step = self.last_step if step is None else step
        return Model(self._replay.fixed.network, self.weights(step), step)

    def evaluation(self, step: int | None = None) -> Evaluation:
        """The network at this step on every pair: what measures are functions of."""
        return self._replay.evaluate(self.weights(step))

    def measure(self, name: str, step: int | None = None) -> Any:
        """One measure at this step, by its name in the table or a dotted path; None where it is not defined.

        ValueError for an unknown name. What stands in every row is in `metrics`.
        """
        if found := problems([name]):
            raise ValueError("\n".join(found))
        values = measured(self.evaluation(step), [name])
        return values.get(own_name(name), values or None)


def _frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows as a frame; a column that some rows lack is null there."""
    names = dict.fromkeys(name for row in rows for name in row)
    if not rows:
        return pl.DataFrame()
    return pl.from_dicts([{name: row.get(name) for name in names} for row in rows], infer_schema_length=None)


def _no_run(path: Path) -> str:
    if not path.exists():
        return f"{path}: no such folder"
    runs = [folder.name for folder in run_folders(path)]
    if not runs:
        return f"{path} is no run's folder: it holds no settings.json"
    shown = ", ".join(runs[:5]) + (", …" if len(runs) > 5 else "")
    return f"{path} is a sweep's folder: give one of its {len(runs)} runs ({shown})"
