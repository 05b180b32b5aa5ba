"""The log-normal time model: its likelihood against numbers found otherwise, and what its priors and seeds do."""

import math

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal, norm
from simulated_times import simulated_runs

from analysis.boundary import events, fit_boundary, likelihood, lognormal
from analysis.boundary.design import Design
from analysis.boundary.doubts import Sample
from analysis.boundary.likelihood import NARROWEST, Intervals, log_likelihood
from analysis.boundary.lognormal import TAU_SCALE, Normal, mode, posterior


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def no_strays(monkeypatch):
    monkeypatch.setattr(likelihood, "STRAY", 1e-300)


def example(rng, n=30):
    """Times of every kind about a line: known, in brackets, censored on either side."""
    design = np.column_stack([np.ones(n), rng.normal(size=n), rng.normal(size=n)])
    theta = np.array([1.0, -0.5, 0.3, math.log(0.4)])
    t = design @ theta[:-1] + 0.4 * rng.normal(size=n)
    low, high = t - 0.1 * rng.random(n), t + 0.2 * rng.random(n)
    low[:5], high[5:10] = -math.inf, math.inf
    return Intervals(low, high), design, theta


def test_the_likelihood_is_the_probability_of_the_intervals(rng):
    times, design, theta = example(rng)
    sigma = math.exp(theta[-1])
    z_low, z_high = (times.low - design @ theta[:-1]) / sigma, (times.high - design @ theta[:-1]) / sigma
    mass = norm.cdf(z_high) - norm.cdf(z_low)
    by = [np.where(np.isinf(x), x > 0, np.maximum(x, 0) / math.log(1e6) / 2) for x in (times.low, times.high)]
    expected = np.log(0.99 * mass + 0.01 * (by[1] - by[0])).sum()
    assert log_likelihood(times, design, theta)[0] == pytest.approx(expected, rel=1e-10)


def test_gradient_and_hessian_are_those_of_the_likelihood(rng):
    times, design, theta = example(rng)
    theta = theta + 0.3 * rng.normal(size=4)
    _, slope, curvature = log_likelihood(times, design, theta)
    by_difference = approx_fprime(theta, lambda x: log_likelihood(times, design, x)[0], 1e-6)
    assert slope == pytest.approx(by_difference, rel=1e-4, abs=1e-4)
    for i in range(4):
        row = approx_fprime(theta, lambda x, i=i: log_likelihood(times, design, x)[1][i], 1e-6)
        assert curvature[i] == pytest.approx(row, rel=1e-4, abs=2e-4)


@pytest.mark.parametrize("away", [-40.0, 40.0])
def test_an_interval_forty_standard_deviations_away_keeps_its_digits(away, no_strays):
    times = Intervals(np.array([away]), np.array([away + 0.5]))
    value, slope, _ = log_likelihood(times, np.ones((1, 1)), np.array([0.0, 0.0]))
    near = min(abs(away), abs(away + 0.5))
    # ln of the tail beyond x, by its expansion; the far end adds less than e^-19 of it.
    assert value == pytest.approx(-(near**2) / 2 - math.log(near * math.sqrt(2 * math.pi)) - 1 / near**2, rel=1e-6)
    assert slope[0] == pytest.approx(math.copysign(near, away), rel=1e-3)


def test_steps_become_intervals_of_their_logarithms():
    times = Intervals.of_steps(np.array([0.0, 90.0, 50_000.0, 20_000.0]), np.array([5.0, 100.0, math.inf, 20_001.0]))
    assert times.low[:3] == pytest.approx([-math.inf, math.log(90), math.log(50_000)])
    assert times.high[:3] == pytest.approx([math.log(5), math.log(100), math.inf])
    assert times.high[3] - times.low[3] == pytest.approx(NARROWEST)
    assert (times.high[3] + times.low[3]) / 2 == pytest.approx(math.log(20_000.5), abs=1e-8)


