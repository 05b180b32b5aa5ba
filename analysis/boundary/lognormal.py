"""The log-normal time model with a seed effect: ln T = X beta + u_seed + sigma e, from intervals. Pure.

An event is known as an interval of ln T; an event that has not come is censored: its interval has no upper end. The
posterior is taken by Laplace's method in (beta, u, ln sigma) for each tau (the standard deviation of u) of a grid,
and the grid is weighted by its evidence: with two seeds tau is hardly known, and a band that took one value of it
for true would be too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.special import log_ndtr, ndtr

Array = NDArray[np.float64]

NARROWEST = 1e-3
"""Least width of an interval of ln T: below it the difference of two normal distribution functions loses digits, and
a likelihood no longer depends on the width."""

SIGMA = (math.log(0.25), 1.0)
"""Prior of ln sigma, the spread between runs of one cell and seed: mean and standard deviation."""
TAU_SCALE = 0.4
"""Prior of tau, the spread between seeds: half-normal with this scale. It decides how wide bands are where there are
two seeds: with 0.3 those of 90 % held too little, with 0.5 too much (docs/statistics.md)."""
TAUS = np.geomspace(0.02, 2.0, 16)
"""Grid of tau, even in ln tau."""
LOG_2PI = math.log(2 * math.pi)
FARTHEST = -1e10
"""Least logarithm of an interval's probability that still has its digits; below it a trial is refused."""


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


@dataclass(frozen=True)
class Normal:
    """Independent normal priors of coefficients: mean and standard deviation, [n_coef]."""

    mean: Array
    sd: Array


@dataclass(frozen=True)
class Mode:
    """Where a penalised likelihood is largest.

    Attributes:
        theta: [n_coef + n_seed + 1], coefficients, seed effects, ln sigma.
        covariance: the inverse of the Hessian of minus its logarithm.
        log_penalised: the largest penalised log-likelihood, without the priors' constants.
        log_evidence: the logarithm of the integral over theta, by Laplace.
    """

    theta: Array
    covariance: Array
    log_penalised: float
    log_evidence: float


@dataclass(frozen=True)
class Posterior:
    """A mixture of normal posteriors of the coefficients, one for each tau.

    Attributes:
        weight, tau, sigma: [n_tau]; sigma is the mode's.
        mean: [n_tau, n_coef]; covariance: [n_tau, n_coef, n_coef].
        prior: of the coefficients.
    """

    weight: Array
    tau: Array
    sigma: Array
    mean: Array
    covariance: Array
    prior: Normal

    def moments(self, x: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of x @ beta for each tau: [n_tau, n], for rows x [n, n_coef]."""
        variance = np.einsum("ij,tjk,ik->ti", x, self.covariance, x)
        return self.mean @ x.T, np.sqrt(np.maximum(variance, 0.0))

    def at_most(self, x: Array, level: float) -> Array:
        """P(x @ beta <= level), [n]."""
        mean, sd = self.moments(x)
        return self.weight @ ndtr((level - mean) / sd)

    def spread(self, x: Array) -> Array:
        """Standard deviation of x @ beta, [n], over the mixture."""
        mean, sd = self.moments(x)
        middle = self.weight @ mean
        return np.sqrt(self.weight @ (sd**2 + (mean - middle) ** 2))


def posterior(times: Intervals, x: Array, seeds: Array, prior: Normal, taus: Array = TAUS) -> Posterior:
    """The posterior of the coefficients of an average seed.

    Args:
        x: [n_run, n_coef].
        seeds: [n_run, n_seed], 1 where the run has the seed; no columns: runs are taken for independent.
        taus: one standard deviation of the seed effect after another; adjacent ones start from each other.
    """
    n_coef, start, modes = x.shape[1], None, []
    for tau in taus:
        found = mode(times, x, seeds, prior, float(tau), start)
        start = found.theta
        modes.append(found)
    # Even steps of ln tau: the density of ln tau is tau times that of tau.
    log_weight = np.array([one.log_evidence for one in modes]) - (taus / TAU_SCALE) ** 2 / 2 + np.log(taus)
    weight = np.exp(log_weight - log_weight.max())
    return Posterior(
        weight=weight / weight.sum(),
        tau=np.asarray(taus),
        sigma=np.exp([one.theta[-1] for one in modes]),
        mean=np.array([one.theta[:n_coef] for one in modes]),
        covariance=np.array([one.covariance[:n_coef, :n_coef] for one in modes]),
        prior=prior,
    )


def mode(times: Intervals, x: Array, seeds: Array, prior: Normal, tau: float, start: Array | None = None) -> Mode:
    """Coefficients, seed effects and ln sigma at the largest penalised likelihood; seed effects are N(0, tau²)."""
    n_seed = seeds.shape[1]
    mean = np.concatenate([prior.mean, np.zeros(n_seed), [SIGMA[0]]])
    sd = np.concatenate([prior.sd, np.full(n_seed, tau), [SIGMA[1]]])
    design, precision = np.hstack([x, seeds]), 1 / sd**2

    def cost(theta: Array) -> tuple[float, Array]:
        value, slope, _ = log_likelihood(times, design, theta)
        away = theta - mean
        return -value + (precision * away**2).sum() / 2, precision * away - slope

    def hessian(theta: Array) -> Array:
        return np.diag(precision) - log_likelihood(times, design, theta)[2]

    first = _start(times, design, mean, precision) if start is None else start
    theta = _descend(cost, hessian, first)
    factor = cho_factor(hessian(theta))
    log_det = 2 * np.log(np.diag(factor[0])).sum()
    # The priors' normalising constants: that of tau is what keeps it from shrinking to fit nothing.
    largest = -float(cost(theta)[0])
    return Mode(theta, cho_solve(factor, np.eye(len(theta))), largest, largest - np.log(sd).sum() - log_det / 2)


def _descend(cost: Callable[[Array], tuple[float, Array]], hessian: Callable[[Array], Array], first: Array) -> Array:
    options = {"gtol": 1e-4, "maxiter": 200}
    return minimize(cost, first, jac=True, hess=hessian, method="trust-exact", options=options).x


def _start(times: Intervals, design: Array, mean: Array, precision: Array) -> Array:
    """Ridge regression on the middle of each interval, a censored one standing at its lower end."""
    low = np.where(np.isfinite(times.low), times.low, 0.0)
    y = np.where(np.isfinite(times.high), (low + np.where(np.isfinite(times.high), times.high, 0.0)) / 2, low)
    inner = design.T @ design + np.diag(precision[:-1]) * math.exp(2 * mean[-1])
    rest = design.T @ (y - design @ mean[:-1])
    return np.append(mean[:-1] + np.linalg.solve(inner, rest), mean[-1])


# --- likelihood ---------------------------------------------------------------------------------------------


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
