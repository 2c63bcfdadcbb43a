"""Hydra's plugins: the sweeper and the launchers. Hydra finds them in this namespace only; they call `slurm`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
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
