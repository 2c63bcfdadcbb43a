"""The choice of the form to quote, and of an interval that allows for the uncertainty of this choice.

Choosing a form after a look at the data costs coverage: if there is no floor, the curves that look convex by chance
are those whose floor fits miss β (measured by `calibrate`: 92–94 % instead of 95 % for a 95 % interval). So the form
of the point estimate and the interval are decided separately. Between clear evidence for a floor and none, the
interval covers those of both forms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.fits.results import USABLE, Fit, Form
from analysis.fits.uncertainty import Interval

AICC_MARGIN = 2.0
"""How much lower another form's AICc must be to count as evidence (Burnham & Anderson 2002, §2.6)."""
CLEAR = 0.001
"""Level of the one-sided test over seeds of convexity at which the floor form's own interval is quoted."""
CONVEX = 0.025
"""Level of the same test at which the floor form gives the point estimate."""
SUSPECT = 0.2
"""Level of the same test at which the interval covers the floor form as well. It widens the interval of one clean
curve in five, and the coverage without a floor stays below 97 %; in return the intervals of curves whose floor goes
unnoticed cover their exponent far more often (`calibrate` prints both)."""
BOTH_FORMS = ", both forms"
"""Suffix of the method of an interval that covers both forms."""
FLOOR_SIZES = 5
"""Number of values of P from which on a floor is considered: its three parameters, and two to spare."""

Bools = NDArray[np.bool_]


def decide(convexity_p: Any, better: Any, usable: Any, n_sizes: int) -> tuple[Bools, Bools]:
    """Decide whether the floor form is quoted, and whether the interval covers both forms, for n curves: [n], [n].

    Args:
        convexity_p: one-sided p value over seeds of ln ε being convex in ln P; NaN if untestable. [n]
        better: AICc *and* extrapolation prefer the floor form. [n]
        usable: the floor form's fit can be quoted. [n]
        n_sizes: values of P.
    """
    p = np.where(np.isnan(convexity_p), 1.0, convexity_p)
    enough = n_sizes >= FLOOR_SIZES
    chosen = usable & (better | (enough & (p < CONVEX)))
    both = usable & enough & (chosen | (p < SUSPECT)) & ~(chosen & (p < CLEAR))
    return np.asarray(chosen, dtype=bool), np.asarray(both, dtype=bool)


def hull(quoted: Interval, other: Interval) -> Interval:
    """Return the quoted estimate with an interval that covers both; unchanged if either has no interval."""
    low, high = min(quoted.low, other.low), max(quoted.high, other.high)
    if not (np.isfinite(quoted.low) and np.isfinite(other.low)):
        return quoted
    return Interval(quoted.value, low, high, quoted.error, quoted.dof)


def recommend(fits: Sequence[Fit], n_sizes: int, bend: float, bend_p: float) -> tuple[list[Fit], Form]:
    """Recommend a form; return the fits and this form, its interval widened to both forms while the floor is open.

    The power law is recommended unless there is evidence for the floor form or for M4: both AICc on the per-P means
    *and* the extrapolation to the largest P prefer it; or, for the floor alone, the seeds agree on a convexity. (With
    six points AICc finds a floor of 30 % in only 1 % of trials, because it does not know how small the seeds' noise
    is.) Error rates are quoted from their likelihood; the other forms are for diagnosis only.

    Args:
        fits: one per form, power and power_floor among them.
        n_sizes: values of P.
        bend: quadratic coefficient of ln ε in ln P.
        bend_p: its two-sided p value.
    """
    by_form = {fit.form: fit for fit in fits}
    if Form.BINOMIAL in by_form and by_form[Form.BINOMIAL].status in USABLE:
        return list(fits), Form.BINOMIAL
    power, floored = by_form[Form.POWER], by_form[Form.POWER_FLOOR]
    one_sided = bend_p / 2 if bend > 0 else 1 - bend_p / 2
    chosen, both = decide(one_sided, _better(floored, power), floored.status in USABLE, n_sizes)
    best, other = (floored, power) if chosen else (power, floored)
    m4 = by_form.get(Form.M4)
    if m4 is not None and m4.status in USABLE and _better(m4, best):
        return list(fits), Form.M4
    if both and (widened := hull(best.beta, other.beta)) != best.beta:
        best = replace(best, beta=widened, method=best.method + BOTH_FORMS)
    return [best if fit.form is best.form else fit for fit in fits], best.form


def _better(rival: Fit, best: Fit) -> bool:
    """Return whether AICc and the extrapolation both prefer `rival`; False if either is NaN."""
    return rival.aicc <= best.aicc - AICC_MARGIN and rival.extrapolation_error <= best.extrapolation_error
