"""How often the boundary's bands hold the true line, in simulated sweeps.

    python tests/boundary_coverage.py pooled

prints figures of tests/golden/boundary.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from simulated_times import FRACTIONS, Line, critical_runs, simulated_runs

from analysis.boundary import Boundary, critical_fractions, fit_boundary
from analysis.boundary.contours import quantiles
from analysis.boundary.doubts import Sample
from analysis.boundary.fitted import FASTEST
from analysis.boundary.lognormal import posterior

SIGMAS, TAUS = (0.15, 0.2, 0.3), (0.2, 0.3, 0.4)
FLOOR = Line(floor=150.0)
"""Fast runs as the authors' are: none takes less than 150 steps, however large its train fraction."""
STEEP_FLOOR = Line(floor=150.0, frac_1=0.3)
MANY = (0.25, 0.28, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""The authors' fractions."""


@dataclass
class Coverage:
    """Shares of (sweep, weight decay, budget) whose band holds the true f_50.

    Attributes:
        held: by name of the band, one 0/1 array a sweep.
        identified: of those with a true f_50 inside what is swept, the share that the table gives.
    """

    held: dict[str, list[np.ndarray]] = field(default_factory=dict)
    identified: list[float] = field(default_factory=list)

    def add(self, name: str, low: np.ndarray, high: np.ndarray, truth: np.ndarray) -> None:
        self.held.setdefault(name, []).append((low <= truth) & (truth <= high))

    def share(self, name: str) -> float:
        return float(np.concatenate(self.held[name]).mean())

    def error(self, name: str) -> float:
        """Standard error of the share: rows of one sweep share its seeds, sweeps are independent."""
        found = self.held[name]
        total = sum(len(one) for one in found)
        away = np.array([one.sum() - self.share(name) * len(one) for one in found])
        return float(np.sqrt((away**2).sum()) / total)


def coverage(
    n_sweeps: int, n_seeds: int, seed: int, taus: Sequence[float] = TAUS, line: Line | None = None, **options: float
) -> Coverage:
    """Over sweeps with sigma and tau drawn from SIGMAS and `taus`.

    Bands: "90", "50"; "90 without seeds" is that of a fit which takes runs for independent.

    Args:
        options: further arguments of fit_boundary.
    """
    found = Coverage()
    for i in range(n_sweeps):
        rng = np.random.default_rng([seed, i])
        sigma, tau = rng.choice(SIGMAS), rng.choice(taus)
        _add(found, fit_boundary(simulated_runs(rng, n_seeds, sigma, tau, line), **options), line or Line())
    return found


def _add(found: Coverage, boundary: Boundary, line: Line) -> None:
    table = boundary.table
    decays, budgets = table["weight_decay"].to_numpy(), table["budget"].to_numpy()
    truth, known = line.f_50(decays, budgets), table["f_50"].is_not_null().to_numpy()
    inside = (truth >= min(FRACTIONS)) & (truth <= max(FRACTIONS))
    found.identified.append(float(known[inside].mean()))
    for band in ("90", "50"):
        low, high = (table[f"{end}_{band}"].to_numpy()[known] for end in ("low", "high"))
        found.add(band, low, high, truth[known])
    if known.any():
        low, high = _without_seeds(boundary, decays[known], budgets[known])
        found.add("90 without seeds", low, high, truth[known])


def _without_seeds(boundary: Boundary, decays: np.ndarray, budgets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sample, design = Sample.of(boundary.events, boundary.fastest), boundary.design
    assert design is not None
    rows, prior = design.rows(sample.frac, sample.other), design.prior(boundary.events.run_budget)
    fit = posterior(sample.times, rows, sample.seeds[:, :0], prior, np.array([1.0]))
    ends = np.zeros((2, len(decays)))
    for budget in set(budgets.tolist()):
        here = budgets == budget
        lines = quantiles(design, fit, decays[here], budget)
        ends[:, here] = lines["low_90"], lines["high_90"]
    return ends[0], ends[1]


def figures(found: Coverage) -> dict[str, float]:
    """As they stand in tests/golden/boundary.json."""
    shares = {name: found.share(name) for name in found.held}
    every = {**shares, "error_90": found.error("90"), "identified": float(np.mean(found.identified))}
    return {name: round(value, 3) for name, value in every.items()}


def critical_coverage(n_sweeps: int, n_seeds: int, seed: int) -> dict[str, float]:
    """Of simulated sweeps with a critical fraction of 0.25: share identified, and of those the share whose 90 %
    interval holds it; and the share identified of as many sweeps that have none but a floor."""
    rng, held, false = np.random.default_rng(seed), [], 0
    for _ in range(n_sweeps):
        row = critical_fractions(fit_boundary(critical_runs(rng, n_seeds), budgets=[10_000])).row(0, named=True)
        held += [] if row["f_c"] is None else [row["low_90"] <= 0.25 <= row["high_90"]]
        runs = simulated_runs(rng, n_seeds, line=STEEP_FLOOR, fractions=MANY, decays=(1.0,), n_steps=30_000)
        false += critical_fractions(fit_boundary(runs))["f_c"].null_count() == 0
    return {"identified": len(held) / n_sweeps, "90": round(float(np.mean(held)), 3), "false": false / n_sweeps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pooled", "by_tau", "floor", "critical"])
    parser.add_argument("--sweeps", type=int, default=400, help="simulated sweeps for each line printed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 4, 8])
    chosen = parser.parse_args()
    for n_seeds in chosen.seeds:
        for name, found in _lines(chosen.what, chosen.sweeps, n_seeds):
            print(json.dumps({"seeds": n_seeds, **name, **found}), flush=True)


def _lines(what: str, n: int, n_seeds: int) -> Iterator[tuple[dict[str, object], dict[str, float]]]:
    if what == "pooled":
        yield {}, figures(coverage(n, n_seeds, n_seeds))
    elif what == "critical":
        yield {}, critical_coverage(n, n_seeds, n_seeds)
    elif what == "floor":
        for share in (FASTEST, 0.0):
            yield {"fastest": share}, figures(coverage(n, n_seeds, n_seeds, TAUS, FLOOR, fastest=share))
    else:
        for tau in TAUS:
            yield {"tau": tau}, figures(coverage(n, n_seeds, n_seeds + round(1000 * tau), [tau]))


if __name__ == "__main__":
    main()
