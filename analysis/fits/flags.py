"""Cautions before an exponent is quoted: the verdict on the training of the curve, and its flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import special

from analysis.curve import nanmean
from analysis.fits.fit import SIGNIFICANCE
from analysis.fits.remainder import Kappa
from analysis.fits.results import BOTH_FORMS, TEST_SET, CurveFit, FitStatus, Form, by_seeds
from analysis.fits.training import Training, assess, pooled_kappas
from analysis.fits.training import Verdict as Verdict  # judgements have one: import it from either
from analysis.fits.uncertainty import t_interval, two_sided

FEW_SIZES = 4
"""Values of P below which a curve is flagged."""
FEW_SEEDS = 3
"""Seeds below which an interval is flagged (t(1) = 12.7: it says next to nothing)."""
OPEN_RISE = 0.1
"""By how much a floor that is not excluded may raise the upper end of β before it is called open."""
FLOOR_SHARE = 0.5
"""Share of the error at the largest P above which the floor dominates."""
FLAT_BETA = 0.02
"""|β| below which a curve is flat: a factor 1.1 in error over two decades of P."""
DATA_LIMITED_BELOW = 1 / 3
"""Training error over test error below which a point is limited by its data."""
TEST_NOISE = 0.02
"""Mean relative standard error of the test errors above which a curve can be flagged: at 4 % an interval that ignores
it covers 87 % instead of 95 %."""
TRAIN_MEETS_TEST = 0.75
"""Training error over test error at the largest P above which the test error is a floor, no longer a lack of data."""
FIXED_BASES = ("ace",)
"""Architectures that are linear in features which no setting of the training changes."""
LIMITED = "training and test error meet: the basis is the limit: raise nu or the degree"
"""Explanation of `Flag.BASIS_LIMIT`."""
BREAK_LEVEL = 0.04
"""Level of the test of a change of slope, Bonferroni over its places. Its noise is assumed in part: `calibrate --fits`
finds one in up to 5 % of plain power laws, in up to 10 % if all noise is from subsets or it falls with P."""


class Flag(StrEnum):
    """Reasons for caution, each a property of the curve as measured."""

    NOT_CONVERGED = "not_converged"
    """Further training changes β by more than .02, or errors rise with training."""
    TRAINING_OPEN = "training_open"
    """The data are too noisy to tell whether further training changes β by more than .02."""
    OVERFITTING = "overfitting"
    """At some P more training raises the error, which changes β whatever training does elsewhere."""
    CONVERGENCE_UNKNOWN = "convergence_unknown"
    """No errors of shorter schedules, and the table does not say whether runs converged."""
    TOO_SHORT = "too_short"
    """Some runs were too short to have trained: agreement of both budgets then means nothing."""
    LEARNED_NOTHING = "learned_nothing"
    """At the largest P no run beats the mean of the labels: β does not describe learning."""
    UNCONVERGED_RUNS = "unconverged_runs"
    """Some runs are marked as not converged, whatever the verdict on the slope."""
    OVERLAPPING_SUBSETS = "overlapping_subsets"
    """Subsets of different seeds share frames (P_max > pool / seeds): the seeds are not independent."""
    SHARED_SUBSETS = "shared_subsets"
    """Several seeds used the same training subset: the interval does not include the choice of frames."""
    MIXED_COMMITS = "mixed_commits"
    """Runs of different code versions."""
    MIXED_DEVICES = "mixed_devices"
    """Runs of different devices."""
    NO_SEEDS = "no_seeds"
    """The table has no seeds: the interval comes from the sd of the means, or from residuals."""
    ONE_SEED = "one_seed"
    """One seed: its interval comes from residuals, as nested subsets correlate them."""
    FEW_SEEDS = "few_seeds"
    """Fewer than three seeds at some P."""
    FEW_P = "few_P"
    """Fewer than four values of P."""
    INCOMPLETE_SEEDS = "incomplete_seeds"
    """Some seeds miss some P: their runs enter the means of the others."""
    FLOOR_DOMINATED = "floor_dominated"
    """Most of the error at the largest P is floor: as fitted, or because the training error equals the test error."""
    BASIS_LIMIT = "basis_limit"
    """The basis is exhausted: a linear model of fixed features fits its training labels no better than new ones."""
    NON_MONOTONE = "non_monotone"
    """The error rises between neighbouring P beyond noise."""
    CURVATURE = "curvature"
    """ln ε is not linear in ln P beyond noise: no single exponent."""
    SLOPE_BREAK = "slope_break"
    """The slope changes at some P beyond noise: the exponent of the whole curve is none of its parts'."""
    OUTLYING_RUN = "outlying_run"
    """One run lies far off the others of its curve: it alone may decide β and its interval."""
    FORM_DEPENDENT = "form_dependent"
    """The power law is recommended though the data exclude it: too few P for a floor, or one that is not identified."""
    FLOOR_OPEN = "floor_open"
    """The data neither show a floor nor exclude one that would matter: the interval of β covers both forms, and ends
    more than .1 above that of the power law alone."""
    FEW_TEST_FRAMES = "few_test_frames"
    """The finite test set leaves noise in the errors that all seeds share, and the interval of β ignores it or consists
    mostly of it: more test frames would help, more seeds would not."""
    ZERO_ERROR = "zero_error"
    """Rows with an error of exactly zero were left out, which biases β."""


