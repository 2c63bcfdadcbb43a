"""The trained model of a finished run: energies and forces of any frames of the elements it was trained on.

`checkpoint/model.safetensors` holds the averaged weights of a network or the coefficients of a fit in closed form,
and as its facts the other terms of a prediction:

    E = geometry + baseline(composition) + Σ_atoms per_atom[element],   F = −∂(geometry)/∂x
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor

from experiments.config.parse import parse, parse_model
from experiments.core.arrays import Floats, Ints
from experiments.core.errors import InputError
from experiments.data.baseline import Baseline, composition
from experiments.data.dataset import Dataset, Frames
from experiments.models.networks import network
from experiments.models.networks.plain import NEIGHBOURS
from experiments.regression.closed_form import Geometry, Solution
from experiments.regression.ladder import ClosedForm
from experiments.regression.methods import closed_form
from experiments.runs.converted import ConvertedNetwork
from experiments.runs.store import WEIGHTS, Run
from experiments.tasks.molecules import MoleculeTask, PreparedData
from experiments.tasks.predictions import Predictions
from experiments.training import checkpoint
from experiments.training.arithmetic import arithmetic

ACCEPTED = "accepted: <store>/<id> of a run that is done"
THIS_VERSION = "accepted: a run computed by this version, in a new store=DIR"


@dataclass(frozen=True)
class TrainedModel:
    """A trained model of energies and forces.

    elements  `[s]` atomic numbers that it was trained on, ascending
    baseline  energy of a composition (eV), from the training frames
    per_atom  `[s]` energy of an atom of each element on top of the baseline (eV)
    bonded    whether its training frames listed the interacting pairs, whatever the cutoff (the star teacher)
    geometry  energies (eV) without baseline and per_atom, and forces (eV/Å)
    """

    elements: Ints
    baseline: Baseline
    per_atom: Floats
    bonded: bool
    geometry: Geometry

    def predict(self, frames: Frames) -> Predictions:
        """Predict energies (eV), forces (eV/Å) and, if the model has them, virials (eV).

        Raises:
            InputError: see `check` and `constants`.
        """
        self.check(frames)
        geometric = self.geometry(frames)
        return replace(geometric, energies=geometric.energies + self.constants(frames.numbers))

    def constants(self, numbers: Ints) -> Floats:
        """Return the energies (eV) that composition explains, `[F]`, of atomic numbers `[F, N]` (0: padding).

        Raises:
            InputError: the training frames do not determine the baseline of a composition.
        """
        return np.asarray(self.baseline.predict(numbers) + composition(numbers, self.elements) @ self.per_atom)

    def check(self, frames: Frames) -> None:
        """Raise `InputError` for elements that the model was not trained on, and for positions that are not finite."""
        unknown = sorted({int(z) for z in np.unique(frames.numbers) if z > 0} - {int(z) for z in self.elements})
        if unknown:
            named, known = (", ".join(chemical_symbols[int(z)] for z in some) for some in (unknown, self.elements))
            raise InputError(f"elements {named}: the model never saw them; accepted: {known}")
        if not np.isfinite(frames.positions).all():
            f, n = np.argwhere(~np.isfinite(frames.positions))[0, :2]
            raise InputError(f"frame {f}, atom {n}: its position is not finite; accepted: numbers in Å")


def save_network(
    path: Path,
    weights: Mapping[str, Tensor],
    elements: Sequence[int],
    prepared: PreparedData,
    energy_offset: float,
    dataset: Dataset,
) -> None:
    """Write a network's averaged weights and constants; `energy_offset` is in eV an atom."""
    offset = np.full(len(elements), energy_offset)
    bonded = dataset.pool.bonds is not None
    facts = {**_facts(elements, prepared.baseline, offset, bonded), "scale": prepared.scale}
    checkpoint.save(path, checkpoint.Checkpoint(dict(weights), facts))


def save_solution(path: Path, solution: Solution, elements: Sequence[int], dataset: Dataset) -> None:
    """Write the solution of a fit in closed form."""
    facts = _facts(elements, solution.baseline, solution.per_atom, dataset.pool.bonds is not None)
    checkpoint.save(path, checkpoint.Checkpoint(dict(solution.tensors), facts))


def solved(model: ClosedForm, solution: Solution, elements: Sequence[int], dataset: Dataset) -> TrainedModel:
    """Return the trained model of a fit in closed form."""
    bonded = dataset.pool.bonds is not None
    geometry = model.geometry(solution.tensors)
    return TrainedModel(np.array(elements, dtype=np.int64), solution.baseline, solution.per_atom, bonded, geometry)


def constants(solution: Solution, elements: Sequence[int], frames: Frames) -> Floats:
    """Return the energies (eV) that composition explains in a solution, `[F]`; see `TrainedModel.constants`."""
    known = np.array(elements, dtype=np.int64)
    return TrainedModel(known, solution.baseline, solution.per_atom, False, _nothing).constants(frames.numbers)


