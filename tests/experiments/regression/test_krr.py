"""Kernel ridge regression: derivatives against autograd, a plain dense reference, symmetries, and bad input refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from experiments.core.arrays import Floats, Ints
from experiments.core.errors import InputError
from experiments.core.kernels import pair_permutations
from experiments.data.dataset import Frames
from experiments.data.sources.extxyz import read_frames
from experiments.data.sources.star import StarConfig, star
from experiments.data.splits import subset
from experiments.models.krr import KrrConfig
from experiments.regression.cholesky import Tick, silent
from experiments.regression.closed_form import Geometry
from experiments.regression.descriptor import bond_permutations, inverse_distances
from experiments.regression.gram import Factor, GramSystem
from experiments.regression.krr import LENGTHS, Centres, Krr, Radial
from experiments.regression.ladder import Conditions, one_solution
from experiments.tasks.predictions import Predictions

ETHANOL = Path(__file__).parents[3] / "../shared/data/rmd17_ethanol"
METHANOL = (6, 8, 1, 1, 1, 1)
SHAPE = np.array([[0, 0, 0], [1.4, 0, 0], [-0.4, 1.0, 0], [-0.4, -0.5, 0.9], [-0.4, -0.5, -0.9], [1.7, 0.9, 0]])  # Å
KERNELS = pytest.mark.parametrize("kernel", ["matern52", "gaussian"])


def molecules(count: int, seed: int = 0, scatter: float = 0.08) -> Frames:
    """Scatter methanol around one shape, with E = Σ_pairs exp(1 − r/Å) eV − 3000 eV and its forces."""
    x = SHAPE + scatter * np.random.default_rng(seed).normal(size=(count, 6, 3))
    away = x[:, :, None] - x[:, None]
    r = np.linalg.norm(away, axis=-1) + np.eye(6)
    pair = np.exp(1 - r) * (1 - np.eye(6))
    forces = (pair[..., None] * away / r[..., None]).sum(2)
    cells = np.zeros((count, 3, 3))
    numbers = np.tile(np.array(METHANOL, np.int64), (count, 1))
    return Frames(numbers, x, pair.sum((1, 2)) / 2 - 3000, forces, cells, cells[..., 0] > 1)


def solved(frames: Frames, **settings: Any) -> tuple[Geometry, Any]:
    """Return a model's predictions, constants included, and its solution."""
    model = Krr(KrrConfig(**settings), [1, 6, 8])
    solution = one_solution(model, frames, None, 0)
    counts = np.array([4.0, 1.0, 1.0])

    def predict(others: Frames) -> Predictions:
        found = model.geometry(solution.tensors)(others)
        constant = solution.baseline.predict(others.numbers) + counts @ solution.per_atom
        return Predictions(found.energies + constant, found.forces)

    return predict, solution


def plain(kernel: str, d2: Tensor, length: float) -> Tensor:
    """Evaluate k at squared distances."""
    if kernel == "gaussian":
        return torch.exp(-d2 / (2 * length**2))
    x = (5 * d2).sqrt() / length
    return (1 + x + x**2 / 3) * torch.exp(-x)


@KERNELS
def test_derivatives_of_the_kernel(kernel: str) -> None:
    d = torch.linspace(0.1, 4.0, 9, dtype=torch.float64, requires_grad=True)
    k = plain(kernel, d**2, 0.7)
    (first,) = torch.autograd.grad(k.sum(), d, create_graph=True)
    g = -first / d
    (second,) = torch.autograd.grad(g.sum(), d)
    found = Radial(kernel, 0.7)(d.detach().numpy())
    for mine, other in zip(found, (k, g, -second / d), strict=True):
        # round-off of float64; g and h are up to 1/length⁴ = 4 and fall with k
        np.testing.assert_allclose(mine, other.detach().numpy(), rtol=1e-10, atol=1e-13)
    at_zero = Radial(kernel, 0.7)(np.array([0.0, 1e-9]))
    for value in at_zero:
        assert value[0] == pytest.approx(value[1], rel=1e-7)


def products(q: Floats, slopes: Floats, permutations: Ints, radial: Radial) -> Floats:
    """Return the products of all rows, both triangles, the forces of all frames first."""
    lower = np.tril(Centres(q, slopes, permutations).gram(radial))
    frames, _, r = slopes.shape
    rows = np.arange(frames * (r + 1)).reshape(frames, r + 1)
    order = np.concatenate([rows[:, :r].ravel(), rows[:, r]])
    return np.asarray((lower + np.tril(lower, -1).T)[np.ix_(order, order)])


