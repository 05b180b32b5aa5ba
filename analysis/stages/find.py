"""A run's stages: the rule on its curves, and on draws of them for intervals and confidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np
from numpy.random import Generator

from analysis.stages import rule, words
from analysis.stages.curves import Curves
from analysis.stages.evidence import ACCURACY, Columns, Evidence, gather
from analysis.stages.result import BOUNDARIES, Boundary, Stages, Status
from analysis.stages.rule import Floats, Found

N_DRAWS = 400
INTERVAL = 0.9
SEPARABLE = 1.5
"""B2 below this multiple of B1: the stages beside B1 are not separable."""


def find_stages(
    rows: Columns,
    p: int,
    final: Columns | None = None,
    *,
    generator: Generator,
    n_draws: int = N_DRAWS,
    accuracy: float = ACCURACY,
) -> Stages:
    """The stages of a run, from its logged columns.

    Args:
        rows: "step" and what `evidence.COLUMNS` names, as in metrics.jsonl; None where a row lacks a measure.
        final: the columns of final_keys.jsonl, where it is there: restricted and excluded loss with the key
            frequencies of the end, which the rule wants.
        generator: of the draws; the same one gives the same intervals.
        accuracy: on test pairs, above which the run has generalised: no boundary hangs on it, only what a run
            without one is called.

    Raises ValueError where there is no row.
    """
    return stages_of_evidence(gather(rows, p, final, accuracy), generator, n_draws)


def stages_of_evidence(evidence: Evidence, generator: Generator, n_draws: int = N_DRAWS) -> Stages:
    """`find_stages` of evidence that the caller has chosen."""
    curves = Curves.of(evidence)
    nominal, flat = _as_defined(curves)
    drawn = list(_draws(curves, evidence, generator, n_draws))
    times = {name: np.concatenate([one[name] for one in drawn]) for name in BOUNDARIES}
    statuses = _statuses(nominal, flat)
    boundaries = {
        name: _boundary(
            nominal[name],
            times[name],
            statuses[name],
            words.decided_by(name, statuses[name], nominal, curves, evidence),
        )
        for name in BOUNDARIES
    }
    # A time that is not found is inf, which is after nothing.
    ordered = np.logical_and.reduce([times[a] < times[b] for a, b in pairwise(BOUNDARIES)] + [times["B3"] < np.inf])
    said = words.summed_up(evidence, boundaries)
    return Stages(boundaries, float(ordered.mean()), evidence.last_step, said, evidence.generalised)


def _draws(curves: Curves, evidence: Evidence, generator: Generator, n_draws: int) -> Iterator[dict[str, Floats]]:
    """ln t of the boundaries in each draw, inf where not found.

    Every draw takes its curves from the bootstrap, one variant of the rule, each as often as the rule itself (one
    thing at a time: thresholds halved, doubled, another K), and a place between the logged rows.
    """
    n_choices = 1 + len(rule.FACTORS) + len(evidence.variants)
    choice = generator.integers(0, n_choices, n_draws)
    factors = np.array([1.0, *rule.FACTORS])
    yield _times(curves, factors[choice[choice < len(factors)]], generator)
    for i, (restricted, excluded) in enumerate(evidence.variants.values(), len(factors)):
        varied = curves.with_keys(restricted, excluded, evidence)
        yield _times(varied, np.ones(int((choice == i).sum())), generator)


def _times(curves: Curves, factor: Floats, generator: Generator) -> dict[str, Floats]:
    versions = curves.drawn(len(factor), generator)
    found = curves.up_to_cleanup(versions, factor)
    times = {name: _placed(one, name == "B1", generator) for name, one in found.items()}
    b3, _ = curves.end_of_cleanup(versions, times["B2"])
    return times | {"B3": _placed(b3, False, generator)}


def _placed(found: Found, at_minimum: bool, generator: Generator) -> Floats:
    """ln t within the logging bracket: anywhere between two rows; about the lowest row, up to its neighbours."""
    times = found.x.copy()
    wide = np.flatnonzero((found.row >= 0) & (found.left < found.right))
    left, right = found.left[wide], found.right[wide]
    if at_minimum:
        times[wide] = generator.triangular(left, np.clip(found.x[wide], left, right), right)
    else:
        times[wide] = generator.uniform(left, right)
    return times


# --- the rule as defined ------------------------------------------------------------------------------------


def _as_defined(curves: Curves) -> tuple[dict[str, Found], bool]:
    """The boundaries of the curves as logged; and whether their sum of squares has settled without a fall."""
    versions = curves.as_logged()
    found = curves.up_to_cleanup(versions, np.ones(1))
    b3, flat = curves.end_of_cleanup(versions, found["B2"].x)
    return found | {"B3": b3}, bool(flat[0])


def _statuses(nominal: Mapping[str, Found], flat: bool) -> dict[str, Status]:
    """Of a run by the rule as defined; `flat`: its sum of squares has settled without a fall."""
    x = {name: float(one.x[0]) for name, one in nominal.items()}
    known = [name for name in BOUNDARIES if np.isfinite(x[name])]
    statuses = {}
    for i, name in enumerate(BOUNDARIES):
        passed = any(later in known for later in BOUNDARIES[i + 1 :]) or (name == "B3" and flat)
        statuses[name] = Status.found if name in known else Status.absent if passed else Status.not_yet
    if "B1" in known and (x["B1"] <= x["B0"] or x["B2"] < x["B1"] + np.log(SEPARABLE)):
        statuses["B1"] = Status.not_separable
    return statuses


def _boundary(nominal: Found, times: Floats, status: Status, decided_by: str) -> Boundary:
    known = times[np.isfinite(times)]
    share = len(known) / len(times)
    if status not in (Status.found, Status.not_separable):
        return Boundary(status, None, None, None, share, decided_by)
    step = round(float(np.exp(nominal.x[0])))
    tail = (1 - INTERVAL) / 2
    drawn = np.quantile(known, [tail, 1 - tail]) if len(known) else np.array([nominal.left[0], nominal.right[0]])
    low, high = np.exp(drawn)
    return Boundary(status, step, min(float(low), step), max(float(high), step), share, decided_by)
