"""Every network but MACE as a potential: symmetries, smoothness, packs, derivatives."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from experiments.models.mpnn import MpnnConfig
from experiments.models.nequip import NequipConfig
from experiments.models.networks import Trainable, example_network, network
from experiments.models.networks.mpnn import Mpnn
from experiments.models.networks.nequip import Nequip
from experiments.models.networks.polynomial import Polynomial
from experiments.models.networks.tfn import Tfn
from experiments.models.polynomial import PolynomialConfig
from experiments.models.registry import MODELS
from experiments.models.tfn import TfnConfig
from experiments.nn.gate import Irrep
from experiments.nn.graph import Graph, pair_forces
from tests.experiments.models.clusters import graph_of, positions, species
from tests.experiments.models.test_mace import rotated, rotations, wigner

CUTOFF = 3.0
# Energies of order one from some nested products: round-off of float64, amplified some thousand times.
ROUND_OFF = 1e-11


def nequip(**changes: Any) -> Nequip:
    small: dict[str, Any] = {"channels": 4, "n_bessel": 4, "radial_hidden": (8,), "readout_hidden": 5}
    return Nequip(NequipConfig(**{**small, "cutoff": CUTOFF, **changes}), 3)


def tfn(**changes: Any) -> Tfn:
    small: dict[str, Any] = {"channels": 4, "n_radial": 5, "radial_width": 6}
    return Tfn(TfnConfig(**{**small, "cutoff": CUTOFF, **changes}), 3)


def polynomial(**changes: Any) -> Polynomial:
    small: dict[str, Any] = {"channels": 4, "n_bessel": 4, "edge_lmax": 2}
    return Polynomial(PolynomialConfig(**{**small, "cutoff": CUTOFF, **changes}), 3)


def mpnn(**changes: Any) -> Mpnn:
    small: dict[str, Any] = {"channels": 5, "n_bessel": 3, "n_layers": 2}
    return Mpnn(MpnnConfig(**{**small, "cutoff": CUTOFF, **changes}), 3)


Made = Nequip | Tfn | Polynomial | Mpnn
MADE: dict[str, Made] = {
    "nequip L=0": nequip(L=0),
    "nequip L=1": nequip(L=1, n_layers=4),
    "nequip L=2": nequip(L=2, n_layers=2),
    "nequip L=1 whole": nequip(L=1, prune="none"),
    "nequip L=2 natural": nequip(L=2, n_layers=4, parity=False),
    "nequip L=1 edge 3": nequip(L=1, n_layers=2, edge_lmax=3, embedding=2, self_connection="embedding"),
    "tfn L=0": tfn(L=0),
    "tfn L=1": tfn(L=1),
    "tfn L=2": tfn(L=2, n_layers=2),
    "tfn L=1 edge 2": tfn(L=1, n_layers=4, edge_lmax=2),
    "polynomial nu=1": polynomial(nu=1),
    "polynomial nu=2": polynomial(nu=2, edge_lmax=3),
    "polynomial L=0 nu=3": polynomial(L=0),
    "polynomial L=2 nu=4": polynomial(L=2, nu=4),
    "mpnn": mpnn(),
    "mpnn deep": mpnn(n_layers=3, message_layers=3),
}
ALL = pytest.mark.parametrize("name", MADE)
SYMMETRIC = pytest.mark.parametrize("name", [name for name in MADE if "mpnn" not in name])
SOME = pytest.mark.parametrize(
    "name", ["nequip L=0", "nequip L=1", "tfn L=0", "tfn L=1", "polynomial L=2 nu=4", "mpnn"]
)


def packed(model: Trainable, *seeds: int) -> dict[str, Tensor]:
    runs = [model.init(seed, torch.float64) for seed in seeds]
    for seed, run in zip(seeds, runs, strict=True):
        generator = torch.Generator().manual_seed(seed)
        for name in run:
            if "bias" in name:  # zero at first
                run[name] = 0.3 * torch.randn(run[name].shape, generator=generator, dtype=torch.float64)
    params = {name: torch.stack([run[name] for run in runs]) for name in runs[0]}
    return params | {"constant.inverse_neighbours": torch.full((len(seeds),), 0.2, dtype=torch.float64)}


def example(seed: int, pack: int = 1, slots: int = 0, padding: int = 0) -> Graph:
    return graph_of(positions(seed, pack, 2, 6), species(seed, pack, 2, 6), CUTOFF, slots, padding)


def features_of(model: Made, params: dict[str, Tensor], graph: Graph) -> list[dict[Irrep, Tensor]]:
    """Return features by degree and sign, of networks whose messages have degrees.

    Those of the tensor field network have no parity, and rotations see none.
    """
    if isinstance(model, Nequip):
        return model.node_features(params, graph)
    if not isinstance(model, Tfn):
        return []
    return [{(degree, 1): h for degree, h in found.items()} for found in model.node_features(params, graph)]


def test_every_network_is_registered() -> None:
    """Every file that declares a network makes one for each kind of examples that it says it takes."""
    shapes = {"images": (1, 8, 8), "series": (1, 12), "voxels": (1, 5, 5, 5), "clouds": (4, 3), "momenta": (4, 4)}
    for name, cls in MODELS.items():
        config = cls()
        for kind in () if config.closed_form else config.kinds:
            made = network(config, 2) if kind == "molecules" else example_network(config, shapes[kind], 3)
            assert made.init(0, torch.float32), (name, kind)


@SYMMETRIC
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_energies_are_invariant_and_features_equivariant(name: str, seed: int) -> None:
    """Under rotations, and reflections where the network's group has them; pseudo-tensors change sign with those.
    Translations cannot be seen by a graph of differences."""
    model = MADE[name]
    params, graph = packed(model, seed), example(seed)
    energies, features = model.energies(params, graph), features_of(model, params, graph)
    proper, improper = rotations(seed)
    for rotation in (proper, improper) if model.config.group == "E(3)" else (proper,):
        scale = 1 + energies.abs().max()
        assert (model.energies(params, rotated(graph, rotation)) - energies).abs().max() < ROUND_OFF * scale
        for before, after in zip(features, features_of(model, params, rotated(graph, rotation)), strict=True):
            assert set(before) == set(after)
            for (degree, sign), h in before.items():
                matrix = wigner(degree, rotation) * (float(torch.linalg.det(rotation).sign()) if sign < 0 else 1.0)
                expected = torch.einsum("ab,pnbc->pnac", matrix, h)
                assert (after[degree, sign] - expected).abs().max() < ROUND_OFF * (1 + h.abs().max())


@ALL
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10**6), order=st.permutations(range(6)))
def test_renumbering_atoms_renumbers_energies(name: str, seed: int, order: list[int]) -> None:
    model = MADE[name]
    params = packed(model, seed)
    x, kinds = positions(seed, 1, 1, 6), species(seed, 1, 1, 6)
    before = model.energies(params, graph_of(x, kinds, CUTOFF))
    after = model.energies(params, graph_of(x[:, :, order], kinds[:, :, order], CUTOFF))
    assert (after - before[:, order]).abs().max() < ROUND_OFF * (1 + before.abs().max())


@ALL
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_forces_are_the_gradient(name: str, seed: int) -> None:
    """pair_forces(∂E/∂vectors) against autograd through positions and against central differences."""
    model = MADE[name]
    params, kinds = packed(model, seed), species(seed, 1, 2, 6)

    def energy(x: Tensor) -> Tensor:
        return model.energies(params, graph_of(x, kinds, CUTOFF, slots=1)).sum()

    x = positions(seed, 1, 2, 6).requires_grad_(True)
    (reference,) = torch.autograd.grad(energy(x), x)
    graph = graph_of(x.detach(), kinds, CUTOFF)
    vectors = graph.vectors.requires_grad_(True)
    (gradient,) = torch.autograd.grad(model.energies(params, graph).sum(), vectors)
    forces = pair_forces(gradient, graph).reshape(x.shape)
    scale = 1 + forces.abs().max()
    assert (forces + reference).abs().max() < ROUND_OFF * scale
    step = 1e-5  # error of central differences: h²·f''' ~ 1e-10·10³ and round-off 1e-15/h ~ 1e-10
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    direction = direction / direction.norm()
    with torch.no_grad():
        up, down = energy(x + step * direction), energy(x - step * direction)
    assert abs((up - down) / (2 * step) + (forces * direction).sum()) < 1e-6 * scale


@SOME
def test_energy_is_smooth_at_the_cutoff(name: str) -> None:
    """E, E' and E'' of an atom that crosses the cutoff: their jump vanishes as δ³, δ², δ with the distance δ to it."""
    model = MADE[name]
    params = packed(model, 0)
    kinds = torch.tensor([[[0, 1, 0]]])

    def derivatives(distance: float) -> list[float]:
        r = torch.tensor(distance, dtype=torch.float64, requires_grad=True)
        zero = torch.zeros((), dtype=torch.float64)
        # the third atom sees the first only; the second is near the first
        near = torch.tensor([-1.0, 0.5, 0.2], dtype=torch.float64)
        x = torch.stack([torch.zeros_like(near), near, torch.stack([r, zero, zero])])[None, None]
        energy = model.energies(params, graph_of(x, kinds, CUTOFF)).sum()
        (first,) = torch.autograd.grad(energy, r, create_graph=True, materialize_grads=True)
        if first.grad_fn is None:
            return [energy.item(), first.item(), 0.0]
        (second,) = torch.autograd.grad(first, r)
        return [energy.item(), first.item(), second.item()]

    outside = derivatives(CUTOFF + 3e-3)
    assert outside[1:] == [0.0, 0.0]
    coarse, fine = derivatives(CUTOFF - 3e-2), derivatives(CUTOFF - 3e-3)
    for order, (a, b, c) in enumerate(zip(coarse, fine, outside, strict=True)):
        expected = 10.0 ** (order - 3)  # of |fine jump| / |coarse jump|
        assert abs(a - c) > 1e-9, "the neighbour has no influence: the test shows nothing"
        assert abs(b - c) < 1.5 * expected * abs(a - c)


