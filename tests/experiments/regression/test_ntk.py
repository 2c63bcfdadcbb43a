"""Linearised networks: features that are derivatives, exactness where a network is linear, identities, symmetries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from experiments.core.arrays import Floats
from experiments.core.errors import InputError
from experiments.data.dataset import Frames
from experiments.models.contract import NetworkConfig
from experiments.models.mace import MaceConfig
from experiments.models.nequip import NequipConfig
from experiments.models.networks import network
from experiments.models.ntk import NtkConfig
from experiments.models.tfn import TfnConfig
from experiments.nn.graph import Graph
from experiments.nn.radial import bessel, polynomial_cutoff
from experiments.regression import least_squares, ridge, rows
from experiments.regression.ladder import one_solution
from experiments.regression.least_squares import LinearFit
from experiments.regression.linearised import LinearisedNetwork, resident
from experiments.regression.ntk import Ntk
from experiments.tasks.molecules import DeviceFrames, pick_graph
from tests.experiments.finished import molecules as mixed
from tests.experiments.regression.test_krr import molecules

ELEMENTS = [1, 6, 8]
CUTOFF = 4.0
TINY: dict[str, Any] = {"L": 1, "n_layers": 2, "channels": 2, "cutoff": CUTOFF}
RADIAL: dict[str, Any] = {"n_bessel": 3, "radial_hidden": (4,), "readout_hidden": 3}
MACE = MaceConfig(nu=2, edge_lmax=1, **TINY, **RADIAL)
SMALL: dict[str, NetworkConfig] = {
    "mace": MACE,
    "nequip": NequipConfig(**TINY, **RADIAL),
    "tfn": TfnConfig(n_radial=3, radial_width=3, **TINY),
}
ALL = pytest.mark.parametrize("name", SMALL)


def made(config: NetworkConfig, frames: Frames) -> LinearisedNetwork:
    ntk = Ntk(NtkConfig(of=config.architecture, network=config), ELEMENTS)
    return ntk.linearised(ntk.initial(frames, 0))


def design(model: LinearisedNetwork, frames: Frames) -> tuple[Floats, Floats]:
    """Return the rows of energies `[F, M]` and of every component of the forces `[F, N, 3, M]`."""
    f, n = frames.numbers.shape
    unit = np.tile(np.eye(3 * n).reshape(3 * n, n, 3), (f, 1, 1, 1))
    energies, forces = np.full((f, model.size), np.nan), np.full((f, 3 * n, model.size), np.nan)
    model.fill(frames, unit, energies, forces)
    return energies, forces.reshape(f, n, 3, -1)


def fit(model: Any, frames: Frames, **settings: Any) -> LinearFit:
    return least_squares.solve(model, frames, 1.0, 1.0, **settings)


@ALL
def test_features_are_the_derivatives(name: str) -> None:
    """Of energies and forces with respect to every weight, by central differences; padded frames, two compositions."""
    frames = mixed(1, ((6, 8, 1, 1), (8, 1, 1)))
    model = made(SMALL[name], frames)
    energies, forces = design(model, frames)
    split, step = resident(frames, CUTOFF, ELEMENTS), 1e-4

    def outputs(weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        graph = pick_graph(split.tensors, torch.arange(2)[None])
        vectors = graph.vectors.requires_grad_(True)
        atomic = model.model.energies({key: value[None] for key, value in weights.items()}, graph) * graph.atoms
        (gradient,) = torch.autograd.grad(atomic.sum(), vectors)
        return atomic.detach().reshape(2, -1).sum(1), gradient

    rng = np.random.default_rng(0)
    start = 0
    for key in model.names:
        value = model.weights[key]
        for entry in rng.choice(value.numel(), size=min(2, value.numel()), replace=False):
            changed = []
            for sign in (1, -1):
                other = value.clone()
                other.view(-1)[int(entry)] += sign * step
                changed.append(outputs({**model.weights, key: other}))
            slope = (changed[0][0] - changed[1][0]) / (2 * step)
            # step²/6 of third derivatives of order 10, round-off over the step: 1e-7 and 1e-11
            np.testing.assert_allclose(energies[:, start + entry], slope.numpy(), atol=1e-6)
            graph = pick_graph(split.tensors, torch.arange(2)[None])
            pair = ((changed[0][1] - changed[1][1]) / (2 * step) * graph.mask[..., None]).reshape(2, 4, -1, 3)
            total = pair.sum(2)  # F_i = Σ_k g_ik − Σ_k g_ki
            senders = (graph.senders.reshape(2, 4, -1) % 4).flatten(1)[..., None].expand(-1, -1, 3)
            total = total.scatter_add(1, senders, -pair.flatten(1, 2))
            np.testing.assert_allclose(forces[..., start + entry], total.numpy(), atol=1e-6)
        start += value.numel()
    assert start == model.size
    assert not forces[1, 3].any()


@ALL
def test_prediction_is_the_design_matrix_times_coefficients(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = mixed(2)
    model = made(SMALL[name], frames)
    w = np.random.default_rng(0).normal(size=model.size)
    found, other = model.predict_all(np.stack([w, -2 * w]), frames)
    scale = 1 + np.abs(found.forces).max()
    energies, forces = design(model, frames)
    np.testing.assert_allclose(energies @ w, found.energies, atol=1e-11 * scale)
    np.testing.assert_allclose(forces @ w, found.forces, atol=1e-11 * scale)
    np.testing.assert_allclose(other.forces, -2 * found.forces, atol=1e-11 * scale)
    monkeypatch.setattr("experiments.regression.linearised._SLOTS", 1)
    assert model.frames_at_once(frames) == 1
    np.testing.assert_allclose(model.predict_all(w[None], frames)[0].forces, found.forces, atol=1e-11 * scale)


@ALL
def test_padding_that_no_frame_of_a_pass_needs_is_left_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One large frame does not make all others as costly: passes are as wide as their own frames."""
    frames = mixed(1, ((6, 8, 1, 1), (8, 1, 1)))
    wide = frames.padded(9)
    model, whole = made(SMALL[name], frames), LinearisedNetwork._resident
    widths: list[int] = []

    def noted(self: LinearisedNetwork, own: Frames) -> DeviceFrames:
        widths.append(own.numbers.shape[1])
        return whole(self, own)

    monkeypatch.setattr(LinearisedNetwork, "_resident", noted)
    (energies, forces), (same, padded) = design(model, frames), design(model, wide)
    np.testing.assert_array_equal(same, energies)
    np.testing.assert_array_equal(padded[:, :4], forces)
    assert not padded[:, 4:].any()
    assert widths == [4, 4]
    monkeypatch.setattr("experiments.regression.linearised._SLOTS", 1)
    w = np.random.default_rng(0).normal(size=(1, model.size))
    one, other = model.predict_all(w, frames)[0], model.predict_all(w, wide)[0]
    np.testing.assert_array_equal(other.forces[:, :4], one.forces)
    np.testing.assert_array_equal(other.energies, one.energies)
    assert other.forces.shape == wide.forces.shape
    assert widths[-2:] == [4, 3]


