"""Ridge regression in closed form, its strength chosen by leaving out one frame at a time.

    w, γ = argmin Σ_f |y_f − X_f w − U_f γ|² + λ|w|²

Rows belong to frames: one energy row and some force rows each. γ (the intercept) is not penalised.

*Why frames and not rows.* Generalised cross-validation takes rows as independent, but the force rows of a frame come
from the same few coefficients of a smooth function: a left-out component is all but determined by the others of
its frame. On rMD17 ethanol (ν = 2, P = 32, three seeds) GCV interpolates, with force errors of 282 / 275 / 212 meV/Å
at edge order 0 / 1 / 3, where leaving out frames gives 141 / 90 / 70, next to the best λ there is. It costs no refit:
with the hat matrix H of the whole fit the residuals of a frame left out are (1 − H_ff)⁻¹ r_f (Cook & Weisberg 1982,
eq. 2.2.8, in blocks; γ is refitted too), and one eigendecomposition serves all λ.

The smaller of XᵀX (here) and XXᵀ (`experiments.regression.gram`) is decomposed. Forming XᵀX squares the condition
number, so that eigenvalues below ~1e-15 of the largest are noise: λ never goes under 1e-14 of the largest, and the
solution is refined with residuals from X itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from experiments.core.arrays import Floats, Ints
from experiments.regression.choice import (
    Choice,
    Criterion,
    RidgeFit,
    binds,
    constants,
    generalised_score,
    orthonormal,
)
from experiments.regression.cholesky import Tick, silent
from experiments.regression.gram_path import GRID

DUAL_WHILE = 1.4
"""Rows over columns up to which XXᵀ is the cheaper one (measured on linearised networks)."""
_REFINEMENTS = 20
"""Most refinements of a solution: at λ = 1e-14 of the largest eigenvalue each gains about one digit."""
_REFINED = 1e-12
"""Relative step at which refinement ends."""


@dataclass(frozen=True)
class ForceRows:
    """Force rows of some frames: `frames` `[c]`, `x` `[c, r, M]`, `y` `[c, r]`; rows may be zero."""

    frames: Ints
    x: Floats
    y: Floats


@dataclass(frozen=True)
class Sums:
    """Sums over force rows: `gram` `[M, M]` of x xᵀ, `moment` `[M]` of x y, `squares` of y."""

    gram: Floats
    moment: Floats
    squares: float

    def plus(self, parts: Iterable[ForceRows]) -> Sums:
        """Return the sums over more rows."""
        total, moment, squares = self.gram.copy(), self.moment.copy(), self.squares
        for part in parts:
            x, y = part.x.reshape(-1, total.shape[1]), part.y.reshape(-1)
            total += x.T @ x
            moment += x.T @ y
            squares += float(y @ y)
        return Sums(total, moment, squares)

    @staticmethod
    def zero(m: int) -> Sums:
        """Return the sums over no rows."""
        return Sums(np.zeros((m, m)), np.zeros(m), 0.0)


@dataclass(frozen=True)
class RidgeProblem:
    """A ridge-regression problem.

    energy_x `[F, M]`, energy_y `[F]`: one row a frame (zero weight: rows of zeros)
    unpenalised `[F, d]`: columns of the energy rows whose coefficients are free of penalty
    force_rows: yields all force rows, frame by frame, each time it is called (recomputed or from memory)
    rows: number of informative rows (zero rows do not count)
    """

    energy_x: Floats
    energy_y: Floats
    unpenalised: Floats
    force_rows: Callable[[], Iterable[ForceRows]]
    rows: int


@dataclass(frozen=True)
class _Spectrum:
    """Eigenvalues `[k]` of XᵀX and rows in that basis, for all λ at once.

    `projections` `[k]` of y on the left singular vectors; `reached` `[k]`: the vector that `basis`/(values + λ) maps
    to the fitted y; `squares` = |y|² after the intercept.
    `solve` gives the coefficients for λ. `blocks` yields, for equally many rows per frame, `[c, b, k]`, the
    unpenalised part of the hat matrix of those rows `[c, b, b]`, residuals after it `[c, b]`, and which rows
    count `[c, b]`.
    """

    values: Floats
    projections: Floats
    reached: Floats
    squares: float
    blocks: Callable[[], Iterable[tuple[Floats, Floats, Floats, Floats]]]
    solve: Callable[[float], Floats]


def in_dual(rows: int, columns: int) -> bool:
    """Return whether XXᵀ is the cheaper one to decompose."""
    return rows <= DUAL_WHILE * columns


def columns_work(rows: float, frames: float, columns: float) -> float:
    """Return about as many operations as a fit of so many rows and columns by XᵀX takes, sums over the rows included.

    The rows in the basis of its eigenvectors, products of a frame's rows for every λ, and the decomposition.
    """
    return 3.0 * rows * columns**2 + 2.0 * len(GRID) * rows * (rows / frames) * columns + 25.0 * columns**3


def fit_columns(
    problem: RidgeProblem,
    criterion: Criterion = "frames",
    ridge: float | None = None,
    sums: Sums | None = None,
    tick: Tick = silent,
) -> RidgeFit:
    """Solve by XᵀX with λ = `ridge` × the largest eigenvalue if given, else with the λ of the least score.

    Leaving out frames needs two of them: with one, rows are left out instead (GCV). `sums` are those over the force
    rows, if they are known; `tick` hears of `columns_work`.
    """
    q = orthonormal(problem.unpenalised)  # [F, d']
    spectrum = _decomposed(problem, q, sums, tick)
    chosen = _choose(spectrum, len(problem.energy_y), problem.rows, q.shape[1], criterion, ridge)
    found = np.zeros(problem.energy_x.shape[1]) if chosen.penalty is None else spectrum.solve(chosen.penalty)
    rest = problem.energy_y - problem.energy_x @ found
    return RidgeFit(found, constants(problem.unpenalised, rest), *chosen.facts, chosen.at_floor)


def _choose(
    spectrum: _Spectrum, frames: int, rows: int, intercepts: int, criterion: Criterion, ridge: float | None
) -> Choice:
    top = float(spectrum.values.max(initial=0.0))
    informative = max(1, rows - intercepts)
    used: str = "given" if ridge is not None else "gcv" if frames < 2 else criterion
    if top == 0.0 or spectrum.squares == 0.0:
        return Choice(None, (np.inf, float(intercepts), spectrum.squares / informative, used))
    score_of = _gcv if used == "gcv" else _frames_left_out
    grid = GRID if ridge is None else np.array([ridge])
    scores = score_of(spectrum, informative, top * grid) if used != "given" else np.array([np.nan])
    best = len(grid) - 1 - int(np.argmin(scores[::-1]))  # of equals the strongest
    ridge = float(grid[best])
    shrunk = spectrum.values / (spectrum.values + top * ridge)
    floor = used == "frames" and best == 0 and binds(scores[0], scores[1], spectrum.squares / informative)
    return Choice(top * ridge, (ridge, float(shrunk.sum()) + intercepts, float(scores[best]), used), floor)


def _gcv(spectrum: _Spectrum, rows: int, penalties: Floats) -> Floats:
    outside = max(0.0, spectrum.squares - float((spectrum.projections**2).sum()))
    missing = rows - len(spectrum.values)
    return generalised_score(spectrum.values, spectrum.projections, rows, penalties, missing, outside)


def _frames_left_out(spectrum: _Spectrum, rows: int, penalties: Floats) -> Floats:
    """Return the mean square over rows of y_f minus the prediction of a fit without frame f; one pass for all λ."""
    total = np.zeros(len(penalties))
    for basis, unpenalised, residual, counts in spectrum.blocks():
        across = basis.transpose(0, 2, 1)
        skip = counts == 0  # a row that only its own intercept explains cannot be left out
        one = np.eye(basis.shape[1])
        for i, penalty in enumerate(penalties):
            weighted = basis / (spectrum.values + penalty)  # [c, b, k]
            right = residual - weighted @ spectrum.reached  # [c, b]
            left = one - unpenalised - weighted @ across + np.where(skip, 1.0, 0.0)[..., None] * one
            errors = np.linalg.solve(left, right[..., None])[..., 0]
            total[i] += float((errors[~skip] ** 2).sum())
    return total / rows


def _decomposed(problem: RidgeProblem, q: Floats, sums: Sums | None, tick: Tick) -> _Spectrum:
    """Decompose XᵀX, gathered in passes over the rows."""
    frames, m = problem.energy_x.shape
    energy_x = problem.energy_x - q @ (q.T @ problem.energy_x)
    energy_y = problem.energy_y - q @ (q.T @ problem.energy_y)
    sums = Sums.zero(m).plus(problem.force_rows()) if sums is None else sums
    moment, squares = sums.moment + energy_x.T @ energy_y, sums.squares + float(energy_y @ energy_y)
    values, vectors = np.linalg.eigh(sums.gram + energy_x.T @ energy_x)
    values = values.clip(0.0)
    tick(problem.rows * float(m) ** 2 + 25.0 * float(m) ** 3)
    reached = vectors.T @ moment  # √value × projection of y on the left singular vector
    safe = values > 1e-14 * values.max(initial=0.0)
    projections = np.where(safe, reached / np.sqrt(np.where(safe, values, 1.0)), 0.0)

    def blocks() -> Iterator[tuple[Floats, Floats, Floats, Floats]]:
        in_basis = energy_x @ vectors  # [F, k]
        for part in _or_none(problem.force_rows(), frames, m):
            c, r = part.y.shape
            rotated = (part.x.reshape(-1, m) @ vectors).reshape(c, r, m)  # one product: c small ones read W c times
            basis = np.concatenate([rotated, in_basis[part.frames, None]], 1)
            unpenalised = np.zeros((c, r + 1, r + 1))
            unpenalised[:, r, r] = (q[part.frames] ** 2).sum(1)
            residual = np.concatenate([part.y, energy_y[part.frames, None]], 1)
            yield basis, unpenalised, residual, _counts(part.frames, r, q)
            tick(2.0 * c * (r + 1) * m * (m + len(GRID) * (r + 1)))

    def solve(penalty: float) -> Floats:
        w = vectors @ (reached / (values + penalty))
        before = np.inf
        for _ in range(_REFINEMENTS):
            gradient = energy_x.T @ (energy_y - energy_x @ w) - penalty * w
            for part in problem.force_rows():
                x = part.x.reshape(-1, m)
                gradient += x.T @ (part.y.reshape(-1) - x @ w)
            step = vectors @ ((vectors.T @ gradient) / (values + penalty))
            size = float(np.linalg.norm(step))
            if size > 0.7 * before:
                break  # round-off of the residuals themselves
            w, before = w + step, size
            if size <= _REFINED * float(np.linalg.norm(w)):
                break
        return np.asarray(w)

    return _Spectrum(values, projections, reached, squares, blocks, solve)


def _or_none(parts: Iterable[ForceRows], frames: int, m: int) -> Iterator[ForceRows]:
    """Yield the force rows; if there are none at all, yield one empty part for all frames."""
    empty = True
    for part in parts:
        empty = False
        yield part
    if empty:
        yield ForceRows(np.arange(frames), np.zeros((frames, 0, m)), np.zeros((frames, 0)))


def _counts(frames: Ints, r: int, q: Floats) -> Floats:
    """Return `[c, r + 1]`: 1 for rows that can be left out, 0 for energies that alone fix a part of the intercept."""
    alone = (q[frames] ** 2).sum(1) > 1 - 1e-9
    return np.concatenate([np.ones((len(frames), r)), np.where(alone, 0.0, 1.0)[:, None]], 1)
