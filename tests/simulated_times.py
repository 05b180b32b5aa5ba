"""Tables of runs with a known boundary: times from the model that analysis.boundary fits, logged as runs log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

FRACTIONS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
DECAYS = (0.1, 0.3, 1.0, 3.0)
BUDGET = 10_000


@dataclass(frozen=True)
class Line:
    """ln T = ln BUDGET + slope (frac - frac_1) + decay z + curve z² + mixed z (frac - frac_1), z = ln weight decay.

    As fast at weight decay 1 and frac_1 as the budget, and by default slower for less weight decay. Above it stands
    `floor`: steps that every run takes, however large its train fraction.
    """

    slope: float = -13.0
    frac_1: float = 0.42
    decay: float = -0.5
    curve: float = 0.1
    mixed: float = 1.0
    floor: float = 0.0

    def mean(self, frac, weight_decay):
        z = np.log(weight_decay)
        return (
            np.log(BUDGET) + self.decay * z + self.curve * z**2 + (self.slope + self.mixed * z) * (frac - self.frac_1)
        )

    def f_50(self, weight_decay, budget):
        z = np.log(weight_decay)
        rest = np.log((budget - self.floor) / BUDGET) - self.decay * z - self.curve * z**2
        return self.frac_1 + rest / (self.slope + self.mixed * z)


def logged_steps(n_steps: int = BUDGET) -> np.ndarray:
    """Every step to 100, then about 60 a decade, and the last."""
    sparse = np.round(100 * 10 ** (np.arange(1, 400) / 60))
    return np.unique(np.r_[0:101, sparse[sparse < n_steps], n_steps]).astype(float)


def simulated_runs(
    rng: np.random.Generator,
    n_seeds: int = 4,
    sigma: float = 0.2,
    tau: float = 0.3,
    line: Line | None = None,
    fractions: Sequence[float] = FRACTIONS,
    decays: Sequence[float] = DECAYS,
    n_steps: int = BUDGET,
) -> pl.DataFrame:
    """A run for each fraction, weight decay and seed, with the columns of grok_sweep.run_table that matter."""
    frac, decay, seed = (a.ravel() for a in np.meshgrid(fractions, decays, np.arange(n_seeds), indexing="ij"))
    shift = rng.normal(0, tau, n_seeds)[seed]
    line, noise = line or Line(), shift + sigma * rng.normal(size=len(frac))
    times = (np.exp(line.mean(frac, decay)) + line.floor) * np.exp(noise)
    return table(frac, decay, seed, times, n_steps)


CRITICAL = (0.22, 0.24, 0.26, 0.27, 0.28, 0.3, 0.32, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7)


def critical_runs(rng: np.random.Generator, n_seeds: int = 4, n_steps: int = 100_000) -> pl.DataFrame:
    """ln T = 6 - ln(frac - 0.25) at CRITICAL, never at or below 0.25; weight decay 1."""
    frac, seed = np.repeat(CRITICAL, n_seeds), np.tile(np.arange(n_seeds), len(CRITICAL))
    noise = 0.2 * rng.normal(size=len(frac)) + rng.normal(0, 0.3, n_seeds)[seed]
    mean = 6 - np.log(np.maximum(frac - 0.25, 1e-300))
    return table(frac, np.ones(len(frac)), seed, np.exp(mean + noise), n_steps)


def table(frac, decay, seed, times, n_steps: int = BUDGET) -> pl.DataFrame:
    """Runs with these times in steps, seen through their rows; inf: never."""
    rows = logged_steps(n_steps)
    i = np.searchsorted(rows, times)
    crossed = i < len(rows)
    above = [int(rows[j]) if seen else None for j, seen in zip(i, crossed, strict=True)]
    below = [int(rows[j - 1]) if seen and j else None for j, seen in zip(i, crossed, strict=True)]
    none = pl.Series([None] * len(i), dtype=pl.Int64)
    return pl.DataFrame(
        {
            "run_id": [f"{j:08x}" for j in range(len(i))],
            "state": "done",
            "has_novel": True,
            "steps": n_steps,
            "t_test": pl.Series(above, dtype=pl.Int64),
            "t_test_below": pl.Series(below, dtype=pl.Int64),
            **dict.fromkeys(("t_novel", "t_novel_below", "t_train", "t_train_below"), none),
            "data.frac_train": frac,
            "optimizer.weight_decay": decay,
            "optimizer.lr": 0.001,
            "data.split_seed": seed,
            "model.init_seed": seed,
        },
    )
