"""Exponents that theory knows, measured on real learners and fitted through the whole of the analysis.

Kernel teacher and student on the sphere (Spigler, Geiger & Wyart), the nearest neighbour on a torus, and the gain of
an invariant kernel over an isotropic one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import cho_factor, cho_solve

from analysis.bounds.dimension import neighbours
from analysis.bounds.theory import spigler
from analysis.curve import curves
from analysis.fits.record import analyse
from analysis.fits.results import Form
from analysis.table import check_table

Array = Any
SIZES = np.array([64, 128, 256, 512, 1024])
SEEDS = 8


def beta(errors: Array, sizes: Array = SIZES) -> float:
    """Power-law exponent of an error table, by the whole analysis. [S, K]"""
    rows = [
        {"dataset": "known", "architecture": "kernel", "metric": "rmse", "P": p, "seed": s, "error": errors[s, k]}
        for s in range(len(errors))
        for k, p in enumerate(sizes)
    ]
    ((fit, _),) = analyse(curves(check_table(pd.DataFrame(rows), "known")))
    return fit.form(Form.POWER).beta.value


def rmse(gram: Array, kernel: Array, truth: Array, n_test: int = 400) -> Array:
    """RMSE on the last points of nested kernel interpolation on the first P; truth has one column per teacher. [K]"""
    test = slice(len(gram) - n_test, None)
    result = []
    for size in SIZES:
        factor = cho_factor(gram[:size, :size] + 1e-10 * np.eye(size))
        predicted = kernel[test, :size] @ cho_solve(factor, truth[:size])
        result.append(math.sqrt(np.mean((predicted - truth[test]) ** 2)))
    return np.array(result)


def laplace(distance: Array) -> Array:
    return np.exp(-distance)


def matern(distance: Array) -> Array:
    return (1 + math.sqrt(3) * distance) * np.exp(-math.sqrt(3) * distance)


@pytest.mark.parametrize(
    ("d", "teacher", "alpha"),
    [(1, laplace, 2), (1, matern, 4), (2, laplace, 3), (2, matern, 5), (3, laplace, 4), (3, matern, 6)],
)
def test_kernel_teacher_and_student_on_the_sphere(d: int, teacher: Callable[[Array], Array], alpha: int) -> None:
    errors = []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        points = rng.normal(size=(SIZES[-1] + 400, d + 1))
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
        root = np.linalg.cholesky(teacher(distance) + 1e-9 * np.eye(len(points)))
        truth = root @ rng.normal(size=(len(points), 8))
        errors.append(rmse(laplace(distance), laplace(distance), truth))
    expected = spigler(alpha, d + 1, d, squared=False)
    # independent computations differ by ±10 % at these sizes; finite-size effects reach 12 % for smooth teachers
    assert beta(np.array(errors)) == pytest.approx(expected, rel=0.13)


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_nearest_neighbour_on_a_torus(d: int) -> None:
    sizes = 64 * 2 ** np.arange(6)
    rng = np.random.default_rng(d)
    errors = np.empty((5, len(sizes)))
    for s in range(5):
        train, test = rng.random((sizes[-1], d)), rng.random((1500, d))
        for k, size in enumerate(sizes):
            errors[s, k] = neighbours(train[:size], test, box=1.0).mean()
    assert beta(errors, sizes) == pytest.approx(1 / d, rel=0.05)  # independently found within 2 %


@pytest.mark.parametrize("b", [2, 3])
def test_invariant_kernel_doubles_the_exponent(b: int) -> None:
    """f = g(θ₁ − θ₂) with c_k² ~ k^−b: MSE exponent b − 1 with the invariant kernel, (b − 1)/2 with the isotropic."""
    modes = np.arange(1, 3000)
    gains: dict[str, list[Array]] = {"invariant": [], "isotropic": []}
    for seed in range(SEEDS // 2):
        rng = np.random.default_rng(seed)
        theta = rng.random((SIZES[-1] + 400, 2)) * 2 * math.pi
        angle = theta[:, 0] - theta[:, 1]
        phase = modes[:, None] * angle
        scale = modes[:, None] ** (-b / 2)
        weights = rng.normal(size=(2, len(modes), 8))
        truth = (scale * np.cos(phase)).T @ weights[0] + (scale * np.sin(phase)).T @ weights[1]
        flat = 2 * np.abs(np.sin((angle[:, None] - angle) / 2))
        torus = np.sqrt(sum((2 * np.sin((theta[:, None, i] - theta[None, :, i]) / 2)) ** 2 for i in range(2)))
        gains["invariant"].append(rmse(laplace(flat), laplace(flat), truth))
        gains["isotropic"].append(rmse(laplace(torus), laplace(torus), truth))
    measured = {name: beta(np.array(errors)) for name, errors in gains.items()}
    # independently computed: .93/2.00 and .46/1.03 for the MSE; RMSE halves them; ±12 % at these sizes.
    assert measured["invariant"] == pytest.approx((b - 1) / 2, rel=0.12)
    assert measured["isotropic"] == pytest.approx((b - 1) / 4, rel=0.12)
