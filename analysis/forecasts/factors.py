"""Factors by which intervals are stretched so that they cover as often as they say, from the file that is shipped.

`python -m analysis calibrate --forecast` makes the file from learning curves whose largest sizes are held out, by
split conformal prediction (Romano, Patterson & Candès 2019): a factor for each side of the interval, horizon in octaves
beyond P_max, kind of metric and target (the mean over the curve's seeds, or a new run).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from analysis.arrays import FloatArray
from analysis.columns import ERROR_RATES

FILE = Path(__file__).parent.parent / "calibration" / "forecast_factors.json"
OCTAVES = (1, 2, 3)
"""Horizons, in octaves of P beyond the largest measured, with factors of their own."""
LEVELS = (80, 95)
"""Nominal coverages, %."""
RATE, OTHER = "error_rate", "other"
"""Kinds of metrics: shares of wrong answers, and mean errors of numbers (forces, energies)."""
MEAN, RUN = "mean", "run"
"""What is forecast: the mean over the curve's seeds, or one new run."""


@dataclass(frozen=True)
class Sides:
    """Factors of one kind of metric and target, by octaves."""

    low: Mapping[int, FloatArray]
    """Level → factors on the part of the interval below the median. [3]"""
    high: Mapping[int, FloatArray]
    """Level → factors on the part above. [3]"""
    cap: FloatArray
    """How many standard deviations of the noise above the last error an interval ends at most. [3]"""
    fall: float = 0.0
    """By how much both sides widen for each unit by which ln ε is forecast to fall below the last error."""

    def spread(self, median: FloatArray, last: float | FloatArray) -> FloatArray:
        """Return what distances from the median are multiplied by before the factors: 1 + `fall`·(last − median)₊.

        Curves that are forecast to fall far err by more than the mixture says: with intervals locally weighted in this
        way (Lei et al. 2018), those of flat curves need not be as wide as theirs.
        """
        return 1 + self.fall * np.maximum(last - median, 0.0)


@dataclass(frozen=True)
class Band:
    """Median of ln ε and ends of its intervals at M sizes."""

    median: FloatArray
    """Median. [M]"""
    low: Mapping[int, FloatArray]
    """Level → lower ends. [M]"""
    high: Mapping[int, FloatArray]
    """Level → upper ends. [M]"""


def kind_of(metric: str) -> str:
    """Return the kind of a metric: `RATE` or `OTHER`."""
    return RATE if metric in ERROR_RATES else OTHER


@cache
def shipped() -> Mapping[tuple[str, str], Sides]:
    """Return the factors that come with the program: (kind of metric, target) → factors."""
    return {
        (kind, target): Sides(
            {level: np.array(sides["low"][str(level)]) for level in LEVELS},
            {level: np.array(sides["high"][str(level)]) for level in LEVELS},
            np.array(sides["cap"]),
            float(sides["fall"]),
        )
        for kind, targets in json.loads(FILE.read_text(encoding="utf-8"))["factors"].items()
        for target, sides in targets.items()
    }


def quantile_levels() -> FloatArray:
    """Return the quantiles of the mixture that a band is made of: median, then both ends of each level."""
    return np.array([0.5, *(end for level in LEVELS for end in (0.5 - level / 200, 0.5 + level / 200))])


def band(
    quantiles: FloatArray, octaves: FloatArray, last: float | FloatArray, noise: float | FloatArray, sides: Sides
) -> Band:
    """Return calibrated intervals of a predictive distribution.

    Beyond the largest horizon with factors, its factors are used: nothing says that they suffice.

    Args:
        quantiles: of ln ε at `quantile_levels`. [5, M]
        octaves: of P beyond the largest measured. [M]
        last: ln of the curve's last error; [M] for several curves.
        noise: relative noise of what is forecast; likewise.
        sides: the factors.
    """
    median = quantiles[0]
    spread = sides.spread(median, last)
    cap = np.maximum(last + np.interp(octaves, OCTAVES, sides.cap) * noise, median)
    low, high = {}, {}
    for i, level in enumerate(LEVELS):
        below, above = spread * (median - quantiles[1 + 2 * i]), spread * (quantiles[2 + 2 * i] - median)
        low[level] = median - np.interp(octaves, OCTAVES, sides.low[level]) * below
        high[level] = np.minimum(median + np.interp(octaves, OCTAVES, sides.high[level]) * above, cap)
    for wide, narrow in zip(LEVELS[1:], LEVELS, strict=False):  # each side has its own factor
        low[wide], high[wide] = np.minimum(low[wide], low[narrow]), np.maximum(high[wide], high[narrow])
    return Band(median, low, high)
