"""Faults inside a job's worker: Python imports this by itself where `PYTHONPATH` names this directory.

The file that `EQUILAW_TEST_FAULTS` names says what is to happen: `slow` (seconds that each chunk takes longer),
`node` (each node is a machine of its own name), `lease` (seconds after which a lease lapses), `skew` (seconds by
which the machine's clock is ahead), `room` (bytes that a file may have: a full disk), `hit` (what happens to the
run with this `P`: raise, exit or memory).
"""

import json
import os
import resource
import socket
import sys
import time
import traceback


def _arrange(faults: dict) -> None:  # type: ignore[type-arg]
    if faults.get("node"):
        node = os.environ["SLURMD_NODENAME"]
        socket.gethostname = lambda: node
    if skew := faults.get("skew"):
        real = time.time
        time.time = lambda: real() + skew
    if room := faults.get("room"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    sys.path.insert(0, os.getcwd())
    from experiments.core import interrupt, leases
    from experiments.runs import train

    if lease := faults.get("lease"):
        leases.LEASE_SECONDS, leases.RENEW_SECONDS = lease, lease / 5
    if slow := faults.get("slow"):
        asked = interrupt.StopRequest.__call__

        def slowly(self: interrupt.StopRequest) -> bool:
            if not asked(self):
                time.sleep(slow)
            return asked(self)

        interrupt.StopRequest.__call__ = slowly  # type: ignore[method-assign]
    if hit := faults.get("hit"):
        subset = vars(train)["training_subset"]

        def hitting(dataset, P, *others):  # type: ignore[no-untyped-def]
            if hit["P"] == P:
                _do(hit["how"])
            return subset(dataset, P, *others)

        vars(train)["training_subset"] = hitting


def _do(how: str) -> None:
    if how == "raise":
        raise RuntimeError("a fault of the test")
    if how == "exit":
        os._exit(3)
    filled = []
    for _ in range(300):  # 3 GB, slowly: Slurm looks once a second
        filled.append(b"x" * 10_000_000)
        time.sleep(0.02)
    time.sleep(60)


if "EQUILAW_TEST_FAULTS" in os.environ and "experiments.runs.worker" in sys.orig_argv and "SLURM_JOB_ID" in os.environ:
    try:
        with open(os.environ["EQUILAW_TEST_FAULTS"]) as _file:
            _arrange(json.load(_file))
    except BaseException:  # Python would go on without the faults, and the test would wait for them
        traceback.print_exc()
        os._exit(70)
