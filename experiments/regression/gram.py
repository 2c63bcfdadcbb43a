"""Ridge regression by products of rows, for every leading number of frames of one Gram matrix (a ladder).

    α, γ = argmin over Xᵀα and γ of Σ_f |y_f − X_f Xᵀα − U_f γ|² + λ|Xᵀα|²,   K = XXᵀ

Rows are ordered frame by frame, so that the first P frames are a leading block. The intercepts U are not penalised;
they border the system instead of rotating its rows, which would mix frames:

    N = (K + λ)⁻¹,   A = N − N U (UᵀNU)⁻¹ UᵀN,   α = A y,   a frame left out: e_f = A_ff⁻¹ (A y)_f

(Cook & Weisberg 1982, eq. 2.2.8, in blocks; γ is refitted too). N = GᵀG with the inverse Cholesky factor G = L⁻¹, and
every leading block of G belongs to the run on those frames: one factorisation at one λ serves all sizes.
`experiments.regression.gram_path` chooses λ and fits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from experiments.core.arrays import Floats, Ints
from experiments.regression import cholesky
from experiments.regression.choice import orthonormal

_BLOCK = 512
"""Columns handled at a time where only a triangle is stored."""
_DENSE = 64
"""Largest size whose top eigenvalue is taken from all of them."""


@dataclass(frozen=True)
class LeftOut:
    """What one factor tells of the fit on some leading frames.

    errors  `[n]` y_f minus the prediction of a fit without frame f, zero for rows that cannot be left out
    score   mean square of the errors a row, in the units of the labels squared
    dual    `[n]` coefficients α of the rows
    trace   effective number of parameters: trace of the hat matrix, the intercepts included
    """

    errors: Floats
    score: float
    dual: Floats
    trace: float


class GramSystem:
    """A Gram matrix with its labels; see the module's docstring.

    The matrix is kept in the upper triangle of its array, and the lower one is where the largest block is factorised:
    a factor of all frames is valid until the next one is made.
    """

    def __init__(
        self, gram: Floats, labels: Floats, unpenalised: Floats, starts: Ints, informative: Ints | None = None
    ) -> None:
        """Take over the matrix `gram` `[n, n]`.

        Args:
            gram: products of the weighted rows, of which only the lower triangle is read; the other is overwritten.
            labels: weighted labels of the rows, `[n]`.
            unpenalised: columns of the intercepts, `[n, d]`.
            starts: first row of every frame and the number of rows, `[F + 1]`.
            informative: rows of every frame that are not zero, `[F]`; None: all.
        """
        self._gram = np.asfortranarray(gram.T)  # symmetric: the transpose of a C array is free
        self._diagonal = gram.diagonal().copy()
        self.labels = labels
        self.unpenalised = unpenalised
        self.starts = starts
        self.informative = np.diff(starts) if informative is None else informative
        self._tops: dict[int, float] = {}

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.starts) - 1

    def rows(self, frames: int) -> int:
        """Return the number of rows of the first `frames` frames."""
        return int(self.starts[frames])

    def intercepts(self, frames: int) -> Floats:
        """Return an orthonormal basis `[n, d']` of the unpenalised columns of the first frames."""
        return orthonormal(self.unpenalised[: self.rows(frames)])

    def block(self, frames: int) -> Floats:
        """Return a copy of the Gram matrix of the first frames, `[n, n]`."""
        n = self.rows(frames)
        full = np.triu(self._gram[:n, :n], 1)
        full += full.T
        full[np.diag_indices(n)] = self._diagonal[:n]
        return full

    def centred(self, frames: int) -> tuple[Floats, Floats]:
        """Return Gram matrix `[n, n]` and labels `[n]` of the first frames with the intercepts projected out."""
        q = self.intercepts(frames)
        gram, y = self.block(frames), self.labels[: self.rows(frames)]
        if q.shape[1]:
            gram -= q @ (q.T @ gram)
            gram -= (gram @ q) @ q.T
        return gram, y - q @ (q.T @ y)

    def centred_product(
        self, frames: int, tick: cholesky.Tick = cholesky.silent
    ) -> tuple[Callable[[Floats], Floats], Floats]:
        """Return the product with `[n]` or `[n, V]` of the matrix of `centred`, which is not made, and its labels."""
        q, y = self.intercepts(frames), self.labels[: self.rows(frames)]

        def product(vectors: Floats) -> Floats:
            found = self.product(vectors - q @ (q.T @ vectors), tick)
            return np.asarray(found - q @ (q.T @ found))

        return product, y - q @ (q.T @ y)

    def product(self, vectors: Floats, tick: cholesky.Tick = cholesky.silent) -> Floats:
        """Multiply the leading block by `[n]` or `[n, V]`, from the stored triangle; `tick` hears of the operations."""
        n = len(vectors)
        total = np.zeros(vectors.shape)
        for start in range(0, n, _BLOCK):
            end = min(n, start + _BLOCK)
            above = self._gram[:start, start:end]
            total[:start] += above @ vectors[start:end]
            own = np.triu(self._gram[start:end, start:end], 1)
            own = own + own.T
            own[np.diag_indices(end - start)] = self._diagonal[start:end]
            total[start:end] += above.T @ vectors[:start] + own @ vectors[start:end]
            tick(2.0 * (start + end) * (end - start) * (vectors.size // n))
        return total

    def top(self, frames: int) -> float:
        """Return the largest eigenvalue of the first frames' block without what the intercepts explain."""
        if frames not in self._tops:
            self._tops[frames] = self._top(frames)
        return self._tops[frames]

    def _top(self, frames: int) -> float:
        n = self.rows(frames)
        if n <= _DENSE:
            return max(0.0, float(np.linalg.eigvalsh(self.centred(frames)[0])[-1])) if n else 0.0
        product, _ = self.centred_product(frames)
        if not product(start := np.random.default_rng(0).normal(size=n)).any():
            return 0.0
        operator = LinearOperator((n, n), matvec=lambda v: product(v.ravel()), dtype=np.float64)
        # converged to round-off: λ is a multiple of it, and must not depend on where the iteration began
        return max(0.0, float(eigsh(operator, 1, v0=start, return_eigenvectors=False, tol=1e-13)[0]))

    def factor(
        self, penalty: float, frames: int | None = None, tick: cholesky.Tick = cholesky.silent, beside: bool = True
    ) -> Factor:
        """Factorise the block of the first `frames` (None: all) plus `penalty` (> 0, absolute).

        Of all frames it is done in place; a smaller block is copied, unless no factor of all frames is to be kept
        `beside`: then its place is taken. `tick` hears of the work (`cholesky.work`).

        Raises:
            LinAlgError: the penalty is below the matrix's round-off.
        """
        n = self.rows(self.frames if frames is None else frames)
        whole = n == len(self._gram) or not beside
        lower = self._gram[:n, :n] if whole else np.empty((n, n), order="F")
        for start in range(0, n, _BLOCK):
            end = min(n, start + _BLOCK)
            if end < n:
                lower[end:, start:end] = self._gram[start:end, end:n].T
            corner = np.triu(self._gram[start:end, start:end], 1)
            if whole:
                lower[start:end, start:end] = corner + corner.T
            else:
                lower[start:end, start:end] = corner.T
        lower[np.diag_indices(n)] = self._diagonal[:n] + penalty
        cholesky.invert(lower, tick)
        return Factor(self, lower, penalty)