@KERNELS
def test_products_of_rows_are_derivatives_of_the_symmetrised_kernel(kernel: str) -> None:
    """⟨−∂_i, −∂_j⟩ of (1/S) Σ_P k(x, Px′) by automatic differentiation, for three frames."""
    frames = molecules(3, scatter=0.2)
    permutations = bond_permutations(frames)
    length = 0.5
    q, slopes = inverse_distances(frames.positions)
    found = products(q, slopes, pair_permutations(permutations), Radial(kernel, length))
    i, j = np.triu_indices(6, 1)

    def product(x: Tensor, y: Tensor) -> Tensor:
        first = 1 / (x[i] - x[j]).norm(dim=1)
        total = torch.zeros((), dtype=torch.float64)
        for p in permutations:
            moved = y[p]
            total = total + plain(kernel, ((first - 1 / (moved[i] - moved[j]).norm(dim=1)) ** 2).sum(), length)
        return total / len(permutations)

    x = torch.as_tensor(frames.positions)
    for a in range(3):
        for b in range(3):
            if a == b and kernel == "matern52":
                continue  # √0 of the plain formula has no derivative
            own = (x[a].clone().requires_grad_(True), x[b].clone().requires_grad_(True))
            value = product(*own)
            slope = torch.autograd.grad(value, own, create_graph=True)
            mixed = torch.stack([torch.autograd.grad(s, own[1], retain_graph=True)[0] for s in slope[0].flatten()])
            rows, columns = slice(18 * a, 18 * a + 18), slice(18 * b, 18 * b + 18)
            for mine, other in (
                (found[54 + a, 54 + b], value),
                (found[54 + a, columns], -slope[1].flatten()),
                (found[rows, 54 + b], -slope[0].flatten()),
                (found[rows, columns], mixed.reshape(18, 18)),
            ):
                np.testing.assert_allclose(mine, other.detach().numpy(), atol=1e-12)  # round-off of numbers below 10
    assert np.linalg.eigvalsh(found).min() > -1e-10


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.3, 2.0), (1.0, 0.0), (0.0, 1.0)])
def test_equals_the_dense_system(weights: tuple[float, float]) -> None:
    """The weighted, penalised problem with a free constant, solved as one linear system of all 3N force rows."""
    frames = molecules(5)
    model_settings = {"energy_weight": weights[0], "force_weight": weights[1], "length": 0.4, "kernel": "matern52"}
    predict, solution = solved(frames, **model_settings)
    permutations = pair_permutations(bond_permutations(frames))
    q, slopes = inverse_distances(frames.positions)
    gram = products(q, slopes, permutations, Radial("matern52", 0.4))
    w = np.concatenate([np.full(90, weights[1] ** 0.5), np.full(5, (weights[0] * 3 * 6) ** 0.5 / 6)])
    keep = w > 0
    gram, w = (gram * w[:, None] * w)[np.ix_(keep, keep)], w[keep]
    one = np.concatenate([np.zeros(90), np.ones(5)])[keep, None] * w[:, None]
    y = np.concatenate([frames.forces.ravel(), frames.energies + 3000])[keep] * w
    project = np.eye(len(y)) - one @ np.linalg.pinv(one)
    penalty = solution.facts["ridge"] * np.linalg.eigvalsh(project @ gram @ project)[-1]
    border = one.shape[1] if one.any() else 0
    one = one[:, :border]
    system = np.block([[gram + penalty * np.eye(len(y)), one], [one.T, np.zeros((border, border))]])
    dual = np.linalg.solve(system, np.concatenate([y, np.zeros(border)]))
    test = molecules(4, seed=1)
    far, steep = inverse_distances(test.positions)
    both = np.concatenate([q, far]), np.concatenate([slopes, steep])
    cross = products(*both, permutations, Radial("matern52", 0.4))
    rows = np.concatenate([np.arange(90), np.arange(162, 167)])[keep]
    forces = cross[90:162][:, rows] @ (dual[: len(y)] * w)
    energies = cross[167:][:, rows] @ (dual[: len(y)] * w)
    found = predict(test)
    # both solve systems whose condition is 1/ridge ≥ 1e-12 with refinement or without: digits beyond are noise
    tolerance = 1e-13 / solution.facts["ridge"] + 1e-9
    np.testing.assert_allclose(found.forces.ravel(), forces, atol=tolerance)
    np.testing.assert_allclose(np.diff(found.energies), np.diff(energies), atol=tolerance)
    if border:
        np.testing.assert_allclose(found.energies + 3000, energies + dual[-1], atol=tolerance)
    else:  # the constant is that of the mean residual
        assert (predict(frames).energies - frames.energies).mean() == pytest.approx(0.0, abs=1e-9)


