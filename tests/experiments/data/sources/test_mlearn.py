"""Crystals of mlearn: files made here in the published form, and copies in extended XYZ where they are at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.core.errors import InputError
from experiments.data.load import load
from experiments.data.sources import mlearn
from tests.experiments.data.published_copies import laid_out, needed
from tests.experiments.data.served import serving

CELL = [[5.468728, 0.0, 0.0], [0.3, 5.1, 0.0], [-1.250001, 0.4, 6.2]]
ABC = [[0.984045, 0.023087, 0.005324], [0.25, 0.251, 0.749]]
FORCES = [[0.1, -0.00000001, 0.3], [-0.1, -0.0, -0.3]]
XYZ = """2
Lattice="5.468728 0.0 0.0 0.3 5.1 0.0 -1.250001 0.4 6.2" \
Properties=species:S:1:pos:R:3:forces:R:3 energy={e} pbc="T T T"
Si       5.38174554       0.11987330       0.03300880       0.10000000      -0.00000001       0.30000000
Si       0.50623125       1.57970000       4.64380000      -0.10000000      -0.00000000      -0.30000000
"""


def entry(energy: float = -10.8, abc: Any = ABC, forces: Any = FORCES, element: str = "Si") -> dict[str, Any]:
    """A frame as the published files have it; those give `xyz` of every site too, which is not read."""
    species = [{"element": element, "occu": 1}]
    sites = [{"species": species, "abc": place, "label": element, "properties": {}} for place in abc]
    lattice = {"matrix": CELL, "a": 5.468728, "alpha": 93.1, "volume": 172.9}
    structure = {"@module": "pymatgen.core.structure", "@class": "Structure", "charge": None, "lattice": lattice}
    outputs = {"energy": energy, "forces": forces, "virial_stress": [1.0, 2.0, 3.0, 0.0, 0.0, 0.0]}
    about = {"num_atoms": len(abc), "element": element, "group": "Vacancy", "description": "Snapshot 1 of 20"}
    return {"structure": structure | {"sites": sites}, "outputs": outputs, "tag": "train", **about}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EQUILAW_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "mlearn").mkdir(parents=True)
    return tmp_path / "data"


def write(root: Path, training: list[Any], test: list[Any]) -> None:
    for name, entries in (("training", training), ("test", test)):
        (root / "mlearn" / f"Si_{name}.json").write_text(json.dumps(entries))


def test_frames_are_read_as_they_are_meant(root: Path) -> None:
    one = entry(-5.4, ABC[:1], FORCES[:1])
    write(root, [entry(-10.8 - 0.01 * n) for n in range(4)], [one, entry(-10.7)])
    dataset = load({"source": "mlearn", "holdout": 1})
    assert (dataset.name, dataset.test_set, len(dataset.pool), len(dataset.holdout)) == ("mlearn_si", "test", 3, 1)
    assert dataset.isolated_energies is None  # the files have none
    assert dataset.test.energies.tolist() == [-5.4, -10.7]
    assert dataset.test.numbers.tolist() == [[14, 0], [14, 14]]  # padded to the largest frame of both files
    assert dataset.test.pbc.all()
    np.testing.assert_array_equal(dataset.test.cells, [CELL, CELL])
    np.testing.assert_array_equal(dataset.test.forces[1], FORCES)
    # fractions of lattice vectors, which are rows: 0.984045 a + 0.023087 b + 0.005324 c, to eight decimals
    np.testing.assert_array_equal(dataset.test.positions[0, 0], [5.38174554, 0.1198733, 0.0330088])


def test_a_copy_in_extended_xyz_gives_the_same_frames(root: Path) -> None:
    """A curve begun with one of the two is continued with the other: names of runs hang on every bit."""
    energies = [-10.8 - 0.01 * n for n in range(4)]
    write(root, [entry(e) for e in energies], [entry(-10.7)])
    published = load({"source": "mlearn", "holdout": 1}).sha256()
    for path in (root / "mlearn").iterdir():
        path.unlink()
    (root / "mlearn" / "Si_train.xyz").write_text("".join(XYZ.format(e=e) for e in energies))
    (root / "mlearn" / "Si_test.xyz").write_text(XYZ.format(e=-10.7))
    assert load({"source": "mlearn", "holdout": 1}).sha256() == published


def test_the_published_file_is_downloaded_and_its_checksum_recorded(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as server:
        monkeypatch.setattr(mlearn, "_REPOSITORIES", (f"{server.url}/mlearn",))
        for name in ("training", "test"):
            content = json.dumps([entry(-4.1, element="Cu")] * 3).encode()
            server.content[f"/mlearn/{mlearn._COMMIT}/data/Cu/{name}.json"] = content
        assert len(load({"source": "mlearn", "element": "Cu", "holdout": 1}).test) == 3
    path = root / "mlearn" / "Cu_training.json"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(InputError, match=r"Cu_training\.json: SHA-256 .* of when it was first read"):
        load({"source": "mlearn", "element": "Cu", "holdout": 1})


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"structure": {}}, r"Si_training\.json, frame 1: not a frame of mlearn \(KeyError: 'lattice'\)"),
        (entry(abc=[[0.1, 0.2], [0.3, 0.4]]), "frame 1: not a frame of mlearn"),
        (entry(forces=FORCES[:1]), r"frame 1: forces of shape \(1, 3\) for 2 atoms"),
        (entry(float("nan")), "frame 1: energy 'energy' is nan; accepted: a finite number"),
        (entry(element="Ge"), "frame 1: holds Ge2; accepted: Si alone"),
        ([1], "frame 1: not a frame of mlearn"),
    ],
)
def test_what_is_no_frame_is_named(root: Path, bad: Any, message: str) -> None:
    write(root, [entry(), bad], [entry()])
    with pytest.raises(InputError, match=message):
        load({"source": "mlearn", "holdout": 0})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", r"Si_test\.json: not a list of frames"),
        ("{}", r"Si_test\.json: not a list of frames"),
        (json.dumps([entry()])[:-9], r"Si_test\.json: not whole JSON .*; delete it to have it downloaded again"),
        (json.dumps([entry()]), r"data\.holdout=1: there are 1 training frames; accepted: fewer"),
    ],
)
def test_what_is_no_file_of_frames_is_named(root: Path, content: str, message: str) -> None:
    write(root, [entry()], [])
    (root / "mlearn" / "Si_test.json").write_text(content)
    with pytest.raises(InputError, match=message):
        load({"source": "mlearn", "holdout": 1})


@needed
@pytest.mark.parametrize(("element", "frames", "atoms"), [("Si", (214, 25), 96), ("Li", (241, 29), 84)])
def test_copies_of_the_published_sets(
    element: str, frames: tuple[int, int], atoms: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EQUILAW_DATA", str(laid_out(tmp_path / "copies")))
    dataset = load({"source": "mlearn", "element": element})
    assert (len(dataset.pool) + len(dataset.holdout), len(dataset.test)) == frames
    assert dataset.pool.numbers.shape[1] == dataset.test.numbers.shape[1] == atoms
    # PBE has silicon bound by 5.4 eV and lithium by 1.9 eV an atom; strained and hot frames have less
    per_atom = dataset.pool.energies / (dataset.pool.numbers > 0).sum(1)
    assert per_atom.min() == pytest.approx({"Si": -5.42, "Li": -1.91}[element], abs=0.02)
