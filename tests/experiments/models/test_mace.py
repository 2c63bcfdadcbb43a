"""MACE: symmetries, identities between function classes, packs, padding, smoothness and derivatives."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
import torch
from e3nn import o3
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from experiments.models.mace import MaceConfig
from experiments.models.networks.mace import Mace
from experiments.nn.graph import Graph, pair_forces
from experiments.nn.native import sparse
from tests.experiments.models.clusters import graph_of, positions, species

CUTOFF = 3.0
# Energies of order one from networks of three nested polynomials: round-off of float64, amplified some thousand times.
ROUND_OFF = 1e-11


def config(L: int, nu: int, edge_lmax: int, n_layers: int = 2, channels: int = 4, width: int = 8) -> MaceConfig:
    return MaceConfig(
        L=L,
        nu=nu,
        edge_lmax=edge_lmax,
        n_layers=n_layers,
        channels=channels,
        cutoff=CUTOFF,
        n_bessel=4,
        radial_hidden=(width, width),
        readout_hidden=5,
    )


CELLS = [(0, 1, 3), (1, 1, 3), (0, 3, 3), (0, 3, 0), (1, 3, 3), (2, 2, 2), (2, 3, 1), (3, 2, 3)]


def packed(model: Mace, *seeds: int) -> dict[str, Tensor]:
    runs = [model.init(seed, torch.float64) for seed in seeds]
    params = {name: torch.stack([run[name] for run in runs]) for name in runs[0]}
    return params | {"constant.inverse_neighbours": torch.full((len(seeds),), 0.2, dtype=torch.float64)}


def example(seed: int, pack: int = 1, slots: int = 0, padding: int = 0) -> Graph:
    return graph_of(positions(seed, pack, 2, 6), species(seed, pack, 2, 6), CUTOFF, slots, padding)


def rotated(graph: Graph, rotation: Tensor) -> Graph:
    return dataclasses.replace(graph, vectors=graph.vectors @ rotation.T)


def rotations(seed: int) -> tuple[Tensor, Tensor]:
    """Return a random rotation, and one with a reflection."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        rotation = o3.rand_matrix(dtype=torch.float64)
    return rotation, -rotation


def wigner(degree: int, rotation: Tensor) -> Tensor:
    """Return D_l with parity (−1)^l, in e3nn's basis.

    From its harmonics, Y(Ru) = D·Y(u): its own matrices go through angles, which costs half of the digits.
    """
    unit = torch.nn.functional.normalize(torch.randn(50, 3, dtype=torch.float64), dim=-1)
    before = o3.spherical_harmonics(degree, unit, normalize=False)
    after = o3.spherical_harmonics(degree, unit @ rotation.T, normalize=False)
    matrix: Tensor = torch.linalg.lstsq(before, after).solution.T
    assert (matrix - o3.Irrep(degree, (-1) ** degree).D_from_matrix(rotation)).abs().max() < 1e-5
    return matrix


@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_energies_are_invariant_and_features_equivariant(cell: tuple[int, int, int], seed: int) -> None:
    """Under rotations and reflections; translations cannot be seen by a graph of differences."""
    model = Mace(config(*cell), 3)
    params, graph = packed(model, seed), example(seed)
    energies, features = model.energies(params, graph), model.node_features(params, graph)
    for rotation in rotations(seed):
        scale = 1 + energies.abs().max()
        assert (model.energies(params, rotated(graph, rotation)) - energies).abs().max() < ROUND_OFF * scale
        for before, after in zip(features, model.node_features(params, rotated(graph, rotation)), strict=True):
            assert set(before) == set(after)
            for degree, h in before.items():
                expected = torch.einsum("ab,pnbc->pnac", wigner(degree, rotation), h)
                assert (after[degree] - expected).abs().max() < ROUND_OFF * (1 + h.abs().max())


def test_features_of_degree_one_are_there_and_turn() -> None:
    """The test above would pass on features that vanish."""
    model = Mace(config(1, 3, 3), 3)
    h = model.node_features(packed(model, 0), example(0))[0]
    assert set(h) == {0, 1}
    assert h[1].abs().max() > 1e-2


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), order=st.permutations(range(6)))
def test_renumbering_atoms_renumbers_energies(seed: int, order: list[int]) -> None:
    model = Mace(config(1, 3, 2), 3)
    params = packed(model, seed)
    x, kinds = positions(seed, 1, 1, 6), species(seed, 1, 1, 6)
    before = model.energies(params, graph_of(x, kinds, CUTOFF))
    after = model.energies(params, graph_of(x[:, :, order], kinds[:, :, order], CUTOFF))
    assert (after - before[:, order]).abs().max() < ROUND_OFF * (1 + before.abs().max())


def energy_of_positions(model: Mace, params: Mapping[str, Tensor], x: Tensor, kinds: Tensor) -> Tensor:
    return model.energies(params, graph_of(x, kinds, CUTOFF, slots=1)).sum()


