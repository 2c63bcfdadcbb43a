"""Energies and forces of molecules: input graphs, loss, predictions in eV and eV/Å, evaluation.

A model sees a normalised problem: E = scale·Σ_i e_i + baseline(composition), F = scale·f. The scale is the force RMS of
the run's own training frames (so the loss is in its units), and the baseline is fitted to them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from experiments.core.arrays import Ints
from experiments.data.baseline import Baseline, fit_baseline
from experiments.data.dataset import Dataset, Frames
from experiments.data.shared_graph import shared_neighbours
from experiments.nn.graph import Graph, atomic_virials, pair_forces
from experiments.tasks.evaluation import Evaluation, evaluation, stopping_frames
from experiments.tasks.metrics import frame_errors, metrics_of
from experiments.tasks.predictions import Predictions
from experiments.tasks.task import Evaluator, LossTerms, LossWeights, Tensors

EVALUATION_SLOTS = {"cpu": 1 << 14, "cuda": 1 << 15}
"""Neighbour slots evaluated at once: bounds the memory of an evaluation. On a CPU it is what the caches hold, which is
1.1 to 1.25 times as fast as twice as many (measured on MACE with 32 channels)."""


class Network(Protocol):
    """The part of a model (experiments/models) that the task calls."""

    def energies(self, params: Tensors, graph: Graph) -> Tensor:
        """Return normalised atomic energies `[p, n]`."""
        ...


@dataclass(frozen=True)
class DeviceFrames:
    """Frames of one split as tensors on the device, ready to be picked by index.

    vectors `[F, N, K, 3]`, index/reverse/mask `[F, N, K]`, species and atoms `[F, N]`: see `Graph`, but
    with indices local to the frame. energies `[F]` float64 and forces `[F, N, 3]` in eV and eV/Å.
    """

    tensors: dict[str, Tensor]
    frames: Frames

    @property
    def slots(self) -> int:
        """Neighbour slots of one frame."""
        return int(self.tensors["index"][0].numel())


@dataclass(frozen=True)
class PreparedData:
    """A run's training frames and the normalisation that follows from them alone.

    subset              `[P]` indices into the pool
    baseline            of the energies (eV)
    scale               RMS of the force components (eV/Å)
    inverse_neighbours  one over the mean number of neighbours of an atom
    """

    subset: Ints
    baseline: Baseline
    scale: float
    inverse_neighbours: float

    @property
    def constants(self) -> dict[str, float]:
        """Values for entries `constant.*` of the model's parameters."""
        return {"constant.inverse_neighbours": self.inverse_neighbours}


