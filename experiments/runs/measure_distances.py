"""`python -m experiments.runs.measure_distances --store DIR`: distances of test to training frames, for the runs of a
store.

They are measured for every dataset of the store, at the P and with the subsets of its finished runs, and written to
`DIR/distances.parquet`, which `python -m analysis dimension` and `bounds` read. Torch-free.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.config.parse import parse
from experiments.core import command, files
from experiments.core.errors import InputError
from experiments.data.card import TEST_FRAMES, subset_distances
from experiments.data.dataset import Dataset
from experiments.data.load import further_sections, load_any, without_lost_tests
from experiments.runs.store import RunStore

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)
NAME = "distances.parquet"


@dataclass
class DistanceRequest:
    """Distances to measure on one dataset: at the P and with the subset seeds of its finished runs."""

    section: Mapping[str, Any]
    """Data section of the runs' configuration."""
    sha256: str
    """Digest of the data's content, and the file or name of a further test set."""
    sizes: set[int] = field(default_factory=set)
    seeds: set[int] = field(default_factory=set)


def distances_of(store: Path, test_frames: int = TEST_FRAMES) -> pd.DataFrame:
    """Return the tables of `experiments.data.distances.distance_table` with the columns dataset and test_set.

    Datasets whose frames differ in their atoms, or are periodic, are left out with a warning.

    Raises:
        InputError: no dataset is left, or two of the same name differ.
    """
    import pandas as pd

    requests: dict[tuple[str, str], DistanceRequest] = {}
    for run, result in RunStore(store).results():
        data = without_lost_tests(parse(run.config()).data)
        for test_set, section in {**further_sections(data), str(result.test_set): data}.items():
            key = (str(result.dataset), test_set)
            sha256 = str(result.dataset_sha256) + ("" if section is data else f", tested on {section['test']}")
            request = requests.setdefault(key, DistanceRequest(section, sha256))
            if request.sha256 != sha256:
                raise InputError(
                    f"--store {store}: runs on different data, all called {key[0]}; accepted: data with different names"
                )
            request.sizes.add(int(result["P"]))
            request.seeds.add(int(result["subset_seed"]))
    if not requests:
        raise InputError(f"--store {store}: no finished run in it; accepted: a store with finished runs")
    parts = []
    for (name, test_set), request in requests.items():
        dataset = load_any(request.section)
        distances = None
        if isinstance(dataset, Dataset):
            distances = subset_distances(dataset, sorted(request.sizes), sorted(request.seeds), test_frames)
        if distances is None:
            logger.warning("%s is left out: distances need frames of one molecule, not periodic", name)
            continue
        distances["dataset"], distances["test_set"] = name, test_set
        parts.append(distances)
    if not parts:
        raise InputError(
            f"--store {store}: none of its datasets has frames of one molecule; accepted: those, not periodic"
        )
    return pd.concat(parts, ignore_index=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return exit code 0 (done) or 2 (bad input, told in one line)."""
    command.show_warnings()
    parser = command.Parser(prog="python -m experiments.runs.measure_distances", description=__doc__)
    parser.add_argument("--store", type=command.path, required=True, metavar="DIR", help="store of runs")
    parser.add_argument(
        "--test-frames", type=int, default=TEST_FRAMES, metavar="N", help=f"test frames used (default {TEST_FRAMES})"
    )
    return command.run(_measure, parser.parse_args(arguments))


def _measure(given: argparse.Namespace) -> None:
    if given.test_frames < 2:
        raise InputError(f"--test-frames {given.test_frames}: accepted: an integer ≥ 2")
    if not given.store.is_dir():
        raise InputError(f"--store {given.store}: no such directory; accepted: a store of runs")
    files.writable(given.store, "--store")
    distances = distances_of(given.store, given.test_frames)
    with files.whole(given.store / NAME) as temporary:
        distances.to_parquet(temporary, index=False)
    print(f"{given.store / NAME}: {len(distances)} rows, {', '.join(distances['dataset'].unique())}")


if __name__ == "__main__":
    sys.exit(main())