@ALL
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_padding_changes_nothing(name: str, seed: int) -> None:
    model = MADE[name]
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


@SOME
def test_an_atom_alone_has_forces_of_zero(name: str) -> None:
    """Its vectors vanish, whose norms have no gradient: nothing may become NaN, in second derivatives neither."""
    model = MADE[name]
    params = {key: value.requires_grad_(True) for key, value in packed(model, 0).items()}
    graph = graph_of(positions(0, 1, 1, 1), species(0, 1, 1, 1), CUTOFF, slots=1)
    vectors = graph.vectors.requires_grad_(True)
    energies = model.energies(params, graph)
    (gradient,) = torch.autograd.grad(energies.sum(), vectors, create_graph=True)
    assert gradient.abs().max() == 0
    wanted = [value for key, value in params.items() if not key.startswith("constant.")]
    loss = energies.pow(2).sum() + (gradient - 1).pow(2).sum()
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, wanted, materialize_grads=True))


@ALL
def test_a_pack_is_its_runs(name: str) -> None:
    """Energies, and gradients of the summed loss, of a pack of three equal those of three packs of one."""
    model = MADE[name]
    x, kinds = positions(5, 3, 2, 6), species(5, 3, 2, 6)
    params = {key: value.requires_grad_(True) for key, value in packed(model, 0, 1, 2).items()}
    keys = [key for key in params if not key.startswith("constant.")]
    together = model.energies(params, graph_of(x, kinds, CUTOFF, slots=1))
    wanted = [params[key] for key in keys]
    gradients = torch.autograd.grad(together.pow(2).sum(), wanted, materialize_grads=True)
    for p in range(3):
        own = {key: value[p : p + 1].detach().requires_grad_(True) for key, value in params.items()}
        alone = model.energies(own, graph_of(x[p : p + 1], kinds[p : p + 1], CUTOFF))
        assert (together[p] - alone[0]).abs().max() < ROUND_OFF * (1 + alone.abs().max())
        mine = torch.autograd.grad(alone.pow(2).sum(), [own[key] for key in keys], materialize_grads=True)
        for key, all_of_it, g in zip(keys, gradients, mine, strict=True):
            assert (all_of_it[p] - g[0]).abs().max() < ROUND_OFF * (1 + g.abs().max()), key


