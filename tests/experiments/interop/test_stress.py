"""Stress: the derivative of the energy by strain, what labels never told, and cells that relax and breathe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.io import read, write
from ase.md.nose_hoover_chain import IsotropicMTKNPT
from ase.optimize import BFGS
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress
from scipy.spatial.transform import Rotation

from experiments.core.arrays import Floats
from experiments.interop.calculator import EquilawCalculator
from tests.conftest import ACE, MACE
from tests.experiments.finished import configuration, finished

CUTOFF = 5.0  # Å: two shells of neighbours
SMALL: dict[str, Any] = {"cutoff": CUTOFF, "n_layers": 1, "channels": 4}
MODELS: dict[str, tuple[dict[str, Any], int | None, int | None]] = {
    "mace": (dict(MACE, cutoff=CUTOFF), 1, 2),
    "nequip": ({"architecture": "nequip", "n_bessel": 3, "radial_hidden": [6], **SMALL}, 1, None),
    "tfn": ({"architecture": "tfn", **SMALL}, 1, None),
    "polynomial": ({"architecture": "polynomial", "edge_lmax": 1, "channels": 4, "cutoff": CUTOFF}, 1, 2),
    "mpnn": ({"architecture": "mpnn", **SMALL}, None, None),
    "ace": (dict(ACE, cutoff=CUTOFF, n_radial=4), None, 2),
    "ntk": ({"architecture": "ntk", "of": "mace", "edge_lmax": 1, **SMALL}, 1, 2),
}
"""Every way in which energies are computed: settings, L and nu."""
SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "mlearn"


def crystal(rng: np.random.Generator) -> ase.Atoms:
    """Four atoms of aluminium in a cell that is strained and skewed by 3 %, atoms scattered by 0.1 Å."""
    atoms = bulk("Al", "fcc", a=4.0, cubic=True)
    atoms.set_cell(atoms.cell @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3))), scale_atoms=True)
    atoms.positions += 0.1 * rng.normal(size=(4, 3))
    return atoms


def trained(path: Path, model: Mapping[str, Any], L: int | None, nu: int | None, P: int = 12) -> EquilawCalculator:
    """A model that saw energies and forces of ASE's effective-medium theory, and never a stress; in float64."""
    rng = np.random.default_rng(0)
    for name, count in (("train", 40), ("test", 5)):
        frames = [crystal(rng) for _ in range(count)]
        for atoms in frames:
            atoms.calc = EMT()
            atoms.get_forces()
        write(path / f"{name}.xyz", frames)
    config = configuration(path, "ace", {"P": P, "L": L, "nu": nu, "model": dict(model)})
    return EquilawCalculator(finished(config).path)


@pytest.fixture(scope="module", params=MODELS)
def calculator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> EquilawCalculator:
    return trained(tmp_path_factory.mktemp(request.param), *MODELS[request.param])


@pytest.fixture(scope="module")
def ace(tmp_path_factory: pytest.TempPathFactory) -> EquilawCalculator:
    """Good enough to be a potential."""
    return trained(tmp_path_factory.mktemp("good"), dict(ACE, cutoff=CUTOFF, n_radial=8, edge_lmax=2), None, 2, P=36)


def numerical(atoms: ase.Atoms, h: float = 1e-4) -> Floats:
    """(1/V) ∂E/∂ε by central differences of cell and positions."""
    stress = np.zeros((3, 3))
    for a, b in np.ndindex(3, 3):
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[a, b] += 0.5 * sign * h
            strain[b, a] += 0.5 * sign * h
            strained = atoms.copy()
            strained.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
            strained.calc = atoms.calc
            stress[a, b] += sign * strained.get_potential_energy() / (2 * h * atoms.get_volume())
    return np.asarray(full_3x3_to_voigt_6_stress(stress))


def test_stress_is_the_derivative_by_strain(calculator: EquilawCalculator) -> None:
    """Central differences of h = 1e-4 miss by h²/6 of third derivatives (at most some 1e3 of the stress here) and by
    round-off of E, 1e-13 eV/(1e-4 · 64 Å³): together below 1e-5 of a stress of this size."""
    atoms = crystal(np.random.default_rng(5))
    atoms.calc = calculator
    stress = atoms.get_stress()
    assert np.abs(stress).max() > 1e-4
    np.testing.assert_allclose(stress, numerical(atoms), atol=1e-5 * np.abs(stress).max() + 1e-9)


def test_a_slab_has_the_stress_of_its_plane(ace: EquilawCalculator) -> None:
    """Periodic in two directions, with a vacuum whose vector the strain stretches in vain."""
    atoms = crystal(np.random.default_rng(6))
    atoms.set_cell(np.diag([4.0, 4.1, 20.0]))
    atoms.pbc = [True, True, False]
    atoms.calc = ace
    np.testing.assert_allclose(atoms.get_stress(), numerical(atoms), atol=1e-7)  # as above; stresses of 1e-2 eV/Å³


