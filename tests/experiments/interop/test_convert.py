"""`python -m experiments.interop.convert`: networks of other packages, then evaluated and calculated with like a
run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
import torch

from experiments.data.sources.extxyz import write_frames
from experiments.interop import convert
from experiments.interop.calculator import EquilawCalculator
from experiments.runs import evaluate
from experiments.runs.store import RunStore
from experiments.runs.table import run_table
from tests.experiments.finished import molecules
from tests.experiments.interop.test_from_mace import read

REFERENCES = Path(__file__).parents[1] / "models" / "references"


def checkpoint(folder: Path, name: str) -> tuple[Path, ase.Atoms, float, np.ndarray]:
    """Write a file as its package would; return it with the reference molecule, its energy and forces."""
    settings, weights, molecule = read(REFERENCES / f"{name}.safetensors")
    content: dict[str, Any]
    if name.startswith("mace"):
        content = {"tensors": weights, "settings": json.dumps(settings)}
        symbols = ["HCO"[kind] for kind in molecule["species"].tolist()]
    else:
        hyper = {"model": settings, "info_dict": {"versions": {"nequip": "0.19.1"}}}
        content = {"state_dict": {f"model.{k}": v for k, v in weights.items()}, "hyper_parameters": hyper}
        symbols = [settings["type_names"][kind] for kind in molecule["species"].tolist()]
    path = folder / f"{name}.pt"
    torch.save(content, path)
    atoms = ase.Atoms(symbols, molecule["positions"].numpy())
    return path, atoms, float(molecule["energies"].sum()), molecule["forces"].numpy()


@pytest.mark.parametrize("name", ["mace-L1-nu2", "nequip-L1", "nequip-scales"])
def test_a_converted_network_computes_its_packages_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path, atoms, energy, forces = checkpoint(tmp_path, name)
    assert convert.main([str(path), "--out", str(tmp_path / "made")]) == 0
    assert str(tmp_path / "made") in capsys.readouterr().out
    atoms.calc = EquilawCalculator(tmp_path / "made")
    # float64, the same sums in another order; energies of some eV
    assert atoms.get_potential_energy() == pytest.approx(energy, rel=1e-11)
    assert np.abs(atoms.get_forces() - forces).max() < 1e-11 * np.abs(forces).max()


def test_it_is_evaluated_like_a_run_but_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, *_ = checkpoint(tmp_path, "mace-L0-nu1")
    made = tmp_path / "store" / "made"
    assert convert.main([str(path), "--out", str(made)]) == 0
    write_frames(tmp_path / "test.xyz", molecules(2))
    assert evaluate.main([str(made), "data=extxyz", f"data.test={tmp_path / 'test.xyz'}"]) == 0
    assert "on the 6 examples of test" in capsys.readouterr().out
    assert len(run_table(RunStore(tmp_path / "store"))) == 0
    assert evaluate.main([str(made)]) == 2
    assert "a converted network has no data of its own; accepted: data=NAME beside it" in capsys.readouterr().err


def test_what_cannot_be_taken_over_has_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, *_ = checkpoint(tmp_path, "mace-L0-nu1")
    torch.save(torch.nn.Linear(1, 1), tmp_path / "whole.model")
    torch.save({"weights": 1}, tmp_path / "other.pt")
    (tmp_path / "garbage.pt").write_bytes(b"no checkpoint")
    (tmp_path / "half.pt").write_bytes(path.read_bytes()[:1000])
    cases = [
        ("whole.model", "reading it would run the code that it names; accepted: .*export whole.model --out FILE.pt"),
        ("other.pt", "lacks 'settings'; accepted: a checkpoint of nequip-train, or a file that .*export wrote"),
        ("garbage.pt", "can't be read|would run"),  # as torch takes it for a pickle or not
        ("half.pt", "can't be read"),
        ("absent.pt", "no such file"),
    ]
    for name, message in cases:
        assert convert.main([str(tmp_path / name), "--out", str(tmp_path / "made")]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert re.search(message, said), said
    assert not (tmp_path / "made").exists()
    assert convert.main([str(path), "--out", str(tmp_path)]) == 2
    assert "is there already; accepted: a new directory" in capsys.readouterr().err
