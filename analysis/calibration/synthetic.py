"""Simulated run tables with known exponents, for calibration, tests and figures."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.arrays import FloatArray


def noise(rng: np.random.Generator, sizes: FloatArray, n_seeds: int, subset: float, init: float) -> FloatArray:
    """Draw log noise [S, K] of nested subsets: correlation √(P/P′) within a seed, plus independent noise of weights.

    Args:
        rng: source of randomness.
        sizes: P, ascending. [K]
        n_seeds: number of seeds S.
        subset: standard deviation, in ln ε, from the choice of subset.
        init: standard deviation, in ln ε, from the initial weights.
    """
    smaller, larger = np.minimum(sizes[:, None], sizes), np.maximum(sizes[:, None], sizes)
    root = np.linalg.cholesky(np.sqrt(smaller / larger))
    draws = rng.normal(size=(n_seeds, len(sizes)))
    return np.asarray(subset * draws @ root.T + init * rng.normal(size=draws.shape))


def curve_rows(
    rng: np.random.Generator,
    *,
    beta: float,
    prefactor: float,
    floor: float = 0.0,
    sizes: tuple[float, ...] = (16, 32, 64, 128, 256, 512),
    n_seeds: int = 5,
    subset: float = 0.03,
    init: float = 0.02,
    undertrained: float | None = None,
    kappa: float | None = None,
    train_below: float | None = None,
    **columns: object,
) -> pd.DataFrame:
    """Simulate the rows of one curve ε = a·P^(−β) + c with noise of nested subsets.

    `undertrained` is the excess of ln ε after half the budget at the largest P (None: no such column), `kappa` the law
    by which it was larger after a quarter (None: no such column); `train_below`
    adds training errors that approach the floor from below, with this relative gap at the smallest P. `columns` are
    constant columns of the rows.
    """
    grid = np.array(sizes, dtype=float)
    clean = prefactor * grid**-beta + floor
    error = clean * np.exp(noise(rng, grid, n_seeds, subset, init))
    rows = []
    for s in range(n_seeds):
        for k, size in enumerate(grid):
            row: dict[str, object] = {**columns, "P": int(size), "seed": s, "error": error[s, k]}
            if undertrained is not None:
                excess = undertrained * np.log(size / grid[0]) / np.log(grid[-1] / grid[0])
                row["error_half_budget"] = error[s, k] * np.exp(excess)
                if kappa is not None:
                    row["error_quarter_budget"] = error[s, k] * np.exp(excess * (1 + 2**kappa))
            if train_below is not None:
                row["train_error"] = max(floor, 0.2 * error[s, k]) * (1 - train_below * grid[0] / size)
            rows.append(row)
    return pd.DataFrame(rows)


_DEMO_CELLS = {"A": (0, 1, 3), "B": (1, 1, 3), "C": (0, 3, 3), "D": (0, 3, 0)}
"""L, ν and edge_lmax."""


def demo_table(seed: int = 0) -> pd.DataFrame:
    """Simulate a table like the demo's: linear ACE and the four cells on ethanol, the cells on the star teacher."""
    rng = np.random.default_rng(seed)
    parts = _demo_ace(rng)
    for dataset, sizes, metric, unit, scale, n_seeds, betas in (
        ("star", (16, 32, 64, 128, 256), "energy_rmse", "eV", 1.0, 5, (0.0, 0.6, 0.65, 0.0)),
        ("ethanol", (16, 32, 64, 128), "force_mae", "eV/Å", 1.2, 3, (0.5, 0.62, 0.66, 0.52)),
    ):
        for (cell, (order, nu, edge)), beta in zip(_DEMO_CELLS.items(), betas, strict=True):
            parts.append(
                curve_rows(
                    rng,
                    beta=beta,
                    prefactor=scale * (1.0 if beta else 0.35),
                    sizes=sizes,
                    n_seeds=n_seeds,
                    subset=0.03,
                    init=0.03,
                    undertrained=0.25 if (dataset, cell) == ("ethanol", "D") else 0.001,
                    train_below=0.3,
                    dataset=dataset,
                    architecture="mace",
                    L=order,
                    nu=nu,
                    edge_lmax=edge,
                    model_id=f"mace{cell}",
                    metric=metric,
                    unit=unit,
                    converged=True,
                )
            )
    return pd.concat(parts, ignore_index=True)


def _demo_ace(rng: np.random.Generator) -> list[pd.DataFrame]:
    return [
        curve_rows(
            rng,
            beta=beta,
            prefactor=prefactor * 1e-3,
            floor=floor * 1e-3,
            subset=0.01,
            init=0.0,
            train_below=0.4,
            dataset="ethanol",
            architecture="ace",
            nu=nu,
            edge_lmax=edge,
            model_id=f"ace{nu}{edge}",
            metric="force_mae",
            unit="eV/Å",
            converged=True,
        )
        for nu, edge, beta, prefactor, floor in (
            (1, 3, 0.02, 120, 415),
            (2, 0, 0.45, 500, 100),
            (2, 1, 0.6, 800, 46),
            (2, 2, 0.7, 1300, 36),
            (2, 3, 0.75, 1500, 33),
        )
    ]