def test_stress_turns_with_the_crystal(ace: EquilawCalculator) -> None:
    """And twice the cell has the same; round-off of float64 only, of stresses of 1e-2 eV/Å³."""
    atoms = crystal(np.random.default_rng(7))
    atoms.calc = ace
    turn = Rotation.from_rotvec([0.3, -1.2, 2.0]).as_matrix()
    other = atoms.copy()
    other.set_cell(atoms.cell @ turn.T, scale_atoms=True)
    double = atoms.repeat((2, 1, 1))
    other.calc = double.calc = ace
    expected = turn @ voigt_6_to_full_3x3_stress(atoms.get_stress()) @ turn.T
    np.testing.assert_allclose(other.get_stress(voigt=False), expected, atol=1e-12)
    np.testing.assert_allclose(double.get_stress(), atoms.get_stress(), atol=1e-12)


def test_stress_of_the_teacher(ace: EquilawCalculator) -> None:
    """Learned from energies and forces alone, in the teacher's sign, order and unit; a fit, so to 8 to 20 per cent. A
    wrong sign would be off by 200, two components exchanged by 140."""
    rng = np.random.default_rng(8)
    learned: list[Floats] = []
    true: list[Floats] = []
    for _ in range(10):
        atoms = crystal(rng)
        for calculator, stresses in ((ace, learned), (EMT(), true)):
            atoms.calc = calculator
            stresses.append(atoms.get_stress())
    error = np.sqrt(np.mean(np.square(np.array(learned) - true), axis=0))
    assert (error < 0.3 * np.std(true, axis=0)).all()


def test_a_cell_relaxes_to_the_teachers_crystal(ace: EquilawCalculator) -> None:
    atoms = crystal(np.random.default_rng(9))
    atoms.calc = ace
    before = atoms.get_potential_energy()
    assert BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=0.005, steps=100)
    assert atoms.get_potential_energy() < before - 0.05
    assert np.abs(atoms.get_stress()).max() < 1e-3
    # EMT's lattice constant is 3.99 Å; the model is a fit of frames around 4.0 Å
    assert atoms.get_volume() ** (1 / 3) == pytest.approx(3.99, abs=0.02)


def test_dynamics_at_constant_pressure(ace: EquilawCalculator) -> None:
    """Nosé–Hoover chains of Martyna, Tobias and Klein: under 5 GPa the cell shrinks from that of no pressure."""
    atoms = bulk("Al", "fcc", a=3.99, cubic=True)
    atoms.calc = ace
    spread = np.sqrt(100 * units.kB * atoms.get_masses())[:, None]
    atoms.set_momenta(spread * np.random.default_rng(0).normal(size=(4, 3)))
    step = units.fs
    dynamics = IsotropicMTKNPT(
        atoms, step, temperature_K=100, pressure_au=5 * units.GPa, tdamp=50 * step, pdamp=50 * step
    )
    before = atoms.get_volume()
    assert dynamics.run(30)
    assert 0.85 * before < atoms.get_volume() < 0.995 * before


def test_no_stress_without_a_volume(ace: EquilawCalculator) -> None:
    atoms = crystal(np.random.default_rng(0))
    atoms.pbc = False
    atoms.calc = ace
    assert np.isfinite(atoms.get_forces()).all()
    with pytest.raises(PropertyNotImplementedError, match=r"stress: pbc=\[False, False, False\]; accepted: periodic"):
        atoms.get_stress()


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"reference data are not at {SHARED}")
@pytest.mark.parametrize("element", ["Si", "Li"])
def test_frames_of_real_crystals(element: str, tmp_path: Path) -> None:
    """One published frame of each size, skewed cells among them; tolerance as for the toy crystal."""
    for name in ("train", "test"):
        frames = {len(atoms): atoms for atoms in read(SHARED / f"{element}_{name}.xyz", ":")}
        write(tmp_path / f"{name}.xyz", [frames[size] for size in sorted(frames) if size <= 64])
    config = configuration(tmp_path, "ace", {"P": 3, "model": MODELS["ace"][0]})
    atoms = read(tmp_path / "test.xyz", 0)
    atoms.calc = EquilawCalculator(finished(config).path)
    stress = atoms.get_stress()
    assert np.abs(stress).max() > 1e-5  # beside which 1e-9 is little
    np.testing.assert_allclose(stress, numerical(atoms), atol=1e-5 * np.abs(stress).max() + 1e-9)
