"""The named sweeps of the papers have the papers' settings (that all sweeps compose, test_plan.py checks)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

from experiments.config.parse import parse
from experiments.config.run import RunConfig
from experiments.models.networks import network
from slurm.grid import expand
from slurm.plan import Composer

CONF = Path(__file__).resolve().parents[2] / "conf"
PUBLISHED = CONF / "data" / "rmd17.yaml"
PAPERS = ("nequip_water", "nequip_aspirin", "mace_aspirin", "ethanol", "claim")
Curve = tuple[Mapping[str, Any], RunConfig]
Curves = Callable[[str], list[Curve]]


@pytest.fixture
def curves(loader: ConfigLoader, master: Callable[..., DictConfig]) -> Curves:
    """Configurations of a sweep by name, one for each curve: the first P and seed of each."""

    def make(name: str) -> list[Curve]:
        if not PUBLISHED.exists():
            pytest.skip("this version knows no published data sets")
        composed = master(f"+sweep={name}")
        grids: Any = OmegaConf.to_container(composed.hydra.sweeper.grids)
        composer = Composer(loader, composed)
        firsts: dict[tuple[str, ...], list[str]] = {}
        for point in expand([f"+sweep={name}"], grids):
            firsts.setdefault(tuple(text for text in point if not text.startswith(("P=", "seed="))), point)
        found: list[Curve] = []
        for point in firsts.values():
            configuration = composer(point)
            found.append((configuration, parse(configuration)))
        return found

    return make


@pytest.mark.parametrize("name", [*PAPERS, "architectures"])
def test_sweeps_say_what_differs_from_the_papers(name: str) -> None:
    text = (CONF / "sweep" / f"{name}.yaml").read_text(encoding="utf-8")
    assert "plateau" in text  # the papers' schedule, which is not this program's
    assert "\nstore: " in text


def test_nequips_networks_are_the_published_ones(curves: Curves) -> None:
    """Batch, rate and loss weights of the input files, and numbers of weights of the paper's networks."""
    sizes = {}
    for _, config in curves("nequip_aspirin"):
        made: Any = network(config.model, 3).init(0, torch.float32)
        count = sum(value.numel() for name, value in made.items() if not name.startswith("constant."))
        sizes[config.L, getattr(config.model, "channels", 0)] = count
        assert config.training is not None
        assert (config.training.batch_size, config.training.learning_rate) == (5, 0.01)
        assert config.training.energy_weight is not None
        # E : F = 1 : 1000 on the energy of 21 atoms, here per atom
        assert config.training.energy_weight / config.training.force_weight == pytest.approx(21**2 / 1000)
    assert sizes == {
        (0, 64): 167_640, (1, 64): 741_080, (2, 64): 1_674_968, (3, 64): 3_190_488,
        (0, 173): 741_852, (0, 512): 5_565_144,
    }  # fmt: skip


def test_maces_sweep_fills_its_figure_and_the_map(curves: Curves) -> None:
    assert {(config.L, config.nu) for _, config in curves("mace_aspirin")} == {
        (L, nu) for L in (0, 1, 2) for nu in (1, 2, 3)
    }


def test_the_claim_has_four_cells_on_five_molecules_and_a_cutoff_without_angles(curves: Curves) -> None:
    found = [(data["data"]["molecule"], config) for data, config in curves("claim")]
    assert len({molecule for molecule, _ in found}) == 5
    cells = {(config.L, config.nu, getattr(config.model, "edge_lmax", None)) for _, config in found}
    assert cells == {(0, 1, 3), (1, 1, 3), (0, 3, 3), (0, 3, 0)}
    assert min(getattr(config.model, "cutoff", 9.0) for _, config in found) < 1.78  # Å, H–C–H
    assert len(found) == 5 * 4 * 2
