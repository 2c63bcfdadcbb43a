"""Packed correlations on periodic grids of one to three dimensions, and other shared parts of networks on grids.

Grids are periodic, so that translations form a group and no pixel is lost at a border: a network is then exactly
invariant under them. Kernels are stored as `[taps, C, C']`, a matrix between channels for every tap, and scaled by
1/√(fan-in), so that weights of size one give signals of size one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from experiments.core.errors import InputError
from experiments.nn.parameters import Parameter
from experiments.nn.radial import scaled_silu

FAINT = 0.1
"""Mean square below which `normalized` no longer makes a channel's size one."""
CENTRE = 0.347
"""Mean of `experiments.nn.radial.scaled_silu` of normally distributed numbers."""
VARIATION = 0.05
"""Typical variation of means over a grid between examples (0.01 to 0.04 of digits and of isomers, measured). It is
small beside `CENTRE`, which would dominate the readout if means were not shifted."""
_CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)


def check_square(shape: tuple[int, ...], model: str) -> None:
    """Raise `InputError` unless inputs are square images `[channels, n, n]`: others have fewer symmetries."""
    if len(shape) != 3 or shape[1] != shape[2]:
        raise InputError(f"model={model}: images of shape {list(shape)}; accepted: square ones [channels, n, n]")


def correlate(x: Tensor, kernel: Tensor, dilation: int = 1) -> Tensor:
    """Correlate with periodic borders: Σ_y kernel(y)·x(z + dilation·y).

    Args:
        x: `[p, B, C, *space]`.
        kernel: `[p, C', C, *k]`, every side odd, its centre in the middle.
        dilation: distance between taps in pixels.

    Returns:
        `[p, B, C', *space]`.
    """
    p, batch, channels = x.shape[:3]
    space, sides = x.shape[3:], kernel.shape[3:]
    flat = x.transpose(0, 1).reshape(batch, p * channels, *space)
    for axis, side in enumerate(sides):
        flat = _wrapped(flat, axis + 2, dilation * (side // 2))
    correlated = _CONVOLUTIONS[len(sides) - 1](flat, kernel.flatten(0, 1), dilation=dilation, groups=p)
    return correlated.reshape(batch, p, -1, *space).transpose(0, 1)


def _wrapped(x: Tensor, axis: int, margin: int) -> Tensor:
    """Continue an axis periodically by `margin` on both sides (which may be longer than the axis)."""
    if margin == 0:
        return x
    size = x.shape[axis]
    periods, part = [x] * (margin // size), margin % size
    return torch.cat([x.narrow(axis, size - part, part), *periods, x, *periods, x.narrow(axis, 0, part)], axis)


def kernel_of(weight: Tensor, side: int) -> Tensor:
    """Reshape a stored kernel `[p, side^d, C, C']` to `[p, C', C, side, …]`, scaled by 1/√(side^d·C)."""
    p, taps, c, out = weight.shape
    dimensions = round(math.log(taps, side)) if side > 1 else 1
    scale = 1 / math.sqrt(taps * c)
    return (weight * scale).permute(0, 3, 2, 1).reshape(p, out, c, *([side] * dimensions))


def with_bias(x: Tensor, bias: Tensor) -> Tensor:
    """Add `bias` `[p, C]` to `[p, B, C, *space]`."""
    p, c = bias.shape
    return x + bias.reshape(p, 1, c, *([1] * (x.ndim - 3)))


def normalized(x: Tensor, keep: int, centre: bool = True) -> Tensor:
    """Normalise each instance: subtract the mean over all axes from `keep` on (if `centre`), divide by the RMS of the
    rest.

    As symmetric as the mean. No channel is then negative everywhere, where a nonlinearity passes on no gradient; nearly
    empty channels (mean square below `FAINT`) are not blown up.
    """
    axes = tuple(range(keep, x.ndim))
    left = x - x.mean(axes, keepdim=True) if centre else x
    return left / ((left * left).mean(axes, keepdim=True) + FAINT).sqrt()


class Layered(Protocol):
    """Settings of a network whose layers may be normalised."""

    @property
    def n_layers(self) -> int:
        """Number of correlations."""
        ...

    @property
    def instance_norm(self) -> bool:
        """Whether fields are normalised at all."""
        ...


def normalizes(config: Layered, t: int) -> bool:
    """Return whether layer `t` is normalised: all but the last, whose mean over the grid the readout sees."""
    return config.instance_norm and t < config.n_layers - 1


def pooled(x: Tensor, keep: int) -> Tensor:
    """Take a soft maximum over all axes from `keep` on, ln(mean(eˣ)).

    As symmetric as the mean, and it sees a digit on an empty canvas (means over the canvas train several times slower,
    measured).
    """
    flat = x.flatten(keep)
    return flat.logsumexp(-1) - math.log(flat.shape[-1])


def averaged(x: Tensor, keep: int) -> Tensor:
    """Take the mean over all axes from `keep` on, shifted by `CENTRE` and in units of `VARIATION`."""
    return (x.flatten(keep).mean(-1) - CENTRE) / VARIATION


def summary(x: Tensor, keep: int, normalize: bool) -> Tensor:
    """Pool fields for the readout: by their mean if layers are normalised, else by the soft maximum."""
    return averaged(x, keep) if normalize else pooled(x, keep)


def readout_parameters(channels: int, outputs: int, hidden: int | None) -> list[Parameter]:
    """List the weights of `readout` with `hidden` units (None: as many as channels)."""
    hidden = channels if hidden is None else hidden
    return [
        Parameter("readout.0", (channels, hidden)),
        Parameter("readout.0.bias", (hidden,), 0.0),
        Parameter("readout.1", (hidden, outputs)),
        Parameter("readout.1.bias", (outputs,), 0.0),
    ]


def readout(params: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Map invariants `[p, B, C]` to outputs `[p, B, o]` by a perceptron of one hidden layer."""
    x = scaled_silu(x @ (params["readout.0"] * (1 / math.sqrt(x.shape[-1]))) + params["readout.0.bias"][:, None])
    return x @ (params["readout.1"] * (1 / math.sqrt(x.shape[-1]))) + params["readout.1.bias"][:, None]
