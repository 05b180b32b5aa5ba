"""The likelihood of times known as intervals, in a regression of ln T with normal errors. Pure.

An event is known as an interval of ln T; an event that has not come is censored: its interval has no upper end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

Array = NDArray[np.float64]

NARROWEST = 1e-3
"""Least width of an interval of ln T: below it the difference of two normal distribution functions loses digits, and
a likelihood no longer depends on the width."""
FARTHEST = -1e10
"""Least logarithm of an interval's probability that still has its digits; below it a trial is refused."""
LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Intervals:
    """Times as intervals of ln T.

    Attributes:
        low, high: [n_run], ln steps; -inf: before the first step, +inf: censored.
    """

    low: Array
    high: Array

    @staticmethod
    def of_steps(lower: Array, upper: Array, fastest: float = 1.0) -> Intervals:
        """From steps.

        Args:
            fastest: a time up to here counts as "at most that"; an interval narrower than NARROWEST is widened about
                its middle.
        """
        fast = upper <= fastest
        with np.errstate(divide="ignore"):
            low, high = np.log(np.where(fast, 0.0, lower)), np.log(np.where(fast, fastest, upper))
        finite = np.isfinite(low) & np.isfinite(high)
        lack = np.where(finite, np.maximum(NARROWEST - np.where(finite, high - low, 0.0), 0.0), 0.0) / 2
        return Intervals(low - lack, high + lack)

    def __len__(self) -> int:
        return len(self.low)


def log_likelihood(times: Intervals, design: Array, theta: Array) -> tuple[float, Array, Array]:
    """Value, gradient [n_theta] and Hessian [n_theta, n_theta] at theta = (coefficients, ln sigma)."""
    sigma, eta = math.exp(theta[-1]), design @ theta[:-1]
    z_low, z_high = (times.low - eta) / sigma, (times.high - eta) / sigma
    log_mass = _log_mass(z_low, z_high)
    if not log_mass.min() > FARTHEST:
        return -math.inf, np.zeros(len(theta)), np.zeros((len(theta), len(theta)))
    # Sums over both ends of ±z^j phi(z) / mass, for j = 0..3; an infinite end adds nothing.
    s0, s1, s2, s3 = (_end(z_high, log_mass, j) - _end(z_low, log_mass, j) for j in range(4))
    slope = np.append(design.T @ (-s0 / sigma), -s1.sum())
    by_eta = -(s1 + s0**2) / sigma**2
    both = design.T @ ((s0 - s2 - s0 * s1) / sigma)
    by_sigma = (s1 - s3 - s1**2).sum()
    inner = (design * by_eta[:, None]).T @ design
    return float(log_mass.sum()), slope, np.block([[inner, both[:, None]], [both[None, :], np.array([[by_sigma]])]])


def _log_mass(z_low: Array, z_high: Array) -> Array:
    """ln(Phi(z_high) - Phi(z_low)), turned to the lower tail, where differences keep their digits."""
    turn = z_low > 0
    a, b = np.where(turn, -z_high, z_low), np.where(turn, -z_low, z_high)
    upper = log_ndtr(b)
    with np.errstate(divide="ignore", invalid="ignore"):
        return upper + np.log1p(-np.exp(log_ndtr(a) - upper))


def _end(z: Array, log_mass: Array, power: int) -> Array:
    finite = np.isfinite(z)
    safe = np.where(finite, z, 0.0)
    return safe**power * np.exp(np.where(finite, -(safe**2) / 2 - LOG_2PI / 2 - log_mass, -np.inf))
