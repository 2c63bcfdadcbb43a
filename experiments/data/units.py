"""Units of energies and forces, found by physics: a force is the slope of the energy.

Along the step from one frame to a near one the energy changes by minus the mean force times the step, exactly for any
quadratic energy (the trapezoidal rule). The factor between the two sides is 1 in units that belong together, whatever
they are; 1.89 where forces are in Hartree/Bohr and positions in Å, 0.037 where energies alone are in Hartree, and
negative where "forces" are gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ase.units import Bohr, Hartree, Rydberg, kcal, kJ, mol

from experiments.core.arrays import Floats, Ints
from experiments.data.dataset import Frames

FRAMES = 500
"""Frames that are compared with each other; more find nearer pairs, at a cost that grows with their square."""
PAIRS = 48
"""Nearest pairs that give the factor."""
AGREE = 0.9
"""Least correlation of both sides: below it the frames are too far apart, or labels too noisy, to name a unit."""
NEAR, UNRELATED = 0.25, 0.6
"""Å (RMS over the atoms) and correlation: frames as near as this have one of 0.93 and more (ethanol, 3BPA,
acetylacetone); 0.3 and less where energies are of other frames, 0.4 where x and y of the forces are exchanged."""
FAR = 1.3
"""Factor between both sides that is no scatter: on MD of ethanol, 3BPA and acetylacetone it is 0.94 to 1.06."""
_NEAR = 0.15  # relative distance at which a known factor names the units; known ones are further apart than twice this


@dataclass(frozen=True)
class Slope:
    """Energy difference over −force·step, by near pairs of frames: `factor`, `correlation`, number, longest step."""

    factor: float
    correlation: float
    pairs: int
    step: float


def slope_of(frames: Frames) -> Slope | None:
    """Estimate the factor between energy differences and minus mean force times step; None without enough near pairs.

    Frames are compared where they hold the same atoms in the same order; free molecules are turned onto each other,
    periodic ones must share a cell and move to their nearest images.
    """
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), FRAMES)).astype(int))
    sides = np.array([pair for group in _alike(frames, chosen) for pair in _nearest_pairs(frames, group)])
    if len(sides) < PAIRS // 3:
        return None
    sides = sides[np.argsort(sides[:, 0])][:PAIRS]
    change, work = sides[:, 1], sides[:, 2]
    if not (change**2).sum() > 0 or not (work**2).sum() > 0:
        return None
    correlation = float(change @ work / np.sqrt((change @ change) * (work @ work)))
    # the geometric mean of both regressions: neither side is free of scatter
    factor = float(np.sign(correlation) * np.sqrt((change @ change) / (work @ work)))
    return Slope(factor, correlation, len(sides), float(sides[-1, 0]))


def doubt(slope: Slope, atoms: int) -> str | None:
    """Say what units a factor speaks of, or that labels are unrelated; None where energies and forces agree.

    Args:
        slope: the factor.
        atoms: atoms of a frame, for energies per atom.
    """
    if abs(slope.correlation) < UNRELATED and slope.step < NEAR:
        return (
            f"energy differences do not follow −force·step over {slope.pairs} near pairs of frames (correlation "
            f"{slope.correlation:.2f}, steps up to {slope.step:.2f} Å): labels of other frames or other atoms"
        )
    if abs(slope.correlation) < AGREE:
        return None
    if slope.factor > 0 and 1 / FAR < slope.factor < FAR:
        return None
    measured = f"energy differences are {slope.factor:.3g} times −force·step over {slope.pairs} near pairs of frames"
    size = abs(slope.factor)
    names = [name for name, factor in _known(atoms) if abs(size / factor - 1) < _NEAR]
    sign = ["gradients in place of forces (the sign)"] if slope.factor < 0 else []
    if names and slope.factor < 0 and abs(size - 1) < _NEAR:
        names = []
    return f"{measured}: {' and '.join([*sign, ' or '.join(names)]) if names or sign else 'their units differ'}".rstrip(
        " and"
    )


def _known(atoms: int) -> Iterator[tuple[str, float]]:
    """Yield mistakes and their factors."""
    force = Hartree / Bohr
    yield "forces in Hartree/Bohr or Rydberg/Bohr with energies of the same unit and positions in Å", 1 / Bohr
    yield "positions in Bohr", Bohr
    for name, unit in (("Hartree", Hartree), ("Rydberg", Rydberg), ("kcal/mol", kcal / mol), ("kJ/mol", kJ / mol)):
        yield f"energies in {name}, forces in eV/Å", 1 / unit
        yield f"energies in eV, forces in {name}/Å", unit
    yield "energies in eV, forces in Hartree/Bohr", force
    yield "energies in eV, forces in Rydberg/Bohr", force / 2
    yield "energies in meV", 1000.0
    yield "energies per atom", 1 / atoms


def _alike(frames: Frames, chosen: Ints) -> Iterator[Ints]:
    """Yield groups of frames with the same atoms in the same order and, where periodic, the same cell."""
    groups: dict[bytes, list[int]] = {}
    for f in chosen:
        cell = frames.cells[f].tobytes() if frames.pbc[f].any() else b""
        groups.setdefault(frames.numbers[f].tobytes() + frames.pbc[f].tobytes() + cell, []).append(int(f))
    for group in groups.values():
        if len(group) > 1:
            yield np.array(group)


def _nearest_pairs(frames: Frames, group: Ints) -> Iterator[tuple[float, float, float]]:
    """Yield (step RMS in Å, energy difference, minus mean force times step) of a group's nearest pairs."""
    real = frames.numbers[group[0]] > 0
    x, forces, energies = frames.positions[group][:, real], frames.forces[group][:, real], frames.energies[group]
    periodic = bool(frames.pbc[group[0]].any())
    cell, pbc = frames.cells[group[0]], frames.pbc[group[0]]
    shape = _shape(x) if not periodic else x.reshape(len(x), -1)
    squares = (shape**2).sum(1)
    apart = squares[:, None] + squares - 2 * shape @ shape.T
    i, j = np.triu_indices(len(group), 1)
    first = np.argsort(apart[i, j])[: 4 * PAIRS]
    for a, b in zip(i[first], j[first], strict=True):
        if periodic:
            step, turned = _nearest_image(x[a] - x[b], cell, pbc), forces[b]
        else:
            turn = _turn(x[a] - x[a].mean(0), x[b] - x[b].mean(0))
            step = x[a] - x[a].mean(0) - (x[b] - x[b].mean(0)) @ turn
            turned = forces[b] @ turn
        size = float(np.sqrt((step**2).sum(1).mean()))
        if size > 1e-6:  # the same frame twice says nothing
            yield size, float(energies[a] - energies[b]), float(-0.5 * ((forces[a] + turned) * step).sum())


def _shape(x: Floats) -> Floats:
    """Return all distances within each frame: `[F, n, 3]` → `[F, n(n−1)/2]`; turning a molecule changes none."""
    i, j = np.triu_indices(x.shape[1], 1)
    return np.asarray(np.linalg.norm(x[:, i] - x[:, j], axis=2))


def _turn(onto: Floats, x: Floats) -> Floats:
    """Return the rotation R for which x R is nearest to `onto` (Kabsch 1976)."""
    u, _, v = np.linalg.svd(x.T @ onto)
    u[:, -1] *= np.sign(np.linalg.det(u @ v))
    return np.asarray(u @ v)


def _nearest_image(step: Floats, cell: Floats, pbc: Floats) -> Floats:
    from ase.geometry import find_mic

    return np.asarray(find_mic(step, cell, pbc)[0])
