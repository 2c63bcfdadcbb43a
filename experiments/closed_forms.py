"""Which model that solves itself belongs to which settings: the only place that lists them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from experiments.architectures import (
    AceConfig,
    KrrConfig,
    ModelConfig,
    NearestConfig,
    NtkConfig,
    PointKernelConfig,
    PointNearestConfig,
)
from experiments.models.ace import Ace
from experiments.models.krr import Krr
from experiments.models.nearest import Nearest
from experiments.models.ntk import Ntk
from experiments.models.points import PointKernel, PointNearest
from experiments.training.closed_form import ClosedForm

CLOSED_FORMS: dict[type[ModelConfig], Callable[[Any, Sequence[int]], ClosedForm]] = {
    AceConfig: Ace,
    KrrConfig: Krr,
    NearestConfig: Nearest,
    NtkConfig: Ntk,
    PointKernelConfig: PointKernel,
    PointNearestConfig: PointNearest,
}
"""Settings → model, made of settings and ascending atomic numbers."""


def closed_form(config: ModelConfig, elements: Sequence[int]) -> ClosedForm:
    """The model of an architecture whose ``closed_form`` is true."""
    return CLOSED_FORMS[type(config)](config, elements)
