"""Boltzmann sampling of one molecule by nested Monte Carlo: a surrogate proposes, the potential decides.

A proposal is a chain of moves that leave exp(−U_s/kT) of the surrogate U_s invariant: Hamiltonian trajectories
(Duane et al., Phys. Lett. B 195, 216, 1987) and rotations about bonds, in random order. Each move is reversible, so the
chain of them is, and accepting its end with probability min(1, exp(−[Δ(U − U_s)]/kT)) leaves exp(−U/kT) invariant,
whatever the surrogate (Iftimie et al., J. Chem. Phys. 113, 4852, 2000; Gelb, J. Chem. Phys. 118, 7747, 2003). The
surrogate decides only how often proposals are accepted. The potential is called once a proposal, from a cold start, so
that U is a function of the positions alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from ase.units import fs, kB

from experiments.core.arrays import Floats
from experiments.data.sampling.molecule import Torsion
from experiments.data.sampling.sampler import (
    NO_BONDS,
    Bonds,
    NotConvergedError,
    Potential,
    State,
    bond_temperature,
    dihedral,
    rotate_side,
)

CheapPotential = Callable[[Floats], tuple[float, Floats]]
"""Positions `[N, 3]` (Å) → energy (eV) and forces `[N, 3]` (eV/Å): a surrogate."""

ATOMS_A_TRAJECTORY, TURNS = 4, 6
"""A proposal has one trajectory for every so many atoms, and so many rotations for each rotatable bond. Measured on
methanol to aspirin: more of them decorrelate no better per second, fewer leave torsions correlated."""
LEAPS = 20
"""Leapfrog steps of a trajectory."""
MASS = 12.0
"""Mass of every atom in a trajectory, u. The distribution of positions does not depend on masses, and equal ones bring
stretches of hydrogen and of heavy atoms to similar frequencies, so that the step may be twice as long."""
_JITTER = 0.2  # relative, of a trajectory's step: avoids trajectories of a mode's full period
_ACCEPTANCE = 0.85  # of trajectories, which the step is tuned for; efficiency is flat between 0.65 and 0.9
_TUNING = 200  # trajectories
_STREAM = 20001108  # keeps these random numbers apart from every other use of a small seed


@dataclass(frozen=True)
class Proposals:
    """Settings of proposals: the `surrogate`, `temperature` in K, `step` of a trajectory in fs, rotatable `torsions`,
    and the `bonds` that `bond_temperature` is measured on."""

    surrogate: CheapPotential
    temperature: float
    step: float
    torsions: tuple[Torsion, ...] = ()
    bonds: Bonds = NO_BONDS


@dataclass(frozen=True)
class Trials:
    """End points of proposals that the potential was evaluated at, accepted or not.

    `positions` `[n, N, 3]` in Å, `energies` `[n]` in eV, `forces` `[n, N, 3]` in eV/Å, and `gaps` U − U_s `[n]` in eV.
    """

    positions: Floats
    energies: Floats
    forces: Floats
    gaps: Floats


def advance(state: State, count: int, proposals: Proposals, potential: Potential) -> tuple[State, Floats, Trials]:
    """Make `count` proposals from `state`; return the new state, centred, the observables, and all trials.

    Observables `[count, 2 + 2 torsions]`: energy (eV), temperature of bonds (K), cos and sin of each torsion.
    """
    rng = np.random.Generator(np.random.PCG64())
    rng.bit_generator.state = state.rng
    thermal = kB * proposals.temperature
    x = state.positions
    energy, forces, _ = potential(x, None)
    cheap = proposals.surrogate(x)
    accepted = state.accepted
    rows, answers = [], []
    for _ in range(count):
        with np.errstate(all="ignore"):  # a trajectory that runs away is rejected
            trial, ends = _propose(x, cheap, proposals, rng)
        threshold = rng.exponential()
        try:
            outcome = potential(trial, None)
        except NotConvergedError:  # atoms on top of each other: the energy is beyond all acceptance
            outcome = None
        if outcome is not None:
            answers.append((trial, *outcome[:2], outcome[0] - ends[0]))
            if (outcome[0] - energy) - (ends[0] - cheap[0]) < thermal * threshold:
                x, cheap, (energy, forces) = trial, ends, outcome[:2]
                accepted += 1
        angles = [value for torsion in proposals.torsions for value in dihedral(x, torsion)]
        rows.append([energy, float(bond_temperature(x, forces, proposals.bonds)), *angles])
    result = replace(
        state, positions=x - x.mean(0), rng=dict(rng.bit_generator.state), tried=state.tried + count, accepted=accepted
    )
    shapes = (x.shape, (), x.shape, ())
    trials = Trials(*(np.array([a[k] for a in answers]).reshape(-1, *shape) for k, shape in enumerate(shapes)))
    return result, np.array(rows), trials


def tune_step(positions: Floats, surrogate: CheapPotential, temperature: float, seed: int) -> float:
    """Tune the step (fs) at which trajectories from `positions` `[n, N, 3]` are accepted at the target rate.

    Stochastic approximation (Robbins & Monro, Ann. Math. Stat. 22, 400, 1951).
    """
    rng = np.random.default_rng([_STREAM, seed])
    log_step = 0.0
    for k in range(_TUNING):
        x = positions[k % len(positions)]
        at = surrogate(x)
        with np.errstate(all="ignore"):
            _, ends, kinetic = _trajectory(x, at, surrogate, temperature, np.exp(log_step), rng)
        excess = (ends[0] - at[0] + kinetic) / (kB * temperature)
        chance = np.exp(-max(0.0, excess)) if np.isfinite(excess) else 0.0
        log_step += (chance - _ACCEPTANCE) / np.sqrt(1 + k / 4)
    return float(np.exp(log_step))


def _propose(
    x: Floats, at: tuple[float, Floats], proposals: Proposals, rng: np.random.Generator
) -> tuple[Floats, tuple[float, Floats]]:
    """Run a chain of moves on the surrogate; return its end, and the surrogate's energy and forces there."""
    thermal = kB * proposals.temperature
    trajectories, turns = max(1, round(len(x) / ATOMS_A_TRAJECTORY)), TURNS * len(proposals.torsions)
    for _ in range(trajectories + turns):
        # each move is drawn afresh: a mixture of reversible moves is reversible, a fixed sequence is not
        if rng.random() * (trajectories + turns) < trajectories:
            trial, ends, kinetic = _trajectory(x, at, proposals.surrogate, proposals.temperature, proposals.step, rng)
        else:
            torsion = proposals.torsions[rng.integers(len(proposals.torsions))]
            trial = rotate_side(x, torsion, rng.uniform(-np.pi, np.pi))
            ends, kinetic = proposals.surrogate(trial), 0.0
        # a comparison with NaN is false: positions without a finite surrogate energy are rejected
        if ends[0] - at[0] + kinetic < thermal * rng.exponential():
            x, at = trial, ends
    return x, at


def _trajectory(
    x: Floats,
    at: tuple[float, Floats],
    surrogate: CheapPotential,
    temperature: float,
    step: float,
    rng: np.random.Generator,
) -> tuple[Floats, tuple[float, Floats], float]:
    """Integrate by leapfrog from thermal momenta.

    Returns the end, energy and forces there, and the change of kinetic energy (eV).
    """
    v = np.sqrt(kB * temperature / MASS) * rng.standard_normal(x.shape)
    dt = step * fs * rng.uniform(1 - _JITTER, 1 + _JITTER)
    before = (v**2).sum()
    v = v + (0.5 * dt / MASS) * at[1]
    for leap in range(LEAPS):
        x = x + dt * v
        at = surrogate(x)
        v = v + ((1.0 if leap < LEAPS - 1 else 0.5) * dt / MASS) * at[1]
    return x, at, float(0.5 * MASS * ((v**2).sum() - before))
