"""Gain from a symmetry: every network beside its twins of a smaller group and equal size, on the same examples.

The data-efficiency factor is how many times fewer examples the network with the symmetry needs for the same error (an
equal-error ratio: interpolated, no form assumed); Δβ says whether the exponent changes with it, or the prefactor alone.
Classifiers of a few hundred examples still improve with training long after they have learned these, so few of their
curves pass the verdict. A change of β is then reported only if the hull with what further training may still do
(`fits.training`) excludes 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from analysis.comparisons.compare import PLACE
from analysis.comparisons.differences import Lent, lend, slope_difference, with_training
from analysis.comparisons.equal_error import EqualError, equal_error
from analysis.comparisons.outlying import Outlying, outlying
from analysis.comparisons.paired import (
    Pair,
    detectable,
    excludes_zero,
    p_words,
    pair,
)
from analysis.curve import Curve
from analysis.fits.flags import JudgedFit, Verdict
from analysis.fits.jsonable import Record, dataset_and_metric, ends
from analysis.fits.record import rounded, signed, signed_interval, span
from analysis.fits.uncertainty import Interval, two_sided
from analysis.spelling import dataset_words, display_name, metric_words
from experiments.core.files import json_number

SUBGROUPS = {
    "translations": {"none"},
    "p4": {"none", "translations"},
    "p4m": {"none", "translations", "p4"},
    "SE(2)": {"none", "translations", "p4"},
    "dilations": {"none", "translations"},
    "T(3)": {"none"},
    "SE(3)": {"none", "translations", "T(3)"},
    "SO+(1,3)": {"none"},
}
"""Subgroups of each group, as named in the column `group`; twins of a network have one of them. Networks on grids have
the rotations of the grid only, and "dilations" are a semigroup."""
EQUAL_SIZE = 0.2
"""Share by which the numbers of weights of twins may differ, since widths are whole numbers."""
WEIGHS = ("L", "model.copies")
"""Settings of a network that its name gives if they exceed one."""

_SIDES = {"first": "plain", "second": "symmetric"}


class Exponent(StrEnum):
    """Change of the exponent with a symmetry."""

    RISES = "rises"
    FALLS = "falls"
    UNCHANGED = "no change shown"
    """The interval of Δβ contains 0."""
    OPEN = "open: training"
    """The interval of Δβ excludes 0, but more training could undo that."""
    UNKNOWN = "unknown"
    """No interval, or not converged and no errors after half the training."""


@dataclass(frozen=True)
class Gain:
    """A network with a symmetry beside a twin without."""

    plain: Curve
    """The twin."""
    symmetric: Curve
    """The network of the larger group."""
    delta: Interval
    """β(symmetric) − β(plain)."""
    half: float
    """Δβ after half the schedule; NaN if unknown."""
    trained: Interval
    """`delta` if both have converged; else the hull with what more training may do (`with_training`), NaN if that is
    unknown."""
    p: float
    """Two-sided p value of no difference; NaN if untestable."""
    detectable: float
    """Smallest |Δβ| that this design detects with 80 % power."""
    factor: EqualError
    """P(plain)/P(symmetric) at equal error: the data-efficiency factor."""
    half_factor: float
    """The factor after half the schedule; NaN if there is none."""
    without: tuple[float, ...]
    """Values of P left out because some run has an error of zero, which has no logarithm."""
    outlying: Outlying
    """Runs that lie far off the two curves."""
    not_converged: tuple[str, ...]
    """Which of the two (`plain`, `symmetric`) fail the training verdict."""
    cannot_tell: tuple[str, ...] = ()
    """Which of the two are too noisy for one."""


def gains(fits: Sequence[JudgedFit]) -> list[Gain]:
    """Compare all twins in the table: curves with seeds in common, of one dataset, test set and metric.

    One has a symmetry group, the other a subgroup of it, and their numbers of weights agree within `EQUAL_SIZE`.
    """
    found = []
    for one in fits:
        for two in fits:
            curves = one[0].curve, two[0].curve
            places = [tuple(curve.key.get(name) for name in (*PLACE, *curve.told_apart_by)) for curve in curves]
            inside = curves[0].text("group") in SUBGROUPS.get(curves[1].text("group"), ())
            sizes = [curve.n_parameters for curve in curves]
            if places[0] == places[1] and inside and abs(np.log(sizes[1] / sizes[0])) < np.log(1 + EQUAL_SIZE):
                zero = _zero(*curves)
                both = pair(*(curve.at(~np.isin(curve.sizes, zero)) for curve in curves))
                found += [] if both is None else [(one, two, both, zero)]
    lent = lend([both for _, _, both, _ in found])
    return [_gain(*twins, lent) for twins in found]


def _zero(one: Curve, two: Curve) -> list[float]:
    """Return the common P at which some run has an error of zero."""
    sizes = np.intersect1d(one.sizes, two.sizes)
    return [float(P) for P in sizes if any((curve.error[:, curve.sizes == P] == 0).any() for curve in (one, two))]


def _gain(plain: JudgedFit, symmetric: JudgedFit, matched: Pair, zero: Sequence[float], lent: Lent) -> Gain:
    curves = plain[0].curve, symmetric[0].curve
    delta = slope_difference(matched, lent=lent)
    half = np.nan if matched.half is None else slope_difference(matched.half).value
    verdicts = (("plain", plain[1].verdict), ("symmetric", symmetric[1].verdict))
    late = tuple(name for name, verdict in verdicts if verdict is Verdict.NOT_CONVERGED)
    unclear = tuple(name for name, verdict in verdicts if verdict is Verdict.CANNOT_TELL)
    return Gain(
        plain=curves[0],
        symmetric=curves[1],
        delta=delta,
        half=half,
        trained=with_training(matched, plain[1].training.kappa, lent) if late or unclear else delta,
        p=two_sided(delta.value, delta.error, delta.dof),
        detectable=detectable(delta),
        factor=equal_error(matched, prior=lent.curves),
        half_factor=np.nan if matched.half is None else equal_error(matched.half).ratio.value,
        without=tuple(zero),
        outlying=outlying(plain[0], symmetric[0], lent),
        not_converged=late,
        cannot_tell=unclear,
    )


def exponent(gain: Gain) -> Exponent:
    """Return the change of the exponent that the intervals show."""
    if not np.isfinite(gain.trained.low):
        return Exponent.UNKNOWN
    if excludes_zero(gain.trained):
        return Exponent.RISES if gain.delta.value > 0 else Exponent.FALLS
    return Exponent.OPEN if excludes_zero(gain.delta) else Exponent.UNCHANGED


def network_name(curve: Curve) -> str:
    """Name the network of a curve with its group, and with the settings that tell twins apart: `gcnn (p4)`."""
    beside = []
    for name in WEIGHS:
        value = curve.value(name)
        if isinstance(value, int | float) and value > 1:
            beside.append(f"{name.rpartition('.')[2]} {value:g}")
    return f"{display_name(curve.text('architecture'))} ({', '.join([curve.text('group'), *beside])})"


def gain_sentence(gain: Gain) -> str:
    """Describe the gain from one symmetry on one dataset in a sentence."""
    where = f"{dataset_words(gain.plain.text('dataset'))}, {metric_words(gain.plain.text('metric'))}"
    weights = " and ".join(f"{curve.n_parameters:,.0f}" for curve in (gain.symmetric, gain.plain))
    twins = f"{network_name(gain.symmetric)} against {network_name(gain.plain)}"
    text = f"{twins} ({where}; {weights} weights): {_factor(gain)}; {_beta(gain)}"
    if gain.without:
        text += f"; left out for errors of 0: P = {', '.join(f'{P:g}' for P in gain.without)}"
    text += gain.outlying.words({"first": network_name(gain.plain), "second": network_name(gain.symmetric)})
    if gain.not_converged and not np.isfinite(gain.trained.low):
        text += f"; NOT CONVERGED: {_late(gain)}, so this is no statement about exponents"
    return text + "."


def _late(gain: Gain) -> str:
    return " and ".join(network_name(getattr(gain, which)) for which in gain.not_converged)


def _open(gain: Gain) -> str:
    """Name what has not converged, or what is too noisy to tell; empty if both have converged."""
    unclear = " and ".join(network_name(getattr(gain, which)) for which in gain.cannot_tell)
    return f"not converged: {_late(gain)}" if gain.not_converged else f"too noisy to tell: {unclear}" if unclear else ""


def _factor(gain: Gain) -> str:
    factor = gain.factor
    names = {"first": "the twin", "second": "the network"}
    if factor.leader:
        behind, ahead = ("the twin", "its errors") if factor.leader == "second" else ("it", "the errors of the twin")
        word = "above" if factor.leader == "second" else "below"
        return f"data-efficiency factor {word} {_bound(factor)}: {behind} never reaches {ahead}"
    if factor.flat:
        flat = "both curves are" if len(factor.flat) == 2 else f"the curve of {names[factor.flat[0]]} is"
        return f"no data-efficiency factor: {flat} flat"
    if np.isfinite(factor.ratio.value):
        open_span = "" if factor.interval else ", without an interval"
        text = f"data-efficiency factor {factor.text}{open_span} at an error of {factor.error:.2g}"
        if gain.not_converged and np.isfinite(gain.half_factor):
            text += f" ({gain.half_factor:.2g} after half the training)"
        return text
    if factor.bound is None:
        return "no data-efficiency factor: the two curves have no error in common"
    return f"data-efficiency factor {'above' if factor.bound[0] == 'more' else 'below'} {_bound(factor)}"


def _bound(factor: EqualError) -> str:
    return "" if factor.bound is None else f"{factor.bound[1]:.{3 if factor.bound[0] == 'more' else 2}g}"


def _beta(gain: Gain) -> str:
    delta, trained = gain.delta, gain.trained
    if not np.isfinite(delta.low):
        return f"Δβ = {signed(delta.value)}, with too few seeds for an interval"
    change = f"Δβ = {signed_interval(delta)}"
    if (state := _open(gain)) and np.isfinite(trained.low):
        change += (
            f" ({state}; {signed(gain.half)} after half the training, and {span(trained.low, trained.high)} "
            "allowing for further training)"
        )
    outcome = exponent(gain)
    if outcome is Exponent.UNKNOWN:
        return change
    if outcome is Exponent.OPEN:
        return f"{change}: more training could undo it, so no change of the exponent is reported"
    if outcome is not Exponent.UNCHANGED:
        return f"{change}, {p_words(gain.p)}: the exponent {outcome}"
    beside = ", one of the prefactor is" if gain.factor.differs else ""
    size = f"one of {rounded(gain.detectable)} would be detected with 80 % power"
    return f"{change}: no change of the exponent is shown{beside} ({size})"


def gain_record(gain: Gain) -> Record:
    """Return the JSON record of a gain."""
    return {
        **dataset_and_metric(gain.plain),
        "factor": "symmetry",
        "first": network_name(gain.plain),
        "second": network_name(gain.symmetric),
        "group": gain.symmetric.text("group"),
        **ends("delta_beta", gain.delta),
        "delta_beta_half_budget": json_number(gain.half),
        "delta_beta_trained_low": json_number(gain.trained.low),
        "delta_beta_trained_high": json_number(gain.trained.high),
        "p": json_number(gain.p),
        "detectable": json_number(gain.detectable),
        **ends("equal_error_ratio", gain.factor.ratio),
        "equal_error_ratio_open_ends": list(gain.factor.open_ends),
        "equal_error_ratio_half_budget": json_number(gain.half_factor),
        "equal_error": json_number(gain.factor.error),
        "beyond": json_number(gain.factor.beyond),
        "leader": _SIDES.get(gain.factor.leader),
        "flat": [_SIDES[which] for which in gain.factor.flat],
        "without": list(gain.without),
        **gain.outlying.record(),
        "not_converged": list(gain.not_converged),
        "cannot_tell": list(gain.cannot_tell),
        "sentence": gain_sentence(gain),
    }
