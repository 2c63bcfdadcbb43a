"""Lip·δ(P): the nearest neighbour keeps it, a learner that does worse violates it, and what it does not speak of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree

from analysis.bounds.lipschitz import _per
from analysis.cli import main

SIZES = (32, 64, 128, 256)
SEEDS = (0, 1, 2)


@pytest.fixture
def measured(tmp_path: Path) -> tuple[Path, Path]:
    """A run table and the distances of the nearest neighbour on the 2-torus; the target is Lipschitz with 2π√2."""
    rng = np.random.default_rng(0)
    test = rng.random((300, 2))
    rows, distances = [], []
    for seed in SEEDS:
        train = rng.random((SIZES[-1], 2))
        for size in SIZES:
            distance, index = cKDTree(train[:size], boxsize=np.ones(2)).query(test)
            gap = np.abs(target(test) - target(train[index]))
            base = {"dataset": "torus", "P": size, "seed": seed, "metric": "mae", "converged": True}
            rows.append({**base, "architecture": "nearest", "error": gap.mean()})
            rows.append({**base, "architecture": "worse", "error": 0.6 + 0.01 * rng.random()})
            rows.append({**base, "architecture": "nearest", "metric": "force_mae", "error": gap.mean()})
            frames = pd.DataFrame({"d1": distance, "label_gap": gap})
            distances.append(frames.assign(dataset="torus", P=size, space="torus", subset_seed=seed))
    pd.DataFrame(rows).to_csv(tmp_path / "runs.csv", index=False)
    pd.concat(distances).to_csv(tmp_path / "distances.csv", index=False)
    return tmp_path / "runs.csv", tmp_path / "distances.csv"


def target(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.sin(2 * np.pi * x).sum(axis=1))


def entries(table: Path, distances: Path, out: Path) -> dict[tuple[str, str], dict[str, object]]:
    assert main(["bounds", "--table", str(table), "--distances", str(distances), "--json", str(out)]) == 0
    records = json.loads(out.read_text(encoding="utf-8"))
    return {(e["model"]["architecture"], e["metric"]): e for e in records if str(e["statement"]).startswith("Lip·δ(P)")}


def test_the_nearest_neighbour_keeps_it_and_a_worse_learner_violates_it(
    measured: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compared = entries(*measured, tmp_path / "o.json")
    kept, broken = compared["nearest", "mae"], compared["worse", "mae"]
    assert kept["relation"] == "consistent"
    slope = float(str(kept["constant"]))
    assert 0.8 * 2 * np.pi * np.sqrt(2) < slope <= 2 * np.pi * np.sqrt(2)  # below the true constant, and near it
    assert kept["error"] == pytest.approx(kept["nearest_neighbour"])
    assert broken["relation"] == "violated"
    assert compared["nearest", "force_mae"]["relation"] == "not testable"
    printed = capsys.readouterr().out
    assert "violated" in printed
    assert "a lower estimate" in printed


def test_the_bound_is_the_slope_times_the_mean_distance(measured: tuple[Path, Path], tmp_path: Path) -> None:
    kept = entries(*measured, tmp_path / "o.json")["nearest", "mae"]
    means = pd.read_csv(measured[1]).groupby("P")["d1"].mean()
    assert kept["P"] == list(SIZES)
    assert kept["bound"] == pytest.approx(float(str(kept["constant"])) * means.to_numpy())


def test_without_labels_or_distances_it_says_what_is_missing(
    measured: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, distances = measured
    bare = tmp_path / "bare.csv"
    pd.read_csv(distances).drop(columns="label_gap").to_csv(bare, index=False)
    assert entries(table, bare, tmp_path / "o.json")["nearest", "mae"]["relation"] == "not testable"
    assert "give --lipschitz" in capsys.readouterr().out
    renamed = pd.read_csv(bare).assign(space="aligned_rmsd")
    renamed.to_csv(bare, index=False)
    arguments = ["bounds", "--table", str(table), "--distances", str(bare), "--lipschitz", "0.001"]
    assert main(arguments) == 0
    assert "violated" in capsys.readouterr().out  # such a flat target the nearest neighbour would have learned
    assert main(["bounds", "--table", str(table)]) == 0
    assert "experiments.runs.measure_distances" in capsys.readouterr().out
    assert main(["bounds", "--table", str(table), "--lipschitz", "1"]) == 2


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda frame: frame.drop(columns="d1"), "no column 'd1'"),
        (lambda frame: frame.assign(d1=-1.0), "row 1: d1"),
        (lambda frame: frame.assign(P=0), "row 1: P"),
    ],
)
def test_bad_distances_are_one_line(
    measured: tuple[Path, Path], change: object, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(pd.read_csv(measured[1])).to_csv(measured[1], index=False)  # type: ignore[operator]
    assert main(["dimension", "--distances", str(measured[1])]) == 2
    message = capsys.readouterr().err
    assert text in message
    assert message.count("\n") == 1


def test_units_of_the_constant() -> None:
    assert _per("meV", "Å") == "meV/Å"
    assert _per("meV", "1/Å") == "meV·Å"
    assert _per("", "") == ""
