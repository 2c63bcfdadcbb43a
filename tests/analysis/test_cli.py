"""The commands as a user runs them: outputs, exit codes, one-line errors, imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from analysis.cli import main
from analysis.synthetic import curve_rows, demo_table

KEYS = {
    *("dataset", "architecture", "L", "nu", "metric", "form", "beta", "beta_low", "beta_high"),
    *("prefactor", "floor", "status", "flags", "recommended"),
}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "runs.csv"
    demo_table().to_csv(path, index=False)
    return path


def test_fit_writes_the_contract(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "fit.json"
    assert main(["fit", "--table", str(table), "--json", str(out)]) == 0
    entries = json.loads(out.read_text(encoding="utf-8"))
    assert all(set(entry) >= KEYS for entry in entries)
    curves = {(e["dataset"], e["metric"], e["architecture"], e["model_id"]) for e in entries}
    assert len(curves) == 13
    for curve in curves:
        mine = [e for e in entries if (e["dataset"], e["metric"], e["architecture"], e["model_id"]) == curve]
        assert sum(e["recommended"] for e in mine) == 1
        assert {"power", "power_floor"} <= {e["form"] for e in mine}
    (undertrained,) = [e for e in entries if "not_converged" in e["flags"] and e["recommended"]]
    assert (undertrained["dataset"], undertrained["L"], undertrained["nu"]) == ("ethanol", 0, 3)
    printed = capsys.readouterr().out
    assert "not converged" in printed
    assert "MACE" not in printed


def test_fit_is_robust_on_the_smallest_tables(tmp_path: Path) -> None:
    path = tmp_path / "small.csv"
    path.write_text("dataset,architecture,metric,P,seed,error\na,b,m,1,0,1\na,b,m,2,0,1\n", encoding="utf-8")
    assert main(["fit", "--table", str(path), "--json", str(tmp_path / "o.json")]) == 0
    power = next(e for e in json.loads((tmp_path / "o.json").read_text()) if e["recommended"])
    assert power["beta"] == 0
    assert power["beta_low"] is None


def test_bad_table_is_exit_2_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("dataset,architecture,metric,P,seed,error\na,b,m,1,0,1\na,b,m,2,0,-1\n", encoding="utf-8")
    assert main(["fit", "--table", str(path), "--json", str(tmp_path / "o.json")]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "line 3" in message
    assert not (tmp_path / "o.json").exists()


def test_lost_curve_is_exit_1(tmp_path: Path) -> None:
    frame = curve_rows(np.random.default_rng(0), beta=0.5, prefactor=1.0, dataset="a", architecture="b", metric="m")
    lost = frame.assign(dataset="c", error=float("nan"))
    path = tmp_path / "t.csv"
    path.write_text(frame.to_csv(index=False) + lost.to_csv(index=False, header=False), encoding="utf-8")
    out = tmp_path / "o.json"
    assert main(["fit", "--table", str(path), "--drop-bad", "--json", str(out)]) == 1
    assert json.loads(out.read_text())  # what could be fitted is written all the same


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit"],
        ["fit", "--table", "none.csv"],
        ["fit", "--table", "a.csv", "--store", "b"],
        ["table", "--store", "no/such/store", "--csv", "x.csv"],
        ["figures", "--table", "none.csv", "--out", "x"],
        ["dance"],
        [],
    ],
)
def test_user_mistakes_are_exit_2_and_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_unwritable_output_is_exit_2(table: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert main(["fit", "--table", str(table), "--json", str(tmp_path / "file" / "o.json")]) == 2


def test_neither_torch_nor_models_are_imported() -> None:
    code = (
        "import pkgutil, importlib, sys, analysis\n"
        "for module in pkgutil.walk_packages(analysis.__path__, 'analysis.'):\n"
        "    importlib.import_module(module.name)\n"
        "bad = [m for m in sys.modules if m.split('.')[0] in ('torch', 'e3nn') or m.startswith('experiments.models')]\n"
        "assert not bad, bad\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_figures_are_deterministic_and_hold_what_they_plot(table: Path, tmp_path: Path) -> None:
    import pandas as pd

    for name in ("one", "two"):
        assert main(["figures", "--table", str(table), "--out", str(tmp_path / name)]) == 0
    first = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    second = {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    assert first == second
    assert {f"learning_curves.{suffix}" for suffix in ("pdf", "svg", "png", "csv")} <= set(first)
    plotted = pd.read_csv(tmp_path / "one" / "learning_curves.csv")
    assert set(plotted["unit"]) == {"meV", "meV/Å"}
    source = pd.read_csv(table)
    points = plotted[plotted["kind"] == "seed"]
    assert sorted(points["error"]) == pytest.approx(sorted(source["error"] * 1000), rel=1e-12)
    assert "not converged" not in (tmp_path / "one" / "learning_curves.csv").read_text(encoding="utf-8")
