"""A network linearised around its initial weights θ₀, by ridge regression: the architecture without an optimiser.

Jacot et al. 2018 (arXiv 1806.07572): a network so wide that training hardly moves its weights learns what ridge
regression on the features ∂E/∂θ does, with forces −∂/∂x of them. The network's own initial function is left out (it
is zero on average over θ₀):

    E(x) = Σ_k w_k ∂E(x; θ₀)/∂θ_k,   F(x) = −Σ_k w_k ∂²E(x; θ₀)/∂x∂θ_k

Weights have unit variance and the network divides by the root of every fan-in, as the theory has it. In float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from experiments.core.arrays import Floats, Ints
from experiments.data.dataset import Dataset, Frames
from experiments.models.networks import network
from experiments.models.ntk import NtkConfig
from experiments.nn.graph import atomic_virials, pair_forces
from experiments.regression.closed_form import Geometry, Isolated, Solution, check_frames
from experiments.regression.least_squares import Design, like_frames, solve
from experiments.tasks.molecules import (
    EVALUATION_SLOTS,
    DeviceFrames,
    MoleculeTask,
    Network,
    differentiable,
    pick_graph,
)
from experiments.tasks.predictions import Predictions

_CHUNK_BYTES = 2**27
"""Memory of the rows of one chunk of frames (a single frame may need more)."""
_ACTIVATIONS = 8
"""Copies of a network's activations at an edge that two derivatives keep."""


