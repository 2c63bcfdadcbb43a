"""What of a curve enters its fits: the seeds that are used, gaps filled, or means with their standard deviations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.arrays import FloatArray
from analysis.curve import Curve, nanmean
from analysis.fits.intervals import Sample, sample_of_runs
from analysis.fits.results import usable_seeds


@dataclass(frozen=True)
class Used:
    """The part of a curve that enters its fits."""

    seeds: NDArray[np.bool_]
    """Seeds whose own slopes are told: those with every P if there are enough of them. [S]"""
    sizes: NDArray[np.bool_]
    """Sizes at which one of them has a run with an error above zero. [K]"""
    sample: Sample
    """Their errors, as those of N = 1 curve; no more than one size if nothing can be fitted."""
    source: str
    """Where intervals come from: `seeds_t`, `means_sd` or `one_run`."""
    filled: float
    """Share of the errors of `seeds` that are filled in."""
    entered: NDArray[np.bool_]
    """Seeds of which some run enters the means. [S]"""


def sample_of(curve: Curve) -> Used:
    """Return what of a curve enters its fits."""
    logs = np.where(np.isfinite(curve.log_error), curve.log_error, np.nan)
    used = usable_seeds(logs)
    rows = logs[used] if used.any() else logs
    sizes = np.asarray(np.isfinite(rows).any(axis=0))
    rows = rows[:, sizes]
    x = curve.log_sizes[sizes]
    with np.errstate(divide="ignore", invalid="ignore"):
        sem = nanmean((curve.sem / curve.error)[used] if used.any() else curve.sem / curve.error)[sizes]
    known = sem[None] if np.isfinite(sem).all() and len(sem) else None
    pool = np.inf if curve.overlapping is False else curve.pool
    entered = np.asarray(np.isfinite(logs[:, sizes]).any(axis=1))
    runs = logs[entered][:, sizes]
    count = np.isfinite(runs).sum(axis=0)
    if curve.has_seeds and used.any() and len(count) and count.max() >= 2:
        whole, share = fill(rows)
        if np.isfinite(runs).all():
            sample = Sample(x, whole[None], pool, known)
        else:
            sample = sample_of_runs(x, runs[None], whole[None], pool, known)
        return Used(used, sizes, sample, "seeds_t", share, entered)
    mean = nanmean(rows)
    sd, n = _summaries(curve, rows, sizes)
    if len(sd) and np.isfinite(sd).all() and bool((n >= 2).all()):
        return Used(
            used, sizes, Sample(x, mean[None, None], sem=known, sd=sd[None], n_runs=n[None]), "means_sd", 0.0, used
        )
    return Used(used, sizes, Sample(x, mean[None, None], sem=known), "one_run", 0.0, used)


def _summaries(curve: Curve, rows: FloatArray, sizes: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """Return relative sd [K] and numbers of runs [K]: as published, else from repetitions without names of seeds."""
    if curve.n_runs is not None and curve.error_sd is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            return nanmean(curve.error_sd / curve.error)[sizes], nanmean(curve.n_runs)[sizes]
    count = np.isfinite(rows).sum(axis=0).astype(float)
    if curve.has_seeds or (count < 2).any():
        return np.full(len(count), np.nan), count
    return np.nanstd(rows, axis=0, ddof=1), count


def fill(rows: FloatArray) -> tuple[FloatArray, float]:
    """Fill gaps of ln ε by a level for each seed plus one for each size; also return the share that was filled.

    The deviations from the means are then enlarged by the root of present over all, since those that were filled in
    have none of their own.

    Args:
        rows: ln ε, NaN where a run is missing; each seed and each size has one at least. [S, K]
    """
    present = np.isfinite(rows)
    if present.all():
        return rows, 0.0
    level = np.zeros(rows.shape[0])
    for _ in range(500):  # alternating least squares; a few dozen rounds suffice unless seeds hardly overlap
        size = nanmean(rows - level[:, None])
        new = nanmean((rows - size).T)
        moved = np.abs(new - level).max()
        level = new
        if moved < 1e-12:
            break
    size = nanmean(rows - level[:, None])
    whole = np.where(present, rows, size + level[:, None])
    share = 1 - float(present.mean())
    mean = whole.mean(axis=0)
    return mean + (whole - mean) / np.sqrt(1 - share), share