def test_a_time_at_most_the_fastest_says_no_more():
    times = Intervals.of_steps(np.array([40.0, 90.0, 400.0]), np.array([50.0, 110.0, 500.0]), fastest=100)
    assert times.low.tolist() == [-math.inf, math.log(90), math.log(400)]
    assert times.high == pytest.approx([math.log(100), math.log(110), math.log(500)])


# --- the posterior ------------------------------------------------------------------------------------------


def test_with_exact_times_and_one_tau_it_is_the_textbook_mixed_model(rng, no_strays):
    """Narrow intervals, many runs: sigma is known, and (beta, u) have the normal posterior of a ridge regression."""
    n, tau = 3000, 0.5
    seeds = np.eye(3)[rng.integers(0, 3, n)]
    x = np.column_stack([np.ones(n), rng.normal(size=n)])
    t = x @ [8.0, -1.0] + seeds @ [0.3, -0.2, 0.1] + 0.2 * rng.normal(size=n)
    prior = Normal(np.array([7.0, 0.0]), np.array([1.0, 2.0]))
    found = mode(Intervals(t - 1e-3, t + 1e-3), x, seeds, prior, tau)
    sigma = math.exp(found.theta[-1])
    both = np.hstack([x, seeds])
    precision = both.T @ both / sigma**2 + np.diag([1.0, 0.25, 4.0, 4.0, 4.0])
    middle = np.linalg.solve(precision, both.T @ t / sigma**2 + np.array([7.0, 0, 0, 0, 0]))
    assert found.theta[:-1] == pytest.approx(middle, abs=2e-4)
    assert found.covariance[:-1, :-1] == pytest.approx(np.linalg.inv(precision), rel=1e-3, abs=1e-6)
    assert sigma == pytest.approx(0.2, rel=0.05)


def test_the_evidence_for_tau_is_that_of_the_joint_normal(rng, monkeypatch, no_strays):
    """With sigma known and exact times the integral has a closed form: runs are jointly normal."""
    monkeypatch.setattr(lognormal, "SIGMA", (math.log(0.2), 1e-4))
    seeds, x = np.eye(4)[np.arange(20) % 4], np.column_stack([np.ones(20), rng.normal(size=20)])
    prior = Normal(np.array([8.0, 0.0]), np.array([1.0, 2.0]))
    t = x @ [8.2, -1.0] + seeds @ [0.3, -0.2, 0.4, -0.1] + 0.2 * rng.normal(size=20)
    narrow = Intervals(t - 5e-4, t + 5e-4)

    def exact(tau):
        spread = x @ np.diag(prior.sd**2) @ x.T + tau**2 * seeds @ seeds.T + 0.04 * np.eye(20)
        return multivariate_normal(x @ prior.mean, spread).logpdf(t)

    def ours(tau):
        return mode(narrow, x, seeds, prior, tau).log_evidence

    assert ours(0.3) - ours(0.05) == pytest.approx(exact(0.3) - exact(0.05), abs=2e-3)
    assert ours(1.5) - ours(0.3) == pytest.approx(exact(1.5) - exact(0.3), abs=2e-3)


def test_the_seeds_spread_is_found_where_there_are_many(rng):
    sample = Sample.of(events(simulated_runs(rng, n_seeds=24, sigma=0.2, tau=0.35)), 1)
    design = Design.of(sample.frac, sample.other)
    fit = posterior(sample.times, design.rows(sample.frac, sample.other), sample.seeds, design.prior(10_000))
    assert fit.weight @ fit.tau == pytest.approx(0.35, rel=0.3)
    assert fit.weight @ fit.sigma == pytest.approx(0.2, rel=0.15)


