"""The ridge solver against plain formulas: hat matrices, refits without a frame, and the law of noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

from experiments.core.arrays import Floats
from experiments.regression.choice import Criterion, RidgeFit, constants
from experiments.regression.gram import GramSystem
from experiments.regression.gram_path import GRID, Path, Products, fit_gram
from experiments.regression.ridge import ForceRows, RidgeProblem, fit_columns


@dataclass(frozen=True)
class Rows:
    """All rows of a problem as plain matrices: x `[n, M]`, y `[n]`, u `[n, d]`, and each row's frame."""

    x: Floats
    y: Floats
    u: Floats
    frame: np.ndarray


def random_problem(frames: int, per_frame: int, m: int, d: int = 1, seed: int = 0) -> tuple[RidgeProblem, Rows]:
    rng = np.random.default_rng(seed)
    spread = 10.0 ** -np.linspace(0, 2, m)  # a spectrum that a ridge can cut
    truth = rng.normal(size=m)
    xe, xf = rng.normal(size=(frames, m)) * spread + 0.5, rng.normal(size=(frames, per_frame, m)) * spread
    u = rng.integers(1, 4, size=(frames, d)).astype(float)
    ye = xe @ truth + u @ rng.normal(size=d) * 3 + rng.normal(size=frames) * 0.3
    yf = xf @ truth + rng.normal(size=(frames, per_frame)) * 0.3
    cut = frames // 2

    def force_rows() -> Iterator[ForceRows]:
        if per_frame:  # in two pieces, the frames out of order
            for part in (np.arange(cut, frames), np.arange(cut)):
                yield ForceRows(part, xf[part], yf[part])

    problem = RidgeProblem(xe, ye, u, force_rows, frames * (per_frame + 1))
    rows = Rows(
        np.concatenate([xe, xf.reshape(-1, m)]),
        np.concatenate([ye, yf.ravel()]),
        np.concatenate([u, np.zeros((frames * per_frame, d))]),
        np.concatenate([np.arange(frames), np.repeat(np.arange(frames), per_frame)]),
    )
    return problem, rows


def by_rows(problem: RidgeProblem, criterion: Criterion = "frames", ridge: float | None = None) -> RidgeFit:
    """Solve by products of rows, frame after frame."""
    frames, m = problem.energy_x.shape
    parts = list(problem.force_rows())
    r = parts[0].y.shape[1] if parts else 0
    x, y = np.empty((frames, r + 1, m)), np.empty((frames, r + 1))
    for part in parts:
        x[part.frames, :r], y[part.frames, :r] = part.x, part.y
    x[:, r], y[:, r] = problem.energy_x, problem.energy_y
    u = np.zeros((frames, r + 1, problem.unpenalised.shape[1]))
    u[:, r] = problem.unpenalised
    flat = x.reshape(-1, m)
    starts = np.arange(frames + 1) * (r + 1)
    system = GramSystem(flat @ flat.T, y.ravel(), u.reshape(-1, u.shape[2]), starts)
    products = Products(lambda a: flat[: len(a)].T @ a, lambda w, n: flat[:n] @ w)
    fit = fit_gram(Path(system, criterion), frames, ridge, products)
    assert fit.coefficients is not None
    rest = problem.energy_y - fit.fitted.reshape(frames, r + 1)[:, r]
    return RidgeFit(fit.coefficients, constants(problem.unpenalised, rest), *fit.choice.facts, fit.choice.at_floor)


def fit_ridge(problem: RidgeProblem, criterion: Criterion = "frames", ridge: float | None = None) -> RidgeFit:
    """Solve by the smaller of the two matrices."""
    fewer_rows = problem.rows <= problem.energy_x.shape[1]
    return (by_rows if fewer_rows else fit_columns)(problem, criterion, ridge)


def largest(rows: Rows) -> float:
    """Return the largest eigenvalue of XᵀX without what the intercept explains."""
    q = np.linalg.qr(rows.u)[0]
    return float(np.linalg.svd(rows.x - q @ (q.T @ rows.x), compute_uv=False)[0] ** 2)


