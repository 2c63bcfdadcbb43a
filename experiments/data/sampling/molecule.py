"""One molecule: its atoms from a name or a file, its bonds, and its rotatable bonds."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

import ase
import ase.build
import ase.io
import numpy as np
from ase import units
from ase.collections import g2
from ase.data import atomic_masses, covalent_radii, ground_state_magnetic_moments
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial.transform import Rotation

from experiments.core.arrays import Floats, Ints
from experiments.core.errors import InputError

# Common names of molecules in ASE's collection (the G2 set, which goes by formulas).
COMMON_NAMES = {
    "water": "H2O",
    "ammonia": "NH3",
    "methane": "CH4",
    "ethane": "C2H6",
    "propane": "C3H8",
    "butane": "trans-butane",
    "ethylene": "C2H4",
    "acetylene": "C2H2",
    "benzene": "C6H6",
    "methanol": "CH3OH",
    "ethanol": "CH3CH2OH",
    "formaldehyde": "H2CO",
    "acetaldehyde": "CH3CHO",
    "acetone": "CH3COCH3",
    "formic_acid": "HCOOH",
    "acetic_acid": "CH3COOH",
    "dimethyl_ether": "CH3OCH3",
    "acetamide": "CH3CONH2",
}
GEOMETRIES = Path(__file__).parent / "geometries"
"""Molecules that ASE's collection lacks: minima of GFN2-xTB, found from conformers of a force field."""
_BOX_STREAM = 20221118  # keeps the orientations in a box apart from every other use of a small seed
BONDED = 1.3
"""Two atoms are bonded below this multiple of the sum of their covalent radii (as xyz viewers do)."""
BONDED_ON_AVERAGE = 1.25
"""The same for mean distances over frames. It is smaller because a hydrogen that hops between two oxygens averages
near 1.3 (1.26 Å) if it spends more time at one, and permutations must not depend on that. No pair of atoms of a
molecule in ASE's collection or in ours lies between the two values at rest; results exist for both."""
_TORN = 1.7  # beyond this multiple two atoms have come apart
_DOUBLE = 0.9  # below this multiple a bond is at least double and does not rotate
_LINEAR = np.cos(np.deg2rad(170))  # cosine of the bond angle beyond which a dihedral is undefined


@dataclass(frozen=True)
class Molecule:
    """A molecule, or a periodic box of molecules.

    Atomic `numbers` `[N]`, `positions` `[N, 3]` in Å, total `charge` in e, number of `unpaired` electrons; lattice
    vectors `cell` `[3, 3]` in Å for a box.
    """

    numbers: Ints
    positions: Floats
    charge: int
    unpaired: int
    cell: Floats | None = None


@dataclass(frozen=True)
class Torsion:
    """A rotatable bond b–c: the four atoms (a, b, c, d) of its `dihedral`, and the `moving` atoms on c's side."""

    dihedral: tuple[int, int, int, int]
    moving: tuple[int, ...]


def find_molecule(name: str, charge: int = 0) -> Molecule:
    """Find a molecule by common name, by its name in ASE's collection, or in an .xyz file (first frame).

    `charge` in e. Raises `InputError` for an unknown name, an unusable file, or a charge that leaves no electron.
    """
    if name.endswith(".xyz"):
        atoms = _from_file(name)
    else:
        ours = {path.stem: str(path) for path in GEOMETRIES.glob("*.xyz")}
        known = {key.lower(): key for key in g2.names} | COMMON_NAMES | ours
        key = known.get(name.lower())
        if key is None:
            near = difflib.get_close_matches(name.lower(), known, n=3)
            hint = f" (near: {', '.join(near)})" if near else ""
            raise InputError(
                f"data.molecule={name}: unknown{hint}; accepted: a file ending in .xyz, a name in ASE's molecule "
                f"collection such as CH3OH, or one of {', '.join([*COMMON_NAMES, *sorted(ours)])}"
            )
        atoms = _from_file(key) if key.endswith(".xyz") else ase.build.molecule(key)
    electrons = int(atoms.numbers.sum()) - charge
    if electrons < 1:
        raise InputError(
            f"data.charge={charge}: {name} has {int(atoms.numbers.sum())} protons; no electron would remain"
        )
    moments = round(abs(float(atoms.get_initial_magnetic_moments().sum())))
    unpaired = moments if (electrons - moments) % 2 == 0 else electrons % 2
    return Molecule(atoms.numbers.astype(np.int64), atoms.positions.astype(np.float64), charge, unpaired)