class LinearisedNetwork:
    """The features ∂E/∂θ of a network at `weights` (without a pack axis), flattened in the order of their names.

    Entries `constant.*` are not weights.
    """

    def __init__(self, model: Network, weights: Mapping[str, Tensor], elements: Sequence[int], cutoff: float) -> None:
        self.model = model
        self.weights = {name: weights[name].double() for name in sorted(weights)}
        self.elements: Ints = np.array(elements, dtype=np.int64)
        self.cutoff = cutoff
        self.names = [name for name in self.weights if not name.startswith("constant.")]
        self.size = sum(self.weights[name].numel() for name in self.names)

    def check(self, frames: Frames) -> None:
        """Raise `InputError` for elements that the model does not know and for positions that are not finite."""
        check_frames(frames, self.elements)

    def chunk_bytes(self, frames: Frames) -> float:
        """Return the peak memory (bytes) of making a piece: weights, gradients, rows, projected rows."""
        return 5 * max(float(_CHUNK_BYTES), self._frame_bytes(frames))

    def _frame_bytes(self, frames: Frames) -> float:
        return float(8 * 3 * frames.numbers.shape[1] * self.size)

    def chunks(self, frames: Frames) -> Iterator[Design]:
        """Yield the design matrix in pieces of bounded memory, each of frames with the same row of atomic numbers."""
        self.check(frames)
        atoms = frames.numbers.shape[1]
        split = self._resident(frames)
        limit = max(1, int(_CHUNK_BYTES / self._frame_bytes(frames)))
        limit = max(1, min(limit, EVALUATION_SLOTS // (_ACTIVATIONS * 3 * atoms * split.slots)))
        for chosen in like_frames(frames, limit):
            forces = self._force_rows(split, np.repeat(chosen, 3 * atoms), atoms)
            yield Design(chosen, self._energy_rows(split, chosen), forces.reshape(len(chosen), atoms, 3, -1))

    def _energy_rows(self, split: DeviceFrames, chosen: Ints) -> Floats:
        """Return ∂E/∂θ of every frame, `[p, M]`: a pack in which each frame has weights of its own."""
        params = self._packed(len(chosen))
        graph = pick_graph(split.tensors, torch.as_tensor(chosen)[:, None])
        energies = self.model.energies(params, graph) * graph.atoms
        return self._rows(energies.sum(), params)

    def _force_rows(self, split: DeviceFrames, copies: Ints, atoms: int) -> Floats:
        """Return ∂F/∂θ `[p, M]` of one copy of a frame after the other, each for another component of the forces."""
        params = self._packed(len(copies))
        graph = differentiable(pick_graph(split.tensors, torch.as_tensor(copies)[:, None]))
        energies = self.model.energies(params, graph) * graph.atoms
        (gradient,) = torch.autograd.grad(energies.sum(), graph.vectors, create_graph=True)
        forces = pair_forces(gradient, graph) * graph.atoms[..., None]  # [p, N, 3]
        own = torch.arange(len(copies)) % (3 * atoms)
        return self._rows(forces.flatten(1).gather(1, own[:, None]).sum(), params)

    def _packed(self, copies: int) -> dict[str, Tensor]:
        packed = {name: value.expand(copies, *value.shape).clone() for name, value in self.weights.items()}
        return {name: value.requires_grad_(name in self.names) for name, value in packed.items()}

    def _rows(self, total: Tensor, params: Mapping[str, Tensor]) -> Floats:
        wanted = [params[name] for name in self.names]
        if not total.requires_grad:  # a frame without edges
            return np.zeros((len(wanted[0]), self.size))
        gradients = torch.autograd.grad(total, wanted, materialize_grads=True)
        return torch.cat([slope.flatten(1) for slope in gradients], 1).numpy()

    def predict(self, coefficients: Floats, frames: Frames) -> Predictions:
        """Predict energies (eV, without intercept) and forces (eV/Å) from coefficients `[M]`; makes no rows.

        Σ_k w_k ∂E/∂θ_k is the derivative of Σ_k w_k ∂(Σ_i u_i e_i)/∂θ_k with respect to the weights u of the atoms.
        """
        self.check(frames)
        split = self._resident(frames)
        sizes = [self.weights[name].numel() for name in self.names]
        pieces = torch.split(torch.as_tensor(coefficients), sizes)
        along = [w.reshape(self.weights[name].shape) for name, w in zip(self.names, pieces, strict=True)]
        energies, forces = np.zeros(len(frames)), np.zeros(frames.positions.shape)
        virials = np.zeros((len(frames), 3, 3))
        limit = max(1, EVALUATION_SLOTS // (_ACTIVATIONS * split.slots))
        for start in range(0, len(frames), limit):
            chosen = np.arange(start, min(start + limit, len(frames)))
            params = self._packed(1)
            graph = differentiable(pick_graph(split.tensors, torch.as_tensor(chosen)[None]))
            share = graph.atoms.clone().requires_grad_(True)
            total = (self.model.energies(params, graph) * share).sum()
            wanted = [params[name] for name in self.names]
            slopes = torch.autograd.grad(total, wanted, create_graph=True, materialize_grads=True)
            linear = sum(((s[0] * w).sum() for s, w in zip(slopes, along, strict=True)), torch.zeros(()).double())
            atomic, gradient = torch.autograd.grad(linear, (share, graph.vectors), materialize_grads=True)
            tangent = pair_forces(gradient, graph) * graph.atoms[..., None]
            energies[chosen] = (atomic * graph.atoms).reshape(len(chosen), -1).sum(1).detach().numpy()
            forces[chosen] = tangent.reshape(len(chosen), -1, 3).detach().numpy()
            parts = atomic_virials(gradient, graph.vectors, graph.mask).detach()
            virials[chosen] = parts.reshape(len(chosen), -1, 3, 3).sum(1).numpy()
        return Predictions(energies, forces, virials)

    def _resident(self, frames: Frames) -> DeviceFrames:
        return resident(frames, self.cutoff, self.elements.tolist())


def resident(frames: Frames, cutoff: float, elements: Sequence[int]) -> DeviceFrames:
    """Build the neighbourhoods of the frames, in float64 on the CPU."""
    none = frames.take(slice(0, 0))
    return MoleculeTask(Dataset("", none, none, frames), cutoff, torch.float64, torch.device("cpu"), elements).test


class Ntk:
    """A linearised network as a closed-form model."""

    def __init__(
        self, config: NtkConfig, elements: Sequence[int], neighbours: Callable[[], float] | None = None
    ) -> None:
        self.config = config
        self.elements = list(elements)
        self.network = network(config.network, self.elements, neighbours)

    def accept(self, train: Frames, test: Frames) -> None:
        """Raise `InputError` for unknown elements and positions that are not finite."""
        check_frames(train, self.elements)
        check_frames(test, self.elements)

    def linearised(self, weights: Mapping[str, Tensor]) -> LinearisedNetwork:
        """Linearise the network around `weights`."""
        return LinearisedNetwork(self.network, weights, self.elements, self.config.cutoff)

    def initial(self, frames: Frames, seed: int) -> dict[str, Tensor]:
        """Draw initial weights, with the mean number of neighbours in the training `frames`."""
        tensors = resident(frames, self.config.cutoff, self.elements).tensors
        weights = self.network.init(seed, torch.float64)
        constant = "constant.inverse_neighbours"
        if constant in weights:
            weights[constant] = tensors["atoms"].sum() / tensors["mask"].sum().clamp(min=1.0)
        return weights

    def solve(self, frames: Frames, isolated: Isolated, seed: int) -> Solution:
        """Fit by least squares, around the initial weights of `seed`."""
        config, weights = self.config, self.initial(frames, seed)
        model = self.linearised(weights)
        smaller = "a smaller P or model.channels"
        fitted = solve(model, frames, config.energy_weight, config.force_weight, isolated, smaller=smaller).solution()
        tensors = {**fitted.tensors, **{f"initial.{name}": value for name, value in weights.items()}}
        return Solution(tensors, fitted.baseline, fitted.per_atom, fitted.n_parameters, fitted.facts)

    def geometry(self, tensors: Mapping[str, Tensor]) -> Geometry:
        """Return the function that predicts from the coefficients, around the stored initial weights."""
        stored = {name.removeprefix("initial."): value for name, value in tensors.items() if name != "coefficients"}
        model, coefficients = self.linearised(stored), tensors["coefficients"].numpy()
        return lambda frames: model.predict(coefficients, frames)
