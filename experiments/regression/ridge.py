"""Ridge regression in closed form, its strength chosen by leaving out one frame at a time.

    w, γ = argmin Σ_f |y_f − X_f w − U_f γ|² + λ|w|²

Rows belong to frames: one energy row and some force rows each. γ (the intercept) is not penalised.

*Why frames and not rows.* Generalised cross-validation takes rows as independent, but the force rows of a frame come
from the same few coefficients of a smooth function: a left-out component is all but determined by the others of
its frame. On rMD17 ethanol (ν = 2, P = 32, three seeds) GCV interpolates, with force errors of 282 / 275 / 212 meV/Å
at edge order 0 / 1 / 3, where leaving out frames gives 141 / 90 / 70, next to the best λ there is. It costs no refit:
with the hat matrix H of the whole fit the residuals of a frame left out are (1 − H_ff)⁻¹ r_f (Cook & Weisberg 1982,
eq. 2.2.8, in blocks; γ is refitted too), and one eigendecomposition serves all λ.

The smaller of XᵀX and XXᵀ is decomposed. Forming it squares the condition number, so that eigenvalues below
~1e-15 of the largest are noise: λ never goes under 1e-12 of the largest, and the solution is refined with residuals
from X itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from experiments.core.arrays import Floats, Ints

Criterion = Literal["frames", "gcv"]

SMALLEST, LARGEST, STEP = -12.0, 2.0, 0.5
"""Range and step of log₁₀(λ / largest eigenvalue)."""
_REFINEMENTS = 4
_KERNEL_FRAMES = 16
"""Frames of a kernel left out at a time: bounds the memory."""


@dataclass(frozen=True)
class ForceRows:
    """Force rows of some frames: `frames` `[c]`, `x` `[c, r, M]`, `y` `[c, r]`; rows may be zero."""

    frames: Ints
    x: Floats
    y: Floats


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
class KernelProblem:
    """A ridge-regression problem in which features are known by their products alone.

    gram         `[F·r + F, F·r + F]`: the force rows of all frames, `r` each, then their energy rows
    force_y `[F, r]`, energy_y `[F]`, unpenalised `[F, d]`, rows: as in `RidgeProblem`
    """

    gram: Floats
    force_y: Floats
    energy_y: Floats
    unpenalised: Floats
    rows: int


@dataclass(frozen=True)
class RidgeFit:
    """A fit: `coefficients` `[M]`, `unpenalised` `[d]`.

    ridge                 λ over the largest eigenvalue of XᵀX (X without the directions of the intercept)
    effective_parameters  trace of the hat matrix, the intercept included
    score                 mean squared residual of the criterion per row, in the units of y²
    criterion             name of the score that chose λ; `given` if λ was given
    """

    coefficients: Floats
    unpenalised: Floats
    ridge: float
    effective_parameters: float
    score: float
    criterion: str


@dataclass(frozen=True)
class _Spectrum:
    """Eigenvalues `[k]` of XᵀX or XXᵀ and rows in that basis, for all λ at once.

    `projections` `[k]` of y on the left singular vectors; `reached` `[k]`: the vector that `basis`/(values + λ) maps
    to the fitted y (XᵀX) or to minus the dual coefficients (XXᵀ); `squares` = |y|² after the intercept.
    `solve` gives the coefficients for λ. `blocks` yields, for equally many rows per frame, `[c, b, k]`, the
    unpenalised part of the hat matrix of those rows `[c, b, b]`, residuals after it `[c, b]`, and which rows
    count `[c, b]`.
    """

    values: Floats
    projections: Floats
    reached: Floats
    squares: float
    dual: bool
    blocks: Callable[[], Iterable[tuple[Floats, Floats, Floats, Floats]]]
    solve: Callable[[float], Floats]


def fit_ridge(problem: RidgeProblem, criterion: Criterion = "frames", ridge: float | None = None) -> RidgeFit:
    """Solve with λ = `ridge` × the largest eigenvalue if given, else with the λ of the least score.

    Leaving out frames needs two of them: with one, rows are left out instead (GCV).
    """
    q = _orthonormal(problem.unpenalised)  # [F, d']
    spectrum = _dual(problem, q) if in_dual(problem.rows, problem.energy_x.shape[1]) else _primal(problem, q)
    chosen = _choose(spectrum, len(problem.energy_y), problem.rows, q.shape[1], criterion, ridge)
    coefficients = np.zeros(problem.energy_x.shape[1]) if chosen.penalty is None else spectrum.solve(chosen.penalty)
    constants = _constants(problem.unpenalised, problem.energy_y - problem.energy_x @ coefficients)
    return RidgeFit(coefficients, constants, *chosen.facts)


def fit_kernel(problem: KernelProblem, criterion: Criterion = "frames", ridge: float | None = None) -> RidgeFit:
    """Solve a `KernelProblem` like `fit_ridge`; `coefficients` `[n]` belong to the rows.

    Predictions at other rows are their products with these rows times the coefficients.
    """
    q = _orthonormal(problem.unpenalised)
    frames, r = problem.force_y.shape
    forces = frames * r
    complement = _complement(q, frames)
    # rotate the energies' rows, so that the directions of the intercept can be left out
    upper = np.concatenate([problem.gram[:, :forces], problem.gram[:, forces:] @ complement], 1)
    gram = np.concatenate([upper[:forces], complement.T @ upper[forces:]])
    starts = range(0, frames, _KERNEL_FRAMES)
    order = np.arange(frames)
    parts = [(order[k : k + _KERNEL_FRAMES], problem.force_y[k : k + _KERNEL_FRAMES]) for k in starts]
    spectrum, dual = _of_gram(gram, parts, problem.energy_y, complement, q, lambda alpha: gram @ alpha)
    chosen = _choose(spectrum, frames, problem.rows, q.shape[1], criterion, ridge)
    alpha = np.zeros(len(gram)) if chosen.penalty is None else dual(chosen.penalty)
    coefficients = np.concatenate([alpha[:forces], complement @ alpha[forces:]])
    constants = _constants(problem.unpenalised, problem.energy_y - problem.gram[forces:] @ coefficients)
    return RidgeFit(coefficients, constants, *chosen.facts)


def in_dual(rows: int, columns: int) -> bool:
    """Return whether to decompose XXᵀ: it has no more rows than XᵀX."""
    return rows <= columns


@dataclass(frozen=True)
class _Choice:
    """The chosen λ (None: nothing to learn, or nothing to learn it from) and the last four fields of `RidgeFit`."""

    penalty: float | None
    facts: tuple[float, float, float, str]


def _choose(
    spectrum: _Spectrum, frames: int, rows: int, intercepts: int, criterion: Criterion, ridge: float | None
) -> _Choice:
    top = float(spectrum.values.max(initial=0.0))
    informative = max(1, rows - intercepts)
    used: str = "given" if ridge is not None else "gcv" if frames < 2 else criterion
    if top == 0.0 or spectrum.squares == 0.0:
        return _Choice(None, (np.inf, float(intercepts), spectrum.squares / informative, used))
    score_of = _gcv if used == "gcv" else _frames_left_out
    grid = 10.0 ** np.arange(SMALLEST, LARGEST + STEP / 2, STEP) if ridge is None else np.array([ridge])
    scores = score_of(spectrum, informative, top * grid) if used != "given" else np.array([np.nan])
    best = len(grid) - 1 - int(np.argmin(scores[::-1]))  # of equals the strongest
    ridge = float(grid[best])
    shrunk = spectrum.values / (spectrum.values + top * ridge)
    return _Choice(top * ridge, (ridge, float(shrunk.sum()) + intercepts, float(scores[best]), used))


def _constants(unpenalised: Floats, rest: Floats) -> Floats:
    return np.asarray(np.linalg.lstsq(unpenalised, rest, rcond=1e-10)[0], dtype=np.float64)


def _orthonormal(columns: Floats) -> Floats:
    """Return an orthonormal basis `[F, rank]` of the span of `[F, d]`."""
    u, s, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(u[:, s > 1e-10 * max(1e-300, s.max(initial=0.0))])  # counts of atoms: zeros are round-off


def _gcv(spectrum: _Spectrum, rows: int, penalties: Floats) -> Floats:
    """Return the scores (RSS/n) / (1 − tr H/n)² of generalised cross-validation.

    Golub, Heath & Wahba 1979 (doi 10.1080/00401706.1979.10489751) eq. 1.4.
    """
    outside = max(0.0, spectrum.squares - float((spectrum.projections**2).sum()))
    left = penalties[:, None] / (spectrum.values + penalties[:, None])  # [λ, k]
    missing = rows - left.shape[1] if not spectrum.dual else 0  # directions that no coefficient can reach
    return np.asarray(rows * (left**2 @ spectrum.projections**2 + outside) / (left.sum(1) + missing) ** 2)


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
            left = weighted @ across  # [c, b, b]
            # dual: (XXᵀ + λ)⁻¹ = (1 − H)/λ itself, and its product with y (`residual` is 0, `reached` negative)
            left = left if spectrum.dual else one - unpenalised - left
            left = left + np.where(skip, 1.0, 0.0)[..., None] * one
            errors = np.linalg.solve(left, right[..., None])[..., 0]
            total[i] += float((errors[~skip] ** 2).sum())
    return total / rows


def _dual(problem: RidgeProblem, q: Floats) -> _Spectrum:
    """Decompose XXᵀ of all rows; the energies' rows are rotated so that those the intercept takes are gone."""
    frames, m = problem.energy_x.shape
    parts = list(problem.force_rows())
    complement = _complement(q, frames)
    x = [*(part.x.reshape(-1, m) for part in parts), complement.T @ problem.energy_x]  # not joined: a second copy
    starts = np.cumsum([0, *(len(rows) for rows in x)])
    gram = np.empty((starts[-1], starts[-1]))
    for i, rows in enumerate(x):
        for j, others in enumerate(x[: i + 1]):
            block = rows @ others.T
            gram[starts[i] : starts[i + 1], starts[j] : starts[j + 1]] = block
            gram[starts[j] : starts[j + 1], starts[i] : starts[i + 1]] = block.T

    def features(alpha: Floats) -> Floats:
        """Return Xᵀα."""
        pieces = zip(x, np.split(alpha, starts[1:-1]), strict=True)
        return np.asarray(sum((rows.T @ piece for rows, piece in pieces), np.zeros(m)))

    def product(alpha: Floats) -> Floats:
        w = features(alpha)
        return np.concatenate([rows @ w for rows in x])

    labels = [(part.frames, part.y) for part in parts]
    spectrum, dual = _of_gram(gram, labels, problem.energy_y, complement, q, product)
    return replace(spectrum, solve=lambda penalty: features(dual(penalty)))


