"""The settings of `model=point_kernel`, which is fitted in closed form by `experiments.regression.points`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from experiments.core.schema import setting
from experiments.models.contract import Architecture, Lacks, fitted


@dataclass(frozen=True)
class PointKernelConfig(Architecture):
    """Kernel regression on the points of a teacher (data=sphere, torus): the student whose exponent is known."""

    architecture: ClassVar[str] = "point_kernel"
    label: ClassVar[str] = "point kernel"
    closed_form: ClassVar[bool] = True
    group: ClassVar[str] = "none"
    kinds: ClassVar[tuple[str, ...]] = ("points",)
    lacks: ClassVar[Lacks] = {"L": None, "nu": None}

    kernel: str = setting("laplace", choices=("laplace", "matern32", "matern52", "gaussian"))
    length: float = setting(1.0, above=0.0)
    """Length scale in the units of the points."""
    ridge: float = setting(0.0, low=0.0)
    """Variance of the noise that the fit allows for, relative to the kernel's; 0: it interpolates."""
    quotient: bool = setting(False)
    """Whether the model has the invariance of data=torus: its input is θ1 − θ2 alone."""


CONFIG = PointKernelConfig
build = fitted("experiments.regression.points", "PointKernel")
