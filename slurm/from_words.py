"""The plan of a sweep that is written as on the command line, without Hydra's command (torch-free)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from experiments.config.parse import LacksKnob, parse
from experiments.config.run import RunConfig
from experiments.core.paths import CONF
from experiments.data.dataset import AnyDataset
from slurm.grid import expand
from slurm.plan import Composer, Plan, plan


def plan_of(words: Sequence[str], load: Callable[[Mapping[str, Any]], AnyDataset]) -> Plan:
    """Return the plan of `python -m experiments -m WORD …`, on the data of `load` (`slurm.plan.plan`)."""
    with _swept(words) as (loader, master, points):
        return plan(Composer(loader, master), points, load)


def configs_of(words: Sequence[str]) -> list[RunConfig]:
    """Return the configuration of every point, without data: channels are not matched yet, and runs have no ids.

    Points that set a knob which their model lacks are left out, as the command leaves them out.
    """
    found = []
    with _swept(words) as (loader, master, points):
        compose = Composer(loader, master)
        for point in points:
            try:
                found.append(parse(compose(point)))
            except LacksKnob:
                continue
    return found


@contextmanager
def _swept(words: Sequence[str]) -> Iterator[tuple[ConfigLoader, DictConfig, list[list[str]]]]:
    """Give Hydra's loader, the configuration that every point overrides, and the points."""
    swept = [override.is_sweep_override() for override in OverridesParser.create().parse_overrides(list(words))]
    own = [word for word, several in zip(words, swept, strict=True) if not several]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", own, run_mode=RunMode.MULTIRUN)
        grids: Any = OmegaConf.to_container(master.hydra.sweeper.grids)
        yield loader, master, expand(list(words), grids)
    GlobalHydra.instance().clear()
