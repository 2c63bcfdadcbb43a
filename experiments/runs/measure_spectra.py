"""`python -m experiments.runs.measure_spectra --store DIR`: more of what the ladders of a store can tell.

For every ladder (the runs of a model that is solved by products of rows, of one seed) the Gram matrix of its largest P
is made once more, and

- errors of left-out frames at every P from the smallest to the largest come from a few factorisations, no test frame
  needed: the shape of a curve between its sizes;
- β with the eigenvectors of one model and the eigenvalues of another, for the models that share the frames of a seed
  (`experiments.regression.spectrum`).

They are written to `DIR/spectra.json`, which `python -m analysis spectrum` reads.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.config.run import RunConfig
from experiments.core import command, files
from experiments.core.arrays import Floats
from experiments.core.errors import InputError
from experiments.data.dataset import Dataset
from experiments.data.load import dataset_of
from experiments.data.splits import training_subset
from experiments.regression.gram import GramSystem
from experiments.regression.ladder import Conditions
from experiments.regression.methods import closed_form
from experiments.regression.spectrum import FrameRows, Spectrum, exchange_matrix, spectrum_of
from experiments.runs.execute import config_of
from experiments.runs.store import RunStore

logger = logging.getLogger(__name__)
NAME = "spectra.json"
MOST_SIZES = 200
"""Values of P at which frames are left out; beyond, they are spread evenly on a log scale."""
MOST_MODELS = 8
"""Models whose spectra are exchanged at a time: each pair is solved anew."""
MOST_ROWS = 3000
"""Rows of the frames on which spectra are exchanged: seconds an eigenvalue problem."""
PENALTY_STEP = 10.0


@dataclass
class StoredLadder:
    """The finished runs of one model and seed, ordered by P, each with its result."""

    configs: list[RunConfig]
    results: list[Mapping[str, Any]]

    @property
    def largest(self) -> RunConfig:
        """The run of the largest P."""
        return self.configs[-1]

    @property
    def sizes(self) -> list[int]:
        """P of all runs, ascending."""
        return [config.P for config in self.configs]

    @property
    def model_id(self) -> str:
        """Name of the curve."""
        return str(self.results[-1]["model_id"])


def stored_ladders(store: Path) -> list[StoredLadder]:
    """Return the ladders of a store that have two sizes or more.

    Raises:
        InputError: there is none.
    """
    found: dict[tuple[str, int, int, int], list[tuple[RunConfig, Mapping[str, Any]]]] = {}
    for run, result in RunStore(store).results():
        config = config_of(run)
        if config.model.closed_form and (result.get("fit") or {}).get("ridge") is not None:
            key = (str(result["model_id"]), config.seed, config.subset_seed, config.init_seed)
            found.setdefault(key, []).append((config, result))
    ladders = [sorted(members, key=lambda one: one[0].P) for members in found.values() if len(members) > 1]
    if not ladders:
        raise InputError(
            f"--store {store}: no finished ladder in it; accepted: runs of model=ntk, ace or krr with two P or more"
        )
    return [StoredLadder([c for c, _ in members], [r for _, r in members]) for members in ladders]


def system_of(ladder: StoredLadder) -> GramSystem | None:
    """Return the Gram matrix of the frames of the largest P; None if the model is not solved by products of rows."""
    config, dataset = ladder.largest, dataset_of(ladder.largest.data)
    assert isinstance(dataset, Dataset)
    frames = dataset.labelled.take(training_subset(dataset, config.P, config.subset_seed, closed_form=True))
    conditions = Conditions(dataset.isolated_energies, config.init_seed, dataset.pool)
    return closed_form(config.model, dataset.elements()).ladder(frames, [config.P], conditions).system


def left_out_errors(system: GramSystem, ladder: StoredLadder) -> dict[str, list[float]]:
    """Return `P` and `force_rmse` (eV/Å over components) of left-out frames at every P from one factor a ridge.

    Ridges are absolute, a decade apart, over the range that the runs of the ladder chose; each P takes the one with the
    least error of left-out rows.
    """
    chosen = [
        float(result["fit"]["ridge"]) * system.top(P)
        for P, result in zip(ladder.sizes, ladder.results, strict=True)
        if system.frames >= P
    ]
    low, high = max(2, ladder.sizes[0]), system.frames
    sizes = np.unique(np.geomspace(low, high, min(MOST_SIZES, high - low + 1)).round().astype(np.int64))
    if high - low < MOST_SIZES:
        sizes = np.arange(low, high + 1)
    force = force_rows(system)
    weight = float(getattr(ladder.largest.model, "force_weight", 1.0))
    best = np.full(len(sizes), np.inf)
    errors = np.full(len(sizes), np.nan)
    for penalty in penalties_over(chosen):
        try:
            factor = system.factor(penalty)
        except np.linalg.LinAlgError:
            continue
        for i, P in enumerate(sizes.tolist()):
            found = factor.left_out(P)
            if found.score < best[i]:
                own = found.errors[force[: system.rows(P)]]
                best[i], errors[i] = found.score, np.sqrt((own @ own) / weight / _components(ladder, P))
    kept = np.isfinite(errors)
    return {"P": sizes[kept].tolist(), "force_rmse": errors[kept].tolist()}


def penalties_over(chosen: Sequence[float]) -> list[float]:
    """Return absolute ridges a decade apart, from just above the largest chosen one to just below the least."""
    first, last = max(chosen) * PENALTY_STEP**0.5, min(chosen) * PENALTY_STEP**-0.5
    steps = int(np.ceil(np.log(first / last) / np.log(PENALTY_STEP) - 1e-9))
    return [first / PENALTY_STEP**step for step in range(steps + 1)]


def _components(ladder: StoredLadder, P: int) -> int:
    """Return the number of force components of the first P training frames."""
    dataset = dataset_of(ladder.largest.data)
    assert isinstance(dataset, Dataset)
    chosen = training_subset(dataset, P, ladder.largest.subset_seed, closed_form=True)
    return int(3 * (dataset.labelled.numbers[chosen] > 0).sum())


def force_rows(system: GramSystem) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which rows are of forces `[n]`: the intercepts of energies are zero there."""
    return np.asarray(~system.unpenalised.any(axis=1))


