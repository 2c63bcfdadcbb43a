"""The CUDA code of a training step, generated and compiled without a GPU: what is launched, and that it compiles.

`python -m benchmarks.on_gpu.generated` traces gradient and update of packs on the CPU along the path that a GPU takes,
tells Inductor that their tensors lie on an H200, and compiles every Triton kernel that it writes for sm_80 and sm_90
with the assembler in Triton's wheel. That needs `pip install '.[triton]'`. Three things differ from a step on a GPU:
passes over patterns and in-place scatters are left out, for both would compute on the device; block sizes are not
tuned; nothing is run.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import re
import sys
import tempfile
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.utils._pytree import tree_flatten, tree_unflatten

from benchmarks.engine import pack_of, random_ethanol_dataset
from benchmarks.on_gpu.plan import ETHANOL
from experiments.core import command
from experiments.core.errors import InputError
from experiments.core.schema import build
from experiments.models.networks import network
from experiments.models.registry import MODELS
from experiments.nn.native import sparse
from experiments.tasks.molecules import MoleculeTask
from experiments.training import inductor
from experiments.training.pack import Pack
from experiments.training.step import eager_gradient, eager_update

CUDA = torch.device("cuda", 0)
PARTS = ("gradient", "update")
NETWORKS = ("mace C", "nequip", "tfn")
CAPABILITIES = (80, 90)
"""Of an A100 and of an H200, times ten."""
MOST_BLOCK = 1024
"""Numbers that a block of a generated kernel has at most here: Inductor tries some sizes on the device."""
H200 = types.SimpleNamespace(
    name="NVIDIA H200", major=9, minor=0, multi_processor_count=132, warp_size=32, total_memory=141 * 2**30,
    max_threads_per_multi_processor=2048, max_threads_per_block=1024, regs_per_multiprocessor=65536,
    shared_memory_per_block=48 * 2**10, shared_memory_per_block_optin=227 * 2**10,
    shared_memory_per_multiprocessor=228 * 2**10, L2_cache_size=60 * 2**20, gcnArchName="",
)  # fmt: skip
"""What Inductor asks of a device (CUDA C++ Programming Guide, technical specifications by compute capability)."""


@dataclass(frozen=True)
class Launches:
    """What one call of a generated graph launches."""

    triton: int
    """Launches of Triton kernels."""
    kernels: int
    """Triton kernels that are different programs."""
    products: int
    """Matrix products of cuBLAS."""
    copies: int
    """Copies between memory of the device and the host, or within the device, outside of kernels."""
    others: Mapping[str, int]
    """Operations that Inductor leaves to torch, by name."""


def traced(pack: Pack, part: str) -> tuple[GraphModule, list[Tensor]]:
    """Trace a pack's gradient or update on the CPU as a GPU computes it; return the graph and arguments of a call."""
    with mock.patch.object(sparse, "available", return_value=False):  # the inner loop in C++ is the CPU's
        example = pack._example()
        gradient = eager_gradient(pack._loss, pack.layout)
        _, grads = gradient(*example.gradient)
        function: Callable[..., Any] = gradient
        arguments: tuple[Any, ...] = example.gradient
        if part == "update":
            function, arguments = eager_update(pack.optimizer, pack.layout), example.update(grads)
        leaves, form = tree_flatten(tuple(a if isinstance(a, Tensor) else dict(a) for a in arguments))

        def listed(*tensors: Tensor) -> tuple[Tensor, ...]:
            out = function(*tree_unflatten(list(tensors), form))
            return tuple(out.values()) if isinstance(out, dict) else tuple(out)

        graph, held = inductor.traced(listed, leaves)
    return graph, [*leaves, *held]


