"""Lorentz group network: scalars, four-vectors and tensors of particles (Bogatskiy et al. 2020, arXiv 2006.04780).

Every layer mixes, for each particle i, Lorentz-covariant terms (eq. 10):

    F_i  ←  L( F_i  ⊕  CG[F_i ⊗ F_i]  ⊕  Σ_j f(p_ij²)·CG[p_ij ⊗ F_j] ),      p_ij = p_i − p_j

with a learned function f of the invariant p_ij² for every channel and product, and linear maps L among terms that
transform alike. L=1 has scalars s and four-vectors v, L=2 also the antisymmetric tensors a, which are (2,0) ⊕ (0,2),
and the traceless symmetric ones b, which are (2,2): the representations of the authors' network. The Clebsch–Gordan
products, channel by channel, are matrix products of tensors with one index lowered by the metric (+, −, −, −), *a the
dual:

    s:  s·s, ⟨v, v⟩, tr a², tr a·*a, tr b²          from pairs: s, ⟨p, v⟩
    v:  s·v, a·v, *a·v, b·v                         from pairs: s·p, a·p, *a·p, b·p
    a:  s·a, a·b + b·a                              from pairs: p ∧ v
    b:  s·b, v ⊙ v, a², b², [a, b], [*a, b]         from pairs: p ⊙ v

The linear maps of antisymmetric tensors see duals beside them, as maps of (2,0) and (0,2) are complex. Tensors that are
not there yet, and vectors and tensors that would not reach the readout, have neither weights nor arithmetic. Scalars
pass through SiLU; invariants, which span decades, through sgn(x)·ln(1 + |x|). Momenta are in units of 10 GeV; the sum
over particles is divided by the number that a jet may have.

Invariant under all of SO⁺(1,3), and under permutations, to round-off: an invariant mass is a small difference of large
numbers. Outputs are therefore computed in the rest frame of the jet, which changes nothing else.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from experiments.models.lorentz import LorentzConfig
from experiments.nn.constants import Constant
from experiments.nn.grid import readout, readout_parameters
from experiments.nn.parameters import Parameter, draw_all
from experiments.nn.radial import scaled_silu
from experiments.tasks.task import Tensors

UNIT = 10.0
"""Unit of momenta in GeV."""
NO_MASS = 1e-9
"""Square of a jet's mass over that of its energy below which it is round-off."""
METRIC = (1.0, -1.0, -1.0, -1.0)
_METRIC = Constant(torch.tensor(METRIC, dtype=torch.float64))
_dual = np.zeros((4, 4, 4, 4))
for _m, _n, _r, _s in itertools.permutations(range(4)):
    _dual[_m, _n, _r, _s] = 0.5 * METRIC[_n] * METRIC[_r] * round(np.linalg.det(np.eye(4)[[_m, _n, _r, _s]]))
_DUAL = Constant(torch.as_tensor(_dual))
"""½ ε^{μνρσ} with ν and ρ lowered: takes an antisymmetric tensor with mixed indices to its dual."""


@dataclass(frozen=True)
class Layer:
    """Numbers of products of one layer by kind, each product of all channels; 0: the layer does not make this kind."""

    pairs: int
    """Number of functions f."""
    scalars: int
    vectors: int
    antisymmetric: int
    symmetric: int


def plan(config: LorentzConfig) -> tuple[Layer, ...]:
    """List the layers with the products that both exist and reach the readout."""
    layers = []
    for t in range(config.n_layers):
        handed_on = t < config.n_layers - 1  # the readout sees scalars
        tensors = config.L == 2
        there = tensors and t > 0
        layers.append(
            Layer(
                pairs=2 + (1 + tensors + 3 * there) * handed_on,
                scalars=5 + 3 * there,
                vectors=(3 + 6 * there) * handed_on,
                antisymmetric=(1 + 3 * there) * (tensors and handed_on),
                symmetric=(2 + 6 * there) * (tensors and handed_on),
            )
        )
    return tuple(layers)


