"""``make bench``, the training side: one update of MACE, compiled beside eager, and packs beside single runs.

``python -m experiments.bench --out FILE.json`` prints a table and writes a list of
``{name, device, threads, ours_ms, peer, peer_ms, ratio}``; ratio = peer_ms / ours_ms. Both sides of a ratio are
timed in turns within one process, for machines drift. With ``--also`` the lists of other programs' benchmarks are
added to the file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.build import molecule

from experiments import files
from experiments.config import MaceConfig, TrainingConfig
from experiments.data.dataset import Dataset, Frames
from experiments.data.splits import subset
from experiments.models.mace import Mace
from experiments.tasks.molecules import MoleculeTask
from experiments.training.member import Member
from experiments.training.pack import Pack

CELLS = {"A": (0, 1, 3), "B": (1, 1, 3), "C": (0, 3, 3), "D": (0, 3, 0)}
"""L, ν and edge order of the cells of the pre-registered test."""
LEG = 10
"""Updates timed together."""


def shaken_ethanol(frames: int) -> Dataset:
    """Frames of ethanol with random displacements and labels: the shapes of real data, made in no time."""
    atoms = molecule("CH3CH2OH")
    rng = np.random.default_rng(0)
    count = len(atoms)
    positions = atoms.positions + rng.normal(0.0, 0.05, (frames, count, 3))
    made = Frames(
        numbers=np.tile(atoms.numbers.astype(np.int64), (frames, 1)),
        positions=positions,
        energies=rng.normal(size=frames),
        forces=rng.normal(size=(frames, count, 3)),
        cells=np.zeros((frames, 3, 3)),
        pbc=np.zeros((frames, 3), dtype=bool),
    )
    return Dataset("shaken_ethanol", made, made.take(slice(0, 2)), made.take(slice(0, 2)), disjoint_seeds=1)


def pack_of(size: int, config: MaceConfig, task: MoleculeTask, folder: Path, compile: bool) -> Pack:
    """A pack that trains for ever."""
    model = Mace(config, len(task.elements))
    settings = TrainingConfig(max_steps=10_000_000)
    members = []
    for seed in range(size):
        path = folder / f"{size}-{compile}-{seed}"
        path.mkdir(parents=True, exist_ok=True)
        chosen = subset(len(task.dataset.pool), 32, seed, 1)
        members.append(Member(str(seed), path, [], seed, seed, settings, task.prepare(chosen)))
    return Pack(members, task, model, compile)


def in_turns(ours: Callable[[], object], peer: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Median milliseconds of both, called in turns for about ``seconds``, after one call of each."""
    ours(), peer()
    times: tuple[list[float], list[float]] = ([], [])
    began = time.perf_counter()
    while time.perf_counter() - began < seconds or len(times[0]) < 3:
        for call, found in zip((ours, peer), times, strict=True):
            start = time.perf_counter()
            call()
            found.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[0]), statistics.median(times[1])


def row(name: str, device: torch.device, ours: float, peer: str, peer_ms: float) -> dict[str, Any]:
    """An entry of the file."""
    return {
        "name": name,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "ours_ms": ours,
        "peer": peer,
        "peer_ms": peer_ms,
        "ratio": peer_ms / ours,
    }


def benchmarks(cells: Sequence[str], channels: int, packs: Sequence[int], seconds: float) -> list[dict[str, Any]]:
    """Updates of each cell compiled and eager, the engine beside its bare gradient, and packs of cell C."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    task = MoleculeTask(shaken_ethanol(64), 5.0, torch.float32, device)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for cell in cells:
            L, nu, edge_lmax = CELLS[cell]
            config = replace(MaceConfig(), L=L, nu=nu, edge_lmax=edge_lmax, channels=channels)
            name = f"update, MACE cell {cell} (L={L} nu={nu} edge={edge_lmax}), {channels} channels, ethanol, batch 8"
            began = time.perf_counter()
            compiled, eager = (pack_of(1, config, task, folder, compile) for compile in (True, False))
            compiled.advance(1)
            built = time.perf_counter() - began
            ours, peer = in_turns(lambda c=compiled: c.advance(LEG), lambda e=eager: e.advance(LEG), seconds)  # type: ignore[misc]
            rows.append(row(name, device, ours / LEG, "the same, eager", peer / LEG) | {"compile_s": built})
            gradient, whole = in_turns(compiled.bare_gradient, lambda c=compiled: c.advance(LEG), seconds)  # type: ignore[misc]
            text = f"gradient alone, cell {cell}"
            rows.append(row(text, device, gradient, "the update, optimiser and engine included", whole / LEG))
            engine, bare = in_turns(
                lambda c=compiled: c.advance(LEG),  # type: ignore[misc]
                lambda c=compiled: c.bare_steps(LEG),  # type: ignore[misc]
                seconds,
            )
            text = f"update, cell {cell}: the engine's overhead is 1/ratio − 1"
            rows.append(row(text, device, engine / LEG, "its compiled step alone (gradient, optimiser)", bare / LEG))
            show(rows[-3:])
        config = replace(MaceConfig(), L=0, nu=3, channels=channels)
        single = pack_of(1, config, task, folder, True)
        for size in packs:
            pack = pack_of(size, config, task, folder, True)
            ours, peer = in_turns(lambda q=pack: q.advance(LEG), lambda: single.advance(LEG), seconds)  # type: ignore[misc]
            name = f"update a run in a pack of {size}, MACE cell C, {channels} channels, ethanol, batch 8"
            rows.append(row(name, device, ours / LEG / size, "a pack of one", peer / LEG) | memory_of(pack))
            show(rows[-1:])
    return rows


def memory_of(pack: Pack) -> dict[str, int]:
    """Bytes a run: of its state, and on a GPU of one gradient beyond what was held before it (a CPU's allocator keeps
    what it once had, so that the process's size does not tell)."""
    size = len(pack.slots)
    found = {"state_bytes_a_run": pack.state_bytes() // size}
    if pack.task.device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        pack.bare_gradient()
        found["gradient_bytes_a_run"] = (torch.cuda.max_memory_allocated() - before) // size
    return found


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print entries as they come."""
    for r in rows:
        extra = f"  (ready after {r['compile_s']:.0f} s)" if "compile_s" in r else ""
        extra += "".join(f"  ({r[key] / 1e6:.1f} MB: {key})" for key in r if key.endswith("_bytes_a_run"))
        print(f"{r['ours_ms']:9.3f} ms  {r['ratio']:6.2f}x  {r['name']}; beside {r['peer']}{extra}", flush=True)


def main() -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(description="Time the training engine.")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--cells", nargs="+", choices=sorted(CELLS), default=["A", "C"], help="cells to time")
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--packs", nargs="*", type=int, default=[2, 4, 8], help="sizes of packs to time")
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each comparison")
    parser.add_argument("--also", nargs="*", type=Path, default=[], help="JSON lists to add to the file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = benchmarks(arguments.cells, arguments.channels, arguments.packs, arguments.seconds)
    if not torch.cuda.is_available():
        print("GPU: not measured (none here)")
    for path in arguments.also:
        rows += json.loads(path.read_text())
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(arguments.out, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