def refit(rows: Rows, penalty: float) -> Floats:
    """Return the coefficients `[M + d]` of the penalised least squares, by the plain normal equations."""
    both = np.concatenate([rows.x, rows.u], 1)
    ridge = np.diag([penalty] * rows.x.shape[1] + [0.0] * rows.u.shape[1])
    return np.asarray(np.linalg.solve(both.T @ both + ridge, both.T @ rows.y))


def keep(rows: Rows, which: np.ndarray) -> Rows:
    return Rows(rows.x[which], rows.y[which], rows.u[which], rows.frame[which])


# (frames, force rows a frame, features): more features than rows (dual), fewer (primal), energies alone of both kinds
SHAPES = [(6, 3, 40), (6, 3, 10), (12, 0, 30), (30, 0, 10)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("d", [1, 2])
def test_solves_the_penalised_least_squares(shape: tuple[int, int, int], d: int) -> None:
    problem, rows = random_problem(*shape, d=d)
    for ridge in (1e-6, 1e-3, 0.1):
        fit = fit_ridge(problem, ridge=ridge)
        expected = refit(rows, ridge * largest(rows))
        # the plain normal equations lose 1e-16 / ridge
        np.testing.assert_allclose(fit.coefficients, expected[: shape[2]], rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(fit.unpenalised, expected[shape[2] :], rtol=1e-7, atol=1e-8)
        both = np.concatenate([rows.x, rows.u], 1)
        penalty = np.diag([ridge * largest(rows)] * shape[2] + [0.0] * d)
        hat = both @ np.linalg.solve(both.T @ both + penalty, both.T)
        assert fit.effective_parameters == pytest.approx(np.trace(hat), rel=1e-7)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("d", [1, 2])
def test_leaves_out_frames_as_refitting_without_them_does(shape: tuple[int, int, int], d: int) -> None:
    problem, rows = random_problem(*shape, d=d)
    fit = fit_ridge(problem)
    assert fit.criterion == "frames"
    informative = problem.rows - d
    scores = []
    for ridge in GRID[GRID > 1e-8]:  # below, this plain formula has no digits left
        total = 0.0
        for frame in range(shape[0]):
            out = rows.frame == frame
            solution = refit(keep(rows, ~out), ridge * largest(rows))
            total += float(((rows.y - np.concatenate([rows.x, rows.u], 1) @ solution)[out] ** 2).sum())
        scores.append(total / informative)
    assert fit.score == pytest.approx(min(scores), rel=1e-6)
    assert fit.ridge == pytest.approx(GRID[GRID > 1e-8][int(np.argmin(scores))])


@pytest.mark.parametrize("shape", SHAPES)
def test_gcv_is_that_of_the_hat_matrix(shape: tuple[int, int, int]) -> None:
    """(RSS/n)/(1 − tr H/n)², n counted after the intercept is projected out."""
    problem, rows = random_problem(*shape)
    fit = fit_ridge(problem, "gcv")
    q = np.linalg.qr(rows.u)[0]
    x, y = rows.x - q @ (q.T @ rows.x), rows.y - q @ (q.T @ rows.y)
    n = problem.rows - 1
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    scores = []
    for ridge in GRID:
        hat = (u * (s**2 / (s**2 + ridge * largest(rows)))) @ u.T
        rest = y - hat @ y
        scores.append((rest @ rest / n) / (1 - np.trace(hat) / n) ** 2)
    assert fit.criterion == "gcv"
    # this formula loses 1e-16 / λ; where the score is flat any λ will do
    kept = [score for score, ridge in zip(scores, GRID, strict=True) if ridge > 0.9e-12]
    assert fit.score <= min(kept) * (1 + 1e-3)
    if fit.ridge > 0.9e-12:
        assert fit.score == pytest.approx(min(kept), rel=1e-3)
        assert scores[int(np.argmin(np.abs(GRID - fit.ridge)))] == pytest.approx(min(kept), rel=1e-3)


def test_both_forms_give_one_answer() -> None:
    """Just below and above as many rows as features the solver changes sides; a zero feature must not matter."""
    problem, _ = random_problem(6, 3, 24)  # 24 rows: by rows
    none = np.zeros((6, 1))

    def narrower() -> Iterator[ForceRows]:
        for part in problem.force_rows():
            yield replace(part, x=part.x[..., :23])

    def with_zero() -> Iterator[ForceRows]:
        for part in narrower():
            yield replace(part, x=np.concatenate([part.x, np.zeros((*part.y.shape, 1))], 2))

    short = replace(problem, energy_x=problem.energy_x[:, :23], force_rows=narrower)
    padded = replace(problem, energy_x=np.concatenate([short.energy_x, none], 1), force_rows=with_zero)
    by_features, by_rows = fit_ridge(short), fit_ridge(padded)
    assert by_features.ridge == by_rows.ridge
    assert by_features.score == pytest.approx(by_rows.score, rel=1e-8)
    assert by_features.effective_parameters == pytest.approx(by_rows.effective_parameters, rel=1e-8)
    np.testing.assert_allclose(by_rows.coefficients[:23], by_features.coefficients, rtol=1e-7, atol=1e-9)
    assert by_rows.coefficients[23] == 0.0


def test_excess_error_follows_the_law_of_noise() -> None:
    """Least squares on Gaussian features: excess MSE = σ² M/(n − M − 1).

    One coefficient less is left for the intercept: n − 1 rows remain after it. 400 repetitions with M = 10.
    """
    rng = np.random.default_rng(0)
    n, m, sigma, excess = 41, 10, 0.5, []
    for _ in range(400):
        x, truth = rng.normal(size=(n, m)), rng.normal(size=m)
        y = x @ truth + sigma * rng.normal(size=n)
        fit = fit_ridge(RidgeProblem(x, y, np.ones((n, 1)), list, n), ridge=1e-12)
        excess.append(float(((fit.coefficients - truth) ** 2).sum()))  # E over x of the squared error
    expected = sigma**2 * m / (n - 1 - m - 1)
    assert np.mean(excess) == pytest.approx(expected, abs=4 * float(np.std(excess)) / 20)  # 4 standard errors


def test_duplicate_frames_and_features_are_harmless() -> None:
    problem, rows = random_problem(8, 0, 20)
    doubled = RidgeProblem(
        np.repeat(np.concatenate([problem.energy_x, problem.energy_x], 1), 2, axis=0),
        np.repeat(problem.energy_y, 2),
        np.repeat(problem.unpenalised, 2, axis=0),
        list,
        16,
    )
    fit = fit_ridge(doubled, ridge=1e-3)
    single = fit_ridge(problem, ridge=1e-3)  # twice the rows, twice the columns: the largest eigenvalue × 4, λ too
    predicted = doubled.energy_x[::2] @ fit.coefficients
    np.testing.assert_allclose(fit.coefficients[:20], fit.coefficients[20:], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(predicted, problem.energy_x @ single.coefficients, rtol=1e-8, atol=1e-8)
    assert np.isfinite(fit_ridge(doubled).coefficients).all()
    assert len(rows.y) == 8


def test_an_intercept_that_one_frame_alone_determines_is_not_left_out() -> None:
    """An element that one frame has: without that frame its energy is unknown, so its energy row says nothing."""
    problem, rows = random_problem(7, 2, 30)
    u = np.zeros((7, 2))
    u[:, 0] = 1.0
    u[3, 1] = 1.0
    fit = fit_ridge(replace(problem, unpenalised=u))
    assert np.isfinite(fit.score)
    assert fit.score < 100 * np.var(rows.y)


def test_nothing_to_learn() -> None:
    x = np.random.default_rng(0).normal(size=(5, 3))
    constant = fit_ridge(RidgeProblem(x, np.full(5, 2.0), np.ones((5, 1)), list, 5))
    np.testing.assert_allclose(constant.coefficients, 0, atol=1e-12)  # round-off of the projection
    np.testing.assert_allclose(constant.unpenalised, 2.0)
    featureless = fit_ridge(RidgeProblem(np.zeros((5, 3)), np.arange(5.0), np.ones((5, 1)), list, 5))
    np.testing.assert_array_equal(featureless.coefficients, 0)
    assert featureless.effective_parameters == 1
    alone = fit_ridge(RidgeProblem(x[:1], np.ones(1), np.ones((1, 1)), list, 1))
    np.testing.assert_allclose(x[:1] @ alone.coefficients + alone.unpenalised, 1.0)