@dataclass(frozen=True)
class Features:
    """Features of all particles.

    Scalars `[p, B, n, C]`, four-vectors `[p, B, n, 4, C]`, and tensors `[p, B, n, 4, 4, C]` with the second index
    lowered (None if there are none).
    """

    scalars: Tensor
    vectors: Tensor
    antisymmetric: Tensor | None = None
    symmetric: Tensor | None = None


def squashed(x: Tensor) -> Tensor:
    """Return sgn(x)·ln(1 + |x|), elementwise."""
    return torch.sign(x) * torch.log1p(x.abs())


class Lorentz:
    """The network as a function of packed weights and momenta `[p, B, n, 4]` (E, p_x, p_y, p_z); 0 is padding."""

    def __init__(self, config: LorentzConfig, shape: tuple[int, ...], outputs: int) -> None:
        self.config = config
        self.n_particles = shape[0]
        self.n_outputs = outputs
        self.layers = plan(config)

    def parameters(self) -> tuple[Parameter, ...]:
        """List the weight tensors of one run; biases start at zero."""
        c, h = self.config.channels, self.config.width
        out = [Parameter("embed.scalar", (1, c)), Parameter("embed.scalar.bias", (c,), 0.0)]
        out.append(Parameter("embed.vector", (1, c)))
        for t, layer in enumerate(self.layers):
            name = f"layer{t}"
            out += [Parameter(f"{name}.pair.0", (1, h)), Parameter(f"{name}.pair.0.bias", (h,))]
            out.append(Parameter(f"{name}.pair.1", (h, layer.pairs * c)))
            out += [Parameter(f"{name}.scalar", (layer.scalars * c, c)), Parameter(f"{name}.scalar.bias", (c,), 0.0)]
            widths = {"vector": layer.vectors, "antisymmetric": 2 * layer.antisymmetric, "symmetric": layer.symmetric}
            out += [Parameter(f"{name}.{kind}", (width * c, c)) for kind, width in widths.items() if width]
        return (*out, *readout_parameters(c, self.n_outputs, self.config.hidden))

    def init(self, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Draw the weights of one run (no pack axis); the same `seed` gives the same weights."""
        return draw_all(self.parameters(), seed, dtype)

    def outputs(self, params: Tensors, inputs: Tensor) -> Tensor:
        """Map momenta `[p, B, n, 4]` to outputs `[p, B, o]`."""
        real = (inputs[..., 0] > 0).to(inputs.dtype)  # [p, B, n]
        scalars = self.features(params, at_rest(inputs))[-1].scalars
        return readout(params, (scalars * real[..., None]).sum(2) * (1 / math.sqrt(self.n_particles)))

    def features(self, params: Tensors, inputs: Tensor) -> list[Features]:
        """Return the features of all particles, after the embedding and after every layer; momenta may be in
        any frame."""
        momenta = inputs * (1 / UNIT)
        metric = _METRIC.like(inputs)
        real = (inputs[..., 0] > 0).to(inputs.dtype)
        # (p_i − p_j)² from the differences: as a sum of products it would lose more digits
        differences = momenta[:, :, :, None] - momenta[:, :, None]  # [p, B, i, j, 4]
        separation = squashed((differences**2 * metric).sum(-1))
        mass = squashed((momenta**2 * metric).sum(-1))[..., None]
        s = _mixed(mass, params["embed.scalar"]) + params["embed.scalar.bias"][:, None, None]  # [p, B, n, C]
        v = momenta[..., None] * params["embed.vector"][:, None, None]  # [p, B, n, 4, C]
        out = [Features(s, v)]
        for t in range(len(self.layers)):
            f = _weighed(separation, real, params, f"layer{t}")
            out.append(self._layer(t, params, out[-1], momenta, f, metric))
        return out

    def _layer(self, t: int, params: Tensors, x: Features, momenta: Tensor, f: Tensor, metric: Tensor) -> Features:
        """Mix all products (see the module); `f` weighs pairs of particles, for each product with p_ij."""
        layer, name, c = self.layers[t], f"layer{t}", self.config.channels
        f_ss, f_sv, *others = torch.split(f, c, 2)
        p, s, v = momenta[..., None], x.scalars, x.vectors
        # Σ_j f ⟨p_ij, v_j⟩ = ⟨p_i, Σ_j f v_j⟩ − Σ_j f ⟨p_j, v_j⟩, so that no [i, j, 4, C] is needed; so below
        there, less = _summed(f_sv, v, _dot(p, v, metric))
        towards = _dot(p, there, metric) - less
        scalars = [s, s * s, squashed(_dot(v, v, metric)), *_summed(f_ss, s), squashed(towards)]
        a, b = x.antisymmetric, x.symmetric
        if a is not None and b is not None:
            dual = dual_of(a)
            scalars.append(squashed(_trace(torch.cat([a, a, b], -1), torch.cat([a, dual, b], -1))))
        new = _mixed(torch.cat(scalars, -1), params[f"{name}.scalar"])
        out = Features(scaled_silu(new + params[f"{name}.scalar.bias"][:, None, None]), v)
        if layer.vectors:
            there, less = _summed(others[0], s, p * s[..., None, :])
            vectors = [v, s[..., None, :] * v, p * there[..., None, :] - less]
            if a is not None and b is not None:
                tensors = torch.cat([a, dual, b], -1)
                there, less = _summed(f[:, :, -3 * c :], tensors, _times(tensors, p))
                vectors += [_times(tensors, torch.cat([v, v, v], -1)), _times(there, p) - less]
            out = replace(out, vectors=_mixed(torch.cat(vectors, -1), params[f"{name}.vector"]))
        if layer.symmetric:
            lowered = v * metric[:, None]
            there, less = _summed(others[1], lowered, _outer(p, lowered))
            outer = _outer(p, there) - less  # Σ_j f p_ij ⊗ v_j, with its second index lowered
            odd, even, own_odd, own_even = [outer], [outer, _outer(v, lowered)], [], []
            if a is not None and b is not None:
                # a·b − (a·b)† = a·b + b·a and a·b + (a·b)† = [a, b], for a† = −a and b† = b
                products = _product(torch.cat([a, b, dual, a], -1), torch.cat([a, b, b, b], -1))
                odd, even = [outer, products[..., -c:]], [*even, products]
                own_odd, own_even = ([m, s[..., None, None, :] * m] for m in (a, b))
            everything = torch.cat([_antisymmetric(torch.cat(odd, -1), metric), *own_odd], -1)
            everything = torch.cat([everything, dual_of(everything)], -1)
            symmetric = torch.cat([_symmetric(torch.cat(even, -1), metric), *own_even], -1)
            out = replace(
                out,
                antisymmetric=_mixed(everything, params[f"{name}.antisymmetric"]),
                symmetric=_mixed(symmetric, params[f"{name}.symmetric"]),
            )
        return out


def at_rest(momenta: Tensor) -> Tensor:
    """Boost momenta `[p, B, n, 4]` to the rest frame of their jet; those of a massless jet stay as they are.

    Components of a jet at 600 GeV are a hundred times those of its particles at rest, and invariants of products of
    three momenta would lose all digits of single precision.
    """
    there = momenta.double()
    total = there.sum(2, keepdim=True)
    metric = _METRIC.like(there)
    mass_squared = (total * total * metric).sum(-1, keepdim=True)
    massive = mass_squared > NO_MASS * total[..., :1] ** 2
    velocity = total / mass_squared.where(massive, torch.ones_like(mass_squared)).sqrt()  # four-velocity (γ, γβ)
    energy = (velocity * there * metric).sum(-1, keepdim=True)
    space = there[..., 1:] - velocity[..., 1:] * (there[..., :1] + energy) / (1 + velocity[..., :1])
    return torch.cat([energy, space], -1).where(massive, there).to(momenta.dtype)


def _dot(left: Tensor, right: Tensor, metric: Tensor) -> Tensor:
    """Return ⟨a, b⟩ with the metric, over the axis before the last."""
    return (left * right * metric[:, None]).sum(-2)


def _outer(left: Tensor, right: Tensor) -> Tensor:
    return left[..., :, None, :] * right[..., None, :, :]


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    """Multiply matrices and vectors: `[…, 4, 4, C]` and `[…, 4, C]` → `[…, 4, C]`."""
    return (matrix * vector[..., None, :, :]).sum(-2)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply matrices channel by channel, term by term: BLAS would be called once for each."""
    first, *others = (_outer(left[..., :, k, :], right[..., k, :, :]) for k in range(4))
    return sum(others, first)


def _trace(left: Tensor, right: Tensor) -> Tensor:
    """Return tr(a·b), channel by channel."""
    return (left * right.transpose(-3, -2)).sum((-3, -2))


def _adjoint(matrix: Tensor, metric: Tensor) -> Tensor:
    """Return η aᵀ η: for mixed indices, the transpose of the matrix with raised ones."""
    return matrix.transpose(-3, -2) * metric[:, None, None] * metric[:, None]


def _antisymmetric(matrix: Tensor, metric: Tensor) -> Tensor:
    return (matrix - _adjoint(matrix, metric)) * 0.5


def _symmetric(matrix: Tensor, metric: Tensor) -> Tensor:
    """Return the symmetric part less its trace."""
    part = (matrix + _adjoint(matrix, metric)) * 0.5
    trace = torch.einsum("...xxc->...c", part)[..., None, None, :]
    return part - trace * torch.eye(4, dtype=matrix.dtype, device=matrix.device)[..., None] * 0.25


def dual_of(matrix: Tensor) -> Tensor:
    """Return *a of antisymmetric a, `[…, 4, 4, C]` with mixed indices: ½ ε^{μνρσ} a_{ρσ}; applied twice it is −1."""
    return torch.einsum("xyrs,...rsc->...xyc", _DUAL.like(matrix), matrix)


def _mixed(x: Tensor, weight: Tensor) -> Tensor:
    """Map the last axis linearly, `[p, …, C]` and `[p, C, C']` → `[p, …, C']`, scaled by 1/√C."""
    flat = x.reshape(len(x), -1, x.shape[-1]) @ (weight * (1 / math.sqrt(x.shape[-1])))
    return flat.reshape(*x.shape[:-1], weight.shape[-1])


def _weighed(separation: Tensor, real: Tensor, params: Tensors, name: str) -> Tensor:
    """Return f(p_ij²)/n of all products and channels, `[p, B, products·C, i, j]`; 0 for padding.

    The axes of particles come last: sums over j are then matrix products.
    """
    p, batch, n, _ = separation.shape
    first, second = (params[f"{name}.pair.{k}"].mT[:, None] for k in (0, 1))  # [p, 1, h, 1], [p, 1, products·C, h]
    hidden = first * separation.reshape(p, batch, 1, n * n) + params[f"{name}.pair.0.bias"][:, None, :, None]
    f = (second * (1 / math.sqrt(second.shape[-1]))) @ scaled_silu(hidden)
    return f.reshape(p, batch, -1, n, n) * (real[..., :, None] * real[..., None, :] * (1 / n))[:, :, None]


def _summed(f: Tensor, *values: Tensor) -> list[Tensor]:
    """Sum f_ij x_j over j, for each x of `values`: `[p, B, C, i, j]` and `[p, B, j, …, C]` → `[p, B, i, …, C]`."""
    flat = [x.flatten(3, -2) if x.ndim > 4 else x[..., None, :] for x in values]  # [p, B, j, numbers, C]
    together = f @ torch.cat(flat, 3).permute(0, 1, 4, 2, 3)
    parts = torch.split(together.permute(0, 1, 3, 4, 2), [x.shape[3] for x in flat], 3)
    return [part.reshape(x.shape) for part, x in zip(parts, values, strict=True)]
