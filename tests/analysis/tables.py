"""A run table with everything that the papers' figures show, made up: known exponents, costs, groups, distances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.calibration.synthetic import curve_rows


def papers_table() -> pd.DataFrame:
    """NequIP on water and aspirin with capacity controls, MACE over L × ν, other architectures, two groups."""
    rng = np.random.default_rng(0)
    parts: list[pd.DataFrame] = []

    def add(beta: float, prefactor: float, **columns: Any) -> None:
        simulated: dict[str, Any] = {
            "sizes": (50, 150, 350, 550, 750, 950),
            "n_seeds": 3,
            "undertrained": 0.001,
            "train_below": 0.3,
        }
        simulated |= {name: columns.pop(name) for name in ("sizes", "undertrained") if name in columns}
        rows = curve_rows(rng, beta=beta, prefactor=prefactor, **simulated, **columns)
        rows["seconds"] = (5 + 0.2 * rows["P"] ** 0.5) * columns["n_parameters"] ** 0.5 / 10
        rows["run_id"] = [f"{columns['model_id']}-{p}-{s}" for p, s in zip(rows["P"], rows["seed"], strict=True)]
        parts.append(rows)

    shared: dict[str, Any] = {"unit": "meV/Å", "metric": "force_mae", "device": "cuda", "converged": True}
    nequip = {**shared, "architecture": "nequip", "group": "E(3)", "cutoff": 4.0, "n_layers": 5}
    weights = {0: 167_640, 1: 741_080, 2: 1_674_968, 3: 3_190_488}
    for dataset, sizes in (("water", (10, 25, 50, 100, 250, 500, 1000)), ("aspirin", (50, 150, 350, 550, 750, 950))):
        for L, beta in ((0, 0.3), (1, 0.55), (2, 0.56), (3, 0.56)):
            what = {"dataset": dataset, "L": L, "edge_lmax": L, "channels": 64, "n_parameters": weights[L]}
            add(beta, 400 / (1 + 0.3 * L), sizes=sizes, **nequip, **what, model_id=f"n{dataset}{L}")
    for channels, count in ((173, 741_852), (512, 5_565_144)):
        what = {"dataset": "aspirin", "L": 0, "edge_lmax": 0, "channels": channels, "n_parameters": count}
        add(0.31, 390, **nequip, **what, model_id=f"n{channels}")
    mace = {**shared, "dataset": "aspirin", "architecture": "mace", "group": "E(3)", "cutoff": 5.0, "n_layers": 2}
    for nu in (1, 2, 3):
        for L in (0, 1, 2):
            what = {"L": L, "nu": nu, "edge_lmax": 3, "channels": 256, "n_parameters": 100_000 * nu * (L + 1)}
            beta = 0.3 + 0.1 * (nu - 1) + 0.05 * L * (nu == 1)
            late = 0.2 if (L, nu) == (2, 3) else 0.001
            add(beta, 300 / (1 + 0.4 * L), **mace, **what, undertrained=late, model_id=f"m{L}{nu}")
    what = {"dataset": "aspirin", "edge_lmax": 3, "nu": 2, "n_parameters": 4_000}
    add(0.42, 350, **shared, **what, architecture="ace", group="E(3)", model_id="ace")
    what = {"dataset": "aspirin", "L": 1, "edge_lmax": 1, "n_layers": 3, "channels": 32, "n_parameters": 90_000}
    add(0.45, 360, **shared, **what, architecture="tfn", group="SE(3)", model_id="tfn")
    energies = {**shared, "metric": "energy_mae", "unit": "meV", "dataset": "aspirin"}
    add(0.2, 12, **energies, architecture="krr", n_parameters=950, group="E(3)", model_id="krr")
    add(0.15, 13, **energies, architecture="nearest", n_parameters=950, group="E(3)", model_id="nearest")
    add(0.5, 20, **energies, architecture="nequip", L=1, edge_lmax=1, n_parameters=741_080, group="E(3)", model_id="nE")
    return pd.concat(parts, ignore_index=True)


def papers_distances() -> pd.DataFrame:
    """δ(P) of aspirin in two metrics, falling as P^(−1/5) and P^(−1/4), and the nearest neighbour's own errors."""
    rng = np.random.default_rng(1)
    rows = []
    for space, unit, d, scale in (("descriptor", "1/Å", 5.0, 0.3), ("aligned_rmsd", "Å", 4.0, 0.6)):
        for seed in range(3):
            for P in (50, 150, 350, 550, 750, 950):
                near = scale * P ** (-1 / d) * np.exp(0.2 * rng.normal(size=40))
                for one in near:
                    gap = 0.05 * one * rng.uniform(0, 1)  # eV per atom
                    row = {"dataset": "aspirin", "test_set": "", "space": space, "unit": unit, "P": P}
                    rows.append({**row, "subset_seed": seed, "d1": one, "label_gap": gap})
    return pd.DataFrame(rows)
