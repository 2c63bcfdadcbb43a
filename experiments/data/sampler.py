"""Boltzmann sampling of one molecule: Langevin dynamics with torsion moves, and how long it remembers.

Dynamics is BAOAB (Leimkuhler & Matthews, Appl. Math. Res. eXpress 2013, 34; J. Chem. Phys. 138, 174102, 2013),
whose configurations follow exp(−U/kT) to higher order in the time step than other splittings (exactly for
harmonic U). A torsion takes picoseconds to change its well; so every few steps a Metropolis move turns one side of
a rotatable bond by a uniform angle. The proposal is symmetric with unit Jacobian and leaves momenta alone, so the
same distribution stays invariant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.units import fs, kB

from experiments.data.dataset import Floats
from experiments.data.molecule import Torsion

Potential = Callable[[Floats, Any], tuple[float, Floats, Any]]
"""Positions ``[N, 3]`` (Å) and what the call before left (None: start cold) → energy (eV), forces ``[N, 3]``
(eV/Å), and what to hand to the next call. Raises ``NotConvergedError`` where it has no answer."""


class NotConvergedError(RuntimeError):
    """The potential has no answer for these positions."""


@dataclass(frozen=True)
class Dynamics:
    """``masses`` ``[N]`` in u, ``temperature`` in K, ``timestep`` in fs, ``friction`` in 1/fs; a torsion move every
    ``torsion_every`` steps about one of ``torsions``, chosen at random (0: never)."""

    masses: Floats
    temperature: float
    timestep: float
    friction: float
    torsions: tuple[Torsion, ...] = ()
    torsion_every: int = 0


@dataclass(frozen=True)
class State:
    """``positions`` ``[N, 3]`` in Å, ``velocities`` ``[N, 3]`` in Å per ASE's unit of time, the random stream's
    state, and the number of torsion moves ``tried`` and ``accepted`` so far."""

    positions: Floats
    velocities: Floats
    rng: dict[str, Any]
    tried: int = 0
    accepted: int = 0


def start(positions: Floats, dynamics: Dynamics, seed: tuple[int, ...]) -> State:
    """A state at ``positions`` with thermal velocities, from its own random stream."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    spread = np.sqrt(kB * dynamics.temperature / dynamics.masses)[:, None]
    return State(positions.copy(), spread * rng.standard_normal(positions.shape), _plain(rng))


