"""CPU time from a command to its first output: every help, and the plan of a small sweep, beside `import torch`."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from benchmarks.turns import ROOT, THREADS
from equilaw import COMMANDS

PLAN = ("-m", "experiments", "-m", "data=star", "model=ace", "P=4,8", "hydra.launcher.submit=false")
TORCH = ("-c", "import torch")


def cpu_ms(words: Sequence[str], repeats: int) -> float:
    """Return the median CPU milliseconds (user and system) of an interpreter with these words, its children included.

    The first call is not counted: it may write the bytecode of what it imports.

    Raises:
        RuntimeError: it failed; the message is its last line.
    """
    taken = []
    for _ in range(repeats + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = subprocess.run(
            [sys.executable, *words], cwd=ROOT, env={**os.environ, **dict.fromkeys(THREADS, "1")},
            capture_output=True, text=True,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if ended.returncode:
            last = ended.stderr.splitlines() or ["no message"]
            raise RuntimeError(f"{' '.join(words)}: {last[-1]}")
        taken.append(1e3 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime))
    return statistics.median(taken[1:])


def benchmarks(names: Sequence[str] = tuple(COMMANDS), repeats: int = 3) -> list[dict[str, object]]:
    """Time the helps of sub-commands of `equilaw` and a plan; return a row for the slowest help and one for the plan.

    Their `cpu_ms` is by command. Other load on the machine lengthens both sides of a ratio alike.
    """
    helps = {name: cpu_ms(("-m", "equilaw", name, "--help"), repeats) for name in names}
    slowest = max(helps, key=lambda name: helps[name])
    with tempfile.TemporaryDirectory() as scratch:
        plan = cpu_ms((*PLAN, f"store={scratch}"), repeats)
    torch = cpu_ms(TORCH, repeats)
    return [
        _row(f"start, CPU: equilaw {slowest} --help, the slowest help", helps[slowest], torch) | {"cpu_ms": helps},
        _row(f"start, CPU: python {' '.join(PLAN)}", plan, torch) | {"cpu_ms": {"plan": plan}},
    ]


def _row(name: str, ours: float, peer: float) -> dict[str, object]:
    return {
        "name": name,
        "kind": "start",
        "device": "cpu",
        "threads": 1,
        "ours_ms": ours,
        "peer": "import torch alone",
        "peer_ms": peer,
        "ratio": peer / ours,
    }