@dataclass(frozen=True)
class Judgement:
    """Verdict and flags of one curve."""

    training: Training
    """What further training may do to the exponent."""
    curvature: float
    """Quadratic coefficient of ln ε in ln P; NaN for fewer than three values of P."""
    curvature_p: float
    """Two-sided p value of the curvature being zero; NaN if it cannot be tested."""
    flags: tuple[Flag, ...]
    """In the order of `Flag`."""
    data_limited: bool | None = None
    """Whether the training error is under a third of the test error at every P (then more data would help,
    not more training or a larger model); None if the table has no training errors."""

    @property
    def verdict(self) -> Verdict:
        """Whether further training may affect the exponent."""
        return self.training.verdict


JudgedFit = tuple[CurveFit, Judgement]
"""All fits of a curve, and the judgement on them."""


def on_floor(item: JudgedFit) -> bool:
    """Return whether a curve without a training to converge, as of closed forms, is mostly floor: never "converged"."""
    return item[1].verdict is Verdict.NONE and Flag.FLOOR_DOMINATED in item[1].flags


def judge(fit: CurveFit, kappas: Mapping[tuple[object, ...], Kappa] | None = None) -> Judgement:
    """Judge a fitted curve: return what training may do to it, and its flags.

    Args:
        fit: the fits of the curve.
        kappas: of the table's datasets and metrics (`pooled_kappas`); by default the curve's own.
    """
    curve = fit.curve
    training = assess(fit, pooled_kappas([curve]) if kappas is None else kappas)
    present = np.isfinite(curve.log_error)
    raised = {
        Flag.NOT_CONVERGED: training.verdict is Verdict.NOT_CONVERGED,
        Flag.TRAINING_OPEN: training.verdict is Verdict.CANNOT_TELL,
        Flag.OVERFITTING: bool(training.overfitting),
        Flag.CONVERGENCE_UNKNOWN: training.verdict is Verdict.NONE and not _all_converged(fit),
        Flag.TOO_SHORT: curve.too_short,
        Flag.LEARNED_NOTHING: curve.learned_nothing,
        Flag.UNCONVERGED_RUNS: any(value is False for row in curve.converged for value in row),
        Flag.OVERLAPPING_SUBSETS: curve.overlapping is True,
        Flag.SHARED_SUBSETS: curve.shared_subsets,
        Flag.MIXED_COMMITS: len(curve.versions) > 1,
        Flag.MIXED_DEVICES: len(curve.devices) > 1,
        Flag.NO_SEEDS: not curve.has_seeds and not curve.n_averaged,
        Flag.ONE_SEED: curve.has_seeds and fit.seeds[1] < 2,
        Flag.FEW_SEEDS: fit.seeds[1] >= 2 and fit.seeds[0] < FEW_SEEDS,
        Flag.FEW_P: len(curve.sizes) < FEW_SIZES,
        Flag.INCOMPLETE_SEEDS: curve.has_seeds and not bool(present.all()),
        Flag.FLOOR_DOMINATED: _floor_dominated(fit),
        Flag.BASIS_LIMIT: curve.text("architecture") in FIXED_BASES and _train_meets_test(fit),
        Flag.NON_MONOTONE: _non_monotone(fit),
        Flag.CURVATURE: bool(fit.curvature_p < SIGNIFICANCE),
        Flag.SLOPE_BREAK: fit.slope_change is not None and fit.slope_change.p < BREAK_LEVEL,
        Flag.OUTLYING_RUN: fit.outlier is not None,
        Flag.FORM_DEPENDENT: fit.power_excluded and not fit.has_floor,
        Flag.FLOOR_OPEN: _floor_open(fit),
        Flag.FEW_TEST_FRAMES: _few_test_frames(fit),
        Flag.ZERO_ERROR: curve.lost_zeros or bool(np.any(curve.error == 0)),
    }
    flags = tuple(flag for flag in Flag if raised[flag])
    return Judgement(training, fit.curvature, fit.curvature_p, flags, _data_limited(fit))


