"""Nested Monte Carlo against distributions known in closed form, with surrogates that are wrong on purpose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.units import fs, kB
from scipy.special import ive

from experiments.core.arrays import Floats
from experiments.data.sampling.molecule import Torsion
from experiments.data.sampling.nested import CheapPotential, Proposals, advance, tune_step
from experiments.data.sampling.sampler import NotConvergedError, State, autocorrelation_time, dihedral
from tests.experiments.data.springs import SPRING, SPRINGS, tether

TEMPERATURE = 400.0
THERMAL = kB * TEMPERATURE


def at(positions: Floats, seed: int) -> State:
    rng = np.random.Generator(np.random.PCG64(seed))
    return State(positions, np.zeros_like(positions), dict(rng.bit_generator.state))


def asked(cheap: CheapPotential) -> Any:
    return lambda positions, memory: (*cheap(positions), None)


@pytest.mark.parametrize("wrong", [0.7, 1.0, 1.5])
def test_the_potential_decides_whatever_the_surrogate(wrong: float) -> None:
    """Mean and variance of the energy are those of the potential: k/2 kT and k/2 (kT)² of k = 6 coordinates."""
    proposals = Proposals(tether(wrong * SPRING), TEMPERATURE, step=4.0, bonds=SPRINGS)
    state, observed, tried = advance(at(np.zeros((3, 3)), 1), 1500, proposals, asked(tether(SPRING)))
    energies = observed[50:, 0] / THERMAL
    for series, expected in ((energies, 3.0), ((energies - 3.0) ** 2, 3.0), (observed[50:, 1], TEMPERATURE)):
        memory = autocorrelation_time(series[None])
        error = series.std() * np.sqrt(2 * memory.tau / series.size)
        assert error < 0.2 * expected, "tight enough to tell"
        assert abs(memory.mean - expected) < 4.5 * error
    if wrong == 1.0:
        assert state.accepted == state.tried == 1500
    else:
        # by its own law the surrogate's energies would be 1/wrong of the potential's: far outside of the above
        assert 0.3 * 1500 < state.accepted < 0.98 * 1500
        assert np.ptp(tried.gaps) > THERMAL
    np.testing.assert_allclose(state.positions.mean(0), 0, atol=1e-12)


ZIGZAG = Torsion((0, 1, 2, 3), (3,))
BARRIER = 4 * THERMAL
CHAIN = np.array([[0, 0, 0], [1.2, 0.9, 0], [2.4, 0, 0], [3.6, 0.9, 0.0]])
FIRST, SECOND = np.array([0, 1, 2, 0, 1]), np.array([1, 2, 3, 2, 3])  # pairs whose distance no dihedral changes
REST = np.linalg.norm(CHAIN[FIRST] - CHAIN[SECOND], axis=1)


def framework(positions: Floats) -> tuple[float, Floats]:
    """Springs on bonds and angles, and their forces."""
    apart = positions[FIRST] - positions[SECOND]
    length = np.sqrt((apart**2).sum(1))
    pull = (SPRING * (1 - REST / length))[:, None] * apart
    forces = np.zeros_like(positions)
    np.subtract.at(forces, FIRST, pull)
    np.add.at(forces, SECOND, pull)
    return 0.5 * SPRING * float(((length - REST) ** 2).sum()), forces


def twisted(positions: Floats, memory: Any) -> tuple[float, Floats, Any]:
    """The framework with V/2 (1 + cos 3φ), a term that the surrogate lacks."""
    cosine, sine = dihedral(positions, ZIGZAG)
    energy, forces = framework(positions)
    return energy + float(0.5 * BARRIER * (1 + np.cos(3 * np.arctan2(sine, cosine)))), forces, None


def test_a_dihedral_follows_the_potential() -> None:
    """⟨cos 3φ⟩ = −I₁(V/2kT)/I₀(V/2kT): volume in Cartesian coordinates does not depend on φ. The surrogate has 0."""
    proposals = Proposals(framework, TEMPERATURE, step=4.0, torsions=(ZIGZAG,))
    state, observed, _ = advance(at(CHAIN, 2), 1000, proposals, twisted)
    assert 0.1 < state.accepted / state.tried < 0.9
    angle = np.arctan2(observed[:, 3], observed[:, 2])
    expected = -float(ive(1, BARRIER / (2 * THERMAL)) / ive(0, BARRIER / (2 * THERMAL)))
    for series, mean in ((np.cos(angle), 0.0), (np.sin(angle), 0.0), (np.cos(3 * angle), expected)):
        memory = autocorrelation_time(series[None])
        assert abs(memory.mean - mean) < 4.5 * series.std() * np.sqrt(2 * memory.tau / series.size)


def test_no_answer_is_a_rejection() -> None:
    def fragile(positions: Floats, memory: Any) -> tuple[float, Floats, Any]:
        if not np.array_equal(positions, CHAIN):
            raise NotConvergedError("no answer for a trial")
        return *framework(positions), None

    state, observed, tried = advance(at(CHAIN, 3), 5, Proposals(framework, TEMPERATURE, 0.5), fragile)
    assert (state.tried, state.accepted) == (5, 0)
    assert tried.positions.shape == (0, 4, 3)
    assert np.ptp(observed[:, 0]) == 0


def test_a_surrogate_without_a_floor_is_rejected() -> None:
    """Trajectories that run away into a hole give no NaN and no warning: the chain stays where it was."""

    def hole(positions: Floats) -> tuple[float, Floats]:
        return float("nan"), np.full_like(positions, np.nan)

    def falling(positions: Floats) -> tuple[float, Floats]:
        return framework(positions) if np.abs(positions).max() < 4 else hole(positions)

    state, observed, _ = advance(at(CHAIN, 4), 20, Proposals(falling, TEMPERATURE, 30.0), asked(framework))
    assert np.isfinite(observed).all()
    assert np.isfinite(state.positions).all()


def test_cutting_a_run_into_calls_leaves_no_trace() -> None:
    proposals = Proposals(tether(1.2 * SPRING), TEMPERATURE, step=4.0)
    begin = at(np.zeros((3, 3)), 5)
    whole, observed, _ = advance(begin, 12, proposals, asked(tether(SPRING)))
    first, early, _ = advance(begin, 5, proposals, asked(tether(SPRING)))
    second, late, _ = advance(first, 7, proposals, asked(tether(SPRING)))
    np.testing.assert_allclose(np.concatenate([early, late]), observed, atol=1e-10)  # moved by the centring: round-off
    assert second.rng == whole.rng
    assert (second.tried, second.accepted) == (whole.tried, whole.accepted)


def test_the_step_is_tuned_to_the_stiffness() -> None:
    """Four times stiffer: half the step, whatever the potential; 200 noisy trials know it to some 20 %."""
    points = np.zeros((4, 3, 3))
    steps = [tune_step(points, tether(spring), TEMPERATURE, 0) for spring in (SPRING, 4 * SPRING)]
    assert steps[0] / steps[1] == pytest.approx(2.0, rel=0.25)
    frequency = np.sqrt(3 * SPRING / 12.0)  # of the stiffest of three atoms of 12 u, in ASE's units of 1/time
    assert 0.3 < steps[0] * fs * frequency < 2.0, "below leapfrog's limit of stability"
