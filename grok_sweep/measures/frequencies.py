"""Key frequencies: which frequencies the network computes with."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor

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


def by_largest_gap(delta: Float[Tensor, " n_freqs"]) -> KeyFrequencies:
    """All frequencies above the largest gap in log10 delta.

    delta_k is the train loss that removing frequency k costs. Where removing one *lowers* the loss, by at most
    m, effects smaller than m are noise: deltas count as max(delta, m), so that no gap opens between a
    small positive number and one that happens to lie near 0.

    Args:
        delta: excluded_k - train_loss (nats), for k = 1, 2, …
    """
    values = delta.tolist()
    if not all(math.isfinite(value) for value in values) or len(values) < 2:
        return KeyFrequencies(None, 0.0)
    noise = max(-min(values), 0.0)
    floor = max(noise, min((value for value in values if value > 0), default=0.0))
    if floor == 0.0:
        return KeyFrequencies(None, 0.0)
    order = sorted(range(len(values)), key=lambda i: -values[i])
    logs = [math.log10(max(values[i], floor)) for i in order]
    gaps = [above - below for above, below in pairwise(logs)]
    largest = max(range(len(gaps)), key=lambda i: gaps[i])
    above = sorted(i + 1 for i in order[: largest + 1])
    return KeyFrequencies(above if gaps[largest] >= LEAST_GAP else None, gaps[largest], above)


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
