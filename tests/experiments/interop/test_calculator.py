"""The calculator of ASE: the run's own predictions, forces that are gradients, symmetries, and dynamics."""

from __future__ import annotations

import json
from pathlib import Path

import ase
import numpy as np
import pytest
from ase import units
from ase.md.verlet import VelocityVerlet
from scipy.spatial.transform import Rotation

from experiments.core.errors import InputError
from experiments.data.dataset import Frames
from experiments.data.sources.extxyz import write_frames
from experiments.interop.calculator import EquilawCalculator
from experiments.runs import evaluate
from experiments.runs.store import Run
from tests.conftest import MakeConfig
from tests.experiments.finished import configuration, finished, molecules, queued


@pytest.fixture(scope="module", params=["mace", "ace"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train a run in float64."""
    return finished(configuration(tmp_path_factory.mktemp("user"), request.param))


@pytest.fixture
def calculator(run: Run) -> EquilawCalculator:
    return EquilawCalculator(run.path)


def molecule(frames: Frames, f: int = 0) -> ase.Atoms:
    real = frames.numbers[f] > 0
    return ase.Atoms(frames.numbers[f, real], frames.positions[f, real])


@pytest.fixture
def atoms(calculator: EquilawCalculator) -> ase.Atoms:
    """Return CH3O and OH, six atoms in two parts that see each other: a composition that was not trained on."""
    made = molecule(molecules(1, ((6, 8, 1, 1),), seed=7)) + ase.Atoms("OH", [[2.0, 2.0, 0.3], [2.6, 2.5, 0.9]])
    made.calc = calculator
    return made


def test_forces_are_the_gradient(atoms: ase.Atoms) -> None:
    """Central differences of step h miss by h²/6 of the third derivative and by round-off of E = 5000 eV over h.

    With h = 1e-3 Å: 1e-7 × third derivatives of 1 to 100 eV/Å³ of a short-trained network, and 1e-12/1e-3 eV/Å.
    """
    forces = atoms.get_forces()
    h = 1e-3
    numerical = np.zeros_like(forces)
    for n, axis in np.ndindex(*forces.shape):
        for sign in (1, -1):
            moved = atoms.copy()
            moved.calc = atoms.calc
            moved.positions[n, axis] += sign * h
            numerical[n, axis] -= sign * moved.get_potential_energy() / (2 * h)
    assert np.abs(forces).max() > 0.01
    np.testing.assert_allclose(forces, numerical, atol=1e-5)


def test_the_same_as_evaluate(run: Run, calculator: EquilawCalculator) -> None:
    """One molecule at a time, without the padding of the file's frames: only the order of sums differs."""
    _, path = evaluate.evaluate(run, evaluate.section_of(run, []))
    frames = molecules(5, seed=1)
    force_errors, energy_errors, sizes = [], [], []
    for f in range(len(frames)):
        atoms = molecule(frames, f)
        atoms.calc = calculator
        n = len(atoms)
        sizes.append(n)
        force_errors.append(np.abs(atoms.get_forces() - frames.forces[f, :n]).mean())
        energy_errors.append(abs(atoms.get_potential_energy() - frames.energies[f]) / n)
        assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    metrics = json.loads(path.read_text())["metrics"]
    assert np.average(force_errors, weights=sizes) == pytest.approx(metrics["force_mae"], rel=1e-9)
    # energies of 2000 eV in float64 end at 2e-13 eV
    assert np.mean(energy_errors) == pytest.approx(metrics["energy_mae"], rel=1e-9, abs=1e-11)


def test_rotation_translation_permutation(atoms: ase.Atoms) -> None:
    """Round-off of float64: 1e-16 of energies of 5000 eV, and of intermediate values some 1e3 times the forces."""
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    rotation = Rotation.from_rotvec([0.3, -1.2, 2.0]).as_matrix()
    order = np.random.default_rng(0).permutation(len(atoms))
    for improper in (1.0, -1.0):
        other = ase.Atoms(atoms.numbers[order], improper * atoms.positions[order] @ rotation.T + [3.0, -20.0, 7.0])
        other.calc = atoms.calc
        assert other.get_potential_energy() == pytest.approx(energy, abs=1e-9)
        np.testing.assert_allclose(other.get_forces(), improper * forces[order] @ rotation.T, atol=1e-9)
    np.testing.assert_allclose(forces.sum(0), 0.0, atol=1e-9)


def test_molecules_far_apart_add_up(atoms: ase.Atoms) -> None:
    """Any size: ten molecules on a line, 60 atoms, and one atom alone."""
    many = ase.Atoms()
    for k in range(10):
        copy = atoms.copy()
        copy.translate([20.0 * k, 0, 0])
        many += copy
    lone = ase.Atoms("C", [[0, 0, -30.0]], calculator=atoms.calc)
    many += lone
    many.calc = atoms.calc
    together = 10 * atoms.get_potential_energy() + lone.get_potential_energy()
    assert many.get_potential_energy() == pytest.approx(together, rel=1e-12)  # sums of float64
    np.testing.assert_allclose(many.get_forces()[:6], atoms.get_forces(), atol=1e-9)
    np.testing.assert_array_equal(lone.get_forces(), 0.0)


def test_periodic_cells(atoms: ase.Atoms) -> None:
    """A cell smaller than twice the cutoff: twice the cell has twice the energy and the same forces."""
    atoms.set_cell([6.0, 6.5, 7.0])
    atoms.pbc = [True, True, False]
    alone = atoms.copy()
    alone.pbc = False
    alone.calc = atoms.calc
    double = atoms.repeat((2, 1, 1))
    double.calc = atoms.calc
    assert double.get_potential_energy() == pytest.approx(2 * atoms.get_potential_energy(), rel=1e-12)
    np.testing.assert_allclose(double.get_forces()[:6], atoms.get_forces(), atol=1e-9)
    assert np.abs(alone.get_forces() - atoms.get_forces()).max() > 1e-6  # images were seen
    atoms.set_cell(np.zeros((3, 3)))
    with pytest.raises(InputError, match="independent cell vectors"):
        atoms.get_potential_energy()


def test_dynamics_conserve_energy(calculator: EquilawCalculator) -> None:
    """Velocity Verlet's energy error is of second order: with half the step it is a quarter (4.0 and 4.1 measured;
    terms of higher order are within the bounds). Forces that are not the energy's gradient would spoil that."""

    def wander(step: float) -> float:
        atoms = molecule(molecules(1, ((6, 8, 1, 1),), seed=3))
        atoms.calc = calculator
        spread = np.sqrt(300 * units.kB * atoms.get_masses())[:, None]
        atoms.set_momenta(spread * np.random.default_rng(0).normal(size=(len(atoms), 3)))
        energies = []
        dynamics = VelocityVerlet(atoms, step * units.fs)
        dynamics.attach(lambda: energies.append(atoms.get_total_energy()))
        dynamics.run(round(12 / step))
        return float(np.std(energies))

    coarse, fine = wander(0.5), wander(0.25)
    assert coarse < 0.02  # of 0.16 eV of kinetic energy
    assert 2.5 < coarse / fine < 6


def test_what_it_refuses(run: Run, calculator: EquilawCalculator, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="elements N, F: the model never saw them; accepted: H, C, O"):
        ase.Atoms("NF", [[0, 0, 0], [0, 0, 1.2]], calculator=calculator).get_potential_energy()
    with pytest.raises(InputError, match="lie on the same point"):
        ase.Atoms("HH", calculator=calculator).get_forces()
    with pytest.raises(InputError, match="position is not finite"):
        ase.Atoms("HH", [[0, 0, 0], [0, 0, np.nan]], calculator=calculator).get_forces()
    with pytest.raises(InputError, match="without atoms"):
        ase.Atoms(calculator=calculator).get_potential_energy()
    with pytest.raises(InputError, match=r"no run is there; accepted: <store>/<id>"):
        EquilawCalculator(tmp_path)
    with pytest.raises(InputError, match="the run is queued"):
        EquilawCalculator(queued(configuration(tmp_path, "mace")).path)


def test_star_is_refused(make_config: MakeConfig) -> None:
    with pytest.raises(InputError, match=r"its frames list their bonds \(data=star, data=polynomial\)"):
        EquilawCalculator(finished(make_config(model="ace")).path)


def test_one_composition_gives_forces_of_others_but_no_energies(tmp_path: Path) -> None:
    write_frames(tmp_path / "train.xyz", molecules(20, ((6, 8, 1, 1),)))
    write_frames(tmp_path / "test.xyz", molecules(5, ((6, 8, 1, 1),), seed=1))
    calculator = EquilawCalculator(finished(configuration(tmp_path, "ace", {"P": 10})).path)
    known, other = (molecule(molecules(1, c), 0) for c in (((6, 8, 1, 1),), ((6, 1, 1),)))
    known.calc = other.calc = calculator
    assert known.get_potential_energy() == pytest.approx(-3026, abs=10)
    assert np.isfinite(other.get_forces()).all()
    with pytest.raises(InputError, match=r"composition H2C1: .* do not determine"):
        other.get_potential_energy()