def _complement(q: Floats, frames: int) -> Floats:
    """Return orthonormal directions `[F, F − d']` of the energies that the intercept does not take."""
    return np.asarray(np.linalg.svd(q, full_matrices=True)[0][:, q.shape[1] :] if q.shape[1] else np.eye(frames))


def _of_gram(
    gram: Floats,
    parts: Sequence[tuple[Ints, Floats]],
    energy_y: Floats,
    complement: Floats,
    q: Floats,
    product: Callable[[Floats], Floats],
) -> tuple[_Spectrum, Callable[[float], Floats]]:
    """Return the spectrum of XXᵀ, and λ → dual coefficients, refined with `product`: α → XXᵀα.

    Rows are the force rows of `parts` (frames `[c]`, labels `[c, r]`), then the rotated energies.
    """
    frames = len(energy_y)
    y = np.concatenate([*(labels.reshape(-1) for _, labels in parts), complement.T @ energy_y])
    values, vectors = np.linalg.eigh(gram)
    values = values.clip(0.0)
    projections = vectors.T @ y

    def blocks() -> Iterator[tuple[Floats, Floats, Floats, Floats]]:
        energies = complement @ vectors[len(y) - complement.shape[1] :]  # [F, k]
        start = 0
        for chosen, labels in parts or [(np.arange(frames), np.zeros((frames, 0)))]:
            c, r = labels.shape
            own = vectors[start : start + c * r].reshape(c, r, len(y))
            start += c * r
            basis = np.concatenate([own, energies[chosen, None]], 1)
            yield basis, np.zeros((c, r + 1, r + 1)), np.zeros((c, r + 1)), _counts(chosen, r, q)

    def dual(penalty: float) -> Floats:
        alpha = vectors @ (projections / (values + penalty))
        for _ in range(_REFINEMENTS):
            rest = y - product(alpha) - penalty * alpha
            alpha = alpha + vectors @ ((vectors.T @ rest) / (values + penalty))
        return np.asarray(alpha)

    return _Spectrum(values, projections, -projections, float(y @ y), True, blocks, dual), dual