@pytest.mark.parametrize("name", [name for name in MADE if "whole" not in name])
def test_every_weight_reaches_the_energy(name: str) -> None:
    model = MADE[name]
    params = {key: value.requires_grad_(True) for key, value in packed(model, 0).items()}
    energies = model.energies(params, example(0))
    keys = [key for key in params if not key.startswith("constant.")]
    gradients = torch.autograd.grad(energies.pow(2).sum(), [params[key] for key in keys])
    assert [key for key, g in zip(keys, gradients, strict=True) if g.abs().max() == 0] == []


SMALLEST: dict[str, Made] = {
    "nequip": nequip(L=1, n_layers=2, channels=2, n_bessel=2, radial_hidden=(2,), readout_hidden=2),
    "tfn": tfn(L=1, n_layers=2, channels=2, n_radial=2, radial_width=2),
    "polynomial": polynomial(L=1, nu=4, edge_lmax=1, channels=2, n_bessel=2),
    "mpnn": mpnn(n_layers=2, channels=2, n_bessel=2),
}


@pytest.mark.parametrize("name", SMALLEST)
def test_first_and_second_derivatives(name: str) -> None:
    model = SMALLEST[name]
    params = packed(model, 0)
    graph = graph_of(positions(0, 1, 1, 3, 1.0), species(0, 1, 1, 3, 3), CUTOFF)
    keys = list(params)

    def function(vectors: Tensor, *values: Tensor) -> Tensor:
        return model.energies(dict(zip(keys, values, strict=True)), dataclasses.replace(graph, vectors=vectors))

    inputs = (graph.vectors.detach().requires_grad_(True), *(value.requires_grad_(True) for value in params.values()))
    assert torch.autograd.gradcheck(function, inputs)
    # fast mode: random projections of the second derivatives of all weights instead of each of them
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


