"""Neighbour lists: frames of atoms → padded neighbourhoods with the slot of every opposite edge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ase.geometry import complete_cell
from numpy.typing import NDArray

from experiments.core.arrays import Floats, Ints
from experiments.core.errors import InputError
from experiments.data.dataset import Frames

# The distance matrix of all pairs beats a cell list while molecules are small.
_ALL_PAIRS_ATOMS = 128
_ALL_PAIRS_BYTES = 2**26  # memory of one block of distance matrices


@dataclass(frozen=True)
class Neighbours:
    """Padded neighbourhoods of `F` frames of `N` atoms with `K` slots an atom (`K ≥ 1`).

    index    `[F, N, K]`     the sender: an atom of the same frame; the receiver itself where masked
    vectors  `[F, N, K, 3]`  x_sender − x_receiver in Å, periodic shift included; (cutoff, 0, 0) where masked
    mask     `[F, N, K]`     whether the slot holds an edge
    reverse  `[F, N, K]`     slot `n·K + k` of the opposite edge in the same frame; its own slot where masked

    Vectors of opposite edges are exact negatives of each other. The slots of an atom are sorted by sender, then
    by periodic shift; edges come first, masked slots last. Integers are 64 bits wide, in memory maps 32.
    """

    index: Ints
    vectors: Floats
    mask: NDArray[np.bool_]
    reverse: Ints


@dataclass(frozen=True)
class _Edges:
    """A flat list of directed edges: frame, receiver, sender `[E]` and shift in lattice vectors `[E, 3]`."""

    frame: Ints
    receiver: Ints
    sender: Ints
    shift: Ints


def neighbours(frames: Frames, cutoff: float) -> Neighbours:
    """Find all pairs of atoms closer than `cutoff` (Å), in both directions, with every periodic image.

    `frames.bonds`, if given, lists the pairs instead, whatever their distance (non-periodic frames only). Raises
    `InputError` if two atoms of a frame lie on one point, since their direction is undefined; `ValueError` for a
    cutoff that is not positive and for bonds of periodic frames.
    """
    if not (np.isfinite(cutoff) and cutoff > 0):
        raise ValueError(f"neighbours: cutoff must be a positive number of Å, got {cutoff!r}")
    if frames.bonds is not None:
        edges = _bonded(frames)
    elif frames.pbc.any() or frames.numbers.shape[1] > _ALL_PAIRS_ATOMS:
        edges = _concatenate(_cell_list(frames, cutoff))
    else:
        edges = _concatenate(_all_pairs(frames, cutoff))
    return _pad(frames, edges, cutoff)


def distances(frames: Frames, cutoff: float) -> Iterator[tuple[Ints, Ints, Ints, Floats]]:
    """Yield, frame by frame, frame, receiver, sender `[E]` and distance `[E]` (Å) of all pairs within `cutoff` (Å).

    Every periodic image is a pair of its own, an atom's own images too. Frames without atoms are skipped.
    """
    for edges in _cell_list(frames, cutoff):
        yield edges.frame, edges.receiver, edges.sender, np.linalg.norm(_vectors(frames, edges), axis=1)


def _bonded(frames: Frames) -> _Edges:
    if frames.pbc.any():
        raise ValueError("neighbours: frames.bonds is meant for non-periodic frames; got periodic ones")
    assert frames.bonds is not None
    both = np.concatenate([frames.bonds, frames.bonds[:, ::-1]])  # [2b, 2]
    real = (frames.numbers[:, both] > 0).all(2)  # [F, 2b]
    frame, bond = np.nonzero(real)
    return _Edges(frame, both[bond, 0], both[bond, 1], np.zeros((len(frame), 3), np.int64))


def _all_pairs(frames: Frames, cutoff: float) -> Iterator[_Edges]:
    """Yield edges of non-periodic frames from the matrix of all distances, in blocks of bounded memory."""
    count, atoms = frames.numbers.shape
    block = max(1, _ALL_PAIRS_BYTES // max(1, atoms * atoms * 4 * 8))
    off_diagonal = ~np.eye(atoms, dtype=bool)
    for start in range(0, count, block):
        x = frames.positions[start : start + block]
        real = frames.numbers[start : start + block] > 0
        vectors = x[:, None, :, :] - x[:, :, None, :]  # [f, receiver, sender, 3]
        near = np.einsum("fijx,fijx->fij", vectors, vectors) < (cutoff * (1 + 1e-9)) ** 2
        frame, receiver, sender = np.nonzero(near & real[:, :, None] & real[:, None, :] & off_diagonal)
        yield _Edges(frame + start, receiver, sender, np.zeros((len(frame), 3), np.int64))


def _cell_list(frames: Frames, cutoff: float) -> Iterator[_Edges]:
    """Yield edges of any frames, one frame at a time, by vesin's cell list."""
    import vesin  # here, because vesin imports torch if it is installed, and this module must not

    search = vesin.NeighborList(cutoff=cutoff * (1 + 1e-9), full_list=True, n_threads=1)
    for f in range(len(frames)):
        atoms = np.flatnonzero(frames.numbers[f])
        if len(atoms) == 0:
            continue
        # a direction that is not periodic may have no lattice vector; the search wants a box of full rank
        cell = complete_cell(np.where(frames.pbc[f][:, None], frames.cells[f], 0.0))
        i, j, shift = search.compute(frames.positions[f, atoms], cell, frames.pbc[f], quantities="ijS")
        i, j = atoms[i.astype(np.int64)], atoms[j.astype(np.int64)]
        yield _Edges(np.full(len(i), f), i, j, np.asarray(shift, np.int64).reshape(-1, 3))


