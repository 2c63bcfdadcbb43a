"""The program that samples with GFN2-xTB: `python -m experiments.data.sampling.xtb_walker DIRECTORY`.

It reads one task a line on standard input (`prepare`, `explore WALKER COUNT`, `fit WALKERS VERSION CHOSEN`,
`refine WALKER VERSION COUNT`, `pilot WALKER WARM_UP LINKS`, `frames WALKER COUNT STRIDE`), and answers on standard
output with `steps N` at the start for steps done earlier and then for each block, and at the end with `done`, or with
`input MESSAGE` for bad input. A chain consists of links: steps of Langevin dynamics or, with a surrogate, proposals. It
is a separate program because tblite reads OMP_NUM_THREADS once, when it is loaded: the caller starts it with one
thread, so that the sums, and with them the frames, do not depend on the number of cores.

Every walker is a chain with its own random stream and its own file, saved every few seconds with everything needed to
continue. Frames lie at the ends of blocks of `stride` links, and each block starts the wave function afresh, so that an
interruption does not change the frames.
"""

from __future__ import annotations

import functools
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
from ase.units import Bohr, Hartree, kB
from scipy.optimize import minimize
from tblite.interface import Calculator

from experiments.core import files
from experiments.core.arrays import Floats, Ints
from experiments.core.errors import InputError
from experiments.data.sampling import nested
from experiments.data.sampling.molecule import Molecule, Torsion, bonds, free_atom_spin, in_one_piece, torsions
from experiments.data.sampling.nested import tune_step
from experiments.data.sampling.sampler import Bonds, Dynamics, NotConvergedError, Potential, State, advance, start
from experiments.data.sampling.surrogate import Surrogate, fit_surrogate, rotor_permutations
from experiments.data.sampling.walkers import BLOCK, NESTED_BLOCK, ROUNDS, SETTLE, SPACING, Walk, read_walks, walk_path

SAVE_EVERY = 5.0  # seconds
# tblite's accuracy: labels within 1e-6 eV/Å of the converged ones (measured); sampling needs no more than the default
LABEL_ACCURACY, SAMPLING_ACCURACY = 0.01, 1.0
SIGMA = 10.0  # of the surrogate, in 1/Å; aspirin's errors are flat from 8 to 32 (measured)
_CEILING = 20.0  # kT above all explored energies: a surrogate fitted to frames above that errs more on the others


