"""Variants of the engine against each other: updates of MACE compiled and eager, with and without the engine around
the step, and packs and single runs. Both sides of a ratio alternate within one process, because machines drift."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.cells import CELLS
from benchmarks.ethanol import random_ethanol
from benchmarks.rows import row, show
from experiments.config.training import TrainingConfig
from experiments.data.dataset import Dataset, Frames
from experiments.data.splits import subset
from experiments.models.mace import MaceConfig
from experiments.models.networks.mace import Mace
from experiments.tasks.molecules import MoleculeTask
from experiments.tasks.task import Model
from experiments.training.member import Member
from experiments.training.pack import Pack

CHUNK = 10
"""Number of updates that are timed together."""


def random_ethanol_dataset(frames: int) -> Dataset:
    """Return the frames of `benchmarks.ethanol.random_ethanol` as a dataset."""
    ethanol = random_ethanol(frames)
    pool = Frames(
        numbers=np.tile(ethanol.numbers, (frames, 1)),
        positions=ethanol.positions,
        energies=ethanol.energies,
        forces=ethanol.forces,
        cells=np.zeros((frames, 3, 3)),
        pbc=np.zeros((frames, 3), dtype=bool),
    )
    return Dataset("shaken_ethanol", pool, pool.take(slice(0, 2)), pool.take(slice(0, 2)), disjoint_seeds=1)


def pack_of(
    size: int,
    model: Model,
    task: MoleculeTask,
    folder: Path,
    compile: bool,
    optimizer: str = TrainingConfig.optimizer,
    batch_size: int = TrainingConfig.batch_size,
) -> Pack:
    """Build a pack of `size` runs whose training never ends; their run directories lie in `folder`."""
    settings = TrainingConfig(max_steps=10_000_000, optimizer=optimizer, batch_size=batch_size)
    members = []
    for seed in range(size):
        path = folder / f"{size}-{compile}-{seed}"
        path.mkdir(parents=True, exist_ok=True)
        chosen = subset(len(task.dataset.pool), 32, seed, 1)
        members.append(Member(str(seed), path, [], seed, seed, settings, task.prepare(chosen)))
    return Pack(members, task, model, compile)


def time_in_turns(ours: Callable[[], object], peer: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Call both in turns for about `seconds` and return their median milliseconds; the first call is not timed."""
    ours(), peer()
    times: tuple[list[float], list[float]] = ([], [])
    began = time.perf_counter()
    while time.perf_counter() - began < seconds or len(times[0]) < 3:
        for call, series in zip((ours, peer), times, strict=True):
            start = time.perf_counter()
            call()
            series.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[0]), statistics.median(times[1])


def benchmarks(cells: Sequence[str], channels: int, packs: Sequence[int], seconds: float) -> list[dict[str, Any]]:
    """Time updates of each cell compiled and eager, the engine against its bare step, and packs of cell C.

    Each comparison takes about `seconds`; `packs` are sizes. Returns the rows of the benchmark's file.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    task = MoleculeTask(random_ethanol_dataset(64), 5.0, torch.float32, device)
    species = len(task.elements)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for cell in cells:
            L, nu, edge_lmax = CELLS[cell]
            config = replace(MaceConfig(), L=L, nu=nu, edge_lmax=edge_lmax, channels=channels)
            name = f"update, MACE cell {cell} (L={L} nu={nu} edge={edge_lmax}), {channels} channels, ethanol, batch 8"
            began = time.perf_counter()
            compiled, eager = (pack_of(1, Mace(config, species), task, folder, compile) for compile in (True, False))
            compiled.advance(1)
            built = time.perf_counter() - began
            ours, peer = time_in_turns(lambda c=compiled: c.advance(CHUNK), lambda e=eager: e.advance(CHUNK), seconds)  # type: ignore[misc]
            rows.append(row(name, device, ours / CHUNK, "the same, eager", peer / CHUNK) | {"compile_s": built})
            gradient, whole = time_in_turns(compiled.bare_gradient, lambda c=compiled: c.advance(CHUNK), seconds)  # type: ignore[misc]
            text = f"gradient alone, cell {cell}"
            rows.append(row(text, device, gradient, "the update, optimiser and engine included", whole / CHUNK))
            engine, bare = time_in_turns(
                lambda c=compiled: c.advance(CHUNK),  # type: ignore[misc]
                lambda c=compiled: c.bare_steps(CHUNK),  # type: ignore[misc]
                seconds,
            )
            text = f"update, cell {cell}: the engine's overhead is 1/ratio − 1"
            rows.append(
                row(text, device, engine / CHUNK, "its compiled step alone (gradient, optimiser)", bare / CHUNK)
            )
            show(rows[-3:])
        model = Mace(replace(MaceConfig(), L=0, nu=3, channels=channels), species)
        single = pack_of(1, model, task, folder, True)
        for size in packs:
            pack = pack_of(size, model, task, folder, True)
            ours, peer = time_in_turns(lambda q=pack: q.advance(CHUNK), lambda: single.advance(CHUNK), seconds)  # type: ignore[misc]
            name = f"update a run in a pack of {size}, MACE cell C, {channels} channels, ethanol, batch 8"
            rows.append(row(name, device, ours / CHUNK / size, "a pack of one", peer / CHUNK) | memory_of(pack))
            show(rows[-1:])
    return rows


def memory_of(pack: Pack) -> dict[str, int]:
    """Measure bytes a run: of its state, and on a GPU the peak of one gradient beyond what was allocated before it.

    A CPU's allocator keeps freed memory, so the process's size says nothing about a gradient.
    """
    size = len(pack.slots)
    memory = {"state_bytes_a_run": sum(value.nbytes for value in pack.state.values()) // size}
    if pack.task.device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        pack.bare_gradient()
        memory["gradient_bytes_a_run"] = (torch.cuda.max_memory_allocated() - before) // size
    return memory
