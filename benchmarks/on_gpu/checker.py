"""The process that carries out checks of a lane, one after another, until it is killed."""

from __future__ import annotations

import inspect
import os
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.on_gpu.plan import Check


@dataclass(frozen=True)
class Lane:
    """What a process of checks is told at its start: device, files, and site folders of packages."""

    device: str
    log: Path
    locks: Path
    sites: Mapping[str, str]
    niceness: int
    compile_threads: int


def _crash(device: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hang(device: object) -> None:
    time.sleep(3600)


TRIALS: dict[str, Callable[..., Any]] = {"crash": _crash, "hang": _hang}
"""What a check must not do; for tests."""


def serve(requests: Connection, lane: Lane) -> None:
    """Carry out each check that arrives; answer its facts as they are found, then its state.

    Facts are `("facts", {…})`; the end is `("end", state)`, with a state of the table, or `lost` for an error after
    which this process can no longer use the device.
    """
    os.setsid()  # compilers that this process starts are killed with it
    os.nice(lane.niceness)
    log = os.open(lane.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = str(lane.compile_threads)
    import torch  # not before: it reads the environment

    from benchmarks.on_gpu import agreement, solitude, timings
    from experiments.training import pack
    from experiments.training.arithmetic import arithmetic
    from experiments.training.device_errors import lost_device

    functions: dict[str, Callable[..., Any]] = {
        "environment": timings.environment, "same": agreement.same, "same_ethanol": agreement.same_ethanol,
        "packed": agreement.packed, "resumed": agreement.resumed, "trained": agreement.trainings,
        "compiled": agreement.compiled, "speed": timings.speed, "bases": timings.bases,
        "out_of_memory": timings.out_of_memory, "peer": timings.peer, **TRIALS,
    }  # fmt: skip
    torch.set_num_threads(1)
    solitude.folder = lane.locks
    pack.VALIDATIONS = 3  # so that short trainings have chunks of several updates
    device = torch.device(lane.device)
    while True:
        check: Check | None = requests.recv()
        if check is None:
            return
        function, settings = functions[check.function], dict(check.settings)
        if "tell" in inspect.signature(function).parameters:
            settings["tell"] = lambda facts: requests.send(("facts", facts))
        if check.function == "peer":
            settings["site"] = lane.sites[check.needs]
        try:
            with arithmetic(False):
                found = function(device, **settings) or {}
            bad = found.pop("bad", False)
            requests.send(("facts", found))
            requests.send(("end", "FAIL" if bad else "ok"))
        except Exception as error:
            where = traceback.format_exc()[-1500:]
            message = f"{type(error).__name__}: {error}"[:500]
            requests.send(("facts", {"message": message, "where": where}))
            lost = device.type == "cuda" and lost_device(error, device) is not None
            requests.send(("end", "lost" if lost else "error"))
        if device.type == "cuda":
            torch.cuda.empty_cache()
