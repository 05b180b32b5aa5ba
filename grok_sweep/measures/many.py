"""Rows of several networks at once.

On a GPU a row of one network is some thousand calls, each of which leaves the device idle: by itself it takes as long
as a hundred steps of it in an ensemble. The same calls, made once for all networks that have a row due, are the same
measures: their formulas, taken by torch.vmap.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from grok_sweep.measures.evaluation import Evaluation
from grok_sweep.measures.rows import Taken, Wanted, always, defined, entries, in_row
from grok_sweep.measures.told import Shape, apart, end_to_end, shapes
from grok_sweep.models.network import Activations
from grok_sweep.models.parameters import Weights, unflatten, weights_hash
from grok_sweep.models.transformer import Transformer
from grok_sweep.tasks import PairsBySum
from grok_sweep.train import TrainState

AT_ONCE = 2**18
"""Pairs of all networks together: what bounds the memory (some 17 kB a pair at the paper's sizes)."""
TASK_FACTS = ("group_pairs", "outside_mask", "pairs_by_sum", "sum_of_pair", "residues")
"""What tasks of one operation share, and have worked out; the first two without a group too."""


@dataclass(frozen=True)
class Ready:
    """As rows.Row, worked out already."""

    always: dict[str, Any]
    measured: dict[str, Any]
    vectors: dict[str, Any]


def ready(wanted: Sequence[Wanted], states: Sequence[TrainState]) -> list[Ready]:
    """The rows of these states, each of one network after an update: what each has by itself, to rounding."""
    kinds: dict[Hashable, list[int]] = {}
    for i, one in enumerate(wanted):
        kinds.setdefault(one.kind, []).append(i)
    weights = torch.stack([state.weights for state in states])
    norms, on_host = _norms(states, weights), weights.cpu()
    found: dict[int, Ready] = {}
    for some in kinds.values():
        at_once = max(1, AT_ONCE // wanted[some[0]].task.n_pairs)
        for here in (some[start : start + at_once] for start in range(0, len(some), at_once)):
            for i, values in zip(here, _values([wanted[i] for i in here], weights[here]), strict=True):
                row = in_row(states[i].step, values.always, norms[i], weights_hash(on_host[i]))
                found[i] = Ready(row, values.measured, values.vectors)
    return [found[i] for i in range(len(wanted))]


def _norms(states: Sequence[TrainState], weights: Float[Tensor, "n_networks n_parameters"]) -> list[dict[str, float]]:
    """Of the last gradient and update of each."""
    gradient, before = (torch.stack([getattr(state, name) for state in states]) for name in ("gradient", "before"))
    of_both = torch.stack([gradient.double().norm(dim=1), (weights - before).double().norm(dim=1)])
    return [dict(zip(("grad_norm", "update_norm"), both, strict=True)) for both in of_both.T.tolist()]


@dataclass(frozen=True)
class _Values:
    """Of one network: what rows.always gives, its measures and lists, as numbers of Python."""

    always: list[Any]
    measured: dict[str, Any]
    vectors: dict[str, Any]


def _values(wanted: Sequence[Wanted], vectors: Float[Tensor, "n_networks n_parameters"]) -> list[_Values]:
    """Of networks that are alike."""
    first = wanted[0]
    assert isinstance(first.network, Transformer)
    weights = unflatten(vectors, first.shapes)
    taken: list[Taken] = []
    of_each: list[Shape] = []

    def numbers(weights: Weights, activations: dict[str, Tensor], task: dict[str, Tensor]) -> Tensor:
        evaluation = _evaluation(first, weights, activations, task)
        taken[:] = defined(evaluation, first.names)
        found = always(evaluation, first.loss) + [one.function.formula(evaluation) for one in taken]
        of_each[:] = shapes(found)
        return end_to_end(found)

    with torch.no_grad():
        activations = first.network.forward_of_many(weights, first.task.a, first.task.b)
        rows = torch.vmap(numbers)(weights, activations, _tasks(tuple(wanted))).tolist()
    return [_told(apart(row, of_each), taken) for row in rows]


def _told(found: list[Any], taken: Sequence[Taken]) -> _Values:
    of_measures = found[-len(taken) :] if taken else []
    values: tuple[dict[str, Any], dict[str, Any]] = {}, {}
    for one, value in zip(taken, of_measures, strict=True):
        values[one.is_vector].update(entries(one.name, one.function.tell(value)))
    return _Values(found[: len(found) - len(taken)], *values)


@lru_cache(maxsize=64)
def _tasks(wanted: tuple[Wanted, ...]) -> dict[str, Any]:
    """In what tasks that are alike differ, a row each; the same runs come again with every row."""
    tasks = [one.task for one in wanted]
    stacked = {n: torch.stack([getattr(task, n) for task in tasks]) for n in ("labels", "train_mask", "swap_mask")}
    if tasks[0].group is None:
        return stacked
    trained = [task.trained_by_sum for task in tasks]
    longest = max(pairs.pairs.shape[1] for pairs in trained)
    for name in ("pairs", "is_pair"):
        rows = [getattr(pairs, name) for pairs in trained]
        padded = [torch.nn.functional.pad(row, (0, longest - row.shape[1])) for row in rows]
        stacked[name] = torch.stack(padded)
    return stacked


def _evaluation(first: Wanted, weights: Weights, activations: dict[str, Any], own: dict[str, Tensor]) -> Evaluation:
    """Of one of them: its own weights and split, the rest as the first one has it."""
    masks = {name: own[name] for name in ("labels", "train_mask", "swap_mask")}
    task = replace(first.task, **masks)
    names = ("set_names", *(TASK_FACTS if task.group is not None else TASK_FACTS[:2]))
    vars(task).update({name: getattr(first.task, name) for name in names})  # cached properties live there
    if task.group is not None:
        vars(task)["trained_by_sum"] = PairsBySum(own["pairs"], own["is_pair"])
    read = Activations(**activations)
    return Evaluation(weights, task, first.network, read, read.logits.double(), first.loss_dtype, at_once=True)
