"""Several stores and tables in one analysis: one table of all, conflicts named with their places."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.calibration.synthetic import curve_rows
from analysis.cli import main
from analysis.curve import curves
from analysis.errors import InputError
from analysis.table import load

SAME: dict[str, Any] = {"dataset": "aspirin", "metric": "force_mae", "unit": "meV/Å"}


def rows(model: str, seed: int = 0, **columns: Any) -> pd.DataFrame:
    """One curve of five seeds."""
    return curve_rows(np.random.default_rng(seed), beta=0.5, prefactor=1.0, architecture=model, **SAME, **columns)


def written(folder: Path, name: str, frame: pd.DataFrame) -> Path:
    path = folder / name
    frame.to_csv(path, index=False)
    return path


def test_curves_of_several_tables_are_fitted_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = written(tmp_path, "a.csv", rows("mace")), written(tmp_path, "b.csv", rows("nequip", 1))
    out = tmp_path / "fit.json"
    assert main(["fit", "--table", str(a), "--table", str(b), "--forms", "power", "--json", str(out)]) == 0
    entries = json.loads(out.read_text())
    assert {entry["architecture"] for entry in entries} == {"mace", "nequip"}
    alone = tmp_path / "alone.json"
    pd.concat([pd.read_csv(a), pd.read_csv(b)]).to_csv(tmp_path / "both.csv", index=False)
    assert main(["fit", "--table", str(tmp_path / "both.csv"), "--forms", "power", "--json", str(alone)]) == 0
    assert json.loads(alone.read_text()) == entries  # as if one table had held them
    assert capsys.readouterr().err == ""


def test_where_a_row_is_from_is_kept_only_where_needed(tmp_path: Path) -> None:
    a, b = written(tmp_path, "a.csv", rows("mace")), written(tmp_path, "b.csv", rows("nequip", 1))
    assert "store" not in load(a, None).rows.columns
    assert "store" not in load([a, a], None).rows.columns  # the same one twice
    both = load([a, b], None).rows
    assert both.groupby("architecture")["store"].unique().map(list).to_dict() == {"mace": [str(a)], "nequip": [str(b)]}
    assert both["line"].is_unique


def test_what_two_tables_share_counts_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frame = rows("mace")
    seeds = frame["seed"].astype(int)
    a, b = (written(tmp_path, f"{n}.csv", frame[part]) for n, part in (("a", seeds < 2), ("b", seeds >= 1)))
    with caplog.at_level(logging.WARNING):
        table = load([a, b], None)
    (curve,) = curves(table)
    assert curve.seeds == tuple("01234")
    assert len(table.rows) == len(frame)
    assert f"{int((seeds == 1).sum())} rows are in several of them, and are counted once" in caplog.text


def test_two_results_of_one_run_are_named_with_their_places(tmp_path: Path) -> None:
    frame = rows("mace").assign(run_id=lambda f: [f"{p}-{s}" for p, s in zip(f["P"], f["seed"], strict=True)])
    other = frame.assign(error=frame["error"] * np.where(np.arange(len(frame)) == 4, 1.01, 1.0))
    a, b = written(tmp_path, "a.csv", frame), written(tmp_path, "b.csv", other)
    with pytest.raises(InputError) as refused:
        load([a, b], None)
    first = frame.iloc[4]
    told = f"1 bad row ({b}, line 6: same curve, P={first['P']:g} and seed={first['seed']} as {a}, line 6; error "
    assert told in str(refused.value)
    assert "correct the table or pass --drop-bad" in str(refused.value)
    kept = load([a, b], None, drop_bad=True)
    assert len(kept.rows) == len(frame)
    assert kept.dropped[0].place == f"{b}, line 6"


def test_other_data_of_the_same_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Seeds of two tables would be one curve; with digests that differ they are refused, else told."""
    frame = rows("mace", dataset_sha256="a" * 64)
    more = rows("mace", 1, dataset_sha256="b" * 64)
    more["seed"] = more["seed"].astype(int) + 5
    a, b = written(tmp_path, "a.csv", frame), written(tmp_path, "b.csv", more)
    with caplog.at_level(logging.WARNING), pytest.raises(InputError, match="aspirin is other data here than in"):
        load([a, b], None)
    assert f"aspirin is the name of different data (dataset_sha256: {a}: aaaaaa; {b}: bbbbbb)" in caplog.text
    named = [written(tmp_path, f"m{n}.csv", f.assign(model_id=str(n))) for n, f in enumerate((frame, more))]
    assert len(curves(load(named, None))) == 2


@pytest.mark.parametrize("command", ["fit", "compare", "claim", "bounds", "report", "figures"])
def test_without_any_source_one_line_says_what_to_give(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = {"report": ["--out", "r.html"], "figures": ["--out", "f"]}.get(command, [])
    assert main([command, *out]) == 2
    assert capsys.readouterr().err == "python -m analysis: no run table: give --table FILE.csv or --store DIR\n"


def test_noise_by_hand_stands_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = written(tmp_path, "a.csv", rows("mace"))
    assert main(["design", "--noise", "0.05", "0.03", "--table", str(table)]) == 2
    assert "accepted: one of them" in capsys.readouterr().err
