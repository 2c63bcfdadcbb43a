"""Checks of frames before training: each finding is a warning or an error that names the part and the frame.

elements    refused   a test frame holds an element that no training frame has
energies    refused   energies far from those of the free atoms, or of atoms in Hartree, kcal/mol or kJ/mol
energies    warned    energies that are all equal; two zeros of energy, in a file or between files
duplicates  warned    test frames that are training frames too, to 1e-6 Å
forces      warned    all zero; single forces of more than ten times the RMS; an RMS that is no thermal force in eV/Å
units       warned    energies that do not change as the forces say (`experiments.data.units`)
distances   warned    atoms without a neighbour, atoms on top of each other, bond lengths as in Bohr
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from ase.units import Hartree, kcal, kJ, mol

from experiments.core.arrays import Floats, Ints
from experiments.core.errors import InputError
from experiments.data.dataset import Frames
from experiments.data.neighbours import distances
from experiments.data.units import doubt, slope_of

logger = logging.getLogger(__name__)

OUTLIER = 10.0
"""A force this many times the RMS is an outlier; of a million thermal components the largest is some seven times it."""
THERMAL = (0.02, 15.0)
"""eV/Å: force RMS below and above which the unit is in doubt (300 to 1200 K give about 0.3 to 2)."""
BINDING = 50.0
"""eV an atom: no chemistry is as far from the free atoms."""
ISOLATED, OVERLAP, BOHR = 2.0, 0.5, (1.6, 2.2)
"""Distance to the nearest atom over the sum of the covalent radii: beyond, an atom is alone; below, it overlaps; as a
median within the last range, lengths look like Bohr (1.89 per Å)."""
NOBLE = (2, 10, 18, 36, 54, 86)
"""Atoms that form no covalent bonds: their distances say nothing of units."""
SIDE, GAP = 3, 10.0
"""Frames on each side of a gap in energy, and gap over the wider side's range, that make two zeros of energy."""
_TOTAL = {
    1: -13.6,
    6: -1029.5,
    7: -1485.0,
    8: -2041.7,
    9: -2713.0,
    14: -7870.0,
    15: -9280.0,
    16: -10830.0,
    17: -12520.0,
}
"""All-electron energies of free atoms in eV, to a part in a hundred."""
_UNITS = {"Hartree": Hartree, "kcal/mol": kcal / mol, "kJ/mol": kJ / mol}
_BLOCK = 2**22  # distances at once
_MENTIONED = 3


@dataclass(frozen=True)
class Finding:
    """One finding: the `check` that made it, whether the data must be `refused`, and a `message` of one line."""

    check: str
    refused: bool
    message: str


def check_frames(
    parts: Mapping[str, Frames],
    train: str,
    isolated: Mapping[int, float] | None = None,
    known: Collection[str] = (),
) -> None:
    """Log the findings of `inspect` as warnings, or raise `InputError` for the first one that refuses the data."""
    findings = inspect(parts, train, isolated, known)
    for finding in findings:
        if finding.refused:
            raise InputError(finding.message)
    for finding in findings:
        logger.warning("%s", finding.message)


def inspect(
    parts: Mapping[str, Frames],
    train: str,
    isolated: Mapping[int, float] | None = None,
    known: Collection[str] = (),
) -> list[Finding]:
    """Return the findings of all checks.

    Args:
        parts: frames by the name that messages give them; empty parts are skipped.
        train: name of the part that training subsets are drawn from.
        isolated: energies of free atoms in eV by atomic number, if known.
        known: names of parts that were looked at before; the others are compared with them.
    """
    present = {name: frames for name, frames in parts.items() if len(frames)}
    findings = [*_elements(present, train), *(() if train in known else _repeated(train, parts[train]))]
    findings += [*_duplicates(present, train), *_zeros_of_files(present, train)]
    for name, frames in present.items():
        if name in known:
            continue
        energies = list(_energies(name, frames, isolated))
        findings += [*energies, *_distances(name, frames)]
        if frames.has_forces:  # steps between two zeros of energy say nothing of units
            zeros = any(not one.refused for one in energies)
            findings += [one for one in _forces(name, frames) if not zeros or one.check != "units"]
    return findings