def advance(state: State, steps: int, dynamics: Dynamics, potential: Potential) -> tuple[State, Floats]:
    """``steps`` steps from ``state``: the new state, centred, and the observables ``[steps, 3 + 2 torsions]``.

    Observables: potential energy (eV), kinetic temperature and virial temperature (K), cos and sin of each torsion.
    The potential starts cold, so the outcome depends on the arguments alone, not on how a run was cut into calls.
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
    observed = np.empty((steps, 3 + 2 * len(dynamics.torsions)))
    for step in range(steps):
        v = v + (0.5 * dt) * forces / mass  # B
        x = x + (0.5 * dt) * v  # A
        v = keep * v + kick * rng.standard_normal(x.shape)  # O
        x = x + (0.5 * dt) * v  # A
        energy, forces, memory = potential(x, memory)
        v = v + (0.5 * dt) * forces / mass  # B
        if dynamics.torsions and dynamics.torsion_every and (step + 1) % dynamics.torsion_every == 0:
            torsion = dynamics.torsions[rng.integers(len(dynamics.torsions))]
            trial, threshold = turned(x, torsion, rng.uniform(-np.pi, np.pi)), rng.exponential()
            tried += 1
            try:
                outcome = potential(trial, None)
            except NotConvergedError:  # atoms on top of each other: the energy is beyond all acceptance
                outcome = None
            if outcome is not None and outcome[0] - energy < thermal * threshold:
                x, (energy, forces, memory) = trial, outcome
                accepted += 1
        observed[step, 0] = energy
        observed[step, 1] = (mass * v * v).sum() / (x.size * kB)
        observed[step, 2] = virial_temperature(x, forces)
        for t, torsion in enumerate(dynamics.torsions):
            observed[step, 3 + 2 * t : 5 + 2 * t] = dihedral(x, torsion)
    centred = x - (mass * x).sum(0) / mass.sum()
    return State(centred, v, _plain(rng), tried, accepted), observed


def virial_temperature(positions: Floats, forces: Floats) -> float:
    """−Σ x·F / ((3N − 3) k) in K: its mean is the temperature of the configurations (generalised equipartition).

    All 3N − 3 coordinates besides the centre of mass count, rotations too, for exp(−U/kT) weighs volume in Cartesian
    coordinates. 0 for a single atom.
    """
    free = max(1, positions.size - 3)
    return float(-((positions - positions.mean(0)) * forces).sum() / (free * kB))


def turned(positions: Floats, torsion: Torsion, angle: float) -> Floats:
    """Positions with the moving side of the torsion turned by ``angle`` (rad) about its bond (Rodrigues)."""
    _, b, c, _ = torsion.dihedral
    moving = list(torsion.moving)
    axis = positions[c] - positions[b]
    axis = axis / np.sqrt(axis @ axis)
    arm = positions[moving] - positions[c]
    result = positions.copy()
    result[moving] = (
        positions[c]
        + arm * np.cos(angle)
        + np.cross(axis, arm) * np.sin(angle)
        + np.outer(arm @ axis, axis) * (1 - np.cos(angle))
    )
    return result


def dihedral(positions: Floats, torsion: Torsion) -> tuple[float, float]:
    """Cosine and sine of the torsion's dihedral angle (IUPAC sign: clockwise is positive, seen along b → c)."""
    a, b, c, d = (positions[n] for n in torsion.dihedral)
    axis = (c - b) / np.linalg.norm(c - b)
    u, w = a - b, d - c
    u, w = u - (u @ axis) * axis, w - (w @ axis) * axis
    norm = np.linalg.norm(u) * np.linalg.norm(w)
    return float(u @ w / norm), float(np.cross(axis, u) @ w / norm)


@dataclass(frozen=True)
class Memory:
    """Integrated autocorrelation time ``tau`` in steps, its standard ``error``, and the mean of the series."""

    tau: float
    error: float
    mean: float


def autocorrelation_time(series: Floats) -> Memory:
    """τ = ½ + Σ_{t≥1} ρ(t) of walkers ``[walkers, steps]``: N samples are worth N / 2τ; ρ = e^(−t/τ) gives τ.

    The sum stops at the first window W ≥ 5 τ(W), and the error is √((4W + 2)/N) τ (Sokal, Monte Carlo Methods in
    Statistical Mechanics, 1997, section 3; Madras & Sokal, J. Stat. Phys. 50, 109, 1988). ρ is averaged
    over the walkers about their common mean: walkers stuck in different places count as memory. A constant has τ = ½.
    """
    steps = series.shape[1]
    mean = float(series.mean())
    centred = series - mean
    spectrum = np.fft.rfft(centred, 2 * steps, axis=1)
    covariance = np.fft.irfft((spectrum * spectrum.conj()).real, axis=1)[:, :steps].mean(0) / np.arange(steps, 0, -1)
    if covariance[0] <= 1e-24 * max(1.0, mean**2):  # constant to round-off: nothing to remember
        return Memory(0.5, 0.0, mean)
    tau = 0.5 + np.cumsum(covariance[1:]) / covariance[0]  # tau[W - 1] sums up to lag W
    windows = np.arange(1, steps)
    enough = windows >= 5 * tau
    window = int(np.argmax(enough)) if enough.any() else steps - 2
    value = max(0.5, float(tau[window]))
    return Memory(value, value * float(np.sqrt((4 * (window + 1) + 2) / series.size)), mean)


def _plain(rng: np.random.Generator) -> dict[str, Any]:
    return dict(rng.bit_generator.state)