class Linear:
    """Pair potentials of Bessel functions by the species of both ends: a network that is linear in its weights."""

    def init(self, seed: int, dtype: torch.dtype) -> dict[str, Tensor]:
        return {"pairs": torch.randn(3, 4, generator=torch.Generator().manual_seed(seed), dtype=dtype)}

    def energies(self, params: Mapping[str, Tensor], graph: Graph) -> Tensor:
        r = graph.vectors.square().sum(-1).sqrt()
        basis = bessel(r, CUTOFF, 4) * (polynomial_cutoff(r, CUTOFF, 5) * graph.mask)[..., None]
        own = params["pairs"][torch.arange(len(graph.species))[:, None], graph.species]  # [p, n, 4]
        return torch.einsum("pnkb,pnb->pn", basis, own)


def test_a_network_that_is_linear_in_its_weights_is_learned_exactly() -> None:
    """Labels from other weights of it than the initial ones."""
    linear = Linear()
    model = LinearisedNetwork(linear, linear.init(0, torch.float64), ELEMENTS, CUTOFF)
    truth = linear.init(1, torch.float64)["pairs"].numpy().ravel()
    train, test = molecules(20, scatter=0.2), molecules(10, seed=1, scatter=0.2)
    labelled = [replace(f, energies=p.energies - 3000, forces=p.forces) for f in (train, test)
                for p in model.predict_all(truth[None], f)]  # fmt: skip
    found = fit(model, labelled[0]).predict(labelled[1])
    # λ stops at 1e-14 of the largest eigenvalue: directions 1e-7 as strong are half learned
    np.testing.assert_allclose(found.forces, labelled[1].forces, atol=1e-6 * np.abs(labelled[1].forces).max())
    np.testing.assert_allclose(found.energies, labelled[1].energies, atol=1e-6)