def _elements(parts: Mapping[str, Frames], train: str) -> Iterator[Finding]:
    known = np.unique(parts[train].numbers)
    for name, frames in parts.items():
        new = ~np.isin(frames.numbers, known) & (frames.numbers > 0)
        if new.any():
            f, n = np.argwhere(new)[0]
            symbol = chemical_symbols[frames.numbers[f, n]]
            yield Finding(
                "elements", True, f"{name}, frame {f}: atom {n} is {symbol}, an element that no frame of {train} has"
            )


def _repeated(name: str, frames: Frames) -> Iterator[Finding]:
    repeated = len(frames) - len(set(marks(frames)))
    if repeated:
        yield Finding("duplicates", False, f"{name}: {repeated} of {len(frames)} frames repeat others of it")


def _duplicates(parts: Mapping[str, Frames], train: str) -> Iterator[Finding]:
    first: dict[bytes, int] = {}
    for f, mark in enumerate(marks(parts[train])):
        first.setdefault(mark, f)
    for name, frames in parts.items():
        if name == train:
            continue
        same = [(f, first[mark]) for f, mark in enumerate(marks(frames)) if mark in first]
        if same:
            f, g = same[0]
            yield Finding(
                "duplicates",
                False,
                f"{len(same)} frames of {name} are also in {train}: frame {f} is frame {g} there"
                f"{' and so on' if len(same) > 1 else ''}",
            )


def marks(frames: Frames) -> Iterator[bytes]:
    """Yield a key of each frame: equal for the same atoms in any order, positions and cell, to 1e-6 Å."""
    rounded = np.round(frames.positions * 1e6).astype(np.int64)
    cells = np.round(frames.cells * 1e6).astype(np.int64)
    for numbers, positions, cell, pbc in zip(frames.numbers, rounded, cells, frames.pbc, strict=True):
        atoms = np.column_stack([numbers, positions])[numbers > 0]
        yield atoms[np.lexsort(atoms.T[::-1])].tobytes() + cell.tobytes() + pbc.tobytes()


def _energies(name: str, frames: Frames, isolated: Mapping[int, float] | None) -> Iterator[Finding]:
    atoms = (frames.numbers > 0).sum(1)
    if isolated is not None and np.isin(frames.numbers[frames.numbers > 0], list(isolated)).all():
        binding = (frames.energies - _sum(frames.numbers, isolated)) / atoms
        f = int(np.argmax(np.abs(binding)))
        if abs(binding[f]) > BINDING:
            yield Finding(
                "energies",
                True,
                f"{name}, frame {f}: its energy is {binding[f]:.3g} eV an atom from that of its free atoms; accepted: "
                "both in eV and by the same method",
            )
            return
    if np.isin(frames.numbers[frames.numbers > 0], list(_TOTAL)).all():
        ratio = float(np.median(frames.energies / _sum(frames.numbers, _TOTAL)))
        for unit, factor in _UNITS.items():
            if abs(ratio * factor - 1) < 0.01:
                yield Finding("energies", True, f"{name}: its energies are in {unit} by all signs; accepted: eV")
    yield from _zeros_of_energy(name, frames)