class Factor:
    """The inverse Cholesky factor G of a leading block plus its penalty: (K + λ)⁻¹ = GᵀG, in the lower triangle."""

    def __init__(self, system: GramSystem, lower: Floats, penalty: float) -> None:
        self.system = system
        self.penalty = penalty
        self._lower = lower

    def solve(self, right: Floats) -> Floats:
        """Return (K + λ)⁻¹ times `[n, V]`, n being the rows of some leading frames."""
        n = len(right)
        half = np.zeros(right.shape)
        for start in range(0, n, _BLOCK):
            end = min(n, start + _BLOCK)
            own = np.tril(self._lower[start:end, start:end])
            half[start:end] = self._lower[start:end, :start] @ right[:start] + own @ right[start:end]
        found = np.empty(right.shape)
        for start in range(0, n, _BLOCK):
            end = min(n, start + _BLOCK)
            own = np.tril(self._lower[start:end, start:end])
            found[start:end] = own.T @ half[start:end] + self._lower[end:n, start:end].T @ half[end:]
        return found

    def bordered(self, right: Floats, q: Floats) -> Floats:
        """Return A times `[n, V]`: the inverse with the intercepts `q` `[n, d]` fitted too."""
        both = self.solve(np.concatenate([right, q], 1))
        values, border = both[:, : right.shape[1]], both[:, right.shape[1] :]
        return np.asarray(values - border @ np.linalg.solve(q.T @ border, q.T @ values))

    def left_out(self, frames: int | None = None) -> LeftOut:
        """Return errors of left-out frames, coefficients and trace of the fit on the first `frames` (None: all)."""
        system = self.system
        frames = system.frames if frames is None else frames
        n, starts, penalty = system.rows(frames), system.starts, self.penalty
        q, y = system.intercepts(frames), system.labels[:n]
        both = self.solve(np.concatenate([y[:, None], q], 1))
        values, border = both[:, 0], both[:, 1:]
        inner = np.linalg.inv(q.T @ border)  # [d, d], of a positive matrix with eigenvalues up to 1/λ
        dual = values - border @ (inner @ (q.T @ values))
        # a row that alone determines a part of the intercepts: without it that part is unknown
        alone = (q**2).sum(1) > 1 - 1e-9
        dual[alone] = 0.0
        errors = np.zeros(n)
        trace = 0.0
        for f in range(frames):
            own = slice(int(starts[f]), int(starts[f + 1]))
            b = own.stop - own.start
            if b == 0:
                continue
            column = self._lower[own.start : n, own]  # G is lower triangular: rows from the frame's own on
            first = np.tril(column[:b])
            square = first.T @ first + column[b:].T @ column[b:]
            square -= border[own] @ inner @ border[own].T
            skip = alone[own]
            square[skip], square[:, skip] = 0.0, 0.0
            trace += b - penalty * float(square.trace())
            square[skip, skip] = 1.0
            errors[own] = np.linalg.solve(square, dual[own])
        informative = max(1, int(system.informative[:frames].sum()) - q.shape[1])
        return LeftOut(errors, float(errors @ errors) / informative, dual, trace)
