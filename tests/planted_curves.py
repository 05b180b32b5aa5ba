"""Curves of runs whose boundaries are known, because they were planted: with noise, spikes, and pure memorisers.

Times, sizes and shapes are drawn far more widely than one network has them. No curve was taken from a run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float64]
P = 113
FLOOR = 1e-7


@dataclass(frozen=True)
class Planted:
    """A run.

    Attributes:
        kind: "four stages", "borderline" (something is close to a limit of the rule), "memoriser".
        truth: step at which the noise-free curves have each boundary, whether or not the run goes on so long;
            empty for a memoriser, but for B0.
        rows, final: the columns that a run would have logged.
        clean_rows, clean_final: the same without noise and spikes.
    """

    kind: str
    truth: dict[str, float]
    rows: dict[str, list[float | None]]
    final: dict[str, list[float | None]]
    clean_rows: dict[str, list[float | None]]
    clean_final: dict[str, list[float | None]]


@dataclass(frozen=True)
class Shape:
    """How a run's curves go, free of noise; the formulas are in `curves`.

    Attributes:
        times: of B0 to B3, in steps.
        keys: whether the run forms a circuit; else it only memorises.
        accuracy_slope: of the logit of train accuracy over ln t.
        rise, falls: of ln excluded loss, from its minimum and to it; `reach`: within how much of ln t, to the left
            and right; `highest`: what it ends at (nats).
        steepness: the power of t with which ln restricted loss falls.
        norms: the sum of squares at its plateau, and its fall from B2 as a multiple of that.
        cleanup_power: 1 for an exponential fall; `tail`: share of the fall that takes five times as long.
        threshold: restricted loss at B2, in units of .005 ln p.
        other_keys: how much weaker or stronger another K is, in the logarithm of restricted and excluded loss.
    """

    times: dict[str, float]
    keys: bool
    accuracy_slope: float
    rise: float
    falls: float
    reach: tuple[float, float]
    highest: float
    steepness: float
    cleanup_power: float
    norms: tuple[float, float]
    tail: float
    threshold: float = 1.0
    other_keys: tuple[float, float] = (0.8, 1.1)


def shape(kind: str, chance: Generator, off_threshold: bool = False) -> Shape:
    """One at random.

    Args:
        off_threshold: restricted loss at B2 is off .005 ln p by up to a factor two, which the rule allows itself.
    """
    u = chance.uniform
    t0 = 10 ** u(1.8, 2.5)
    t1 = t0 * 10 ** u(0.3, 1.2)
    t2 = t1 * 10 ** u(0.25, 1.0)
    rise = u(math.log(6), 9)
    if kind == "borderline":
        close = chance.integers(3)
        t1 = t0 * 10 ** u(-0.05, 0.2) if close == 0 else t1
        t2 = t1 * 10 ** u(0.1, 0.25) if close == 1 else t2
        rise = u(0.8, 1.6) * math.log(3) if close == 2 else rise
    return Shape(
        {"B0": t0, "B1": t1, "B2": t2, "B3": t2 * (1 + u(0.15, 1.2))},
        kind != "memoriser",
        u(4, 15),
        rise,
        u(0.5, 3),
        (u(0.5, 1.5), math.log(t2 / t1) * u(0.4, 0.9)),
        u(3, 15),
        u(3, 12),
        u(0.9, 1.4),
        (10 ** u(2.3, 3.2), u(0.5, 2.0)),
        u(0, 0.03) if chance.random() < 0.5 else 0.0,
        2 ** u(-1, 1) if off_threshold else 1.0,
    )


def curves(s: Shape, t: Floats) -> dict[str, Floats]:
    """The noise-free curves at steps t: B0, B1, B2, B3 lie exactly where the shape says."""
    x = np.log(np.maximum(t, 0.5))
    x0, x1 = math.log(s.times["B0"]), math.log(s.times["B1"])
    odds = math.log(99) + s.accuracy_slope * (x - x0)
    train_loss = 4.7 / (1 + np.exp(np.clip(8 * (x - x0) + 6, -50, 50))) + 4e-5 * (t + 10) ** -0.7
    found = {"train_acc": 1 / (1 + np.exp(-odds)), "train_loss": train_loss}
    if not s.keys:
        return found | _memoriser(s, t, x, train_loss)
    u = (x - x1) / np.where(x < x1, s.reach[0], s.reach[1])
    log_excluded = math.log(s.highest) - s.rise + np.where(x < x1, s.falls, s.rise) * u**2 / (1 + u**2)
    t2, t3 = s.times["B2"], s.times["B3"]
    level = s.threshold * 0.005 * math.log(P)
    depth = math.log(math.log(P) / (level - FLOOR))
    exponent = np.minimum(depth * (t / t2) ** s.steepness, 60)
    found["excluded"], found["restricted"] = np.exp(log_excluded), math.log(P) * np.exp(-exponent) + FLOOR
    after = np.maximum(t - t2, 0)
    gone = after / (t3 - t2)
    plateau, fall = s.norms[0], s.norms[0] * s.norms[1]
    slow = s.tail * np.exp(-after / (5 * (t3 - t2)))
    before = 0.15 * np.log(np.maximum(t2 / np.maximum(t, 100.0), 1)) * np.minimum(1, t / s.times["B0"])
    found["sum_sq_weights"] = plateau + fall * ((1 - s.tail) * _left(gone, s) + slow + before)
    return found


def _left(gone: Floats, s: Shape) -> Floats:
    """Share of the fall that is still to come, so that with the slow tail 5 % are left at B3."""
    share = (0.05 - s.tail * math.exp(-1 / 5)) / (1 - s.tail)
    return np.exp(math.log(share) * gone**s.cleanup_power)


def _memoriser(s: Shape, t: Floats, x: Floats, train_loss: Floats) -> dict[str, Floats]:
    """Excluded loss follows the train loss down, and wanders by some factor; restricted loss stays near ln p, and the
    norm falls to a plateau."""
    norm = s.norms[0] * (1 + s.norms[1] / (1 + (t / s.times["B2"]) ** 1.5))
    wave = 0.5 * s.falls * np.sin(2 * x)
    return {
        "excluded": (train_loss * (1 + s.rise) + 1e-6) * np.exp(wave),
        "restricted": math.log(P) * (0.95 - 0.3 / (1 + np.exp(-(x - math.log(s.times["B1"])) * 3))),
        "sum_sq_weights": norm,
    }


def schedule(last: int) -> Floats:
    """The steps of the default cadence: every step to 100, then 60 rows a decade."""
    steps = {*range(min(100, last) + 1), last}
    steps |= {round(100 * 10 ** (i / 60)) for i in range(1, 300) if 100 * 10 ** (i / 60) <= last}
    return np.array(sorted(steps), dtype=float)


def plant(kind: str, chance: Generator, off_threshold: bool = False) -> Planted:
    """A run of this kind at random; a fifth of them end before their third or last boundary shows."""
    s = shape(kind, chance, off_threshold)
    beyond = chance.uniform(0.4, 2.5) if chance.random() < 0.2 else chance.uniform(2.2, 6)
    t2, t3 = s.times["B2"], s.times["B3"]
    last = max(int(t2 + (t3 - t2) * beyond) if s.keys else int(t2 * beyond), 300)
    steps = schedule(last)
    # Final keys at every row, or at 100 snapshots that lie evenly.
    final_steps = steps if chance.random() < 0.6 else np.unique(np.round(np.linspace(0, last, 101)))
    amounts = {"excluded": 10 ** chance.uniform(-2, -0.8), "restricted": 10 ** chance.uniform(-2, -0.6)}
    amounts["sum_sq_weights"] = 10 ** chance.uniform(-3, -2)
    amounts["train_loss"] = 0.05
    memory, n_spikes = chance.uniform(0, 0.6), int(chance.integers(0, 7))
    gap = chance.uniform(1.8, 7) if s.keys else chance.uniform(0, 1.4)
    if not s.keys and chance.random() < 0.25:
        gap = chance.uniform(1.5, 2.2)  # a gap by chance: K without a circuit
    clean_rows, clean_final = columns(s, steps, final_steps, gap)
    rows, final = _noisy(clean_rows, clean_final, amounts, memory, n_spikes, s.times["B0"], chance)
    # B1 is the minimum after B0.
    truth = s.times | {"B1": max(s.times["B0"], s.times["B1"])} if s.keys else {"B0": s.times["B0"]}
    return Planted(kind, truth, rows, final, clean_rows, clean_final)


def columns(s: Shape, steps: Floats, final_steps: Floats, gap: float) -> tuple[dict, dict]:
    at_rows, at_final = curves(s, steps), curves(s, final_steps)
    rows = {"step": list(steps)} | {n: list(at_rows[n]) for n in ("train_acc", "train_loss", "sum_sq_weights")}
    rows |= {"key_gap": [gap] * len(steps), "n_key_freqs": [5.0 if gap >= 1.5 else None] * len(steps)}
    rows |= {"excluded_loss_max": list(at_rows["excluded"]), "restricted_loss": list(at_rows["restricted"])}
    if gap < 1.5:
        return rows, {}
    final = {"step": list(final_steps)}
    for name, other in (("restricted", lambda y, by: y**by), ("excluded", lambda y, by: y * by)):
        value = at_final[name]
        final[f"{name}_loss_final"] = list(value)
        for infix, by in zip(("without_weakest", "with_next"), s.other_keys, strict=True):
            final[f"{name}_loss_{infix}_final"] = list(other(value, by))
    return rows, final


def _noisy(rows, final, amounts, memory, n_spikes, t0, chance: Generator) -> tuple[dict, dict]:
    """Autocorrelated noise in the logarithm, and spikes of one or two rows in the losses and the accuracy."""
    noisy_rows, noisy_final = dict(rows), dict(final)
    for columns, noisy in ((rows, noisy_rows), (final, noisy_final)):
        steps = np.array(columns.get("step", ()))
        spikes = _spikes(steps, n_spikes, t0, chance)
        waves = {name: _ar1(len(steps), memory, chance) for name in ("excluded", "restricted")}
        for name, values in columns.items():
            kind = next((k for k in amounts if name.startswith(k)), None)
            if kind is not None:
                wave = waves.get(kind, _ar1(len(steps), memory, chance))
                spike = 0 if kind == "sum_sq_weights" else spikes * (0.5 if kind == "excluded" else 1)
                noisy[name] = list(np.array(values) * np.exp(amounts[kind] * wave + spike))
        if "train_acc" in columns:
            noisy["train_acc"] = list(np.array(columns["train_acc"]) * np.exp(-0.05 * np.maximum(spikes, 0)))
    return noisy_rows, noisy_final


def _ar1(n: int, memory: float, chance: Generator) -> Floats:
    """Autocorrelated noise of standard deviation 1."""
    shocks = chance.normal(size=n)
    for i in range(1, n):
        shocks[i] = memory * shocks[i - 1] + math.sqrt(1 - memory**2) * shocks[i]
    return shocks


def _spikes(steps: Floats, n_spikes: int, t0: float, chance: Generator) -> Floats:
    """0 but at spikes, where the logarithm of a loss is raised."""
    raised = np.zeros(len(steps))
    late = np.flatnonzero(steps > t0)
    if len(late) > 4:
        for start in chance.choice(late[:-2], n_spikes):
            raised[start : start + chance.integers(1, 3)] = chance.uniform(1, 6)
    return raised
