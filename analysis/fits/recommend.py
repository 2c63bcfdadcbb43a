"""Which form to quote, and how sure one may be of the form itself.

Choosing a form after a look at the data costs coverage: where there is no floor, the curves that look convex by chance
are those whose floor fits miss β (measured by `calibrate`: 92–94 % instead of 95 % for a 95 % interval). So the form
of the point estimate and the interval are decided apart. Between clear evidence for a floor and none, the interval
covers what both forms allow.
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
"""Level of the same test at which the interval takes the floor in. Wider for one clean curve in five, by which the
coverage without a floor stays below 97 %; in return the intervals of floored curves that pass for power laws cover
their exponent far more often (`calibrate` prints both)."""
BOTH_FORMS = ", both forms"
"""Ends the method of an interval that covers two forms."""
FLOOR_SIZES = 5
"""Values of P below which a floor is never considered: three parameters, and two to spare."""

Bools = NDArray[np.bool_]


def decide(convexity_p: Any, better: Any, usable: Any, n_sizes: int) -> tuple[Bools, Bools]:
    """Whether the floor form is quoted, and whether the interval covers both forms; for one curve or many. [n], [n]

    Args:
        convexity_p: one-sided p value over seeds of ln ε being convex in ln P; NaN where untestable. [n]
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
    """The quoted estimate with an interval that covers both; unchanged where either has none."""
    low, high = min(quoted.low, other.low), max(quoted.high, other.high)
    if not (np.isfinite(quoted.low) and np.isfinite(other.low)):
        return quoted
    return Interval(quoted.value, low, high, quoted.error, quoted.dof)


def recommend(fits: Sequence[Fit], n_sizes: int, bend: float, bend_p: float) -> tuple[list[Fit], Form]:
    """The fits, the recommended one with its interval over both forms where the floor is open, and its form.

    The power law is recommended, unless the floor form or M4 has the evidence. Either by AICc on the per-P means *and*
    by the extrapolation to the largest P; or, for the floor, by a convexity that the seeds agree on: with six points
    AICc finds a floor of 30 % in 1 % of trials, because it does not know how small the seeds' noise is. Error rates
    are quoted from their likelihood; the other forms are for diagnosis only.

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
    """By AICc and by extrapolation; False where either is NaN."""
    return rival.aicc <= best.aicc - AICC_MARGIN and rival.extrapolation_error <= best.extrapolation_error