def test_interpolates_without_a_penalty() -> None:
    """Labels of a smooth potential: the λ that leaving out frames chooses is tiny, and training errors vanish."""
    frames = molecules(12)
    predict, solution = solved(frames, kernel="gaussian")
    assert solution.facts["ridge"] < 1e-7
    found = predict(frames)
    # what a penalty of 1e-8 of the largest eigenvalue leaves in directions 1e-4 as strong as it, and less elsewhere
    assert np.abs(found.forces - frames.forces).max() < 1e-3 * np.abs(frames.forces).max()
    assert np.abs(found.energies - frames.energies).max() < 1e-3 * frames.energies.std()
    test = molecules(20, seed=1)
    errors = [np.abs(solved(molecules(n), kernel="gaussian")[0](test).forces - test.forces).mean() for n in (3, 12, 48)]
    assert all(after < 0.6 * before for before, after in pairwise(errors))


@KERNELS
def test_forces_are_minus_the_gradient(kernel: str) -> None:
    predict, _ = solved(molecules(8), kernel=kernel)
    frame, step = molecules(1, seed=2), 1e-3
    shifts = np.eye(18).reshape(18, 6, 3) * step
    numeric = [
        predict(replace(frame, positions=frame.positions - s)).energies[0]
        - predict(replace(frame, positions=frame.positions + s)).energies[0]
        for s in shifts
    ]
    exact = predict(frame).forces
    # step²/6 of third derivatives of some 10 eV/Å³, 2e-6; a long length scale adds round-off of 2e-10 eV over the step
    np.testing.assert_allclose(np.array(numeric) / (2 * step), exact.ravel(), atol=2e-5)
    assert np.abs(exact).max() > 0.1


def test_symmetries() -> None:
    """Rotations, mirror images, translations, and the permutations that keep the bonds; without them, no others."""
    frames = molecules(8)
    predict, solution = solved(frames)
    other = molecules(1, seed=3)
    rotation = Rotation.random(rng=np.random.default_rng(0)).as_matrix()
    before = predict(other)
    assert solution.facts["permutations"] == 6  # the methyl group's hydrogens
    order = [0, 1, 4, 2, 3, 5]
    for sign in (1, -1):
        moved = replace(other, positions=(sign * other.positions @ rotation.T + [3.0, -1.0, 2.0])[:, order])
        after = predict(moved)
        assert after.energies[0] == pytest.approx(before.energies[0], abs=1e-9)  # round-off of 3000 eV
        np.testing.assert_allclose(after.forces, sign * (before.forces @ rotation.T)[:, order], atol=1e-9)
    plainly, _ = solved(frames, symmetrise=False)
    renumbered = replace(other, positions=other.positions[:, order])
    assert abs(plainly(renumbered).energies[0] - plainly(other).energies[0]) > 1e-4


def test_permutations_that_keep_the_bonds() -> None:
    found = bond_permutations(molecules(4))
    assert {tuple(p[[0, 1, 5]]) for p in found} == {(0, 1, 5)}
    as_set = {tuple(p) for p in found}
    assert {tuple(p[r]) for p in found for r in found} == as_set  # a group
    stars = star(StarConfig(n_neighbours=4, pool=2, holdout=1, test=1)).pool
    assert len(bond_permutations(stars)) == 24
    with pytest.raises(InputError, match=r"symmetrise=true: more than 256 .* accepted: model.symmetrise=false"):
        bond_permutations(star(StarConfig(n_neighbours=6, pool=2, holdout=1, test=1)).pool)


def test_larger_sizes_share_one_factorisation_and_each_is_as_if_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.regression.krr.RIDGE_FRAMES", 8)
    whole: list[int] = []
    factor = GramSystem.factor

    def counted(
        system: GramSystem, penalty: float, frames: int | None = None, tick: Tick = silent, beside: bool = True
    ) -> Factor:
        whole.append(system.rows(system.frames if frames is None else frames))
        return factor(system, penalty, frames, tick, beside)

    frames, test, model = molecules(24), molecules(5, seed=1), Krr(KrrConfig(length=0.4), [1, 6, 8])
    shares: list[float] = []
    monkeypatch.setattr(GramSystem, "factor", counted)
    sizes = [6, 12, 20, 24]
    ladder = model.ladder(frames, sizes, Conditions(watch=shares.append, tests=5))
    assert [n for n in whole if n > 8 * 13] == [24 * 13]
    assert shares == sorted(shares)
    assert shares[-1] > 0.4  # choices of λ are only expected to take so long as they may
    for P, solution, predicted in zip(sizes, ladder.solutions, ladder.predict(test), strict=True):
        own = one_solution(model, frames.take(slice(0, P)), None, 0)
        assert own.facts["ridge"] == pytest.approx(solution.facts["ridge"], rel=1e-9)
        alone = model.geometry(own.tensors)(test)
        # forces are below 1 eV/Å, and round-off of the matrix over λ, 1e-16 over some 1e-9, is what they may differ by
        np.testing.assert_allclose(alone.forces, predicted.forces, atol=1e-6)
    assert ladder.system is not None
    penalties = {P: s.facts["ridge"] * ladder.system.top(P) for P, s in zip(sizes, ladder.solutions, strict=True)}
    assert penalties[12] == pytest.approx(penalties[24], rel=1e-9)


