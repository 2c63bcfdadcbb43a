"""The C++ inner loop, compiled once per machine, as a torch operator that can be traced and compiled.

Without a C++ compiler, `available` is False and callers take their plain torch path.
"""

from __future__ import annotations

import ctypes
import logging
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from experiments.core.compiler import compiler
from experiments.nn.native import build

_LOG = logging.getLogger(__name__)
SOURCE = Path(__file__).with_name("sparse_product.cpp")
_MAX_FACTORS = 6


@cache
def _library() -> ctypes.CDLL | None:
    command = compiler()
    if command is None:
        return None
    try:
        return ctypes.CDLL(str(build.library(command, SOURCE)))
    except (OSError, subprocess.CalledProcessError) as error:
        _LOG.warning("the C++ inner loop could not be built (%s): symmetric contractions take the slow path", error)
        return None


def available() -> bool:
    """Return whether the compiled inner loop can be used on this machine's CPU."""
    return _library() is not None


torch.library.define(
    "equilaw::sparse_product",
    "(Tensor[] arguments, Tensor pairs, Tensor index, Tensor coefficient, Tensor offset) -> Tensor",
)


@torch.library.impl("equilaw::sparse_product", "CPU")
def _sparse_product(
    arguments: Sequence[Tensor], pairs: Tensor, index: Tensor, coefficient: Tensor, offset: Tensor
) -> Tensor:
    library = _library()
    assert library is not None, "sparse_product: call available() first"
    held = [argument.contiguous() for argument in arguments]
    nodes, _, channels = held[0].shape
    out = held[0].new_empty(nodes, offset.shape[0] - 1, channels)
    run = library.sparse_product_float if out.dtype == torch.float32 else library.sparse_product_double
    assert out.dtype in (torch.float32, torch.float64), f"sparse_product: expected float32 or float64, got {out.dtype}"
    n = len(held)
    status = run(
        ctypes.c_int64(index.shape[1]),
        ctypes.c_int64(nodes),
        ctypes.c_int64(channels),
        ctypes.c_int64(n),
        (ctypes.c_void_p * n)(*[argument.data_ptr() for argument in held]),
        (ctypes.c_int64 * n)(*[argument.shape[1] for argument in held]),
        ctypes.c_int64(pairs.shape[0]),
        ctypes.c_void_p(pairs.data_ptr()),
        ctypes.c_void_p(index.data_ptr()),
        ctypes.c_void_p(coefficient.data_ptr()),
        ctypes.c_void_p(offset.data_ptr()),
        ctypes.c_int64(out.shape[1]),
        ctypes.c_void_p(out.data_ptr()),
    )
    assert status == 0, f"sparse_product: expected 1 to {_MAX_FACTORS} factors, got {index.shape[1]}"
    return out


@torch.library.register_fake("equilaw::sparse_product")  # type: ignore[untyped-decorator]
def _sparse_product_fake(
    arguments: Sequence[Tensor], pairs: Tensor, index: Tensor, coefficient: Tensor, offset: Tensor
) -> Tensor:
    return arguments[0].new_empty(arguments[0].shape[0], offset.shape[0] - 1, arguments[0].shape[2])


def sparse_product(
    arguments: Sequence[Tensor], pairs: Tensor, index: Tensor, coefficient: Tensor, offset: Tensor
) -> Tensor:
    """Compute out[n, o, c] = Σ_{t of o} coefficient[t] · Π_f rows[index[t, f]][n, c]; returns `[N, O, C]`.

    Not differentiable by itself: see `experiments.nn.forms`.

    Args:
        arguments: `[N, rows_a, C]` each (float32 or float64). Row 0 is the constant 1; then come the rows of all
            arguments, one after the other, then the products of `pairs`.
        pairs: `[Q, 2]` int32, two earlier rows each.
        index: `[T, F]` int32, the rows of every term's factors, 1 ≤ F ≤ 6.
        coefficient: `[T]` in the dtype of the arguments.
        offset: `[O+1]` int32; the terms of output o are offset[o] … offset[o+1].
    """
    return torch.ops.equilaw.sparse_product(arguments, pairs, index, coefficient, offset)  # type: ignore[no-any-return]