def xtb_potential(
    numbers: Ints, charge: int, unpaired: int, accuracy: float, method: str = "GFN2-xTB", cell: Floats | None = None
) -> Potential:
    """Return the potential of GFN2-xTB (Bannwarth et al., J. Chem. Theory Comput. 15, 1652, 2019) or GFN1-xTB.

    Computed by tblite with its setting `accuracy`; `charge` in e; periodic at the Γ point if there is a `cell` (Å).
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
    """The tasks of one process on the walkers of `directory`; calls `report` with numbers of finished steps."""

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
        self.nested = int(self.settings.get("surrogate_frames", 0)) > 0
        self.block = BLOCK if not self.nested else NESTED_BLOCK
        self.parent = os.getppid()
        self.saved = time.monotonic()

    def prepare(self) -> None:
        """Compute the minimum that every walker starts from, and the energies of the free atoms.

        Raises `InputError` if the method fails on the molecule.
        """
        shape = self.molecule.positions.shape

        def energy_and_slope(flat: Floats) -> tuple[float, Floats]:
            energy, forces, _ = self.potential(flat.reshape(shape), None)
            return energy, -forces.ravel()

        try:
            # 0.01 eV/Å is far below thermal forces of about 1 eV/Å: a start, not a result
            minimum = minimize(
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
            "positions": minimum.x.reshape(shape).tolist(),
            "energy_eV": float(minimum.fun),
            "isolated_energies_eV": isolated,
            "tblite": importlib.metadata.version("tblite"),
        }
        files.write_json(self.directory / "prepared.json", prepared)

    def explore(self, walker: int, count: int) -> None:
        """Run Langevin dynamics from the minimum until there are `count` frames to fit the first surrogate to."""
        walk = self._walk(walker, "explored") or self._started(walker)
        self.report(walk.warmed)
        while len(walk.energies) < count:
            steps = SPACING if walk.warmed else SETTLE
            state, _ = self._guarded(advance, walk.state, steps, self._dynamics, self.potential)
            energy, forces, _ = self._guarded(self.potential, state.positions, None)
            walk = _grown(replace(walk, state=state, warmed=walk.warmed + steps), state.positions, energy, forces)
            walk = self._keep(walker, walk, steps, "explored")
        self._keep(walker, walk, 0, "explored", now=True)

    def fit(self, walkers: int, version: int, chosen: int) -> None:
        """Fit surrogate number `version` to all frames that `walkers` have explored, and to `chosen` of each round.

        Chosen are the trials of the earlier rounds whose energy the surrogate of that round predicted worst.
        """
        known = read_walks(self.directory, walkers, "explored")
        positions, energies, forces = (
            [np.concatenate([getattr(walk, name) for walk in known])] for name in ("positions", "energies", "forces")
        )
        ceiling = energies[0].max() + _CEILING * kB * self.settings["temperature"]
        for earlier in range(1, version):
            known = read_walks(self.directory, walkers, f"refined{earlier}")
            tried = {
                name: np.concatenate([getattr(walk, name) for walk in known])
                for name in ("positions", "energies", "forces", "observed")
            }
            gaps = tried["observed"][:, 0]
            wrong = np.where(tried["energies"] < ceiling, np.abs(gaps - np.median(gaps)), -1.0)
            taken = [n for n in np.argsort(-wrong, kind="stable")[:chosen] if wrong[n] >= 0]
            positions.append(tried["positions"][taken])
            energies.append(tried["energies"][taken])
            forces.append(tried["forces"][taken])
        frames = np.concatenate(positions)
        symmetry = rotor_permutations(self.molecule.numbers, self._minimum)
        learned = fit_surrogate(frames, np.concatenate(energies), np.concatenate(forces), symmetry, SIGMA)
        step = tune_step(frames, learned, self.settings["temperature"], self.settings["seed"])
        learned.save(self.directory / f"surrogate_{version}.npz")
        files.write_json(self.directory / f"surrogate_{version}.json", {"frames": len(frames), "step_fs": step})

    def refine(self, walker: int, version: int, count: int) -> None:
        """Make `count` proposals of a surrogate; keep all trials, accepted or not, with the surrogate's errors."""
        stage = f"refined{version}"
        before = "explored" if version == 1 else f"refined{version - 1}"
        walk = self._walk(walker, stage) or self._continued(walker, before)
        self.report(walk.warmed)
        while walk.warmed < count:
            state, _, trials = self._guarded(nested.advance, walk.state, 1, self._proposals(version), self.potential)
            walk = replace(walk, state=state, warmed=walk.warmed + 1)
            for *answer, gap in zip(trials.positions, trials.energies, trials.forces, trials.gaps, strict=True):
                walk = replace(_grown(walk, *answer), observed=np.append(walk.observed.reshape(-1, 1), [[gap]], 0))
            walk = self._keep(walker, walk, 1, stage)
        self._keep(walker, walk, 0, stage, now=True)

    def pilot(self, walker: int, warm_up: int, links: int) -> None:
        """Warm the walker up for `warm_up` links and extend its pilot series to `links` links."""
        walk = self._chain(walker)
        self.report(walk.warmed + len(walk.observed))
        while walk.warmed < warm_up:
            state, _ = self._advance(walk.state, self.block)
            walk = self._keep(walker, replace(walk, state=state, warmed=walk.warmed + self.block), self.block)
        while len(walk.observed) < links:
            state, observed = self._advance(walk.state, self.block)
            observed = np.concatenate([walk.observed.reshape(-1, observed.shape[1]), observed])
            walk = self._keep(walker, replace(walk, state=state, observed=observed), self.block)
        self._keep(walker, walk, 0, now=True)

    def frames(self, walker: int, count: int, stride: int) -> None:
        """Extend the walker to `count` frames, `stride` links apart.

        Raises `InputError` if the molecule falls apart.
        """
        walk = self._chain(walker)
        self.report(len(walk.energies) * stride)
        copies = int(self.settings.get("copies", 1))
        while len(walk.energies) < count:
            state, _ = self._advance(walk.state, stride)
            x = state.positions
            energy, forces, _ = self._guarded(self.label, x, None)
            molecules = zip(np.split(self.molecule.numbers, copies), np.split(x, copies), strict=True)
            if not all(in_one_piece(*one) for one in molecules):
                raise InputError(
                    f"data.temperature={self.settings['temperature']:g}: {self.settings['molecule']} fell apart "
                    f"after {len(walk.energies)} frames of walker {walker}; accepted: a temperature at which it stays "
                    "whole"
                )
            walk = self._keep(walker, _grown(replace(walk, state=state), x, energy, forces), stride)
        self._keep(walker, walk, 0, now=True)

    @functools.cached_property
    def _minimum(self) -> Floats:
        return np.array(json.loads((self.directory / "prepared.json").read_text())["positions"])

    @functools.cached_property
    def _torsions(self) -> tuple[Torsion, ...]:
        return torsions(self.molecule.numbers, self._minimum) if self.molecule.cell is None else ()

    @functools.cached_property
    def _bonds(self) -> Bonds:
        minimum = self._minimum
        first, second = np.nonzero(np.triu(bonds(self.molecule.numbers, minimum)))
        return Bonds(first, second, np.linalg.norm(minimum[first] - minimum[second], axis=1))

    @functools.cached_property
    def _dynamics(self) -> Dynamics:
        settings = self.settings
        masses = atomic_masses[self.molecule.numbers]
        if settings.get("hydrogen_mass") is not None:
            masses = np.where(self.molecule.numbers == 1, settings["hydrogen_mass"], masses)
        return Dynamics(
            masses,
            settings["temperature"],
            settings["timestep"],
            settings["friction"],
            self._torsions,
            settings["torsion_every"],
            self._bonds,
        )

    @functools.cache  # noqa: B019  (one worker a process)
    def _proposals(self, version: int) -> nested.Proposals:
        known = json.loads((self.directory / f"surrogate_{version}.json").read_text())
        learned = Surrogate.read(self.directory / f"surrogate_{version}.npz")
        return nested.Proposals(learned, self.settings["temperature"], known["step_fs"], self._torsions, self._bonds)

    def _walk(self, walker: int, stage: str = "walker") -> Walk | None:
        return Walk.read(walk_path(self.directory, walker, stage))

    def _chain(self, walker: int) -> Walk:
        """Return the walk that frames come from, as saved or at its start."""
        walk = self._walk(walker)
        if walk is None:
            walk = self._continued(walker, f"refined{ROUNDS}") if self.nested else self._started(walker)
        return walk

    def _started(self, walker: int) -> Walk:
        """Return a walk that starts at the minimum."""
        return _begun(start(self._minimum, self._dynamics, (self.settings["seed"], walker)), self._minimum)

    def _continued(self, walker: int, stage: str) -> Walk:
        """Return a walk that starts where the walker's walk in another stage ended."""
        before = self._walk(walker, stage)
        assert before is not None
        return _begun(replace(before.state, tried=0, accepted=0), before.state.positions)

    def _advance(self, state: State, links: int) -> tuple[State, Floats]:
        if self.nested:
            state, observed, _ = self._guarded(
                nested.advance, state, links, self._proposals(ROUNDS + 1), self.potential
            )
            return state, observed
        advanced: tuple[State, Floats] = self._guarded(advance, state, links, self._dynamics, self.potential)
        return advanced

    def _guarded(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except NotConvergedError as error:
            raise InputError(self._diverged(error)) from None

    def _diverged(self, error: NotConvergedError) -> str:
        return (
            f"data.temperature={self.settings['temperature']:g} data.timestep={self.settings['timestep']:g}: "
            f"{self.method} fails on a configuration of {self.settings['molecule']} ({error}); accepted: smaller values"
        )

    def _keep(self, walker: int, walk: Walk, steps: int, stage: str = "walker", now: bool = False) -> Walk:
        if os.getppid() != self.parent:  # the starting process is gone, and another may hold the directory
            sys.exit(1)
        self.report(steps)
        if now or time.monotonic() - self.saved > SAVE_EVERY:
            walk.save(walk_path(self.directory, walker, stage))
            self.saved = time.monotonic()
        return walk


def _begun(state: State, positions: Floats) -> Walk:
    empty = np.zeros((0, *positions.shape))
    return Walk(state, 0, np.zeros((0, 0)), empty, np.zeros(0), empty)


def _grown(walk: Walk, positions: Floats, energy: float, forces: Floats) -> Walk:
    """Return the walk with one more frame."""
    return replace(
        walk,
        positions=np.concatenate([walk.positions, positions[None]]),
        energies=np.concatenate([walk.energies, [energy]]),
        forces=np.concatenate([walk.forces, forces[None]]),
    )


def main(directory: Path) -> None:
    """Carry out the tasks on standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the starting process ends this one
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
