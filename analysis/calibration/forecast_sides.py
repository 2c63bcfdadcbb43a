"""The factors of forecasts: what would have been needed on held-out sizes (`analysis.calibration.forecast_rates`).

Cases are a table with a row for each held-out size: its `octave`, `dataset`, whether the forecast was `refused`, the
`truth`, the `last` known error, `noise`, and quantiles `q0`, `q1`, … of the mixture, all in ln ε.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.arrays import FloatArray
from analysis.forecasts.factors import LEVELS, OCTAVES, Band, Sides, band

CAPPED = 0.99
"""Share of errors that the cap of the upper end lets through."""
LEAST_CAP = 3.0
"""Least cap: the difference of two equal errors exceeds 3 = 2.1·√2 standard deviations of their noise in one of 50."""
MANY_DATASETS = 20
"""Datasets from which on factors may narrow the mixture's intervals, and shrink as the horizon grows."""
FALLS = (0.0, 0.25, 0.5, 1.0, 2.0)
"""Widenings of steep curves' intervals (`Sides.fall`) that are tried."""
FOLDS = 10
"""Parts of many datasets, each of which judges factors of the others while a widening is chosen."""


def fit_sides(cases: pd.DataFrame) -> Sides:
    """Return the factors of one kind of metric and target, with the widening that suits left-out datasets best.

    Each of `FALLS` is tried: factors are fitted on nine tenths of these datasets (of few: on all but one) and judged on
    the others. The least interval score (Gneiting & Raftery 2007, eq. 43) wins: width, and what misses by how much.
    """
    found = cases[~cases["refused"].astype(bool)]
    names = found["dataset"].unique()
    fold = {name: digest(name, 1) % FOLDS if len(names) >= MANY_DATASETS else i for i, name in enumerate(names)}
    folds = found["dataset"].map(fold)
    if folds.nunique() < 2:
        return factors_of(cases, 0.0)

    def score(fall: float) -> FloatArray:
        """Return the mean score by octave and level, [O · 2]."""
        parts = [_scores(found[folds == k], factors_of(found[folds != k], fall)) for k in sorted(folds.unique())]
        return pd.concat(parts).groupby("octave").mean().to_numpy(dtype=float).ravel()

    plain = score(FALLS[0])
    return factors_of(cases, min(FALLS, key=lambda fall: float((score(fall) / plain).mean()) if fall else 1.0))


def _scores(cases: pd.DataFrame, sides: Sides) -> pd.DataFrame:
    """Return the interval scores of forecasts: a column a level, and their octaves."""
    found, truth = bands(cases, sides), cases["truth"].to_numpy(dtype=float)
    scores: dict[str, object] = {"octave": cases["octave"].to_numpy()}
    for level in LEVELS:
        low, high = found.low[level], found.high[level]
        miss = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
        scores[str(level)] = high - low + 2 / (1 - level / 100) * miss
    return pd.DataFrame(scores)


def factors_of(cases: pd.DataFrame, fall: float) -> Sides:
    """Return the factors that go with a widening: quantiles of what would have been needed.

    A horizon that no curve has keeps the factors of the one before: the file of factors counts its forecasts.
    """
    low: dict[int, list[float]] = {level: [] for level in LEVELS}
    high: dict[int, list[float]] = {level: [] for level in LEVELS}
    caps: list[float] = []
    least = 0.1 if cases["dataset"].nunique() >= MANY_DATASETS else 1.0
    none: Mapping[int, FloatArray] = {}
    for octave in OCTAVES:
        part = cases[(cases["octave"] == octave) & ~cases["refused"].astype(bool)]
        if part.empty:
            for values in (*low.values(), *high.values(), caps):
                values.append(values[-1] if values else LEAST_CAP if values is caps else 1.0)
            continue
        quantiles, truth, last = quantiles_in(part), part["truth"].to_numpy(), part["last"].to_numpy()
        rise = (truth - last) / part["noise"].to_numpy()
        caps.append(max(_quantile(rise, CAPPED), LEAST_CAP))
        spread = Sides(none, none, np.empty(0), fall).spread(quantiles[0], last)
        datasets = part["dataset"].to_numpy()
        for i, level in enumerate(LEVELS):
            below = (quantiles[0] - truth) / (quantiles[0] - quantiles[1 + 2 * i]) / spread
            above = (truth - quantiles[0]) / (quantiles[2 + 2 * i] - quantiles[0]) / spread
            above = np.where(rise > caps[-1], np.inf, above)
            low[level].append(max(_of_new_dataset(below, datasets, level / 100), least))
            high[level].append(max(_of_new_dataset(above, datasets, level / 100), least))

    def rising(values: list[float]) -> FloatArray:
        return np.asarray(np.array(values) if least < 1 else np.maximum.accumulate(values))

    return Sides(
        {level: rising(values) for level, values in low.items()},
        {level: rising(values) for level, values in high.items()},
        rising(caps),
        fall,
    )


def _quantile(scores: FloatArray, level: float) -> float:
    """Return the conformal quantile: the ⌈(n + 1)·level⌉-th smallest score, the largest finite one at most."""
    ordered = np.sort(scores)
    finite = int(np.isfinite(ordered).sum())
    return float(ordered[min(int(np.ceil((len(ordered) + 1) * level)), finite) - 1])


def _of_new_dataset(scores: FloatArray, datasets: np.ndarray, coverage: float) -> float:
    """Return the score of one side with which intervals cover curves of a dataset that was not seen.

    Curves of a dataset resemble each other, so the datasets count, not the curves: each has the same weight, and
    the one that was not seen has it too, at infinity (Lee, Barber & Willett 2023, hierarchical conformal prediction).
    Half of what may be missed belongs to either side. Below `MANY_DATASETS` that weight would be nearly all that may be
    missed: curves are counted.
    """
    names, index, counts = np.unique(datasets, return_inverse=True, return_counts=True)
    if len(names) < MANY_DATASETS:
        return _quantile(scores, 0.5 + coverage / 2)
    order = np.argsort(scores)
    reached = np.cumsum(1 / counts[index][order]) / len(names)
    needed = 0.5 + coverage * (1 + 1 / len(names)) / 2
    finite = int(np.isfinite(scores).sum())
    return float(scores[order][min(int(np.searchsorted(reached, needed - 1e-9)), finite - 1)])


def quantiles_in(part: pd.DataFrame) -> FloatArray:
    """Return the quantiles of the mixture, `[1 + 2 levels, cases]`."""
    return part[[f"q{i}" for i in range(1 + 2 * len(LEVELS))]].to_numpy(dtype=float).T


def bands(cases: pd.DataFrame, sides: Sides) -> Band:
    """Return the intervals of cases with these factors."""
    octaves, last, noise = (cases[name].to_numpy(dtype=float) for name in ("octaves", "last", "noise"))
    return band(quantiles_in(cases), octaves, last, noise, sides)


def digest(name: str, byte: int) -> int:
    """Return a byte of the hash of a name: halves and folds that do not depend on what else there is."""
    return hashlib.sha256(name.encode()).digest()[byte]
