"""What ln T depends on: train fraction, linear, and one more setting, quadratic in its logarithm. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.boundary.likelihood import Array
from analysis.boundary.lognormal import Normal

PRIOR = {
    "1": (0.0, 3.0),  # about ln of the run budget
    "frac": (-13.0, 8.0),
    "ln y": (0.0, 1.5),
    "ln y ^2": (0.0, 0.5),
    "frac ln y": (0.0, 6.0),
}
"""Mean and standard deviation of each coefficient of ln T, per unit of frac and of ln y, about the middle of what is
swept. The slope in frac is that of the authors' slice (-13), with a standard deviation that hardly holds it."""


@dataclass(frozen=True)
class Design:
    """Rows of the regression from settings: 1, frac, ln y, (ln y)², frac · ln y, as many as the sweep can tell.

    Attributes:
        terms: names of PRIOR.
        frac_0, ln_y_0: the middle of what is swept.
    """

    terms: tuple[str, ...]
    frac_0: float
    ln_y_0: float

    @staticmethod
    def of(frac: Array, y: Array) -> Design:
        """One value of y: frac alone; two: no square."""
        n = len(set(y.tolist()))
        terms = ("1", "frac") if n < 2 else tuple(PRIOR) if n > 2 else ("1", "frac", "ln y", "frac ln y")
        return Design(terms, (frac.min() + frac.max()) / 2, float(np.log(y.min()) + np.log(y.max())) / 2)

    def rows(self, frac: Array, y: Array) -> Array:
        """[n, n_term]."""
        a, b = np.broadcast_arrays(frac - self.frac_0, np.log(y) - self.ln_y_0)
        return self._stack({"1": np.ones_like(a), "frac": a, "ln y": b, "ln y ^2": b**2, "frac ln y": a * b})

    def slope(self, y: Array) -> Array:
        """[n, n_term], the derivative of `rows` by frac."""
        b = np.log(y) - self.ln_y_0
        zero = np.zeros_like(b)
        return self._stack({"1": zero, "frac": zero + 1, "ln y": zero, "ln y ^2": zero, "frac ln y": b})

    def _stack(self, columns: dict[str, Array]) -> Array:
        return np.stack([columns[term] for term in self.terms], axis=-1)

    def prior(self, budget: float) -> Normal:
        mean, sd = np.array([PRIOR[term] for term in self.terms]).T
        return Normal(mean + np.log(budget) * np.array([term == "1" for term in self.terms]), sd)
