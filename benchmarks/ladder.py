"""A ladder of a linearised network beside its runs one by one, and beside its largest run alone (CPU seconds)."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.build import bulk
from ase.neighborlist import neighbor_list

from benchmarks.cells import CELLS
from benchmarks.ethanol import random_ethanol
from benchmarks.rows import row, show
from experiments.config.parse import parse
from experiments.data.dataset import Frames
from experiments.data.load import dataset_of
from experiments.data.sources.extxyz import write_frames
from experiments.models.mace import MaceConfig
from experiments.runs.execute import execute
from experiments.runs.store import Run, RunStore

SIZES = (8, 16, 32, 64, 128)
TEST_FRAMES = (1000, 250)


def labelled(count: int) -> Frames:
    """Return frames of ethanol with E = Σ_pairs exp(1 − r/Å) eV and its forces: smooth labels, as real ones are."""
    ethanol = random_ethanol(count)
    x = ethanol.positions
    away = x[:, :, None] - x[:, None]
    n = x.shape[1]
    r = np.linalg.norm(away, axis=-1) + np.eye(n)
    pair = np.exp(1 - r) * (1 - np.eye(n))
    forces = (pair[..., None] * away / r[..., None]).sum(2)
    cells = np.zeros((count, 3, 3))
    numbers = np.tile(ethanol.numbers, (count, 1))
    return Frames(numbers, x, pair.sum((1, 2)) / 2, forces, cells, cells[..., 0] > 1)


def silicon(count: int, atoms: int = 64) -> Frames:
    """Return frames of silicon in a box of `atoms` = 8, 16, 32 or 64, with the same labels of neighbours within 5 Å."""
    crystal = bulk("Si", cubic=True).repeat({8: (1, 1, 1), 16: (2, 1, 1), 32: (2, 2, 1), 64: (2, 2, 2)}[atoms])
    sites, rng = crystal.get_positions(), np.random.default_rng(0)
    x = sites + rng.normal(0.0, 0.1, (count, atoms, 3))
    energies, forces = np.zeros(count), np.zeros(x.shape)
    for f in range(count):
        crystal.set_positions(x[f])
        i, r, away = neighbor_list("idD", crystal, 5.0)  # from i to its neighbour
        energies[f] = np.exp(1 - r).sum() / 2
        np.add.at(forces[f], i, -(np.exp(1 - r) / r)[:, None] * away)
    cells = np.tile(crystal.cell.array, (count, 1, 1))
    return Frames(np.full((count, atoms), 14), x, energies, forces, cells, np.ones((count, 3), dtype=bool))


def benchmarks(
    channels: int = 16, sizes: Sequence[int] = SIZES, tests: Sequence[int] = TEST_FRAMES, cell: str = "C"
) -> list[dict[str, Any]]:
    """Time a ladder of a cell in turns with its runs one by one; return rows of kind `ladder`.

    The ratio of the second of two rows is below 1: the largest run alone is the peer, so that 1/ratio is what the whole
    ladder costs relative to it.
    """
    pool = 2 * max(sizes)  # a part of the frames is kept from training
    frames = labelled(pool + max(tests))
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_frames(folder / "train.xyz", frames.take(slice(0, pool)))
        for test in tests:
            write_frames(folder / f"test{test}.xyz", frames.take(slice(pool, pool + test)))
            section = {"source": "extxyz", "train": str(folder / "train.xyz"), "test": str(folder / f"test{test}.xyz")}
            dataset_of(section)  # read once, for all

            def seconds(store: str, wanted: Sequence[int], section: Mapping[str, Any] = section) -> float:
                runs = [queued(folder / store, P, section, cell, channels) for P in wanted]
                began = time.process_time()
                outcome = execute(runs, lambda: False, lambda event: None)
                assert set(outcome.values()) == {"done"}, outcome
                return time.process_time() - began

            seconds(f"warm{test}", sizes[:1])
            whole = seconds(f"whole{test}", sizes)
            apart = [seconds(f"apart{test}", [P]) for P in sizes]
            name = (
                f"ladder P = {sizes[0]}…{sizes[-1]}, MACE cell {cell} linearised, {channels} channels, ethanol, "
                f"{test} test frames, CPU"
            )
            for peer, peer_seconds in (("its runs one by one", sum(apart)), ("its largest run alone", apart[-1])):
                made = row(name, torch.device("cpu"), 1e3 * whole, peer, 1e3 * peer_seconds)
                rows.append({**made, "kind": "ladder"})
            show(rows[-2:])
    return rows


def queued(store: Path, P: int, section: Mapping[str, Any], cell: str, channels: int) -> Run:
    """Queue a run of a linearised cell of MACE on a section of data."""
    L, nu, edge_lmax = CELLS[cell]
    network = asdict(replace(MaceConfig(), edge_lmax=edge_lmax, channels=channels))
    model: dict[str, Any] = {"architecture": "ntk", "of": "mace"}
    model |= {name: value for name, value in network.items() if name not in ("L", "nu")}
    model["radial_hidden"] = list(model["radial_hidden"])
    config = parse({
        "P": P, "L": L, "nu": nu, "seed": 0, "data": dict(section), "model": model,
        "training": {}, "store": str(store), "device": "cpu",
    })  # fmt: skip
    run = RunStore(config.store).run(config.run_id(dataset_of(config.data).sha256()))
    run.create(config.as_dict())
    return run
