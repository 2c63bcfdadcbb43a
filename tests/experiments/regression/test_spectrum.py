"""Spectra of Gram matrices: known answers on a circle, and exchanges that change nothing or everything."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.core.arrays import Floats
from experiments.regression.spectrum import (
    FrameRows,
    Spectrum,
    exchange_matrix,
    exchanged,
    kept_facts,
    slope,
    spectrum_of,
    subset_errors,
)


def circle(points: int, alpha: float, power: float, seed: int) -> tuple[Floats, Floats]:
    """Points drawn on a circle, kernel Σ_m m^−α cos m(x − x'), labels with power m^−(1 + power) at frequency m."""
    rng = np.random.default_rng(seed)
    m = np.arange(1, 3001)
    x = rng.uniform(0, 2 * np.pi, points)
    labels = np.cos(np.outer(x, m) + rng.uniform(0, 2 * np.pi, len(m))) @ np.sqrt(2 * m ** -(1.0 + power))
    angles = np.outer(x, m)
    features = np.concatenate([np.cos(angles), np.sin(angles)], 1) * np.tile(m ** (-alpha / 2), 2)
    return features @ features.T, labels


def single(points: int) -> FrameRows:
    return FrameRows(np.arange(points + 1), np.ones(points, dtype=bool))


@pytest.mark.parametrize(("alpha", "r", "tail", "beta"), [(2.0, 0.3, 1.23, 0.47), (2.0, 0.5, 1.99, 0.80)])
def test_on_a_circle_the_tail_has_the_exponent_of_the_labels(alpha: float, r: float, tail: float, beta: float) -> None:
    """Tail 2rα whatever the kernel; exact β about 0.8 rα (gaps between points of one dimension), four draws each."""
    sizes, tails, betas = [8, 16, 32, 64], [], []
    for seed in range(4):
        gram, labels = circle(256, alpha, 2 * r * alpha, seed)
        k = np.arange(8, 65)
        tails.append(slope(list(k), spectrum_of(gram, labels).outside[k]))
        orders = [np.random.default_rng(s).permutation(256) for s in range(10)]
        errors = np.mean([subset_errors(gram, labels, single(256), o, sizes) ** 2 for o in orders], axis=0)
        betas.append(slope(sizes, np.sqrt(errors)))
    assert np.mean(tails) == pytest.approx(2 * r * alpha, abs=0.1)  # the scatter of four draws
    assert np.mean(tails) == pytest.approx(tail, abs=0.1)
    assert np.mean(betas) == pytest.approx(beta, abs=0.08)


def test_a_spectrum_is_that_of_the_matrix() -> None:
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(30, 12)) * 2.0 ** -np.arange(12), rng.normal(size=30)
    found = spectrum_of(rows @ rows.T, labels)
    np.testing.assert_allclose(found.values[:12], np.linalg.svd(rows)[1] ** 2, rtol=1e-9)
    assert found.power.sum() == pytest.approx(1)
    assert found.outside[0] == pytest.approx(1)
    span = np.linalg.svd(rows)[0][:, :5]
    assert found.outside[5] == pytest.approx(1 - ((span.T @ labels) ** 2).sum() / (labels @ labels))
    kept = kept_facts(found)
    assert kept["k"] == list(range(1, 12))  # the other 18 eigenvalues are round-off
    assert kept["eigenvalues"][0] == 1
    assert kept["outside"][4] == pytest.approx(found.outside[5])
    assert kept_facts(spectrum_of(np.zeros((3, 3)), np.ones(3))) == {"k": [], "eigenvalues": [], "outside": []}


def test_exchange_with_oneself_changes_nothing() -> None:
    gram, labels = circle(48, 2.0, 1.0, 0)
    own = spectrum_of(gram, labels)
    np.testing.assert_allclose(exchanged(own, own), gram, atol=1e-12 * gram[0, 0])
    other = spectrum_of(circle(48, 3.0, 1.0, 0)[0], labels)
    beta = exchange_matrix([own, other], [labels, labels], single(48), [6, 12, 24], 3)
    assert beta.shape == (2, 2, 3)
    order = np.random.default_rng([48, 0]).permutation(48)
    alone = slope([6, 12, 24], subset_errors(gram, labels, single(48), order, [6, 12, 24]))
    assert beta[0, 0, 0] == pytest.approx(alone, abs=1e-6)
    assert beta[0, 1, 0] != beta[0, 0, 0]


def test_directions_decide_where_only_they_differ() -> None:
    """Labels in the first directions of one kernel and in all directions of another, with the same eigenvalues."""
    rng = np.random.default_rng(1)
    n = 96
    vectors = [np.linalg.qr(rng.normal(size=(n, n)))[0] for _ in range(2)]
    values: Floats = np.arange(1, n + 1, dtype=np.float64) ** -2
    labels = vectors[0][:, :6] @ rng.normal(size=6)
    spectra = [Spectrum(values, v, (v.T @ labels) ** 2 / (labels @ labels)) for v in vectors]
    assert spectra[0].outside[6] < 1e-20 < 0.5 < spectra[1].outside[6]
    beta = exchange_matrix(spectra, [labels, labels], single(n), [8, 16, 32], 4).mean(2)
    assert beta[0].min() > beta[1].max() + 0.1
    np.testing.assert_allclose(beta[:, 0], beta[:, 1], atol=1e-9)


def test_best_ridge_against_solving_for_each() -> None:
    gram, labels = circle(40, 2.0, 1.0, 3)
    rows = FrameRows(np.arange(0, 41, 2), np.tile([True, False], 20))
    order = np.random.default_rng(0).permutation(20)
    own, rest = rows.of(order[:10]), rows.of(order[10:])
    rest = rest[rest % 2 == 0]
    tried = []
    for penalty in 10.0 ** np.arange(-13.0, 0.5, 0.5):
        block = gram[np.ix_(own, own)]
        ridge = penalty * np.linalg.eigvalsh(block)[-1]
        alpha = np.linalg.solve(block + ridge * np.eye(20), labels[own])
        tried.append(np.sqrt(((gram[np.ix_(rest, own)] @ alpha - labels[rest]) ** 2).mean()))
    assert subset_errors(gram, labels, rows, order, [10])[0] == pytest.approx(min(tried), rel=1e-6)
