"""A run's curves as the rule takes them, as logged and in draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from analysis.stages import rule
from analysis.stages.evidence import LEAST_GAP, LEAST_ROWS, SPACING, Evidence, Series, ln
from analysis.stages.rule import Bools, Floats, Found
from analysis.stages.smooth import Curve, local_quadratic

HALF_WIDTHS = {"accuracy": 0.1, "restricted": 0.1, "excluded": 0.2, "norm": 0.25}
"""Of the local quadratics that the bootstrap draws about, in ln t: wide where a curve is flat, narrow where it is
steep."""
NORM = 0.1
"""Half width of the local quadratic in the place of the norm itself, whose 95 % noise would reach too early."""
WINDOW_ROWS = 2
"""To each side, at least."""
MARGIN = 0.25
"""So far before B0, in ln t, excluded loss is looked at: its local quadratic at B0 wants rows on both sides."""
SPIKES = {"accuracy": 0.01, "restricted": 0.2, "excluded": 0.2, "norm": 0.02}
"""The smallest differences from the rolling median that are spikes; of losses and norms in the logarithm."""

Versions = Mapping[str, NDArray[np.float64]]
"""Of every curve [draws, rows]."""


@dataclass(frozen=True)
class Curves:
    """Those of one K; None for a measure with too few rows, or where the run has no key frequencies.

    Attributes:
        sum_sq, restricted, excluded: in logarithms.
        train_loss: at the steps of `excluded`.
        before: ln of the last step before the first row of train_acc and of restricted.
    """

    p: int
    train_acc: Curve | None
    sum_sq: Curve | None
    restricted: Curve | None
    excluded: Curve | None
    train_loss: Floats
    before: tuple[float, float]

    @staticmethod
    def of(evidence: Evidence) -> Curves:
        curves = Curves(
            evidence.p,
            _curve(evidence.train_acc, "accuracy"),
            _curve(_logs(evidence.sum_sq_weights), "norm"),
            None,
            None,
            np.empty(0),
            (float(ln(evidence.train_acc.before)), 0.0),
        )
        return curves.with_keys(evidence.restricted, evidence.excluded, evidence) if has_keys(evidence) else curves

    def with_keys(self, restricted: Series, excluded: Series, evidence: Evidence) -> Curves:
        """The same run with another K."""
        excluded = excluded.since(self.fitted_at() - MARGIN)
        return replace(
            self,
            restricted=_curve(_logs(restricted), "restricted"),
            excluded=_curve(_logs(excluded), "excluded"),
            train_loss=_train_loss_at(excluded, evidence.train_loss),
            before=(self.before[0], float(ln(restricted.before))),
        )

    def fitted_at(self) -> float:
        """ln of the step of B0; of the first row where there is none."""
        if self.train_acc is None:
            return -np.inf
        b0 = rule.fitted(self.train_acc.x, self.train_acc.y[None], self.before[0])
        return float(b0.x[0]) if b0.row[0] >= 0 else -np.inf

    def as_logged(self) -> Versions:
        """Without spikes; ln excluded loss smoothed, for its minimum."""
        return self._versions(lambda curve: curve.y[None])

    def drawn(self, n_draws: int, generator: Generator) -> Versions:
        return self._versions(lambda curve: curve.draws(n_draws, generator))

    def _versions(self, take: Callable[[Curve], Floats]) -> Versions:
        named = {"train_acc": self.train_acc, "restricted": self.restricted, "excluded": self.excluded}
        versions = {name: take(curve) for name, curve in named.items() if curve is not None}
        if self.sum_sq is not None:
            versions["sum_sq"] = take(self.sum_sq) @ local_quadratic(self.sum_sq.x, NORM, WINDOW_ROWS).T
        return versions

    def up_to_cleanup(self, versions: Versions, factor: Floats) -> dict[str, Found]:
        """B0, B1 and B2 in each draw, its thresholds times its factor."""
        b0 = b1 = b2 = rule.nowhere(len(factor))
        if self.train_acc is not None:
            b0 = rule.fitted(self.train_acc.x, versions["train_acc"], self.before[0])
        if self.excluded is not None:
            b1 = rule.end_of_memorization(self.excluded.x, versions["excluded"], self.train_loss, b0, factor)
        if self.restricted is not None:
            b2 = rule.start_of_cleanup(self.restricted.x, versions["restricted"], self.p, factor, self.before[1])
        return {"B0": b0, "B1": b1, "B2": b2}

    def end_of_cleanup(self, versions: Versions, x2: Floats) -> tuple[Found, Bools]:
        """B3 in each draw, with its ln t of B2; and where the sum of squares does not fall."""
        if self.sum_sq is None:
            return rule.nowhere(len(x2)), np.zeros(len(x2), bool)
        return rule.end_of_cleanup(self.sum_sq.x, np.exp(versions["sum_sq"]), x2)


def has_keys(evidence: Evidence) -> bool:
    """Whether the run has key frequencies at its end; where no gap is logged, whether it has a restricted loss."""
    if evidence.key_gap is not None:
        return evidence.key_gap >= LEAST_GAP
    return len(evidence.restricted) > 0 and float(ln(evidence.last_step)) - evidence.restricted.x[-1] <= SPACING


def _curve(series: Series, kind: str) -> Curve | None:
    if len(series) < LEAST_ROWS:
        return None
    return Curve.of(series.x, series.values, SPIKES[kind], HALF_WIDTHS[kind], WINDOW_ROWS)


def _logs(series: Series) -> Series:
    return replace(series, values=np.log(np.maximum(series.values, 1e-300)))


def _train_loss_at(series: Series, train_loss: Series) -> Floats:
    if not len(train_loss):
        return np.zeros(len(series))
    return np.interp(series.x, train_loss.x, train_loss.values)
