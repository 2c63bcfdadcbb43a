"""Variances that the curves of a table lend each other: the prior, and intervals from few seeds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from analysis.fits.intervals import Sample, conclude, measure, priors_of, slope_of_one
from analysis.fits.moderation import NO_PRIOR, Prior, estimate_prior, inverse_trigamma, margin
from analysis.fits.noise import Spread
from analysis.fits.uncertainty import MANY, t_quantile

X = np.log(16.0 * 2.0 ** np.arange(6))


def spread(variance: float, n_seeds: int) -> Spread:
    return Spread(*(np.array([number]) for number in (variance, 1.0, 1 / n_seeds, np.nan)))


@pytest.mark.parametrize("x", [0.01, 0.7, 3.0, 500.0])
def test_inverse_trigamma(x: float) -> None:
    # Newton's method ends at round-off
    assert inverse_trigamma(special.polygamma(1, np.array([x])))[0] == pytest.approx(x, rel=1e-9)


def test_the_prior_is_found_in_its_own_draws() -> None:
    """σ² ~ d₀·s₀²/χ²(d₀) with d₀ = 6, s₀ = 0.05, and s² ~ σ²·χ²(2)/2 from three seeds, for 20,000 curves."""
    rng = np.random.default_rng(0)
    sigma2 = 6 * 0.05**2 / rng.chisquare(6, size=(1, 20_000))
    found = estimate_prior(sigma2 * rng.chisquare(2, size=sigma2.shape) / 2, np.full(sigma2.shape, 2.0))
    # the variance of ln s² is known to 1.5 %, which d₀ follows about fourfold
    assert found.dof[0] == pytest.approx(6, rel=0.2)
    assert found.variance[0] == pytest.approx(0.05**2, rel=0.05)


def test_equal_variances_are_pooled() -> None:
    """Four curves with one variance: the interval is that of all their degrees of freedom, no more."""
    found = estimate_prior(np.full((1, 4), 0.04), np.full((1, 4), 2.0))
    assert found.dof[0] == MANY
    one = margin(spread(0.04, 3), np.array([2.0]), found)
    # ψ(d/2) − ln(d/2) of d = 2, which the logarithms of χ² variates have on average, is −0.577: s₀² is e^0.577 larger
    assert found.variance[0] == pytest.approx(0.04 * np.exp(0.5772157), rel=1e-3)
    assert one.half[0] == pytest.approx(t_quantile(8) * one.error[0])


def test_two_curves_are_no_table() -> None:
    assert estimate_prior(np.full((1, 2), 0.04), np.full((1, 2), 2.0)).dof[0] == 0


def test_unlike_curves_lend_little() -> None:
    rng = np.random.default_rng(1)
    sigma2 = np.exp(3 * rng.normal(size=(1, 200)))
    found = estimate_prior(sigma2 * rng.chisquare(4, size=sigma2.shape) / 4, np.full(sigma2.shape, 4.0))
    assert found.dof[0] < 1


def test_the_scatter_of_runs_tells_how_far_curves_differ() -> None:
    """Eight variances of one degree of freedom that are alike by chance are not pooled if the runs' scatter differs."""
    alike, one = np.full((1, 8), 0.04), np.ones((1, 8))
    unlike = 0.04 * np.exp(1.5 * np.linspace(-1, 1, 8))[None]
    pooled, apart = (estimate_prior(alike, one, (scatter, 30 * one)) for scatter in (alike, unlike))
    assert pooled.dof[0] == MANY
    assert apart.dof[0] < 10
    assert estimate_prior(alike, one, (unlike, 0 * one)).dof[0] == MANY  # single runs have no such scatter


def test_a_curve_without_noise_of_its_own_borrows_that_of_others() -> None:
    prior = Prior(np.array([5.0]), np.array([0.01]), np.array([20.0]))
    one = margin(spread(0.0, 1), np.array([0.0]), prior)
    assert (one.error[0], one.dof[0]) == (pytest.approx(0.1), 5)
    assert np.isnan(margin(spread(0.0, 1), np.array([0.0]), NO_PRIOR).error[0])


def test_two_seeds_in_a_table_have_a_third_of_the_width() -> None:
    """Twelve curves of two seeds: t(1) = 12.7 alone; 95 % of the intervals hold β, and are three times narrower."""
    rng = np.random.default_rng(2)
    rows = -0.5 * X + 0.05 * rng.normal(size=(1200, 2, 6))
    measured = measure(Sample(X, rows))
    alone, together = conclude(measured).power.half, conclude(measured, priors_of([measured], 12)).power.half
    assert np.median(together) < np.median(alone) / 3
    # 1,200 curves: three binomial errors of 95 % are 1.9 %
    assert np.mean(np.abs(measured.power.value - 0.5) <= together) > 0.93


@pytest.mark.parametrize("nested", [True, False])
def test_a_single_run_is_covered(nested: bool) -> None:
    rng = np.random.default_rng(3)
    correlation = np.exp(-np.abs(X[:, None] - X) / 2) if nested else np.eye(6)
    rows = 0.3 * X + 0.05 * rng.normal(size=(800, 6)) @ np.linalg.cholesky(correlation).T
    found = [slope_of_one(X, row) for row in rows]
    # three binomial errors of 95 % are 2.3 %; independent points are covered more often than that
    assert np.mean([one.low <= 0.3 <= one.high for one in found]) > 0.927
    assert np.isnan(slope_of_one(X[:2], rows[0, :2]).low)
