"""A measure is a formula of tensors, and numbers once somebody asks: so that many wait for a device only once.

A formula has no step that hangs on a number (no float(), no mask that picks so many): it may be taken of several
networks at once (measures/many.py). What is not defined there is no number, NaN, and is told as None.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, ParamSpec, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")
Found = Tensor | dict[str, Tensor] | None
"""What a formula gives: a number, a row of them, several by name; None where the network has no such thing."""
F = TypeVar("F", bound=Found)


class Told(Generic[P, F, T]):
    """A measure: called it gives numbers of Python; `formula` gives tensors.

    Args:
        tell: from what the formula gives, as numbers and lists of them, to what is told.
    """

    def __init__(self, formula: Callable[P, F], tell: Callable[[Any], T]) -> None:
        functools.update_wrapper(self, formula)
        self.formula, self.tell = formula, tell

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.tell(plain([self.formula(*args, **kwargs)])[0])


def told_as(tell: Callable[[Any], T]) -> Callable[[Callable[P, F]], Told[P, F, T]]:
    """Make a measure of a formula."""
    return lambda formula: Told(formula, tell)


# --- from tensors to numbers --------------------------------------------------------------------------------

Shape = torch.Size | dict[str, torch.Size] | None


def plain(found: Sequence[Found]) -> list[Any]:
    """Numbers, and lists of them, in the place of tensors: the device is waited for once."""
    return apart(end_to_end(found).tolist(), shapes(found))


def shapes(found: Sequence[Found]) -> list[Shape]:
    return [{n: t.shape for n, t in one.items()} if isinstance(one, dict) else _shape(one) for one in found]


def _shape(found: Tensor | None) -> torch.Size | None:
    return None if found is None else found.shape


def end_to_end(found: Sequence[Found]) -> Float[Tensor, " n"]:
    """All their numbers in float64, which holds whole numbers and yes or no as well."""
    tensors = [t for f in found for t in (f.values() if isinstance(f, dict) else [f]) if t is not None]
    return torch.cat([t.double().reshape(-1) for t in tensors]) if tensors else torch.empty(0, dtype=torch.float64)


def apart(numbers: Sequence[float], of: Sequence[Shape]) -> list[Any]:
    """Numbers that lie end to end, as what has these shapes."""
    left = iter(numbers)

    def taken(shape: torch.Size | None) -> Any:
        if shape is None:
            return None
        return [next(left) for _ in range(shape.numel())] if len(shape) else next(left)

    return [{n: taken(s) for n, s in one.items()} if isinstance(one, dict) else taken(one) for one in of]


# --- how it is told -----------------------------------------------------------------------------------------


def number(found: float) -> float:
    return found


def number_or_none(found: float | None) -> float | None:
    return None if found is None or math.isnan(found) else found


def whole_or_none(found: float | None) -> int | None:
    return None if (value := number_or_none(found)) is None else int(value)


def numbers(found: list[float]) -> list[float]:
    return found


def numbers_or_none(found: list[float] | None) -> list[float] | None:
    """None where all are none."""
    return None if found is None or all(map(math.isnan, found)) else found


def wholes_or_none(found: list[float] | None) -> list[int] | None:
    return None if (values := numbers_or_none(found)) is None else [int(value) for value in values]


def frequencies(found: list[float] | None) -> list[int] | None:
    """Those that a mask over k = 1, 2, … marks; None where there are none."""
    return [k for k, is_marked in enumerate(found or [], 1) if is_marked] or None


def by_name(found: dict[str, float]) -> dict[str, float]:
    return found


def by_name_or_none(found: Mapping[str, float]) -> dict[str, float | None]:
    return {name: number_or_none(value) for name, value in found.items()}


# --- in the place of steps that hang on numbers -------------------------------------------------------------


def where_defined(is_defined: Bool[Tensor, ""], value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The value, or no number."""
    return torch.where(is_defined, value, torch.nan)


def mean_over(mask: Bool[Tensor, "*places"], values: Float[Tensor, "*places"]) -> Float[Tensor, ""]:
    """Mean of the values at the places in `mask`; of none no number."""
    return torch.where(mask, values, 0).sum() / mask.sum()
