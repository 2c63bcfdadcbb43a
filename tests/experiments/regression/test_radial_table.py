"""Tables of radial networks: the kernel of the network itself, forces included, and the weights that it predicts by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from experiments.core.arrays import Floats
from experiments.data.dataset import Frames
from experiments.models.contract import NetworkConfig
from experiments.models.mace import MaceConfig
from experiments.models.nequip import NequipConfig
from experiments.models.ntk import NtkConfig
from experiments.models.tfn import TfnConfig
from experiments.regression import ntk, radial_table, rows
from experiments.regression.ladder import Conditions, one_solution
from experiments.regression.linearised import LinearisedNetwork
from experiments.regression.ntk import Ntk
from experiments.regression.radial_table import TabulatedNetwork, distances, pays
from tests.experiments.finished import molecules as mixed
from tests.experiments.regression.test_krr import molecules

ELEMENTS = [1, 6, 8]
NETWORKS: dict[str, NetworkConfig] = {
    "mace": MaceConfig(L=1, nu=2, edge_lmax=2, channels=2, cutoff=4.0, radial_hidden=(16, 16), readout_hidden=3),
    "nequip": NequipConfig(L=1, n_layers=2, channels=2, cutoff=4.0, radial_hidden=(16, 16), readout_hidden=3),
    "fixed basis": NequipConfig(L=1, n_layers=2, channels=2, cutoff=4.0, radial_hidden=(16,), bessel_trainable=False),
}


def made(config: NetworkConfig, frames: Frames, elements: list[int] = ELEMENTS) -> LinearisedNetwork:
    model = Ntk(NtkConfig(of=config.architecture, network=config), elements)
    return model.linearised(model.initial(frames, 0))


def design(model: rows.LinearModel, frames: Frames) -> tuple[Floats, Floats]:
    """Return the rows of energies `[F, M]` and of every component of the forces `[F·3N, M]`."""
    f, n = frames.numbers.shape
    unit = np.tile(np.eye(3 * n).reshape(3 * n, n, 3), (f, 1, 1, 1))
    energies, forces = np.full((f, model.size), np.nan), np.full((f, 3 * n, model.size), np.nan)
    model.fill(frames, unit, energies, forces)
    return energies, forces.reshape(f * 3 * n, -1)


def largest_difference(found: Floats, expected: Floats) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "kind"),
    [("mace", "molecules"), ("mace", "three sizes"), ("nequip", "periodic"), ("fixed basis", "three sizes")],
)
def test_the_kernel_is_the_network_s(name: str, kind: str) -> None:
    """Products of rows agree, of energies and of forces each, with fewer columns than weights."""
    frames = mixed(1) if kind == "three sizes" else molecules(4, scatter=0.1)
    if kind == "periodic":
        frames = replace(frames, cells=np.tile(5.0 * np.eye(3), (4, 1, 1)), pbc=np.ones((4, 3), dtype=bool))
    elements = sorted(set(frames.numbers[frames.numbers > 0].tolist()))
    network = made(NETWORKS[name], frames, elements)
    table = TabulatedNetwork(network, frames)
    assert table.size < 0.95 * network.size
    assert table.n_weights == network.size
    for found, expected in zip(design(table, frames), design(network, frames), strict=True):
        assert np.isfinite(found).all()
        # coefficients are resolved to 1e-11 of the largest; a force has ten times their number, for the slope of T_j
        assert largest_difference(found @ found.T, expected @ expected.T) < 1e-9


def test_more_terms_make_the_kernel_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is that of the polynomials: it falls with their number."""
    frames = molecules(4, scatter=0.1)
    network = made(NETWORKS["nequip"], frames)
    expected = design(network, frames)[1]
    errors = []
    for terms in (16, 32, 96):
        monkeypatch.setattr(radial_table, "TERMS", (terms,))
        found = design(TabulatedNetwork(network, frames), frames)[1]
        errors.append(largest_difference(found @ found.T, expected @ expected.T))
    assert errors[0] > 10 * errors[1] > 1e4 * errors[2]


@pytest.mark.parametrize("name", ["mace", "nequip"])
def test_coefficients_of_columns_are_those_of_weights(name: str) -> None:
    """Xᵀα through the table predicts what it does through the network, beyond the table's distances too."""
    frames = molecules(4, scatter=0.1)
    other = replace(frames, positions=1.3 * frames.positions)
    network = made(NETWORKS[name], frames)
    table = TabulatedNetwork(network, frames)
    assert distances(other, 4.0, ELEMENTS) != distances(frames, 4.0, ELEMENTS)
    own, by_table = design(network, frames)[1], design(table, frames)[1]
    alpha = np.random.default_rng(0).normal(size=(2, len(own)))
    by_column = alpha @ by_table
    for seen in (frames, other):
        pairs = zip(table.predict_all(by_column, seen), network.predict_all(alpha @ own, seen), strict=True)
        for found, expected in pairs:
            assert largest_difference(found.energies, expected.energies) < 1e-7
            assert largest_difference(found.forces, expected.forces) < 1e-7


