"""The settings of a training with ranges and messages, and the keys of its section that lead to some.

Torch-free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from experiments.config.compiling import REPAID
from experiments.core.errors import InputError
from experiments.core.schema import setting
from experiments.core.subsets import MOST_SEED

RATES: dict[str, Any] = {"above": 0.0, "high": 10.0}
"""Range of learning rates."""


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained; budgets are in updates, so that they do not depend on P."""

    max_steps: int = setting(2000, low=2, high=100_000_000)
    """Updates of the full schedule T; complete schedules of T/2 and T/4 branch off its stable phase."""
    batch_size: int = setting(8, low=1, high=65536)
    """Frames an update."""
    optimizer: str = setting("soap", choices=("soap", "adam", "amsgrad", "muon", "schedule_free"))
    """How the weights are updated (docs/optimizers.md)."""
    learning_rate: float = setting(4e-2, **RATES)
    """Peak of the learning rate."""
    warmup_steps: int = setting(100, low=0)
    """Updates over which the learning rate rises."""
    cooldown: float = setting(0.5, above=0.0, high=1.0)
    """Fraction of a schedule over which the learning rate falls to zero."""
    ema_decay: float = setting(0.99, low=0.0, high=1.0)
    """Errors are those of the exponential moving average of the weights; 0 switches it off."""
    clip: float = setting(10.0, above=0.0)
    """Largest norm of a run's gradient; longer ones are shortened to it."""
    energy_weight: float | None = setting(None, low=0.0)
    """Weight of the squared error of the energy per atom, in units of (force RMS × 1 Å)²; null: a third of each frame's
    number of atoms, with which an energy counts as much as one force component (docs/training.md)."""
    late_energy_weight: float | None = setting(None, low=0.0, since=2)
    """Another `energy_weight` while the learning rate falls, as a second stage of training; null: the same."""
    force_weight: float = setting(1.0, low=0.0)
    """Weight of the mean squared error of a force component, in units of (force RMS)²."""
    augment: bool = setting(False, since=2)
    """Rotate every frame of every batch at random, but no test frame. For models without rotation symmetry."""
    precision: str = setting("float32", choices=("float32", "float64"))
    """Number format of weights and gradients."""
    tf32: bool = setting(False, since=2)
    """On a GPU, compute products and convolutions with 11 of float32's 24 binary digits: faster, and equivariant only
    to that precision. No effect on a CPU."""
    stop: str = setting("budget", choices=("budget", "validation"), since=2)
    """Schedule whose weights and errors are the run's: that of all T updates, or, of T, T/2 and T/4, the one with the
    lowest error on validation frames (an eighth of P more, which count as P in tables). The errors of both are in the
    table."""
    compile: Literal["auto"] | bool = setting("auto", alike={"auto": True})
    """Compile the whole step if a C++ compiler is found; auto: if `max_steps` is at least 1500, which repays the
    minute that it takes. Part of the identity, for round-off differs, auto as true."""
    checkpoint_seconds: float = setting(60.0, above=0.0, identity=False)
    """Wall time between checkpoints in seconds, the most that a kill can cost."""
    tracker: str | None = setting(None, choices=("tensorboard", "mlflow", "wandb"), identity=False)
    """Tracker that also receives the records of the history (`experiments.runs.trackers`)."""
    keep: str = setting("trunk", choices=("trunk", "weights"), identity=False)
    """State that a finished run keeps: its weights; with `trunk` also the state from which twice the budget goes on."""

    def __post_init__(self) -> None:
        if not self.terms[0] and not self.terms[1]:
            raise InputError("energy_weight=0 and force_weight=0: nothing to train on; one of them must be > 0")
        if self.late_energy_weight is not None and self.energy_weight == 0 and self.force_weight == 0:
            raise InputError("energy_weight=0 and force_weight=0 until the learning rate falls: nothing to train on")
        if self.ema_decay == 1:
            raise InputError("ema_decay=1.0: the average would never move; accepted: 0 ≤ ema_decay < 1")
        if self.tf32 and self.precision != "float32":
            raise InputError(f"tf32=true: a way to compute with float32, not {self.precision}; accepted: false")

    @property
    def compiles(self) -> bool:
        """Whether the step is to be compiled: known from the settings alone (`experiments.config.compiling`)."""
        return self.max_steps >= REPAID if self.compile == "auto" else self.compile

    @property
    def terms(self) -> tuple[bool, bool]:
        """Whether energies and whether forces are trained on, at least while the learning rate falls."""
        energies = any(weight != 0 for weight in (self.energy_weight, self.late_energy_weight or 0))
        return energies, self.force_weight > 0


CONTINUOUS = (
    "max_steps", "learning_rate", "warmup_steps", "cooldown", "ema_decay", "clip", "energy_weight",
    "late_energy_weight", "force_weight",
)  # fmt: skip
"""Training settings in which the runs of one pack may differ."""

WEIGHTS = ("energy_weight", "late_energy_weight", "force_weight")
"""Training settings for molecules only."""


@dataclass(frozen=True)
class TrainingKeys:
    """The keys of the section `training` that are no settings of a training, but lead to some."""

    learning_rate: float | None = setting(None, **RATES)
    """Peak; null: that of `tuned`, else {default}."""
    budget_factor: float = setting(1.0, above=0.0)
    """Multiplies `max_steps`; only the product is recorded."""
    rate_factor: float = setting(1.0, above=0.0)
    """Multiplies the learning rate; only the product is recorded."""
    tuned: str | Mapping[str, Any] | None = setting(None)
    """NAME of conf/tuned/NAME.yaml (or a .yaml file): the learning rate of the nearest P that was tuned there
    (`python -m experiments.runs.tune`); an error beside an explicit learning rate."""
    init_seed: int | None = setting(None, low=0, high=MOST_SEED)
    """Draws the initial weights; null: the run's seed."""
