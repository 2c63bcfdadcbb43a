"""The program that samples with GFN2-xTB: ``python -m experiments.data.xtb_walker DIRECTORY``.

It reads one task a line on standard input (``prepare``, ``pilot WALKER STEPS``, ``frames WALKER COUNT STRIDE``),
and answers on standard output with ``steps N`` for what is done already and as it goes, and at the end with ``done``,
or ``input MESSAGE`` for bad input. A
program of its own, because tblite reads OMP_NUM_THREADS once, when it is loaded: the caller starts it with one
thread, so that the sums, and with them the frames, do not depend on the number of cores.

Every walker is a chain of its own with its own random stream and its own file, saved every few seconds with all that
the chain needs to go on. Frames lie at the ends of blocks of ``stride`` steps, and each block starts the wave function
afresh, so where a chain was interrupted leaves no trace in it.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_masses, chemical_symbols
from ase.units import Bohr, Hartree
from scipy.optimize import minimize
from tblite.interface import Calculator

from experiments import files
from experiments.data.dataset import Floats, Ints
from experiments.data.molecule import Molecule, bonds, free_atom_spin, torsions
from experiments.data.sampler import Dynamics, NotConvergedError, Potential, State, advance, start
from experiments.data.walkers import BLOCK, Part, part_path
from experiments.errors import InputError

SAVE_EVERY = 5.0  # seconds
# tblite's accuracy: labels within 1e-6 eV/Å of the converged ones (measured); sampling needs no more than the default
LABEL_ACCURACY, SAMPLING_ACCURACY = 0.01, 1.0
_BROKEN = 1.7  # a bond this many times longer than at the minimum is broken


def xtb_potential(
    numbers: Ints, charge: int, unpaired: int, accuracy: float, method: str = "GFN2-xTB", cell: Floats | None = None
) -> Potential:
    """GFN2-xTB (Bannwarth, Ehlert & Grimme, J. Chem. Theory Comput. 15, 1652, 2019) or GFN1-xTB through tblite.

    With a ``cell`` (Å) periodic, at the Γ point.
    """
    calculator: Any = None
    box: dict[str, Any] = {} if cell is None else {"lattice": cell / Bohr, "periodic": np.ones(3, bool)}

    def potential(positions: Floats, memory: Any) -> tuple[float, Floats, Any]:
        nonlocal calculator
        try:
            if calculator is None:
                calculator = Calculator(method, numbers, positions / Bohr, float(charge), unpaired, **box)
                calculator.set("verbosity", 0)
                calculator.set("accuracy", accuracy)
            else:
                calculator.update(positions=positions / Bohr)
            result = calculator.singlepoint(memory)
        except RuntimeError as error:
            calculator = None
            raise NotConvergedError(" ".join(str(error).split())) from None
        return float(result.get("energy")) * Hartree, result.get("gradient") * (-Hartree / Bohr), result

    return potential


class Worker:
    """One process's tasks on the walkers of ``directory``; ``report`` is told the number of steps done."""

    def __init__(self, directory: Path, report: Callable[[int], None]) -> None:
        self.directory = directory
        self.report = report
        self.settings: dict[str, Any] = json.loads((directory / "settings.json").read_text())
        molecule = self.settings["geometry"]
        self.molecule = Molecule(
            np.array(molecule["numbers"], np.int64),
            np.array(molecule["positions"], np.float64),
            molecule["charge"],
            molecule["unpaired"],
            np.array(molecule["cell"]) if "cell" in molecule else None,
        )
        self.method = str(self.settings.get("method", "GFN2-xTB"))
        self.potential, self.label = (
            xtb_potential(
                self.molecule.numbers, self.molecule.charge, self.molecule.unpaired, accuracy, self.method,
                self.molecule.cell,
            )
            for accuracy in (SAMPLING_ACCURACY, LABEL_ACCURACY)
        )  # fmt: skip
        self.parent = os.getppid()
        self.saved = time.monotonic()

    def prepare(self) -> None:
        """The minimum that every walker starts from, and the energies of the free atoms."""
        shape = self.molecule.positions.shape

        def energy_and_slope(flat: Floats) -> tuple[float, Floats]:
            energy, forces, _ = self.potential(flat.reshape(shape), None)
            return energy, -forces.ravel()

        try:
            # 0.01 eV/Å is far below thermal forces of about 1 eV/Å: a start, not a result
            found = minimize(
                energy_and_slope, self.molecule.positions.ravel(), jac=True, method="L-BFGS-B", options={"gtol": 0.01}
            )
            isolated = {
                chemical_symbols[z]: xtb_potential(np.array([z]), 0, free_atom_spin(z), LABEL_ACCURACY, self.method)(
                    np.zeros((1, 3)), None
                )[0]
                for z in map(int, np.unique(self.molecule.numbers))
            }
        except NotConvergedError as error:
            raise InputError(f"data.molecule={self.settings['molecule']}: {self.method} fails on it: {error}") from None
        prepared = {
            "positions": found.x.reshape(shape).tolist(),
            "energy_eV": float(found.fun),
            "isolated_energies_eV": isolated,
            "tblite": importlib.metadata.version("tblite"),
        }
        files.write_json(self.directory / "prepared.json", prepared)

    def pilot(self, walker: int, steps: int) -> None:
        """Warm the walker up and bring its pilot series to ``steps`` steps."""
        dynamics, minimum = self._dynamics()
        part = self._part(walker, dynamics, minimum)
        self.report(part.warmed + len(part.observed))
        while part.warmed < self.settings["warm_up_steps"]:
            state, _ = self._advance(part.state, BLOCK, dynamics)
            part = self._keep(walker, replace(part, state=state, warmed=part.warmed + BLOCK), BLOCK)
        while len(part.observed) < steps:
            state, observed = self._advance(part.state, BLOCK, dynamics)
            part = self._keep(
                walker, replace(part, state=state, observed=np.concatenate([part.observed, observed])), BLOCK
            )
        self._keep(walker, part, 0, now=True)

    def frames(self, walker: int, count: int, stride: int) -> None:
        """Bring the walker to ``count`` frames, ``stride`` steps apart."""
        dynamics, minimum = self._dynamics()
        part = self._part(walker, dynamics, minimum)
        self.report(len(part.energies) * stride)
        bonded = bonds(self.molecule.numbers, minimum)
        longest = _BROKEN * np.linalg.norm(minimum[:, None] - minimum, axis=2)
        while len(part.energies) < count:
            state, _ = self._advance(part.state, stride, dynamics)
            x = state.positions
            energy, forces, _ = self._checked(self.label, x)
            if (bonded & (np.linalg.norm(x[:, None] - x, axis=2) > longest)).any():
                raise InputError(
                    f"data.temperature={dynamics.temperature:g}: a bond of {self.settings['molecule']} broke after "
                    f"{len(part.energies)} frames of walker {walker}; accepted: a temperature at which it stays whole"
                )
            part = Part(
                state, part.warmed, part.observed,
                np.concatenate([part.positions, x[None]]),
                np.concatenate([part.energies, [energy]]),
                np.concatenate([part.forces, forces[None]]),
            )  # fmt: skip
            part = self._keep(walker, part, stride)
        self._keep(walker, part, 0, now=True)

    def _dynamics(self) -> tuple[Dynamics, Floats]:
        minimum = np.array(json.loads((self.directory / "prepared.json").read_text())["positions"])
        settings = self.settings
        return (
            Dynamics(
                atomic_masses[self.molecule.numbers],
                settings["temperature"],
                settings["timestep"],
                settings["friction"],
                torsions(self.molecule.numbers, minimum) if self.molecule.cell is None else (),
                settings["torsion_every"],
            ),
            minimum,
        )

    def _part(self, walker: int, dynamics: Dynamics, minimum: Floats) -> Part:
        saved = Part.read(part_path(self.directory, walker))
        if saved is not None:
            return saved
        state = start(minimum, dynamics, (self.settings["seed"], walker))
        observables = 3 + 2 * len(dynamics.torsions)
        empty = np.zeros((0, *minimum.shape))
        return Part(state, 0, np.zeros((0, observables)), empty, np.zeros(0), empty)

    def _advance(self, state: State, steps: int, dynamics: Dynamics) -> tuple[State, Floats]:
        try:
            return advance(state, steps, dynamics, self.potential)
        except NotConvergedError as error:
            raise InputError(self._diverged(error)) from None

    def _checked(self, potential: Potential, positions: Floats) -> tuple[float, Floats, Any]:
        try:
            return potential(positions, None)
        except NotConvergedError as error:
            raise InputError(self._diverged(error)) from None

    def _diverged(self, error: NotConvergedError) -> str:
        return (
            f"data.temperature={self.settings['temperature']:g} data.timestep={self.settings['timestep']:g}: "
            f"{self.method} fails on a configuration of {self.settings['molecule']} ({error}); accepted: smaller values"
        )

    def _keep(self, walker: int, part: Part, steps: int, now: bool = False) -> Part:
        if os.getppid() != self.parent:  # whoever started us is gone, and somebody else may hold the directory
            sys.exit(1)
        self.report(steps)
        if now or time.monotonic() - self.saved > SAVE_EVERY:
            part.save(part_path(self.directory, walker))
            self.saved = time.monotonic()
        return part


def main(directory: Path) -> None:
    """Do the tasks on standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; whoever started us ends us
    worker = Worker(directory, lambda steps: print(f"steps {steps}", flush=True))
    for line in sys.stdin:
        task, *numbers = line.split()
        try:
            getattr(worker, task)(*map(int, numbers))
        except InputError as error:
            print(f"input {error}", flush=True)
        else:
            print("done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
