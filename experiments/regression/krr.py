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
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial.distance import pdist
from torch import Tensor

from experiments.core import files
from experiments.core.arrays import Floats, Ints
from experiments.core.errors import InputError
from experiments.core.kernels import matern52, pair_permutations
from experiments.data.checks import one_molecule
from experiments.data.dataset import Frames
from experiments.models.krr import KrrConfig
from experiments.regression.choice import constants
from experiments.regression.cholesky import Tick, silent
from experiments.regression.closed_form import (
    Geometry,
    Labels,
    Solution,
    check_labels,
    reachable,
    require_memory,
)
from experiments.regression.descriptor import bond_permutations, inverse_distances
from experiments.regression.gram import GramSystem
from experiments.regression.gram_path import SMALLEST_ALONE, Path, expected_work, fit_gram
from experiments.regression.ladder import Conditions, Ladder, Work, predict_apart, solution_facts
from experiments.regression.spectrum import facts_work
from experiments.tasks.predictions import Predictions

LENGTHS = tuple(2.0**k for k in range(7))
"""Length scales tried, in units of the root mean square distance between descriptors of the pool. On rMD17 ethanol at
P = 48 the error is flat from the third on (77 to 79 meV/Å), and beyond the last one round-off begins to show."""
CHOOSING_FRAMES = 48
"""Training frames that choose the length scale (it hardly moves with P)."""
RIDGE_FRAMES = 256
"""Training frames that choose λ."""
_SLOWER, _PREDICTED = 8.0, 450.0
"""Speed of a factorisation over that of `Centres.gram`, and its operations in the time that a prediction takes for each
number of a descriptor, permutation, training frame and frame; both measured on ethanol."""
_CHUNK_BYTES = 2**27
_OTHER_BYTES = 2.0**29
"""Memory of the program itself, of predictions, and of panels of a factorisation."""


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

    def gram(self, radial: Radial, energies: bool = True, tick: Tick = silent) -> Floats:
        """Return the lower triangle of the products of all rows, frame after frame: `[F·(r + 1), F·(r + 1)]`.

        A frame's rows are its forces (−∂/∂x along their directions), then its energy unless `energies` is false. What
        is above the frames' diagonal blocks is not written.
        """
        f, d, r = self.j.shape
        s, each = len(self.pairs), r + energies
        gram = np.empty((f * each, f * each))
        moved = self.q[:, self.pairs]  # [F, S, D]
        slopes = np.ascontiguousarray(self.j[:, self.pairs])  # [F, S, D, r]
        flat = slopes.reshape(f, s, d * r)
        for i in range(f):  # a row of blocks; 2r + … numbers for each permutation of each frame before it
            n = i + 1
            delta = self.q[i] - moved[:n]
            k, g, h = radial(np.sqrt((delta**2).sum(2)))  # [n, S]
            along = (delta[:, :, None] @ slopes[:n])[:, :, 0]  # Δᵀ J′ [n, S, r]
            pulled = (g[:, None] @ flat[:n]).reshape(n, d, r) - delta.transpose(0, 2, 1) @ (h[..., None] * along)
            rows = gram[i * each : n * each, : n * each].reshape(each, n, each)  # a view: columns by frame
            rows[:r, :, :r] = (self.j[i].T @ pulled).transpose(1, 0, 2) / s
            if energies:
                rows[:r, :, r] = self.j[i].T @ (g[..., None] * delta).sum(1).T / s
                rows[r, :, :r] = -(g[..., None] * along).sum(1) / s
                rows[r, :, r] = k.sum(1) / s
            tick(self.pair_work * n)
        return gram

    @property
    def pair_work(self) -> float:
        """Operations that a pair of frames costs, of a factorisation that takes as long."""
        _, d, r = self.j.shape
        return float(_SLOWER * 2.0 * d * r * (3 * len(self.pairs) + r))

    @property
    def moved_bytes(self) -> float:
        """Bytes a frame of what `gram` makes for all permutations."""
        _, d, r = self.j.shape
        return float(8.0 * d * (len(self.pairs) * (3 * r + 6) + 3 * r))


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

    def ladder(self, frames: Frames, sizes: Sequence[int], conditions: Conditions) -> Ladder:
        """Fit; the length scale is chosen by leaving out frames, each length with its own best λ. Nothing is random."""
        config = self.config
        check_labels(frames)
        self.accept(frames, frames)
        numbers = frames.numbers[0][frames.numbers[0] > 0]
        f, n = len(frames), len(numbers)
        permutations = bond_permutations(frames) if config.symmetrise else np.arange(n)[None]
        rows = _Rows.of(frames, permutations, config)
        count = rows.starts[1]
        require_memory(lambda P: _bytes(P, int(count), rows.centres, sizes), f, f"{f * count} labels in a kernel")
        few = rows.first(CHOOSING_FRAMES)
        search = len(LENGTHS) * (few.work + expected_work({min(P, few.count) for P in sizes}, few.starts))
        solving = rows.work + expected_work(sizes, rows.starts, RIDGE_FRAMES)
        solving += sum(facts_work(float(rows.starts[P])) for P in sizes)
        total = solving + search * (config.length is None)
        predicting = _PREDICTED * rows.centres.q.shape[1] * len(permutations) * sum(sizes) * conditions.tests
        solved = total / (total + predicting)
        tick = Work(conditions.watch, total, last=solved)
        lengths = dict.fromkeys(sizes, config.length)
        if config.length is None:
            lengths = self._lengths(few, sizes, conditions.sample(frames), tick)
        solutions: dict[int, Solution] = {}
        system: GramSystem | None = None
        path: Path | None = None
        own_sizes = {length: sorted({P for P in sizes if lengths[P] == length}) for length in set(lengths.values())}
        for length, own in sorted(own_sizes.items(), key=lambda item: item[1][-1]):  # the largest P last
            assert length is not None
            system, path = None, None  # their memory is used again
            system = rows.first(own[-1]).system(Radial(config.kernel, length), tick)
            path = Path(system, smallest=SMALLEST_ALONE, tick=tick, choosing=RIDGE_FRAMES)
            for P in own:
                solutions[P] = self._solution(rows.first(P), frames.take(slice(0, P)), path, length, conditions)
        ordered = [solutions[P] for P in sizes]

        def predict(others: Frames) -> list[Predictions]:
            return predict_apart(self, ordered, others, conditions, solved)

        return Ladder(ordered, predict, [None] * len(sizes), system)

    def _solution(self, rows: _Rows, frames: Frames, path: Path, length: float, conditions: Conditions) -> Solution:
        config, f = self.config, len(frames)
        labels = Labels.of(frames, self.elements, conditions.isolated, config.energy_weight, config.force_weight)
        try:
            fit = fit_gram(path, f)
        except np.linalg.LinAlgError as error:
            raise InputError(
                f"P={f}: the kernel of its frames is singular to round-off at the ridge of the first {RIDGE_FRAMES}; "
                "accepted: a smaller P, or a smaller model.length"
            ) from error
        weight = labels.energy_weight
        rest = (labels.energies * weight - rows.by_kind(fit.fitted)[1]) if weight.any() else np.zeros(f)
        intercepts = constants(labels.counts * weight[:, None], rest)
        forces, energies = rows.by_kind(fit.dual)
        along = (rows.centres.j @ (forces * labels.force_weight)[..., None])[
            ..., 0
        ]  # [F, D]: all that predictions need
        tensors = {
            "numbers": torch.as_tensor(frames.numbers[0][frames.numbers[0] > 0]),
            "descriptors": torch.as_tensor(rows.centres.q),
            "energies": torch.as_tensor(energies * weight),
            "slopes": torch.as_tensor(along),
            "permutations": torch.as_tensor(rows.permutations),
            "length": torch.tensor(length, dtype=torch.float64),
        }
        ridge, effective, _, criterion = fit.choice.facts
        facts = {
            "length": length,
            "ridge": files.json_number(ridge),
            "effective_parameters": effective,
            "criterion": criterion,
            "rows": path.system.rows(f),
            "ridge_at_floor": fit.choice.at_floor,
            "permutations": len(rows.permutations),
            **solution_facts(path.system, f, path.tick),
        }
        predicted = labels.energies if weight.any() else self.geometry(tensors)(frames).energies
        return Solution(tensors, labels.baseline, labels.per_atom(intercepts, predicted), len(fit.dual), facts)

    def _lengths(self, some: _Rows, sizes: Sequence[int], sample: Frames, tick: Tick) -> dict[int, float | None]:
        """Return the length scale (1/Å) of the least score of every size, by its first frames.

        Lengths are multiples of the spread of descriptors in the pool: the same for all sizes.
        """
        n = len(some.atoms)
        like = (sample.numbers[:, :n] == some.atoms).all(1)
        q = inverse_distances(sample.positions[like, :n])[0] if like.any() else some.centres.q
        spread = pdist(q)
        unit = float(np.sqrt((spread**2).mean())) if len(spread) else float(np.linalg.norm(q))
        lengths = [factor * (unit or 1.0) for factor in LENGTHS]
        scores: dict[int, list[float]] = {P: [] for P in sizes}
        for length in lengths:
            path = Path(some.system(Radial(self.config.kernel, length), tick), smallest=SMALLEST_ALONE, tick=tick)
            for P in sorted(scores):
                scores[P].append(fit_gram(path, min(P, some.count)).choice.facts[2])
        return {P: lengths[int(np.argmin(of_size))] for P, of_size in scores.items()}

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