def misses(item: JudgedFit) -> bool:
    """Return whether a curve bends beyond noise and no floor explains it: no power law describes it."""
    fit, judgement = item
    return not fit.has_floor and not {Flag.CURVATURE, Flag.FORM_DEPENDENT}.isdisjoint(judgement.flags)


def _all_converged(fit: CurveFit) -> bool:
    """Return whether the table marks every run as converged, as it does closed forms."""
    known = [value for row in fit.curve.converged for value in row if value is not None]
    return bool(known) and all(known) and len(known) == int(np.isfinite(fit.curve.error).sum())


def _data_limited(fit: CurveFit) -> bool | None:
    train, test = nanmean(fit.curve.train_error[fit.seeds_used]), nanmean(fit.curve.error[fit.seeds_used])
    if not np.isfinite(train).all():
        return None
    return bool((train < DATA_LIMITED_BELOW * test).all())


def _non_monotone(fit: CurveFit) -> bool:
    """Return whether the error rises between some neighbouring P: one-sided t tests over seeds, Bonferroni.

    With one seed a step is compared with the standard error of the finite test set, if the table has it.
    """
    curve = fit.curve
    if len(curve.sizes) < 2:
        return False
    level = SIGNIFICANCE / (len(curve.sizes) - 1)
    if by_seeds(curve, fit.seeds_used):
        finite = np.where(np.isfinite(curve.log_error), curve.log_error, np.nan)  # an error rate of zero has no log
        rises = np.diff(finite[fit.seeds_used], axis=1)  # [S, K-1]
        for column in rises.T:
            interval = t_interval(column)
            if interval.dof >= 1 and interval.value > 1e-8:
                p = two_sided(interval.value, interval.error, interval.dof) / 2
                if p < level:
                    return True
        return False
    mean, sem = curve.mean_error, nanmean(curve.sem)
    rise = np.diff(mean)
    noise = np.sqrt(sem[1:] ** 2 + sem[:-1] ** 2)
    return bool(np.any(rise > special.ndtri(1 - level) * noise))  # False if the noise is unknown (NaN)


def _few_test_frames(fit: CurveFit) -> bool:
    """Return whether test errors are noisy and the interval of β ignores this noise or consists mostly of it."""
    curve, best = fit.curve, fit.best
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = nanmean((curve.sem / curve.error).ravel()[:, None])[0]
    seeds_variance = t_interval(best.beta_per_seed).error ** 2
    mostly = not best.beta.error**2 <= 2 * seeds_variance  # NaN for a single seed: it cannot tell
    return bool(noise > TEST_NOISE and (TEST_SET not in best.method or mostly))  # False if the noise is unknown


def _floor_open(fit: CurveFit) -> bool:
    best, alone = fit.best.beta, fit.best.alone
    if not fit.best.method.endswith(BOTH_FORMS) or alone is None:
        return False
    return best.high > alone.high + OPEN_RISE


def _floor_dominated(fit: CurveFit) -> bool:
    curve = fit.curve
    floored = fit.form(Form.POWER_FLOOR)
    last = float(curve.mean_error[-1])
    fitted = floored.status is FitStatus.CONVERGED and floored.floor > FLOOR_SHARE * last
    untold = not np.isfinite(nanmean(curve.train_error)[-1])
    flat = untold and abs(fit.form(Form.POWER).beta.value) < FLAT_BETA
    return bool((fitted and fit.has_floor) or _train_meets_test(fit) or flat)


def _train_meets_test(fit: CurveFit) -> bool:
    """Return whether the training error at the largest P is that of new data; False without training errors.

    For exact minimisers E[train] ≤ floor ≤ E[test]: a training error that meets the test error is a floor. One well
    above it cannot be: then the training labels are noisy and the test labels are not.
    """
    last, train = float(fit.curve.mean_error[-1]), nanmean(fit.curve.train_error)[-1]
    return bool(TRAIN_MEETS_TEST * last < train < last / TRAIN_MEETS_TEST)
