"""What is drawn at random follows from a seed and from what it is drawn for, by a generator of its own."""

from __future__ import annotations

import hashlib

import torch


def generator(seed: int, what: str) -> torch.Generator:
    """A generator on the CPU seeded by both, so that to draw one thing more changes no other draw."""
    digest = hashlib.sha256(f"{seed}/{what}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