@pytest.mark.parametrize("cell", CELLS)
def test_forces_are_the_gradient(cell: tuple[int, int, int]) -> None:
    """pair_forces(∂E/∂vectors) against autograd through positions and against central differences."""
    model = Mace(config(*cell), 3)
    params, kinds = packed(model, 1), species(1, 1, 2, 6)
    x = positions(1, 1, 2, 6).requires_grad_(True)
    (reference,) = torch.autograd.grad(energy_of_positions(model, params, x, kinds), x)
    graph = graph_of(x.detach(), kinds, CUTOFF)
    vectors = graph.vectors.requires_grad_(True)
    (gradient,) = torch.autograd.grad(model.energies(params, graph).sum(), vectors)
    forces = pair_forces(gradient, graph).reshape(x.shape)
    scale = 1 + forces.abs().max()
    assert (forces + reference).abs().max() < ROUND_OFF * scale
    step = 1e-5  # error of central differences: h²·f''' ~ 1e-10·10³ and round-off 1e-15/h ~ 1e-10
    direction = torch.nn.functional.normalize(torch.randn(x.numel(), dtype=torch.float64), dim=0).reshape(x.shape)
    with torch.no_grad():
        up, down = (energy_of_positions(model, params, x + s * step * direction, kinds) for s in (1, -1))
    assert abs((up - down) / (2 * step) + (forces * direction).sum()) < 1e-6 * scale


@pytest.mark.parametrize("cell", [(0, 1, 3), (1, 3, 3)])
def test_energy_is_smooth_at_the_cutoff(cell: tuple[int, int, int]) -> None:
    """E, E' and E'' of an atom that crosses the cutoff: their jump vanishes as δ³, δ², δ with the distance δ to it."""
    model = Mace(config(*cell), 2)
    params = packed(model, 0)
    kinds = torch.tensor([[[0, 1, 0]]])

    def derivatives(distance: float) -> list[float]:
        r = torch.tensor(distance, dtype=torch.float64, requires_grad=True)
        zero = torch.zeros((), dtype=torch.float64)
        # the third atom sees the first only; the second is near the first
        last = torch.stack([r, zero, zero])
        x = torch.stack([torch.zeros(3, dtype=torch.float64), torch.tensor([-1.0, 0.5, 0.2]).double(), last])[
            None, None
        ]
        energy = model.energies(params, graph_of(x, kinds, CUTOFF)).sum()
        (first,) = torch.autograd.grad(energy, r, create_graph=True, materialize_grads=True)
        if first.grad_fn is None:
            return [energy.item(), first.item(), 0.0]
        (second,) = torch.autograd.grad(first, r)
        return [energy.item(), first.item(), second.item()]

    outside = derivatives(CUTOFF + 1e-3)
    assert outside[1:] == [0.0, 0.0]
    coarse, fine = derivatives(CUTOFF - 1e-2), derivatives(CUTOFF - 1e-3)
    for order, (a, b, c) in enumerate(zip(coarse, fine, outside, strict=True)):
        expected = 10.0 ** (order - 3)  # of |fine jump| / |coarse jump|
        assert abs(a - c) > 1e-9, "the neighbour has no influence: the test shows nothing"
        assert abs(b - c) < 1.5 * expected * abs(a - c)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_padding_changes_nothing(seed: int) -> None:
    model = Mace(config(1, 2, 2), 3)
    params = packed(model, seed)
    plain, padded = example(seed), example(seed, slots=2, padding=3)
    a = model.energies(params, plain).reshape(2, 6)
    b = model.energies(params, padded).reshape(2, 9)
    assert (b[:, :6] - a).abs().max() < ROUND_OFF * (1 + a.abs().max())
    assert b[:, 6:].abs().max() == 0
    vectors = padded.vectors.requires_grad_(True)
    (gradient,) = torch.autograd.grad(model.energies(params, padded).sum(), vectors)
    assert torch.isfinite(gradient).all()
    assert (gradient * (1 - padded.mask[..., None])).abs().max() == 0


@pytest.mark.parametrize("cell", [(0, 1, 3), (1, 3, 3), (2, 2, 2)])
def test_a_pack_is_its_runs(cell: tuple[int, int, int]) -> None:
    """Energies, and gradients of the summed loss, of a pack of three equal those of three packs of one."""
    model = Mace(config(*cell), 3)
    x, kinds = positions(5, 3, 2, 6), species(5, 3, 2, 6)
    params = {name: value.requires_grad_(True) for name, value in packed(model, 0, 1, 2).items()}
    names = [name for name in params if not name.startswith("constant.")]
    together = model.energies(params, graph_of(x, kinds, CUTOFF, slots=1))
    gradients = torch.autograd.grad(together.pow(2).sum(), [params[name] for name in names])
    for p in range(3):
        own = {name: value[p : p + 1].detach().requires_grad_(True) for name, value in params.items()}
        alone = model.energies(own, graph_of(x[p : p + 1], kinds[p : p + 1], CUTOFF))
        assert (together[p] - alone[0]).abs().max() < ROUND_OFF * (1 + alone.abs().max())
        for name, all_of_it, mine in zip(
            names, gradients, torch.autograd.grad(alone.pow(2).sum(), [own[name] for name in names]), strict=True
        ):
            assert (all_of_it[p] - mine[0]).abs().max() < ROUND_OFF * (1 + mine.abs().max()), name