@SOME
def test_traced_training_step_is_the_step(name: str) -> None:
    """make_fx records energies, forces and the gradient of a loss on forces; replayed on other weights it agrees."""
    model = MADE[name]
    graph = example(2)
    fields = [getattr(graph, field.name) for field in dataclasses.fields(graph)]
    keys = list(packed(model, 0))

    def step(values: list[Tensor], vectors: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        leaves = [value.detach().requires_grad_(True) for value in values]
        moved = Graph(vectors.detach().requires_grad_(True), *rest)
        energies = model.energies(dict(zip(keys, leaves, strict=True)), moved)
        (gradient,) = torch.autograd.grad(energies.sum(), moved.vectors, create_graph=True)
        return torch.autograd.grad(pair_forces(gradient, moved).pow(2).sum(), leaves, materialize_grads=True)

    step(list(packed(model, 0).values()), *fields)  # once plainly: what models cache must not be a tracer's
    traced = make_fx(step)(list(packed(model, 0).values()), *fields)
    other = list(packed(model, 7).values())
    moved = dataclasses.replace(graph, vectors=graph.vectors * 0.9 + 0.1)
    fields = [getattr(moved, field.name) for field in dataclasses.fields(moved)]
    for a, b in zip(traced(other, *fields), step(other, *fields), strict=True):
        assert (a - b).abs().max() <= ROUND_OFF * (1 + b.abs().max())


@ALL
def test_single_precision_is_the_same_to_its_round_off(name: str) -> None:
    model = MADE[name]
    params, graph = packed(model, 3), example(3)
    single = {key: value.float() for key, value in params.items()}
    fields = {f.name: getattr(graph, f.name) for f in dataclasses.fields(graph)}
    other = Graph(
        **{
            key: value.float() if value.is_floating_point() else value
            for key, value in fields.items()
            if value is not None
        }
    )
    found, expected = model.energies(single, other), model.energies(params, graph)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 1e-4 * (1 + expected.abs().max())  # 2⁻²⁴ amplified some thousand times
