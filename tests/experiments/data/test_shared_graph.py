"""Neighbours from a memory map equal computed ones, whichever process wrote the map and even if it is damaged."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from experiments.core.errors import InputError
from experiments.data import shared_graph
from experiments.data.dataset import Frames
from experiments.data.neighbours import Neighbours, neighbours
from experiments.data.shared_graph import shared_neighbours


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, and sets that count as large, cut into blocks of a few frames."""
    monkeypatch.setenv("EQUILAW_DATA", str(tmp_path))
    monkeypatch.setattr(shared_graph, "SMALL", 0)
    monkeypatch.setattr(shared_graph, "_BLOCK", 200)
    return tmp_path / "neighbours"


def frames_of(periodic: bool, seed: int = 0, count: int = 11, atoms: int = 7) -> Frames:
    rng = np.random.default_rng(seed)
    numbers = rng.integers(1, 9, (count, atoms))
    numbers[3, 4:] = 0
    spread = rng.uniform(0.3, 2.0, (count, 1, 1))  # dense and thin frames: blocks differ in their number of slots
    return Frames(
        numbers=numbers,
        positions=spread * rng.uniform(0, 4, (count, atoms, 3)),
        energies=rng.standard_normal(count),
        forces=rng.standard_normal((count, atoms, 3)),
        cells=np.tile(4.0 * np.eye(3), (count, 1, 1)) * spread * periodic,
        pbc=np.full((count, 3), periodic),
    )


def assert_same(found: Neighbours, expected: Neighbours) -> None:
    for name in ("index", "vectors", "mask", "reverse"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


@pytest.mark.parametrize("periodic", [False, True])
def test_the_map_holds_what_is_computed(root: Path, periodic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = frames_of(periodic)
    expected = neighbours(frames, 2.5)
    assert_same(shared_neighbours(frames, 2.5), expected)
    monkeypatch.setattr(shared_graph, "neighbours", None)  # from now on nothing can be computed
    again = shared_neighbours(frames, 2.5)
    assert isinstance(again.vectors, np.memmap)
    assert not again.vectors.flags.writeable
    assert_same(again, expected)
    with pytest.raises(TypeError):
        shared_neighbours(frames, 2.4)
    assert [path.name for path in root.iterdir() if not path.name.startswith(".")] != []


def test_many_at_once_write_one_map(root: Path) -> None:
    frames = frames_of(False)
    expected = neighbours(frames, 3.0)
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(lambda _: shared_neighbours(frames, 3.0), range(4)):
            assert_same(found, expected)
    assert len([path for path in root.iterdir() if path.is_dir()]) == 1


def test_a_damaged_map_is_written_again(root: Path) -> None:
    frames = frames_of(False)
    shared_neighbours(frames, 3.0)
    (directory,) = (path for path in root.iterdir() if path.is_dir())
    (directory / "vectors.npy").write_bytes((directory / "vectors.npy").read_bytes()[:300])
    assert_same(shared_neighbours(frames, 3.0), neighbours(frames, 3.0))


def test_atoms_on_one_point_are_named_by_frame(root: Path) -> None:
    frames = frames_of(False)
    frames.positions[6, 1] = frames.positions[6, 0]
    with pytest.raises(InputError, match=r"frames 4 to 7, of them frame 2: atoms 0 and 1 lie on the same point"):
        shared_neighbours(frames, 3.0)
    assert not [path for path in root.iterdir() if path.is_dir()]