def _primal(problem: RidgeProblem, q: Floats) -> _Spectrum:
    """Decompose XᵀX, gathered in passes over the rows."""
    frames, m = problem.energy_x.shape
    energy_x = problem.energy_x - q @ (q.T @ problem.energy_x)
    energy_y = problem.energy_y - q @ (q.T @ problem.energy_y)
    gram, moment, squares = energy_x.T @ energy_x, energy_x.T @ energy_y, float(energy_y @ energy_y)
    for part in problem.force_rows():
        x, y = part.x.reshape(-1, m), part.y.reshape(-1)
        gram += x.T @ x
        moment += x.T @ y
        squares += float(y @ y)
    values, vectors = np.linalg.eigh(gram)
    values = values.clip(0.0)
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

    def solve(penalty: float) -> Floats:
        w = vectors @ (reached / (values + penalty))
        for _ in range(_REFINEMENTS):
            gradient = energy_x.T @ (energy_y - energy_x @ w) - penalty * w
            for part in problem.force_rows():
                x = part.x.reshape(-1, m)
                gradient += x.T @ (part.y.reshape(-1) - x @ w)
            w = w + vectors @ ((vectors.T @ gradient) / (values + penalty))
        return np.asarray(w)

    return _Spectrum(values, projections, reached, squares, False, blocks, solve)


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