def generated(graph: GraphModule, arguments: Sequence[Tensor]) -> str:
    """Return the Python module that Inductor writes for a graph whose tensors lie on an H200.

    Args:
        graph: traced on the CPU; its devices are changed.
        arguments: of a call, on the CPU.
    """
    from torch._guards import TracingContext, tracing
    from torch._inductor import compile_fx
    from torch._inductor.graph import GraphLowering
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    for node in graph.graph.nodes:
        node.meta.pop("val", None)
        node.kwargs = {
            k: CUDA if isinstance(v, torch.device) else v for k, v in node.kwargs.items() if k != "pin_memory"
        }
    graph.recompile()
    written: list[str] = []

    def write(self: GraphLowering) -> None:
        written.append(self.codegen()[0].value)
        raise _Written

    fake = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv(), static_shapes=True)
    options = {"fx_graph_cache": False, "compile_threads": 1, "pattern_matcher": False, "shape_padding": False}
    with _pretended_h200(), mock.patch.object(GraphLowering, "compile_to_module", write):
        with fake:
            there = [torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device=CUDA) for t in arguments]
        with torch.no_grad(), tracing(TracingContext(fake)), torch._inductor.config.patch(options):
            try:
                compile_fx.compile_fx_inner(graph, there, is_inference=True, graph_id=0)
            except Exception:  # Inductor makes errors of its own of all
                if not written:
                    raise
    return written[0]


class _Written(Exception):
    """The code is written, and is not to be loaded."""


@contextmanager
def _pretended_h200() -> Iterator[None]:
    """Let Inductor believe, inside the context, that there is a GPU, and Triton with a driver."""
    from torch._dynamo import device_interface
    from torch._inductor import scheduler
    from torch._inductor.fx_passes import post_grad
    from torch.utils import _triton

    cuda = device_interface.CudaInterface
    for name in ("cuda", "cuda:0"):
        device_interface.register_interface_for_device(name, cuda)
    answers: list[tuple[Any, str, Any]] = [
        (torch.cuda, "get_device_properties", H200),
        (torch.cuda, "get_device_capability", (H200.major, H200.minor)), (torch.cuda, "current_device", 0),
        (torch.cuda, "device_count", 1), (torch.cuda, "_lazy_init", None), (torch.cuda, "synchronize", None),
        (cuda, "get_compute_capability", 10 * H200.major + H200.minor), (cuda, "current_device", 0),
        (cuda, "get_device_properties", H200), (cuda.Worker, "get_device_properties", H200),
        (scheduler, "has_triton", True),
        (_triton, "triton_hash_with_backend", "none"), (post_grad, "reinplace_inplaceable_ops", None),
    ]  # fmt: skip
    with contextlib.ExitStack() as stack:
        for owner, name, answer in answers:
            stack.enter_context(mock.patch.object(owner, name, _answering(answer)))
        yield


def _answering(answer: Any) -> Any:
    """Return a static method that answers so, whatever it is asked (it can be called as a function, too)."""
    return staticmethod(lambda *_, **__: answer)


def launches(code: str) -> Launches:
    """Count what a call of generated code launches."""
    lines = [line for line in code.splitlines() if not line.lstrip().startswith("#")]
    body = "\n".join(lines[next(i for i, line in enumerate(lines) if "def call(" in line) :])
    triton = re.findall(r"^\s+(triton_\w+)\.run\(", body, re.MULTILINE)
    products = re.findall(r"^\s+extern_kernels\.(\w+)\(", body, re.MULTILINE)
    copies = re.findall(r"\.copy_\(|\.to\(device|aten\._to_copy|aten\.copy", body)
    others = re.findall(r"torch\.ops\.(\w+\.\w+)", body)
    return Launches(len(triton), len(set(triton)), len(products), len(copies), Counter(others))


def kernels(code: str) -> dict[str, str]:
    """Return the source of every Triton kernel in generated code by its name."""
    return dict(re.findall(r"async_compile\.triton\('(\w+)', '''(.*?)'''", code, re.DOTALL))


