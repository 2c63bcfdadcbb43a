"""Types of fits: forms, statuses, and the frozen results that everything downstream reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from analysis.arrays import FloatArray
from analysis.curve import Curve
from analysis.fits.names import WITH_FLOOR
from analysis.fits.names import Form as Form  # results have one: import it from either
from analysis.fits.uncertainty import Interval, t_interval

MIN_COMPLETE = 3
"""Number of seeds covering every P from which on seeds with missing runs are left out of the exponent."""

TEST_SET = ", test set"
"""Suffix of the method of an interval that includes the noise of the shared test set."""
MODERATED = ", moderated"
"""Suffix of the method of an interval whose variance is shrunk towards that of the table's other curves."""
BOTH_FORMS = ", both forms"
"""Suffix of the method of an interval that covers the power law with and without a floor."""


class FitStatus(StrEnum):
    """How a fit ended, and whether its numbers can be used."""

    CONVERGED = "converged"
    """Regular minimum; usable."""
    NO_FLOOR = "no_floor"
    """The floor went to zero in at least one seed: that seed's fit is a plain power law; usable."""
    BOUND_HIT = "bound_hit"
    """A parameter of a curved form sits at its bound: more freedom than the data can pin down."""
    DEGENERATE = "degenerate"
    """The minimum lies at a bound where β is not identified (flat curve, or a floor that explains everything)."""
    MAX_ITER = "max_iter"
    """The optimiser ran out of steps; look at it before use."""
    TOO_FEW_POINTS = "too_few_points"
    """Fewer values of P than parameters + 1: not fitted, numbers are NaN."""


def _no_curve(sizes: FloatArray) -> FloatArray:
    return np.full((1, len(sizes)), np.nan)