def _concatenate(parts: Iterator[_Edges]) -> _Edges:
    none = np.zeros(0, np.int64)
    listed = [_Edges(none, none, none, np.zeros((0, 3), np.int64)), *parts]
    return _Edges(
        np.concatenate([part.frame for part in listed]),
        np.concatenate([part.receiver for part in listed]),
        np.concatenate([part.sender for part in listed]),
        np.concatenate([part.shift for part in listed]),
    )


def _vectors(frames: Frames, edges: _Edges) -> Floats:
    """Return x_sender − x_receiver with the periodic shift, `[E, 3]` in Å."""
    # ours, not the search's: x_j − x_i + S·cell and its opposite round to exact negatives of each other
    ends = frames.positions[edges.frame, edges.sender] - frames.positions[edges.frame, edges.receiver]
    return np.asarray(ends + np.einsum("es,esx->ex", edges.shift.astype(float), frames.cells[edges.frame]))


def _pad(frames: Frames, edges: _Edges, cutoff: float) -> Neighbours:
    """Arrange flat edges in padded slots, and find the opposite of every edge by sorting."""
    count, atoms = frames.numbers.shape
    vectors = _vectors(frames, edges)
    lengths = np.sqrt((vectors**2).sum(1))
    if not (lengths > 0).all():
        e = int(np.argmin(lengths))
        raise InputError(
            f"frame {edges.frame[e]}: atoms {edges.receiver[e]} and {edges.sender[e]} lie on the same point; "
            "atoms must be apart"
        )
    keep = np.ones(len(lengths), bool) if frames.bonds is not None else lengths < cutoff
    frame, receiver, sender = edges.frame[keep], edges.receiver[keep], edges.sender[keep]
    shift, vectors = edges.shift[keep], vectors[keep]

    order = np.lexsort((*shift.T[::-1], sender, receiver, frame))
    frame, receiver, sender, shift, vectors = (a[order] for a in (frame, receiver, sender, shift, vectors))
    # Sorted by the key of the opposite edge, the m-th edge is the opposite of the m-th edge above.
    opposite = np.lexsort((*-shift.T[::-1], receiver, sender, frame))
    assert np.array_equal(receiver[opposite], sender)
    assert np.array_equal(shift[opposite], -shift)

    row = frame * atoms + receiver  # [E], ascending
    counts = np.bincount(row, minlength=count * atoms)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]]) if len(counts) else counts
    slots = max(1, int(counts.max(initial=0)))
    slot = np.arange(len(row)) - first[row] if len(row) else row

    index = np.broadcast_to(np.arange(atoms)[:, None], (count, atoms, slots)).copy()
    mask = np.zeros((count, atoms, slots), bool)
    padded = np.zeros((count, atoms, slots, 3))
    padded[..., 0] = cutoff
    reverse = np.broadcast_to(np.arange(atoms * slots).reshape(atoms, slots), (count, atoms, slots)).copy()
    at = (frame, receiver, slot)
    index[at], mask[at], padded[at] = sender, True, vectors
    back = np.empty(len(row), np.int64)
    back[opposite] = receiver * slots + slot  # edge opposite[m] has edge m for its opposite
    reverse[at] = back
    return Neighbours(index.astype(np.int64), padded, mask, reverse.astype(np.int64))
