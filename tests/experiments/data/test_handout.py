"""Subsets for other packages are those of the project's own runs, and what is filled in can be fitted."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest

from analysis import cli
from experiments.data.__main__ import main
from experiments.data.sources.extxyz import read_frames
from experiments.data.sources.star import StarConfig, star
from experiments.data.splits import training_subset

WORDS = ("ladder", "star", "data.pool=40", "data.holdout=5", "data.test=7", "--P", "8,4,16", "--seeds", "0,1")


@pytest.fixture
def out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main([*WORDS, "--out", str(tmp_path / "out")]) == 0
    assert "6 subsets of star_n4_l3, 10 files" in capsys.readouterr().out
    return tmp_path / "out"


def test_they_are_the_frames_of_our_own_runs(out: Path) -> None:
    made = star(StarConfig(pool=40, holdout=5, test=7))
    rows = list(csv.DictReader((out / "subsets.csv").open()))
    assert [(row["seed"], row["P"]) for row in rows] == [(s, p) for s in "01" for p in ("4", "8", "16")]
    for row in rows:
        chosen = training_subset(made, int(row["P"]), int(row["seed"]))
        content = (out / row["file"]).read_bytes()
        frames = read_frames(out / row["file"])
        assert hashlib.sha256(content).hexdigest() == row["sha256"]
        assert row["frames"] == " ".join(map(str, chosen))
        assert np.array_equal(frames.positions, made.pool.positions[chosen])
        assert np.array_equal(frames.energies, made.pool.energies[chosen])
        assert np.array_equal(frames.forces, made.pool.forces[chosen])
    for name, part in (("validation", made.holdout), ("test", made.test)):
        assert np.array_equal(read_frames(out / f"{name}.xyz").positions, part.positions)


def test_the_table_is_fitted_as_far_as_it_is_filled(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = out / "runs.csv"
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == 12
    assert cli.main(["fit", "--table", str(table)]) == 2
    assert "runs.csv: no row has an error yet" in capsys.readouterr().err
    for row in rows:
        if row["metric"] == "force_mae":
            row |= {"architecture": "mine", "error": str(100 * int(row["P"]) ** -0.5 * (1 + 0.01 * int(row["seed"])))}
    with table.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    filled = table.read_bytes()
    assert main([*WORDS, "--out", str(out)]) == 0
    assert table.read_bytes() == filled  # made again, nothing that was filled in is lost
    capsys.readouterr()
    assert cli.main(["fit", "--table", str(table)]) == 0
    said = capsys.readouterr()
    assert "mine" in said.out
    assert "0.50" in said.out


def test_a_folder_with_other_files_is_left_alone(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (out / "test.xyz").write_text("mine")
    assert main([*WORDS, "--out", str(out)]) == 2
    assert "test.xyz: holds something else; accepted: --out with another folder" in capsys.readouterr().err
    assert (out / "test.xyz").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("ladder", "star", "data.pool=40", "--P", "41"), "P=41: the pool holds 40 frames"),
        (("ladder", "null", "--P", "4"), "data=null: no such choice; accepted: "),
        (("ladder", "sphere", "--P", "4"), "has no forces; accepted: frames with energies and forces"),
    ],
)
def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str) -> None:
    assert main([*words, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
