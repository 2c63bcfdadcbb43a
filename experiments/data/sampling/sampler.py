"""Boltzmann sampling of one molecule: Langevin dynamics with torsion moves, and its autocorrelation time.

Dynamics is BAOAB (Leimkuhler & Matthews, Appl. Math. Res. eXpress 2013, 34; J. Chem. Phys. 138, 174102, 2013),
whose configurations follow exp(−U/kT) to higher order in the time step than other splittings (exactly for
harmonic U). A torsion takes picoseconds to change its well; so every few steps a Metropolis move rotates one side of
a rotatable bond by a uniform angle. The proposal is symmetric with unit Jacobian and does not change momenta, so the
same distribution stays invariant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.units import fs, kB

from experiments.core.arrays import Floats, Ints
from experiments.data.sampling.molecule import Torsion

Potential = Callable[[Floats, Any], tuple[float, Floats, Any]]
"""Positions `[N, 3]` (Å) and the state of the previous call (None: cold start) → energy (eV), forces `[N, 3]` (eV/Å),
and the state for the next call. Raises `NotConvergedError` if the calculation fails."""


class NotConvergedError(RuntimeError):
    """The potential's calculation failed at these positions."""


@dataclass(frozen=True)
class Bonds:
    """Pairs of bonded atoms, `first` and `second` `[b]`, and their reference `lengths` `[b]` in Å."""

    first: Ints
    second: Ints
    lengths: Floats