@pytest.mark.parametrize("name", ["mace", "nequip"])
def test_a_ladder_through_tables_is_the_ladder(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors agree to 1e-7, ridges are the same, in a ladder and alone, with rows held and in tiles."""
    frames, test = molecules(12, scatter=0.1), molecules(4, seed=1)
    config = NETWORKS[name]
    model = Ntk(NtkConfig(of=config.architecture, network=config), ELEMENTS)
    conditions = Conditions(pool=frames)
    exact = model.ladder(frames, [4, 12], conditions)
    assert "radial_table" not in exact.solutions[0].facts
    monkeypatch.setattr(ntk, "pays", lambda *arguments: True)
    found = model.ladder(frames, [4, 12], conditions)
    plan = rows.Plan.for_size
    short = lambda *arguments: replace(plan(*arguments), held=False, tile=9)  # noqa: E731
    monkeypatch.setattr(rows.Plan, "for_size", staticmethod(short))
    tiled = model.ladder(frames, [4, 12], conditions)
    alone = one_solution(model, frames.take(slice(0, 4)), None, 0)
    for one, other in zip(found.solutions, exact.solutions, strict=True):
        assert one.facts["ridge"] == other.facts["ridge"]
        assert one.n_parameters == other.n_parameters == one.tensors["coefficients"].numel()
        assert one.facts["radial_table"]["columns"] < one.n_parameters
    assert alone.facts["ridge"] == exact.solutions[0].facts["ridge"]
    for ladder in (found, tiled):
        for seen, expected in zip(ladder.predict(test), exact.predict(test), strict=True):
            assert largest_difference(seen.forces, expected.forces) < 1e-7
            assert largest_difference(seen.energies, expected.energies) < 1e-7
    again = model.geometry(found.solutions[0].tensors)(test)
    np.testing.assert_allclose(again.forces, found.predict(test)[0].forces, rtol=0, atol=1e-12)
    by_itself = model.geometry(alone.tensors)(test)
    assert largest_difference(by_itself.forces, again.forces) < 1e-7


def ethanols(P: int) -> Frames:
    numbers = np.tile([6, 6, 8, 1, 1, 1, 1, 1, 1], (P, 1))
    x = np.zeros((P, 9, 3))
    return Frames(numbers, x, np.zeros(P), x, np.zeros((P, 3, 3)), np.zeros((P, 3), dtype=bool))


def test_tables_are_for_many_rows() -> None:
    """Settings and sizes decide: P = 1,024 of ethanol, not 512; never where columns are solved or no forces."""
    cell = MaceConfig(L=0, nu=3, edge_lmax=3, channels=16)
    network = made(cell, molecules(4))
    chosen = {P: pays(network, ethanols(P), [32, P], (None, 1.0)) for P in (128, 256, 512, 1024)}
    assert chosen == {128: False, 256: False, 512: False, 1024: True}
    assert not pays(network, ethanols(1024), [1024], (None, 0.0))
    assert not pays(network, ethanols(2048), [2048], (None, 1.0))  # 57,344 labels: products of columns
    wide = made(replace(cell, channels=64), molecules(4))  # tables of 256 functions cost more than they save
    assert not pays(wide, ethanols(1024), [1024], (None, 1.0))
    field = made(TfnConfig(channels=16), molecules(4))
    assert not pays(field, ethanols(1024), [1024], (None, 1.0))


def test_a_large_ladder_keeps_its_rows() -> None:
    """The 13,000 columns of 1,024 frames of ethanol stay in memory, which 32,816 would not."""
    frames = ethanols(1024)
    plan = rows.Plan.for_size(frames, [1024], 13_000, 32, 2.5e8, (None, 1.0), "", 32_816)
    assert plan.held
    assert plan.in_dual(1024)
    assert plan.bytes <= 8e9
    assert not rows.Plan.for_size(frames, [1024], 32_816, 32, 2.5e8, (None, 1.0), "").held


def test_frames_without_pairs() -> None:
    frames = molecules(2)
    network = made(NETWORKS["mace"], frames)
    apart = replace(frames, positions=100.0 * frames.positions)
    table = TabulatedNetwork(network, apart)
    energies, forces = design(table, apart)
    expected, _ = design(network, apart)
    np.testing.assert_allclose(energies @ energies.T, expected @ expected.T, rtol=1e-12)
    assert not forces.any()