def _zeros_of_energy(name: str, frames: Frames) -> Iterator[Finding]:
    """Find energies that are one number, and those of one composition in two groups far from each other."""
    for chosen in _by_composition(frames).values():
        if len(chosen) < 2 * SIDE:
            continue
        order = np.array(chosen)[np.argsort(frames.energies[chosen])]
        energies = frames.energies[order]
        if energies[0] == energies[-1] and len(set(marks(frames.take(order)))) > 1:
            yield Finding(
                "energies",
                False,
                f"{name}: all {len(order)} energies of one composition are {energies[0]:g} eV: labels?",
            )
            continue
        cut = SIDE + int(np.argmax(np.diff(energies)[SIDE - 1 : len(energies) - SIDE]))
        gap, sides = energies[cut] - energies[cut - 1], (energies[:cut], energies[cut:])
        if gap > GAP * max(float(np.ptp(side)) for side in sides) > 0:
            yield Finding(
                "energies",
                False,
                f"{name}: energies of one composition lie in two groups {gap:.4g} eV apart, {cut} frames below "
                f"(frame {order[0]}, …) and {len(order) - cut} above (frame {order[-1]}, …), each within "
                f"{max(float(np.ptp(side)) for side in sides):.3g} eV: two zeros of energy?",
            )


def _zeros_of_files(parts: Mapping[str, Frames], train: str) -> Iterator[Finding]:
    """Find a part whose energies lie far from those of the training frames of the same composition."""
    trained = _by_composition(parts[train])
    for name, frames in parts.items():
        for composition, chosen in _by_composition(frames).items() if name != train else ():
            sides = parts[train].energies[trained.get(composition, [])], frames.energies[chosen]
            if min(map(len, sides)) < SIDE:
                continue
            low, high = sorted(sides, key=lambda side: float(side.min()))
            gap, within = float(high.min() - low.max()), max(float(np.ptp(side)) for side in sides)
            if gap > GAP * within > 0:
                yield Finding(
                    "energies",
                    False,
                    f"{name}: energies of one composition are {gap:.4g} eV from those of {train}, each within "
                    f"{within:.3g} eV: two zeros of energy?",
                )


def _by_composition(frames: Frames) -> dict[bytes, list[int]]:
    """Return the indices of frames by their atoms in any order."""
    groups: dict[bytes, list[int]] = {}
    for f, numbers in enumerate(frames.numbers):
        groups.setdefault(np.sort(numbers[numbers > 0]).tobytes(), []).append(f)
    return groups


def _sum(numbers: Ints, energies: Mapping[int, float]) -> Floats:
    table = np.zeros(len(chemical_symbols))
    for number, energy in energies.items():
        table[number] = energy
    return np.asarray(table[numbers].sum(1))


def _forces(name: str, frames: Frames) -> Iterator[Finding]:
    real = frames.numbers > 0
    sizes = np.where(real, np.linalg.norm(frames.forces, axis=2), 0.0)
    rms = float(np.sqrt((sizes[real] ** 2).mean() / 3))
    if rms == 0:
        if (real.sum(1) > 1).any():
            yield Finding(
                "forces",
                False,
                f"{name}: all forces are zero; if they were never written, data.forces_key=null says so",
            )
        return
    slope = slope_of(frames)
    unit = None if slope is None else doubt(slope, int(real[0].sum()))
    if unit is not None:
        yield Finding("units", False, f"{name}: {unit}?")
    if not THERMAL[0] < rms < THERMAL[1]:
        yield Finding(
            "forces",
            False,
            f"{name}: the RMS of its force components is {rms:.3g} eV/Å, which is no thermal force: unit?",
        )
    largest = sizes.max(1)
    bad = np.flatnonzero(largest > OUTLIER * rms)
    if len(bad):
        shown = ", ".join(
            f"frame {f} (atom {int(sizes[f].argmax())}, {largest[f]:.3g} eV/Å)"
            for f in bad[np.argsort(-largest[bad])][:_MENTIONED]
        )
        yield Finding(
            "forces",
            False,
            f"{name}: forces beyond {OUTLIER:g} times the RMS of {rms:.3g} eV/Å in {len(bad)} frames: {shown}",
        )


