"""What packs cost on a device: time and memory of updates, bases and evaluations; and the packages' own steps."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from benchmarks.engine import pack_of, random_ethanol_dataset
from benchmarks.on_gpu.agreement import Facts, distance, ethanol_network
from benchmarks.on_gpu.solitude import alone, beside
from benchmarks.steps import MACE, NEQUIP
from benchmarks.turns import Worker
from experiments.config.training import TrainingConfig
from experiments.core.compiler import lacking
from experiments.core.gpu import driver
from experiments.data.splits import subset
from experiments.tasks.molecules import MoleculeTask
from experiments.training import memory
from experiments.training.member import Member
from experiments.training.optimizers.soap import cholesky_qr
from experiments.training.pack import STEPS_PER_CHUNK, Pack

GB = 1e9
REPOSITORY = Path(__file__).parents[2]
Tell = Callable[[Facts], None]


def environment(device: torch.device) -> Facts:
    """Return versions and the device's properties."""
    threads = os.environ.get("TORCHINDUCTOR_COMPILE_THREADS")
    facts: Facts = {"python": sys.version.split()[0], "torch": torch.__version__, "compile_threads": threads}
    facts["cores"] = len(os.sched_getaffinity(0))
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {
            "gpu": properties.name,
            "memory_GB": properties.total_memory / GB,
            "triton": import_module("triton").__version__,
        }
        facts |= {"driver": driver(), "lacking": lacking(device)}
        facts |= {"cuda": torch.version.cuda, "capability": list(torch.cuda.get_device_capability(device))}
    return facts


def milliseconds(call: Callable[[], object], device: torch.device, repeats: int = 5) -> float:
    """Return the median time of a call that waits for the device; a first call is not counted."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    call()
    wait()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        wait()
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times)


def speed(device: torch.device, tell: Tell, name: str, channels: int, size: int) -> None:
    """Time a compiled pack in single precision with SOAP, a part at a time, the most important first."""
    task = MoleculeTask(random_ethanol_dataset(64), 5.0, torch.float32, device)
    with tempfile.TemporaryDirectory() as folder:
        pack = pack_of(size, ethanol_network(name, channels, task), task, Path(folder), True)
        began = time.monotonic()
        step = pack._step()
        pack.advance(1)
        torch.cuda.synchronize(device)
        tell({"compile_s": time.monotonic() - began, "step": step.kind})
        if step.why is not None:
            tell({"why": step.why})
        with alone():
            _timed(pack, device, tell)


def _timed(pack: Pack, device: torch.device, tell: Tell) -> None:
    size, updates = len(pack.slots), STEPS_PER_CHUNK
    torch.cuda.reset_peak_memory_stats(device)
    engine = milliseconds(lambda: pack.advance(updates), device, 3) / updates
    tell({"engine_ms": engine, "run_updates_per_s": 1e3 * size / engine})
    tell({"peak_GB": torch.cuda.max_memory_allocated(device) / GB, "reserved_GB": torch.cuda.memory_reserved() / GB})
    gradient = milliseconds(pack.bare_gradient, device)
    bare = milliseconds(lambda: pack.bare_steps(8), device, 3) / 8  # steps 2 to 9, without a renewal of bases
    tell({"gradient_ms": gradient, "gradient_and_update_ms": bare})
    every = torch.ones(size, dtype=torch.bool, device=device)
    refresh = milliseconds(lambda: pack._refresh(every, None), device, 3)
    weights, data = zip(*((pack._weights(i), run.prepared) for i, run in pack.active), strict=True)
    glance = milliseconds(lambda: pack.evaluator.validation(weights, data), device, 3) / size
    alone_ms = bare + refresh / 10
    tell({"refresh_ms": refresh, "validation_ms_a_run": glance, "engine_overhead": engine / alone_ms - 1})
    tell(_kernels(pack))


def _kernels(pack: Pack) -> Facts:
    """Return the kernels of an update that take most time: name, launches, milliseconds."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        pack.bare_steps(8)
        torch.cuda.synchronize()
    events = sorted(profiler.key_averages(), key=lambda event: -event.device_time_total)
    top = [[event.key[:60], event.count / 8, event.device_time_total / 8e3] for event in events[:8]]
    busy = sum(event.device_time_total for event in events) / 8e3
    return {"kernels_an_update": sum(event.count for event in events) / 8, "busy_ms": busy, "top": top}


