"""Compilers of a training step: a C++ compiler for the CPU, Triton and the tools that it calls for a GPU (torch-free).

The native inner loop is built with the same C++ compiler.
"""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import signal
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

OLDEST_GPU = (7, 0)
"""Compute capability that Triton's code needs at least (Volta)."""


def compiler() -> str | None:
    """Return the C++ compiler as `cxx` does; without one warn once per process and return None."""
    command = cxx()
    if command is None:
        warn("no C++ compiler (g++) found: training eagerly, several times slower")
    return command


def cxx() -> str | None:
    """Return `$CXX`, else the first of g++, c++ and clang++ on the path, else None."""
    return os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")


@cache
def warn(message: str) -> None:
    """Log a warning, once per process: everything that needs a compiler asks for it."""
    logger.warning(message)


class Stopped(KeyboardInterrupt):
    """A signal asked to stop while a step was compiled; no compiler is left."""


_at_work = False


@contextmanager
def compiling() -> Iterator[None]:
    """Mark the main thread as compiling: a signal that asks to stop then ends it at once (`stop_compiling`).

    Elsewhere training asks after some updates whether to stop; a compilation would go on for minutes.
    """
    global _at_work
    before, _at_work = _at_work, True
    try:
        yield
    finally:
        _at_work = before


def compiles() -> bool:
    """Return whether the main thread is compiling."""
    return _at_work


def stop_compiling() -> None:
    """End what the main thread compiles and every compiler that it has started; do nothing if it compiles nothing.

    For the handler of a signal.

    Raises:
        Stopped: it was compiling.
    """
    if _at_work:
        end_descendants()
        raise Stopped


def end_descendants() -> None:
    """Ask every process that this one has started to end, and those that they have started, all at once.

    A compiler's driver does not pass on that it was ended: its parts would go on for a minute.
    """
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):  # it ended meanwhile
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    for pid in ours - {os.getpid()}:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def lacking(device: torch.device) -> dict[str, str]:
    """Return the parts that compiling for `device` needs and this machine lacks: part → problem and remedy.

    Empty if a training can be compiled. Parts: `compiler`, `triton`, `headers`, `gpu`; `device` for one that is neither
    `cpu` nor `cuda`.
    """
    if device.type == "cpu":
        missing = {"compiler": None if cxx() else "no C++ compiler: install g++ (on a cluster: module load gcc)"}
    elif device.type == "cuda":
        missing = {"triton": _triton(), "compiler": _cc(), "headers": _headers(), "gpu": _too_old(device)}
    else:
        missing = {"device": f"{device.type}: compiled for cpu and cuda only"}
    return {part: problem for part, problem in missing.items() if problem is not None}


def _triton() -> str | None:
    try:
        importlib.import_module("triton")
    except ModuleNotFoundError as error:
        if error.name == "triton":
            return "no Triton: pip install triton (a torch built for CUDA brings it)"
        return f"Triton cannot be imported ({error}): pip install --force-reinstall triton"
    except Exception as error:  # a library of another system, a half-removed package: all of them mean eager
        return f"Triton cannot be imported ({error}): pip install --force-reinstall triton"
    return None


def _cc() -> str | None:
    """Return the problem with the C compiler, searched as Triton does: not by the name cc."""
    named = os.environ.get("CC")
    if named is not None:
        return None if shutil.which(named) else f"no C compiler: CC={named!r} is no command; unset it, or name one"
    if shutil.which("gcc") or shutil.which("clang"):
        return None
    return "no C compiler: install gcc (on a cluster: module load gcc)"


def _headers() -> str | None:
    scheme = sysconfig.get_default_scheme()
    # Debian's own Python calls its scheme posix_local, but keeps the headers where posix_prefix has them.
    folder = sysconfig.get_paths("posix_prefix" if scheme == "posix_local" else scheme)["include"]
    if (Path(folder) / "Python.h").exists():
        return None
    return f"no Python.h in {folder}: install python3-dev, or use a Python that has its headers"


def _too_old(device: torch.device) -> str | None:
    import torch  # here: the store and the analysis, which import this package, do without

    if not torch.cuda.is_available():  # asked on a login node: nothing to say about the GPUs of the others
        return None
    capability = torch.cuda.get_device_capability(device)
    if capability >= OLDEST_GPU:
        return None
    name, (major, minor) = torch.cuda.get_device_name(device), capability
    oldest = ".".join(map(str, OLDEST_GPU))
    return f"this GPU ({name}, capability {major}.{minor}) is too old for Triton ({oldest} or newer)"
