"""Key frequencies: which frequencies the network computes with."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from grok_sweep.measures.told import frequencies, plain

LEAST_GAP = 1.5
"""Decades: below this the network has no key frequencies."""


@dataclass(frozen=True)
class KeyFrequencies:
    """Frequencies above the largest gap, and the gap in decades: their confidence.

    `freqs` is sorted, and None where the gap is below LEAST_GAP: restricted and excluded loss are then
    not defined. `above` are those above the gap whatever its size.
    """

    freqs: list[int] | None
    gap: float
    above: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Gap:
    """The largest gap, as tensors.

    Attributes:
        is_above: frequencies above it; none where no gap is defined.
        gap: in decades; 0 where none is defined.
    """

    is_above: Bool[Tensor, " n_freqs"]
    gap: Float[Tensor, ""]

    @property
    def is_key(self) -> Bool[Tensor, " n_freqs"]:
        """The key frequencies: none where the gap is below LEAST_GAP."""
        return self.is_above & (self.gap >= LEAST_GAP)

    def told(self) -> KeyFrequencies:
        above, keys, gap = plain([self.is_above, self.is_key, self.gap])
        return KeyFrequencies(frequencies(keys), gap, frequencies(above) or [])


def largest_gap(delta: Float[Tensor, " n_freqs"]) -> Gap:
    """All frequencies above the largest gap in log10 delta.

    delta_k is the train loss that removing frequency k costs. Where removing one *lowers* the loss, by at most
    m, effects smaller than m are noise: deltas count as max(delta, m), so that no gap opens between a
    small positive number and one that happens to lie near 0.

    Args:
        delta: excluded_k - train_loss (nats), for k = 1, 2, …
    """
    if len(delta) < 2:
        return Gap(torch.zeros_like(delta, dtype=torch.bool), delta.new_zeros(()))
    noise = (-delta.amin()).clamp(min=0)
    least = torch.where(delta > 0, delta, torch.inf).amin()
    floor = torch.maximum(noise, torch.where(least.isinf(), 0.0, least))
    is_defined = delta.isfinite().all() & (floor > 0)
    values, order = delta.sort(descending=True, stable=True)
    gaps = -torch.maximum(values, floor).log10().diff()
    rank = order.argsort()
    is_above = (rank <= gaps.argmax()) & is_defined
    return Gap(is_above, torch.where(is_defined, gaps.amax(), 0.0))


WITHOUT_WEAKEST, WITH_NEXT = "without_weakest", "with_next"


def neighbours(key_freqs: list[int], excluded_loss_k: Float[Tensor, " n_freqs"]) -> dict[str, list[int]]:
    """The two sets of key frequencies that the rule might as well have found: one fewer, one more.

    "without_weakest" lacks the one whose removal costs least, "with_next" has the one beside K whose removal costs
    most. A set that would be empty, or has none to add, is left out.

    Args:
        excluded_loss_k: for k = 1, 2, …
    """
    by_cost = sorted(range(1, len(excluded_loss_k) + 1), key=lambda k: -float(excluded_loss_k[k - 1]))
    inside = [k for k in by_cost if k in key_freqs]
    outside = [k for k in by_cost if k not in key_freqs]
    found = {}
    if len(inside) > 1:
        found[WITHOUT_WEAKEST] = sorted(inside[:-1])
    if outside:
        found[WITH_NEXT] = sorted([*inside, outside[0]])
    return found
