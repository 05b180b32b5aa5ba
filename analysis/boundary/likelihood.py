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
"""Least logarithm of an interval's probability that still has its digits; less counts as none."""
STRAY = 0.01
"""Share of runs that follow no curve: now and then one diverges softly, or sits still. Taken for the tail of a normal
distribution, one such run among 96 made sigma 1.1 instead of 0.2 (docs/boundary.md)."""
LATEST = 1e6
"""Steps: a stray that gets there at all does so at any time up to here, evenly in ln T."""
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
    total, share = _with_strays(times, log_mass)
    # Sums over both ends of ±z^j phi(z) / mass, for j = 0..3; an infinite end adds nothing.
    s0, s1, s2, s3 = (_end(z_high, log_mass, j) - _end(z_low, log_mass, j) for j in range(4))
    by_eta, by_sigma = -s0 / sigma, -s1
    # Of ln(w exp(l) + rest): w times the second derivative, and w (1 - w) times the square of the first.
    spare = share * (1 - share)
    eta_eta = share * -(s1 + s0**2) / sigma**2 + spare * by_eta**2
    eta_sigma = share * (s0 - s2 - s0 * s1) / sigma + spare * by_eta * by_sigma
    sigma_sigma = (share * (s1 - s3 - s1**2) + spare * by_sigma**2).sum()
    slope = np.append(design.T @ (share * by_eta), (share * by_sigma).sum())
    inner, both = (design * eta_eta[:, None]).T @ design, design.T @ eta_sigma
    curvature = np.block([[inner, both[:, None]], [both[None, :], np.array([[sigma_sigma]])]])
    return float(total.sum()), slope, curvature


def on_curve(times: Intervals, design: Array, theta: Array) -> Array:
    """[n_run], the probability of each run to follow the curve rather than to be a stray."""
    sigma, eta = math.exp(theta[-1]), design @ theta[:-1]
    return _with_strays(times, _log_mass((times.low - eta) / sigma, (times.high - eta) / sigma))[1]


def _with_strays(times: Intervals, log_mass: Array) -> tuple[Array, Array]:
    """ln of each interval's probability with strays among the runs, and the share of it that the curve has."""
    with np.errstate(divide="ignore"):
        stray = np.log(STRAY) + np.log(_stray_by(times.high) - _stray_by(times.low))
    total = np.logaddexp(np.log1p(-STRAY) + log_mass, stray)
    return total, np.exp(np.log1p(-STRAY) + log_mass - total)


def _stray_by(ln_t: Array) -> Array:
    """The probability that a stray's ln T is at most this: one in two never gets there, the others at any time."""
    return np.where(np.isposinf(ln_t), 1.0, np.clip(ln_t / math.log(LATEST), 0.0, 1.0) / 2)


def _log_mass(z_low: Array, z_high: Array) -> Array:
    """ln(Phi(z_high) - Phi(z_low)), turned to the lower tail, where differences keep their digits."""
    turn = z_low > 0
    a, b = np.where(turn, -z_high, z_low), np.where(turn, -z_low, z_high)
    upper = log_ndtr(b)
    with np.errstate(divide="ignore", invalid="ignore"):
        return upper + np.log1p(-np.exp(log_ndtr(a) - upper))


def _end(z: Array, log_mass: Array, power: int) -> Array:
    finite = np.isfinite(z) & (log_mass > FARTHEST)
    safe = np.where(finite, z, 0.0)
    return safe**power * np.exp(np.where(finite, -(safe**2) / 2 - LOG_2PI / 2 - log_mass, -np.inf))
