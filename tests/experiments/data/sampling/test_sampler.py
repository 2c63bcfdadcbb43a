"""The sampler against distributions known in closed form, and autocorrelation times of processes known exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import ase
import numpy as np
import pytest
from ase.units import fs, kB
from scipy.special import ive

from experiments.core.arrays import Floats
from experiments.data.sampling.molecule import Torsion, find_molecule, torsions
from experiments.data.sampling.sampler import (
    NO_BONDS,
    Bonds,
    Dynamics,
    NotConvergedError,
    advance,
    autocorrelation_time,
    bond_temperature,
    dihedral,
    rotate_side,
    start,
)
from tests.experiments.data.springs import SPRING, SPRINGS, tether

TEMPERATURE = 400.0


def tethered(positions: Floats, memory: Any) -> tuple[float, Floats, Any]:
    return (*tether(SPRING)(positions), memory)


def chain(**changes: Any) -> Dynamics:
    return replace(
        Dynamics(np.array([1.0, 12.0, 16.0]), TEMPERATURE, timestep=1.0, friction=0.1, bonds=SPRINGS), **changes
    )


def test_harmonic_energy_is_exact_at_a_large_step() -> None:
    """BAOAB gives harmonic configurations exactly: 6 spring coordinates carry kT/2 each, at a step of 1/14 period."""
    state = start(np.zeros((3, 3)), chain(), (1,))
    state, _ = advance(state, 2000, chain(), tethered)
    _, observed = advance(state, 30_000, chain(), tethered)
    for column, expected in ((0, 3 * kB * TEMPERATURE), (2, TEMPERATURE)):
        series = observed[None, :, column]
        memory = autocorrelation_time(series)
        error = series.std() * np.sqrt(2 * memory.tau / series.size)
        assert error < 0.05 * expected, "tight enough to tell"
        assert abs(memory.mean - expected) < 4.5 * error


def test_small_step_thermalises_velocities() -> None:
    slow = chain(timestep=0.25, friction=0.2)
    _, observed = advance(start(np.zeros((3, 3)), slow, (2,)), 25_000, slow, tethered)
    series = observed[None, 2000:, 1]
    memory = autocorrelation_time(series)
    assert abs(memory.mean - TEMPERATURE) < 4.5 * series.std() * np.sqrt(2 * memory.tau / series.size)


def test_cutting_a_run_into_calls_leaves_no_trace() -> None:
    """For a potential without memory the pieces join bit for bit, but for the centring at the end of a call."""
    first, _ = advance(start(np.zeros((3, 3)), chain(), (3,)), 30, chain(), tethered)
    again, _ = advance(start(np.zeros((3, 3)), chain(), (3,)), 30, chain(), tethered)
    np.testing.assert_array_equal(first.positions, again.positions)
    assert first.rng == again.rng
    whole, _ = advance(start(np.zeros((3, 3)), chain(), (3,)), 60, chain(), tethered)
    joined, _ = advance(first, 30, chain(), tethered)
    np.testing.assert_allclose(joined.positions, whole.positions, atol=1e-12)  # moved by the centring: round-off
    assert joined.rng == whole.rng


def test_states_are_centred() -> None:
    state, _ = advance(start(np.ones((3, 3)), chain(), (4,)), 50, chain(), tethered)
    np.testing.assert_allclose(chain().masses @ state.positions, 0, atol=1e-12)


ZIGZAG = Torsion((0, 1, 2, 3), (3,))
BARRIER = 6 * kB * TEMPERATURE


def twisted(positions: Floats, memory: Any) -> tuple[float, Floats, Any]:
    """V/2 (1 + cos 3φ) without its forces: for torsion moves in frozen dynamics."""
    cosine, sine = dihedral(positions, ZIGZAG)
    return float(0.5 * BARRIER * (1 + np.cos(3 * np.arctan2(sine, cosine)))), np.zeros_like(positions), memory


def test_torsion_moves_sample_the_boltzmann_distribution_of_the_angle() -> None:
    """⟨cos φ⟩ = 0 and ⟨cos 3φ⟩ = −I₁(V/2kT)/I₀(V/2kT): wells are visited equally and are as wide as they should be."""
    frozen = Dynamics(np.full(4, 12.0), TEMPERATURE, 1e-12, 0.1, (ZIGZAG,), torsion_every=1)
    zigzag = np.array([[0, 0, 0], [1.2, 0.9, 0], [2.4, 0, 0], [3.6, 0.9, 0.0]])
    state, observed = advance(start(zigzag, frozen, (5,)), 5000, frozen, twisted)
    assert 0.1 < state.accepted / state.tried < 0.9
    angle = np.arctan2(observed[:, 4], observed[:, 3])
    expected = -float(ive(1, BARRIER / (2 * kB * TEMPERATURE)) / ive(0, BARRIER / (2 * kB * TEMPERATURE)))
    for series, mean in ((np.cos(angle), 0.0), (np.sin(angle), 0.0), (np.cos(3 * angle), expected)):
        memory = autocorrelation_time(series[None])
        assert abs(memory.mean - mean) < 4.5 * series.std() * np.sqrt(2 * memory.tau / series.size)


def test_a_move_without_an_answer_is_rejected() -> None:
    def fragile(positions: Floats, memory: Any) -> tuple[float, Floats, Any]:
        if memory is None and not np.array_equal(positions, start_positions):  # trials start cold
            raise NotConvergedError("no answer for a trial")
        return 0.0, np.zeros_like(positions), "warm"

    start_positions = find_molecule("methanol").positions
    turning = torsions(find_molecule("methanol").numbers, start_positions)
    dynamics = Dynamics(np.ones(6), TEMPERATURE, 0.1, 0.1, turning, torsion_every=1)
    state, _ = advance(start(start_positions, dynamics, (6,)), 20, dynamics, fragile)
    assert (state.tried, state.accepted) == (20, 0)


def test_turning_is_rigid_and_by_the_angle() -> None:
    found = find_molecule("ethanol")
    for torsion in torsions(found.numbers, found.positions):
        before = np.arctan2(*dihedral(found.positions, torsion)[::-1])
        after_positions = rotate_side(found.positions, torsion, 0.7)
        after = np.arctan2(*dihedral(after_positions, torsion)[::-1])
        assert (after - before + np.pi) % (2 * np.pi) - np.pi == pytest.approx(0.7, abs=1e-12)
        side = [*torsion.moving, *torsion.dihedral[1:3]]
        for group in (side, [n for n in range(9) if n not in torsion.moving]):
            old, new = (x[group][:, None] - x[group] for x in (found.positions, after_positions))
            np.testing.assert_allclose(np.linalg.norm(new, axis=2), np.linalg.norm(old, axis=2), atol=1e-12)


def test_dihedral_agrees_with_ase() -> None:
    x = np.random.default_rng(0).normal(size=(4, 3))
    expected = np.deg2rad(ase.Atoms("H4", positions=x).get_dihedral(0, 1, 2, 3))
    assert dihedral(x, ZIGZAG) == pytest.approx((np.cos(expected), np.sin(expected)), abs=1e-12)


def test_bond_temperature_against_exact_averages() -> None:
    """Two atoms on a Morse spring: ⟨r|F|…⟩ by quadrature of r² exp(−U/kT), which the estimate's mean must equal."""
    depth, stiff, rest = 0.2, 2.0, 1.4  # eV, 1/Å, Å: anharmonic at 400 K

    def morse(r: Floats) -> tuple[Floats, Floats]:
        grown = np.exp(-stiff * (r - rest))
        return depth * (1 - grown) ** 2, 2 * depth * stiff * (1 - grown) * grown

    r = np.linspace(0.7, 2.6, 20_001)  # bound states: beyond, the weight of an open end would have to be counted
    energy, slope = morse(r)
    positions = np.zeros((len(r), 2, 3))
    positions[:, 1, 2] = r
    forces = np.zeros_like(positions)
    forces[:, 0, 2], forces[:, 1, 2] = slope, -slope
    weight = r**2 * np.exp(-energy / (kB * TEMPERATURE))
    for length in (rest, 1.1 * rest):
        pair = Bonds(np.array([0]), np.array([1]), np.array([length]))
        estimates = bond_temperature(positions, forces, pair)
        mean = float(np.trapezoid(weight * estimates, r) / np.trapezoid(weight, r))
        # by parts the ends contribute φ'(r) r² p(r): known, and small where the spring holds
        phi = (r[[0, -1]] - length**3 / r[[0, -1]] ** 2) / 3
        ends = np.diff(phi * weight[[0, -1]])[0] / np.trapezoid(weight, r)
        assert mean + TEMPERATURE * ends == pytest.approx(TEMPERATURE, rel=1e-6)


