"""The commands as a user runs them: outputs, exit codes, one-line errors, imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.calibration.synthetic import curve_rows, demo_table
from analysis.cli import main
from experiments.core.states import RunState

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
    assert "MACE L=0 ν=3" in printed  # as the field writes it
    assert "AICc" in printed  # both numbers behind the choice are shown
    assert "miss" in printed
    assert "power law 16–512" in printed


@pytest.mark.parametrize("command", ["fit", "compare", "figures", "forecast", "report"])
def test_a_single_run_shows_its_point_and_says_what_is_missing(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is wrong with it: no row is bad, and the report has the point."""
    row = {"dataset": "rmd17_ethanol_train", "architecture": "ntk-mace", "L": 1, "nu": 3, "metric": "force_mae"}
    pd.DataFrame([{**row, "unit": "eV/A", "P": 16, "seed": 0, "error": 0.1089}]).to_csv(tmp_path / "t.csv", index=False)
    out = tmp_path / "out.html"
    words = [command, "--table", str(tmp_path / "t.csv")]
    code = main([*words, *(["--out", str(out)] if command in ("figures", "report") else [])])
    said = capsys.readouterr()
    shown = out.read_text(encoding="utf-8") if command == "report" else said.out
    for cell in ("Ethanol, PBE (rMD17)", "linearised MACE L=1 ν=3", "109 meV/Å"):
        assert cell in shown
    assert "bad" not in said.err
    assert code == (0 if command == "report" else 1)
    assert command == "report" or "a curve needs two" in said.err


