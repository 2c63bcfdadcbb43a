"""The benchmarks of ladders on tiny cases: rows of a pass beside its runs; the table and figure of what they cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import ladder_cost
from benchmarks.ladder import benchmarks, labelled, silicon
from benchmarks.ladder_cost import Case
from experiments.data.dataset import Frames


def test_rows_of_a_tiny_ladder() -> None:
    rows = benchmarks(channels=2, sizes=(2, 3), tests=(4,))
    assert [row["peer"] for row in rows] == ["its runs one by one", "its largest run alone"]
    for row in rows:
        assert row["kind"] == "ladder"
        assert row["ratio"] == pytest.approx(row["peer_ms"] / row["ours_ms"])
        assert row["ours_ms"] > 0
    assert rows[0]["peer_ms"] > rows[1]["peer_ms"]
    assert "P = 2…3, MACE cell C linearised, 2 channels" in rows[0]["name"]


@pytest.mark.parametrize("made", [labelled(1), silicon(1, 8)], ids=["ethanol", "silicon"])
def test_made_up_forces_are_slopes_of_the_energies(made: Frames) -> None:
    """Along one direction, by central differences."""
    direction = np.random.default_rng(1).normal(size=made.positions.shape)
    wanted = -float((made.forces * direction).sum())
    energies = []
    for step in (1e-4, -1e-4):
        x = made.positions + step * direction
        if made.pbc.any():
            energies.append(energy_of_crystal(replace(made, positions=x)))
        else:
            r = np.linalg.norm(x[0, :, None] - x[0], axis=-1)[np.triu_indices(x.shape[1], 1)]
            energies.append(float(np.exp(1 - r).sum()))
    assert (energies[0] - energies[1]) / 2e-4 == pytest.approx(wanted, rel=1e-2)  # pairs may cross 5 Å: e⁻⁴ of a slope


def energy_of_crystal(frame: Frames) -> float:
    """Sum exp(1 − r/Å) over pairs within 5 Å, images of two cells in every direction included."""
    x, cell = frame.positions[0], frame.cells[0]
    shifts = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3) @ cell
    r = np.linalg.norm(x[:, None, None] - x[None, :, None] - shifts, axis=-1)
    near = (r > 1e-9) & (r < 5)
    return float(np.exp(1 - r[near]).sum() / 2)


def test_costs_are_printed_and_drawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = (
        Case("P", 2, (2,), channels=2), Case("P", 4, (2, 4), channels=2), Case("atoms", 8, (2,), channels=2, atoms=8)
    )  # fmt: skip
    monkeypatch.setattr(ladder_cost, "CASES", cases)
    monkeypatch.setattr(ladder_cost, "TEST_FRAMES", 4)
    assert ladder_cost.main(["--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].startswith("| ethanol, 2 channels, P = 2, 4 | ")
    assert "silicon, 8 atoms" in lines[4]
    table = (tmp_path / "ladder_cost.csv").read_text(encoding="utf-8").splitlines()
    assert table[0] == "axis,value,cpu_seconds,peak_gb"
    assert [float(row.split(",")[2]) > 0 for row in table[1:]] == [True] * 3
    assert (tmp_path / "ladder_cost.png").stat().st_size > 0


def test_a_ladder_that_is_killed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder_cost, "_answer", lambda case, sending: None)
    with pytest.raises(RuntimeError, match="P = 2: the process ended with code 0"):
        ladder_cost.measure(Case("P", 2, (2,)))
