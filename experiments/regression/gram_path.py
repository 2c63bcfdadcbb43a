"""The choice of λ on a ladder of leading blocks of a Gram matrix (`experiments.regression.gram`), and the fit with it.

*The choice of λ* is the least score of frames left out on a grid of half decades relative to the largest eigenvalue of
the block without its intercepts. For few rows all of the grid is tried; above, a walk goes downhill from the choice
for half as many frames, three or four factorisations a size. The choice depends on a run's own frames alone. With
`Path.choosing`, that many first frames choose for all larger sizes, which share one factorisation at one absolute λ:
the noise of labels over the variance of the kernel, which λ stands for, does not depend on the number of frames.
Where the model's own error stands for noise and falls with the number of frames, λ is extrapolated instead
(`Path.walked`): a factorisation of the largest size takes longer than all else.

*Round-off.* K is rounded at 1e-16 of its largest eigenvalue, so λ stays above `SMALLEST`; coefficients are refined with
residuals from the rows themselves (`Products`), which lose only the square root of that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np

from experiments.core.arrays import Floats, Ints
from experiments.regression import cholesky
from experiments.regression.choice import RECOVERED, Choice, Criterion, binds, generalised_score
from experiments.regression.gram import Factor, GramSystem, LeftOut

SMALLEST, LARGEST, STEP = -14.0, 2.0, 0.5
"""Range and step of log₁₀(λ / largest eigenvalue): below, round-off of the Gram matrix is more than a percent of λ."""
SMALLEST_ALONE = -12.0
"""The same where only the Gram matrix is known: without rows, solutions cannot be refined."""
GRID = 10.0 ** np.arange(SMALLEST, LARGEST + STEP / 2, STEP)
EXHAUSTIVE, EXHAUSTIVE_ROWS = 4, 400
"""Most frames, and most rows, for which every λ of the grid is tried: scores of few frames have several minima."""
FAR_ROWS = 1500
"""Most rows for which the walk looks two steps ahead, not one: it is cheap there."""
FACTORISATIONS = 4
"""Those of a walk, as a rule: for estimates of work."""
_FURTHEST = 2
"""Steps of the grid that λ may fall from one size to twice as many frames, where it is extrapolated."""
FLAT = 1e-6
"""Relative gain of the score for which a smaller λ is worth taking: less is round-off where λ no longer matters."""
_REFINEMENTS = 10
_REFINED = 1e-9
"""Residual of the linear system, relative to that of the fit (λα), at which refinement ends."""
_DECOMPOSED = 1500
"""Rows whose eigenvalues take a fraction of a second."""


@dataclass(frozen=True)
class Products:
    """The rows behind a Gram matrix, for residuals that lose no digits to it.

    combine  α `[n, V]` of the leading n rows → Xᵀα `[M, V]`
    apply    `[M, V]` and the number n of leading rows → X w `[n, V]`
    """

    combine: Callable[[Floats], Floats]
    apply: Callable[[Floats, int], Floats]


@dataclass
class Path:
    """The chosen λ by number of frames, kept for the sizes of a ladder: indices into `GRID`."""

    system: GramSystem
    criterion: Criterion = "frames"
    smallest: float = SMALLEST
    """log₁₀ of the least λ over the largest eigenvalue."""
    tick: cholesky.Tick = cholesky.silent
    """Hears of the work of factorisations; it may raise to stop."""
    choosing: int | None = None
    """Frames that choose λ for every larger size too; None: each size chooses its own."""
    walked: int | None = None
    """Most rows for which a walk finds λ; larger sizes go on from that of a half as it went from a quarter to a half,
    by up to `_FURTHEST` steps down. None: a walk at every size."""
    chosen: dict[int, int] = field(default_factory=dict)
    tried: dict[int, dict[int, LeftOut | None]] = field(default_factory=dict)
    """By number of frames, then by index: None where the matrix was not positive."""
    by_rows: dict[int, float] = field(default_factory=dict)
    """Least score of generalised cross-validation by number of frames, where that chose λ."""
    _last: tuple[int, float, Factor] | None = None
    """Frames, λ and the factor that was made last: the only one that is valid."""
    common: Factor | None = None
    """The factor of all frames that sizes above `choosing` share."""

    @property
    def lowest(self) -> int:
        """Index of the least λ."""
        return len(GRID) - 1 - round((LARGEST - self.smallest) / STEP)

    def choose(self, frames: int) -> int:
        """Return the index of λ for the first `frames` frames."""
        if frames not in self.chosen:
            self.chosen[frames] = self._chosen(frames)
            self.tried = {frames: self.tried.get(frames, {})}
        return self.chosen[frames]

    def _chosen(self, frames: int) -> int:
        if frames < 2 or self.criterion == "gcv":
            return self._by_rows(frames)
        lowest = self.lowest
        rows = self.system.rows(frames)
        if frames <= EXHAUSTIVE or rows <= EXHAUSTIVE_ROWS:
            best = len(GRID) - 1
            for index in reversed(range(lowest, len(GRID))):
                if self._better(frames, index, best):
                    best = index
            return best
        index = max(lowest, self.choose(frames // 2))
        if self.walked is not None and rows > self.walked:
            step = self.choose(frames // 4) - index
            return self._positive(frames, max(lowest, index - min(max(step, 0), _FURTHEST)))
        steps = (1, 2) if rows <= FAR_ROWS else (1,)
        while True:
            down = next((s for s in steps if index - s >= lowest and self._better(frames, index - s, index)), None)
            if down is None:
                break
            index -= down
        while True:
            up = [s for s in steps if index + s < len(GRID) and not self._better(frames, index, index + s)]
            if not up:
                return index
            index += up[0]

    def _positive(self, frames: int, index: int) -> int:
        """Return the first index from `index` up at which the matrix can be factorised."""
        while self.at(frames, index) is None and index + 1 < len(GRID):
            index += 1
        return index

    def _better(self, frames: int, smaller: int, larger: int) -> bool:
        """Return whether the smaller λ has a score that is lower by more than round-off."""
        return self.score(frames, smaller) < self.score(frames, larger) * (1 - FLAT)

    def score(self, frames: int, index: int) -> float:
        """Return the score of a λ of the grid; infinite below round-off."""
        found = self.at(frames, index)
        return np.inf if found is None else found.score

    def at(self, frames: int, index: int) -> LeftOut | None:
        """Return what the factor at a λ of the grid tells; computed once while this size is at hand."""
        known = self.tried.setdefault(frames, {})
        if index not in known:
            try:
                known[index] = self.factor(frames, self.system.top(frames) * GRID[index]).left_out(frames)
            except np.linalg.LinAlgError:
                known[index] = None
        return known[index]

    def factor(self, frames: int, penalty: float) -> Factor:
        """Return the factor of the first frames at an absolute λ: the last one again, if it is that."""
        if self._last is None or self._last[:2] != (frames, penalty):
            self._last = None  # its memory goes first
            beside = self.choosing is not None  # the factor of all frames that larger sizes share
            self._last = frames, penalty, self.system.factor(penalty, frames, self.tick, beside)
        return self._last[2]

    def shared(self, penalty: float) -> Factor:
        """Return the factor of all frames at `penalty`, made once for the sizes above `choosing`.

        Raises:
            LinAlgError: the penalty is below the matrix's round-off.
        """
        if self.common is None or self.common.penalty != penalty:
            self.common = self.system.factor(penalty, tick=self.tick)
        return self.common

    def binds(self, frames: int) -> bool:
        """Return whether the λ chosen for the first frames would be smaller if the arithmetic had more digits."""
        index = self.choose(frames)
        found = self.at(frames, index)
        assert found is not None
        squares = _squares(self.system, frames)
        if self.walked is not None and self.system.rows(frames) > self.walked:  # no second λ to compare with
            return index == self.lowest and found.score > RECOVERED * squares
        lowest = index == self.lowest or self.at(frames, index - 1) is None
        if frames < 2 or self.criterion == "gcv" or index + 1 == len(GRID) or not lowest:
            return False
        penalty = self.system.top(frames) * GRID[index]
        return binds(found.score, self.score(frames, index + 1), squares) and _goes_on(self.system, frames, penalty)

    def _by_rows(self, frames: int) -> int:
        """Choose by generalised cross-validation, for a single frame or by the user's wish."""
        gram, y = self.system.centred(frames)
        values, vectors = np.linalg.eigh(gram)
        informative = max(1, int(self.system.informative[:frames].sum()) - self.system.intercepts(frames).shape[1])
        penalties = self.system.top(frames) * GRID[self.lowest :]
        zero = len(values) - informative  # directions of the intercepts and zero rows
        scores = generalised_score(values[zero:].clip(0.0), (vectors.T @ y)[zero:], informative, penalties)
        best = int(np.flatnonzero(scores <= scores.min() * (1 + FLAT))[-1])  # of equals the strongest
        self.by_rows[frames] = float(scores[best])
        return self.lowest + best


