"""A row of metrics.jsonl: what is logged of one state of training. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grok_sweep.config import Loss
from grok_sweep.measures.evaluation import Evaluation
from grok_sweep.measures.losses import losses_and_accuracies, objective
from grok_sweep.measures.table import measure, own_name
from grok_sweep.models.parameters import weights_hash
from grok_sweep.train import TrainState


def row(state: TrainState, evaluation: Evaluation, loss: Loss = Loss.cross_entropy) -> dict[str, Any]:
    """Step, losses and accuracies, the norms of the last update, and the hash of the weights.

    grad_norm is that of the gradient which made the last update, taken at the weights before it; absent at
    step 0.
    """
    values: dict[str, Any] = {"step": state.step, "objective": objective(evaluation, loss)}
    values |= losses_and_accuracies(evaluation)
    update = state.update
    if state.gradient is not None and update is not None:
        values["grad_norm"] = float(state.gradient.double().norm())
        values["update_norm"] = float(update.double().norm())
    values["weights_hash"] = weights_hash(state.weights)
    return values


def measured(evaluation: Evaluation, names: Sequence[str], vectors: bool | None = None) -> dict[str, Any]:
    """The measures `names` that are defined here, in order.

    Args:
        vectors: True: only lists with a number a frequency; False: only the others; None: all.
    """
    values: dict[str, Any] = {}
    for name in names:
        line = measure(name)
        if vectors in (None, line.is_vector) and line.needs <= evaluation.has:
            values |= entries(own_name(name), line.load()(evaluation))
    return values


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
