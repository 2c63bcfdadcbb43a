"""Errors of predicted energies and forces: per frame, and over frames with their standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiments.core.arrays import Floats
from experiments.data.dataset import Frames
from experiments.tasks.predictions import Predictions

UNITS = {"force_mae": "eV/Å", "force_rmse": "eV/Å", "energy_mae": "eV/atom", "energy_rmse": "eV/atom"}
"""Force errors are over components; energy errors are per atom."""


@dataclass(frozen=True)
class MetricValue:
    """A metric over a set of frames and the standard error that the finite number of frames gives it."""

    value: float
    sem: float


def frame_errors(predicted: Predictions, frames: Frames) -> pd.DataFrame:
    """Return one row a frame: mean absolute and mean squared errors.

    They are those of a force component (eV/Å, eV²/Å²) and of the energy per atom (eV, eV²). If the forces are not known
    the columns of force errors are missing.
    """
    atoms = (frames.numbers > 0).sum(1)
    real = (frames.numbers > 0)[..., None]
    force = np.where(real, predicted.forces - frames.forces, 0.0)
    energy = (predicted.energies - frames.energies) / atoms
    columns = {
        "frame": np.arange(len(frames)),
        "atoms": atoms,
        "force_mae": np.abs(force).sum((1, 2)) / (3 * atoms),
        "force_mse": (force**2).sum((1, 2)) / (3 * atoms),
        "energy_mae": np.abs(energy),
        "energy_mse": energy**2,
    }
    known = [name for name in columns if frames.has_forces or not name.startswith("force")]
    return pd.DataFrame({name: columns[name] for name in known})


def metrics_of(errors: pd.DataFrame) -> dict[str, MetricValue]:
    """Return the metrics of `UNITS` from per-frame errors; force components of all frames weigh the same.

    Frames are the unit of the standard error, for forces within a frame are correlated; that of a root mean
    square follows from that of the mean square by the delta method, sem(√m) = sem(m)/(2√m). If forces are not
    known there are no metrics of forces.
    """
    atoms = errors["atoms"].to_numpy(np.float64)
    energy_mse = _mean(errors["energy_mse"].to_numpy(), np.ones_like(atoms))
    forces = {}
    if "force_mse" in errors:
        forces["force_mae"] = _mean(errors["force_mae"].to_numpy(), atoms)
        forces["force_rmse"] = _root(_mean(errors["force_mse"].to_numpy(), atoms))
    return {
        **forces,
        "energy_mae": _mean(errors["energy_mae"].to_numpy(), np.ones_like(atoms)),
        "energy_rmse": _root(energy_mse),
    }


def _mean(values: Floats, weights: Floats) -> MetricValue:
    share = weights / weights.sum()
    mean = float(share @ values)
    frames = len(values)
    spread = float((share**2) @ (values - mean) ** 2) * frames / (frames - 1) if frames > 1 else math.nan
    return MetricValue(mean, math.sqrt(spread))


def _root(square: MetricValue) -> MetricValue:
    root = math.sqrt(square.value)
    return MetricValue(root, square.sem / (2 * root) if root > 0 else 0.0)
