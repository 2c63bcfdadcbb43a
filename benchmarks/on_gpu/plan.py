"""What is checked on a device: a list of checks, each of one network, in lanes of processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmarks.on_gpu.small_networks import CASES


@dataclass(frozen=True)
class Check:
    """One row of the table.

    Args:
        name: what is checked.
        architecture: the network (and pack) that it is checked on.
        function: of `benchmarks.on_gpu.worker.FUNCTIONS`.
        settings: arguments of the function.
        seconds: after which it counts as hung; it may wait for others that are being timed.
        needs: `cuda`, or a package whose folder must be given (`mace`, `nequip`); "": nothing.
        never: why nothing measures it yet.
    """

    name: str
    architecture: str
    function: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    seconds: float = 150.0
    needs: str = ""
    never: str = ""


ETHANOL: dict[str, tuple[str, dict[str, Any]]] = {
    "mace A": ("mace", {"L": 0, "nu": 1}),
    "mace C": ("mace", {"L": 0, "nu": 3}),
    "mace B": ("mace", {"L": 1, "nu": 1}),
    "mace L=1 nu=3": ("mace", {"L": 1, "nu": 3}),
    "nequip": ("nequip", {"L": 1}),
    "tfn": ("tfn", {"L": 1}),
    "polynomial": ("polynomial", {"L": 1, "nu": 3}),
    "mpnn": ("mpnn", {}),
}
"""Networks of ordinary size for ethanol: architecture and settings."""
PEERS = {
    "mace-torch": ("mace", "eager"),
    "nequip, compiled": ("nequip", "compile"),
    "nequip, eager": ("nequip", "eager"),
}
"""Package and its `compile_mode`."""
LATER = {
    "mace-torch, cuequivariance": "no process with cuequivariance is made yet",
    "nequip, OpenEquivariance": "no process with OpenEquivariance is made yet",
    "N processes under MPS": "MPS is not started by this program",
}
COMPILERS = 3
"""Lanes that compile small networks side by side."""


def lanes(channels: int, packs: list[int]) -> list[list[Check]]:
    """Return the checks, in lists of which each is carried out in order, beside the others on a GPU.

    Args:
        channels: of the networks for ethanol.
        packs: numbers of runs whose speed is measured.
    """
    sized = {"channels": channels}
    agree = [Check("environment", "", "environment")]
    agree += [Check("device = CPU", name, "same", {"case": name}, needs="cuda") for name in CASES]
    agree += [
        Check("device = CPU", f"{name}, ethanol", "same_ethanol", {"name": name, **sized}, needs="cuda")
        for name in ETHANOL
    ]
    agree += [Check("training: device = CPU", name, "trained", {"case": name}, needs="cuda") for name in CASES]
    packed = [Check("pack = singles", name, "packed", {"case": name}) for name in CASES]
    resumed = [Check("resumed = whole", name, "resumed", {"case": name}) for name in CASES]

    def speed(size: int) -> Check:
        settings = {"size": size, "name": "mace C", **sized}
        return Check("speed", f"mace C, ethanol, pack of {size}", "speed", settings, seconds=300.0, needs="cuda")

    compiled = [Check("compiled = eager", n, "compiled", {"case": n}, seconds=240.0, needs="cuda") for n in CASES]
    memory = [
        Check("QR = Cholesky", "bases of SOAP", "bases", {"runs": 64}),
        Check("out of memory: halves go on", "mace C, ethanol", "out_of_memory", {"runs": 64, **sized}, needs="cuda"),
    ]
    peers = [
        Check("the package's own step", name, "peer", {"package": package, "mode": mode, **sized}, 240.0, package)
        for name, (package, mode) in PEERS.items()
    ]
    peers += [Check("the package's own step", name, never=reason) for name, reason in LATER.items()]
    return [
        agree,
        packed,
        resumed,
        *([speed(size)] for size in packs),
        memory,
        peers,
        *(compiled[i::COMPILERS] for i in range(COMPILERS)),
    ]
