"""A row of metrics.jsonl: what is logged of one state of training. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from grok_sweep.config import Loss, RunConfig
from grok_sweep.measures.evaluation import Evaluation, evaluate
from grok_sweep.measures.losses import losses_and_accuracies, objective
from grok_sweep.measures.table import measure, own_name
from grok_sweep.measures.told import Found, Told, plain
from grok_sweep.models.network import Network
from grok_sweep.models.parameters import Shapes, unflatten, weights_hash
from grok_sweep.tasks import Task
from grok_sweep.train import Setup, TrainState


@dataclass(frozen=True, eq=False)
class Wanted:
    """What a run's rows are made of.

    Attributes:
        task: on the device where it trains.
        names: of the measures.
        operation: that of the task, with its seed where its answers are drawn by one.
    """

    task: Task
    network: Network
    shapes: Shapes
    names: Sequence[str]
    loss: Loss
    loss_dtype: torch.dtype
    operation: tuple[str | int, ...]

    @staticmethod
    def of(config: RunConfig, task: Task, fixed: Setup) -> Wanted:
        data = config.data
        operation = (data.operation, data.split_seed) if data.operation == "random" else (data.operation,)
        names = tuple(config.measures.names)
        return Wanted(task, fixed.network, fixed.shapes, names, config.loss, fixed.loss_dtype, operation)

    @cached_property
    def kind(self) -> Hashable:
        """Rows of runs that agree in this can be measured at once; weights, splits and labels may differ."""
        model = replace(self.network.config, init_seed=0, init_scale=1.0)
        return (
            astuple(model), self.network.p, self.operation, self.task.set_names, tuple(self.names), self.loss,
            self.loss_dtype,
        )  # fmt: skip


class Row:
    """What a state's row may hold, worked out as it is asked for."""

    def __init__(self, state: TrainState, wanted: Wanted) -> None:
        self._state, self._wanted = state, wanted

    @cached_property
    def always(self) -> dict[str, Any]:
        return row(self._state, self._evaluation, self._wanted.loss)

    @cached_property
    def measured(self) -> dict[str, Any]:
        """Measures, but for those with a number a frequency."""
        return measured(self._evaluation, self._wanted.names, vectors=False)

    @cached_property
    def vectors(self) -> dict[str, Any]:
        return measured(self._evaluation, self._wanted.names, vectors=True)

    @cached_property
    def _evaluation(self) -> Evaluation:
        wanted = self._wanted
        weights = unflatten(self._state.weights, wanted.shapes)
        return evaluate(weights, wanted.task, wanted.network, wanted.loss_dtype)


def row(state: TrainState, evaluation: Evaluation, loss: Loss = Loss.cross_entropy) -> dict[str, Any]:
    """Step, losses and accuracies, the norms of the last update, and the hash of the weights.

    grad_norm is that of the gradient which made the last update, taken at the weights before it; absent at
    step 0.
    """
    of_network = plain(always(evaluation, loss))
    update = state.update
    norms: dict[str, Tensor] = {}
    if state.gradient is not None and update is not None:
        norms = {"grad_norm": state.gradient.double().norm(), "update_norm": update.double().norm()}
    return in_row(state.step, of_network, plain([norms])[0], weights_hash(state.weights))


def always(evaluation: Evaluation, loss: Loss) -> list[Found]:
    """Objective, losses and accuracies, as tensors."""
    return [objective.formula(evaluation, loss), losses_and_accuracies.formula(evaluation)]


def in_row(step: int, of_network: Sequence[Any], norms: dict[str, float], weights: str) -> dict[str, Any]:
    """A row without measures, of what `always` gives as numbers of Python."""
    of_all, by_set = of_network
    return {"step": step, "objective": of_all} | by_set | norms | {"weights_hash": weights}


def measured(evaluation: Evaluation, names: Sequence[str], vectors: bool | None = None) -> dict[str, Any]:
    """The measures `names` that are defined here, in order.

    Args:
        vectors: True: only lists with a number a frequency; False: only the others; None: all.
    """
    taken = [one for one in defined(evaluation, names) if vectors in (None, one.is_vector)]
    formulas = iter(plain([one.function.formula(evaluation) for one in taken if isinstance(one.function, Told)]))
    values: dict[str, Any] = {}
    for one in taken:
        is_told = isinstance(one.function, Told)
        values |= entries(one.name, one.function.tell(next(formulas)) if is_told else one.function(evaluation))
    return values


@dataclass(frozen=True)
class Taken:
    """A measure that is defined here, under the name that it has in a row."""

    name: str
    function: Any
    is_vector: bool


def defined(evaluation: Evaluation, names: Sequence[str]) -> Iterator[Taken]:
    """Those of the measures that this task and network have."""
    for name in names:
        line = measure(name)
        if line.needs <= evaluation.has:
            yield Taken(own_name(name), line.load(), line.is_vector)


def entries(name: str, value: Any) -> dict[str, Any]:
    """A measure's value as entries of a row: a dict gives one each, <measure>.<entry>.

    Raises ValueError for what no row can hold.
    """
    found = {f"{name}.{part}": v for part, v in value.items()} if isinstance(value, dict) else {name: value}
    for entry, one in found.items():
        if not all(number is None or isinstance(number, int | float) for number in _numbers(one)):
            raise ValueError(
                f"the measure {entry} gives {type(one).__name__} {one!r:.60}: a measure gives a number, None, a list "
                "of them, or a dict of such by name (of a tensor: float(x), x.tolist())"
            )
    return found


def _numbers(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
