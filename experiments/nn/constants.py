"""Constant tensors that a network uses in every call: couplings, bases, the metric.

Moved from the host in every call, such a tensor would cost a GPU a wait each time, and as a copy inside of a traced
step it would keep the step from being one CUDA graph.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes as outside_traces

__all__ = ["Constant", "outside_traces"]  # outside_traces: makes real tensors, also during a trace


class Constant:
    """A tensor on the CPU that is moved once to each device and dtype that asks for it."""

    def __init__(self, value: Tensor) -> None:
        self.value = value
        self._moved: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def like(self, x: Tensor) -> Tensor:
        """Return it on the device of `x` and in its dtype; integers stay integers."""
        dtype = x.dtype if self.value.is_floating_point() else self.value.dtype
        key = (x.device, dtype)
        if key not in self._moved:
            with outside_traces():  # a tracer's tensor must not outlive its trace
                self._moved[key] = self.value.to(*key)
        return self._moved[key]
