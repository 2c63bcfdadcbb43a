"""The rows of a ladder: design matrix of a linear model on its frames, frame after frame, and what of it memory holds.

The rows of the largest P are computed once; every smaller P is a leading block of them. They are held in memory if
they take a moderate part of it; otherwise the Gram matrix is gathered from tiles of frames, and rows are computed again
where needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from experiments.core import machine_memory
from experiments.core.arrays import Floats, Ints
from experiments.data.dataset import Frames
from experiments.regression import cholesky
from experiments.regression.closed_form import Labels, Weights, reachable, require_memory
from experiments.regression.gram import GramSystem
from experiments.regression.ridge import ForceRows, in_dual
from experiments.regression.spectrum import SCRATCH
from experiments.tasks.predictions import Predictions

_PANELS = 3
"""Panels of columns that a factorisation in place needs beside its matrix."""
_SHARE = 0.9
"""Share of the memory that a plan counts on: allocators keep some of what is given back."""
NUMBER_WORK = 2000.0
"""`LinearModel.number_work` of linearised networks and linear ACE of ethanol: 55 to 105 ns on one core of a shared
x86-64 server with AVX2."""
_AGAIN = 4
"""Times that rows which are not held are made again for residuals."""
_AT_ONCE = 4096
"""Rows whose products are one call of BLAS, which ends in seconds."""
_AMPLE, _MORE = 7.6e9, 1.2
"""Rows whose products are solved stay in memory up to so many bytes in all, or so many times what is needed without
them: factors of such matrices cost most, not rows, and other processes need memory too."""


class LinearModel(Protocol):
    """A model whose energies and forces are linear in `size` coefficients."""

    elements: Ints

    @property
    def size(self) -> int:
        """Number of coefficients M."""
        ...

    def check(self, frames: Frames) -> None:
        """Raise `InputError` for elements that the model does not know and for positions that are not finite."""
        ...

    def frames_at_once(self, frames: Frames) -> int:
        """Return the number of such frames that `fill` should get at a time."""
        ...

    def fill_bytes(self, frames: Frames) -> float:
        """Return the memory (bytes) that `fill` takes for so many frames beside what it writes to."""
        ...

    def number_work(self, frames: Frames) -> float:
        """Return the operations of a factorisation in the time that `fill` takes for a number of such frames' rows."""
        ...

    def fill(self, frames: Frames, directions: Floats, energies: Floats, forces: Floats | None) -> None:
        """Write rows of the design matrix, per unit of each coefficient.

        Args:
            frames: some frames.
            directions: of forces, `[f, r, N, 3]`; zero on padding.
            energies: gets the energies (eV, summed over atoms), `[f, M]`.
            forces: gets the forces (−∂/∂x of that, 1/Å) along the directions, `[f, r, M]`.
        """
        ...

    def predict_all(self, coefficients: Floats, frames: Frames) -> list[Predictions]:
        """Predict energies (eV, without intercept) and forces (eV/Å) for coefficients `[V, M]`, V predictions."""
        ...


def counted(frames: Frames, weights: Weights) -> tuple[Ints, Ints]:
    """Return the labels of the first P frames, `[F + 1]`, and (an upper bound of) the rows that are made of them."""
    components = 3 * (frames.numbers > 0).sum(1) if weights[1] > 0 else np.zeros(len(frames), np.int64)
    rigid = np.where(frames.pbc.any(1), 3, 5)  # of molecules that are not on a line even 6
    made = np.maximum(components - rigid, 0) + 1
    return np.concatenate([[0], np.cumsum(components + 1)]), np.concatenate([[0], np.cumsum(made)])


