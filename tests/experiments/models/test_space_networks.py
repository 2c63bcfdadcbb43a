"""Networks on voxels and points: every rotation of the cube exactly, every rotation where space is continuous."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from e3nn import o3
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch import Tensor

from experiments.data.sources.tetris import SHAPES, TetrisConfig, tetris
from experiments.data.sources.voxels import VoxelsConfig, density
from experiments.models.cnn import CnnConfig
from experiments.models.networks import example_network
from experiments.models.networks.clouds import complete_graph
from experiments.models.networks.cnn import Cnn
from experiments.models.networks.steerable3d import Steerable3d, kernels
from experiments.models.steerable3d import Steerable3dConfig
from experiments.models.tfn import TfnConfig
from experiments.nn.grid import normalized
from tests.experiments.models.test_grid_networks import assert_same, drawn, images

CUBE = [
    np.diag(signs) @ np.eye(3)[list(order)]
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
    if np.linalg.det(np.diag(signs) @ np.eye(3)[list(order)]) > 0
]
"""The 24 rotations of the cube."""


def representation(degree: int, rotation: np.ndarray) -> Tensor:
    """Return D^l(R) from Y(Rx) = D(R) Y(x) at many points; e3nn's own goes through angles and loses half the digits."""
    points = torch.as_tensor(np.random.default_rng(0).normal(size=(50, 3)))
    here, there = (
        o3.spherical_harmonics(degree, at, normalize=True) for at in (points, points @ torch.as_tensor(rotation).T)
    )
    found: Tensor = torch.linalg.lstsq(here, there).solution.T
    return found


def rotated(x: Tensor, rotation: np.ndarray) -> Tensor:
    """Rotate fields, [T f](x) = f(R⁻¹x), on the last three axes about the centre of the grid."""
    n = x.shape[-1]
    places = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1) - (n - 1) / 2
    back = np.rint(places @ rotation + (n - 1) / 2).astype(int)
    return x[..., back[..., 0], back[..., 1], back[..., 2]]


@settings(max_examples=12)
@given(seed=st.integers(0, 2**16), before=st.integers(0, 2), after=st.integers(0, 2))
def test_kernels_obey_their_constraint_for_any_rotation(seed: int, before: int, after: int) -> None:
    """κ(Rx) = D(R) κ(x) D(R)ᵀ at any points (Weiler et al., eq. 8)."""
    rng = np.random.default_rng(seed)
    rotation = Rotation.random(rng=rng).as_matrix()
    points = torch.as_tensor(rng.normal(size=(5, 3)))
    here, there = (kernels(at, 2.0, 3, before, after) for at in (points, points @ torch.as_tensor(rotation).T))
    left, right = (representation(degree, rotation) for degree in (after, before))
    inside = (points.norm(dim=1) - 2.5).abs() > 1e-9  # rounding may decide on which side of the ball a point is
    expected = torch.einsum("ab,nbct,dc->nadt", left, here, right)
    assert torch.allclose(there[..., inside], expected[..., inside], atol=1e-11)


def test_steerable_fields_turn_with_the_cube() -> None:
    """All 24 rotations, to round-off: fields of degree l are multiplied by D^l(R), outputs stay."""
    assert len(CUBE) == 24
    model = Steerable3d(Steerable3dConfig(L=1, n_layers=3, channels=2), (2, 6, 6, 6), 2)
    weights, x = drawn(model), images(1, 2, 6, 6, 6)
    before, expected = model.features(weights, x), model.outputs(weights, x)
    for rotation in CUBE:
        moved = rotated(x, rotation)
        assert_same(model.outputs(weights, moved), expected)
        for degree, (found, field) in enumerate(zip(model.features(weights, moved), before, strict=True)):
            matrix = representation(degree, rotation)
            assert_same(found, torch.einsum("ab,pncbxyz->pncaxyz", matrix, rotated(field, rotation)))


@pytest.mark.parametrize("norm", [False, True])
def test_normalised_or_not_the_cube_is_exact(norm: bool) -> None:
    model = Steerable3d(Steerable3dConfig(L=1, n_layers=2, channels=2, instance_norm=norm), (2, 6, 6, 6), 2)
    weights, x = drawn(model), images(1, 2, 6, 6, 6)
    for rotation in CUBE:
        assert_same(model.outputs(weights, rotated(x, rotation)), model.outputs(weights, x))
    moved = torch.roll(x, (1, 2, 3), (-3, -2, -1))
    assert_same(model.outputs(weights, moved), model.outputs(weights, x))


def test_a_normalised_cnn_keeps_translations() -> None:
    model = Cnn(CnnConfig(n_layers=2, channels=3, instance_norm=True), (2, 6, 6, 6), 2)
    weights, x = drawn(model), images(1, 2, 6, 6, 6)
    moved = torch.roll(x, (1, 2, 3), (-3, -2, -1))
    assert_same(model.outputs(weights, moved), model.outputs(weights, x))