def _nothing(frames: Frames) -> Predictions:
    """Predict zero."""
    return Predictions(np.zeros(len(frames)), np.zeros(frames.positions.shape))


def save_converted(directory: Path, network: ConvertedNetwork) -> None:
    """Write another package's network into `directory` in the form of a finished run's."""
    elements = np.array(network.elements, dtype=np.int64)
    bare = Baseline(elements, np.zeros(len(elements)))
    facts = {**_facts(network.elements, bare, network.per_atom, False), "scale": network.scale}
    dtype = getattr(torch, network.precision)
    weights = {name: value.to(dtype) for name, value in network.weights.items()}
    checkpoint.save(directory / "checkpoint" / WEIGHTS, checkpoint.Checkpoint(weights, facts))


def load(run: Run, device: torch.device) -> TrainedModel:
    """Load the model of a finished run, in the precision it was trained in (closed form: float64, on the CPU).

    Raises:
        InputError: no such run, not done, without an undamaged model, or trained on other examples than frames.
    """
    stored = stored_of(run)
    if "n_classes" in stored.facts:
        raise InputError(f"{run.path}: the run learned no energies and forces; accepted: a run on molecules")
    if "baseline" not in stored.facts:
        raise InputError(f"{run.path / 'checkpoint' / WEIGHTS}: lacks the energy baseline; {THIS_VERSION}")
    converted = run.converted()
    facts = stored.facts
    elements = np.array(facts["elements"], dtype=np.int64)
    if converted is not None:
        model = parse_model(converted["model"], None, None)
        geometry = _network(model, converted["precision"], False, elements, stored, device)
    else:
        config = parse(run.config())
        if config.training is None:
            neighbours = stored.tensors.get(f"initial.{NEIGHBOURS}")
            known = None if neighbours is None else neighbours.item()
            geometry = closed_form(config.model, elements.tolist(), known).geometry(stored.tensors)
        else:
            precision, tf32 = config.training.precision, config.training.tf32
            geometry = _network(config.model, precision, tf32, elements, stored, device)
    return TrainedModel(
        elements, _baseline(facts["baseline"]), np.array(facts["per_atom"]), bool(facts["bonded"]), geometry
    )


def stored_of(run: Run) -> checkpoint.Checkpoint:
    """Return the stored tensors and facts of a finished run's model.

    Raises:
        InputError: no such run, not done, or without an undamaged model.
    """
    converted = run.converted()
    if converted is None and not (run.path / "config.yaml").exists():
        raise InputError(f"{run.path}: no run is there; {ACCEPTED}")
    if converted is None and run.result() is None:
        raise InputError(f"{run.path}: the run is {run.state()}; {ACCEPTED}")
    path = run.path / "checkpoint" / WEIGHTS
    stored = checkpoint.load(path) if path.exists() else None
    if stored is None:
        raise InputError(f"{path}: {'is damaged' if path.exists() else 'is not there'}; {THIS_VERSION}")
    return stored


def _network(
    config: Any,
    precision: str,
    tf32: bool,
    elements: Ints,
    stored: checkpoint.Checkpoint,
    device: torch.device,
) -> Geometry:
    neighbours = stored.tensors.get(NEIGHBOURS)
    model = network(config, elements.tolist(), None if neighbours is None else neighbours.item())
    params = {name: value.to(device)[None] for name, value in stored.tensors.items()}
    dtype = getattr(torch, precision)
    bare = Baseline(elements, np.zeros(len(elements)))
    # the number of neighbours is among the weights; this one serves training only
    prepared = PreparedData(np.zeros(0, np.int64), bare, float(stored.facts["scale"]), inverse_neighbours=1.0)

    def geometry(frames: Frames) -> Predictions:
        none = frames.take(slice(0, 0))
        task = MoleculeTask(Dataset("", none, none, frames), config.cutoff, dtype, device, elements.tolist())
        with arithmetic(tf32):
            return task.predict(model, params, [prepared], task.test, [np.arange(len(frames))])[0]

    return geometry


def _facts(elements: Sequence[int], baseline: Baseline, per_atom: Floats, bonded: bool) -> dict[str, Any]:
    """Return the terms that composition explains as JSON, which keeps every digit of a float."""
    return {
        "elements": [int(z) for z in elements],
        "baseline": {
            "elements": baseline.elements.tolist(),
            "per_element": baseline.per_element.tolist(),
            "constant": baseline.constant,
            "span": None if baseline.span is None else baseline.span.tolist(),
            "only": None if baseline.only is None else np.asarray(baseline.only).tolist(),
        },
        "per_atom": per_atom.tolist(),
        "bonded": bonded,
    }


def _baseline(facts: Mapping[str, Any]) -> Baseline:
    return Baseline(
        np.array(facts["elements"], dtype=np.int64),
        np.array(facts["per_element"], dtype=np.float64),
        float(facts["constant"]),
        span=None if facts["span"] is None else np.array(facts["span"], dtype=np.float64),
        only=None if facts["only"] is None else np.array(facts["only"], dtype=np.int64),
    )
