"""The four cells of the pre-registered claim, simulated with known exponents, floors and noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.calibration.synthetic import curve_rows
from analysis.curve import curves
from analysis.fits.fit import BOTH
from analysis.fits.record import analyse
from analysis.table import check_table

CELLS = {"A": (0, 1, 3), "B": (1, 1, 3), "C": (0, 3, 3), "D": (0, 3, 0)}
"""Message order, correlation order and degree of the edges by cell."""
SIZES = (16, 32, 64, 128, 256, 512, 1024)


def cells(
    betas: dict[str, float],
    noise: float = 0.01,
    seed: int = 0,
    floors: dict[str, float] | None = None,
    n_seeds: int = 5,
    sizes: tuple[float, ...] = SIZES,
    **more: Any,
) -> pd.DataFrame:
    """Simulate the cells with exponents `betas` and floors in units of the power law's last error."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {
        "dataset": "toy",
        "architecture": "mace",
        "metric": "force_mae",
        "converged": True,
        **more,
    }
    parts = []
    for cell, beta in betas.items():
        order, nu, edge = CELLS[cell]
        identity: dict[str, Any] = {"L": order, "nu": nu, "edge_lmax": edge, "n_parameters": 1000}
        floor = (floors or {}).get(cell, 0.0) * sizes[-1] ** -beta
        shape: dict[str, Any] = {"sizes": sizes, "n_seeds": n_seeds, "subset": noise, "init": noise}
        parts.append(curve_rows(rng, beta=beta, prefactor=1.0, floor=floor, **shape, **identity, **columns))
    return pd.concat(parts, ignore_index=True)


def analysed(*frames: pd.DataFrame) -> Any:
    """Fit the curves of tables by a power law, with and without a floor."""
    table = check_table(pd.concat(frames, ignore_index=True), "t")
    return analyse(curves(table), BOTH)  # curved forms take seconds, and nothing here rests on them


def scattered(own: float, seed: int = 2) -> pd.DataFrame:
    """Cells of a claim that holds, whose shorter schedules scatter by `own` in ln ε and are else as good."""
    frame = cells({"A": 0.4, "B": 0.7, "C": 0.7, "D": 0.4}, noise=0.002, seed=seed)
    rng = np.random.default_rng(seed)
    return frame.assign(error_half_budget=frame["error"] * np.exp(own * rng.normal(size=len(frame))))
