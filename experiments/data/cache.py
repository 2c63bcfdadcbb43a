"""A cache of frames that are slow to read or compute: NumPy archives beside the downloads, loaded in a second."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from experiments.core import files
from experiments.data.dataset import Frames
from experiments.data.download import cache_root

logger = logging.getLogger(__name__)
_ARRAYS = ("numbers", "positions", "energies", "forces", "cells", "pbc")


def cached_frames(name: str, key: Mapping[str, Any], make: Callable[[], Frames]) -> Frames:
    """Return the frames cached under `name` and `key`; if there are none, those of `make()`, and cache them.

    `key` holds everything that decides their content: checksums of files, options, a version of the reader. If the
    cached file is damaged or cannot be written, the frames are made again.
    """
    path = cache_root() / "converted" / f"{name}-{files.json_digest(dict(key))}.npz"
    try:
        with np.load(path, allow_pickle=False) as saved:
            points = saved["points"] if "points" in saved.files else None
            numbers, positions, energies, forces, cells, pbc = (saved[array] for array in _ARRAYS)
            frames = Frames(numbers, positions, energies, forces, cells, pbc, points=points)
            if frames.sha256() == str(saved["sha256"]):
                return frames
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        pass
    frames = make()
    arrays = {array: getattr(frames, array) for array in _ARRAYS}
    if frames.points is not None:
        arrays["points"] = frames.points
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_npz(path, sha256=frames.sha256(), **arrays)
    except OSError as error:
        logger.warning("%s cannot be written (%s): the frames will be read again next time", path, error.strerror)
    return frames