@dataclass(frozen=True)
class Plan:
    """What a ladder keeps in memory, decided from sizes before anything is computed.

    batch  frames whose rows are computed at a time
    held   whether all rows stay in memory; else the Gram matrix is gathered from tiles of `tile` frames
    rows   labels of the first P frames, `[F + 1]`
    made   rows of them, `[F + 1]`; those that no invariant energy can reach are not made
    bytes  expected at the peak, for arrays
    """

    batch: int
    held: bool
    tile: int
    rows: Ints
    made: Ints
    columns: int
    bytes: float

    def in_dual(self, P: int) -> bool:
        """Return whether P training frames are solved by products of rows."""
        return in_dual(int(self.rows[P]), self.columns)

    @staticmethod
    def of(frames: Frames, sizes: Sequence[int], model: LinearModel, weights: Weights, smaller: str = "") -> Plan:
        """Plan a ladder.

        Raises:
            InputError: this machine has less memory than the largest size needs.
        """
        return Plan.for_size(
            frames,
            sizes,
            model.size,
            model.frames_at_once(frames),
            model.fill_bytes(frames),
            weights,
            smaller,
        )

    @staticmethod
    def for_size(
        frames: Frames,
        sizes: Sequence[int],
        columns: int,
        batch: int,
        fill_bytes: float,
        weights: Weights,
        smaller: str,
    ) -> Plan:
        """Plan a ladder of models with so many `columns`; `batch` and `fill_bytes`: see `LinearModel`.

        Raises:
            InputError: see `of`.
        """
        rows, made = counted(frames, weights)
        largest = max(sizes)
        others = [float(made[P]) for P in set(sizes) - {largest} if in_dual(int(rows[P]), columns)]
        alike = bool((np.sort(frames.numbers, 1) == np.sort(frames.numbers[:1], 1)).all())
        # where compositions differ, smaller sizes weigh energies in their own way: in a copy of the matrix
        second = 0.0 if alike else max(others, default=0.0) / float(made[largest])

        def peak(P: int, tile: int) -> float:
            """Return the bytes that are needed if rows of so many frames are in memory at a time."""
            n, m, x = float(made[P]), columns, 8.0 * columns * float(made[min(P, tile)])
            if not in_dual(int(rows[P]), columns):
                return 8.0 * (4.0 * m**2 + 3 * P * m) + fill_bytes + x
            matrix, energies = 8.0 * n**2, 8.0 * P * m
            copied = 8.0 * ((second * n) ** 2 + max(SCRATCH, _PANELS * min(n, cholesky.BLOCK)) * n)
            if tile >= P:
                return energies + x + max(fill_bytes, matrix + copied)  # rows are there before the matrix comes
            at_once = 8.0 * m * float(made[min(P, batch)])
            return matrix + energies + fill_bytes + max(x + at_once, copied)  # tiles go before factors come

        what = f"{rows[largest]} labels and {columns} coefficients"
        require_memory(lambda P: peak(P, batch) / _SHARE, largest, what, smaller)
        allowed = _SHARE * machine_memory.memory_limit()
        if in_dual(int(rows[largest]), columns):  # products of columns go over the rows many times
            allowed = min(allowed, max(_AMPLE, _MORE * peak(largest, batch)))
        tile = largest
        while tile > batch and peak(largest, tile) > allowed:
            tile = max(batch, tile - batch)
        held = tile == largest and peak(largest, tile) <= allowed
        return Plan(batch, held, tile, rows, made, columns, peak(largest, tile))

    def work(self, number_work: float) -> float:
        """Return about as many operations as `Rows` tells of: making them, and their products; see `LinearModel`."""
        frames = len(self.made) - 1
        n, m = float(self.made[-1]), float(self.columns)
        dual = self.in_dual(frames)
        times = 1.0 if self.held else _AGAIN + ((-(-frames // self.tile) + 1) / 2 if dual else 1.0)
        return number_work * n * m * times + (n**2 * m if dual else 0.0)


class Rows:
    """Weighted rows of frames, frame after frame: those of the forces, then the energy's (if energies are fitted).

    energies  `[F, M]` rows of the energies, without weight
    starts    `[F + 1]` first row of every frame
    """

    def __init__(
        self,
        model: LinearModel,
        frames: Frames,
        labels: Labels,
        plan: Plan,
        energies_too: bool,
        tick: cholesky.Tick,
    ) -> None:
        self.model, self.frames, self.labels, self.plan, self.tick = model, frames, labels, plan, tick
        self.energies_too = energies_too
        self._number_work = model.number_work(frames)
        self.directions = self._directions()
        self.starts: Ints = np.concatenate([[0], np.cumsum([len(d) + energies_too for d in self.directions])])
        self.energies = np.empty((len(frames), model.size))
        self.held: Floats | None = None
        if plan.held:
            self.held = np.empty((int(self.starts[-1]), model.size))
            for first, last in self._ranges(len(frames)):
                self._compute(first, last, self.held[self.starts[first] : self.starts[last]])

    def _directions(self) -> list[Floats]:
        """Return of every frame the directions `[r, N, 3]` that forces are fitted along."""
        padded = self.frames.numbers.shape[1]
        found = []
        for f in range(len(self.frames)):
            real = np.flatnonzero(self.frames.numbers[f] > 0)
            if self.labels.force_weight == 0:
                found.append(np.zeros((0, padded, 3)))
                continue
            periodic = np.asarray(self.frames.pbc[f : f + 1].any(1))
            onto, counts = reachable(self.frames.positions[f : f + 1, real], periodic)
            own = onto[0][:, onto.shape[2] - int(counts[0]) :].T.reshape(-1, len(real), 3)
            full = np.zeros((len(own), padded, 3))
            full[:, real] = own
            found.append(full)
        return found

    def _ranges(self, frames: int, first: int = 0, size: int | None = None) -> Iterator[tuple[int, int]]:
        """Yield ranges of frames that are computed at a time; they begin at the same frames whatever their number."""
        size = self.plan.batch if size is None else size
        while first < frames:
            last = min(frames, (first // size + 1) * size)
            yield first, last
            first = last

    def _compute(self, first: int, last: int, out: Floats | None = None) -> Floats:
        """Return the rows of a range of frames, written to `out` if given."""
        own = self.directions[first:last]
        most = max(map(len, own))
        uniform = min(map(len, own)) == most
        m, extra = self.model.size, int(self.energies_too)
        whole = np.empty((last - first, most + extra, m)) if out is None or not uniform else None
        if whole is None:
            assert out is not None
            whole = out.reshape(last - first, most + extra, m)
        directions = np.zeros((last - first, most, *own[0].shape[1:]))
        for f, one in enumerate(own):
            directions[f, : len(one)] = one
        energies = self.energies[first:last]
        forces = whole[:, :most] if self.labels.force_weight > 0 else None
        self.model.fill(self.frames.take(slice(first, last)), directions, energies, forces)
        self.tick(self._number_work * m * float(self.starts[last] - self.starts[first]))
        if forces is not None and self.labels.force_weight != 1:
            forces *= self.labels.force_weight
        if self.energies_too:
            np.multiply(energies, self.labels.energy_weight[first:last, None], out=whole[:, most])
        if uniform:
            return whole.reshape(-1, m)
        keep = np.concatenate([[*range(len(one)), *range(most, most + extra)] for one in own]).astype(np.int64)
        frame = np.repeat(np.arange(len(own)), [len(one) + extra for one in own])
        picked = whole[frame, keep]
        if out is None:
            return picked
        out[:] = picked
        return out

    def _blocks(self, frames: int, first: int = 0) -> Iterator[tuple[int, int, Floats]]:
        """Yield ranges of frames with their rows."""
        for start, end in self._ranges(frames, first):
            rows = slice(int(self.starts[start]), int(self.starts[end]))
            yield start, end, self._compute(start, end) if self.held is None else self.held[rows]

    def force_rows(self, frames: int, first: int = 0) -> Iterator[ForceRows]:
        """Yield the force rows of the frames from `first` on, padded with zero rows if their numbers differ."""
        y = self.targets
        for start, end, x in self._blocks(frames, first):
            own = self.directions[start:end]
            most = max(map(len, own))
            if self.labels.force_weight == 0:
                continue
            rows = np.zeros((end - start, most, x.shape[1]))
            labels = np.zeros((end - start, most))
            for f in range(start, end):
                count, offset = len(own[f - start]), int(self.starts[f])
                place = offset - int(self.starts[start])
                rows[f - start, :count] = x[place : place + count]
                labels[f - start, :count] = y[offset : offset + count]
            yield ForceRows(np.arange(start, end), rows, labels)

    @cached_property
    def targets(self) -> Floats:
        """Weighted labels of all rows, `[n]`."""
        y = np.empty(int(self.starts[-1]))
        for f, directions in enumerate(self.directions):
            start = int(self.starts[f])
            if len(directions):
                forces = np.where(self.frames.numbers[f, :, None] > 0, self.frames.forces[f], 0.0)
                y[start : start + len(directions)] = np.tensordot(directions, forces, 2) * self.labels.force_weight
            if self.energies_too:
                y[self.starts[f + 1] - 1] = self.labels.energies[f] * self.labels.energy_weight[f]
        return y

    def count(self, frames: int) -> int:
        """Return the number of rows of the first frames."""
        return int(self.starts[frames])

    def scale(self, labels: Labels, frames: int) -> Floats:
        """Return what the rows of the first frames have to be multiplied by for the weights of `labels`, `[n]`."""
        scale = np.ones(self.count(frames))
        if self.energies_too:
            at = self.starts[1 : frames + 1] - 1
            scale[at] = labels.energy_weight / self.labels.energy_weight[:frames]
        return scale

    def borders(self, frames: int, scale: Floats) -> tuple[Floats, Ints]:
        """Return the unpenalised columns `[n, d]` of the first frames, times `scale`, and the starts."""
        columns = np.zeros((self.count(frames), self.labels.counts.shape[1]))
        if self.energies_too:
            at = self.starts[1 : frames + 1] - 1
            columns[at] = self.labels.counts[:frames] * self.labels.energy_weight[:frames, None]
        return columns * scale[:, None], self.starts[: frames + 1]

    def system(self, frames: int) -> GramSystem:
        """Return the products of the rows of the first frames."""
        n = self.count(frames)
        gram = self._gathered(frames) if self.held is None else self._products(self.held[:n])
        return GramSystem(gram, self.targets[:n], *self.borders(frames, np.ones(n)))

    def _products(self, x: Floats) -> Floats:
        """Return the lower triangle of x xᵀ; of many rows in pieces."""
        n, m = x.shape
        if n <= _AT_ONCE:
            gram = x @ x.T  # numpy calls syrk: half the work
            self.tick(float(n) ** 2 * m)
            return np.asarray(gram)
        gram = np.empty((n, n))
        for start in range(0, n, cholesky.BLOCK):
            end = min(n, start + cholesky.BLOCK)
            np.matmul(x[start:end], x[:end].T, out=gram[start:end, :end])
            self.tick(float(start + end) * (end - start) * m)
        return gram

    def _gathered(self, frames: int) -> Floats:
        n = self.count(frames)
        gram = np.empty((n, n))
        for first, last in self._ranges(frames, size=self.plan.tile):
            own = slice(int(self.starts[first]), int(self.starts[last]))
            x = np.empty((own.stop - own.start, self.model.size))
            for start, end in self._ranges(last, first):
                self._compute(start, end, x[self.starts[start] - own.start : self.starts[end] - own.start])
            np.matmul(x, x.T, out=gram[own, own])  # syrk, without a matrix beside
            self.tick(float(len(x)) ** 2 * self.model.size)
            for start, end, block in self._blocks(frames, last):
                rows = slice(int(self.starts[start]), int(self.starts[end]))
                gram[rows, own] = block @ x.T
                gram[own, rows] = gram[rows, own].T
                self.tick(2.0 * len(block) * len(x) * self.model.size)
            del x  # before the next tile's
        return gram

    def combine(self, alpha: Floats) -> Floats:
        """Return Xᵀα `[M, V]` of coefficients `[n, V]` of the leading rows."""
        n = len(alpha)
        if self.held is not None:
            return np.asarray(self.held[:n].T @ alpha)
        total = np.zeros((self.model.size, alpha.shape[1]))
        for start, end, x in self._blocks(int(np.searchsorted(self.starts, n))):
            total += x.T @ alpha[self.starts[start] : self.starts[end]]
        return total

    def apply(self, w: Floats, n: int) -> Floats:
        """Return X w `[n, V]` of the leading n rows."""
        if self.held is not None:
            return np.asarray(self.held[:n] @ w)
        return np.concatenate([x @ w for _, _, x in self._blocks(int(np.searchsorted(self.starts, n)))])

    def geometry(self, fitted: Floats, frames: int) -> Predictions:
        """Return the predictions on the first frames that the fitted values of their rows `[n]` are.

        Forces vanish along directions that no invariant energy can reach; energies without a weight are NaN.
        """
        energies = np.full(frames, np.nan)
        forces = np.zeros(self.frames.forces[:frames].shape)
        for f in range(frames):
            own = fitted[self.starts[f] : self.starts[f + 1]]
            count = len(self.directions[f])
            if count:
                forces[f] = np.tensordot(own[:count] / self.labels.force_weight, self.directions[f], 1)
            if self.energies_too:
                energies[f] = own[count] / self.labels.energy_weight[f]
        return Predictions(energies, forces)
