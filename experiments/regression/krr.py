"""Kernel ridge regression of energies and forces on inverse interatomic distances, the method before networks.

GDML and sGDML, Chmiela et al. 2017 (doi 10.1126/sciadv.1603015) and 2018 (arXiv 1802.09238) eqs. 1–4, with energies
beside the forces. The descriptor q `[D]` holds 1/r of all pairs of atoms of one molecule; frames must list the same
atoms in the same order, so that nothing has to be matched. With Δ = q − q′, d = |Δ| and a kernel k(d)

    ⟨E, E′⟩ = k,   ⟨E, F′⟩ = −g Δᵀ J′,   ⟨F, F′⟩ = Jᵀ (g·1 − h ΔΔᵀ) J′,   J = ∂q/∂x,   g = −k′/d,   h = −g′/d

so forces are exactly minus the gradient of the energy. Invariant under E(3); like atoms are exchanged by the kernel's
average over a group of permutations, the automorphisms of the molecule's bonds (methyl turns, mirror images of
CH2, …), under which the energy is exactly invariant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import networkx as nx
import numpy as np
import torch
from scipy.spatial.distance import pdist
from torch import Tensor

from experiments.core import files
from experiments.core.arrays import Floats, Ints
from experiments.core.errors import InputError
from experiments.core.kernels import matern52, pair_permutations, pair_slopes
from experiments.data.dataset import Frames
from experiments.data.sampling.molecule import BONDED_ON_AVERAGE, bonds
from experiments.models.krr import KrrConfig
from experiments.regression.closed_form import (
    Geometry,
    Isolated,
    Labels,
    Solution,
    check_labels,
    one_molecule,
    reachable,
    require_memory,
)
from experiments.regression.ridge import KernelProblem, RidgeFit, fit_kernel
from experiments.tasks.predictions import Predictions

LENGTHS = tuple(2.0**k for k in range(7))
"""Length scales tried, in units of the root mean square distance between training descriptors. On rMD17 ethanol at
P = 48 the error is flat from the third on (77 to 79 meV/Å), and beyond the last one round-off begins to show."""
CHOOSING_FRAMES = 48
"""Training frames that choose the length scale (it hardly moves with P); all of them choose λ."""
MOST_PERMUTATIONS = 256
_CHUNK_BYTES = 2**27


@dataclass(frozen=True)
class Radial:
    """Radial functions k(d), g = −k′/d and h = −g′/d of distances `d`; the length scale is in the same units."""

    kernel: str
    length: float

    def __call__(self, distance: Floats) -> tuple[Floats, Floats, Floats]:
        """Evaluate all three, of the shape of `distance`; smooth at 0."""
        if self.kernel == "gaussian":
            k = np.exp(-((distance / self.length) ** 2) / 2)
            return k, k / self.length**2, k / self.length**4
        scaled = math.sqrt(5) * distance / self.length
        k, decay = matern52(scaled)
        g = 5 / (3 * self.length**2) * decay
        return k, (1 + scaled) * g, 5 / self.length**2 * g


def inverse_distances(positions: Floats) -> tuple[Floats, Floats]:
    """Return the descriptor and its slopes: `[F, N, 3]` Å → 1/r `[F, D]` in 1/Å, ∂q/∂x `[F, D, 3N]`; D = N(N−1)/2.

    Raises:
        InputError: two atoms on one point.
    """
    n = positions.shape[1]
    i, j = np.triu_indices(n, 1)
    away = positions[:, i] - positions[:, j]
    r = np.linalg.norm(away, axis=2)
    if not (r > 0).all():
        frame, pair = np.argwhere(r == 0)[0]
        raise InputError(
            f"frame {frame}: atoms {i[pair]} and {j[pair]} lie on the same point; accepted: atoms that are apart"
        )
    return 1 / r, pair_slopes(away / r[..., None] ** 3, n)


def bond_permutations(frames: Frames) -> Ints:
    """List the renumberings of like atoms `[S, N]` that keep the bonds of the molecule; they form a group.

    Bonds are those that the frames list, or pairs whose mean distance over the frames is that of a covalent bond.

    Raises:
        InputError: there are more than `MOST_PERMUTATIONS`.
    """
    numbers = frames.numbers[0][frames.numbers[0] > 0]
    graph = nx.Graph()
    graph.add_nodes_from((n, {"z": int(z)}) for n, z in enumerate(numbers))
    if frames.bonds is not None:
        graph.add_edges_from(frames.bonds.tolist())
    else:
        bonded = bonds(numbers, frames.positions[:, : len(numbers)], BONDED_ON_AVERAGE)
        graph.add_edges_from(np.argwhere(np.triu(bonded)).tolist())
    matcher = nx.isomorphism.GraphMatcher(graph, graph, node_match=lambda a, b: a["z"] == b["z"])
    permutations = list(islice(matcher.isomorphisms_iter(), MOST_PERMUTATIONS + 1))
    if len(permutations) > MOST_PERMUTATIONS:
        raise InputError(
            f"model.symmetrise=true: more than {MOST_PERMUTATIONS} permutations keep the molecule's bonds; "
            "accepted: model.symmetrise=false"
        )
    return np.array(sorted([p[n] for n in range(len(numbers))] for p in permutations), dtype=np.int64)


@dataclass(frozen=True)
class Centres:
    """Training frames as rows of the kernel.

    q      `[F, D]` descriptors
    j      `[F, D, r]` their slopes along `r` directions
    pairs  `[S, D]` the pair that each of `S` permutations takes every pair to
    """

    q: Floats
    j: Floats
    pairs: Ints

    def gram(self, radial: Radial) -> Floats:
        """Return the products of all rows, forces (−∂/∂x along their directions) first: `[F·r + F, F·r + F]`."""
        f, d, r = self.j.shape
        s = len(self.pairs)
        gram = np.empty((f * r + f, f * r + f))
        moved = self.q[:, self.pairs]  # [F, S, D]
        slopes = np.ascontiguousarray(self.j[:, self.pairs])  # [F, S, D, r]
        flat = slopes.reshape(f, s, d * r)
        for i in range(f):  # a row of blocks; 2r + … numbers for each permutation of each frame
            delta = self.q[i] - moved
            k, g, h = radial(np.sqrt((delta**2).sum(2)))  # [F, S]
            along = (delta[:, :, None] @ slopes)[:, :, 0]  # Δᵀ J′ [F, S, r]
            pulled = (g[:, None] @ flat).reshape(f, d, r) - delta.transpose(0, 2, 1) @ (h[..., None] * along)
            block = self.j[i].T @ pulled  # [F, r, r]
            rows = slice(i * r, (i + 1) * r)
            gram[rows, : f * r] = block.transpose(1, 0, 2).reshape(r, f * r) / s
            gram[rows, f * r :] = self.j[i].T @ (g[..., None] * delta).sum(1).T / s
            gram[f * r + i, : f * r] = -(g[..., None] * along).sum(1).reshape(-1) / s
            gram[f * r + i, f * r :] = k.sum(1) / s
        return gram


class Krr:
    """Kernel ridge regression as a closed-form model."""

    def __init__(self, config: KrrConfig, elements: Sequence[int]) -> None:
        self.config = config
        self.elements = np.array(elements, dtype=np.int64)

    def accept(self, train: Frames, test: Frames) -> None:
        """Raise `InputError` unless all frames are of one molecule with its atoms in one order."""
        numbers = train.numbers[0][train.numbers[0] > 0]
        one_molecule(train, numbers, "krr")
        one_molecule(test, numbers, "krr")

    def solve(self, frames: Frames, isolated: Isolated, seed: int) -> Solution:
        """Fit; the length scale is chosen by leaving out frames, each length with its own best λ. Nothing is random."""
        config = self.config
        check_labels(frames)
        self.accept(frames, frames)
        labels = Labels.of(frames, self.elements, isolated, config.energy_weight, config.force_weight)
        numbers = frames.numbers[0][frames.numbers[0] > 0]
        f, n = len(frames), len(numbers)
        x = frames.positions[:, :n]
        permutations = bond_permutations(frames) if config.symmetrise else np.arange(n)[None]
        size = f * (3 * n + 1 if config.force_weight > 0 else 1)
        require_memory(
            # the matrix, rotated, its eigenvectors and LAPACK's work space of two more; slopes of all permutations
            8.0 * (6 * size**2 + 4 * f * len(permutations) * n * (n - 1) / 2 * 3 * n),
            f"{size} labels in a kernel",
            "a smaller P",
        )
        q, slopes = inverse_distances(x)
        onto, informative = reachable(x, np.zeros(f, dtype=bool))  # [F, 3n, r], [F]
        if config.force_weight == 0:
            onto, informative = onto[:, :, :0], 0 * informative
        rows = _Rows(
            Centres(q, slopes @ onto, pair_permutations(permutations)),
            (onto.transpose(0, 2, 1) @ frames.forces[:, :n].reshape(f, 3 * n, 1))[..., 0],
            informative,
            labels,
        )
        length = self._length(rows) if config.length is None else config.length
        fitted = rows.fit(Radial(config.kernel, length))
        forces, energies = np.split(fitted.coefficients * rows.weights(), [rows.force_y.size])
        along = (rows.centres.j @ forces.reshape(f, -1, 1))[..., 0]  # [F, D]: all that predictions need of the forces
        tensors = {
            "numbers": torch.as_tensor(numbers),
            "descriptors": torch.as_tensor(q),
            "energies": torch.as_tensor(energies),
            "slopes": torch.as_tensor(along),
            "permutations": torch.as_tensor(permutations),
            "length": torch.tensor(length, dtype=torch.float64),
        }
        predicted = self.geometry(tensors)(frames).energies
        facts = {
            "length": length,
            "ridge": files.json_number(fitted.ridge),
            "effective_parameters": fitted.effective_parameters,
            "criterion": fitted.criterion,
            "rows": rows.count,
            "permutations": len(permutations),
        }
        per_atom = labels.per_atom(fitted.unpenalised, predicted)
        return Solution(tensors, labels.baseline, per_atom, len(fitted.coefficients), facts)

    def _length(self, rows: _Rows) -> float:
        """Return the length scale (1/Å) of the least score."""
        spread = pdist(rows.centres.q)
        unit = float(np.sqrt((spread**2).mean())) if len(spread) else float(np.linalg.norm(rows.centres.q))
        some = rows.first(CHOOSING_FRAMES)
        lengths = [factor * (unit or 1.0) for factor in LENGTHS]
        scores = [some.fit(Radial(self.config.kernel, length)).score for length in lengths]
        return lengths[int(np.argmin(scores))]

    def geometry(self, tensors: Mapping[str, Tensor]) -> Geometry:
        """Return E(q) = Σ_j α_j k − g Δᵀv_j over training frames and permutations, with its exact gradient."""
        stored = {name: value.numpy() for name, value in tensors.items()}
        radial = Radial(self.config.kernel, float(stored["length"]))
        pairs = pair_permutations(stored["permutations"])
        q = stored["descriptors"][:, pairs].reshape(-1, pairs.shape[1])  # [F·S, D]
        v = stored["slopes"][:, pairs].reshape(-1, pairs.shape[1])
        alpha = np.repeat(stored["energies"], len(pairs))
        numbers, s = stored["numbers"], len(pairs)

        def predict(frames: Frames) -> Predictions:
            one_molecule(frames, numbers, "krr")
            n = len(numbers)
            energies, forces = np.zeros(len(frames)), np.zeros(frames.positions.shape)
            limit = max(1, _CHUNK_BYTES // (8 * 3 * max(q.size, 1)))
            for start in range(0, len(frames), limit):
                part = slice(start, start + limit)
                here, slopes = inverse_distances(frames.positions[part, :n])
                delta = here[:, None] - q  # [f, F·S, D]
                k, g, h = radial(np.sqrt((delta**2).sum(2)))
                along = (delta * v).sum(2)
                energies[part] = (k @ alpha - (g * along).sum(1)) / s
                weight = h * along - alpha * g  # of Δ in ∂E/∂q
                gradient = ((weight[:, None] @ delta)[:, 0] - g @ v) / s
                forces[part, :n] = -(gradient[:, None] @ slopes).reshape(len(here), n, 3)
            return Predictions(energies, forces)

        return predict


@dataclass(frozen=True)
class _Rows:
    """A kernel's rows with their labels: `force_y` `[F, r]` in eV/Å, of which `informative` `[F]` count."""

    centres: Centres
    force_y: Floats
    informative: Ints
    labels: Labels

    @property
    def count(self) -> int:
        """Number of informative labels."""
        return int(self.informative.sum()) + int((self.labels.energy_weight > 0).sum())

    def weights(self) -> Floats:
        """Return the factor of every row, `[F·r + F]`."""
        return np.concatenate([np.full(self.force_y.size, self.labels.force_weight), self.labels.energy_weight])

    def first(self, count: int) -> _Rows:
        """Return the rows of the first `count` frames, with their weights."""
        c, own = self.centres, self.labels
        labels = Labels(
            own.baseline, own.counts[:count], own.energies[:count], own.energy_weight[:count], own.force_weight
        )
        return _Rows(Centres(c.q[:count], c.j[:count], c.pairs), self.force_y[:count], self.informative[:count], labels)

    def fit(self, radial: Radial, ridge: float | None = None) -> RidgeFit:
        """Fit with the λ of the least score, or with `ridge`."""
        weights, labels = self.weights(), self.labels
        gram = self.centres.gram(radial)
        gram *= weights[:, None]
        gram *= weights
        problem = KernelProblem(
            gram,
            self.force_y * labels.force_weight,
            labels.energies * labels.energy_weight,
            labels.counts * labels.energy_weight[:, None],
            self.count,
        )
        return fit_kernel(problem, ridge=ridge)
