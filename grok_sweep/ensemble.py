"""Runs that share their shapes, trained in lock step: one step of all of them at once.

A member's numbers are its own: it reads its own pairs, and its hyper-parameters stand in a column beside the
others'. On a CPU each comes to the bits that it has alone; on a GPU to the same numbers in another rounding
(`Ensemble.is_as_alone` finds out). Nothing is asked of the device between two looks at the states, so that a GPU need
not wait for the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from grok_sweep import optimizers, train
from grok_sweep.models.by_hand import TransformerByHand, scales_of
from grok_sweep.models.pairs import lay
from grok_sweep.models.parameters import unflatten
from grok_sweep.models.transformer import Transformer
from grok_sweep.optimizers import Factors, Moments, OptimizerState
from grok_sweep.train import Setup, TrainState

AHEAD = 64
"""Steps whose factors are reckoned, and sent to the device, at a time."""


@dataclass
class Stacked:
    """What a step continues and leaves, a row for each member.

    Attributes:
        objective, gradient, before: of the last update, as in TrainState.
        is_sound: every objective so far was finite.
        n_sound: updates before the first whose objective was not.
    """

    weights: Float[Tensor, "n_members n_parameters"]
    moments: Moments
    objective: Float[Tensor, " n_members"]
    gradient: Float[Tensor, "n_members n_parameters"]
    before: Float[Tensor, "n_members n_parameters"]
    is_sound: Bool[Tensor, " n_members"]
    n_sound: Int[Tensor, " n_members"]

    def become(self, new: Stacked) -> None:
        """Take the other's numbers, in place."""
        self.before.copy_(new.before)  # first: those are the present weights, as a rule
        for name, moment in self.moments.items():
            moment.copy_(new.moments[name])
        for name in ("weights", "objective", "gradient", "is_sound", "n_sound"):
            getattr(self, name).copy_(getattr(new, name))


def stacked(states: Sequence[TrainState], loss_dtype: torch.dtype) -> Stacked:
    weights = torch.stack([state.weights for state in states])
    moments = {n: torch.stack([state.optimizer.moments[n] for state in states]) for n in states[0].optimizer.moments}
    counts = torch.zeros(len(states), dtype=torch.long, device=weights.device)
    return Stacked(
        weights, moments, objective=torch.zeros(len(states), dtype=loss_dtype, device=weights.device),
        gradient=torch.zeros_like(weights), before=torch.zeros_like(weights), is_sound=counts == 0, n_sound=counts,
    )  # fmt: skip


