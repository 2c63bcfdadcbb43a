"""A dataset's subsets as files, for networks of other packages: the same frames and splits for each P and seed.

What such a network learns from them can be compared with the project's own curves: subsets are nested in P within a
seed, the validation frames (which published trainings stop by) and the test frames are the same for all.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

from experiments.core import files
from experiments.core.errors import InputError
from experiments.data.baseline import usable_subset
from experiments.data.dataset import Dataset
from experiments.data.sources.extxyz import xyz_text

TABLE = (
    "dataset", "test_set", "architecture", "metric", "unit", "P", "seed", "error", "dataset_sha256", "subset_sha256",
)  # fmt: skip
"""Columns of the run table to fill in; `architecture` and `error` are left open."""
METRICS = {"force_mae": "meV/Å", "energy_mae": "meV/atom"}


def write_subsets(dataset: Dataset, sizes: Sequence[int], seeds: Sequence[int], out: Path) -> list[Path]:
    """Write nested training subsets, validation and test frames, and a run table to fill in.

    `<out>/seed-S/P-N.xyz` (extended XYZ, eV and eV/Å), `validation.xyz`, `test.xyz`, `test-NAME.xyz` for each of
    `data.tests`; `subsets.csv`: each file with its SHA-256 and the frames' numbers in the pool; `runs.csv`: a row a
    file, test set and metric, which `analysis fit` reads once some are filled.

    Args:
        dataset: frames with forces.
        sizes: training-set sizes P.
        seeds: of the subsets.
        out: folder, made if need be; files that are there already are kept if they are the same.

    Returns:
        The files.

    Raises:
        InputError: P exceeds the pool, a subset lacks an element, or the folder holds other files of these names.
    """
    chosen = {(seed, P): usable_subset(dataset, P, seed) for seed in seeds for P in sorted(sizes)}
    parts = {out / "validation.xyz": dataset.holdout, out / "test.xyz": dataset.test}
    parts |= {out / f"test-{name}.xyz": frames for name, frames in dataset.further.items()}
    parts |= {_file(out, seed, P): dataset.pool.take(index) for (seed, P), index in chosen.items()}
    written = {path: _place(path, xyz_text(frames)) for path, frames in parts.items() if len(frames)}
    subsets = [
        (_file(out, seed, P).relative_to(out), seed, P, written[_file(out, seed, P)], " ".join(map(str, index)))
        for (seed, P), index in chosen.items()
    ]
    _place(out / "subsets.csv", _csv(("file", "seed", "P", "sha256", "frames"), subsets))
    table, sha256 = out / "runs.csv", dataset.sha256()
    if not table.exists():  # somebody may have begun to fill it in
        rows = [
            (dataset.name, test_set, "", metric, unit, P, seed, "", sha256, digest)
            for test_set in (dataset.test_set, *dataset.further)
            for metric, unit in METRICS.items()
            for _, seed, P, digest, _ in subsets
        ]
        files.write_bytes(table, _csv(TABLE, rows).encode())
    return [*written, out / "subsets.csv", table]


def _file(out: Path, seed: int, P: int) -> Path:
    return out / f"seed-{seed}" / f"P-{P}.xyz"


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def _place(path: Path, text: str) -> str:
    """Write a file, or check that the one that is there is the same; return its SHA-256."""
    content = text.encode()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, content)
    elif path.read_bytes() != content:
        raise InputError(f"{path}: holds something else; accepted: --out with another folder, or delete the file")
    return hashlib.sha256(content).hexdigest()
