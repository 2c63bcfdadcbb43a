"""Lorentz group network: scalars and four-vectors of particles (Bogatskiy et al. 2020, arXiv 2006.04780).

Every layer mixes, for each particle i, what is Lorentz-covariant (eq. 10):

    F_i  ←  L( F_i  ⊕  CG[F_i ⊗ F_i]  ⊕  Σ_j f(p_ij²)·CG[p_ij ⊗ F_j] ),      p_ij = p_i − p_j

with a learned function f of the invariant p_ij² for every channel, and linear maps L among scalars and among vectors.
Of the Clebsch–Gordan products those between scalars s and four-vectors v that end in one of them are kept: s·s, s·v and
⟨v, v⟩ with the metric (+, −, −, −); the antisymmetric and the traceless symmetric tensors, which the paper's network
has beside them, are not. Scalars pass through SiLU; invariants, which span decades, through sgn(x)·ln(1 + |x|).
Momenta are in units of 10 GeV; the sum over particles is divided by the number that a jet may have.

Invariant under all of SO⁺(1,3), and under permutations, to round-off, which grows with the boost: an invariant mass is
a small difference of large numbers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from experiments.group_architectures import LorentzConfig
from experiments.models.grid import readout, readout_parameters
from experiments.models.parameters import Parameter, draw_all
from experiments.models.radial import scaled_silu
from experiments.tasks.task import Tensors

UNIT = 10.0
"""GeV."""
METRIC = (1.0, -1.0, -1.0, -1.0)


def squashed(x: Tensor) -> Tensor:
    """sgn(x)·ln(1 + |x|), elementwise."""
    return torch.sign(x) * torch.log1p(x.abs())


class Lorentz:
    """A function of weights and momenta ``[p, B, n, 4]`` (E, p_x, p_y, p_z); all 0 is padding."""

    def __init__(self, config: LorentzConfig, shape: tuple[int, ...], outputs: int) -> None:
        self.config = config
        self.n_particles = shape[0]
        self.n_outputs = outputs

    def parameters(self) -> tuple[Parameter, ...]:
        """Every weight tensor of one run; biases are zero at first."""
        c, h = self.config.channels, self.config.width
        out = [Parameter("embed.scalar", (1, c)), Parameter("embed.scalar.bias", (c,), 0.0)]
        out.append(Parameter("embed.vector", (1, c)))
        for t in range(self.config.n_layers):
            name = f"layer{t}"
            out += [Parameter(f"{name}.pair.0", (1, h)), Parameter(f"{name}.pair.0.bias", (h,))]
            out.append(Parameter(f"{name}.pair.1", (h, 3 * c)))
            out += [Parameter(f"{name}.scalar", (5 * c, c)), Parameter(f"{name}.scalar.bias", (c,), 0.0)]
            if t < self.config.n_layers - 1:  # the readout sees scalars
                out.append(Parameter(f"{name}.vector", (3 * c, c)))
        return (*out, *readout_parameters(c, self.n_outputs, self.config.hidden))

    def init(self, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Weights of one run (no pack axis), the same for the same ``seed``."""
        return draw_all(self.parameters(), seed, dtype)

    def outputs(self, params: Tensors, inputs: Tensor) -> Tensor:
        """``[p, B, n, 4]`` → ``[p, B, o]``."""
        c, last = self.config.channels, self.config.n_layers - 1
        momenta = inputs * (1 / UNIT)
        metric = torch.tensor(METRIC, dtype=inputs.dtype, device=inputs.device)
        real = (inputs[..., 0] > 0).to(inputs.dtype)  # [p, B, n]
        pairs = real[..., :, None] * real[..., None, :] * (1 / self.n_particles)
        # (p_i − p_j)² from the differences: as a sum of products it would lose more digits
        differences = momenta[:, :, :, None] - momenta[:, :, None]  # [p, B, i, j, 4]
        separation = squashed((differences**2 * metric).sum(-1))[..., None]
        mass = squashed((momenta**2 * metric).sum(-1))[..., None]
        s = _mixed(mass, params["embed.scalar"]) + params["embed.scalar.bias"][:, None, None]  # [p, B, n, C]
        v = momenta[..., None] * params["embed.vector"][:, None, None]  # [p, B, n, 4, C]
        for t in range(self.config.n_layers):
            name = f"layer{t}"
            hidden = _mixed(separation, params[f"{name}.pair.0"]) + params[f"{name}.pair.0.bias"][:, None, None, None]
            f = _mixed(scaled_silu(hidden), params[f"{name}.pair.1"]) * pairs[..., None]  # [p, B, i, j, 3·C]
            # Σ_j f ⟨p_ij, v_j⟩ = ⟨p_i, Σ_j f v_j⟩ − Σ_j f ⟨p_j, v_j⟩, so that no [i, j, 4, C] is needed
            along = torch.einsum("pbijc,pbjxc->pbixc", f[..., c : 2 * c], v)
            own = (momenta[..., None] * v * metric[:, None]).sum(3)  # ⟨p_j, v_j⟩, [p, B, n, C]
            towards = (momenta[..., None] * along * metric[:, None]).sum(3) - _summed(f[..., c : 2 * c], own)
            norms = (v * v * metric[:, None]).sum(3)
            scalars = [s, s * s, squashed(norms), _summed(f[..., :c], s), squashed(towards)]
            new = _mixed(torch.cat(scalars, -1), params[f"{name}.scalar"])
            if t < last:
                g = f[..., 2 * c :]
                weighted = torch.einsum("pbijc,pbjc,pbjx->pbixc", g, s, momenta)
                difference = momenta[..., None] * _summed(g, s)[..., None, :] - weighted  # Σ_j f s_j p_ij
                v = _mixed(torch.cat([v, s[..., None, :] * v, difference], -1), params[f"{name}.vector"])
            s = scaled_silu(new + params[f"{name}.scalar.bias"][:, None, None])
        return readout(params, (s * real[..., None]).sum(2) * (1 / math.sqrt(self.n_particles)))


def _mixed(x: Tensor, weight: Tensor) -> Tensor:
    """A linear map of the last axis, ``[p, …, C]`` and ``[p, C, C']`` → ``[p, …, C']``, scaled by 1/√C."""
    flat = x.reshape(len(x), -1, x.shape[-1]) @ (weight * (1 / math.sqrt(x.shape[-1])))
    return flat.reshape(*x.shape[:-1], weight.shape[-1])


def _summed(f: Tensor, x: Tensor) -> Tensor:
    """Σ_j f_ij x_j: ``[p, B, i, j, C]`` and ``[p, B, j, C]`` → ``[p, B, i, C]``."""
    return (f * x[:, :, None]).sum(3)