def test_by_products_of_rows_or_of_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same fit by the smaller of the two matrices, and by the other."""
    frames = molecules(6)
    model = made(replace(MACE, n_layers=1), frames)
    found = [fit(model, frames, ridge=1e-6).predict(molecules(3, seed=1))]
    natural = ridge.in_dual(6 * 13, model.size)
    monkeypatch.setattr(rows, "in_dual", lambda count, columns: not natural)
    found.append(fit(model, frames, ridge=1e-6).predict(molecules(3, seed=1)))
    # round-off over the penalty
    np.testing.assert_allclose(found[0].forces, found[1].forces, atol=1e-8)
    np.testing.assert_allclose(found[0].energies, found[1].energies, atol=1e-8)


IDENTITIES: list[tuple[str, dict[str, Any], dict[str, Any], bool]] = [
    ("mace", {"n_layers": 1, "L": 0}, {"n_layers": 1, "L": 2}, True),
    ("mace", {"L": 0, "nu": 1, "edge_lmax": 0}, {"L": 0, "nu": 1, "edge_lmax": 2}, True),
    ("mace", {"edge_lmax": 0, "L": 0}, {"edge_lmax": 0, "L": 1}, True),
    ("mace", {"L": 0}, {"L": 1}, False),
    ("nequip", {"n_layers": 1, "L": 0}, {"n_layers": 1, "L": 2}, True),
    ("nequip", {"L": 0}, {"L": 1}, False),
    ("tfn", {"n_layers": 1, "L": 0}, {"n_layers": 1, "L": 2}, True),
]


@pytest.mark.parametrize(("name", "one", "other", "same"), IDENTITIES)
def test_identities_of_function_classes(name: str, one: dict[str, Any], other: dict[str, Any], same: bool) -> None:
    """One layer ⇒ L irrelevant; (L=0, ν=1) independent of the edge order; edge order 0 ⇒ L irrelevant; else not."""
    frames = molecules(4)
    found = []
    for changes in (one, other):
        edge = {} if name == "mace" else {"edge_lmax": changes.get("edge_lmax", changes["L"])}
        model = made(replace(SMALL[name], **edge, **changes), frames)
        found.append(fit(model, frames, ridge=1e-6).predict(molecules(3, seed=1)).forces)
    # weight for weight the same network: only sums that were padded with zeros may round differently
    assert (np.abs(found[0] - found[1]).max() < 1e-8) == same


@ALL
def test_symmetries(name: str) -> None:
    """Those of the network: rotations, translations, permutations, and for E(3) mirror images."""
    frames = molecules(4)
    config = SMALL[name]
    solution = fit(made(config, frames), frames)
    other = molecules(2, seed=1)
    rotation = Rotation.random(rng=np.random.default_rng(0)).as_matrix()
    order = [1, 0, 5, 3, 2, 4]
    before = solution.predict(other)
    for sign in (1, -1) if config.group == "E(3)" else (1,):
        moved = (sign * other.positions @ rotation.T + [3.0, -1.0, 2.0])[:, order]
        after = solution.predict(replace(other, positions=moved, numbers=other.numbers[:, order]))
        # round-off, amplified by coefficients that cancel
        np.testing.assert_allclose(after.energies, before.energies, atol=1e-7)
        np.testing.assert_allclose(after.forces, sign * (before.forces @ rotation.T)[:, order], atol=1e-7)


@ALL
def test_learns_and_a_stored_solution_predicts_the_same(name: str) -> None:
    train, test = molecules(24), molecules(20, seed=1)
    ntk = Ntk(NtkConfig(of=name, network=SMALL[name]), ELEMENTS)
    errors: list[float] = []
    for count in (4, 24):
        solution = one_solution(ntk, train.take(np.arange(count)), None, 3)
        found = ntk.geometry(solution.tensors)(test)
        errors.append(float(np.abs(found.forces - test.forces).mean()))
    assert errors[1] < 0.6 * errors[0] < 0.6 * np.abs(test.forces).mean()
    assert solution.n_parameters == ntk.linearised(ntk.initial(train, 3)).size
    again = Ntk(NtkConfig(of=name, network=SMALL[name]), ELEMENTS).geometry(
        {key: value.clone() for key, value in solution.tensors.items()}
    )(test)
    np.testing.assert_array_equal(again.forces, found.forces)
    other = one_solution(ntk, train, None, 4)
    assert not torch.equal(other.tensors["coefficients"], solution.tensors["coefficients"])


def atoms_apart() -> Frames:
    far = molecules(2)
    spread: Floats = far.positions.copy()
    spread += 50.0 * np.arange(6)[None, :, None]
    return replace(far, positions=spread)


@ALL
def test_atoms_without_neighbours(name: str) -> None:
    frames = atoms_apart()
    model = made(SMALL[name], frames)
    energies, forces = design(model, frames)
    assert not forces.any()
    assert np.isfinite(energies).all()
    assert not model.predict_all(np.ones((1, model.size)), frames)[0].forces.any()


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = molecules(30)
    ntk = Ntk(NtkConfig(), ELEMENTS)
    monkeypatch.setattr("experiments.core.machine_memory.memory_limit", lambda: 2.0**28)
    with pytest.raises(
        InputError,
        match=r"^P=30: 570 labels and \d+ coefficients: needs .* accepted: P=\d+ or fewer or a smaller model.channels$",
    ):
        one_solution(ntk, frames, None, 0)
    strange = frames.numbers.copy()
    strange[3, 2] = 7
    with pytest.raises(InputError, match="frame 3, atom 2: atomic number 7 is not among those of the fit"):
        ntk.accept(frames, replace(frames, numbers=strange))
    assert network(NtkConfig().network, 3).init(0, torch.float64)
