"""Sweeps with planted alarms: curves whose event, alarms and gains are known, without a step of training.

In a run that groks, the logit of accuracy rises from chance in ln t, and accuracy reaches .9 at T; a measure sees the
same a factor earlier, or not at all. ln T = mu(weight decay, train fraction) + deviations of a cell, a seed, a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

SWEPT = ("optimizer.weight_decay", "data.frac_train", "data.split_seed", "model.init_seed")
WEIGHT_DECAYS, FRACTIONS = (0.3, 1.0, 3.0, 10.0), (0.2, 0.25, 0.3, 0.4, 0.5, 0.6)
T_TRAIN, P = 100, 59
CHANCE = -float(np.log(P - 1))
RISE = 0.4
"""From where accuracy leaves chance to T, in ln t: less than ln 3 - ln 2, so that a measure that sees it twice as
early is not more than three times too early."""


@dataclass(frozen=True)
class World:
    """Spreads (sd of ln T), noise of curves (sd of a logit, per log), and where and how fast T grows.

    Attributes:
        budget: steps of every run; T beyond it does not happen.
        memorises_below: train fractions below this never grok, however long they run.
        lead_sd: spread over runs of the width of the rise of test accuracy (sd of its logarithm).
    """

    cell_sd: float = 0.15
    seed_sd: float = 0.1
    run_sd: float = 0.1
    noise: float = 0.1
    budget: int = 50_000
    memorises_below: float = 0.28
    lead_sd: float = 0.05


Curve = Callable[["Run", np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Run:
    """What curves are made from: ln T (beyond the budget too; inf: never), logged steps, width of the rise, noise."""

    log_event: float
    steps: np.ndarray
    width: float
    noise: float

    def logit(self, earlier: float, rng: np.random.Generator) -> np.ndarray:
        """The logit of novel accuracy, `earlier` times as early: .9 is reached at T / earlier."""
        gone = np.log(np.maximum(self.steps * earlier, 1)) - self.log_event
        rise = np.log(9) + (np.log(9) - CHANCE) / RISE * gone / self.width
        return np.clip(rise, CHANCE, 12) + self.noise * rng.standard_normal(len(gone))


def share(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))


def logged_steps(budget: int, per_decade: int = 60) -> np.ndarray:
    """As the default schedule has them: dense to 100, then 60 a decade."""
    sparse = np.round(100 * 10 ** (np.arange(1, 10 * per_decade) / per_decade))
    return np.unique([*range(101), *sparse[sparse <= budget], budget]).astype(np.int64)


def seen(earlier: float) -> Curve:
    """Test accuracy, so many times earlier."""
    return lambda run, rng: share(run.logit(earlier, rng))


def step_number(run: Run, rng: np.random.Generator) -> np.ndarray:
    return run.steps.astype(float)


def random_walk(run: Run, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(len(run.steps)).cumsum()


def norm_of_memorisers(run: Run, rng: np.random.Generator) -> np.ndarray:
    """A sum of squares that falls by weight decay, whether or not the run groks."""
    late = np.log(np.maximum(run.steps, 1) / T_TRAIN).clip(0)
    return 4000 * np.exp(-0.35 * late + 0.02 * rng.standard_normal(len(late)))


def planted_sweep(
    world: World,
    curves: Mapping[str, Curve],
    rng: np.random.Generator,
    n_seeds: int = 4,
    decays: tuple[float, ...] = WEIGHT_DECAYS,
    fractions: tuple[float, ...] = FRACTIONS,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(rows, runs): as load_rows and the table of runs have them; test_acc, novel_acc, test_loss and `curves`."""
    steps = logged_steps(world.budget)
    seeds = world.seed_sd * rng.standard_normal(n_seeds)
    rows, runs = [], []
    for wd in decays:
        for frac in fractions:
            cell = world.cell_sd * rng.standard_normal()
            for seed in range(n_seeds):
                mean = 8.5 - 0.4 * np.log(wd) - 3 * (frac - 0.3)
                log_event = (
                    np.inf
                    if frac < world.memorises_below
                    else mean + cell + seeds[seed] + world.run_sd * rng.standard_normal()
                )
                run = Run(log_event, steps, float(np.exp(world.lead_sd * rng.standard_normal())), world.noise)
                run_id = f"{len(runs):012x}"
                rows.append(_rows(run_id, run, curves, rng))
                runs.append(_run(run_id, wd, frac, seed))
    return pl.concat(rows), pl.DataFrame(runs)


def _rows(run_id: str, run: Run, curves: Mapping[str, Curve], rng: np.random.Generator) -> pl.DataFrame:
    logit = run.logit(1.0, rng)
    accuracy = share(logit)
    loss = np.log1p(np.exp(-logit)) * np.exp(0.3 * run.noise * rng.standard_normal(len(logit)))
    values = {"test_acc": accuracy, "novel_acc": accuracy, "test_loss": loss}
    values |= {name: curve(run, rng) for name, curve in curves.items()}
    return pl.DataFrame({"run_id": [run_id] * len(run.steps), "step": run.steps, **values})


def _run(run_id: str, wd: float, frac: float, seed: int) -> dict:
    return {
        "run_id": run_id, "state": "done", "t_train": T_TRAIN, "optimizer.weight_decay": wd, "data.frac_train": frac,
        "data.split_seed": seed, "model.init_seed": seed,
    }  # fmt: skip


# --- many sweeps --------------------------------------------------------------------------------------------

SIMULATED: dict[str, Curve] = {
    "restored_acc": seen(2.0),
    "fve_logits": seen(1.4),
    "logit_energy": seen(1.0),
    "gini_W_E": random_walk,
}
"""Under names whose scale and direction fit: twice as early, 1.4 times, accuracy with noise of its own, nothing."""


def simulate(n_sweeps: int, n_draws: int, first: int = 0) -> dict[str, np.ndarray]:
    """Measure -> gain, low and high end of its 90 % interval in each sweep, [n_sweeps, 3]."""
    from analysis.alarms.ranking import rank

    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in SIMULATED}
    for seed in range(first, first + n_sweeps):
        rng = np.random.default_rng(seed)
        rows, runs = planted_sweep(World(), SIMULATED, rng)
        table = rank(rows, runs, SWEPT, rng, n_draws=n_draws).table
        for name, *numbers in table.select("measure", "gain", "gain_low", "gain_high").iter_rows():
            if name in found:
                found[name].append(tuple(numbers))
    return {name: np.array(numbers) for name, numbers in found.items()}


def coverage(gains: np.ndarray) -> tuple[float, float]:
    """Share of intervals that hold the mean of all gains, and that mean."""
    mean = gains[:, 0].mean()
    return float(((gains[:, 1] <= mean) & (mean <= gains[:, 2])).mean()), float(mean)


if __name__ == "__main__":
    # python tests/planted_alarms.py 0 100: the figures of tests/golden/alarms.json
    import sys

    for name, gains in simulate(int(sys.argv[2]), 200, int(sys.argv[1])).items():
        widths = gains[:, 2] - gains[:, 1]
        print(
            name,
            *(round(n, 3) for n in (*coverage(gains), gains[:, 0].std(), widths.mean(), (gains[:, 1] > 0).mean())),
        )