def same_function(a: MaceConfig, b: MaceConfig) -> None:
    one, two = Mace(a, 3), Mace(b, 3)
    params = packed(one, 4)
    others = packed(two, 4)
    assert params.keys() == others.keys()
    assert all(torch.equal(params[name], others[name]) for name in params)
    graph = example(4)
    assert torch.equal(one.energies(params, graph), two.energies(others, graph))


@pytest.mark.parametrize("nu", [1, 2, 3])
def test_one_layer_does_not_depend_on_L(nu: int) -> None:
    same_function(config(0, nu, 2, n_layers=1), config(2, nu, 2, n_layers=1))


def test_invariant_pair_network_does_not_depend_on_edge_lmax() -> None:
    same_function(config(0, 1, 0, n_layers=3), config(0, 1, 3, n_layers=3))


@pytest.mark.parametrize("nu", [1, 2, 3])
def test_without_angles_L_is_irrelevant(nu: int) -> None:
    same_function(config(0, nu, 0, n_layers=3), config(2, nu, 0, n_layers=3))


def test_cells_that_should_differ_do() -> None:
    graph = example(4)
    seen = []
    for cell in CELLS:
        model = Mace(config(*cell), 3)
        seen.append(model.energies(packed(model, 4), graph))
    for i, a in enumerate(seen):
        assert all((a - b).abs().max() > 1e-3 for b in seen[:i])


@pytest.mark.parametrize("cell", CELLS)
def test_every_weight_reaches_the_energy(cell: tuple[int, int, int]) -> None:
    """No parameter without influence: three layers, so that there is one in the middle."""
    model = Mace(config(*cell, n_layers=3), 3)
    params = {name: value.requires_grad_(True) for name, value in packed(model, 0).items()}
    energies = model.energies(params, example(0))
    gradients = torch.autograd.grad(energies.pow(2).sum(), list(params.values()))
    assert [name for name, g in zip(params, gradients, strict=True) if g.abs().max() == 0] == []


@pytest.mark.parametrize("way", ["sparse", "dense"])
def test_first_and_second_derivatives(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "dense":
        monkeypatch.setattr(sparse, "available", lambda: False)
    elif not sparse.available():
        pytest.skip("no C++ compiler")
    model = Mace(config(1, 2, 1, channels=2, width=2), 2)
    params = packed(model, 0)
    graph = graph_of(positions(0, 1, 1, 3, 1.0), species(0, 1, 1, 3, 2), CUTOFF)
    names = list(params)

    def function(vectors: Tensor, *values: Tensor) -> Tensor:
        return model.energies(dict(zip(names, values, strict=True)), dataclasses.replace(graph, vectors=vectors))

    inputs = (graph.vectors.detach().requires_grad_(True), *(value.requires_grad_(True) for value in params.values()))
    assert torch.autograd.gradcheck(function, inputs)
    # fast mode: random projections of the second derivatives of all 600 weights instead of each of them
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


@pytest.mark.parametrize("cell", [(0, 1, 3), (1, 3, 3)])
def test_traced_training_step_is_the_step(cell: tuple[int, int, int]) -> None:
    """make_fx records energies, forces and the gradient of a loss on forces; replayed on other weights it agrees."""
    model = Mace(config(*cell), 3)
    graph = example(2)
    fields = [getattr(graph, field.name) for field in dataclasses.fields(graph)]
    names = list(packed(model, 0))

    def step(values: list[Tensor], vectors: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        leaves = [value.detach().requires_grad_(True) for value in values]
        moved = Graph(vectors.detach().requires_grad_(True), *rest)
        energies = model.energies(dict(zip(names, leaves, strict=True)), moved)
        (gradient,) = torch.autograd.grad(energies.sum(), moved.vectors, create_graph=True)
        return torch.autograd.grad(pair_forces(gradient, moved).pow(2).sum(), leaves, materialize_grads=True)

    traced = make_fx(step)(list(packed(model, 0).values()), *fields)
    other, other_graph = list(packed(model, 7).values()), example(3)
    moved = dataclasses.replace(graph, vectors=other_graph.vectors[:, :, : graph.mask.shape[2]] + 0.3)
    fields = [getattr(moved, field.name) for field in dataclasses.fields(moved)]
    if moved.vectors.shape != graph.vectors.shape:
        pytest.fail("the example needs more slots than the other")
    for a, b in zip(traced(other, *fields), step(other, *fields), strict=True):
        assert (a - b).abs().max() <= ROUND_OFF * (1 + b.abs().max())
