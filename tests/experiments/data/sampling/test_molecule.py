"""Names, bonds and torsions of molecules whose chemistry is known."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import molecule

from experiments.core.errors import InputError
from experiments.data.sampling.molecule import (
    BONDED_ON_AVERAGE,
    COMMON_NAMES,
    bonds,
    find_molecule,
    in_one_piece,
    torsions,
)


@pytest.mark.parametrize("name", sorted(COMMON_NAMES))
def test_common_names_exist(name: str) -> None:
    found = find_molecule(name)
    assert found.numbers.shape[0] == found.positions.shape[0] >= 3
    assert found.unpaired == 0


def test_names_do_not_mind_case() -> None:
    assert find_molecule("Ethanol").positions.tolist() == find_molecule("ch3ch2oh").positions.tolist()


@pytest.mark.parametrize(("name", "charge", "unpaired"), [("OH", 0, 1), ("O2", 0, 2), ("H2O", 1, 1), ("OH", -1, 0)])
def test_unpaired_electrons(name: str, charge: int, unpaired: int) -> None:
    assert find_molecule(name, charge).unpaired == unpaired


# (bonds, rotatable bonds): ethylene's double bond and benzene's ring do not turn; acetylene is straight
@pytest.mark.parametrize(
    ("name", "n_bonds", "n_torsions"),
    [
        ("water", 2, 0), ("methanol", 5, 1), ("ethanol", 8, 2), ("ethane", 7, 1), ("butane", 13, 3), ("ethylene", 5, 0),
        ("acetylene", 3, 0), ("benzene", 12, 0), ("acetone", 9, 2), ("acetic_acid", 7, 2),
    ],
)  # fmt: skip
def test_bonds_and_torsions(name: str, n_bonds: int, n_torsions: int) -> None:
    found = find_molecule(name)
    bonded = bonds(found.numbers, found.positions)
    assert (bonded == bonded.T).all()
    assert bonded.sum() == 2 * n_bonds
    turning = torsions(found.numbers, found.positions)
    assert len(turning) == n_torsions
    for torsion in turning:
        a, b, c, d = torsion.dihedral
        assert bonded[a, b]
        assert bonded[b, c]
        assert bonded[c, d]
        assert d in torsion.moving
        assert not {a, b, c} & set(torsion.moving)


def test_a_file(tmp_path: Path) -> None:
    atoms = molecule("CH3OH")
    ase.io.write(tmp_path / "mine.xyz", atoms)
    found = find_molecule(str(tmp_path / "mine.xyz"))
    np.testing.assert_array_equal(found.numbers, atoms.numbers)
    np.testing.assert_allclose(found.positions, atoms.positions, atol=1e-8)  # ASE writes eight decimals


def test_bad_molecules(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data.molecule=etanol: unknown \(near: ethanol"):
        find_molecule("etanol")
    with pytest.raises(InputError, match="no such file"):
        find_molecule(str(tmp_path / "absent.xyz"))
    (tmp_path / "bad.xyz").write_text("three\natoms\n")
    with pytest.raises(InputError, match=r"bad.xyz: not an .xyz file"):
        find_molecule(str(tmp_path / "bad.xyz"))
    with pytest.raises(InputError, match=r"data\.charge=10: water has 10 protons"):
        find_molecule("water", 10)


def test_a_moved_proton_is_no_break() -> None:
    """Malonaldehyde's proton at the other oxygen, and then far from both."""
    molecule = find_molecule("malonaldehyde")
    oxygens = np.flatnonzero(molecule.numbers == 8)
    apart = np.linalg.norm(molecule.positions[:, None] - molecule.positions[oxygens], axis=2)
    (proton,) = [n for n in np.flatnonzero(molecule.numbers == 1) if apart[n].min() < 1.2]
    donor, acceptor = oxygens[np.argsort(apart[proton])]
    assert in_one_piece(molecule.numbers, molecule.positions)
    way = molecule.positions[acceptor] - molecule.positions[donor]
    away = np.array([0.0, 0.0, 5.0])
    for shift, whole in ((way * (1 - 2 / np.linalg.norm(way)), True), (away, False)):
        moved = molecule.positions.copy()
        moved[proton] += shift
        assert in_one_piece(molecule.numbers, moved) == whole


def test_bonds_of_frames_are_those_of_mean_distances() -> None:
    """Hydrogen and oxygen at 0.9 and 1.6 Å in turn: 1.25 Å on average, 1.29 times their radii (0.31 + 0.66 Å)."""
    numbers = np.array([8, 1])
    frames = np.array([[[0.0, 0, 0], [r, 0, 0]] for r in (0.9, 1.6)])
    assert bonds(numbers, frames[0])[0, 1]
    assert not bonds(numbers, frames[1])[0, 1]
    assert bonds(numbers, frames)[0, 1]
    assert not bonds(numbers, frames, BONDED_ON_AVERAGE)[0, 1]
