"""Ethanol (9 atoms) at 500 K on GFN2-xTB, a file of the package: data that need neither a network nor generation.

The frames are those of `data=ethanol`, with positions rounded to float32 and the labels computed at the rounded ones
(`experiments.data.sampling.pack_ethanol` made the file, and its docstring has the command).
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from experiments.core.errors import InputError
from experiments.core.schema import setting
from experiments.data.dataset import Dataset, Frames

PACKED = Path(__file__).with_suffix(".npz")
"""Arrays: `numbers` `[9]`; `positions` `[F, 9, 3]` float32 in Å; `energies` `[F]` in eV; `forces` `[F, 9, 3]` float32
in eV/Å; `parts` `[3]`, how many frames are pool, holdout and test, in this order; `isolated_numbers`,
`isolated_energies` `[3]` in eV; `provenance`, JSON."""


@dataclass(frozen=True)
class EthanolSmallConfig:
    """Ethanol (9 atoms) at 500 K on GFN2-xTB, 1,744 frames that come with the program: no network, no generation.

    They are the frames of data=ethanol, positions rounded to float32 and labels computed at the rounded ones: 1,280 to
    train on, 64 of the validation set, 400 test frames.
    """

    source: ClassVar[str] = "ethanol_small"
    kind: ClassVar[str] = "molecules"

    disjoint_seeds: int = setting(5, low=1)


def ethanol_small(config: EthanolSmallConfig) -> Dataset:
    """Read the dataset. Raises `InputError` if the file of the installed package is absent or damaged."""
    try:
        with np.load(PACKED) as packed:
            content = {name: packed[name] for name in packed.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{PACKED}: not readable ({error}); accepted: the file as the package has it") from None
    count = len(content["energies"])
    frames = Frames(
        numbers=np.tile(content["numbers"], (count, 1)),
        positions=content["positions"].astype(np.float64),
        energies=content["energies"],
        forces=content["forces"].astype(np.float64),
        cells=np.zeros((count, 3, 3)),
        pbc=np.zeros((count, 3), dtype=bool),
    )
    pool, holdout, test = (
        frames.take(part) for part in np.split(np.arange(count), np.cumsum(content["parts"])[:-1])
    )  # fmt: skip
    return Dataset(
        name="ethanol_small",
        pool=pool,
        holdout=holdout,
        test=test,
        isolated_energies=dict(
            zip(content["isolated_numbers"].tolist(), content["isolated_energies"].tolist(), strict=True)
        ),
        disjoint_seeds=config.disjoint_seeds,
        provenance=json.loads(str(content["provenance"])),
    )


load = ethanol_small
