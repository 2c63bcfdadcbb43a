"""The predictive distribution against closed forms of Gaussian prediction, and against curves of known laws."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.arrays import FloatArray
from analysis.forecasts import mixture
from analysis.forecasts.mixture import Mixture, Noise, predict

SIZES = np.log([16.0, 32, 64, 128, 256])
AHEAD = np.log([512.0, 2048])


def drift(a: FloatArray, b: FloatArray) -> FloatArray:
    """Covariance of an integrated Wiener process by quadrature of its definition, ∫∫ min(u, v)."""
    steps = 400
    cov = np.zeros((len(a), len(b)))
    for i, s in enumerate(a):
        for j, t in enumerate(b):
            if s * t > 0:
                u = (np.arange(steps) + 0.5) / steps * abs(s)
                v = (np.arange(steps) + 0.5) / steps * abs(t)
                cov[i, j] = np.minimum(u[:, None], v).mean() * abs(s * t)
    return cov


def test_drift_is_an_integrated_wiener_process() -> None:
    places = np.array([-2.0, -0.7, 0.0, 0.5, 1.5])
    # 400 midpoints resolve the kink of min(u, v) to 1/400 of the largest covariance
    assert mixture._drift(places, places) == pytest.approx(drift(places, places), abs=0.01)


def test_one_component_is_textbook_kriging(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a single form, drift and noise the prediction is generalised least squares with an unknown level."""
    monkeypatch.setattr(mixture, "DRIFTS", np.array([0.1]))
    monkeypatch.setattr(mixture, "NOISES", np.array([0.05]))
    monkeypatch.setattr(mixture, "BETAS", np.array([0.5, 0.5000001]))
    monkeypatch.setattr(mixture, "FLOORS", np.array([0.0, 0.0]))
    mixture._forms.cache_clear()
    y = -0.5 * SIZES + np.array([0.03, -0.02, 0.01, 0.04, -0.05])
    found = predict(SIZES, y, Noise(1, np.nan, 0.0), AHEAD)
    mixture._forms.cache_clear()
    x, z = SIZES - SIZES[-1], AHEAD - SIZES[-1]
    noise = 0.05**2 * (0.5 * np.exp(-np.abs(x[:, None] - x) / 2) + 0.5 * np.eye(5))
    c = noise + 0.01 * mixture._drift(x, x)
    cross = 0.5 * 0.05**2 * np.exp(-np.abs(z[:, None] - x) / 2) + 0.01 * mixture._drift(z, x)
    one = np.ones(5)
    solve = np.linalg.solve
    level = one @ solve(c, y + 0.5 * x) / (one @ solve(c, one))
    mean = level - 0.5 * z + cross @ solve(c, y + 0.5 * x - level)
    rest = 1 - cross @ solve(c, one)
    variance = 0.01 * z**3 / 3 - np.einsum("mk,km->m", cross, solve(c, cross.T)) + rest**2 / (one @ solve(c, one))
    assert found.mean == pytest.approx(np.tile(mean, (len(found.weight), 1)), abs=1e-6)  # β differs by 1e-7
    assert found.sd[0] == pytest.approx(np.sqrt(variance + 0.05**2))
    assert found.run_sd[0] == pytest.approx(np.sqrt(variance + 2 * 0.05**2))


def test_quantiles_are_those_of_the_mixture() -> None:
    one = Mixture(
        np.array([0.3, 0.7]), np.array([[0.0], [1.0]]), np.array([[0.5], [0.2]]), np.ones((2, 1)), np.zeros(2), 0.1, 0.1
    )
    rng = np.random.default_rng(0)
    draws = np.where(rng.random(400_000) < 0.3, rng.normal(0, 0.5, 400_000), rng.normal(1, 0.2, 400_000))
    levels = np.array([0.025, 0.5, 0.975])
    # standard errors of these sample quantiles are below 0.003
    assert one.quantiles(levels)[:, 0] == pytest.approx(np.quantile(draws, levels), abs=0.01)


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.7])
def test_a_clean_power_law_goes_on(beta: float) -> None:
    found = predict(SIZES, -beta * SIZES, Noise(5, 0.01, 10.0), AHEAD)
    low, middle, high = found.quantiles(np.array([0.025, 0.5, 0.975]))
    assert np.all((low < -beta * AHEAD) & (-beta * AHEAD < high))
    assert middle[0] == pytest.approx(-beta * AHEAD[0], abs=0.05)  # an octave ahead; floors cannot be excluded
    assert np.all(np.diff(high - low) > 0)


def test_a_floor_is_seen() -> None:
    sizes = np.log(2.0 ** np.arange(3, 12))
    y = np.log(20 * np.exp(-0.8 * sizes) + 1)
    found = predict(sizes, y, Noise(5, 0.01, 20.0), sizes[-1:] + np.log(8))
    truth = np.log(20 * np.exp(-0.8 * (sizes[-1] + np.log(8))) + 1)
    assert found.quantiles(np.array([0.5]))[0, 0] == pytest.approx(truth, abs=0.03)
    assert found.weight[np.isfinite(found.asymptote)].sum() > 0.9


def test_noise_is_learned_from_a_single_run() -> None:
    rng = np.random.default_rng(1)
    sizes = np.log(2.0 ** np.arange(2, 12))
    widths = []
    for noise in (0.01, 0.2):
        found = predict(sizes, -0.4 * sizes + noise * rng.normal(size=len(sizes)), Noise(1, np.nan, 0.0), AHEAD + 4)
        low, high = found.quantiles(np.array([0.025, 0.975]))
        widths.append(float((high - low)[0]))
    assert widths[1] > 3 * widths[0]