def _distances(name: str, frames: Frames) -> Iterator[Finding]:
    nearest = np.concatenate(list(_nearest(frames))) if frames.numbers.shape[1] > 1 else np.zeros((0, 0))
    if nearest.size == 0:
        return
    real = frames.numbers > 0
    several = real & (real.sum(1, keepdims=True) > 1) & ~np.isin(frames.numbers, NOBLE)
    if not several.any():
        return
    median = float(np.median(nearest[several]))
    if BOHR[0] < median < BOHR[1]:
        yield Finding(
            "distances",
            False,
            f"{name}: atoms are {median:.2f} covalent bond lengths from the nearest: lengths in Bohr?",
        )
        return
    for bad, what in (
        (several & (nearest > ISOLATED), "has no neighbour within two bond lengths"),
        (several & (nearest < OVERLAP), "overlaps another"),
    ):
        if bad.any():
            count = int(bad.any(1).sum())
            places = ", ".join(f"frame {f}, atom {n}" for f, n in islice(map(tuple, np.argwhere(bad)), _MENTIONED))
            yield Finding("distances", False, f"{name}: in {count} frames an atom {what}: {places}")


def _nearest(frames: Frames) -> Iterator[Floats]:
    """Yield, for blocks of frames, each atom's distance to the nearest other over the sum of their radii, `[f, N]`.

    Radii are covalent; inf for padding, for atoms without another, and in periodic frames beyond what a check asks for.
    """
    count, atoms = frames.numbers.shape
    if frames.pbc.any():
        yield _nearest_image(frames)
        return
    block = max(1, _BLOCK // (atoms * atoms))
    for start in range(0, count, block):
        part = slice(start, start + block)
        numbers, x = frames.numbers[part], frames.positions[part]
        away = x[:, None] - x[:, :, None]  # [f, N, N, 3]
        radii = covalent_radii[numbers]
        ratio = np.sqrt(np.einsum("fijx,fijx->fij", away, away)) / (radii[:, None] + radii[:, :, None])
        none = (numbers[:, None] == 0) | (numbers[:, :, None] == 0) | np.eye(atoms, dtype=bool)
        yield np.where(none, np.inf, ratio).min(axis=2)


def _nearest_image(frames: Frames) -> Floats:
    """Return the same of periodic frames in cells of any shape, `[F, N]`; an atom's own images do not count."""
    radii = covalent_radii[frames.numbers]
    nearest = np.full(frames.numbers.shape, np.inf)
    cutoff = max(ISOLATED, BOHR[1]) * 2 * float(radii.max())  # a larger ratio changes no finding
    for frame, receiver, sender, distance in distances(frames, cutoff):
        other = receiver != sender
        f, i, j = frame[other], receiver[other], sender[other]
        np.minimum.at(nearest, (f, i), distance[other] / (radii[f, i] + radii[f, j]))
    return nearest


def one_molecule(frames: Frames, numbers: Ints, model: str) -> None:
    """Raise `InputError` unless every frame has the atoms `numbers` `[N]` in this order and no period."""
    if frames.pbc.any():
        raise InputError(
            f"frame {int(np.argmax(frames.pbc.any(1)))} is periodic: model={model} compares frames of one molecule; "
            'accepted: frames that are not (of a lone molecule in a box: pbc="F F F" in place of "T T T"), or another '
            "model"
        )
    real = frames.numbers > 0
    for f in np.flatnonzero(~_same_atoms(frames.numbers, numbers)):
        raise InputError(
            f"frame {f} holds {_formula(frames.numbers[f][real[f]])}: model={model} compares frames of one molecule; "
            f"accepted: {_formula(numbers)}, the atoms of the training frames in their order"
        )


def _same_atoms(padded: Ints, numbers: Ints) -> np.ndarray:
    n = len(numbers)
    if padded.shape[1] < n:
        return np.zeros(len(padded), dtype=bool)
    return np.asarray((padded[:, :n] == numbers).all(1) & (padded[:, n:] == 0).all(1))


def _formula(numbers: Ints) -> str:
    return " ".join(chemical_symbols[int(z)] for z in numbers)
