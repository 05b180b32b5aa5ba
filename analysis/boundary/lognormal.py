"""The log-normal time model with a seed effect: ln T = X beta + u_seed + sigma e, from intervals. Pure.

The posterior is taken by Laplace's method in (beta, u, ln sigma) for each tau (the standard deviation of u) of a
grid, and the grid is weighted by its evidence: with two seeds tau is hardly known, and a band that took one value of
it for true would be too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from analysis.boundary.likelihood import Array, Intervals, log_likelihood

SIGMA = (math.log(0.25), 1.0)
"""Prior of ln sigma, the spread between runs of one cell and seed: mean and standard deviation."""
TAU_SCALE = 0.5
"""Prior of tau, the spread between seeds: half-normal with this scale. It decides how wide bands are where there are
two seeds: with 0.3 those of 90 % held 79 % where seeds differ by 0.4, with 0.6 they held 96 % where by 0.2."""
TAUS = np.geomspace(0.02, 2.0, 16)
"""Grid of tau, even in ln tau."""
ENOUGH = 1e-8
"""Newton's method stops where a step would lower the objective by less than half of this."""
MOST_STEPS = 60
FLATTEST = 1e-9
"""Least curvature that is divided by."""
LONGEST = 2.0
"""Largest change of ln sigma in one step."""


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

    def objective(theta: Array) -> tuple[float, Array, Array]:
        value, slope, curvature = log_likelihood(times, design, theta)
        away = theta - mean
        return (precision * away**2).sum() / 2 - value, precision * away - slope, np.diag(precision) - curvature

    first = _start(times, design, mean, precision) if start is None else start
    theta, smallest, curvature = _descend(objective, first)
    size, axes = np.linalg.eigh(curvature)
    size = np.maximum(np.abs(size), FLATTEST)
    # The priors' normalising constants: that of tau is what keeps it from shrinking to fit nothing.
    evidence = float(-smallest - np.log(sd).sum() - np.log(size).sum() / 2)
    return Mode(theta, (axes / size) @ axes.T, -smallest, evidence)


def _descend(objective: Callable[[Array], tuple[float, Array, Array]], theta: Array) -> tuple[Array, float, Array]:
    """Newton's method: the minimum, its value and Hessian.

    Steps are halved where they overshoot, and a curvature counts by its size alone: that in ln sigma is negative far
    from the minimum.
    """
    value, slope, curvature = objective(theta)
    for _ in range(MOST_STEPS):
        size, axes = np.linalg.eigh(curvature)
        step = axes @ ((axes.T @ slope) / np.maximum(np.abs(size), FLATTEST))
        step /= max(1.0, abs(step[-1]) / LONGEST)
        fall = float(slope @ step)
        if fall < ENOUGH:
            break
        for halved in range(MOST_STEPS):
            share = 0.5**halved
            found = objective(theta - share * step)
            if found[0] <= value - share * fall / 4:
                theta, (value, slope, curvature) = theta - share * step, found
                break
        else:
            break
    return theta, float(value), curvature


def _start(times: Intervals, design: Array, mean: Array, precision: Array) -> Array:
    """Ridge regression on the middle of each interval, a censored one standing at its lower end."""
    low = np.where(np.isfinite(times.low), times.low, 0.0)
    y = np.where(np.isfinite(times.high), (low + np.where(np.isfinite(times.high), times.high, 0.0)) / 2, low)
    inner = design.T @ design + np.diag(precision[:-1]) * math.exp(2 * mean[-1])
    rest = design.T @ (y - design @ mean[:-1])
    return np.append(mean[:-1] + np.linalg.solve(inner, rest), mean[-1])
