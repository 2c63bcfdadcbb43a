"""How far a gradient and an update are from what the core can do (Williams, Waterman & Patterson, CACM 52:65, 2009).

Counted are the floating-point operations of the eager step, and the bytes that any step must move: what it is given and
what it returns, once. The bound is the longer of the two times that the core needs for them at the speed of its matrix
product and of its memory. What a step computes between lies in caches, at these sizes.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks.engine import pack_of, random_ethanol_dataset
from benchmarks.step_ours import config_of
from experiments.models.networks import network
from experiments.tasks.molecules import MoleculeTask
from experiments.training.pack import Pack
from experiments.training.step import eager_gradient, eager_update

SHOWN = 5
"""Operations that a row names, those that take the most time eagerly."""


class Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what is computed inside the context: seconds, floating-point operations and bytes by operation, all calls
    of operators, and those of them that are views or in place.

    An operation without a rule of its own counts as one floating-point operation for each number that it returns, a
    view as none.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.operations: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.calls = self.views = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call an operation, and count it."""
        began = time.process_time()
        out = func(*args, **(kwargs or {}))
        seconds = time.process_time() - began
        name = str(func.overloadpacket).removeprefix("aten.")
        self.seconds[name] += seconds
        self.calls += 1
        if any(returned.alias_info is not None for returned in func._schema.returns):
            self.views += 1
        else:
            self.operations[name] += operations_of(func, args, kwargs or {}, out)
            self.bytes[name] += moved([args, kwargs, out])
        return out


def operations_of(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    """Return the floating-point operations of a call: of a matrix product two for each product of numbers."""
    if func.overloadpacket in flop_registry:
        return int(flop_registry[func.overloadpacket](*args, **kwargs, out_val=out))
    if func is torch.ops.equilaw.sparse_product.default:
        arguments, pairs, index = args[:3]
        nodes, _, channels = arguments[0].shape
        return int(nodes * channels * (len(pairs) + 2 * index.numel()))
    return sum(t.numel() for t in tree_leaves(out) if isinstance(t, Tensor) and t.is_floating_point())


def moved(tensors: Any) -> int:
    """Return the bytes of all tensors in a nest of containers, each once."""
    return sum(t.nbytes for t in {id(t): t for t in tree_leaves(tensors) if isinstance(t, Tensor)}.values())


def core_speed(repeats: int = 5) -> tuple[float, float]:
    """Measure the core: operations a second of a matrix product in single precision, bytes a second of a copy."""
    a, b = torch.randn(2, 768, 768)
    source = torch.zeros(64 * 2**20)  # 256 MB: no cache holds them
    target = torch.empty_like(source)
    products, copies = (
        min(seconds(call) for _ in range(repeats)) for call in (lambda: a @ b, lambda: target.copy_(source))
    )
    return 2 * 768**3 / products, 2 * source.nbytes / copies


def seconds(call: Callable[[], object]) -> float:
    """Return the processor time of a call."""
    began = time.process_time()
    call()
    return time.process_time() - began


def measure(settings: Mapping[str, Any], repeats: int = 30, compile: bool = True) -> list[dict[str, Any]]:
    """Count and time a gradient and an update of a network on ethanol; return a row for each.

    The `ratio` of a row is the share of the bound that the step reaches, and `kernels` are the operations that take the
    most time eagerly, each with its share of that time and of its own bound.

    Args:
        settings: of the network (`benchmarks.steps.cases`).
        repeats: of a step, whose median time is taken, and of its operations.
        compile: whether the steps that are timed are compiled.
    """
    speed, bandwidth = core_speed()
    with _pack(settings, compile) as pack:
        example = pack._example()
        _, grads = eager_gradient(pack._loss, pack.layout)(*example.gradient)
        step, arguments = pack._step(), example.update(grads)
        parts: dict[str, tuple[Callable[[], object], Callable[[], object], Any]] = {
            "gradient": (
                lambda: eager_gradient(pack._loss, pack.layout)(*example.gradient),
                lambda: step.gradient(*example.gradient),
                [example.gradient, grads],
            ),
            "update": (
                lambda: eager_update(pack.optimizer, pack.layout)(*arguments),
                lambda: step.update(*arguments),
                [arguments, example.state],
            ),
        }
        rows = []
        for name, (eager, timed, tensors) in parts.items():
            timed()
            taken = statistics.median(seconds(timed) for _ in range(repeats))
            eager_taken = statistics.median(seconds(eager) for _ in range(repeats))
            with Counted() as counted:
                for _ in range(repeats):
                    eager()
            work, least = sum(counted.operations.values()) // repeats, moved(tensors)
            bound = max(work / speed, least / bandwidth)
            rows.append(
                {
                    "name": f"{name}, {settings['architecture']} L={settings['L']}, {settings['channels']} channels",
                    "kind": "roofline", "device": "cpu", "threads": torch.get_num_threads(),
                    "ours_ms": 1e3 * taken, "peer": "the core's bound", "peer_ms": 1e3 * bound, "ratio": bound / taken,
                    "operations": work, "bytes": least, "core_gflops": speed / 1e9, "core_gb_s": bandwidth / 1e9,
                    "step": step.kind, "eager_ms": 1e3 * eager_taken, "calls": counted.calls // repeats,
                    "views": counted.views // repeats, "kernels": _kernels(counted, speed, bandwidth),
                }
            )  # fmt: skip
    return rows


@contextmanager
def _pack(settings: Mapping[str, Any], compile: bool) -> Iterator[Pack]:
    task = MoleculeTask(random_ethanol_dataset(64), settings["cutoff"], torch.float32, torch.device("cpu"))
    model = network(config_of(settings), len(task.elements))
    with tempfile.TemporaryDirectory() as folder:
        yield pack_of(1, model, task, Path(folder), compile, batch_size=settings["batch_size"])


def _kernels(counted: Counted, speed: float, bandwidth: float) -> list[dict[str, Any]]:
    """Return the operations that take the most time, with their share of it and of their bound."""
    whole = sum(counted.seconds.values())
    return [
        {
            "operation": name,
            "share": taken / whole,
            "of_bound": max(counted.operations[name] / speed, counted.bytes[name] / bandwidth) / taken,
        }
        for name, taken in sorted(counted.seconds.items(), key=lambda one: -one[1])[:SHOWN]
    ]


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows, each with its operations below."""
    for r in rows:
        work = f"{r['operations'] / 1e6:.1f} million operations, {r['bytes'] / 1e6:.2f} MB"
        core = f"the core does {r['core_gflops']:.0f} GFLOP/s, {r['core_gb_s']:.1f} GB/s"
        print(f"{r['ours_ms']:9.3f} ms  {r['ratio']:6.1%}  {r['name']} ({r['step']}): {work}; {core}", flush=True)
        print(f"{'':12} eagerly {r['eager_ms']:.3f} ms: {r['calls']} calls of operators, {r['views']} of them views")
        for k in r["kernels"]:
            print(
                f"{'':12} {k['share']:6.1%} of the time eagerly, at {k['of_bound']:.1%} of its bound: {k['operation']}"
            )
