"""Where in a file the weights lie, and what stands beside them: losses, steps, settings, train pairs. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analysis.checkpoints.checkpoint import Losses

USUAL = ("model", "model_state_dict", "state_dict", "model_state", "net", "network", "params", "weights")
"""Keys under which weights lie, the likeliest first."""

NO_WEIGHTS = ("optim", "scheduler", "scaler", "grad", "ema", "rng")
"""Beginnings of keys under which something else lies that holds tensors too."""

LIST_STEPS = ("checkpoint_epochs", "checkpoint_steps", "epochs", "steps")
STEP = ("step", "epoch", "global_step")
TRAIN_LOSS, TEST_LOSS = ("train_losses", "train_loss"), ("test_losses", "test_loss", "val_losses", "val_loss")
TRAIN_PAIRS = ("train_indices", "train_idx", "train_inds")
MOST_OBJECTS, DEEPEST = 200_000, 20
"""Containers looked into, and how deep: a file may nest lists into each other without end."""


@dataclass(frozen=True)
class StateDict:
    """Named tensors in a file, and the key that leads there ("" at the top); of a list of them, the step."""

    where: str
    tensors: dict[str, Tensor]
    step: int | None = None


@dataclass(frozen=True)
class Nested:
    """A file's state dicts, and what its outermost mapping says besides."""

    alone: list[StateDict]
    series: list[StateDict]
    beside: Mapping[str, Any] = field(default_factory=dict)


def find(value: Any) -> Nested:
    """Every state dict in a file, those of a list or a mapping by step (`series`) apart from those alone."""
    beside = value if isinstance(value, Mapping) else {}
    found = list(_state_dicts(value, "", set()))
    series = [each for each in found if each.step is not None]
    return Nested([each for each in found if each.step is None], series, beside)


def _state_dicts(
    value: Any, where: str, seen: set[int], steps: Sequence[int] | None = None, depth: int = 0
) -> Iterator[StateDict]:
    if id(value) in seen or len(seen) > MOST_OBJECTS or depth > DEEPEST:
        return
    if isinstance(value, Mapping):
        seen.add(id(value))
        tensors = {key: t for key, t in value.items() if isinstance(key, str) and isinstance(t, Tensor)}
        if sum(t.ndim >= 2 for t in tensors.values()) >= 2:
            yield StateDict(where, tensors, steps[0] if steps else None)
        for key, inner in value.items():
            if str(key).lower().startswith(NO_WEIGHTS) or isinstance(inner, Tensor | str | int | float):
                continue
            its_steps = _steps_of(value, key, inner) or steps
            yield from _state_dicts(inner, f"{where}.{key}".lstrip("."), seen, its_steps, depth + 1)
    elif isinstance(value, list | tuple):
        seen.add(id(value))
        numbers = steps if steps and len(steps) == len(value) else range(len(value))
        for number, inner in zip(numbers, value, strict=True):
            if isinstance(inner, Mapping | list | tuple):
                yield from _state_dicts(inner, f"{where}[{number}]", seen, [int(number)], depth + 1)


def _steps_of(around: Mapping[Any, Any], key: Any, inner: Any) -> list[int] | None:
    """Steps of the checkpoints in `inner`: whole numbers as keys, or a list of as many beside it."""
    if isinstance(key, int):
        return [key]
    if not isinstance(inner, list | tuple):
        return None
    for name in LIST_STEPS:
        numbers = _whole_numbers(around.get(name))
        if numbers and len(numbers) == len(inner):
            return numbers
    return None


# --- what stands beside them --------------------------------------------------------------------------------


def losses_in(beside: Mapping[str, Any], step: int | None = None) -> Losses | None:
    """The file's own losses, nearest to the weights: of this step where there is one loss a step, else the last."""
    curves = {}
    for which, names in (("train", TRAIN_LOSS), ("test", TEST_LOSS)):
        curves[which] = next((found for name in names if (found := numbers_in(beside.get(name)))), [])
    if not curves["train"] and not curves["test"]:
        return None

    def nearest(curve: list[float]) -> float | None:
        if not curve:
            return None
        value = curve[step] if step is not None and step < len(curve) else curve[-1]
        return value if math.isfinite(value) else None

    return Losses(nearest(curves["train"]), nearest(curves["test"]), len(curves["train"]))


def step_in(beside: Mapping[str, Any]) -> int | None:
    """The step that the file names; None where it names none."""
    for name in STEP:
        numbers = _whole_numbers(beside.get(name))
        if numbers and len(numbers) == 1:
            return numbers[0]
    return None


def settings_in(beside: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that the file names, in its own words: of a config of whatever kind, or beside the weights."""
    found: dict[str, Any] = {k: v for k, v in beside.items() if isinstance(k, str) and _is_plain(v)}
    for name in ("config", "cfg", "args", "hparams", "hyper_parameters", "hyperparameters", "params"):
        inner = beside.get(name)
        inside = inner if isinstance(inner, Mapping) else getattr(inner, "__dict__", {})
        found |= {str(k): v for k, v in inside.items() if _is_plain(v)}
    return found


def train_pairs_in(beside: Mapping[str, Any]) -> frozenset[int] | None:
    """Indices of the pairs trained on, where the file lists them."""
    found = next((numbers for name in TRAIN_PAIRS if (numbers := _whole_numbers(beside.get(name)))), None)
    return frozenset(found) if found else None


def numbers_in(value: Any) -> list[float] | None:
    """A number or a list of numbers of whatever kind, as floats; None where it is none."""
    if isinstance(value, Tensor) and value.ndim <= 1 and not value.is_complex():
        value = value.detach().to(torch.float64).reshape(-1).tolist()
    elif isinstance(value, np.ndarray | np.generic) and value.ndim <= 1 and value.dtype.kind in "fiub":
        value = value.astype(float).reshape(-1).tolist()
    elif isinstance(value, int | float):
        value = [value]
    if not isinstance(value, list | tuple) or not value:
        return None
    items = [_plain(item) for item in value]
    return [float(item) for item in items] if all(isinstance(item, int | float) for item in items) else None


def _whole_numbers(value: Any) -> list[int] | None:
    numbers = numbers_in(value)
    return [int(n) for n in numbers] if numbers and all(n.is_integer() for n in numbers) else None


def _plain(item: Any) -> Any:
    """A tensor or an array of one number as that number; anything else as it is."""
    if isinstance(item, Tensor):
        return item.item() if item.numel() == 1 else item
    return item.item() if isinstance(item, np.ndarray | np.generic) and item.size == 1 else item


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float | np.integer | np.floating)
