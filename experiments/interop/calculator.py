"""A finished run as an ASE calculator: relaxations (of cells, too), vibrations and molecular dynamics."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import ase
import numpy as np
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from experiments.core.errors import InputError
from experiments.data.dataset import Frames
from experiments.runs import trained
from experiments.runs.execute import device_of
from experiments.runs.store import Run


class EquilawCalculator(Calculator):  # type: ignore[misc]
    """Energies (eV), forces (eV/Å) and stress (eV/Å³) of the run in `run_directory` (`<store>/<id>`).

    Any number of atoms of the elements that the run was trained on, also in periodic cells, in the run's precision.
    Where the training frames do not determine the energy of a composition, forces and stress can be had and energies
    are refused. Stress is (1/V) ∂E/∂ε as ASE has it: positive where the cell is under tension, in Voigt's order xx,
    yy, zz, yz, xz, xy.

    Raises:
        InputError: no such run, or not done; a run on the star teacher, whose bonds ASE's molecules do not carry. At a
            calculation: elements that the model never saw, atoms on one point, an undetermined energy.
        PropertyNotImplementedError: stress of atoms without a periodic cell, or of a model that has no derivative.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, run_directory: str | os.PathLike[str], device: str = "cpu", **settings: Any) -> None:
        super().__init__(**settings)
        self.trained = trained.load(Run(Path(os.path.abspath(run_directory))), device_of(device))
        if self.trained.bonded:
            raise InputError(
                f"{os.fspath(run_directory)}: its frames list their bonds (data=star, data=polynomial), which ASE's "
                "atoms do not; accepted: runs on molecules"
            )

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fill `results`; see `ase.calculators.calculator.Calculator`."""
        super().calculate(atoms, properties, system_changes)
        frames = _frames(self.atoms)
        self.trained.check(frames)
        predicted = self.trained.geometry(frames)
        self.results = {"forces": predicted.forces[0]}
        bulk = bool(self.atoms.pbc.any()) and self.atoms.cell.rank == 3
        if bulk and predicted.virials is not None:
            self.results["stress"] = full_3x3_to_voigt_6_stress(predicted.virials[0] / self.atoms.get_volume())
        elif "stress" in properties:
            lacks = "this model has no derivative by strain" if bulk else f"pbc={self.atoms.pbc.tolist()}"
            raise PropertyNotImplementedError(
                f"stress: {lacks}; accepted: periodic atoms with three cell vectors, and a network, ace or ntk"
            )
        try:
            energy = float(predicted.energies[0] + self.trained.constants(frames.numbers)[0])
        except InputError:
            if {"energy", "free_energy"} & set(properties):
                raise
        else:
            self.results |= {"energy": energy, "free_energy": energy}


def _frames(atoms: ase.Atoms) -> Frames:
    """Return the atoms as one frame without labels."""
    if len(atoms) == 0:
        raise InputError("a molecule without atoms; accepted: one atom or more")
    cell = np.where(atoms.pbc[:, None], np.asarray(atoms.cell), 0.0)
    if np.linalg.matrix_rank(cell) < atoms.pbc.sum():
        raise InputError(f"pbc={atoms.pbc.tolist()}: accepted: as many independent cell vectors in Å")
    return Frames(
        numbers=atoms.numbers[None].astype(np.int64),
        positions=atoms.positions[None].astype(np.float64),
        energies=np.zeros(1),
        forces=np.zeros((1, len(atoms), 3)),
        cells=cell[None].astype(np.float64),
        pbc=atoms.pbc[None].astype(bool),
    )