@dataclass(frozen=True)
class Fit:
    """One form fitted to one curve."""

    form: Form
    """Which form."""
    beta: Interval
    """Exponent β, positive if the error falls with P."""
    prefactor: float
    """a, in the curve's unit (the error of the power-law part at P = 1); NaN for forms without one."""
    floor: float
    """c, in the curve's unit; 0 for forms without a floor."""
    status: FitStatus
    """How the fit ended."""
    method: str
    """Method of the interval: `seeds_t`, `means_sd` (from published standard deviations, or runs without names of
    seeds), `one_run` (from residuals), `seeds_jackknife` or `none`; followed by `, moderated` if the table's other
    curves lend degrees of freedom (module `moderation`), by `, test set` if it includes the noise of the shared test
    set (tables with `error_test_sem`), and by `, both forms` if it covers the power law with and without a floor."""
    beta_per_seed: FloatArray
    """β of each seed that was used; empty if seeds were not fitted one by one. [≤ S]"""
    aicc: float = np.nan
    """Corrected Akaike criterion of the fit to the per-P means of ln ε; NaN if it has no degrees of freedom left."""
    extrapolation_error: float = np.nan
    """|ln(predicted/measured)| at the largest P, fitted without it."""
    alone: Interval | None = None
    """β with the interval under this form alone, if `beta` covers another form as well; None if it does not."""
    predict: Callable[[FloatArray], FloatArray] = field(default=_no_curve, repr=False, compare=False)
    """ln of the fitted error (unit: ln of the curve's unit) at given P, one row per fitted seed. [M] → [≤ S, M]"""

    def band(self, sizes: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the fitted error and both ends of its pointwise interval over seeds at the given P, shape [M] each.

        In the curve's unit; the interval is NaN for fewer than two fitted seeds.
        """
        intervals = [t_interval(column) for column in self.predict(sizes).T]
        middle, low, high = (
            np.exp([getattr(interval, name) for interval in intervals]) for name in ("value", "low", "high")
        )
        return middle, low, high


@dataclass(frozen=True)
class Local:
    """The exponent over the last octaves, which needs no form."""

    low: float
    """Smallest P that enters, frames."""
    high: float
    """Largest P."""
    beta: Interval
    """Least-squares slope over these P."""


@dataclass(frozen=True)
class Break:
    """The most significant change of slope."""

    size: float
    """P at which the slope changes, frames."""
    change: float
    """β above it less β below."""
    p: float
    """p value, corrected for the number of places."""


@dataclass(frozen=True)
class OutlyingRun:
    """A run that lies far off the others of its curve."""

    size: float
    """Its P, frames."""
    seed: str
    """Its seed; empty if the table has none."""
    run: str
    """Its name; empty if the table has none."""
    factor: float
    """Its error over the one that the other runs suggest."""
    p: float
    """p value, corrected for the number of runs."""
    beta_without: Interval
    """β of the plain power law without it."""


@dataclass(frozen=True)
class CurveFit:
    """All fits of one curve."""

    curve: Curve
    """The curve."""
    fits: tuple[Fit, ...]
    """One per form."""
    recommended: Form
    """The form to quote."""
    seeds_used: NDArray[np.bool_]
    """Seeds whose own slopes are told: those with every P if there are two, else all with two values of P. [S]"""
    local: Local
    """The exponent over the last octaves."""
    seeds: tuple[int, int]
    """Fewest and most seeds at a P behind the exponent; runs behind means ± sd; zero for means alone."""
    prior_dof: float = 0.0
    """Degrees of freedom that the table's other curves lend to β of the power law; zero without them."""
    prior_curves: int = 0
    """Number of curves behind it."""
    curvature: float = np.nan
    """Quadratic coefficient of ln ε in ln P; NaN for fewer than three values of P."""
    curvature_p: float = np.nan
    """Two-sided p value of the curvature being zero; NaN if it cannot be tested."""
    power_excluded: bool = False
    """Whether the data exclude the plain power law: they are convex beyond noise."""
    floor_excluded: bool = False
    """Whether they exclude a floor: they are concave beyond noise."""
    slope_change: Break | None = None
    """The most significant change of slope, whether beyond noise or not; None if it cannot be tested."""
    outlier: OutlyingRun | None = None
    """A run that lies far off the others."""

    @property
    def seeds_text(self) -> str:
        """Number of seeds in words: `4`, or `4–8` if seeds differ in their sizes."""
        return span_text(*self.seeds)

    @property
    def has_floor(self) -> bool:
        """Whether the recommended form has a floor."""
        return self.recommended in WITH_FLOOR

    @property
    def best(self) -> Fit:
        """The recommended fit."""
        return self.form(self.recommended)

    def form(self, form: Form) -> Fit:
        """Return the fit of one form."""
        return next(fit for fit in self.fits if fit.form == form)


def span_text(fewest: int, most: int) -> str:
    """Return a range of numbers, or the number if both ends are equal."""
    return f"{fewest}" if fewest == most else f"{fewest}–{most}"


def usable_seeds(log_error: FloatArray) -> NDArray[np.bool_]:
    """Return the seeds whose own slopes are told: [S, K] → [S].

    These are the seeds that cover every P if there are at least `MIN_COMPLETE`, else all with two values of P: the
    slope of a seed with few P is far noisier. Its runs enter the means of their P (module `uneven`).
    """
    present = np.isfinite(log_error)
    complete = np.asarray(present.all(axis=1))
    return complete if complete.sum() >= MIN_COMPLETE else np.asarray(present.sum(axis=1) >= 2)


def by_seeds(curve: Curve, used: NDArray[np.bool_]) -> bool:
    """Return whether an interval can come from seeds: the table has them, and at least two are used."""
    return curve.has_seeds and bool(used.sum() >= 2)


def unfitted(form: Form) -> Fit:
    """Return the result of a form for which the curve has too few values of P: NaN throughout."""
    nothing = Interval(np.nan, np.nan, np.nan, np.nan, 0)
    return Fit(form, nothing, np.nan, np.nan, FitStatus.TOO_FEW_POINTS, "none", np.empty(0))


def aicc(residual: FloatArray, n_parameters: int) -> float:
    """Return the corrected Akaike criterion n·ln(RSS/n) + 2k + 2k(k+1)/(n−k−1) (Hurvich & Tsai 1989).

    k counts the variance as a parameter. The residual variance is bounded below by round-off, so that noiseless curves
    are compared by their number of parameters. NaN without degrees of freedom.

    Args:
        residual: residuals of ln ε; NaN is left out. [K]
        n_parameters: parameters of the form.
    """
    good = residual[np.isfinite(residual)]
    n, k = len(good), n_parameters + 1
    if n - k - 1 <= 0:
        return np.nan
    variance = max(float(good @ good) / n, 1e-20)  # (1e-10)²: relative round-off of a fitted ln ε
    return n * float(np.log(variance)) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
