"""Two processes that take training steps in turns, so that other load on the machine affects both alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import IO, Any, Protocol, Self

import numpy as np

from experiments.core.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
NONE: Mapping[str, str] = MappingProxyType({})
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Turn:
    """Seconds a step: wall time and processor time."""

    wall: float
    cpu: float


class Worker:
    """A process of `benchmarks.serve`; created when its first step is done.

    Args:
        python: an interpreter whose environment has the module's dependencies.
        module: the module that calls `serve`.
        settings: for the module's `prepare`.
        variables: of its environment, beside those of this process.

    Raises:
        InputError: the process ended; the message has its last line.
    """

    def __init__(
        self, python: Path, module: str, settings: Mapping[str, Any], variables: Mapping[str, str] = NONE
    ) -> None:
        threads = str(settings["threads"])
        # e3nn 0.4 reads its tables with a pickle, which torch ≥ 2.6 does only when told to
        environment = {**os.environ, **dict.fromkeys(THREADS, threads), "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
        environment |= variables
        self.log: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed with the process
        reading, writing = os.pipe()
        self.answers = os.fdopen(reading)
        self.process = subprocess.Popen(
            [str(python), "-m", module, json.dumps(settings), str(writing)], cwd=ROOT, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=self.log, stderr=subprocess.STDOUT, pass_fds=[writing],
        )  # fmt: skip
        os.close(writing)  # the process has its own; when it ends, so do the answers
        self.module = module
        self.facts = self._answer()

    def ask(self, steps: int) -> None:
        """Start a number of steps; `wait` waits for their end."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        self._asked = steps

    def wait(self) -> Turn:
        """Wait for the steps that `ask` started; return their times."""
        times = self._answer()
        return Turn(times["wall_s"] / self._asked, times["cpu_s"] / self._asked)

    def run(self, steps: int) -> Turn:
        """Take a number of steps; return their times."""
        self.ask(steps)
        return self.wait()

    def _answer(self) -> dict[str, Any]:
        line = self.answers.readline()
        if not line:
            self.log.seek(0)
            lines = self.log.read().strip().splitlines() or ["no message"]
            raise InputError(f"{self.module}: ended: {lines[-1]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.answers.close()
        self.log.close()


class Side(Protocol):
    """A side of a comparison: takes steps and times them."""

    def run(self, steps: int) -> Turn:
        """Take a number of steps; return the times of one."""
        ...


class WorkerPair:
    """Two workers at once as one side: its step is one step of either."""

    def __init__(self, first: Worker, second: Worker) -> None:
        self.workers = (first, second)

    def run(self, steps: int) -> Turn:
        """Take `steps` steps with each worker; return the combined times of one."""
        for worker in self.workers:
            worker.ask(steps)
        turns = [worker.wait() for worker in self.workers]
        return Turn(1 / sum(1 / turn.wall for turn in turns), sum(turn.cpu for turn in turns) / len(turns))


def time_in_turns(ours: Side, peer: Side, seconds: float, turn: float = 0.5) -> list[tuple[Turn, Turn]]:
    """Let both take turns of about `turn` seconds, for about `seconds`; return at least five pairs of their times."""
    sides = (ours, peer)
    counts = [max(1, round(turn / side.run(1).wall)) for side in sides]
    pairs: list[tuple[Turn, Turn]] = []
    began = time.monotonic()
    while time.monotonic() - began < seconds or len(pairs) < 5:
        order = (0, 1) if len(pairs) % 2 == 0 else (1, 0)  # who goes first changes, so that a drift favours nobody
        turns = {i: sides[i].run(counts[i]) for i in order}
        pairs.append((turns[0], turns[1]))
    return pairs


def summarise(pairs: Sequence[tuple[Turn, Turn]]) -> dict[str, float]:
    """Return median times in ms, the median ratio peer/ours with its quartiles, and the median ratio of CPU times."""
    wall = np.array([(o.wall, p.wall) for o, p in pairs])
    cpu = np.array([(o.cpu, p.cpu) for o, p in pairs])
    low, middle, high = np.quantile(wall[:, 1] / wall[:, 0], [0.25, 0.5, 0.75])
    return {
        "ours_ms": 1e3 * float(np.median(wall[:, 0])),
        "peer_ms": 1e3 * float(np.median(wall[:, 1])),
        "ratio": float(middle),
        "ratio_low": float(low),
        "ratio_high": float(high),
        "ours_cpu_ms": 1e3 * float(np.median(cpu[:, 0])),
        "peer_cpu_ms": 1e3 * float(np.median(cpu[:, 1])),
        "ratio_cpu": float(np.median(cpu[:, 1] / cpu[:, 0])),
    }


def own_python() -> Path:
    """Return the interpreter that runs this process."""
    return Path(sys.executable)


def peer_python(package: str) -> Path | None:
    """Return the interpreter of the environment that `make peers` makes for a package; None if it is not there."""
    path = ROOT / f".venv-peers-{package}" / "bin" / "python"
    return path if (path.parents[1] / ".installed").exists() else None