@dataclass
class _Exchange:
    """The models on the training frames of one seed whose spectra are exchanged, and the rows that they share."""

    ladders: list[StoredLadder]
    spectra: list[Spectrum]
    labels: list[Floats]
    rows: FrameRows | None = None

    def take(self, ladder: StoredLadder, system: GramSystem) -> None:
        """Add a model, on as many of its frames as `MOST_ROWS` rows hold, unless it has other rows than the first."""
        frames = min(system.frames, int(np.searchsorted(system.starts, MOST_ROWS, side="right")) - 1)
        rows = FrameRows(np.asarray(system.starts[: frames + 1]), force_rows(system)[: system.rows(frames)])
        name, several = ladder.results[-1]["architecture"], len(self.ladders) >= MOST_MODELS
        if several or (self.rows is not None and not self.rows.same(rows)):
            why = f"more than {MOST_MODELS} models" if several else "other frames or labels than the first model"
            logger.warning("%s, model %s: its spectrum is not exchanged: %s", name, ladder.model_id, why)
            return
        gram, labels = system.centred(frames)
        self.ladders.append(ladder)
        self.spectra.append(spectrum_of(gram, labels))
        self.labels.append(labels)
        self.rows = rows

    def outcome(self, subsets: int) -> dict[str, Any] | None:
        """Return the entry of `spectra.json`; None for fewer than two models or sizes."""
        if self.rows is None or len(self.ladders) < 2:
            return None
        frames = len(self.rows.starts) - 1
        common = set.intersection(*(set(ladder.sizes) for ladder in self.ladders))
        sizes = sorted(P for P in common if frames >= 2 * P)  # as many frames are left to test on
        if len(sizes) < 2:
            return None
        beta = exchange_matrix(self.spectra, self.labels, self.rows, sizes, subsets)
        return {
            "model_ids": [ladder.model_id for ladder in self.ladders],
            "dataset": str(self.ladders[0].results[-1]["dataset"]),
            "subset_seed": self.ladders[0].largest.subset_seed,
            "frames": frames,
            "sizes": sizes,
            "beta": beta.tolist(),
        }


def measure(store: Path, subsets: int) -> dict[str, Any]:
    """Return the content of `spectra.json`: `left_out` of every ladder, `exchanges` of the first seed of each dataset.

    Raises:
        InputError: no ladder is there.
    """
    groups: dict[tuple[str, int], list[StoredLadder]] = {}
    for ladder in stored_ladders(store):
        groups.setdefault((str(ladder.results[-1]["dataset_sha256"]), ladder.largest.subset_seed), []).append(ladder)
    left_out: list[dict[str, Any]] = []
    exchanged: list[dict[str, Any]] = []
    seen: set[str] = set()
    for (sha256, _), ladders in sorted(groups.items(), key=lambda item: item[0]):
        exchange = None if sha256 in seen else _Exchange([], [], [])
        seen.add(sha256)
        for ladder in ladders:
            system = system_of(ladder)
            if system is None:
                continue
            identity = {"model_id": ladder.model_id, "seed": ladder.largest.seed}
            left_out.append({**identity, **left_out_errors(system, ladder)})
            if exchange is not None:
                exchange.take(ladder, system)
        outcome = None if exchange is None else exchange.outcome(subsets)
        exchanged += [] if outcome is None else [outcome]
    return {"left_out": left_out, "exchanges": exchanged}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return exit code 0 (done) or 2 (bad input, told in one line)."""
    command.show_warnings()
    parser = command.Parser(prog="python -m experiments.runs.measure_spectra", description=__doc__)
    parser.add_argument("--store", type=Path, required=True, metavar="DIR", help="store of runs")
    parser.add_argument(
        "--subsets", type=command.integer_from(1), default=4, metavar="N",
        help="subsets of the frames on which exchanged spectra are tested (default 4)",
    )  # fmt: skip
    return command.run(_measure, parser.parse_args(arguments))


def _measure(given: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(1)  # as in runs
    if not given.store.is_dir():
        raise InputError(f"--store {given.store}: no such directory; accepted: a store of runs")
    files.writable(given.store, "--store")
    found = measure(given.store, given.subsets)
    files.write_json(given.store / NAME, found)
    print(f"{given.store / NAME}: {len(found['left_out'])} ladders, {len(found['exchanges'])} exchanges of spectra")


if __name__ == "__main__":
    sys.exit(main())