def bases(device: torch.device, runs: int) -> Facts:
    """Compare two ways to orthogonalise the bases of SOAP: QR, and twice Cholesky in double precision.

    The matrices are those of MACE with L = 1, ν = 3 and 32 channels: about 65 of 32 × 32 a run.
    """
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(65 * runs, 32, 32, generator=generator).to(device)
    (found,), (expected, triangle) = cholesky_qr([matrices.double()]), torch.linalg.qr(matrices.double())
    signs = triangle.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]
    apart = distance(found, expected * signs)
    with alone():
        times = {
            "qr_ms": milliseconds(lambda: torch.linalg.qr(matrices), device, 2),
            "cholesky_ms": milliseconds(lambda: cholesky_qr([matrices]), device, 2),
            "eigh_ms": milliseconds(lambda: torch.linalg.eigh(matrices @ matrices.mT), device, 1),
        }
    # Round-off of 1e-16 times the condition of a random matrix, which is 1e5 in the worst of 4,000.
    return {"distance": apart, "matrices": len(matrices), **times, "bad": not apart < 1e-8}


def out_of_memory(device: torch.device, channels: int, runs: int) -> Facts:
    """Train more runs than a small share of the memory holds; halves of the pack must go on to the end."""
    number = torch.cuda.current_device()  # of `device`, which need not name one; the limit is set by it
    task = MoleculeTask(random_ethanol_dataset(64), 5.0, torch.float32, device)
    model = ethanol_network("mace C", channels, task)
    settings = TrainingConfig(max_steps=8, warmup_steps=2, compile=False)
    sizes: list[int] = []
    torch.cuda.reset_peak_memory_stats(device)
    with beside(), tempfile.TemporaryDirectory() as folder:
        members = []
        for seed in range(runs):
            path = Path(folder) / str(seed)
            path.mkdir()
            prepared = task.prepare(subset(64, 32, seed, 1))
            members.append(Member(str(seed), path, [path], seed, seed, settings, prepared))

        def build(part: Any) -> Pack:
            sizes.append(len(part))
            return Pack(part, task, model, False)

        build(members[:1]).bare_gradient(eager=True)
        one = torch.cuda.max_memory_allocated(device)
        torch.cuda.empty_cache()
        share = (torch.cuda.memory_reserved(device) + 10 * one) / torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, share), number)
        try:
            # The limit is no part of the free memory that is measured: all are taken to fit.
            with mock.patch.object(memory, "worthwhile", lambda most, throughput: most):
                memory.train_within_memory(members, build, lambda: False, lambda event: None, lambda member: None)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, number)
    done = sum(member.full is not None for member in members)
    tried = sizes[4:]  # before them: ours above, and those that `memory.fitting` measures
    halved = any(second < first for first, second in pairwise(tried))
    return {"sizes": sizes, "done": done, "limit_GB": 10 * one / GB, "bad": done < runs or not halved}


def peer(device: torch.device, package: str, mode: str, channels: int, site: str) -> Facts:
    """Time a package's own training step (ethanol, batch 8) in a process that finds it in the folder `site`.

    mace-torch's is that of the packs, cell C (L = 0, ν = 3); nequip's has L = 1.
    """
    shared = {"L": {"mace": 0, "nequip": 1}[package], "channels": channels, "device": device.type, "compile_mode": mode}
    settings = {**(MACE if package == "mace" else NEQUIP), "n_layers": {"mace": 2, "nequip": 3}[package], **shared}
    # Nothing but its own packages: another e3nn, found before its own, is one that it does not work with.
    os.environ["PYTHONPATH"] = os.pathsep.join([site, str(REPOSITORY)])
    began = time.monotonic()
    with Worker(Path(sys.executable), f"benchmarks.step_{package}", settings) as worker:
        ready = time.monotonic() - began
        with alone():
            worker.run(10)
            turns = [worker.run(20) for _ in range(5)]
        facts = worker.facts
    wall = statistics.median(turn.wall for turn in turns)
    return {"step_ms": 1e3 * wall, "run_updates_per_s": 1 / wall, "ready_s": ready, **facts}
