"""How often the intervals of stages hold what was planted, and what their confidence is worth.

PYTHONPATH=. python tests/stage_calibration.py [N]        prints the figures of N planted runs, default 300
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from planted_curves import P, Planted, plant

from analysis.stages import Stages, Status, find_stages

KINDS = ("four stages",) * 4 + ("borderline", "memoriser")
BINS = (0.0, 0.1, 0.5, 0.9, 1.0)


@dataclass(frozen=True)
class Judged:
    """A planted run, its stages, and those of its curves without noise and spikes."""

    planted: Planted
    stages: Stages
    clean: Stages


def judged(n_runs: int, seed: int = 0) -> Iterator[Judged]:
    """Two thirds go through all stages, a sixth is borderline, a sixth only memorises.

    In half of them restricted loss at B2 is .005 ln p, in half it is off by up to a factor two.
    """
    for i in range(n_runs):
        run = plant(KINDS[i % len(KINDS)], np.random.default_rng([seed, i]), off_threshold=i // len(KINDS) % 2 == 1)
        found = find_stages(run.rows, P, run.final or None, generator=np.random.default_rng([seed, i, 1]))
        clean = find_stages(
            run.clean_rows, P, run.clean_final or None, generator=np.random.default_rng([seed, i, 2]), n_draws=8
        )
        yield Judged(run, found, clean)


def figures(runs: Iterable[Judged]) -> dict[str, Any]:
    """coverage: of the planted boundaries that were found and are separable, how many lie in their interval; width:
    median, relative to the step; false: boundaries found in runs that only memorise; reliability: by bins of
    confidence the number of runs, its mean, and the share whose curves without noise go through all stages."""
    runs = list(runs)
    coverage, width, count = {}, {}, {}
    for name in ("B0", "B1", "B2", "B3"):
        found = [run for run in runs if run.stages.boundaries[name].status is Status.found and _is_planted(run, name)]
        coverage[name] = float(np.mean([_holds(run, name) for run in found]))
        width[name] = float(np.median([_width(run, name) for run in found]))
        count[name] = len(found)
    memorisers = [run for run in runs if run.planted.kind == "memoriser"]
    false = sum(run.stages.boundaries[name].step is not None for run in memorisers for name in ("B1", "B2", "B3"))
    return {
        "n": count,
        "coverage": coverage,
        "width": width,
        "false": false,
        "reliability": list(_reliability(runs)),
    }


def _is_planted(run: Judged, name: str) -> bool:
    truth = run.planted.truth
    if name == "B0" or name not in truth:
        return name == "B0"
    return truth["B0"] < truth["B1"] and truth["B2"] >= 1.5 * truth["B1"]


def _holds(run: Judged, name: str) -> bool:
    boundary = run.stages.boundaries[name]
    assert boundary.low is not None
    assert boundary.high is not None
    return boundary.low <= run.planted.truth[name] <= boundary.high


def _width(run: Judged, name: str) -> float:
    boundary = run.stages.boundaries[name]
    assert boundary.low is not None
    assert boundary.high is not None
    assert boundary.step is not None
    return (boundary.high - boundary.low) / boundary.step


def _reliability(runs: list[Judged]) -> Iterator[dict[str, float]]:
    confidence = np.array([run.stages.confidence for run in runs])
    whole = np.array([_goes_through_all(run) for run in runs])
    for low, high in pairwise(BINS):
        inside = (confidence >= low) & ((confidence < high) | (high == 1.0))
        if inside.any():
            yield {
                "from": low,
                "to": high,
                "n": int(inside.sum()),
                "confidence": float(confidence[inside].mean()),
                "whole": float(whole[inside].mean()),
            }


def _goes_through_all(run: Judged) -> bool:
    steps = [one.step for one in run.clean.boundaries.values()]
    known = [step for step in steps if step is not None]
    return run.planted.kind != "memoriser" and len(known) == 4 and known == sorted(set(known))


if __name__ == "__main__":
    print(json.dumps(figures(judged(int(sys.argv[1]) if len(sys.argv) > 1 else 300)), indent=1))
