"""The surrogate against kernels differentiated by autograd, its own energy, symmetries and training frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from experiments.core.arrays import Floats, Ints
from experiments.data.sampling import surrogate
from experiments.data.sampling.molecule import find_molecule
from experiments.data.sampling.surrogate import Surrogate, fit_surrogate, most_frames, rotor_permutations

SIGMA = 10.0


def toy(positions: Floats, numbers: Floats) -> tuple[float, Floats]:
    """Morse springs between all pairs, stiffer between heavy atoms, and their forces: smooth, equal atoms equal."""
    x = torch.tensor(positions, requires_grad=True)
    first, second = torch.triu_indices(len(x), len(x), 1)
    stiff = torch.tensor(numbers).sqrt()
    apart = (x[first] - x[second]).norm(dim=1)
    energy = (stiff[first] * stiff[second] * (1 - torch.exp(1.5 - apart)) ** 2).sum()
    return float(energy.detach()), -torch.autograd.grad(energy, x)[0].numpy()


def frames(name: str, count: int, spread: float = 0.08) -> tuple[Floats, Floats, Floats, Ints]:
    molecule = find_molecule(name)
    rng = np.random.default_rng(0)
    positions = molecule.positions + spread * rng.standard_normal((count, *molecule.positions.shape))
    answers = [toy(x, molecule.numbers.astype(float)) for x in positions]
    return positions, np.array([a[0] for a in answers]), np.array([a[1] for a in answers]), molecule.numbers


@pytest.fixture(scope="module")
def learned() -> Surrogate:
    positions, energies, forces, numbers = frames("methanol", 20)
    return fit_surrogate(
        positions, energies, forces, rotor_permutations(numbers, find_molecule("methanol").positions), SIGMA
    )


def test_forces_are_minus_the_gradient(learned: Surrogate) -> None:
    x = frames("methanol", 25)[0][-1]
    way = np.random.default_rng(1).standard_normal(x.shape)
    step = 1e-4  # Å; third derivatives of some 10³ eV/Å³ make an error of 1e-6 of the slope's 10 eV/Å or so
    slope = (learned(x + step * way)[0] - learned(x - step * way)[0]) / (2 * step)
    assert slope == pytest.approx(-float((learned(x)[1] * way).sum()), rel=1e-4)


def test_it_goes_through_its_frames_and_near_others(learned: Surrogate) -> None:
    positions, energies, forces, _ = frames("methanol", 40)
    errors = np.array(
        [
            [learned(x)[0] - e, np.abs(learned(x)[1] - f).max()]
            for x, e, f in zip(positions, energies, forces, strict=True)
        ]
    )
    # the ridge allows for noise of about 1e-4 of the labels; what was never seen is met to a few per cent
    assert np.abs(errors[:20]).max() < 2e-2
    assert np.abs(errors[:20, 0]).max() < 0.05 * energies.std()
    assert errors[20:, 0].std() < 0.3 * energies.std()
    assert errors[20:, 1].mean() > 2 * errors[:20, 1].mean(), "else the test could not fail"


def test_turned_moved_mirrored_and_permuted_is_the_same(learned: Surrogate) -> None:
    x = frames("methanol", 25)[0][-1]
    energy, forces = learned(x)
    turn = Rotation.random(rng=np.random.default_rng(2)).as_matrix()
    for matrix in (turn, -turn):
        there = learned(x @ matrix.T + 3.0)
        assert there[0] == pytest.approx(energy, abs=1e-9)  # eV: sums of some 10³ terms of up to 10³ eV in float64
        np.testing.assert_allclose(there[1], forces @ matrix.T, atol=1e-8)
    molecule = find_molecule("methanol")
    known = rotor_permutations(molecule.numbers, molecule.positions)
    assert len(known) == 3
    for permutation in known:
        there = learned(x[permutation])
        assert there[0] == pytest.approx(energy, abs=1e-9)
        np.testing.assert_allclose(there[1], forces[permutation], atol=1e-8)


def test_against_a_kernel_differentiated_by_autograd() -> None:
    """Three frames of water with one permutation: matrix and prediction from derivatives of k alone."""
    positions, energies, forces, _ = frames("water", 4)
    swaps = [[0, 1, 2], [0, 2, 1]]
    ours = fit_surrogate(positions[:3], energies[:3], forces[:3], swaps, 2.0)

    def described(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([1 / (x[i] - x[j]).norm() for i, j in ((0, 1), (0, 2), (1, 2))])

    def kernel(flat: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        x, y = flat.reshape(3, 3), other.reshape(3, 3)
        total = torch.zeros((), dtype=torch.float64)
        for swap in swaps:
            d = ((described(x) - described(y[swap])) ** 2).sum().clamp_min(1e-24).sqrt() * 5**0.5 / 2.0
            total = total + (1 + d + d * d / 3) * torch.exp(-d)
        return total

    # a frame meets itself at distance 0, where autograd has no derivative of the root: 1e-7 Å beside it, it has
    x = [torch.tensor(p).ravel() for p in positions]
    beside = [p + 1e-7 * torch.arange(1.0, 10.0, dtype=torch.float64).sin() for p in x]
    gradient, cross = torch.func.grad(kernel, 0), torch.func.jacfwd(torch.func.grad(kernel, 0), 1)
    upper = torch.cat([torch.cat([cross(a, b) for b in beside[:3]], 1) for a in x[:3]])
    side = torch.cat([torch.stack([gradient(a, b) for b in beside[:3]], 1) for a in x[:3]])
    level = torch.stack([torch.stack([kernel(a, b) for b in beside[:3]]) for a in x[:3]])
    matrix = torch.cat([torch.cat([upper, side], 1), torch.cat([side.T, level], 1)])
    for part in (matrix.diagonal()[:27], matrix.diagonal()[27:]):
        part += surrogate._RIDGE * part.mean()
    mean = energies[:3].mean()
    labels = torch.cat([-torch.tensor(forces[:3]).ravel(), torch.tensor(energies[:3] - mean)])
    weights = torch.linalg.solve(matrix, labels)
    other = x[3]
    terms = [torch.func.grad(kernel, 1)(other, b) @ w for b, w in zip(x[:3], weights[:27].reshape(3, 9), strict=True)]
    expected = float(sum(terms) + sum(kernel(other, b) * w for b, w in zip(x[:3], weights[27:], strict=True)) + mean)
    # ill-conditioned (10⁸) with entries off by 1e-7: what the energy keeps of it, measured 1e-6
    assert ours(positions[3])[0] == pytest.approx(expected, abs=1e-4 * energies.std())


def test_saved_and_read(learned: Surrogate, tmp_path: Path) -> None:
    learned.save(tmp_path / "surrogate.npz")
    x = find_molecule("methanol").positions
    assert Surrogate.read(tmp_path / "surrogate.npz")(x)[0] == learned(x)[0]


@pytest.mark.parametrize(
    ("name", "count"), [("water", 1), ("methanol", 3), ("ethanol", 3), ("acetylacetone", 9), ("dimethyl_ether", 9)]
)
def test_rotors(name: str, count: int) -> None:
    molecule = find_molecule(name)
    found = rotor_permutations(molecule.numbers, molecule.positions)
    assert len(found) == count
    assert len({tuple(p) for p in found}) == count
    for p in found:
        assert sorted(p) == list(range(len(p)))
        assert (molecule.numbers[p] == molecule.numbers).all()
        for q in found:
            assert [p[n] for n in q] in found, "a group"


def test_how_many_frames() -> None:
    assert most_frames(21) == 190
    assert most_frames(100_000) == 1
