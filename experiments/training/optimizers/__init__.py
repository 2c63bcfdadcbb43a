"""Optimisers that act on each run of a pack by itself; docs/optimizers.md compares them."""

from __future__ import annotations

from experiments.training.optimizers.adam import Adam, AmsGrad
from experiments.training.optimizers.muon import Muon
from experiments.training.optimizers.optimizer import Optimizer
from experiments.training.optimizers.schedule_free import ScheduleFree
from experiments.training.optimizers.soap import Soap

__all__ = ["OPTIMIZERS", "Adam", "AmsGrad", "Muon", "Optimizer", "ScheduleFree", "Soap"]

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "soap": Soap,
    "adam": Adam,
    "amsgrad": AmsGrad,
    "muon": Muon,
    "schedule_free": ScheduleFree,
}
"""By the name of `training.optimizer`."""
