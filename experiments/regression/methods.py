"""The closed-form model of every configuration: the only place that lists them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from experiments.models.architectures import (
    AceConfig,
    KrrConfig,
    ModelConfig,
    NearestConfig,
    NtkConfig,
    PointKernelConfig,
    PointNearestConfig,
)
from experiments.regression.ace import Ace
from experiments.regression.krr import Krr
from experiments.regression.ladder import ClosedForm
from experiments.regression.nearest import Nearest
from experiments.regression.ntk import Ntk
from experiments.regression.points import PointKernel, PointNearest

CLOSED_FORMS: dict[type[ModelConfig], Callable[[Any, Sequence[int]], ClosedForm]] = {
    AceConfig: Ace,
    KrrConfig: Krr,
    NearestConfig: Nearest,
    NtkConfig: Ntk,
    PointKernelConfig: PointKernel,
    PointNearestConfig: PointNearest,
}
"""Model by settings class; called with the settings and the ascending atomic numbers."""


def closed_form(config: ModelConfig, elements: Sequence[int]) -> ClosedForm:
    """Make the model of an architecture whose `closed_form` is true."""
    return CLOSED_FORMS[type(config)](config, elements)