def test_length_scale_is_found() -> None:
    """Energies and forces drawn from the process itself: the scale of the draw, within a step of the grid."""
    frames = molecules(16, scatter=0.2)
    q, slopes = inverse_distances(frames.positions)
    unit = float(np.sqrt(((q[:, None] - q) ** 2).sum(2)[np.triu_indices(16, 1)].mean()))
    for factor in (2.0, 16.0):
        gram = products(q, slopes, pair_permutations(bond_permutations(frames)), Radial("matern52", factor * unit))
        values, vectors = np.linalg.eigh(gram)
        drawn = vectors @ (np.sqrt(values.clip(0)) * np.random.default_rng(0).normal(size=len(values)))
        labelled = replace(frames, forces=drawn[:-16].reshape(16, 6, 3), energies=drawn[-16:] - 3000)
        _, solution = solved(labelled, kernel="matern52")
        assert factor / 2 <= solution.facts["length"] / unit <= factor * 2
    assert min(LENGTHS) < 2 < 16 < max(LENGTHS)


def refusals() -> list[tuple[Frames, str]]:
    good = molecules(3)
    order = [1, 0, 2, 3, 4, 5]
    swapped = good.numbers.copy()
    swapped[1] = swapped[1, order]
    period = np.array([[False] * 3, [False] * 3, [True] * 3])
    periodic = replace(good, pbc=period, cells=np.tile(np.eye(3) * 9, (3, 1, 1)))
    together = good.positions.copy()
    together[2, 4] = together[2, 1]
    return [
        (replace(good, numbers=swapped), r"frame 1 holds O C H H H H: model=krr .* accepted: C O H H H H, the atoms"),
        (periodic, "frame 2 is periodic: model=krr compares frames of one molecule; accepted: "),
        (replace(good, positions=together), "frame 2: atoms 1 and 4 lie on the same point"),
        (good.take(slice(0, 0)), "got no training frames"),
    ]


@pytest.mark.parametrize(("frames", "message"), refusals())
def test_refusals(frames: Frames, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        solved(frames)
    assert "\n" not in str(error.value)


def test_refuses_other_molecules_and_more_than_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    predict, _ = solved(molecules(3))
    with pytest.raises(InputError, match=r"frame 0 holds H C O H H H: model=krr"):
        predict(replace(molecules(1), numbers=np.array([[1, 6, 8, 1, 1, 1]])))
    monkeypatch.setattr("experiments.core.machine_memory.memory_limit", lambda: 2.0**29 + 2.0**20)
    with pytest.raises(InputError, match=r"^P=30: 390 labels in a kernel: needs about .* accepted: P=\d+ or fewer$"):
        solved(molecules(30))


def test_one_frame_and_padding() -> None:
    frames = molecules(1)
    predict, _ = solved(frames)
    found = predict(frames)
    assert np.abs(found.forces - frames.forces).max() < 0.1 * np.abs(frames.forces).max()
    pad = [(0, 0), (0, 2)]
    padded = replace(
        frames, numbers=np.pad(frames.numbers, pad), positions=np.pad(frames.positions, [*pad, (0, 0)]),
        forces=np.pad(frames.forces, [*pad, (0, 0)]),
    )  # fmt: skip
    again = solved(padded)[0](padded)
    np.testing.assert_allclose(again.forces[:, :6], found.forces, atol=1e-12)
    assert not again.forces[:, 6:].any()


@pytest.mark.skipif(not ETHANOL.is_dir(), reason=f"no rMD17 ethanol at {ETHANOL}")
def test_real_ethanol() -> None:
    """12 permutations keep its bonds and halve the error; P = 32: 96 meV/Å (measured), linear ACE has 70."""
    pool, test = read_frames(ETHANOL / "train.xyz"), read_frames(ETHANOL / "test.xyz").take(np.arange(0, 1000, 20))

    def error(P: int, **settings: Any) -> float:
        model = Krr(KrrConfig(**settings), [1, 6, 8])
        solution = one_solution(model, pool.take(subset(1000, P, 0, 5)), None, 0)
        return float(np.abs(model.geometry(solution.tensors)(test).forces - test.forces).mean()) * 1e3

    assert len(bond_permutations(pool.take(np.arange(4)))) == 12
    few, more, plainly = error(8), error(32), error(32, symmetrise=False)
    assert 80 < more < 115
    assert plainly > 1.5 * more
    assert few > 1.5 * more