class Ensemble:
    """Runs of one key, in the states that they have reached. Its membership does not change: make another one.

    Args:
        fixed: of each member.
        states: of each member.
        evenly: how models/pairs.py lays the pairs; None: as it suits the device.
    """

    def __init__(self, fixed: Sequence[Setup], states: Sequence[TrainState], evenly: bool | None = None) -> None:
        self.fixed, self._starts, self._first = list(fixed), list(states), fixed[0]
        self._now = stacked(states, fixed[0].loss_dtype)
        self._n_taken = 0
        device, model = self._now.weights.device, self._first.config.model
        evenly = device.type == "cuda" if evenly is None else evenly
        self._pairs = lay(
            [(each.batch.a, each.batch.b) for each in fixed], self._first.network.p, model.n_heads, evenly
        )
        self._labels = self._pairs.laid([each.batch.labels for each in fixed])
        # An infinite number where there is no pair: what it adds to the gradient is then 0.
        counts = [torch.full((len(each.batch.labels), 1), len(each.batch.labels), device=device) for each in fixed]
        self._n_pairs = self._pairs.laid([n.to(self._first.loss_dtype) for n in counts], fill=torch.inf)
        self._scales = scales_of([each.config.model for each in fixed], self._column)
        assert isinstance(self._first.network, Transformer)
        self._by_hand = TransformerByHand(self._first.network)
        self._constant: list[tuple[float, ...] | None] = [None] * len(fixed)
        self._recorded: Recorded | None = None

    def __len__(self) -> int:
        return len(self.fixed)

    def train(self, n_steps: int) -> None:
        """So many updates of every member."""
        self.__dict__.pop("_facts", None)
        done = 0
        while done < n_steps:
            table = self._factors(min(AHEAD, n_steps - done))
            for by in table:
                self._advance(by)
                self._n_taken += 1
            done += len(table)

    def state(self, member: int) -> TrainState:
        """The state that a member has reached, until the next `train`; of one whose objective was not finite after
        some update, that this update made it so."""
        start, (n_sound, objectives), now = self._starts[member], self._facts, self._now
        is_sound = n_sound[member] == self._n_taken
        n_taken = self._n_taken if is_sound else n_sound[member] + 1
        moments = {name: vectors[member] for name, vectors in now.moments.items()}
        optimizer = OptimizerState(moments, start.optimizer.n_updates + n_taken)
        if self._n_taken == 0:
            return TrainState(start.step, now.weights[member], optimizer)
        objective = objectives[member] if is_sound else math.nan
        return TrainState(
            start.step + n_taken, now.weights[member], optimizer, objective, now.gradient[member], now.before[member]
        )

    def is_as_alone(self) -> bool:
        """Whether the next update has, for every member, the bits that it has alone; nobody moves."""
        together = self._step(self._now, self._by(self._factors(1)[0]))
        for member, fixed in enumerate(self.fixed):
            state = self.state(member)
            hyper = optimizers.hyper_at(fixed.config.optimizer, state.optimizer.n_updates)
            alone = train.step(state, fixed, hyper)
            ours = {"weights": together.weights, **together.moments}
            theirs = {"weights": alone.weights, **alone.optimizer.moments}
            if not all(torch.equal(ours[name][member], theirs[name]) for name in theirs):
                return False
        return True

    # --- one update ---------------------------------------------------------------------------------------

    def _step(self, now: Stacked, by: Factors) -> Stacked:
        gradient, shapes = torch.zeros_like(now.weights), self._first.shapes
        weights = {name: w.contiguous() for name, w in unflatten(now.weights, shapes).items()}
        losses = torch.zeros_like(self._n_pairs)
        of_pairs, loss_dtype = train.OBJECTIVES[self._first.config.loss], self._first.loss_dtype

        def objectives(logits: Tensor, places: slice) -> tuple[Tensor, Tensor]:
            n_pairs = self._n_pairs[places]
            found, by_logits = of_pairs(logits, self._labels[places], loss_dtype, n_pairs)
            losses[places] = found / n_pairs
            return found, by_logits

        self._by_hand.gradients(weights, unflatten(gradient, shapes), self._pairs, self._scales, objectives)
        config, mask = self._first.config.optimizer, self._first.mask
        moved, moments = optimizers.RULES[config.name](
            now.weights, gradient, now.moments, by, config.is_decoupled, mask
        )
        objective = self._pairs.summed(losses)[:, 0]
        is_sound = now.is_sound & objective.isfinite()
        return Stacked(moved, moments, objective, gradient, now.weights, is_sound, now.n_sound + is_sound)

    def _column(self, values: Sequence[float]) -> Float[Tensor, "n_places 1"]:
        """A value of each member at each of its places."""
        return self._now.weights.new_tensor(values)[self._pairs.member][:, None]

    def _advance(self, by: Float[Tensor, "n_factors n_members 1"]) -> None:
        if self._now.weights.device.type != "cuda":
            self._now = self._step(self._now, self._by(by))
            return
        if self._recorded is None:
            self._recorded = Recorded(self._now, lambda now, row: self._step(now, self._by(row)), by)
        self._recorded(by)

    # --- what the host knows ------------------------------------------------------------------------------

    @cached_property
    def _facts(self) -> tuple[list[int], list[float]]:
        """n_sound and objective of each member: here the host waits for the device."""
        return self._now.n_sound.tolist(), self._now.objective.tolist()

    def _by(self, row: Float[Tensor, "n_factors n_members 1"]) -> Factors:
        return Factors(*row.unbind())

    def _factors(self, n_steps: int) -> Float[Tensor, "n_steps n_factors n_members 1"]:
        """Factors of each member for the next updates."""
        rows = [[self._of_member(member, i) for member in range(len(self))] for i in range(n_steps)]
        table = torch.tensor(rows, dtype=torch.float64).transpose(1, 2)[..., None]
        table = table.to(self._now.weights.dtype).contiguous()
        device = self._now.weights.device
        return table.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else table

    def _of_member(self, member: int, i: int) -> tuple[float, ...]:
        """Factors of a member's update after the next i; once they stay as they are they are not reckoned again."""
        if (constant := self._constant[member]) is not None:
            return constant
        config = self.fixed[member].config.optimizer
        n_updates = self._starts[member].optimizer.n_updates + self._n_taken + i
        found = astuple(optimizers.factors(optimizers.hyper_at(config, n_updates), n_updates))
        if n_updates >= optimizers.settled_after(config):
            self._constant[member] = found
        return found


class Alone:
    """One run, where a step for several would only cost more: as an Ensemble of it, on a CPU."""

    def __init__(self, fixed: Setup, state: TrainState) -> None:
        self._state, self._states = state, train.training(state, fixed)

    def train(self, n_steps: int) -> None:
        """So many updates, or up to the first after which the objective was not finite."""
        for _ in range(n_steps):
            if self._state.objective is not None and not math.isfinite(self._state.objective):
                return
            self._state = next(self._states)

    def state(self, member: int) -> TrainState:
        assert member == 0
        return self._state

    def is_as_alone(self) -> bool:
        return True


def in_step(fixed: Sequence[Setup], states: Sequence[TrainState]) -> Ensemble | Alone:
    """These runs, to be trained in lock step as suits their number and the device."""
    if len(fixed) == 1 and states[0].weights.device.type == "cpu":
        return Alone(fixed[0], states[0])
    return Ensemble(fixed, states)


class Recorded:
    """A step recorded once as a CUDA graph and replayed: the host gives one order a step, and waits for nothing.

    Args:
        now: what the step continues; replaced in place.
        step: gives what comes after it.
        by: the factors of some update, as an example.
    """

    def __init__(self, now: Stacked, step: Callable[[Stacked, Tensor], Stacked], by: Tensor) -> None:
        self._by = by.clone()
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):  # as the library asks for: what is allocated at first use is not to be recorded
                step(now, self._by)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            now.become(step(now, self._by))

    def __call__(self, by: Tensor) -> None:
        self._by.copy_(by)
        self._graph.replay()
