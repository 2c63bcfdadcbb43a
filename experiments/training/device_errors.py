"""Errors of the device, told apart: its memory is too small for a pack, or it can no longer be used.

Compilers and libraries wrap the device's error, so the causes of an error are searched too. CUDA's errors other than
out-of-memory are sticky as a rule: after one, every later call of the process fails, whichever run makes it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import torch

GiB = 2**30
NO_MEMORY = re.compile(
    r"out of memory|(CUBLAS|CUDNN)_STATUS_ALLOC_FAILED|DefaultCPUAllocator: (not enough memory|can't allocate)",
    re.IGNORECASE,
)
LOST = re.compile(
    r"CUDA (driver )?error|(CUBLAS|CUSOLVER|CUDNN)_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR|MAPPING_ERROR)"
    r"|no CUDA(-capable device| GPUs are available)|Triton Error \[CUDA\]",
    re.IGNORECASE,
)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and every error that it was raised from or while handling, each once."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = getattr(one, "inner_exception", None)  # torch.compile's BackendCompilerFailed and InductorError
        waiting += [inner if isinstance(inner, BaseException) else None, one.__cause__, one.__context__]


def out_of_memory(error: BaseException) -> bool:
    """Return whether the error says that the device (or this machine) ran out of memory."""
    return any(
        isinstance(one, (torch.OutOfMemoryError, MemoryError))
        or (isinstance(one, RuntimeError) and NO_MEMORY.search(str(one)) is not None)
        for one in causes(error)
    )


def lost_device(error: BaseException, device: torch.device) -> str | None:
    """Return in one line why this process can no longer use `device`; None if the error is the run's own."""
    if out_of_memory(error):
        return None
    for one in causes(error):
        if isinstance(one, torch.AcceleratorError) or (isinstance(one, RuntimeError) and LOST.search(str(one))):
            return first_line(one)
    return unusable(device)


def unusable(device: torch.device) -> str | None:
    """Try to compute on `device`; return in one line why that fails, None if it works."""
    if device.type == "cpu":
        return None
    if device.type == "cuda" and not torch.cuda.is_available():
        return "torch finds no CUDA device here"
    try:
        compute_something(device)
    except Exception as error:
        return None if out_of_memory(error) else first_line(error)
    return None


def compute_something(device: torch.device) -> None:
    """Add numbers on a device and wait for the sum: it raises whatever is wrong with a device that torch sees."""
    torch.ones(8, device=device).sum().item()


def first_line(error: BaseException) -> str:
    """Return type and message of an error in one line; CUDA's messages go on with advice, which is left out."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__


def does_not_fit(error: BaseException, device: torch.device) -> str:
    """Return the message for a run that does not fit into memory even by itself, with the bytes as far as known."""
    text = " ".join(" ".join(str(one).split()) for one in causes(error))
    asked = re.search(r"[Tt]ried to allocate ([\d.]+ ?[KMGT]?i?B|\d+ bytes)", text)
    shortfall = f"{asked[1]} more were asked for" if asked else "how much more it needs is unknown"
    total, where = _memory(device)
    return (
        f"out of memory with this run alone: {shortfall}, {where} has {total / GiB:.2f} GiB in all; "
        "accepted: a smaller training.batch_size or model.channels, or more memory"
    )


def _memory(device: torch.device) -> tuple[int, str]:
    """Return all memory of a device in bytes, and the device's name for a message."""
    if device.type == "cuda":
        facts = torch.cuda.get_device_properties(device)
        return facts.total_memory, facts.name
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "this machine"
