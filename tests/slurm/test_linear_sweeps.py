"""The shipped sweeps of linearised networks: what they compare, on which data, and what is known beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.config.channel_match import ChannelMatch
from experiments.data.load import dataset_of
from experiments.models.ntk import NtkConfig
from experiments.models.registry import MODELS
from experiments.runs.execute import execute
from slurm.from_words import plan_of
from slurm.plan import PlannedRun
from tests.golden.ids import StandIn

NAMES = ("nequip_linear", "mace_linear", "claim_linear", "architectures_linear")


def runs(name: str, *arguments: str) -> list[PlannedRun]:
    return plan_of([f"+sweep={name}", *arguments], dataset_of).runs


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_sweep_is_closed_form_on_the_shipped_frames_and_open_to_others(name: str) -> None:
    made = runs(name)
    assert all(run.config.model.closed_form for run in made)
    assert {run.config.data["source"] for run in made} == {"ethanol_small"}
    assert {run.config.data["test_frames"] for run in made} == {250}
    sizes = {run.config.P for run in made}
    assert max(sizes) / min(sizes) >= 16
    assert len({run.config.seed for run in made}) >= 4
    # the sizes of a ladder are nested and disjoint between seeds, and none needs more frames than there are
    other = runs(name, "data=star", "data.pool=640", "data.test=9", "data.holdout=1", "data.test_frames=null", "P=2")
    assert {run.config.data["source"] for run in other} == {"star"}
    assert len(other) == len(made) / len(sizes)


def test_curves_that_forecasts_are_calibrated_on_are_cheap_and_long() -> None:
    """No optimiser, one seed, seven sizes and more, and datasets enough that each can be left out of the fit."""
    curves: dict[tuple[str, str], set[int]] = {}
    for run in plan_of(["+sweep=forecast"], StandIn.of).runs:
        assert run.config.model.closed_form
        data = run.config.data
        curves.setdefault((f"{data['source']} {data.get('element', '')}", run.model_id), set()).add(run.config.P)
    assert all(len(sizes) >= 7 for sizes in curves.values())
    assert len(curves) >= 30  # of energies and of forces: sixty
    assert len({dataset for dataset, _ in curves}) == 6


def test_the_demo_needs_no_network_no_generation_and_no_compiler() -> None:
    """It has the cells of the claim and NequIP's L linearised, over a factor of 16 in P and four seeds at least."""
    made = runs("demo")
    assert {run.config.data["source"] for run in made} == {"ethanol_small"}
    assert not any(run.config.training.compile for run in made if run.config.training is not None)
    linearised = [run for run in made if run.config.model.closed_form]
    for name, expected in (
        ("ntk-mace", {(0, 1, 3), (1, 1, 3), (0, 3, 3), (0, 3, 0)}),
        ("ntk-nequip", {(0, None, 0), (1, None, 1), (2, None, 2)}),
    ):
        mine = [run for run in linearised if run.config.architecture == name]
        assert {orders(run) for run in mine} == expected
        sizes = {run.config.P for run in mine}
        assert max(sizes) / min(sizes) >= 16
        assert len({run.config.seed for run in mine}) >= 4
    trained = [run for run in made if not run.config.model.closed_form]
    assert {orders(run) for run in trained} == {(0, 1, 3), (0, 3, 3)}
    beside = {(run.config.P, run.config.seed) for run in linearised if run.config.architecture == "ntk-mace"}
    assert {(run.config.P, run.config.seed) for run in trained} <= beside


def orders(run: PlannedRun) -> tuple[Any, ...]:
    return run.config.L, run.config.nu, getattr(run.config.model, "edge_lmax", None)


def test_what_is_compared() -> None:
    assert {orders(run)[0] for run in runs("nequip_linear")} == {0, 1, 2, 3}
    assert {orders(run) for run in runs("mace_linear")} == {
        (0, 1, 3), (0, 2, 3), (0, 3, 3), (1, 3, 3), (2, 3, 3), (1, 1, 3), (2, 1, 3),
    }  # fmt: skip
    architectures = {run.config.architecture for run in runs("architectures_linear")}
    assert architectures == {
        "ntk-mace", "ntk-nequip", "ntk-tfn", "ntk-mpnn", "ntk-polynomial", "ace", "krr", "nearest"
    }  # fmt: skip
    linearised = {name.removeprefix("ntk-") for name in architectures if name.startswith("ntk-")}
    assert linearised == {name for name, cls in MODELS.items() if not cls.closed_form and takes_molecules(cls)}


def takes_molecules(cls: Any) -> bool:
    return "molecules" in cls.kinds


def place_of(run: PlannedRun) -> tuple[Any, Any]:
    return getattr(run.config.model, "n_layers", None), getattr(run.config.model, "cutoff", None)


def test_the_claims_cells_have_equal_weights_at_every_depth_and_cutoff() -> None:
    made = runs("claim_linear", "P=8", "seed=0")
    places = {place_of(run) for run in made}
    assert places == {(depth, cutoff) for depth in (2, 3, 4) for cutoff in (5.0, 1.75)}
    for place in places:
        cells = [run for run in made if place_of(run) == place]
        assert {orders(run) for run in cells} == {(0, 1, 3), (1, 1, 3), (0, 3, 3), (0, 3, 0)}
        matches = [run.config.match for run in cells]
        assert all(isinstance(m, ChannelMatch) and abs(m.mismatch) < 0.03 for m in matches)
        assert len({m.target for m in matches if isinstance(m, ChannelMatch)}) == 1


def test_of_one_layer_cells_a_and_b_are_one_network(tmp_path: Path) -> None:
    """The known answer: no message leaves a single layer, so L changes nothing, whatever the data."""
    made = runs(
        "claim_linear", "model.n_layers=1", "model.cutoff=5.0", "cell=A,B,C", "P=12", "seed=0", "reference.channels=4",
        "data.test_frames=6", f"store={tmp_path}",
    )  # fmt: skip
    for run in made:  # of different shapes: each by itself
        run.run.create(run.config.as_dict())
        assert execute([run.run], lambda: False, lambda event: None) == {run.run.id: "done"}
    errors = {}
    for run in made:
        assert isinstance(run.config.model, NtkConfig)
        result = run.run.result()
        assert result is not None
        errors[orders(run)] = result["metrics"]["force_mae"]
    # weight for weight the same network; sums padded with zeros may round differently
    assert errors[1, 1, 3] == pytest.approx(errors[0, 1, 3], rel=1e-6)
    assert errors[0, 3, 3] != pytest.approx(errors[0, 1, 3], rel=1e-2)
