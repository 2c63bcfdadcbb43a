"""Equivariant polynomials: identities between function classes, degree in the density, the span of linear ACE."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.config.training import TrainingConfig
from experiments.data.dataset import Dataset, Frames
from experiments.data.sources.polynomial_teacher import PolynomialTeacherConfig, polynomial
from experiments.data.splits import subset
from experiments.models.ace import AceConfig
from experiments.models.networks.polynomial import Polynomial
from experiments.models.polynomial import PolynomialConfig
from experiments.regression.ace import LinearAce
from experiments.tasks.molecules import MoleculeTask, PreparedData
from experiments.training.member import Member
from experiments.training.pack import Pack
from tests.experiments.finished import molecules
from tests.experiments.models.test_networks import example, packed
from tests.experiments.models.test_networks import polynomial as made
from tests.experiments.regression.test_least_squares import solve


def same_function(a: Polynomial, b: Polynomial) -> None:
    params, others = packed(a, 4), packed(b, 4)
    assert params.keys() == others.keys()
    assert all(torch.equal(params[name], others[name]) for name in params)
    graph = example(4)
    assert torch.equal(a.energies(params, graph), b.energies(others, graph))


@pytest.mark.parametrize("nu", [1, 2])
def test_up_to_one_product_L_is_irrelevant(nu: int) -> None:
    """L bounds what one product hands to the next; here that is nothing."""
    for L in (1, 3):
        same_function(made(L=0, nu=nu), made(L=L, nu=nu))


def test_one_factor_does_not_depend_on_the_edge_order() -> None:
    same_function(made(nu=1, L=0, edge_lmax=0), made(nu=1, L=0, edge_lmax=3))


@pytest.mark.parametrize("nu", [3, 4])
def test_without_angles_L_is_irrelevant(nu: int) -> None:
    same_function(made(nu=nu, L=0, edge_lmax=0), made(nu=nu, L=2, edge_lmax=0))


def test_degrees_that_no_factor_brings_home_are_irrelevant() -> None:
    """The last product makes scalars of l ≤ edge_lmax alone; with four factors l = 2 can still come down to 1."""
    same_function(made(nu=3, L=1, edge_lmax=1), made(nu=3, L=3, edge_lmax=1))
    same_function(made(nu=4, L=2, edge_lmax=1), made(nu=4, L=3, edge_lmax=1))


def test_polynomials_that_should_differ_do() -> None:
    changes: list[dict[str, Any]] = [
        {"nu": 1}, {"nu": 2}, {"nu": 2, "edge_lmax": 1}, {"nu": 3, "L": 0}, {"nu": 3, "L": 1}, {"nu": 3, "L": 2},
        {"nu": 3, "L": 0, "edge_lmax": 0}, {"nu": 4, "L": 1, "edge_lmax": 1}, {"nu": 4, "L": 2, "edge_lmax": 1},
        {"n_bessel": 3}, {"cutoff_power": 4},
    ]  # fmt: skip
    graph = example(4)
    seen: list[torch.Tensor] = []
    for change in changes:
        model = made(**change)
        seen.append(model.energies(packed(model, 4), graph))
        assert all((seen[-1] - other).abs().max() > 1e-6 for other in seen[:-1]), change


@pytest.mark.parametrize("nu", [1, 2, 3, 4])
def test_the_energy_is_a_polynomial_of_degree_nu_in_the_density(nu: int) -> None:
    """Scaled densities (through 1/√N̄): the (ν+1)-th difference vanishes, the ν-th does not."""
    model, graph = made(nu=nu, L=2), example(1)
    params = packed(model, 1)

    def energy(scale: float) -> torch.Tensor:
        own = params | {"constant.inverse_neighbours": torch.full((1,), scale**2, dtype=torch.float64)}
        return model.energies(own, graph)

    values = torch.stack([energy(0.2 * s) for s in range(nu + 2)]).numpy()
    assert np.abs(np.diff(values, nu + 1, axis=0)).max() < 1e-12  # sums of ten numbers near 1
    assert np.abs(np.diff(values, nu, axis=0)).max() > 1e-4


@pytest.mark.parametrize(("nu", "L", "edge", "n_radial"), [(2, 0, 2, 2), (3, 0, 2, 1), (3, 2, 2, 1)])
def test_it_lies_in_the_span_of_linear_ace(nu: int, L: int, edge: int, n_radial: int) -> None:
    """Random weights label molecules, and ACE of this order and radial functions learns them to round-off; ACE of one
    order less does not. (With three factors ACE has all radial functions only where there is one.)"""
    config = PolynomialConfig(L=L, nu=nu, edge_lmax=edge, channels=3, cutoff=3.0, n_bessel=n_radial, cutoff_power=2)
    numbers = ((6, 8, 1, 1),)
    pool, test = (labelled(config, molecules(count, numbers, seed)) for count, seed in ((150, 0), (40, 1)))

    def error(order: int) -> float:
        ace = LinearAce(AceConfig(stretch=None, nu=order, edge_lmax=edge, n_radial=n_radial, cutoff=3.0), (1, 6, 8))
        found = solve(ace, pool).predict(test)
        return float(np.abs(found.forces - test.forces).max() / np.abs(test.forces).max())

    # λ stops at 1e-12 of the largest eigenvalue (test_closed_form)
    assert error(nu) < 1e-5
    assert error(nu - 1) > 1e-3


def labelled(config: PolynomialConfig, frames: Frames) -> Frames:
    model = Polynomial(config, 3)
    none = frames.take(slice(0, 0))
    task = MoleculeTask(Dataset("", frames, none, none), config.cutoff, torch.float64, torch.device("cpu"))
    params = {name: value[None] for name, value in model.init(0, torch.float64).items()}
    prepared = replace(task.prepare(np.arange(len(frames))), scale=1.0)
    assert isinstance(prepared, PreparedData)
    found = task.predict(model, params, [prepared], task.pool, [np.arange(len(frames))])[0]
    return replace(frames, energies=found.energies, forces=found.forces)


@pytest.fixture(scope="module")
def cubic() -> Dataset:
    """Polynomial of degrees (1, 1, 2): with L = 1 in the span, with L = 0 or ν = 2 not."""
    return polynomial(PolynomialTeacherConfig(L=1, nu=3, edge_lmax=2, n_neighbours=3, pool=240, holdout=4, test=300))


@pytest.mark.parametrize(("L", "nu", "learns"), [(1, 3, True), (0, 3, False), (1, 2, False)])
def test_the_engine_learns_a_teacher_in_the_span_and_no_other(
    cubic: Dataset, L: int, nu: int, learns: bool, tmp_path: Path
) -> None:
    config = PolynomialConfig(L=L, nu=nu, edge_lmax=2, channels=6, cutoff=2.0, n_bessel=3)
    task = MoleculeTask(cubic, config.cutoff, torch.float32, torch.device("cpu"))
    settings = TrainingConfig(
        max_steps=240, batch_size=8, learning_rate=0.03, warmup_steps=20, ema_decay=0.9, compile=False
    )
    member = Member("a", tmp_path, [tmp_path], 0, 0, settings, task.prepare(subset(len(cubic.pool), 48, 0, 5)))
    Pack([member], task, Polynomial(config, 2), compile=False).train(lambda: False, lambda event: None)
    assert member.full is not None
    error = member.full.test["energy_rmse"].value * 4  # four atoms
    # The floor is sd 1 eV, known to some percent from 300 frames; measured 1.02 and 1.04, in the span 0.06.
    assert error < 0.4 if learns else error > 0.85