def machine_code(name: str, source: str, capability: int, folder: Path) -> bytes:
    """Compile one kernel for `capability` and return its machine code (a cubin)."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    facts: dict[str, Any] = {}

    def heuristic(**found: Any) -> Callable[[Any], Any]:
        facts.update(found)
        return lambda kernel: kernel

    # Inductor's decorators look for the device; here they only keep what they are told.
    path = folder / f"{name}_{capability}.py"
    path.write_text(re.sub(r"^triton_helpers\.set_driver_to_gpu\(\)$", "", source, flags=re.MULTILINE))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    from torch._inductor.runtime import triton_heuristics

    kinds = re.findall(r"@triton_heuristics\.(\w+)\(", source)
    with contextlib.ExitStack() as stack:
        for kind in kinds:
            stack.enter_context(mock.patch.object(triton_heuristics, kind, heuristic))
        spec.loader.exec_module(module)
    meta = facts["triton_meta"]
    blocks = {
        argument: _block(argument, facts["size_hints"], persistent="persistent" in kinds[0])
        for argument, kind in meta["signature"].items()
        if kind == "constexpr" and argument not in meta["constants"]
    }
    program = ASTSource(getattr(module, name), meta["signature"], {**meta["constants"], **blocks}, meta["configs"][0])
    built = triton.compile(program, target=GPUTarget("cuda", capability, 32), options={"num_warps": 4})
    return bytes(built.asm["cubin"])


def _block(argument: str, hints: Mapping[str, int], persistent: bool) -> int:
    """Return a block size: of what is summed all, of one axis at most 256 numbers, of several 16 along each."""
    if not argument.endswith("BLOCK"):
        return 1  # stages of a loop
    axis = argument.removesuffix("BLOCK").lower()
    if axis.startswith("r"):
        return min(hints[axis], MOST_BLOCK)
    several = 16 if len(hints) > 1 else 256
    return 1 if persistent and axis == "x" else min(hints[axis], several)


def measure(
    name: str, settings: tuple[str, Mapping[str, Any]], runs: int, parts: Sequence[str], capabilities: Sequence[int]
) -> list[dict[str, Any]]:
    """Generate and compile the parts of a pack's step; return a row for each.

    Args:
        name: of the network in the rows.
        settings: architecture, and settings of its network.
        runs: of the pack.
        parts: of `PARTS`.
        capabilities: compute capabilities times ten.
    """
    architecture, values = settings
    task = MoleculeTask(random_ethanol_dataset(64), 5.0, torch.float32, torch.device("cpu"))
    model = network(build(MODELS[architecture], dict(values), "model."), len(task.elements))
    rows = []
    for part in parts:
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            code = generated(*traced(pack_of(runs, model, task, folder, False), part))
            counted, sources = launches(code), kernels(code)
            began = time.process_time()
            sizes = {
                f"sm_{capability}": sum(len(machine_code(k, s, capability, folder)) for k, s in sources.items())
                for capability in capabilities
            }
        rows.append(
            {
                "name": f"{part}, {name}, pack of {runs}", "launches": counted.triton, "kernels": counted.kernels,
                "products": counted.products, "copies": counted.copies, "others": dict(counted.others),
                "atomic": len(re.findall(r"tl\.atomic_\w+\(", code)), "bytes": sizes,
                "compile_s": time.process_time() - began,
            }
        )  # fmt: skip
        print(text(rows[-1]), flush=True)
    return rows


def text(row: Mapping[str, Any]) -> str:
    """Describe a row in one line."""
    others = ", ".join(f"{count} {name}" for name, count in row["others"].items())
    sizes = ", ".join(f"{size / 1e3:.0f} kB for {name}" for name, size in row["bytes"].items())
    return (
        f"{row['name']}: {row['launches']} launches of {row['kernels']} Triton kernels, {row['products']} products, "
        f"{row['copies']} copies, {f'{others}, ' if others else ''}{row['atomic']} atomic additions; "
        f"compiled in {row['compile_s']:.0f} s: {sizes}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Generate and compile what the command line asks for; return the exit code."""
    parser = command.Parser(prog="python -m benchmarks.on_gpu.generated", description="Generate and compile CUDA code.")
    parser.add_argument("--networks", nargs="+", choices=sorted(ETHANOL), default=NETWORKS)
    parser.add_argument("--channels", type=command.integer_from(1), default=32)
    parser.add_argument("--layers", type=command.integer_from(1), help="of the networks (default: as in conf/model)")
    parser.add_argument("--pack", type=command.integer_from(1), default=16, help="runs that train together")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--sm", nargs="*", type=int, default=CAPABILITIES, help="compute capabilities times ten")
    return command.run(_carry_out, parser.parse_args(argv), "python -m benchmarks.on_gpu.generated")


def _carry_out(arguments: argparse.Namespace) -> None:
    if importlib.util.find_spec("triton") is None:
        raise InputError("Triton is not installed; pip install '.[triton]'")
    torch.set_num_threads(1)
    for name in arguments.networks:
        architecture, settings = ETHANOL[name]
        own = {"channels": arguments.channels} | ({} if arguments.layers is None else {"n_layers": arguments.layers})
        measure(name, (architecture, {**settings, **own}), arguments.pack, arguments.parts, arguments.sm)


if __name__ == "__main__":
    sys.exit(main())