class MoleculeTask:
    """Energies and forces of the molecules of one dataset."""

    def __init__(
        self,
        dataset: Dataset,
        cutoff: float,
        dtype: torch.dtype,
        device: torch.device,
        elements: Sequence[int] | None = None,
    ) -> None:
        """Put the dataset's frames on the device.

        Args:
            dataset: pool, validation and test frames.
            cutoff: of the neighbours (Å).
            dtype: precision of all real tensors.
            device: device of all tensors.
            elements: ascending atomic numbers of a trained model; None: those of the dataset.
        """
        self.dataset = dataset
        self.cutoff = cutoff
        self.dtype = dtype
        self.device = device
        splits = (dataset.pool, dataset.holdout, dataset.test)
        self.elements = dataset.elements() if elements is None else list(elements)
        self.pool, self.validation, self.test = (self._on_device(frames) for frames in splits)
        self.further = {name: self._on_device(frames) for name, frames in dataset.further.items()}
        self.traced: dict[Any, Any] = {}

    def _on_device(self, frames: Frames) -> DeviceFrames:
        neighbours = shared_neighbours(frames, self.cutoff)
        species = np.searchsorted(np.asarray(self.elements), np.maximum(frames.numbers, self.elements[0]))

        def real(array: np.ndarray) -> Tensor:
            writable = array if array.flags.writeable else array.copy()  # torch would share a read-only memory map
            return torch.as_tensor(writable, dtype=self.dtype, device=self.device)

        def whole(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array, dtype=torch.int64, device=self.device)

        tensors = {
            "vectors": real(neighbours.vectors),
            "mask": real(neighbours.mask),
            "index": whole(neighbours.index),
            "reverse": whole(neighbours.reverse),
            "species": whole(species),
            "atoms": real(frames.numbers > 0),
            "forces": real(frames.forces),
        }
        return DeviceFrames(tensors, frames)

    def prepare(self, subset: Ints) -> PreparedData:
        """Return what a run derives from its own training frames (indices `[P]` into the pool) and no others.

        If all forces vanish or none are known, the standard deviation of the energy per Å replaces their RMS.

        Raises:
            InputError: these frames do not determine the energy baseline of the test frames.
        """
        frames = self.dataset.pool.take(subset)
        real = frames.numbers > 0
        baseline = fit_baseline(frames.numbers, frames.energies, self.dataset.isolated_energies)
        for others in (self.dataset.holdout, self.dataset.test, *self.dataset.further.values()):
            baseline.predict(others.numbers)  # raises before training rather than after it
        scale = float(np.sqrt((frames.forces[real] ** 2).mean())) if frames.has_forces else 0.0
        if scale == 0.0:
            scale = float(np.std(frames.energies - baseline.predict(frames.numbers))) or 1.0
        edges = self.pool.tensors["mask"][torch.as_tensor(subset, device=self.device)].sum().item()
        return PreparedData(subset, baseline, scale, float(real.sum() / max(edges, 1.0)))

    def evaluator(self, model: Network, terms: LossTerms) -> Evaluator:
        """Return the evaluator; it fits the energies' constant if training on forces alone leaves it undetermined."""
        return MoleculeEvaluator(self, model, energy_offset=not terms.energy)

    def targets(self, runs: Sequence[PreparedData], weights: Sequence[LossWeights]) -> dict[str, Tensor]:
        """Return the normalised labels of a pack.

        These are `energies` `[p, F]` over the pool (zero outside each run's own subset), `scale` `[p]` (eV/Å), and the
        `weights` `[p, 3]` of the loss's terms (`LossWeights`), of the energy per atom and of the forces (both in units
        of the RMS).
        """
        energies = np.zeros((len(runs), len(self.dataset.pool)))
        for row, run in zip(energies, runs, strict=True):
            frames = self.dataset.pool.take(run.subset)
            row[run.subset] = (frames.energies - run.baseline.predict(frames.numbers)) / run.scale
        scales = np.array([run.scale for run in runs])
        return {
            "energies": torch.as_tensor(energies, dtype=self.dtype, device=self.device),
            "scale": torch.as_tensor(scales, dtype=self.dtype, device=self.device),
            "weights": torch.as_tensor(weights, dtype=self.dtype, device=self.device).reshape(len(runs), 3),
        }

    def batch(self, targets: Tensors, picked: Tensor) -> Tensors:
        """Return the tensors of `DeviceFrames` `[p, B, ...]` and the targets of the frames `picked` `[p, B]`.

        Args:
            targets: from `targets`; what concerns a run and no frame stays as it is.
            picked: indices into the pool.
        """
        frames = {name: tensor[picked] for name, tensor in self.pool.tensors.items()}
        return {**frames, **targets, "energies": targets["energies"].gather(1, picked)}

    def loss(self, model: Network, params: Tensors, batch: Tensors, terms: LossTerms) -> Tensor:
        """Return the loss of every run `[p]` on its batch, in units of the force RMS squared.

        Args:
            model: the network of all runs.
            params: of all runs, `[p, ...]`.
            batch: from `batch`; `rotations` `[p, B, 3, 3]` in it rotate the frames and their forces.
            terms: whether energies and whether forces are trained on.
        """
        energy_weight, force_weight, by_atoms = batch["weights"].unbind(1)
        p, frames = batch["energies"].shape
        graph = graph_of(batch)
        rotations = batch.get("rotations")
        if rotations is not None:
            graph = replace(graph, vectors=rotated(graph.vectors, rotations))
        if terms.force:
            graph = differentiable(graph)
        atomic = model.energies(params, graph) * graph.atoms  # [p, B·N]
        loss = torch.zeros(p, dtype=self.dtype, device=atomic.device)
        atoms = graph.atoms.reshape(p, frames, -1).sum(-1)  # [p, B]
        if terms.energy:
            total = atomic.reshape(p, frames, -1).sum(-1)
            of_frame = torch.where(by_atoms[:, None] > 0, atoms, torch.ones_like(atoms))
            loss = loss + energy_weight * (of_frame * ((total - batch["energies"]) / atoms) ** 2).mean(1)
        if terms.force:
            (gradient,) = torch.autograd.grad(atomic.sum(), graph.vectors, create_graph=True)
            scale = batch["scale"].reshape(p, 1, 1)
            target_forces = batch["forces"].reshape(p, -1, 3) / scale
            if rotations is not None:
                target_forces = rotated(target_forces, rotations)
            error = (pair_forces(gradient, graph) - target_forces) * graph.atoms[..., None]
            loss = loss + force_weight * (error**2).sum((1, 2)) / (3 * graph.atoms.sum(1))
        return loss

    def predict(
        self, model: Network, params: Tensors, runs: Sequence[PreparedData], split: DeviceFrames, picked: Sequence[Ints]
    ) -> list[Predictions]:
        """Predict energies (eV) and forces (eV/Å) of every run of a pack.

        Args:
            model: the network of all runs.
            params: of all runs, `[p, ...]`.
            runs: the p runs.
            split: the frames to choose from.
            picked: run i predicts frames `picked[i]` of `split`; all of one length.
        """
        raw = self._raw(model, params, split, np.stack(picked))
        return [
            Predictions(
                run.scale * energies + run.baseline.predict(split.frames.numbers[chosen]),
                run.scale * forces,
                run.scale * virials,
            )
            for run, chosen, (energies, forces, virials) in zip(runs, picked, raw, strict=True)
        ]

    def _raw(
        self, model: Network, params: Tensors, split: DeviceFrames, picked: Ints
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        p, frames = picked.shape
        chunk = max(1, EVALUATION_SLOTS[self.device.type] // (p * split.slots))
        energies, forces, virials = [], [], []
        for start in range(0, frames, chunk):
            index = torch.as_tensor(picked[:, start : start + chunk], device=self.device)
            graph = differentiable(pick_graph(split.tensors, index))
            with torch.enable_grad():
                atomic = model.energies(params, graph) * graph.atoms
                (gradient,) = torch.autograd.grad(atomic.sum(), graph.vectors)
            components = pair_forces(gradient, graph) * graph.atoms[..., None]
            count = index.shape[1]
            # Sums over atoms in float64: an energy is a small difference of large sums.
            energies.append(atomic.detach().double().reshape(p, count, -1).sum(-1).cpu().numpy())
            forces.append(components.detach().double().reshape(p, count, -1, 3).cpu().numpy())
            parts = atomic_virials(gradient, graph.vectors, graph.mask).detach()
            virials.append(parts.double().reshape(p, count, -1, 3, 3).sum(2).cpu().numpy())
        return list(zip(*(np.concatenate(parts, 1) for parts in (energies, forces, virials)), strict=True))


def pick_graph(tensors: Tensors, picked: Tensor) -> Graph:
    """Build the graph of the frames `picked` `[p, B]` of a split: see `graph_of`."""
    return graph_of({name: tensors[name][picked] for name in tensors if name != "forces"})


def graph_of(frames: Tensors) -> Graph:
    """Build the graph of frames `[p, B, ...]` side by side, with indices global to the pack."""
    p, batch, atoms, slots = frames["index"].shape
    device = frames["index"].device
    place = torch.arange(p * batch, device=device).reshape(p, batch, 1, 1)
    return Graph(
        vectors=frames["vectors"].reshape(p, batch * atoms, slots, 3),
        senders=(frames["index"] + place * atoms).reshape(p, batch * atoms, slots),
        reverse=(frames["reverse"] + place * (atoms * slots)).reshape(p, batch * atoms, slots),
        mask=frames["mask"].reshape(p, batch * atoms, slots),
        species=frames["species"].reshape(p, batch * atoms),
        atoms=frames["atoms"].reshape(p, batch * atoms),
        frames=torch.arange(batch, device=device).repeat_interleave(atoms).expand(p, batch * atoms),
    )


def rotated(vectors: Tensor, rotations: Tensor) -> Tensor:
    """Rotate the vectors `[p, B·N, ..., 3]` of B frames, each frame by its own rotation `[p, B, 3, 3]`."""
    p, batch = rotations.shape[:2]
    return (vectors.reshape(p, batch, -1, 3) @ rotations.transpose(2, 3)).reshape(vectors.shape)


def differentiable(graph: Graph) -> Graph:
    """Return the graph with vectors that gradients can be taken with respect to."""
    return replace(graph, vectors=graph.vectors.detach().requires_grad_(True))


class MoleculeEvaluator:
    """Evaluates the averaged weights of runs.

    Args:
        energy_offset: add the constant energy per atom that fits the training frames best. It is part of the fit, for
            training on forces alone leaves it undetermined, and uses training labels only.
    """

    def __init__(self, task: MoleculeTask, model: Network, energy_offset: bool) -> None:
        self.task = task
        self.model = model
        self.energy_offset = energy_offset

    def full(self, weights: Sequence[Tensors], prepared: Sequence[PreparedData]) -> list[Evaluation]:
        """Evaluate runs with equally many training frames on these, all test frames and those of further test sets."""
        task = self.task
        train = self._predict(weights, prepared, task.pool, [run.subset for run in prepared])
        test = self._predict(weights, prepared, task.test)
        further = {name: self._predict(weights, prepared, split) for name, split in task.further.items()}
        chosen = stopping_frames(len(prepared[0].subset), len(task.dataset.holdout))
        stopping = self._stopping_errors(weights, prepared, chosen)
        errors = (
            self._evaluation(run, train[i], test[i], {name: one[i] for name, one in further.items()})
            for i, run in enumerate(prepared)
        )
        return [replace(a, validation=b, n_validation=len(chosen)) for a, b in zip(errors, stopping, strict=True)]

    def _evaluation(
        self,
        prepared: PreparedData,
        train_predictions: Predictions,
        test_predictions: Predictions,
        further: dict[str, Predictions],
    ) -> Evaluation:
        """Return a run's errors from its predictions."""
        task = self.task
        pool, test = task.dataset.pool.take(prepared.subset), task.dataset.test
        offset = 0.0
        if self.energy_offset:
            atoms = (pool.numbers > 0).sum(1)
            offset = float(((pool.energies - train_predictions.energies) / atoms).mean())
            train_predictions = _shifted(train_predictions, offset * atoms)
            test_predictions = _shifted(test_predictions, offset * (test.numbers > 0).sum(1))
            further = {
                name: _shifted(predicted, offset * (task.dataset.further[name].numbers > 0).sum(1))
                for name, predicted in further.items()
            }
        errors = evaluation(test_predictions, train_predictions, test, pool)
        on_further = {
            name: metrics_of(frame_errors(predicted, task.dataset.further[name])) for name, predicted in further.items()
        }
        return replace(errors, energy_offset=offset, further=on_further)

    def _stopping_errors(
        self, weights: Sequence[Tensors], prepared: Sequence[PreparedData], chosen: Ints
    ) -> list[float] | list[None]:
        """Return errors on the validation frames `chosen`, of forces if they have any; None without such frames."""
        if len(chosen) == 0:
            return [None] * len(prepared)
        frames = self.task.dataset.holdout.take(chosen)
        predicted = self._predict(weights, prepared, self.task.validation, [chosen] * len(prepared))
        errors = [metrics_of(frame_errors(one, frames)) for one in predicted]
        return [one["force_mae" if "force_mae" in one else "energy_mae"].value for one in errors]

    def validation(self, weights: Sequence[Tensors], prepared: Sequence[PreparedData]) -> list[dict[str, float]]:
        """Return errors of runs on the validation set as `holdout_<metric>`; nothing if the set is empty."""
        frames = self.task.dataset.holdout
        if len(frames) == 0:
            return [{} for _ in weights]
        return [
            {f"holdout_{name}": error.value for name, error in metrics_of(frame_errors(predicted, frames)).items()}
            for predicted in self._predict(weights, prepared, self.task.validation)
        ]

    def _predict(
        self,
        weights: Sequence[Tensors],
        prepared: Sequence[PreparedData],
        split: DeviceFrames,
        picked: Sequence[Ints] | None = None,
    ) -> list[Predictions]:
        """Predict for every run its `picked` frames of a split, all of one number; None: all frames."""
        params = {name: torch.stack([one[name] for one in weights]) for name in weights[0]}
        every = [np.arange(len(split.frames))] * len(prepared)
        return self.task.predict(self.model, params, prepared, split, every if picked is None else picked)


def _shifted(predictions: Predictions, energies: Any) -> Predictions:
    return replace(predictions, energies=predictions.energies + energies)