NO_BONDS = Bonds(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


@dataclass(frozen=True)
class Dynamics:
    """Settings of the dynamics.

    `masses` `[N]` in u, `temperature` in K, `timestep` in fs, `friction` in 1/fs; every `torsion_every` steps (0:
    never) a Metropolis move about one of `torsions`, chosen at random; `bonds` that `bond_temperature` is measured on.
    """

    masses: Floats
    temperature: float
    timestep: float
    friction: float
    torsions: tuple[Torsion, ...] = ()
    torsion_every: int = 0
    bonds: Bonds = NO_BONDS


@dataclass(frozen=True)
class State:
    """The state of a chain.

    `positions` `[N, 3]` in Å, `velocities` `[N, 3]` in Å per ASE's unit of time, the state `rng` of the random
    stream, and the numbers of torsion moves (or proposals) `tried` and `accepted` so far.
    """

    positions: Floats
    velocities: Floats
    rng: dict[str, Any]
    tried: int = 0
    accepted: int = 0


def start(positions: Floats, dynamics: Dynamics, seed: tuple[int, ...]) -> State:
    """Return a state at `positions` with thermal velocities, and a random stream of its own."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    spread = np.sqrt(kB * dynamics.temperature / dynamics.masses)[:, None]
    return State(positions.copy(), spread * rng.standard_normal(positions.shape), _plain(rng))


def advance(state: State, steps: int, dynamics: Dynamics, potential: Potential) -> tuple[State, Floats]:
    """Take `steps` steps from `state`; return the new state, centred, and observables `[steps, 3 + 2 torsions]`.

    Observables: potential energy (eV), temperatures of velocities and of bonds (K), cos and sin of each torsion.
    The potential starts cold, so the outcome depends on the arguments alone.
    """
    rng = np.random.Generator(np.random.PCG64())
    rng.bit_generator.state = state.rng
    mass = dynamics.masses[:, None]
    thermal = kB * dynamics.temperature
    dt = dynamics.timestep * fs
    keep = np.exp(-dynamics.friction * dynamics.timestep)
    kick = np.sqrt((1 - keep**2) * thermal / mass)
    x, v = state.positions, state.velocities
    tried, accepted = state.tried, state.accepted
    energy, forces, memory = potential(x, None)
    energies, path, speeds, pulls = np.empty(steps), *(np.empty((steps, *x.shape)) for _ in range(3))
    for step in range(steps):
        v = v + (0.5 * dt) * forces / mass  # B
        x = x + (0.5 * dt) * v  # A
        v = keep * v + kick * rng.standard_normal(x.shape)  # O
        x = x + (0.5 * dt) * v  # A
        energy, forces, memory = potential(x, memory)
        v = v + (0.5 * dt) * forces / mass  # B
        if dynamics.torsions and dynamics.torsion_every and (step + 1) % dynamics.torsion_every == 0:
            torsion = dynamics.torsions[rng.integers(len(dynamics.torsions))]
            trial, threshold = rotate_side(x, torsion, rng.uniform(-np.pi, np.pi)), rng.exponential()
            tried += 1
            try:
                outcome = potential(trial, None)
            except NotConvergedError:  # atoms on top of each other: the energy is beyond all acceptance
                outcome = None
            if outcome is not None and outcome[0] - energy < thermal * threshold:
                x, (energy, forces, memory) = trial, outcome
                accepted += 1
        energies[step], path[step], speeds[step], pulls[step] = energy, x, v, forces
    observed = [energies, (mass * speeds**2).sum((1, 2)) / (x.size * kB), bond_temperature(path, pulls, dynamics.bonds)]
    for torsion in dynamics.torsions:
        observed += dihedral(path, torsion)
    centred = x - (mass * x).sum(0) / mass.sum()
    return State(centred, v, _plain(rng), tried, accepted), np.stack(observed, axis=1)


def bond_temperature(positions: Floats, forces: Floats, bonds: Bonds) -> Floats:
    """Estimate the temperature `[...]` (K) from positions and forces `[..., N, 3]` alone; 0 without bonds.

    ⟨∇φ · F⟩ = −kT ⟨∇²φ⟩ for any function φ of positions, by parts (Jepps, Ayton & Evans, Phys. Rev. E 62, 4757, 2000).
    Here φ is a sum over bonds with φ'(r) = (r − l³/r²)/3, near a spring about l: ∇²φ is then 2 for each bond, exactly,
    so that every frame is an unbiased estimate. (φ = x²/2 is the virial: its error on ethanol is six times as large,
    because it weighs forces of distant atoms by their distances.)
    """
    if not len(bonds.first):
        return np.zeros(positions.shape[:-2])
    apart = positions[..., bonds.first, :] - positions[..., bonds.second, :]
    length = np.sqrt((apart**2).sum(-1))
    along = ((forces[..., bonds.first, :] - forces[..., bonds.second, :]) * apart).sum(-1) / length
    slope = (length - bonds.lengths**3 / length**2) / 3
    return np.asarray(-(slope * along).sum(-1) / (2 * len(bonds.first) * kB))


def rotate_side(positions: Floats, torsion: Torsion, angle: float) -> Floats:
    """Rotate the moving side of a torsion by `angle` (rad) about its bond; return new positions `[N, 3]`."""
    _, b, c, _ = torsion.dihedral
    moving = list(torsion.moving)
    axis = positions[c] - positions[b]
    x, y, z = axis / np.sqrt(axis @ axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)  # Rodrigues
    result = positions.copy()
    result[moving] = positions[c] + (positions[moving] - positions[c]) @ rotation.T
    return result


def dihedral(positions: Floats, torsion: Torsion) -> tuple[Floats, Floats]:
    """Return cosine and sine `[...]` of the torsion's dihedral angle at `positions` `[..., N, 3]`.

    The sign follows IUPAC: clockwise is positive, seen along b → c.
    """
    a, b, c, d = (positions[..., n, :] for n in torsion.dihedral)
    axis = (c - b) / np.linalg.norm(c - b, axis=-1, keepdims=True)
    u, w = a - b, d - c
    u = u - (u * axis).sum(-1, keepdims=True) * axis
    w = w - (w * axis).sum(-1, keepdims=True) * axis
    norm = np.linalg.norm(u, axis=-1) * np.linalg.norm(w, axis=-1)
    return (u * w).sum(-1) / norm, (np.cross(axis, u) * w).sum(-1) / norm


@dataclass(frozen=True)
class Autocorrelation:
    """Integrated autocorrelation time `tau` in steps, its standard `error`, and the mean of the series."""

    tau: float
    error: float
    mean: float


def autocorrelation_time(series: Floats) -> Autocorrelation:
    """Estimate τ = ½ + Σ_{t≥1} ρ(t) of a series `[walkers, steps]`: N samples are worth N / 2τ independent ones.

    The sum stops at the first window W ≥ 5 τ(W), and the error is √((4W + 2)/N) τ (Sokal, Monte Carlo Methods in
    Statistical Mechanics, 1997, section 3; Madras & Sokal, J. Stat. Phys. 50, 109, 1988). ρ is averaged over the
    walkers about their common mean, so walkers stuck in different places raise τ. A constant has τ = ½.
    """
    steps = series.shape[1]
    mean = float(series.mean())
    centred = series - mean
    spectrum = np.fft.rfft(centred, 2 * steps, axis=1)
    covariance = np.fft.irfft((spectrum * spectrum.conj()).real, axis=1)[:, :steps].mean(0) / np.arange(steps, 0, -1)
    if covariance[0] <= 1e-24 * max(1.0, mean**2):  # constant to round-off: nothing to remember
        return Autocorrelation(0.5, 0.0, mean)
    tau = 0.5 + np.cumsum(covariance[1:]) / covariance[0]  # tau[W - 1] sums up to lag W
    windows = np.arange(1, steps)
    enough = windows >= 5 * tau
    window = int(np.argmax(enough)) if enough.any() else steps - 2
    value = max(0.5, float(tau[window]))
    return Autocorrelation(value, value * float(np.sqrt((4 * (window + 1) + 2) / series.size)), mean)


def _plain(rng: np.random.Generator) -> dict[str, Any]:
    return dict(rng.bit_generator.state)
