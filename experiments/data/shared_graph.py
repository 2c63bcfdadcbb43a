"""Neighbour lists computed once for each set of frames and cutoff, and read by all runs of a sweep from a memory map.

For small sets each process computes its own: that is faster than reading. Either way the numbers are those of
`experiments.data.neighbours.neighbours`, bit for bit.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments.core import files
from experiments.core.errors import InputError
from experiments.core.leases import exclusive
from experiments.data.dataset import Frames
from experiments.data.download import cache_root
from experiments.data.neighbours import Neighbours, neighbours

logger = logging.getLogger(__name__)

VERSION = 1  # raise it whenever the same frames give other neighbours: old maps are then not read
SMALL = 2_000_000
"""Number of pairs of atoms up to which each process computes its own list (about a second)."""
_BLOCK = 2_000_000  # pairs at a time: bounds the memory of the search
_TYPES = {"index": np.int32, "vectors": np.float64, "mask": np.bool_, "reverse": np.int32}


def shared_neighbours(frames: Frames, cutoff: float) -> Neighbours:
    """Return the neighbours of frames as `experiments.data.neighbours.neighbours` does, sharing large lists.

    Large lists are read-only memory maps with 32-bit `index` and `reverse`, under `neighbours` in the cache directory.
    If that cannot be written to, each process computes its own.
    """
    if frames.bonds is not None or _pairs(frames) <= SMALL:
        return neighbours(frames, cutoff)
    directory = cache_root() / "neighbours" / f"{frames.sha256()[:16]}-{cutoff!r}-v{VERSION}"
    opened = _opened(directory)
    if opened is not None:
        return opened
    try:
        files.writable(directory.parent, "EQUILAW_DATA")
    except InputError as error:
        logger.warning("neighbours are not shared: %s", error)
        return neighbours(frames, cutoff)
    with exclusive(directory.with_name(f".{directory.name}.lock")):
        opened = _opened(directory)
        if opened is None:
            _write(directory, frames, cutoff)
            opened = _opened(directory)
    assert opened is not None
    return opened


def _pairs(frames: Frames) -> int:
    """Estimate the number of pairs of atoms that a search visits."""
    count, atoms = frames.numbers.shape
    return int(count * atoms * min(atoms, 100))


def _opened(directory: Path) -> Neighbours | None:
    """Return the memory maps, or None if they are missing or incomplete."""
    try:
        maps = {name: np.load(directory / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _TYPES}
    except (OSError, ValueError):
        return None
    return Neighbours(**maps)


def _blocks(frames: Frames, cutoff: float) -> Iterator[tuple[slice, Neighbours]]:
    step = max(1, _BLOCK * len(frames) // _pairs(frames))
    for start in range(0, len(frames), step):
        part = slice(start, start + step)
        try:
            yield part, neighbours(frames.take(part), cutoff)
        except InputError as error:  # names a frame by its number in the block
            raise InputError(f"frames {start} to {min(start + step, len(frames)) - 1}, of them {error}") from None


def _write(directory: Path, frames: Frames, cutoff: float) -> None:
    """Compute the neighbours block by block and write the memory maps.

    Each block is searched twice, first for the number of slots, so that memory holds one block at a time.
    """
    count, atoms = frames.numbers.shape
    slots = max(int(block.mask.sum(2).max(initial=1)) for _, block in _blocks(frames, cutoff))
    temporary = files.temporary_for(directory)
    temporary.mkdir()
    try:
        shapes = {name: (count, atoms, slots, *((3,) if name == "vectors" else ())) for name in _TYPES}
        maps = {
            name: np.lib.format.open_memmap(temporary / f"{name}.npy", mode="w+", dtype=kind, shape=shapes[name])
            for name, kind in _TYPES.items()
        }
        own = np.arange(atoms * slots).reshape(atoms, slots)
        for part, block in _blocks(frames, cutoff):
            had = block.mask.shape[2]
            maps["index"][part] = np.arange(atoms)[:, None]
            maps["vectors"][part] = (cutoff, 0.0, 0.0)
            maps["mask"][part] = False
            maps["reverse"][part] = own
            maps["index"][part, :, :had] = block.index
            maps["vectors"][part, :, :had] = block.vectors
            maps["mask"][part, :, :had] = block.mask
            # slot n·had + k of the block is slot n·slots + k of all
            moved = block.reverse // had * slots + block.reverse % had
            maps["reverse"][part, :, :had] = np.where(block.mask, moved, own[:, :had])
        for array in maps.values():
            array.flush()
        if directory.exists():  # incomplete, or it would have been opened
            shutil.rmtree(directory)
        temporary.rename(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
