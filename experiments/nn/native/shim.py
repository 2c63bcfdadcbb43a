"""The native operator with torch's C interface, which the C++ that Inductor writes calls directly."""

from __future__ import annotations

import ctypes
import logging
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch

from experiments.core.compiler import cxx
from experiments.nn.native import build, sparse

_LOG = logging.getLogger(__name__)
_SOURCE = Path(__file__).with_name("sparse_product_shim.cpp")
_DECLARATION = (
    "AOTITorchError aoti_torch_cpu_sparse_product(const AtenTensorHandle* arguments, int64_t n, "
    "AtenTensorHandle pairs, AtenTensorHandle index, AtenTensorHandle coefficient, AtenTensorHandle offset, "
    "AtenTensorHandle* out)"
)


def declarations() -> dict[Any, list[str]]:
    """Return Inductor's option `aot_inductor.custom_ops_to_c_shims`, the library loaded; empty if it has none."""
    return {torch.ops.equilaw.sparse_product.default: [_DECLARATION]} if _loaded() else {}


@cache
def _loaded() -> bool:
    """Load the library so that what is loaded later finds its function; return whether that worked."""
    command = cxx()
    if command is None or not sparse.available():
        return False
    torch_folder = Path(torch.__file__).parent
    places = (f"-I{torch_folder / 'include'}", f"-L{torch_folder / 'lib'}", "-ltorch_cpu", "-w")
    known = sparse.SOURCE.read_text(encoding="utf-8") + torch.__version__
    try:
        made = build.library(command, _SOURCE, (*build.FLAGS, *places), known)
        ctypes.CDLL(str(made), ctypes.RTLD_GLOBAL)
    except (OSError, subprocess.CalledProcessError) as error:
        _LOG.info("the C interface of the inner loop could not be built (%s): Inductor calls it through Python", error)
        return False
    return True
