"""A network linearised around its initial weights θ₀: the features ∂E/∂θ and their forces, and predictions with them.

What ridge regression makes of them, and why, is in `experiments.regression.ntk`. In float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from experiments.core.arrays import Floats, Ints
from experiments.data.dataset import Dataset, Frames
from experiments.nn.graph import atomic_virials, pair_forces
from experiments.regression.closed_form import check_frames
from experiments.regression.rows import NUMBER_WORK
from experiments.tasks.molecules import (
    DeviceFrames,
    MoleculeTask,
    Network,
    differentiable,
    pick_graph,
)
from experiments.tasks.predictions import Predictions

_MOST_FRAMES = 32
"""Frames that share a pass; with more, nothing is gained (1.26 s for 32 frames of ethanol together, 6.0 s by twos)."""
_SLOTS = 2560
"""Neighbour slots that share a pass, unless a single frame has more: bounds the memory."""
_WIDEST = 50_000
"""Most numbers that a pass keeps at a slot. MACE, cell C, with 16 channels and 30,000 weights keeps 5,000 to 6,000
(measured on ethanol and silicon): a fifth of its weights, of which wide networks have more for each of them."""


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

    def frames_at_once(self, frames: Frames) -> int:
        """Return the number of frames that share a pass: overhead of graph nodes is small, and so is the memory."""
        return max(1, min(_MOST_FRAMES, _SLOTS // max(1, self._slots(frames))))

    def fill_bytes(self, frames: Frames) -> float:
        """Return the memory (bytes) of a pass: activations of the network and their derivatives at all slots."""
        width = min(self.size / 5, _WIDEST)
        at_once = self.frames_at_once(frames)
        return 8.0 * at_once * (self._slots(frames) * width + 3 * self.size)

    def number_work(self, frames: Frames) -> float:
        """See `experiments.regression.rows.LinearModel`."""
        return NUMBER_WORK

    def _slots(self, frames: Frames) -> int:
        """Return the neighbour slots of the largest of some of the frames."""
        some = frames.take(np.linspace(0, len(frames) - 1, min(8, len(frames))).round().astype(np.int64))
        return self._resident(some).slots if len(some) else 1

    def fill(self, frames: Frames, directions: Floats, energies: Floats, forces: Floats | None) -> None:
        """Write rows ∂E/∂θ and ∂F/∂θ along directions; see `experiments.regression.rows.LinearModel`.

        A pack has one entry a frame, each with weights of its own (of stride 0: none is copied). Its forces are made
        once, with their graph, and one more derivative is taken for each direction. Padding that these frames do not
        need is left out: one large frame would make all others as costly.
        """
        frames = frames.compact()
        directions = directions[:, :, : frames.numbers.shape[1]]
        params = {name: value.expand(len(frames), *value.shape).detach() for name, value in self.weights.items()}
        params = {name: value.requires_grad_(name in self.names) for name, value in params.items()}
        split = self._resident(frames)
        graph = differentiable(pick_graph(split.tensors, torch.arange(len(frames))[:, None]))
        total = (self.model.energies(params, graph) * graph.atoms).sum()
        wanted = [params[name] for name in self.names]
        if not total.requires_grad:  # frames without edges
            energies[:] = 0.0
            if forces is not None:
                forces[:] = 0.0
            return
        if forces is None:
            self._write(torch.autograd.grad(total, wanted, materialize_grads=True), energies)
            return
        gradient, *slopes = torch.autograd.grad(
            total, [graph.vectors, *wanted], create_graph=True, materialize_grads=True
        )
        self._write(slopes, energies)
        tangent = pair_forces(gradient, graph) * graph.atoms[..., None]  # [f, N, 3]
        onto = torch.as_tensor(directions)
        r = onto.shape[1]
        for k in range(r):
            along = (tangent * onto[:, k]).sum()
            if along.requires_grad:
                found = torch.autograd.grad(along, wanted, retain_graph=k + 1 < r, materialize_grads=True)
                self._write(found, forces[:, k])
            else:
                forces[:, k] = 0.0

    def _write(self, slopes: Sequence[Tensor], out: Floats) -> None:
        """Write derivatives by every weight, each `[f, ...]`, side by side into `[f, M]`."""
        start = 0
        for slope in slopes:
            flat = slope.detach().flatten(1).numpy()
            out[:, start : start + flat.shape[1]] = flat
            start += flat.shape[1]

    def predict_all(self, coefficients: Floats, frames: Frames) -> list[Predictions]:
        """Predict energies (eV, without intercept) and forces (eV/Å) from coefficients `[V, M]`; makes no rows.

        Σ_k w_k ∂E/∂θ_k is the derivative of Σ_k w_k ∂(Σ_i u_i e_i)/∂θ_k with respect to the weights u of the atoms. The
        inner derivative serves all V.
        """
        self.check(frames)
        sizes = [self.weights[name].numel() for name in self.names]
        pieces = torch.split(torch.as_tensor(coefficients), sizes, 1)
        along = [w.reshape(-1, *self.weights[name].shape) for name, w in zip(self.names, pieces, strict=True)]
        count, shape = len(coefficients), frames.positions.shape
        energies, forces = np.zeros((count, len(frames))), np.zeros((count, *shape))
        virials = np.zeros((count, len(frames), 3, 3))
        limit = self.frames_at_once(frames)
        for start in range(0, len(frames), limit):
            chosen = np.arange(start, min(start + limit, len(frames)))
            own = frames.take(chosen).compact()
            split, atoms = self._resident(own), own.numbers.shape[1]
            params = {name: value[None].detach() for name, value in self.weights.items()}
            params = {name: value.requires_grad_(name in self.names) for name, value in params.items()}
            graph = differentiable(pick_graph(split.tensors, torch.arange(len(chosen))[None]))
            share = graph.atoms.clone().requires_grad_(True)
            total = (self.model.energies(params, graph) * share).sum()
            wanted = [params[name] for name in self.names]
            slopes = torch.autograd.grad(total, wanted, create_graph=True, materialize_grads=True)
            for v in range(count):
                terms = [(slope[0] * w[v]).sum() for slope, w in zip(slopes, along, strict=True)]
                linear = sum(terms, torch.zeros((), dtype=torch.float64))
                atomic, gradient = torch.autograd.grad(
                    linear, (share, graph.vectors), retain_graph=v + 1 < count, materialize_grads=True
                )
                tangent = pair_forces(gradient, graph) * graph.atoms[..., None]
                energies[v, chosen] = (atomic * graph.atoms).reshape(len(chosen), -1).sum(1).detach().numpy()
                forces[v, chosen, :atoms] = tangent.reshape(len(chosen), -1, 3).detach().numpy()
                parts = atomic_virials(gradient, graph.vectors, graph.mask).detach()
                virials[v, chosen] = parts.reshape(len(chosen), -1, 3, 3).sum(1).numpy()
        return [Predictions(*each) for each in zip(energies, forces, virials, strict=True)]

    def _resident(self, frames: Frames) -> DeviceFrames:
        return resident(frames, self.cutoff, self.elements.tolist())


def resident(frames: Frames, cutoff: float, elements: Sequence[int]) -> DeviceFrames:
    """Build the neighbourhoods of the frames, in float64 on the CPU."""
    none = frames.take(slice(0, 0))
    return MoleculeTask(Dataset("", none, none, frames), cutoff, torch.float64, torch.device("cpu"), elements).test