def _bytes(P: int, each: int, centres: Centres, sizes: Sequence[int]) -> float:
    """Return the memory (bytes) of a ladder with the first P frames of `centres`, each of so many rows.

    The matrix is factorised in place; blocks of smaller sizes that choose their own λ are copied for that.
    """
    alone = min(P, RIDGE_FRAMES) if P > RIDGE_FRAMES else max([size for size in sizes if size < P] or [P // 2])
    return 8.0 * each**2 * (float(P) ** 2 + 3.0 * float(alone) ** 2) + P * centres.moved_bytes + _OTHER_BYTES


@dataclass(frozen=True)
class _Rows:
    """A kernel's rows with their labels: `force_y` `[F, r]` in eV/Å; `labels` weigh them.

    atoms `[N]` atomic numbers, permutations `[S, N]` of them.
    """

    centres: Centres
    force_y: Floats
    labels: Labels
    atoms: Ints
    permutations: Ints

    @staticmethod
    def of(frames: Frames, permutations: Ints, config: KrrConfig) -> _Rows:
        """Make the rows of frames of one molecule."""
        atoms = frames.numbers[0][frames.numbers[0] > 0]
        f, n = len(frames), len(atoms)
        x = frames.positions[:, :n]
        q, slopes = inverse_distances(x)
        onto = reachable(x, np.zeros(f, dtype=bool))[0]  # [F, 3n, r]
        if config.force_weight == 0:
            onto = onto[:, :, :0]
        labels = Labels.of(frames, np.unique(atoms), None, config.energy_weight, config.force_weight)
        forces = (
            np.zeros((f, 0))
            if config.force_weight == 0
            else ((onto.transpose(0, 2, 1) @ frames.forces[:, :n].reshape(f, 3 * n, 1))[..., 0])
        )
        return _Rows(Centres(q, slopes @ onto, pair_permutations(permutations)), forces, labels, atoms, permutations)

    @property
    def count(self) -> int:
        """Number of frames."""
        return len(self.force_y)

    @property
    def work(self) -> float:
        """Operations that the products of all rows take (`Centres.gram`)."""
        return self.centres.pair_work * self.count * (self.count + 1) / 2

    @property
    def starts(self) -> Ints:
        """First row of every frame: its forces, then its energy if energies are fitted."""
        each = self.force_y.shape[1] + bool(self.labels.energy_weight.any())
        starts: Ints = np.arange(self.count + 1) * each
        return starts

    def first(self, count: int) -> _Rows:
        """Return the rows of the first `count` frames; one molecule has the same weights whatever their number."""
        c, own = self.centres, self.labels
        labels = Labels(
            own.baseline, own.counts[:count], own.energies[:count], own.energy_weight[:count], own.force_weight
        )
        centres = Centres(c.q[:count], c.j[:count], c.pairs)
        return replace(self, centres=centres, force_y=self.force_y[:count], labels=labels)

    def system(self, radial: Radial, tick: Tick) -> GramSystem:
        """Return the products of the weighted rows, frame after frame."""
        f, r = self.force_y.shape
        own = self.labels
        each = r + bool(own.energy_weight.any())
        weights, y = np.empty((f, each)), np.empty((f, each))
        weights[:, :r], weights[:, r:] = own.force_weight, own.energy_weight[:, None]
        y[:, :r], y[:, r:] = self.force_y, own.energies[:, None]
        unpenalised = np.zeros((f, each, own.counts.shape[1]))
        unpenalised[:, r:] = (own.counts * own.energy_weight[:, None])[:, None]
        gram = self.centres.gram(radial, each > r, tick)
        for i, own_weights in enumerate(weights):  # what is right of the diagonal block is not there
            rows = gram[i * each : (i + 1) * each, : (i + 1) * each]
            rows *= own_weights[:, None]
            rows *= weights[: i + 1].reshape(-1)
        return GramSystem(gram, (y * weights).ravel(), unpenalised.reshape(f * each, -1), self.starts)

    def by_kind(self, values: Floats) -> tuple[Floats, Floats]:
        """Split numbers of the rows into those of forces `[F, r]` and of energies `[F]` (zero if there are none)."""
        f, r = self.force_y.shape
        own = values.reshape(f, -1)
        return own[:, :r], own[:, r] if own.shape[1] > r else np.zeros(f)
