"""Curves that a column of --curve-by makes distinct carry its value wherever they are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.calibration.synthetic import curve_rows
from analysis.cli import main
from analysis.comparisons.claim import claim_record, claims
from analysis.curve import curves
from analysis.figures.maps import maps
from analysis.fits.fit import BOTH
from analysis.fits.record import analyse
from analysis.table import check_table

BETAS = {"adam": 0.5, "sgd": 0.3}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    same: dict[str, Any] = {"dataset": "mol", "architecture": "mace", "metric": "force_mae", "n_seeds": 3}
    rows = [curve_rows(rng, beta=beta, prefactor=1.0, **same, optimizer=name) for name, beta in BETAS.items()]
    path = tmp_path / "t.csv"
    pd.concat(rows).to_csv(path, index=False)
    return path


def test_text_and_tables_name_both(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = [argument for kind in ("markdown", "latex", "json") for argument in (f"--{kind}", str(tmp_path / kind))]
    assert main(["fit", "--table", str(table), "--curve-by", "optimizer", "--forms", "power", *tables]) == 0
    printed = capsys.readouterr().out
    markdown, latex = ((tmp_path / kind).read_text(encoding="utf-8") for kind in ("markdown", "latex"))
    for name in BETAS:
        assert printed.count(f"  MACE, optimizer={name} ") == 2  # the exponent, and the choice of its form
        assert f"| MACE, optimizer={name} |" in markdown
        assert f"& MACE, optimizer={name} &" in latex
    entries = json.loads((tmp_path / "json").read_text(encoding="utf-8"))
    assert {entry["optimizer"] for entry in entries} == set(BETAS)


def test_bounds_name_both(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bounds", "--table", str(table), "--curve-by", "optimizer"]) == 0
    printed = capsys.readouterr().out
    assert all(f"mol, force MAE, MACE, optimizer={name}" in printed for name in BETAS)


def test_report_and_figures_name_both(table: Path, tmp_path: Path) -> None:
    assert main(["report", "--table", str(table), "--curve-by", "optimizer", "--out", str(tmp_path / "r.html")]) == 0
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert main(["figures", "--table", str(table), "--curve-by", "optimizer", "--out", str(tmp_path / "figures")]) == 0
    drawn = (tmp_path / "figures" / "learning_curves.svg").read_text(encoding="utf-8")
    for name in BETAS:
        assert f'"name":"MACE, optimizer={name}"' in page  # the curve
        assert f">MACE, optimizer={name}<" in page  # its row among the exponents
        assert f"optimizer={name}" in drawn


def test_cells_of_a_claim_and_of_a_map_are_of_one_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.figures.maps.FEWEST_CELLS", 3)
    rng = np.random.default_rng(0)
    cells = {(0, 1, 3): 0.4, (1, 1, 3): 0.6, (0, 3, 3): 0.6, (0, 3, 0): 0.4}
    same: dict[str, Any] = {"dataset": "mol", "architecture": "mace", "metric": "force_mae", "converged": True}
    frame = pd.concat(
        curve_rows(rng, beta=beta, prefactor=1.0, **same, L=L, nu=nu, edge_lmax=edge, optimizer=name)
        for (L, nu, edge), beta in cells.items()
        for name in BETAS
    )
    fits = analyse(curves(check_table(frame, "t", curve_by=("optimizer",))), BOTH)
    tests = claims(fits)
    assert [test.place["optimizer"] for test in tests] == list(BETAS)
    assert [claim_record(test)["optimizer"] for test in tests] == list(BETAS)
    for test in tests:
        assert {curve.value("optimizer") for curve in test.cells.values()} == {test.place["optimizer"]}
    assert [one.title for one in maps(fits)] == [f"mol, MACE, optimizer={name}" for name in BETAS]
