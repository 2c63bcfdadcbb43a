"""Radial networks of a linearised network as Chebyshev tables: the same kernel from a third of the columns.

Most weights θ of a small equivariant network are those of its radial networks, and all of them act through functions
of a single distance. On [r₁, r₂], which holds every distance of the training frames within the cutoff, the functions of
layer t, and their derivatives by θ_t, are polynomials to round-off (Trefethen 2019, "Approximation Theory and
Approximation Practice", ch. 8):

    R_k(r; θ_t) = Σ_f φ_f(r) C_fk,    ∂R_k/∂θ_t = Σ_f φ_f(r) B_fk,    φ = T S,  T_j Chebyshev polynomials

with S `[D, F]` an orthonormal basis of the coefficients that occur. A row's derivatives by θ_t are thus its derivatives
x by the table C `[F, K]`, times B `[F·K, θ]`, and products of rows need B Bᵀ = L Lᵀ alone: x L has as many columns as
B has numerical rank. It is another way to compute the kernel of the same network, forces included, not an approximate
one: what L leaves out is at round-off. Coefficients of x L belong to weights of the network, by which it predicts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from scipy.linalg import lapack, solve_triangular
from torch import Tensor

from experiments.core.arrays import Floats
from experiments.data.dataset import Frames
from experiments.nn.radial import Radial, polynomial_cutoff
from experiments.regression.closed_form import Weights
from experiments.regression.linearised import LinearisedNetwork, resident
from experiments.regression.ridge import in_dual
from experiments.regression.rows import counted
from experiments.tasks.predictions import Predictions

TERMS = (32, 48, 64, 80, 96, 112, 128, 160, 192, 256)
"""Numbers of Chebyshev polynomials D that are tried."""
_RESOLVED = 1e-14
"""Largest of the last coefficients, relative to the largest of all, at which D terms are enough."""
_NEARLY = 1e-12
"""The same where more terms no longer make it smaller: round-off of the functions themselves."""
_SPANNED = 1e-15
"""Singular value of coefficients, relative to the largest, below which a function of the distance is round-off."""
_RANK = 1e-19
"""Pivot of B Bᵀ, relative to the largest, below which it is left out: entries of B Bᵀ are exact relative to their rows,
and small ones count where slopes of T_j, up to D², multiply them. λ may be 1e-14 of the Gram matrix."""
_COLUMNS, _FUNCTIONS, _WORTH = 45, 75, 8.0
"""Columns and functions of the distance for each radial function (measured on ethanol, MACE of 16 channels; crystals,
whose distances begin at 2 Å, have fewer); operations to be saved for each one that making tables takes. For `pays`."""
_SAMPLES = 4
"""Derivatives along random directions for each Chebyshev polynomial: several times as many as they span."""
_POINTS = 16
"""Distances whose derivatives are made at a time."""
_MARGIN = 1e-9
"""Relative width beyond the distances, so that round-off takes none of them out of the interval."""
_FRAMES = 64
"""Frames whose neighbourhoods are made at a time."""


@runtime_checkable
class HasRadial(Protocol):
    """A network whose layers see distances through `radial` alone."""

    config: Any
    radial: Radial
    layers: Sequence[Any]


def pays(network: LinearisedNetwork, frames: Frames, sizes: Sequence[int], weights: Weights) -> bool:
    """Return whether a ladder is solved through tables: from settings and sizes alone, never from what is free.

    It is if products of rows decide every size, and a Gram matrix from fewer columns saves several times the operations
    that tables take; P = 512 of ethanol keeps the network's own rows, 1,024 has tables. The largest P decides for all
    sizes of a ladder, which differ from their runs alone by what tables differ from rows: docs/speed.md has numbers.
    """
    model, largest = network.model, max(sizes)
    if not isinstance(model, HasRadial) or weights[1] == 0:
        return False
    labels, made = (float(rows[largest]) for rows in counted(frames.take(slice(0, largest)), weights))
    if not in_dual(int(labels), network.size):
        return False
    saved, setup, seen = 0.0, 0.0, set()
    for t in range(len(model.layers)):
        own = [network.weights[name] for name in model.radial.names(t) if name in network.names and name not in seen]
        seen |= set(model.radial.names(t))
        functions = own[-1].shape[-1] if own else 0
        count = float(sum(weight.numel() for weight in own))
        columns = min(count, _COLUMNS * functions)
        saved += count - columns
        setup += (_FUNCTIONS * functions) ** 2 * (count + columns)
    return made**2 * saved > _WORTH * setup


def distances(frames: Frames, cutoff: float, elements: Sequence[int]) -> tuple[float, float] | None:
    """Return the least and the largest distance (Å) within the cutoff; None: there is no pair."""
    least, most = np.inf, 0.0
    for start in range(0, len(frames), _FRAMES):
        tensors = resident(frames.take(slice(start, start + _FRAMES)), cutoff, elements).tensors
        r = tensors["vectors"].norm(dim=-1)[tensors["mask"] > 0]
        if len(r):
            least, most = min(least, float(r.min())), max(most, float(r.max()))
    return None if most == 0.0 else (least * (1 - _MARGIN), most * (1 + _MARGIN))


class _Polynomials(torch.autograd.Function):
    """Chebyshev polynomials T_0 … T_{D−1} of x in [−1, 1], `[...]` → `[..., D]`, differentiable once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, terms: int) -> Tensor:
        values, slopes = [torch.ones_like(x), x], [torch.zeros_like(x), torch.ones_like(x)]
        for _ in range(terms - 2):
            slopes.append(2 * values[-1] + 2 * x * slopes[-1] - slopes[-2])
            values.append(2 * x * values[-1] - values[-2])
        ctx.save_for_backward(torch.stack(slopes, -1))
        return torch.stack(values, -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (slopes,) = ctx.saved_tensors
        return (grads[0] * slopes).sum(-1), None


@dataclass(frozen=True)
class Table:
    """Radial functions φ C of every layer, with weights `table.{t}` `[F_t, K_t]`; see `experiments.nn.radial.Radial`.

    least, most  the interval r₁, r₂ in Å
    spans        S `[D, F_t]` of every layer
    """

    least: float
    most: float
    spans: Sequence[Tensor]

    def names(self, t: int) -> tuple[str, ...]:
        """Return the name of the table of layer `t`."""
        return (f"table.{t}",)

    def inputs(self, params: Mapping[str, Tensor], distance: Tensor, envelope: Tensor) -> Tensor:
        """Evaluate φ of all layers side by side, `[p, m]` → `[p, m, Σ F_t]`; any number where padded."""
        x = (2 * distance - (self.most + self.least)) / max(self.most - self.least, 1e-9)
        spans = torch.cat(list(self.spans), 1)
        return _Polynomials.apply(x.clamp(-1, 1), len(spans)) @ spans  # type: ignore[no-untyped-call, no-any-return]

    def values(self, t: int, params: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Evaluate the functions of layer `t`: `[p, m, Σ F_t]` → `[p, m, K_t]`."""
        start = sum(span.shape[1] for span in self.spans[:t])
        return inputs[..., start : start + self.spans[t].shape[1]] @ params[f"table.{t}"]


@dataclass(frozen=True)
class _Layer:
    """What the derivatives by the table of one layer are multiplied by.

    shared   B of the weights that other layers have too, `[F·K, n]`
    root     L `[F·K, a]`
    pivots   `[a]` rows of L that form a triangle
    weights  `[F·K]` → derivatives B of all the layer's weights, summed with these
    """

    shared: Floats
    root: Floats
    pivots: Any
    weights: Callable[[Floats], dict[str, Floats]]


class TabulatedNetwork:
    """A linearised network whose rows are made through tables of its radial networks.

    Columns are the weights that no radial function depends on, then those that several layers' do (trainable Bessel
    frequencies), then x L of every layer. `expanded` turns their coefficients into those of the network's weights.
    """

    def __init__(self, network: LinearisedNetwork, frames: Frames) -> None:
        """Tabulate the radial networks of `network` between the distances of `frames`; see `applies`."""
        model = network.model
        assert isinstance(model, HasRadial)
        self.network, self.elements = network, network.elements
        radial, layers = model.radial, range(len(model.layers))
        found = distances(frames, network.cutoff, network.elements.tolist())
        least, most = (0.5 * network.cutoff, network.cutoff) if found is None else found
        names = [[name for name in radial.names(t) if name in network.names] for t in layers]
        counts = [sum(name in own for own in names) for name in network.names]
        self._shared = [name for name, count in zip(network.names, counts, strict=True) if count > 1]
        kept = [name for name, count in zip(network.names, counts, strict=True) if count == 0]
        functions = [_Function(network, model, t, names[t], self._shared) for t in layers]
        self.terms, spans = _resolved(functions, least, most)
        r, inverse = _nodes(least, most, self.terms)
        tables, self._layers = {}, []
        for t, (function, span) in enumerate(zip(functions, spans, strict=True)):
            onto = span.T @ inverse  # [F, D]
            tables[f"table.{t}"] = torch.as_tensor(onto) @ function.values({}, r)
            self._layers.append(_layer(function, r, onto, self._shared))
        table = Table(least, most, [torch.as_tensor(span) for span in spans])
        twin = copy.copy(model)
        twin.radial = table
        constants = {name: value for name, value in network.weights.items() if name not in network.names}
        weights = {name: network.weights[name] for name in kept} | constants | tables
        self._inner = LinearisedNetwork(cast(Any, twin), weights, network.elements.tolist(), network.cutoff)
        self._sizes = {name: self._inner.weights[name].numel() for name in self._inner.names}
        self._shared_sizes = [network.weights[name].numel() for name in self._shared]
        self._kept = kept

    @property
    def size(self) -> int:
        """Number of columns."""
        kept = sum(self._sizes[name] for name in self._kept)
        return kept + sum(self._shared_sizes) + sum(int(layer.root.shape[1]) for layer in self._layers)

    @property
    def n_weights(self) -> int:
        """Number of weights of the network."""
        return self.network.size

    def check(self, frames: Frames) -> None:
        """See `LinearModel`."""
        self.network.check(frames)

    def frames_at_once(self, frames: Frames) -> int:
        """See `LinearModel`."""
        return self.network.frames_at_once(frames)

    def fill_bytes(self, frames: Frames) -> float:
        """See `LinearModel`."""
        rows = float(self.frames_at_once(frames) * (3 * frames.numbers.shape[1] + 1))
        return self.network.fill_bytes(frames) + 8.0 * 1.5 * rows * self._inner.size

    def number_work(self, frames: Frames) -> float:
        """See `LinearModel`: numbers are made for all tables' columns, and then projected."""
        return self.network.number_work(frames) * self._inner.size / self.size

    def fill(self, frames: Frames, directions: Floats, energies: Floats, forces: Floats | None) -> None:
        """See `LinearModel`."""
        inner = self._inner.size
        raw = np.empty((len(frames), inner))
        raw_forces = None if forces is None else np.empty((*forces.shape[:2], inner))
        self._inner.fill(frames, directions, raw, raw_forces)
        self._compress(raw, energies)
        if forces is not None and raw_forces is not None:
            self._compress(raw_forces, forces)

    def _compress(self, raw: Floats, out: Floats) -> None:
        """Write the columns of rows `[..., M]` by kept weights and tables."""
        pieces, start = {}, 0
        for name in self._inner.names:
            pieces[name] = raw.reshape(-1, raw.shape[-1])[:, start : start + self._sizes[name]]
            start += self._sizes[name]
        at = 0

        def put(block: Floats) -> None:
            nonlocal at
            out[..., at : at + block.shape[1]] = block.reshape(*out.shape[:-1], block.shape[1])
            at += block.shape[1]

        for name in self._kept:
            put(pieces[name])
        tables = [pieces[f"table.{t}"] for t in range(len(self._layers))]
        if self._shared:
            put(sum((x @ one.shared for x, one in zip(tables, self._layers, strict=True)), np.zeros(())))
        for x, one in zip(tables, self._layers, strict=True):
            put(x @ one.root)

    def expanded(self, coefficients: Floats) -> Floats:
        """Return coefficients of the network's weights `[V, n_weights]` from those of the columns `[V, M]`."""
        return np.stack([self._expanded(one) for one in coefficients])

    def _expanded(self, coefficients: Floats) -> Floats:
        found: dict[str, Floats] = {}
        start = 0
        for name, size in [(n, self._sizes[n]) for n in self._kept] + list(
            zip(self._shared, self._shared_sizes, strict=True)
        ):
            found[name] = coefficients[start : start + size]
            start += size
        for one in self._layers:
            a = one.root.shape[1]
            triangle = one.root[one.pivots]
            along = np.zeros(len(one.root))
            along[one.pivots] = solve_triangular(triangle, coefficients[start : start + a], lower=True, trans=1)
            found |= one.weights(along)
            start += a
        return np.concatenate([found[name].ravel() for name in self.network.names])

    def predict_all(self, coefficients: Floats, frames: Frames) -> list[Predictions]:
        """See `LinearModel`; by the network itself, at any distance."""
        return self.network.predict_all(self.expanded(coefficients), frames)


class _Function:
    """The radial functions of one layer at given distances, and their derivatives by its weights."""

    def __init__(
        self, network: LinearisedNetwork, model: HasRadial, t: int, names: Sequence[str], shared: Sequence[str]
    ) -> None:
        self.network, self.config, self.radial, self.t, self.names = network, model.config, model.radial, t, list(names)
        self.own = [name for name in names if name not in shared]

    def values(self, params: Mapping[str, Tensor], r: Tensor) -> Tensor:
        """Evaluate `[d]` → `[d, K]` with some of the weights replaced."""
        every = {name: value[None] for name, value in {**self.network.weights, **params}.items()}
        envelope = polynomial_cutoff(r[None], self.config.cutoff, self.config.cutoff_power)
        return self.radial.values(self.t, every, self.radial.inputs(every, r[None], envelope))[0]

    def samples(self, r: Tensor) -> Floats:
        """Return the functions and their derivatives along some random directions of the weights, `[d, …]`."""
        params = {name: self.network.weights[name] for name in self.names}
        found = [self.values(params, r).numpy()]
        while sum(one.shape[1] for one in found) < _SAMPLES * len(r):
            rng = np.random.default_rng(len(found))
            along = {name: torch.as_tensor(rng.normal(size=tuple(value.shape))) for name, value in params.items()}
            found.append(torch.func.jvp(lambda own: self.values(own, r), (params,), (along,))[1].numpy())
        return np.concatenate(found, 1)

    def jacobian(self, r: Tensor) -> dict[str, Floats]:
        """Return the derivatives of the functions by the weights, each `[d, K, size]`."""
        params = {name: self.network.weights[name] for name in self.names}

        def at(point: Tensor) -> dict[str, Tensor]:
            found: dict[str, Tensor] = torch.func.jacrev(lambda own: self.values(own, point[None])[0])(params)
            return found

        slopes = torch.func.vmap(at, chunk_size=_POINTS)(r)
        return {name: slope.detach().flatten(2).numpy() for name, slope in slopes.items()}

    def pulled(self, r: Tensor, along: Floats) -> dict[str, Floats]:
        """Return Σ `along` `[d, K]` × the derivatives by the layer's own weights."""
        params = {name: self.network.weights[name].detach().clone().requires_grad_(True) for name in self.own}
        total = (self.values(params, r) * torch.as_tensor(along)).sum()
        found = torch.autograd.grad(total, list(params.values()), materialize_grads=True)
        return {name: one.numpy() for name, one in zip(params, found, strict=True)}


def _nodes(least: float, most: float, terms: int) -> tuple[Tensor, Floats]:
    """Return Chebyshev nodes `[D]` in Å, and the matrix `[D, D]` from values there to coefficients."""
    angles = np.pi * (np.arange(terms) + 0.5) / terms
    inverse = np.cos(np.outer(np.arange(terms), angles)) * (2 / terms)
    inverse[0] /= 2
    return torch.as_tensor(0.5 * (most + least) + 0.5 * (most - least) * np.cos(angles)), inverse


def _resolved(functions: Sequence[_Function], least: float, most: float) -> tuple[int, list[Floats]]:
    """Return the least number of terms D that is enough for every layer, and S `[D, F]` of every layer.

    Derivatives along a few random directions span what all of them do (Halko, Martinsson & Tropp 2011, SIAM Rev. 53).
    """
    tail = np.inf
    for terms in TERMS:
        r, inverse = _nodes(least, most, terms)
        found = [inverse @ function.samples(r) for function in functions]
        before, tail = tail, max(float(np.abs(one[-4:]).max() / np.abs(one).max()) for one in found)
        if tail <= _RESOLVED or (before <= _NEARLY and tail > 0.1 * before):
            break
    return terms, [_span(one) for one in found]


def _span(coefficients: Floats) -> Floats:
    """Return an orthonormal basis `[D, F]` of some coefficients `[D, n]`."""
    directions, values, _ = np.linalg.svd(coefficients, full_matrices=False)
    return np.ascontiguousarray(directions[:, : int((values > _SPANNED * values[0]).sum())])


def _layer(function: _Function, r: Tensor, onto: Floats, shared: Sequence[str]) -> _Layer:
    """Return L of the layer's own weights and B of the others.

    Args:
        function: the layer's functions.
        r: distances `[D]` of nodes.
        onto: matrix `[F, D]` from values there to coefficients of φ.
        shared: names of the weights that other layers have too.
    """
    slopes = {name: np.tensordot(onto, slope, 1) for name, slope in function.jacobian(r).items()}  # [F, K, size]
    size = int(np.prod(next(iter(slopes.values())).shape[:2]))
    metric, others = np.zeros((size, size)), [np.zeros((size, 0))]
    for name in function.names:
        own = slopes.pop(name).reshape(size, -1)
        if name in shared:
            others.append(own)
        else:
            metric += own @ own.T
    factor, order, rank, _ = lapack.dpstrf(metric, tol=_RANK * float(metric.diagonal().max()), lower=1)
    root = np.zeros((size, rank))
    root[order - 1] = np.tril(factor)[:, :rank]

    def weights(along: Floats) -> dict[str, Floats]:
        return function.pulled(r, onto.T @ along.reshape(len(onto), -1))

    return _Layer(np.concatenate(others, 1), root, order[:rank] - 1, weights)
