"""Benchmark of a training step (energies, forces, gradient, clipping or not, optimiser, average) against the packages.

Both sides have equal architecture, precision (float32), threads and batch, and alternate in processes of their own on
the same version of torch. Each trains as its package does: mace-torch eagerly with AMSGrad and clipping, nequip with
Adam, compiled or eager. The other packages' batches are made beforehand, so that reading data costs them nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.rows import show
from benchmarks.turns import Worker, WorkerPair, own_python, peer_python, summarise, time_in_turns

SHARED: dict[str, Any] = {"cutoff": 5.0, "n_bessel": 8, "radial_hidden": [64, 64, 64], "threads": 1, "batch_size": 8}
MACE: dict[str, Any] = {**SHARED, "architecture": "mace", "nu": 3, "edge_lmax": 3, "readout_hidden": 16}
NEQUIP: dict[str, Any] = {**SHARED, "architecture": "nequip", "parity": True}


def cases(
    architectures: Sequence[str], orders: Sequence[int], channels: int, layers: Mapping[str, int], device: str
) -> list[tuple[dict[str, Any], dict[str, str]]]:
    """Return settings to time, each with the modes of the package: name in the table → `compile_mode`."""
    out = []
    for architecture, base in (("mace", MACE), ("nequip", NEQUIP)):
        modes = {"eager": "eager"} if architecture == "mace" else {"its own compiled mode": "compile", "eager": "eager"}
        for L in orders if architecture in architectures else ():
            own = {"L": L, "channels": channels, "n_layers": layers[architecture], "device": device}
            out.append(({**base, **own}, modes))
    return out


def measure(settings: Mapping[str, Any], modes: Mapping[str, str], seconds: float) -> list[dict[str, Any]]:
    """Time one architecture; return a row for each mode, or none (after a printed line) if its package is missing."""
    architecture = settings["architecture"]
    python = peer_python(architecture)
    if python is None:
        print(f"{architecture}: not compared with its package, which `make peers` installs", flush=True)
        return []
    knobs = f"L={settings['L']}" + (f" nu={settings['nu']} edge={settings['edge_lmax']}" if "nu" in settings else "")
    name = (
        f"training step, {architecture} {knobs}, {settings['n_layers']} layers, {settings['channels']} channels, "
        f"ethanol, batch {settings['batch_size']}"
    )
    package = {"mace": "mace-torch", "nequip": "nequip"}[architecture]
    rows = []
    with Worker(own_python(), "benchmarks.step_ours", settings) as ours:
        for mode, compile_mode in modes.items():
            peer_settings = {**settings, "compile_mode": compile_mode}
            with Worker(python, f"benchmarks.step_{architecture}", peer_settings) as peer:
                summary = summarise(time_in_turns(ours, peer, seconds))
                rows.append(
                    {
                        "name": name, "kind": "step", "device": settings["device"], "threads": settings["threads"],
                        "peer": f"{package} {peer.facts['version']}, {mode}", **summary,
                        "compile_s": ours.facts["compile_s"], "peer_compile_s": peer.facts["compile_s"],
                        "parameters": ours.facts["parameters"], "peer_parameters": peer.facts["parameters"],
                    }
                )  # fmt: skip
            show(rows[-1:])
    return rows


def measure_two_workers(settings: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Time two one-thread workers that train at once against one alone; the ratio is that of runs an hour."""
    with (
        Worker(own_python(), "benchmarks.step_ours", settings) as first,
        Worker(own_python(), "benchmarks.step_ours", settings) as second,
    ):
        summary = summarise(time_in_turns(WorkerPair(first, second), first, seconds))
    name = f"a sweep's runs an hour, two one-thread workers, {settings['architecture']} L={settings['L']}"
    row = {"name": name, "kind": "sweep", "device": settings["device"], "threads": 1, "peer": "one worker", **summary}
    show([row])
    return row
