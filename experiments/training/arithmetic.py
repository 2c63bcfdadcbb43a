"""How a GPU computes: with all digits of single precision, and the same again where that is cheap."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

cuda, cudnn = torch.backends.cuda, torch.backends.cudnn


@contextmanager
def arithmetic(tf32: bool) -> Iterator[None]:
    """Meanwhile matrix products and convolutions of float32 keep its 24 binary digits, or 11 with `tf32` (by torch's
    defaults products keep 24 and convolutions 11), and cuDNN takes algorithms by shape, not by timing, and only ones
    that give the same result each time. Nothing of this concerns a CPU."""
    # The older names of torch's switches: where only the newer `fp32_precision` is set, asking for the older ones
    # is an error, and Inductor asks for them.
    before = cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark
    try:
        _set(tf32, tf32, True, False)
        yield
    finally:
        _set(*before)


def _set(products: bool, convolutions: bool, deterministic: bool, benchmark: bool) -> None:
    cuda.matmul.allow_tf32, cudnn.allow_tf32 = products, convolutions
    cudnn.deterministic, cudnn.benchmark = deterministic, benchmark
