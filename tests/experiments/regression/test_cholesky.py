"""The inverse Cholesky factor in place: against LAPACK, in the lower triangle alone, telling of its work."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.core.arrays import Floats
from experiments.regression import cholesky
from experiments.regression.gram import GramSystem


def positive(n: int) -> Floats:
    """Draw a well-conditioned positive matrix in Fortran order."""
    x = np.random.default_rng(n).normal(size=(n, n))
    return np.asfortranarray(x @ x.T + n * np.eye(n))


@pytest.mark.parametrize("n", [1, 7, 16, 17, 50])
def test_the_lower_triangle_is_the_inverse_factor(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cholesky, "BLOCK", 16)
    matrix = positive(n)
    a = matrix.copy(order="F")
    a[np.triu_indices(n, 1)] = np.nan  # neither read …
    told: list[float] = []
    cholesky.invert(a, told.append)
    # a dozen digits: condition numbers are below 10
    np.testing.assert_allclose(np.tril(a), np.linalg.inv(np.linalg.cholesky(matrix)), atol=1e-12 / np.sqrt(n))
    assert np.isnan(a[np.triu_indices(n, 1)]).all()  # … nor written
    assert len(told) == 2 * -(-n // 16)


def test_the_work_told_is_the_work_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cholesky, "BLOCK", 4)
    told: list[float] = []
    cholesky.invert(positive(200), told.append)
    assert sum(told) == pytest.approx(cholesky.work(200), rel=0.1)  # panels of 4 of 200 count whole: a few per cent


def test_a_gram_system_reads_one_triangle() -> None:
    gram, labels = positive(12), np.arange(12.0)
    torn = np.ascontiguousarray(gram)
    torn[np.triu_indices(12, 1)] = np.nan
    one, other = (GramSystem(g, labels, np.ones((12, 1)), np.arange(5) * 3) for g in (gram.copy(), torn))
    np.testing.assert_array_equal(one.block(4), other.block(4))
    np.testing.assert_array_equal(one.product(labels[:9]), other.product(labels[:9]))
    assert one.top(3) == other.top(3)
    for frames in (3, 4):
        np.testing.assert_array_equal(
            one.factor(0.1, frames).left_out(frames).errors, other.factor(0.1, frames).left_out(frames).errors
        )


def test_a_matrix_that_is_not_positive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cholesky, "BLOCK", 4)
    a = positive(10)
    a[6, 6] = -1.0
    with pytest.raises(np.linalg.LinAlgError, match="10 rows is not positive from row 7 on"):
        cholesky.invert(a)
