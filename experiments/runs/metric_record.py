"""What a result says of one metric: its errors, and the flags that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from experiments.core import files
from experiments.runs.schedules import CANNOT_TELL, CONVERGED, NOT_CONVERGED, verdict
from experiments.tasks.metrics import MetricValue

DATA_LIMITED_BELOW = 1 / 3
"""A run is limited by its data if its training error is under this share of its test error."""
LEARNED_BELOW = 0.9
"""A run learned something if its test error is under this share of the input-independent baseline's. A predictor
without any geometry can get somewhat below 1: the median beats the mean by ln 2/(2/e) = 0.94 in mean absolute error if
labels are distributed exponentially, and on the star teacher one constant along the bonds explains forces to 0.95–0.98
(calculated). And the verdict on convergence does not resolve gains below `schedules.CONVERGED_WITHIN`."""


@dataclass(frozen=True)
class MetricErrors:
    """Errors of one run by one metric, all in `unit`; None where there is none.

    test           error on the test set
    train          on the run's own training labels
    half, quarter  on the test set after T/2 and T/4 updates
    holdout        of the final weights on the validation set
    mean           of the input-independent baseline on the test set
    resolution     smallest difference that two errors can have; neighbours count as equal
    """

    unit: str
    test: MetricValue
    train: float | None
    half: float | None
    quarter: float | None
    holdout: float | None
    mean: float | None
    resolution: float = 0.0

    def told(self, *, too_short: bool) -> str | None:
        """Return the verdict of `schedules.verdict`, which schedules that are too short cannot make favourable."""
        found = verdict((self.quarter, self.half, self.test.value), self.resolution * (1 + 1e-9))
        return NOT_CONVERGED if too_short and found in (CONVERGED, CANNOT_TELL) else found

    def record(
        self,
        *,
        converged: bool | None,
        told: str | None,
        stopped: Mapping[str, float | None] = MappingProxyType({}),
    ) -> dict[str, Any]:
        """Return the entry of `by_metric` in a result.

        Args:
            converged: whether the training counts as converged; None: unknown.
            told: the verdict on it, None where it has none.
            stopped: errors by the protocol of validation, by column.
        """
        return {
            "unit": self.unit,
            "error": self.test.value,
            "error_test_sem": files.json_number(self.test.sem),  # a single frame has none
            "train_error": self.train,
            "error_half_budget": self.half,
            "error_quarter_budget": self.quarter,
            **stopped,
            "holdout_error": self.holdout,
            "mean_error": self.mean,
            "converged": converged,
            "verdict": told,
            "data_limited": None if self.train is None else self.train < DATA_LIMITED_BELOW * self.test.value,
            "learned": None if self.mean is None else self.test.value < LEARNED_BELOW * self.mean,
        }
