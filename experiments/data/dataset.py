"""Datasets of frames of atoms with energies and forces, and the protocol that all datasets share."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from experiments.core.arrays import Floats, Ints


class AnyDataset(Protocol):
    """The part of a dataset that runs, run ids and subsets use, whether its examples are frames or others."""

    @property
    def name(self) -> str:
        """Name in tables."""
        ...

    @property
    def pool(self) -> Sized:
        """Examples that training subsets are drawn from."""
        ...

    @property
    def test(self) -> Sized:
        """Test examples, the same for every run."""
        ...

    @property
    def holdout(self) -> Sized:
        """Validation examples, which never train weights; empty if there are none."""
        ...

    @property
    def test_set(self) -> str:
        """Name of the test examples in tables."""
        ...

    @property
    def disjoint_seeds(self) -> int:
        """See `Dataset`."""
        ...

    @property
    def subset(self) -> str:
        """See `Dataset`."""
        ...

    def sha256(self) -> str:
        """Return the hex digest of everything in the data that can change a run's result."""
        ...


def content_digest(arrays: Iterable[NDArray[Any] | None]) -> str:
    """Return the hex SHA-256 of a sequence of arrays: equal only if types, shapes and all numbers are equal."""
    digest = hashlib.sha256()
    for array in arrays:
        if array is None:
            digest.update(b"none")
            continue
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Frames:
    """Configurations of atoms, padded to one number of atoms (atomic number 0 marks padding).

    `numbers` `[frames, atoms]`; `positions` `[frames, atoms, 3]` in Å; `energies` `[frames]` in eV;
    `forces` `[frames, atoms, 3]` in eV/Å, NaN if unknown; `cells` `[frames, 3, 3]` in Å, rows are lattice vectors
    (zero for directions that are not periodic); `pbc` `[frames, 3]`. `bonds` `[n, 2]`, if given, lists the only pairs
    of atoms that interact in every frame, whatever the cutoff (the star teacher needs it). `points` `[frames, D]`, if
    given, are the inputs of a task that is not about atoms, with `energies` as labels; each frame then holds one
    placeholder atom.
    """

    numbers: Ints
    positions: Floats
    energies: Floats
    forces: Floats
    cells: Floats
    pbc: NDArray[np.bool_]
    bonds: Ints | None = None
    points: Floats | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def has_forces(self) -> bool:
        """Whether any forces are known."""
        of_atoms = self.forces[self.numbers > 0]
        return len(of_atoms) == 0 or not bool(np.isnan(of_atoms).all())

    @property
    def atoms_each(self) -> int | None:
        """Number of atoms of every frame; None if frames differ in it, or are not about atoms."""
        counts = np.unique((self.numbers > 0).sum(1))
        return int(counts[0]) if len(counts) == 1 and self.points is None else None

    def take(self, index: Ints | slice) -> Frames:
        """Return the frames at `index`, in that order."""
        return Frames(
            self.numbers[index], self.positions[index], self.energies[index], self.forces[index],
            self.cells[index], self.pbc[index], self.bonds, None if self.points is None else self.points[index],
        )  # fmt: skip

    def joined(self, others: Frames) -> Frames:
        """Return these frames and then `others`, which have the same bonds."""
        atoms = max(self.numbers.shape[1], others.numbers.shape[1])
        one, two = self.padded(atoms), others.padded(atoms)
        points = None if one.points is None or two.points is None else np.concatenate([one.points, two.points])
        return Frames(
            np.concatenate([one.numbers, two.numbers]), np.concatenate([one.positions, two.positions]),
            np.concatenate([one.energies, two.energies]), np.concatenate([one.forces, two.forces]),
            np.concatenate([one.cells, two.cells]), np.concatenate([one.pbc, two.pbc]), one.bonds, points,
        )  # fmt: skip

    def padded(self, atoms: int) -> Frames:
        """Return the frames padded to so many atoms, or without as much of their padding."""
        extra = atoms - self.numbers.shape[1]
        if extra == 0:
            return self
        if extra < 0:
            one, two, three = self.numbers[:, :atoms], self.positions[:, :atoms], self.forces[:, :atoms]
            return replace(self, numbers=one, positions=two, forces=three)
        room = ((0, 0), (0, extra))
        numbers, vectors = np.pad(self.numbers, room), (*room, (0, 0))
        return replace(
            self, numbers=numbers, positions=np.pad(self.positions, vectors), forces=np.pad(self.forces, vectors)
        )

    def compact(self) -> Frames:
        """Return the frames without the padding that none of them needs."""
        used = np.flatnonzero((self.numbers > 0).any(0))
        return self.padded(int(used[-1]) + 1 if len(used) else self.numbers.shape[1])

    def sha256(self) -> str:
        """Return the hex digest of the content: equal only if every number of every frame is equal."""
        arrays = [self.numbers, self.positions, self.energies, self.forces, self.cells, self.pbc, self.bonds]
        return content_digest(arrays if self.points is None else [*arrays, self.points])


@dataclass(frozen=True)
class Dataset:
    """A pool to draw training subsets from, a fixed validation set (`holdout`), and test frames equal for every run.

    `isolated_energies` maps atomic numbers to the energies of the free atoms in eV, if known. `disjoint_seeds` is the
    number of seeds whose subsets do not overlap (while P ≤ pool / disjoint_seeds), and `subset` the method of drawing
    them (`experiments.data.splits.training_subset`). `further` are more test sets by name, which change no
    run's number.
    """

    name: str
    pool: Frames
    holdout: Frames
    test: Frames
    test_set: str = "test"
    isolated_energies: Mapping[int, float] | None = None
    disjoint_seeds: int = 5
    subset: str = "random"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    further: Mapping[str, Frames] = field(default_factory=dict)

    @functools.cached_property
    def labelled(self) -> Frames:
        """All frames that a fit in closed form may train on: the pool, then the validation set."""
        return self.pool.joined(self.holdout)

    def elements(self) -> list[int]:
        """Return the atomic numbers of all its frames, ascending."""
        splits = (self.pool, self.holdout, self.test)
        return sorted({int(z) for frames in splits for z in np.unique(frames.numbers) if z > 0})

    def sha256(self) -> str:
        """Return the hex digest of everything in the data that can change a run's result."""
        return self._digest

    @functools.cached_property
    def further_sha256(self) -> Mapping[str, str]:
        """The digest of the content of each further test set, by name."""
        return {name: frames.sha256() for name, frames in self.further.items()}

    @functools.cached_property
    def _digest(self) -> str:
        """The digest, computed once: every run id of a sweep needs it, and hashing hundreds of megabytes is slow."""
        parts = [self.pool.sha256(), self.holdout.sha256(), self.test.sha256(), str(self.disjoint_seeds)]
        if self.subset != "random":
            parts.append(self.subset)  # added later: drawn at random, a dataset keeps its digest
        if self.isolated_energies is not None:
            parts += [f"{z}:{energy!r}" for z, energy in sorted(self.isolated_energies.items())]
        return hashlib.sha256("|".join(parts).encode()).hexdigest()


class ByIdentity:
    """A dataset hashed by identity, a key of `lru_cache`: what is derived from it is computed once in a process."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __hash__(self) -> int:
        return id(self.dataset)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByIdentity) and other.dataset is self.dataset
