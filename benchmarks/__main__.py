"""Benchmarks (`make bench`): a training step against other packages, a sweep's throughput, variants of the engine
against each other, ladders of closed forms against their runs, the start of commands, and what a GPU does
(`benchmarks.gpu_check`, whose rows go into a file of their own beside it; without a GPU its figures read
"not measured").

`python -m benchmarks --out FILE.json` prints a table and writes a list of
`{name, kind, device, threads, ours_ms, peer, peer_ms, ratio}`; ratio = peer_ms / ours_ms. Rows of the kinds `step`
and `sweep` are medians over alternating processes and have quartiles (`ratio_low`, `ratio_high`), the ratio of CPU
times (`ratio_cpu`), which other programs on the machine disturb less, and `compile_s`, the time until our first step
was done. Rows of the kinds `ladder`, `compile` and `start` are CPU times.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cells import CELLS
from experiments.core import command, files
from experiments.core.errors import InputError

KINDS = ("step", "sweep", "engine", "compile", "roofline", "ladder", "start", "gpu")


def main() -> int:
    """Run the benchmarks of the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Time training.")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--models", nargs="+", choices=("mace", "nequip"), default=["mace", "nequip"])
    parser.add_argument("--L", nargs="+", type=int, choices=range(4), default=[0, 1, 2], help="orders of the steps")
    parser.add_argument("--layers", type=int, help="layers of the steps' networks (default: as in conf/model)")
    parser.add_argument("--cells", nargs="+", choices=sorted(CELLS), default=["A", "C"], help="cells to time")
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--packs", nargs="*", type=int, default=[2, 4, 8], help="sizes of packs to time")
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each comparison")
    return command.run(_measure, parser.parse_args(), failures=(InputError,))


def _measure(arguments: argparse.Namespace) -> None:
    import torch  # takes seconds, and the help needs none of it

    from benchmarks import compiling, engine, gpu_check, ladder, roofline, start, steps
    from benchmarks.rows import show

    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    layers = {"mace": arguments.layers or 2, "nequip": arguments.layers or 3}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Mapping[str, Any]] = []

    def keep(new: Sequence[Mapping[str, Any]]) -> None:
        rows.extend(new)
        files.write_json(arguments.out, rows)  # at once: a row may take minutes, and the next may be interrupted

    if "step" in arguments.kinds:
        for settings, modes in steps.cases(arguments.models, arguments.L, arguments.channels, layers, device):
            keep(steps.measure(settings, modes, arguments.seconds))
    if "sweep" in arguments.kinds:
        for settings, _ in steps.cases(arguments.models, [1], arguments.channels, layers, "cpu"):
            keep([steps.measure_two_workers(settings, arguments.seconds)])
    if "engine" in arguments.kinds:
        keep(engine.benchmarks(arguments.cells, arguments.channels, arguments.packs, arguments.seconds))
    if "compile" in arguments.kinds:
        for settings, _ in steps.cases(arguments.models, arguments.L, arguments.channels, layers, "cpu"):
            measured = compiling.measure(settings, arguments.seconds)
            show(measured)
            keep(measured)
    if "roofline" in arguments.kinds:
        for settings, _ in steps.cases(arguments.models, arguments.L, arguments.channels, layers, "cpu"):
            counted = roofline.measure(settings)
            roofline.show(counted)
            keep(counted)
    if "ladder" in arguments.kinds:
        keep(ladder.benchmarks())
    if "start" in arguments.kinds:
        keep(start.benchmarks())
    if "gpu" in arguments.kinds:
        if device == "cuda":
            gpu_check.check_device("cuda", 8.0, arguments.out.with_name("gpu_check.json"))
        else:
            gpu_check.nothing_measured()


if __name__ == "__main__":
    sys.exit(main())
