"""The vectorised floor fit against known answers and against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares

from analysis.arrays import FloatArray
from analysis.fits.floor import Polish, fit_floor, joint_betas, shape

SIZES = 16.0 * 2.0 ** np.arange(7)


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("phi", [0.05, 0.3, 0.8])
def test_recovers_noiseless_parameters(beta: float, phi: float) -> None:
    x = np.log(SIZES)
    y = -1.3 + shape(x - x[-1], np.array(beta), np.array(phi))
    fit = fit_floor(x, y[None])
    # The stopping rule leaves a relative 1e-10 of the squared residuals: parameters to about its root.
    assert fit.beta[0] == pytest.approx(beta, rel=1e-4)
    assert fit.phi[0] == pytest.approx(phi, rel=1e-3)
    assert fit.floor[0] == pytest.approx(phi * np.exp(-1.3), rel=1e-3)
    assert fit.log_error(x)[0] == pytest.approx(y, abs=1e-6)


def test_same_minimum_as_scipy_from_many_starts() -> None:
    rng = np.random.default_rng(3)
    x = np.log(SIZES)
    curves = rng.uniform(0.2, 1.0, 40), rng.uniform(0.0, 0.8, 40)
    y = shape(x - x[-1], curves[0][:, None], curves[1][:, None]) + 0.05 * rng.normal(size=(40, len(x)))
    fit = fit_floor(x, y)
    for i in range(40):

        def residual(p: FloatArray, target: FloatArray = y[i]) -> FloatArray:
            return np.asarray(target - p[0] - shape(x - x[-1], p[1], p[2]))

        bounds = ([-np.inf, 0, 0], [np.inf, 8.0, 0.999])
        starts = [(y[i, -1], beta, phi) for beta in (0.1, 0.5, 2.0) for phi in (0.1, 0.5, 0.9)]
        reference = min(2 * least_squares(residual, start, bounds=bounds).cost for start in starts)
        # scipy's trust region stops at ftol = 1e-8 of the cost and stays strictly inside the bounds.
        assert fit.sse[i] <= reference * (1 + 1e-6)


def test_statuses() -> None:
    x = np.log(SIZES)
    concave = -0.05 * (x - x[0]) ** 2 - 0.2 * x  # falls faster and faster: the best floor is none
    rising = 0.3 * x
    fit = fit_floor(x, np.stack([concave, rising]))
    assert fit.status.tolist() == [Polish.NO_FLOOR, Polish.DEGENERATE]
    assert fit.phi[0] == 0.0


def test_batch_equals_single() -> None:
    rng = np.random.default_rng(0)
    x = np.log(SIZES)
    y = -0.5 * x + 0.1 * rng.normal(size=(50, len(x)))
    together = fit_floor(x, y)
    alone = [fit_floor(x, row[None]).beta[0] for row in y]
    assert together.beta == pytest.approx(alone, abs=1e-9)  # BLAS may order the start's sums differently


def test_seeds_share_exponent_and_floor() -> None:
    """The mean of the seeds' values is the joint least squares; their scatter that of estimates without one seed."""
    x, n_seeds = np.log(SIZES), 40
    rng = np.random.default_rng(5)
    y = shape(x - x[-1], np.array(0.6), np.array(0.3)) + 0.02 * rng.normal(size=(n_seeds, len(x)))
    joint = joint_betas(x, y[None])[0]

    def residual(p: FloatArray) -> FloatArray:
        return np.asarray((y - p[2:, None] - shape(x - x[-1], p[0], p[1])).ravel())

    truth = least_squares(residual, np.r_[0.6, 0.3, np.zeros(n_seeds)], xtol=1e-12, ftol=1e-12, gtol=1e-12)
    assert joint.mean() == pytest.approx(truth.x[0], abs=1e-4)  # the stopping rule of the fit
    without = (n_seeds * y.mean(axis=0) - y) / (n_seeds - 1)
    jackknife = np.sqrt((n_seeds - 1) * fit_floor(x, without).beta.var())
    # the two errors differ by terms of order 1/S
    assert joint.std(ddof=1) / np.sqrt(n_seeds) == pytest.approx(jackknife, rel=0.1)


@pytest.mark.parametrize("beta", [-0.01, 0.0, 0.01])
def test_a_flat_curve_has_no_joint_exponent(beta: float) -> None:
    x = np.log(SIZES)
    assert np.isnan(joint_betas(x, np.tile(-beta * x, (1, 3, 1)))).all()
