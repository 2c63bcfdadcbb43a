"""`python -m benchmarks.ladder_cost --out docs/pictures`: what ladders of a linearised network cost.

CPU seconds and peak memory of MACE, cell C (L=0, ν=3, edge order 3), by the largest P and by channels (ethanol), and
by atoms (silicon), each in a process of its own; prints a table and writes the figure `ladder_cost` with its numbers.
Frames and labels are made up (`labelled`, `silicon`): of the shapes of real ones, and smooth. `--large` measures the
largest cases that a machine of 16 GB is for, some 40 CPU minutes, and draws nothing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure

from analysis.figures.style import COLUMN_WIDTH, HUES, letters, log_axis, save, style, title
from benchmarks.ladder import labelled, queued, silicon
from experiments.core import command
from experiments.data.dataset import Frames
from experiments.data.sources.extxyz import write_frames
from experiments.runs.execute import execute

TEST_FRAMES = 250
DPI = 150


@dataclass(frozen=True)
class Case:
    """A ladder to measure: what it shows (`axis`), at which value, its sizes, and how many of what frames."""

    axis: str
    value: int
    sizes: tuple[int, ...]
    channels: int = 16
    atoms: int = 9

    @property
    def name(self) -> str:
        """Words for the table."""
        what = "ethanol" if self.atoms == 9 else f"silicon, {self.atoms} atoms"
        return f"{what}, {self.channels} channels, P = {', '.join(map(str, self.sizes))}"

    def frames(self, count: int) -> Frames:
        """Return so many labelled frames."""
        return labelled(count) if self.atoms == 9 else silicon(count, self.atoms)

    @property
    def tests(self) -> int:
        """Number of test frames: 2 for each of the largest P of crystals, whose forces are many."""
        return TEST_FRAMES if self.atoms == 9 else 2 * self.sizes[-1]


def doubled(largest: int, first: int = 8) -> tuple[int, ...]:
    """Return first, 2 first, 4 first, … up to `largest`."""
    return tuple(first * 2**i for i in range(int(np.log2(largest // first)) + 1))


CASES = (
    *(Case("P", P, doubled(P)) for P in (16, 32, 64, 128, 256)),
    *(Case("channels", width, doubled(32), channels=width) for width in (8, 16, 32, 64)),
    *(Case("atoms", atoms, (2, 4, 8), atoms=atoms) for atoms in (8, 16, 32)),
)
LARGE = (
    *(Case("atoms", 64, doubled(P, 2), atoms=64) for P in (8, 64)),
    Case("P", 512, (32, 128, 512)),
    Case("P", 1024, (1024,)),
)


def measure(case: Case) -> tuple[float, float]:
    """Return CPU seconds and peak memory (bytes) of a ladder, in a process of its own.

    Raises:
        RuntimeError: the process ended without an answer.
    """
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(case, sending))
    process.start()
    sending.close()
    try:
        seconds, memory = receiving.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"{case.name}: the process ended with code {process.exitcode}") from None
    process.join()
    return seconds, memory


def _answer(case: Case, sending: Connection) -> None:
    pool = max(2 * case.sizes[-1], 8)
    frames = case.frames(pool + case.tests)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_frames(folder / "train.xyz", frames.take(slice(0, pool)))
        write_frames(folder / "test.xyz", frames.take(slice(pool, None)))
        section = {"source": "extxyz", "train": str(folder / "train.xyz"), "test": str(folder / "test.xyz")}
        runs = [queued(folder / "store", P, section, "C", case.channels) for P in case.sizes]
        outcome = execute(runs, lambda: False, lambda event: None)
        assert set(outcome.values()) == {"done"}, outcome
        results = [result for run in runs if (result := run.result()) is not None]
    sending.send((sum(float(r["cpu_seconds"]) for r in results), max(float(r["peak_memory"]) for r in results)))


def line(case: Case, seconds: float, memory: float) -> str:
    """Return a row of the table."""
    return f"| {case.name} | {seconds:.1f} s | {memory / 1e9:.1f} GB |"


def draw(found: Sequence[tuple[Case, float, float]], stem: Path) -> list[Path]:
    """Draw CPU seconds and memory against each axis; return the files written."""
    axes_of = list(dict.fromkeys(case.axis for case, _, _ in found))
    numbers: list[dict[str, object]] = []
    with style(), mpl.rc_context({"figure.dpi": DPI, "savefig.dpi": DPI}):
        figure = Figure(figsize=(2 * COLUMN_WIDTH, 1.9), layout="constrained")
        marks = letters(len(axes_of))
        for axes, axis, mark in zip(
            np.atleast_1d(figure.subplots(1, len(axes_of), sharey=True)), axes_of, marks, strict=True
        ):
            own = [(case.value, seconds, memory / 1e9) for case, seconds, memory in found if case.axis == axis]
            value, seconds, memory = np.array(own, dtype=float).T
            axes.plot(value, seconds, "o-", color=HUES[0], label="CPU seconds")
            axes.plot(value, memory, "s--", color=HUES[1], label="peak memory, GB")
            log_axis(axes.xaxis)
            log_axis(axes.yaxis)
            axes.set_xticks(value, [f"{one:g}" for one in value])
            axes.minorticks_off()
            axes.set_xlabel({"P": "largest P", "channels": "channels", "atoms": "atoms of a frame"}[axis])
            title(axes, mark.strip())
            numbers += [{"axis": axis, "value": v, "cpu_seconds": s, "peak_gb": m} for v, s, m in own]
        figure.axes[0].legend()
        return save(figure, stem, numbers)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all cases, print a line for each as soon as it is known, and draw them; return the exit code."""
    parser = command.Parser(prog="python -m benchmarks.ladder_cost", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder of the figure (default build)")
    parser.add_argument("--large", action="store_true", help="measure the large cases instead, and draw nothing")
    return command.run(_measure, parser.parse_args(arguments))


def _measure(given: argparse.Namespace) -> None:
    torch.set_num_threads(1)  # as in runs
    print("| ladder of cell C | processor time | peak memory |\n|---|---|---|", flush=True)
    found = []
    for case in LARGE if given.large else CASES:
        seconds, memory = measure(case)
        found.append((case, seconds, memory))
        print(line(case, seconds, memory), flush=True)
    if not given.large:
        for path in draw(found, given.out / "ladder_cost"):
            print(path)


if __name__ == "__main__":
    sys.exit(main())