def test_fit_names_test_sets_and_the_strength_of_the_prior(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same: dict[str, Any] = {"dataset": "3bpa", "architecture": "mace", "metric": "force_mae"}
    rng = np.random.default_rng(0)
    parts = [curve_rows(rng, beta=0.5, prefactor=1.0, **same, test_set=name) for name in ("300K", "600K", "1200K")]
    pd.concat(parts).to_csv(tmp_path / "t.csv", index=False)
    assert (
        main(["fit", "--table", str(tmp_path / "t.csv"), "--forms", "power", "--json", str(tmp_path / "o.json")]) == 0
    )
    printed = capsys.readouterr().out
    assert all(f"3BPA, ωB97X ({name})" in printed for name in ("300K", "600K", "1200K"))
    assert "intervals of force MAE: the variances of 3 curves lend" in printed
    entries = json.loads((tmp_path / "o.json").read_text())
    best = next(entry for entry in entries if entry["recommended"])
    assert best["local_P"] == [64, 512]
    assert best["local_beta_low"] < best["local_beta"] < best["local_beta_high"]
    assert best["interval"].startswith("seeds_t, moderated")
    assert best["beta_alone_high"] <= best["beta_high"]


@pytest.mark.filterwarnings("error")
def test_error_rates_of_zero_raise_no_warning(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    same = {"dataset": "a", "architecture": "b", "metric": "error_rate", "n_test": 50}
    sizes = 16 * 2 ** np.arange(8)
    rows = [
        {**same, "P": P, "seed": seed, "error": rng.binomial(50, 2 / P) / 50}
        for seed in range(3)
        for P in sizes.tolist()
    ]
    assert sum(row["error"] == 0 for row in rows) > 3
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    assert main(["fit", "--table", str(tmp_path / "t.csv")]) == 0


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
        ["figures", "--table", "none.csv", "--out", "x", "--distances", "none.parquet"],
        ["report", "--table", "none.csv", "--out", "x.html"],
        ["report", "--table", "none.csv"],
        ["dance"],
        ["fit", "--table", "none.csv", "--forms", "straight"],
        ["bounds", "--table", "none.csv", "--d", "-3"],
        ["bounds", "--table", "none.csv", "--atoms", "2"],
        ["calibrate", "--tables", "0"],
        ["dimension"],
        ["dimension", "--distances", "none.parquet"],
        ["dimension", "--store", "no/such/store"],
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


def test_figures_are_deterministic_and_hold_what_they_plot(tmp_path: Path) -> None:
    import pandas as pd

    table = tmp_path / "runs.csv"
    whole = demo_table()
    whole[(whole["architecture"] == "mace") & (whole["nu"] == 3)].to_csv(table, index=False)
    for name in ("one", "two"):
        assert main(["figures", "--table", str(table), "--out", str(tmp_path / name)]) == 0
    first = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    second = {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    assert first == second
    assert {f"learning_curves.{suffix}" for suffix in ("pdf", "svg", "png", "csv")} <= set(first)
    plotted = pd.read_csv(tmp_path / "one" / "learning_curves.csv")
    assert set(plotted["unit"]) == {"meV/atom", "meV/Å"}
    source = pd.read_csv(table)
    points = plotted[plotted["kind"] == "seed"]
    assert sorted(points["error"]) == pytest.approx(sorted(source["error"] * 1000), rel=1e-12)
    assert "not converged" not in (tmp_path / "one" / "learning_curves.csv").read_text(encoding="utf-8")


def test_compare_claim_and_bounds_speak(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "o.json"
    assert main(["compare", "--table", str(table), "--by", "L", "--json", str(out)]) == 0
    assert "from L=0 to L=1" in capsys.readouterr().out
    assert {entry["factor"] for entry in json.loads(out.read_text(encoding="utf-8"))} == {"L"}
    assert main(["claim", "--table", str(table), "--json", str(out)]) == 0
    assert "the claim IS UNDECIDED" in capsys.readouterr().out
    outcomes = {entry["dataset"]: entry["outcome"] for entry in json.loads(out.read_text(encoding="utf-8"))}
    assert outcomes == {"star": "undecided", "ethanol": "undecided"}
    assert main(["bounds", "--table", str(table), "--atoms", "9", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "[M] from memory" in printed
    assert "match" not in printed
    allowed = {"consistent", "vacuous", "not testable", "violated"}
    entries = json.loads(out.read_text(encoding="utf-8"))
    assert {entry["relation"] for entry in entries} <= allowed
    groups = {entry["statement"]: entry for entry in entries if entry["statement"].startswith("symmetry group")}
    assert [entry["quantity"] for entry in groups.values()] == ["prefactor", "dimension and prefactor", "prefactor"]
    assert "d from 27 to 21" in groups["symmetry group: continuous (translations, rotations)"]["assumption"]


def test_calibrate_reports_every_method(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--tables", "40"]) == 0
    printed = capsys.readouterr().out
    assert "kernel on the circle" in printed
    assert "(1) recommended" in printed


def test_dimension_of_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import ase.io
    from ase import Atoms

    rng = np.random.default_rng(0)
    angles = rng.uniform(1.2, 2.4, size=400)  # water with rigid bonds: one degree of freedom
    frames = [Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [0.96 * np.cos(a), 0.96 * np.sin(a), 0]]) for a in angles]
    path = tmp_path / "water.xyz"
    ase.io.write(path, frames)
    out = tmp_path / "d.json"
    assert main(["dimension", "--frames", str(path), "--json", str(out)]) == 0
    assert "1/slope of δ(P)" in capsys.readouterr().out
    entries = json.loads(out.read_text(encoding="utf-8"))
    assert [entry["space"] for entry in entries] == ["descriptor", "aligned_rmsd"]
    for entry in entries:
        assert entry["P"][-1] == 64  # 320 frames by five
        for name in ("d_eff", "two_nn", "levina_bickel"):
            # 80 test frames a subset, five subsets that share them: some 1/√80 = 11 %, twice
            assert entry[name] == pytest.approx(1.0, abs=0.25)


def test_dimension_calibrates_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dimension", "--calibrate"]) == 0
    assert "boundary" in capsys.readouterr().out


def test_dimension_refuses_what_it_cannot_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dimension", "--frames", str(tmp_path / "none.xyz")]) == 2
    (tmp_path / "bad.xyz").write_text("not frames", encoding="utf-8")
    assert main(["dimension", "--frames", str(tmp_path / "bad.xyz")]) == 2
    assert capsys.readouterr().err.count("\n") == 2


@pytest.mark.parametrize(
    "command",
    [
        "",
        "table",
        "fit",
        "figures",
        "report",
        "compare",
        "claim",
        "design",
        "forecast",
        "bounds",
        "calibrate",
        "dimension",
    ],
)
def test_help_of_every_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"] if command else ["--help"])
    assert stop.value.code == 0
    assert "usage: python -m analysis" in capsys.readouterr().out


def test_store_is_read_through_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import experiments.runs.table

    frame = demo_table()
    monkeypatch.setattr(experiments.runs.table, "run_table", lambda store: frame)
    out = tmp_path / "runs.csv"
    assert main(["table", "--store", str(tmp_path), "--csv", str(out)]) == 0
    assert main(["fit", "--store", str(tmp_path), "--json", str(tmp_path / "store.json")]) == 0
    assert main(["fit", "--table", str(out), "--json", str(tmp_path / "table.json")]) == 0
    assert (tmp_path / "store.json").read_text() == (tmp_path / "table.json").read_text()


def test_failed_runs_are_exit_1_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import experiments.runs.table
    from experiments.runs.store import RunStore

    monkeypatch.setattr(experiments.runs.table, "run_table", lambda store: demo_table())
    failed = RunStore(tmp_path).run("0123456789ab")
    failed.create({"P": 16})
    out = tmp_path / "fit.json"
    assert main(["fit", "--store", str(tmp_path), "--forms", "power", "--json", str(out)]) == 0  # queued: yet to come
    failed.set_state(RunState.FAILED, message="diverged")
    out.unlink()
    assert main(["fit", "--store", str(tmp_path), "--forms", "power", "--json", str(out)]) == 1
    assert out.exists()  # what there is is fitted
    assert "0123456789ab" in capsys.readouterr().err
    assert main(["table", "--store", str(tmp_path), "--csv", str(tmp_path / "t.csv")]) == 1
    assert (tmp_path / "t.csv").exists()


def test_refused_runs_are_named_and_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import experiments.runs.table
    from experiments.runs.store import RunStore

    monkeypatch.setattr(experiments.runs.table, "run_table", lambda store: demo_table())
    refused = RunStore(tmp_path).run("0123456789ab")
    refused.create({"P": 1000})
    refused.set_state(RunState.FAILED, message="P=1000: needs more memory", refused=True)
    assert main(["table", "--store", str(tmp_path), "--csv", str(tmp_path / "t.csv")]) == 0
    assert "1 run(s) were refused, so their points are missing: 0123456789ab" in caplog.text
    other = RunStore(tmp_path).run("ba9876543210")
    other.create({"P": 16})
    other.set_state(RunState.FAILED, message="diverged")
    assert main(["table", "--store", str(tmp_path), "--csv", str(tmp_path / "t.csv")]) == 1


def test_store_without_a_finished_run_is_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--store", str(tmp_path)]) == 2
    assert "no finished run" in capsys.readouterr().err


def test_store_whose_runs_all_failed_is_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from experiments.runs.store import RunStore

    failed = RunStore(tmp_path).run("0123456789ab")
    failed.create({"P": 16})
    failed.set_state(RunState.FAILED, message="diverged")
    assert main(["fit", "--store", str(tmp_path)]) == 1
    assert "failed" in capsys.readouterr().err
