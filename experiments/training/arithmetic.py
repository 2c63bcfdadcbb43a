"""How a device computes: a GPU with all digits of single precision unless asked otherwise, and deterministic cuDNN
algorithms; a CPU with denormal numbers as zero."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

cuda, cudnn = torch.backends.cuda, torch.backends.cudnn


@contextmanager
def arithmetic(tf32: bool) -> Iterator[None]:
    """Set how a GPU computes inside the context; nothing of it concerns a CPU.

    Matrix products and convolutions of float32 keep its 24 binary digits, or 11 with `tf32` (by torch's defaults
    products keep 24 and convolutions 11). cuDNN chooses algorithms by shape instead of by timing, and only ones that
    give the same result each time.
    """
    # The older names of torch's switches: if only the newer `fp32_precision` is set, reading the older ones is an
    # error, and Inductor reads them.
    before = cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark
    try:
        _set(tf32, tf32, True, False)
        yield
    finally:
        _set(*before)


def _set(products: bool, convolutions: bool, deterministic: bool, benchmark: bool) -> None:
    cuda.matmul.allow_tf32, cudnn.allow_tf32 = products, convolutions
    cudnn.deterministic, cudnn.benchmark = deterministic, benchmark


@contextmanager
def denormals_are_zero() -> Iterator[None]:
    """Treat numbers below the normal range (1e-38 in single precision) as zero inside the context.

    Gradients of memorised training data get that small, and processors are slow there (1,600 updates on 20 digits took
    177 s instead of 32).
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)  # data elsewhere keep all digits, and so their checksums
