"""`python -m experiments.runs.measure_distances` on a store of real runs, and what the analysis makes of its
table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.config.parse import parse
from experiments.data.load import dataset_of, load
from experiments.data.splits import subset
from experiments.runs.execute import execute
from experiments.runs.measure_distances import NAME, main
from experiments.runs.store import RunStore
from tests.conftest import ACE, STAR, TRAINING


def computed(path: Path, data: dict[str, Any]) -> None:
    """Closed-form runs at P = 4, 8 and 12 with two seeds."""
    store, runs = RunStore(path), []
    for P in (4, 8, 12):
        for seed in (0, 1):
            sections = {"data": data, "model": {**ACE, "nu": 2}, "training": TRAINING}
            config = parse({"P": P, "seed": seed, "store": str(path), "device": "cpu", **sections})
            runs.append(store.run(config.run_id(dataset_of(config.data).sha256())))
            runs[-1].create(config.as_dict())
    assert set(execute(runs, lambda: False, lambda event: None).values()) == {"done"}


def test_distances_of_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    computed(tmp_path, STAR)
    assert main(["--store", str(tmp_path)]) == 0
    table = pd.read_parquet(tmp_path / NAME)
    assert set(table["P"]) == {4, 8, 12}
    assert set(table["subset_seed"]) == {0, 1}
    assert set(table["dataset"]) == {"star_n3_l1"}
    assert table.groupby(["space", "P", "subset_seed"]).size().eq(16).all()  # the test frames of the star
    # the nearest of the very frames that the runs were trained on: energies of some of them make up the gaps
    dataset = load({key: value for key, value in STAR.items() if key != "subset_seed"})
    mine = subset(len(dataset.pool), 12, 1, dataset.disjoint_seeds)[:8]
    part = table[(table["P"] == 8) & (table["subset_seed"] == 1) & (table["space"] == "aligned_rmsd")]
    gaps = np.abs(dataset.test.energies[:, None] - dataset.pool.energies[mine]) / 4  # four atoms
    assert np.isclose(gaps, part["label_gap"].to_numpy()[:, None], rtol=1e-12).any(axis=1).all()

    from analysis.cli import main as analysis

    out = tmp_path / "bounds.json"
    assert analysis(["dimension", "--store", str(tmp_path)]) == 0
    assert analysis(["bounds", "--store", str(tmp_path), "--json", str(out)]) == 0
    found = [e for e in json.loads(out.read_text(encoding="utf-8")) if e["statement"].startswith("Lip·δ")]
    energies = [e for e in found if e["metric"] == "energy_mae"]
    assert {e["statement"] for e in energies} == {"Lip·δ(P), descriptor", "Lip·δ(P), aligned_rmsd"}
    for entry in energies:
        assert entry["relation"] in ("consistent", "violated")
        assert entry["constant_unit"].startswith("meV")
        assert np.all(np.array(entry["nearest_neighbour"]) <= np.array(entry["bound"]) + 1e-12)
    assert {e["relation"] for e in found if e["metric"].startswith("force")} == {"not testable"}


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--store", str(tmp_path / "none")], ["--store", str(tmp_path)]):
        assert main(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "; accepted: a store " in line
    assert main(["--store", str(tmp_path), "--test-frames", "1"]) == 2
