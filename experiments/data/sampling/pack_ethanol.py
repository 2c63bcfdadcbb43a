"""Make the file of `data=ethanol_small`: the frames of `data=ethanol`, rounded to float32 and labelled again.

    OMP_NUM_THREADS=1 python -m experiments.data.sampling.pack_ethanol experiments/data/sources/ethanol_small.npz

It samples with the project's own sampler if `data=ethanol` is not cached yet (two CPU minutes, tblite 0.8.0). Forces
are rounded too, to a ten-millionth of their size: labels computed again agree to 1e-5 eV/Å and 1e-6 eV.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.core import command, files
from experiments.data.sampling.xtb_walker import LABEL_ACCURACY, xtb_potential
from experiments.data.sources.ethanol_small import PACKED
from experiments.data.sources.xtb import XtbConfig, xtb

_OF_THIS_MACHINE = ("directory", "sha256")
"""Facts of the generated set that say nothing about the packed one."""


def pack(path: Path) -> None:
    """Write the packed file; raises `InputError` as `xtb` does."""
    files.writable(path.absolute().parent, "FILE")
    dataset = xtb(XtbConfig("ethanol"))
    parts = (dataset.pool, dataset.holdout, dataset.test)
    positions = np.concatenate([part.positions for part in parts]).astype(np.float32)
    numbers = dataset.pool.numbers[0]
    potential = xtb_potential(numbers, 0, 0, LABEL_ACCURACY)
    labels = [potential(frame.astype(np.float64), None)[:2] for frame in positions]
    isolated = dict(dataset.isolated_energies or {})
    facts = {name: value for name, value in dataset.provenance.items() if name not in _OF_THIS_MACHINE}
    with files.whole(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            numbers=numbers,
            positions=positions,
            energies=np.array([energy for energy, _ in labels]),
            forces=np.array([forces for _, forces in labels]).astype(np.float32),
            parts=np.array([len(part) for part in parts]),
            isolated_numbers=np.array(list(isolated)),
            isolated_energies=np.array(list(isolated.values())),
            provenance=np.array(json.dumps(facts | {"source": "ethanol_small"})),
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return exit code 0 (done) or 2 (bad input, told in one line)."""
    command.show_warnings()
    parser = command.Parser(prog="python -m experiments.data.sampling.pack_ethanol", description=__doc__)
    parser.add_argument("file", metavar="FILE", type=Path, nargs="?", default=PACKED)
    return command.run(_pack, parser.parse_args(arguments))


def _pack(given: argparse.Namespace) -> None:
    pack(given.file)
    print(f"{given.file}: {given.file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    sys.exit(main())
