"""Weights of a finished run at any step: from what it kept, or by training it once more, proved by its own hashes.

A training repeats itself bit for bit under the same conditions, and each row carries a hash of the weights. A replay
checks every row that it passes, so it either gives the run's own weights or says where it left them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from grok_sweep import train
from grok_sweep.config import RunConfig, from_flat, resolved
from grok_sweep.measures.evaluation import Evaluation, evaluate
from grok_sweep.models.parameters import flatten, unflatten, weights_hash
from grok_sweep.optimizers import moment_names
from grok_sweep.provenance import environment
from grok_sweep.store import RunDir, read_json
from grok_sweep.tasks import Task, make_task
from grok_sweep.train import TrainState


class ReplayDiffers(Exception):
    """Training the run once more gave other weights than it had."""


class Replay:
    """A run's folder, opened for its weights.

    Attributes:
        device: where weights are put and a replay trains.
    """

    def __init__(self, run_dir: RunDir, device: torch.device | str = "cpu") -> None:
        self.run_dir, self.device = run_dir, torch.device(device)
        self._reached: TrainState | None = None

    # --- what the folder holds ----------------------------------------------------------------------------

    @cached_property
    def config(self) -> RunConfig:
        """The run's settings. ValueError where the folder is no run's."""
        settings = self.run_dir.settings()
        if settings is None:
            raise ValueError(f"{self.run_dir.path} is no run's folder: it holds no {self.run_dir.settings_file.name}")
        return resolved(from_flat(settings))

    @cached_property
    def task(self) -> Task:
        return make_task(self.config.data).to(self.device)

    @cached_property
    def fixed(self) -> train.Setup:
        return train.setup(self.config, self.task, self.device)

    @cached_property
    def hashes(self) -> dict[int, str]:
        """Hash of the weights at each row's step."""
        return {row["step"]: row["weights_hash"] for row in self.run_dir.rows()}

    @cached_property
    def last_step(self) -> int:
        """The checkpoint's step: the end of a finished run. ValueError where there is none."""
        return self._checkpoint[1]["step"]

    @cached_property
    def stored_steps(self) -> list[int]:
        """Steps whose weights are kept: snapshots and the checkpoint."""
        return sorted({*self.run_dir.snapshot_steps(), self.last_step})

    # --- weights ------------------------------------------------------------------------------------------

    def weights(self, step: int) -> dict[str, Tensor]:
        """Named weights of this step: the stored ones, else by replay."""
        (weights,) = self.all_weights([step])
        return weights

    def all_weights(self, steps: Sequence[int]) -> Iterator[dict[str, Tensor]]:
        """Named weights of each step, in increasing order; stored ones are loaded, the others replayed in one go.

        Raises ValueError for a step that the run did not reach, ReplayDiffers where a replay leaves the run's path.
        """
        self._require_reached(steps)
        missing = iter(self.states([step for step in steps if step not in self.stored_steps]))
        for step in sorted(steps):
            vector = self._stored(step) if step in self.stored_steps else next(missing).weights
            yield unflatten(vector, self.fixed.shapes)

    def states(self, steps: Sequence[int]) -> Iterator[TrainState]:
        """The states of training at these steps, by replay, in increasing order."""
        self._require_reached(steps)
        for step in sorted(steps):
            start = max(s for s in self._starts if s <= step)
            state = self._reached  # by this request or an earlier one
            if state is None or not start <= state.step <= step:
                state = self._start(start)
            self._reached = self._train_to(state, step)
            yield self._reached

    def evaluation(self, step: int) -> Evaluation:
        """The network of this step on every pair."""
        return self.evaluate(self.weights(step))

    def evaluate(self, weights: dict[str, Tensor]) -> Evaluation:
        return evaluate(weights, self.task, self.fixed.network, self.fixed.loss_dtype)

    # --- the training, once more --------------------------------------------------------------------------

    @cached_property
    def _starts(self) -> list[int]:
        """Steps from which a training can go on: the beginning, and what was kept with the optimizer's state."""
        keeps_nothing = not moment_names(self.config.optimizer)
        has_state = self.config.snapshots.optimizer_state or keeps_nothing
        return sorted({0, self.last_step, *(self.run_dir.snapshot_steps() if has_state else [])})

    def _start(self, step: int) -> TrainState:
        state = train.unpack(self._kept(step), step, self.fixed) if step else train.initial_state(self.fixed)
        self._prove(state)
        return state

    def _train_to(self, state: TrainState, step: int) -> TrainState:
        states = train.training(state, self.fixed)
        while state.step < step:
            with threads(self._n_threads(state.step)):
                state = next(states)
            self._prove(state)
        return state

    def _n_threads(self, step: int) -> int:
        """Threads under which the run made the update after `step`: those of the last attempt that came by."""
        came_by = [attempt for attempt in self._attempts if attempt["from_step"] <= step]
        return came_by[-1]["n_threads"] if came_by else torch.get_num_threads()

    @cached_property
    def _attempts(self) -> list[dict[str, Any]]:
        return (read_json(self.run_dir.provenance_file) or {"attempts": []})["attempts"]

    def _prove(self, state: TrainState) -> None:
        expected = self.hashes.get(state.step)
        if expected is not None and weights_hash(state.weights) != expected:
            raise ReplayDiffers(
                f"{self.run_dir.path}: trained once more, the weights at step {state.step} are not the run's "
                f"({self._other_conditions()}); measure its snapshots, or train it again here"
            )

    def _other_conditions(self) -> str:
        here = environment(self.device) | {"gradient": self.fixed.gradient_by}
        for attempt in self._attempts:
            differing = [
                f"{name} {attempt.get(name)} then, {here[name]} now"
                for name in ("device", "machine", "torch", "gradient")
                if attempt.get(name) != here[name]
            ]
            if differing:
                return ", ".join(differing)
        return "the conditions look the same: the code may have changed"

    # --- files --------------------------------------------------------------------------------------------

    @cached_property
    def _checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        loaded = self.run_dir.load_checkpoint()
        if loaded is None:
            status = self.run_dir.status()
            if status.get("step"):
                reached = f"{status['state']} at step {status['step']}"
                raise ValueError(f"{self.run_dir.path} holds no checkpoint.safetensors, though the run is {reached}")
            raise ValueError(f"{self.run_dir.path} holds no checkpoint: the run has not begun")
        return loaded

    def _kept(self, step: int) -> dict[str, Tensor]:
        """What the checkpoint, or else a snapshot, holds of this step."""
        return self._checkpoint[0] if step == self.last_step else self.run_dir.load_snapshot(step)

    def _stored(self, step: int) -> Tensor:
        """The flat weights that were kept of this step; ValueError where they are not those of its row."""
        vector = flatten(train.weights_in(self._kept(step)), self.fixed.shapes).to(self.device)
        if self.hashes.get(step, weights_hash(vector)) != weights_hash(vector):
            raise ValueError(f"{self.run_dir.path}: the weights kept of step {step} are not those of its row")
        return vector

    def _require_reached(self, steps: Sequence[int]) -> None:
        wrong = [step for step in steps if not 0 <= step <= self.last_step]
        if wrong:
            raise ValueError(f"{self.run_dir.path}: step {wrong[0]} is not in 0..{self.last_step}, which it reached")


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Torch works with n threads inside."""
    before = torch.get_num_threads()
    if n != before:
        torch.set_num_threads(n)
    try:
        yield
    finally:
        if n != before:
            torch.set_num_threads(before)