def expected_work(
    sizes: Collection[int], starts: Ints, choosing: int | None = None, walked: int | None = None
) -> float:
    """Return about as many operations (`cholesky.work`) as fits of some sizes tell `Path.tick` of.

    Args:
        sizes: numbers of frames.
        starts: first row of every frame, and the number of rows.
        choosing: see `Path`.
        walked: see `Path`.
    """
    alone = {P for P in sizes if choosing is None or choosing >= P}
    total = 0.0
    if choosing is not None and (larger := set(sizes) - alone):
        alone.add(choosing)
        total = cholesky.work(float(starts[max(larger)]))
    for P in alone:
        n = float(starts[P])
        walk = len(GRID) if n <= EXHAUSTIVE_ROWS else FACTORISATIONS
        if walked is not None and n > walked:
            total += cholesky.work(n) + walk * cholesky.work(float(starts[P // 2]))
        else:
            total += walk * cholesky.work(n)
    return total


@dataclass(frozen=True)
class GramFit:
    """A fit on the first frames: `dual` `[n]`, `fitted` `[n]` (X Xᵀα) and, with rows, `coefficients` `[M]`."""

    dual: Floats
    fitted: Floats
    coefficients: Floats | None
    choice: Choice


def fit_gram(path: Path, frames: int, ridge: float | None = None, products: Products | None = None) -> GramFit:
    """Fit the first `frames` frames with λ = `ridge` × the largest eigenvalue if given, else with the least score."""
    system = path.system
    n, q = system.rows(frames), system.intercepts(frames)
    used: str = "given" if ridge is not None else "gcv" if frames < 2 else path.criterion
    top, squares = system.top(frames), _squares(system, frames)
    if top == 0.0 or squares == 0.0:
        nothing = Choice(None, (np.inf, float(q.shape[1]), squares, used), False)
        size = None if products is None else products.combine(np.zeros((n, 1)))[:, 0]
        return GramFit(np.zeros(n), np.zeros(n), size, nothing)
    floor, factor = False, None
    if ridge is not None:
        factor = path.factor(frames, top * ridge)
        found, score = factor.left_out(frames), np.nan
    elif path.choosing is not None and frames > path.choosing:
        factor = path.shared(system.top(path.choosing) * float(GRID[path.choose(path.choosing)]))
        ridge, found = factor.penalty / top, factor.left_out(frames)
        score = found.score
        floor = path.binds(path.choosing) and score > RECOVERED * squares
    else:
        index = path.choose(frames)
        ridge, tried = float(GRID[index]), path.at(frames, index)
        assert tried is not None
        found, score = tried, path.by_rows.get(frames, tried.score)
        floor = path.binds(frames)
    penalty = top * ridge if factor is None else factor.penalty
    dual, fitted, coefficients = _refined(path, found.dual, penalty, q, products, frames, factor)
    return GramFit(dual, fitted, coefficients, Choice(penalty, (ridge, found.trace, score, used), floor))


def _squares(system: GramSystem, frames: int) -> float:
    """Return the mean square of the labels of the first frames without what the intercepts explain."""
    q, y = system.intercepts(frames), system.labels[: system.rows(frames)]
    rest = y - q @ (q.T @ y)
    informative = max(1, int(system.informative[:frames].sum()) - q.shape[1])
    return float(float(rest @ rest) / informative)


def _goes_on(system: GramSystem, frames: int, penalty: float) -> bool:
    """Return whether eigenvalues come down to the smallest λ, so that a smaller one would keep more of them.

    Where they end far above it, as with fewer features than labels, nothing is between them and round-off, which is
    within ten times the smallest λ. Of more rows than are quickly decomposed it is taken for granted.
    """
    if system.rows(frames) > _DECOMPOSED:
        return True
    values = np.linalg.eigvalsh(system.centred(frames)[0])
    return bool(((values > 30 * penalty) & (values < 1e4 * penalty)).any())


def _refined(
    path: Path, dual: Floats, penalty: float, q: Floats, products: Products | None, frames: int, factor: Factor | None
) -> tuple[Floats, Floats, Floats | None]:
    """Return α, XXᵀα and Xᵀα, with α refined until its system is solved to round-off of the rows.

    `factor` is one at this penalty, if it is at hand.
    """
    n, system = len(dual), path.system
    y = system.labels[:n]

    def evaluated(alpha: Floats) -> tuple[Floats, Floats | None]:
        if products is None:
            return system.product(alpha), None
        w = products.combine(alpha[:, None])
        return products.apply(w, n)[:, 0], w[:, 0]

    fitted, w = evaluated(dual)
    before = np.inf
    for _ in range(_REFINEMENTS):
        rest = y - fitted - penalty * dual
        rest -= q @ (q.T @ rest)
        size = float(np.linalg.norm(rest))
        if size <= _REFINED * penalty * float(np.linalg.norm(dual)) or size > 0.5 * before:
            break
        before = size
        if factor is None:
            factor = path.factor(frames, penalty)
        dual = dual + factor.bordered(rest[:, None], q)[:, 0]
        fitted, w = evaluated(dual)
    return dual, fitted, w
