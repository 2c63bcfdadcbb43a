"""C++ files of this package as shared libraries, each built once a machine and kept in the user's cache."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from experiments.core.files import user_cache

FLAGS = ("-O3", "-march=native", "-std=c++17", "-fPIC", "-shared")


def library(command: str, source: Path, flags: Sequence[str] = FLAGS, known: str = "") -> Path:
    """Return the shared library of a source, built unless it is in the cache.

    Args:
        command: the compiler.
        source: a C++ file.
        flags: of the compiler.
        known: what else the result depends on, as the content of files that the source includes.

    Raises:
        OSError: the cache cannot be written, or there is no such compiler.
        subprocess.CalledProcessError: it failed.
    """
    parts = source.read_bytes(), " ".join((command, *flags, _machine())).encode(), known.encode()
    folder = user_cache()
    target = folder / f"{source.stem}-{hashlib.sha256(b''.join(parts)).hexdigest()[:16]}.so"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:  # renamed when complete: many workers start at once
            built = Path(scratch) / target.name
            command_line = [command, str(source), *flags, "-o", str(built)]  # libraries after what needs them
            subprocess.run(command_line, check=True, capture_output=True)
            built.replace(target)
    return target


def _machine() -> str:
    """Return the CPU features that -march=native depends on: unequal machines often share a cache."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return "".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))