def test_one_seed_leaves_its_spread_to_the_prior(rng):
    sample = Sample.of(events(simulated_runs(rng, n_seeds=1)), 1)
    design = Design.of(sample.frac, sample.other)
    fit = posterior(sample.times, design.rows(sample.frac, sample.other), sample.seeds, design.prior(10_000))
    assert fit.weight @ fit.tau == pytest.approx(TAU_SCALE * math.sqrt(2 / math.pi), rel=0.1)
    at_middle = design.rows(np.array([design.frac_0]), np.exp(np.array([design.ln_y_0])))
    assert fit.spread(at_middle)[0] > 0.8 * TAU_SCALE


def test_full_separation_stays_finite():
    """All of one fraction in the first step, none of the other ever: the prior alone holds the slope."""
    frac = np.repeat([0.3, 0.5], 4)
    times = Intervals.of_steps(np.where(frac > 0.4, 0.0, 9000.0), np.where(frac > 0.4, 1.0, np.inf))
    design = Design.of(frac, np.ones(8))
    fit = posterior(times, design.rows(frac, np.ones(8)), np.ones((8, 1)), design.prior(9000))
    assert np.isfinite(fit.mean).all()
    assert np.isfinite(fit.covariance).all()
    assert -60 < (fit.weight @ fit.mean)[1] < -13


def test_one_run_that_never_gets_there_does_not_widen_the_rest(rng):
    """As in the first real sweep: a network at high weight decay and fraction that sat still."""
    runs = simulated_runs(rng, n_seeds=4, sigma=0.2)
    fastest = runs["t_test"].arg_min()
    stray = runs.with_row_index().with_columns(
        pl.when(pl.col("index") == fastest).then(None).otherwise(pl.col(name)).alias(name)
        for name in ("t_test", "t_test_below")
    )
    stray = stray.with_columns(run_id=pl.format("run{}", "index")).drop("index")
    plain, odd = fit_boundary(runs), fit_boundary(stray)
    assert odd.fit.weight @ odd.fit.sigma == pytest.approx(plain.fit.weight @ plain.fit.sigma, rel=0.1)
    assert odd.table["f_50"].to_numpy() == pytest.approx(plain.table["f_50"].to_numpy(), abs=0.005)
    assert [
        n
        for n in odd.notes
        if n.startswith("1 run follows no curve and hardly counts: weight_decay 3, frac_train 0.7, seed ")
        and n.endswith(f", run run{fastest} (not within its steps)")
    ]
    assert not [n for n in plain.notes if "no curve" in n]


def test_it_agrees_with_lifelines(rng, no_strays):
    """The same penalised fit by another hand: coefficients and standard errors."""
    from lifelines import LogNormalAFTFitter

    runs = simulated_runs(rng, n_seeds=3)
    sample = Sample.of(events(runs), 1)
    design = Design.of(sample.frac, sample.other)
    rows, tau = design.rows(sample.frac, sample.other), 0.3
    names = [*design.terms[1:], *(f"seed {i}" for i in range(3))]
    frame = pd.DataFrame(np.hstack([rows[:, 1:], sample.seeds]), columns=names)
    sd = np.array([8.0, 1.5, 0.5, 6.0, tau, tau, tau])
    # Its penalty is on standardised columns and beside the mean log-likelihood; the last one is on ln sigma.
    penalty = np.append(1 / (len(frame) * (sd * frame.std().to_numpy()) ** 2), 1e-9)
    frame["low"], frame["high"] = np.exp(sample.times.low), np.exp(sample.times.high)
    theirs = LogNormalAFTFitter(penalizer=penalty).fit_interval_censoring(frame, "low", "high")
    flat = Normal(np.zeros(5), np.array([1e3, *sd[:4]]))
    ours = mode(sample.times, rows, sample.seeds, flat, tau)
    order = [("mu_", name) for name in ("Intercept", *design.terms[1:])]
    assert ours.theta[:5] == pytest.approx(theirs.params_[order].to_numpy(), abs=0.05)
    errors = np.sqrt(np.diag(theirs.variance_matrix_.loc[order, order]))
    assert np.sqrt(np.diag(ours.covariance))[:5] == pytest.approx(errors, rel=0.02)
