"""Key frequencies: which frequencies the network computes with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor

LEAST_GAP = 1.5
"""Decades: below this the network has no key frequencies."""


@dataclass(frozen=True)
class KeyFrequencies:
    """Frequencies above the largest gap, and the gap in decades: their confidence.

    `freqs` is sorted, and None where the gap is below LEAST_GAP: restricted and excluded loss are then
    not defined.
    """

    freqs: list[int] | None
    gap: float


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
    if gaps[largest] < LEAST_GAP:
        return KeyFrequencies(None, gaps[largest])
    return KeyFrequencies(sorted(i + 1 for i in order[: largest + 1]), gaps[largest])