def test_bond_temperature_does_not_depend_on_frame_or_units() -> None:
    x = np.random.default_rng(0).normal(size=(5, 3, 3))
    forces = np.random.default_rng(1).normal(size=(5, 3, 3))
    pair = Bonds(np.array([0, 1]), np.array([1, 2]), np.ones(2))
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    expected = bond_temperature(x, forces, pair)
    np.testing.assert_allclose(bond_temperature(x @ turn + 3.0, forces @ turn, pair), expected, rtol=1e-12)
    swapped = Bonds(pair.second, pair.first, pair.lengths)
    np.testing.assert_allclose(bond_temperature(x, forces, swapped), expected, rtol=1e-12)
    assert bond_temperature(x, forces, NO_BONDS).shape == (5,)


@pytest.mark.parametrize("tau", [1.5, 8.0, 40.0])
def test_autocorrelation_time_of_an_ar1_process(tau: float) -> None:
    """x' = a x + noise has ρ(t) = aᵗ and ½ + Σ aᵗ = ½ (1 + a)/(1 − a)."""
    a = np.exp(-1 / tau)
    rng = np.random.default_rng(int(10 * tau))
    series = np.empty((8, 20_000))
    series[:, 0] = rng.standard_normal(8)
    for t in range(1, series.shape[1]):
        series[:, t] = a * series[:, t - 1] + np.sqrt(1 - a * a) * rng.standard_normal(8)
    memory = autocorrelation_time(series)
    exact = 0.5 * (1 + a) / (1 - a)
    # 4.5 of its own standard errors, and the bias of the window, e⁻⁵ of the whole
    assert abs(memory.tau - exact) < 4.5 * memory.error + np.exp(-5) * exact
    assert memory.error < 0.12 * exact


def test_autocorrelation_time_of_noise_and_of_a_constant() -> None:
    noise = np.random.default_rng(0).standard_normal((4, 5000))
    assert autocorrelation_time(noise).tau == pytest.approx(0.5, abs=4.5 * np.sqrt(6 / noise.size) + 0.05)
    assert autocorrelation_time(np.full((2, 100), -223.0)).tau == 0.5


def test_walkers_stuck_in_different_places_remember() -> None:
    stuck = np.random.default_rng(0).standard_normal((4, 500)) + np.array([[-5.0], [5.0], [-5.0], [5.0]])
    assert autocorrelation_time(stuck).tau > 50


def test_units_of_time() -> None:
    """Without forces and nearly without friction an atom covers velocity × time."""
    free = Dynamics(np.array([1.0, 1.0]), TEMPERATURE, 0.5, 1e-12)
    state = start(np.zeros((2, 3)), free, (7,))
    moved, _ = advance(state, 10, free, lambda x, memory: (0.0, np.zeros_like(x), memory))
    expected = state.velocities * 5 * fs
    np.testing.assert_allclose(moved.positions, expected - expected.mean(0), rtol=1e-4, atol=1e-6)
