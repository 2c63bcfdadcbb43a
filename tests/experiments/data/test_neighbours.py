"""neighbours() against brute force over images, and what the models rely on: reverse edges and exact antisymmetry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.core.arrays import Floats, Ints
from experiments.core.errors import InputError
from experiments.data import neighbours as graph
from experiments.data.dataset import Frames
from experiments.data.neighbours import Neighbours, neighbours

Edge = tuple[int, int, float, float, float]


def frames_of(
    positions: Floats, numbers: Ints | None = None, cell: Floats | None = None, pbc: object = False
) -> Frames:
    count, atoms = positions.shape[:2]
    return Frames(
        numbers=np.ones((count, atoms), np.int64) if numbers is None else numbers,
        positions=positions,
        energies=np.zeros(count),
        forces=np.zeros((count, atoms, 3)),
        cells=np.zeros((count, 3, 3)) if cell is None else np.tile(cell, (count, 1, 1)),
        pbc=np.tile(np.broadcast_to(np.asarray(pbc), 3), (count, 1)),
    )


def random_frames(seed: int, atoms: int, pbc: tuple[bool, bool, bool], count: int = 3) -> Frames:
    """Frames in a sheared cell of about 3 Å, with the last atom of the first frame missing (padding)."""
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(2.5, 3.5, 3)) + rng.uniform(-0.5, 0.5, (3, 3))
    numbers = rng.choice([1, 6, 8], (count, atoms))
    numbers[0, -1] = 0
    return frames_of(rng.uniform(-2, 2, (count, atoms, 3)), numbers, cell * np.array(pbc)[:, None], pbc)


def brute_force(frames: Frames, f: int, cutoff: float, images: int = 4) -> set[Edge]:
    """All edges of frame `f`: every pair times every image within ±`images` cells, one by one."""
    spans = [range(-images, images + 1) if periodic else (0,) for periodic in frames.pbc[f]]
    found = set()
    for i in np.flatnonzero(frames.numbers[f]):
        for j in np.flatnonzero(frames.numbers[f]):
            for a in spans[0]:
                for b in spans[1]:
                    for c in spans[2]:
                        if i == j and (a, b, c) == (0, 0, 0):
                            continue
                        shift = a * frames.cells[f, 0] + b * frames.cells[f, 1] + c * frames.cells[f, 2]
                        vector = frames.positions[f, j] + shift - frames.positions[f, i]
                        if np.linalg.norm(vector) < cutoff:
                            found.add(edge(int(i), int(j), vector))
    return found


def edge(i: int, j: int, vector: Floats) -> Edge:
    # 9 digits: round-off is 1e-15, and two images of one atom lie ångströms apart
    x, y, z = (float(component) + 0.0 for component in np.round(vector, 9))
    return i, j, x, y, z


def edges_of(found: Neighbours, f: int) -> list[Edge]:
    return [edge(int(n), int(found.index[f, n, k]), found.vectors[f, n, k]) for n, k in np.argwhere(found.mask[f])]


def assert_contract(found: Neighbours, cutoff: float) -> None:
    """Check the properties that every neighbour list has."""
    count, atoms, slots = found.mask.shape
    receivers = np.broadcast_to(np.arange(atoms)[:, None], found.mask.shape)
    own = np.broadcast_to(np.arange(atoms * slots).reshape(atoms, slots), found.mask.shape)
    assert (found.index[~found.mask] == receivers[~found.mask]).all()
    assert (found.reverse[~found.mask] == own[~found.mask]).all()
    assert (found.vectors[~found.mask] == [cutoff, 0, 0]).all()
    assert (np.diff(found.mask.astype(int), axis=2) <= 0).all(), "edges come before masked slots"
    flat = found.reverse.reshape(count, -1)
    assert (np.take_along_axis(flat, flat, 1) == own.reshape(count, -1)).all(), "the opposite of the opposite"
    opposite = np.take_along_axis(found.vectors.reshape(count, -1, 3), flat[..., None], 1).reshape(found.vectors.shape)
    assert (opposite == -found.vectors)[found.mask].all(), "exact, not approximate"
    senders = np.take_along_axis(found.index.reshape(count, -1), flat, 1).reshape(found.index.shape)
    assert (senders == receivers)[found.mask].all()
    assert (flat.reshape(found.mask.shape) // slots == found.index).all(), "the reverse slot lies at the sender"


@pytest.mark.parametrize("pbc", [(False,) * 3, (True,) * 3, (True, False, False), (True, False, True)])
@pytest.mark.parametrize("cutoff", [1.5, 4.0])
def test_brute_force(pbc: tuple[bool, bool, bool], cutoff: float) -> None:
    frames = random_frames(1, 4, pbc)
    found = neighbours(frames, cutoff)
    assert_contract(found, cutoff)
    for f in range(len(frames)):
        edges = edges_of(found, f)
        assert len(set(edges)) == len(edges)
        assert set(edges) == brute_force(frames, f, cutoff)


def test_cell_list_equals_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = random_frames(2, 12, (False,) * 3, count=20)
    pairs = neighbours(frames, 3.0)
    monkeypatch.setattr(graph, "_ALL_PAIRS_ATOMS", 0)
    listed = neighbours(frames, 3.0)
    for name in ("index", "vectors", "mask", "reverse"):
        np.testing.assert_array_equal(getattr(pairs, name), getattr(listed, name))


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = random_frames(3, 6, (False,) * 3, count=7)
    whole = neighbours(frames, 3.0)
    monkeypatch.setattr(graph, "_ALL_PAIRS_BYTES", 1)  # one frame a block
    np.testing.assert_array_equal(whole.vectors, neighbours(frames, 3.0).vectors)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    atoms=st.integers(1, 8),
    pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    cutoff=st.floats(0.5, 6.0),
)
def test_contract(seed: int, atoms: int, pbc: tuple[bool, bool, bool], cutoff: float) -> None:
    assert_contract(neighbours(random_frames(seed, atoms, pbc), cutoff), cutoff)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cutoff=st.floats(1.0, 5.0))
def test_whole_cells_do_not_matter(seed: int, cutoff: float) -> None:
    """Moving one atom by lattice vectors gives the same edges (an atom need not lie inside its cell)."""
    frames = random_frames(seed, 4, (True,) * 3)
    moved = frames.positions.copy()
    moved[:, 1] += np.einsum("s,fsx->fx", np.array([2.0, -1.0, 1.0]), frames.cells)
    for f in range(len(frames)):
        ours, theirs = (
            edges_of(neighbours(frames, cutoff), f),
            edges_of(neighbours(replace(frames, positions=moved), cutoff), f),
        )
        lengths = np.linalg.norm(np.array([e[2:] for e in ours] or np.zeros((0, 3))), axis=1)
        if (np.abs(lengths - cutoff) < 1e-8).any():  # round-off decides about a pair exactly at the cutoff
            continue
        assert sorted(e[:2] for e in ours) == sorted(e[:2] for e in theirs)


def test_bonds_override_the_cutoff() -> None:
    frames = frames_of(np.random.default_rng(0).normal(size=(4, 5, 3)) * 10)
    frames = replace(frames, bonds=np.array([[0, 1], [0, 3]]))
    found = neighbours(frames, 0.1)
    assert_contract(found, 0.1)
    assert sorted(e[:2] for e in edges_of(found, 2)) == [(0, 1), (0, 3), (1, 0), (3, 0)]


def test_isolated_atoms_have_one_masked_slot() -> None:
    found = neighbours(frames_of(np.array([[[0.0, 0, 0], [9.0, 0, 0]]])), 5.0)
    assert found.mask.shape == (1, 2, 1)
    assert not found.mask.any()
    assert_contract(found, 5.0)


def test_no_frames() -> None:
    assert neighbours(frames_of(np.zeros((0, 4, 3))), 5.0).mask.shape == (0, 4, 1)


def test_coincident_atoms_are_refused() -> None:
    positions = np.random.default_rng(0).normal(size=(3, 4, 3))
    positions[1, 2] = positions[1, 3]
    with pytest.raises(InputError, match="frame 1: atoms 2 and 3 lie on the same point"):
        neighbours(frames_of(positions), 5.0)


@pytest.mark.parametrize("cutoff", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_cutoff(cutoff: float) -> None:
    with pytest.raises(ValueError, match="cutoff must be a positive number"):
        neighbours(frames_of(np.zeros((1, 1, 3))), cutoff)