def liquid(molecule: Molecule, copies: int, density: float, seed: int) -> Molecule:
    """Build a cubic periodic box of `copies` of a molecule at `density` (g/cm³), on a lattice, randomly oriented.

    The lattice melts while the walkers warm up. No molecule is split across the boundary.
    """
    mass = float(atomic_masses[molecule.numbers].sum())
    side = (copies * mass / (density * 1e-24 * units.kg * 1e-3)) ** (1 / 3)  # Å; 1 g/cm³ is 10^−24 g/Å³
    per_edge = int(np.ceil(copies ** (1 / 3) - 1e-9))
    sites = np.stack(np.unravel_index(np.arange(per_edge**3), (per_edge,) * 3), axis=1) * side / per_edge
    rng = np.random.default_rng([_BOX_STREAM, seed])
    chosen = sites[np.sort(rng.permutation(len(sites))[:copies])]
    rotations = Rotation.random(copies, rng=rng).as_matrix()
    centred = molecule.positions - molecule.positions.mean(axis=0)
    positions = (centred @ rotations.transpose(0, 2, 1) + chosen[:, None]).reshape(-1, 3)
    return Molecule(
        np.tile(molecule.numbers, copies),
        positions,
        molecule.charge * copies,
        (molecule.unpaired * copies) % 2,
        side * np.eye(3),
    )


def _from_file(name: str) -> ase.Atoms:
    if not Path(name).is_file():
        raise InputError(f"data.molecule={name}: no such file; accepted: an .xyz file or a molecule's name")
    try:
        atoms = ase.io.read(name, index=0)
    except Exception as error:  # ASE raises whatever its parser stumbles on
        reason = " ".join(str(error).split())
        raise InputError(f"data.molecule={name}: not an .xyz file ({type(error).__name__}: {reason})") from None
    if len(atoms) == 0 or (atoms.numbers < 1).any() or not np.isfinite(atoms.positions).all():
        raise InputError(
            f"data.molecule={name}: accepted: a file with at least one atom, known elements and finite positions"
        )
    return atoms


def free_atom_spin(number: int) -> int:
    """Return the number of unpaired electrons of the free atom in its ground state."""
    return round(float(ground_state_magnetic_moments[number]))


def bonds(numbers: Ints, positions: Floats, below: float = BONDED) -> NDArray[np.bool_]:
    """Return the symmetric matrix `[N, N]` of bonded pairs, by covalent radii (Cordero et al. 2008).

    Args:
        numbers: atomic numbers `[N]`.
        positions: `[N, 3]` in Å, or `[F, N, 3]` of frames, whose mean distances are taken.
        below: largest distance, in units of the sum of the covalent radii.
    """
    ratio = _length_ratio(numbers, positions)
    return np.asarray((ratio < below) & ~np.eye(len(numbers), dtype=bool))


def in_one_piece(numbers: Ints, positions: Floats) -> bool:
    """Return whether no atom or group has left the molecule; a proton may move from one atom to another.

    Atoms count as connected up to 1.7 times the sum of their covalent radii, beyond thermal stretching of a bond.
    """
    near = _length_ratio(numbers, positions) < _TORN
    return int(connected_components(near, directed=False)[0]) == 1


def torsions(numbers: Ints, positions: Floats) -> tuple[Torsion, ...]:
    """Find the rotatable bonds: single by length, not in a ring, with further neighbours on both sides."""
    bonded = bonds(numbers, positions)
    ratio = _length_ratio(numbers, positions)
    rotatable = []
    for b, c in np.argwhere(np.triu(bonded)).tolist():
        side = _side(bonded, b, c)
        if side is None or ratio[b, c] < _DOUBLE:
            continue
        before = [a for a in np.flatnonzero(bonded[b]).tolist() if a != c and not _straight(positions, a, b, c)]
        after = [d for d in np.flatnonzero(bonded[c]).tolist() if d != b and not _straight(positions, b, c, d)]
        if before and after:
            rotatable.append(Torsion((before[0], b, c, after[0]), side))
    return tuple(rotatable)


def _length_ratio(numbers: Ints, positions: Floats) -> Floats:
    radii = covalent_radii[numbers]
    distances = np.linalg.norm(positions[..., :, None, :] - positions[..., None, :, :], axis=-1)
    if distances.ndim == 3:
        distances = distances.mean(0)
    return np.asarray(distances / (radii[:, None] + radii))


def _side(bonded: NDArray[np.bool_], b: int, c: int) -> tuple[int, ...] | None:
    """Return the atoms connected to `c` without the bond b–c; None if `b` is among them (a ring)."""
    seen, todo = {c}, [c]
    while todo:
        here = todo.pop()
        for there in map(int, np.flatnonzero(bonded[here])):
            if there in seen or (here, there) == (c, b):
                continue
            if there == b:
                return None
            seen.add(there)
            todo.append(there)
    return tuple(sorted(seen - {c}))


def _straight(positions: Floats, a: int, b: int, c: int) -> bool:
    u, v = positions[a] - positions[b], positions[c] - positions[b]
    return bool(u @ v < _LINEAR * np.linalg.norm(u) * np.linalg.norm(v))
