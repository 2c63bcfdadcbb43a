"""Runs that lie far off their curves, beside what two curves say: which, by how much, and Δβ without them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from analysis.comparisons.differences import Lent, slope_difference
from analysis.comparisons.paired import pair
from analysis.curve import Curve
from analysis.fits.jsonable import Record, ends
from analysis.fits.record import plus_minus
from analysis.fits.results import CurveFit, OutlyingRun
from analysis.fits.uncertainty import Interval


@dataclass(frozen=True)
class Outlying:
    """Outlying runs of two curves; at most one of each."""

    runs: Mapping[str, OutlyingRun]
    """By curve, `first` or `second`."""
    without: Interval
    """β(second) − β(first) without these runs; NaN if there are none."""

    def words(self, names: Mapping[str, str]) -> str:
        """Name the runs and Δβ without them, with the names of `first` and `second`; empty if there are none."""
        if not self.runs:
            return ""
        each = [
            f"{f'seed {run.seed}' if run.seed else 'a run'} at P = {run.size:g} of {names[which]} "
            f"({run.factor:.2g} times the error that its curve suggests)"
            for which, run in self.runs.items()
        ]
        size = plus_minus(self.without.value, self.without.low, self.without.high)
        it = "them" if len(each) > 1 else "it"
        return f"; OUTLYING: {' and '.join(each)}; without {it} Δβ = {size}"

    def record(self) -> Record:
        """Return the entries of the JSON record."""
        return {
            "outlying_runs": [
                {"curve": which, "P": run.size, "seed": run.seed, "run_id": run.run, "factor": run.factor, "p": run.p}
                for which, run in self.runs.items()
            ],
            **ends("delta_beta_without_outlying", self.without if self.runs else None),
        }


def outlying(first: CurveFit, second: CurveFit, lent: Lent) -> Outlying:
    """Return the outlying runs of two curves, and Δβ without them at the sizes that both then have."""
    fits = {"first": first, "second": second}
    runs = {which: fit.outlier for which, fit in fits.items() if fit.outlier is not None}
    nothing = Interval(np.nan, np.nan, np.nan, np.nan, 0)
    if not runs:
        return Outlying({}, nothing)
    kept = [_without(fit.curve, runs.get(which)) for which, fit in fits.items()]
    matched = pair(*kept)
    return Outlying(runs, nothing if matched is None else slope_difference(matched, lent=lent))


def _without(curve: Curve, run: OutlyingRun | None) -> Curve:
    """Return the curve without a run; of a single seed without its P."""
    if run is None:
        return curve
    column = curve.sizes == run.size
    if len(curve.seeds) == 1 or not curve.has_seeds:
        return curve.at(~column)
    error = curve.error.copy()
    error[curve.seeds.index(run.seed), column] = np.nan
    return replace(curve, error=error)
