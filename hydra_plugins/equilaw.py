"""Hydra's plugins: the sweeper, the launchers, and the groups that a user's folder adds to.

Hydra finds them in this namespace only; they call `slurm` and `experiments.config`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.utils import JobReturn
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class GridSweeper(Sweeper):
    """Sweeper over the union of the grids in `hydra.sweeper.grids`, or the product of the swept keys."""

    def __init__(self, grids: Sequence[Any], params: Any = None) -> None:
        self.grids = grids
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make the launcher that the configuration names."""
        from hydra.core.plugins import Plugins

        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Expand the grids and launch all their points at once."""
        from slurm.grid import expand

        assert self.launcher is not None
        return self.launcher.launch(expand(arguments, self.grids), initial_job_idx=0)


def compiling(words: Sequence[str]) -> str:
    """Return in one line what the runs of a command line compile, done or not, and what that costs.

    Data are neither loaded nor downloaded. Of a search (`hydra/sweeper=optuna`), whose runs are not known, it is empty.

    Raises:
        InputError: a point of the sweep is bad.
    """
    if any(word.startswith("hydra/sweeper=") and word != "hydra/sweeper=grid" for word in words):
        return ""
    from slurm.from_words import configs_of
    from slurm.outline import compiling
    from slurm.plan import UnnamedRun

    return compiling([], [UnnamedRun(config, "not asked for") for config in configs_of(words)])


class LocalLauncher(Launcher):
    """Launcher of worker processes on this machine; see conf/hydra/launcher/local.yaml for the settings."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep Hydra's context and the configuration for `launch`."""
        self.hydra_context = hydra_context
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the points of the sweep that are not done, and wait for them (`slurm.launcher.launch_locally`)."""
        from slurm.launcher import launch_locally

        return launch_locally(self.hydra_context.config_loader, self.config, job_overrides, self.settings)


class SlurmLauncher(LocalLauncher):
    """Launcher of jobs on a Slurm cluster; see conf/hydra/launcher/slurm.yaml for the settings."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit the points of the sweep that are not done (`slurm.launcher.launch_on_slurm`)."""
        from slurm.launcher import launch_on_slurm

        plain = OmegaConf.to_container(OmegaConf.create(self.settings), resolve=True)
        assert isinstance(plain, dict)
        settings = {str(key): value for key, value in plain.items()}
        return launch_on_slurm(self.hydra_context.config_loader, self.config, job_overrides, settings)


class UserGroups(ConfigSource):
    """The architectures and sources of a user's folder (`plugins=DIR`) as options of `model` and `data`."""

    @staticmethod
    def scheme() -> str:
        """Return what paths of this source begin with."""
        return "plugins"

    def available(self) -> bool:
        """Return True: without a folder it has no options."""
        return True

    def load_config(self, config_path: str) -> ConfigResult:
        """Return the section of an option (`experiments.config.user_groups`)."""
        from experiments.config.user_groups import section

        group, name = _split(config_path)
        return ConfigResult(
            self.provider, f"plugins://{config_path}", OmegaConf.create(section(group, name)), {"package": None}
        )

    def is_group(self, config_path: str) -> bool:
        """Return whether it has options of this group."""
        return bool(self.list(config_path.rstrip("/"), None))

    def is_config(self, config_path: str) -> bool:
        """Return whether it has this option."""
        group, name = _split(config_path)
        return name in self.list(group, None)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Return the options of a group."""
        from experiments.core.plugins import VARIABLE

        if results_filter == ObjectType.GROUP or not os.environ.get(VARIABLE):
            return []
        from experiments.config.user_groups import options

        return sorted(options(config_path))


class UserGroupsSearchPath(SearchPathPlugin):
    """Makes Hydra look there too."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the source behind all others."""
        search_path.append(provider="plugins", path="plugins://")


def _split(config_path: str) -> tuple[str, str]:
    group, _, name = config_path.removesuffix(".yaml").rpartition("/")
    return group, name