def test_normalised_fields_have_size_one_unless_they_are_faint() -> None:
    strong = torch.randn(1, 2, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 100 + 30
    found = normalized(strong, 3)
    assert torch.allclose(found.mean((3, 4)), torch.zeros(1, 2, 3, dtype=torch.float64), atol=1e-12)
    # mean square m becomes m / (m + FAINT), 1e-5 from one at 10⁴
    assert torch.allclose((found**2).mean((3, 4)), torch.ones(1, 2, 3, dtype=torch.float64), atol=2e-5)
    faint = normalized(1e-4 * strong, 3)
    assert (faint**2).mean() < 0.01
    turned_too = normalized(strong, 3, centre=False)
    assert float(turned_too.mean()) > 0.1, "a vector's mean is a direction: it stays"


def test_other_rotations_see_the_voxels() -> None:
    """Of densities that the grid resolves, outputs change by under 15 % of their spread over molecules (measured: 10 %,
    mean over eight draws of weights), those of a CNN by more than 30 % (measured: 45 %)."""
    config = VoxelsConfig(side=12, spacing=0.6, width=0.8)
    rng = np.random.default_rng(0)
    clouds = [rng.normal(size=(4, 3)) * 0.8 for _ in range(6)]
    rotation = Rotation.random(rng=rng).as_matrix()
    x, y = (
        torch.as_tensor(np.array([density(cloud @ matrix, config) for cloud in clouds])[None, :, None])
        for matrix in (np.eye(3), rotation)
    )

    def change(model: Steerable3d | Cnn) -> float:
        changes = []
        for seed in range(8):
            before, after = (model.outputs(drawn(model, seed), at) for at in (x, y))
            changes.append(float((after - before).abs().mean() / before.std(1).mean()))
        return float(np.mean(changes))

    assert change(Steerable3d(Steerable3dConfig(n_layers=2, channels=4), (1, 12, 12, 12), 2)) < 0.15
    assert change(Cnn(CnnConfig(n_layers=2, channels=4), (1, 12, 12, 12), 2)) > 0.3


def test_every_point_sees_every_other() -> None:
    points = images(2, 4, 3).expand(2, -1, -1, -1).clone()
    points[1] += 1
    graph = complete_graph(points)
    flat = points.reshape(-1, 3)
    for i, slot in itertools.product(range(16), range(3)):
        j = int(graph.senders.reshape(16, 3)[i, slot])
        assert j != i
        assert j // 4 == i // 4  # of the same cloud
        assert torch.allclose(graph.vectors.reshape(16, 3, 3)[i, slot], flat[j] - flat[i])
        back = int(graph.reverse.reshape(16, 3)[i, slot])
        assert back // 3 == j
        assert int(graph.senders.reshape(-1)[back]) == i
    assert all(len(set(row.tolist())) == 3 for row in graph.senders.reshape(16, 3))


TFN = TfnConfig(L=1, n_layers=3, channels=4, cutoff=5.0, n_radial=4, radial_width=4)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**16))
def test_tensor_field_network_on_points_in_any_pose(seed: int) -> None:
    """Any rotation, translation and order of points leaves outputs alone; mirror images it tells apart."""
    rng = np.random.default_rng(seed)
    model = example_network(TFN, (4, 3), 8)
    weights = {name: value[None] for name, value in model.init(0, torch.float64).items()}
    points = torch.as_tensor(SHAPES[:2] + 0.1 * rng.normal(size=(2, 4, 3)))[None]
    rotation = torch.as_tensor(Rotation.random(rng=rng).as_matrix())
    expected = model.outputs(weights, points)
    moved = (points @ rotation.T + torch.as_tensor(rng.normal(size=3)))[:, :, list(rng.permutation(4))]
    assert_same(model.outputs(weights, moved), expected, 1e-10)
    assert float((model.outputs(weights, -points) - expected).abs().max()) > 1e-6


def test_tetris_is_seeded_and_turned_as_it_says() -> None:
    small = TetrisConfig(pool=40, holdout=4, test=40, noise=0.0)
    one, again = tetris(small), tetris(small)
    assert one.sha256() == again.sha256()
    assert tetris(TetrisConfig(pool=40, holdout=4, test=40, noise=0.0, seed=1)).sha256() != one.sha256()
    longer = tetris(TetrisConfig(pool=60, holdout=4, test=40, noise=0.0))
    assert np.array_equal(longer.pool.inputs[:40], one.pool.inputs)

    def sorted_rows(points: np.ndarray) -> np.ndarray:
        return np.array(sorted(np.round(points, 4).tolist()))

    upright = [sorted_rows((shape - shape.mean(0)).astype(np.float32)) for shape in SHAPES]
    for points, label in zip(one.pool.inputs, one.pool.labels, strict=True):
        assert np.allclose(sorted_rows(points), upright[int(label)], atol=1e-4)
    turned_ones = [np.allclose(sorted_rows(points), upright[int(label)], atol=1e-2)
                   for points, label in zip(one.test.inputs, one.test.labels, strict=True)]  # fmt: skip
    assert sum(turned_ones) == 0
    for points, label in zip(one.test.inputs, one.test.labels, strict=True):  # distances stay
        shape = SHAPES[int(label)]
        found, expected = (np.sort(np.linalg.norm(p[:, None] - p[None], axis=2).ravel()) for p in (points, shape))
        assert np.allclose(found, expected, atol=1e-5)


def test_density_is_its_gaussians() -> None:
    config = VoxelsConfig(side=5, spacing=0.5, width=0.4)
    atoms = np.array([[0.1, -0.2, 0.3], [0.5, 0.0, -0.4]])
    found = density(atoms, config)
    for index in [(0, 0, 0), (2, 3, 4), (4, 1, 2)]:
        place = (np.array(index) - 2) * 0.5
        expected = sum(np.exp(-((place - atom) ** 2).sum() / (2 * 0.4**2)) for atom in atoms)
        assert found[index] == pytest.approx(expected)
