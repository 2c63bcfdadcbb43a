"""Inductor on a CPU without what costs a cold start much and a step nothing.

`torch.compile` traces again what `make_fx` has traced (dynamo, then AOTAutograd), asks with trial builds what the
processor can do, simplifies index expressions that are linear as they stand, and compiles the calls of all kernels, one
long C++ function, with the kernels' optimisation. Here the traced graph goes to Inductor as it is. All of this uses
functions of torch that may change with any release: what fails here is compiled by `torch.compile`
(`experiments.training.step`), and whatever comes out is compared with the eager step before it is used
(`experiments.training.trusted_step`).
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import sympy
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from experiments.core.compiler import Stopped
from experiments.nn.native import shim

PositionalFunction = Callable[..., tuple[Tensor, ...]]
OPTIONS: dict[str, Any] = {
    "cpp_wrapper": True,  # one C++ file instead of one a kernel: half of what a call costs (measured)
    "cpp_wrapper_build_separate": True,
    "aot_inductor.compile_wrapper_opt_level": "O0",
    "cpp_cache_precompile_headers": False,  # two headers a machine cost more than they save one or two shapes
    "cpp.vec_isa_ok": True,
    "compile_threads": 1,  # else a pool of processes that import torch, for kernels that this way has none of
}
"""Inductor's options. The calls of the kernels take 45 of 69 seconds of g++ with -O3, and a step the same time."""
IN_PLACE = {"copy_": "copy", "sub_": "sub", "add_": "add", "mul_": "mul"}
"""Operations in place that decompositions write, on tensors that nothing else refers to; and what they are instead."""


class CannotBeLean(Exception):
    """The graph changes tensors in place that may have other names."""


def compiled(function: PositionalFunction, inputs: Sequence[Tensor]) -> PositionalFunction:
    """Return `function`, traced and compiled for the shapes of `inputs` on a CPU.

    Raises:
        Exception: this release of torch or this compiler does otherwise than is relied on here.
    """
    from torch._guards import TracingContext, tracing
    from torch._inductor import compile_fx

    # Inductor keeps in its cache what it compiled where there could be symbolic shapes; there are none.
    fake = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv(), static_shapes=True)
    with _lean(), torch.no_grad(), tracing(TracingContext(fake)):
        graph, held = _traced(function, inputs, fake)
        examples = [fake.from_tensor(tensor) for tensor in (*inputs, *held)]
        # Without Inductor's passes over joint graphs: 2 of a warm start's 8 seconds, and no faster step (measured).
        run = compile_fx.compile_fx_inner(graph, examples, cpp_wrapper=True, is_inference=True, graph_id=0)

    strides = [tensor.stride() for tensor in inputs]

    def call(*tensors: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            # The code reads memory as the examples lay in it, and checks nothing: an eigenbasis comes transposed.
            laid = [t if t.stride() == s else _laid(t, s) for t, s in zip(tensors, strides, strict=True)]
            return tuple(run([*laid, *held]))

    return call


def traced(function: PositionalFunction, inputs: Sequence[Tensor]) -> tuple[GraphModule, list[Tensor]]:
    """Trace `function` for the shapes of `inputs`, without what follows on the way to a compiler.

    Returns:
        The graph, in the operations that Inductor knows, none of them in place, and the tensors that it takes after
        `inputs`: constants of the function.
    """
    from torch._guards import TracingContext, tracing

    fake = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv(), static_shapes=True)
    with torch.no_grad(), tracing(TracingContext(fake)):
        return _traced(function, inputs, fake)


def _traced(
    function: PositionalFunction, inputs: Sequence[Tensor], fake: FakeTensorMode
) -> tuple[GraphModule, list[Tensor]]:
    from torch._functorch.compile_utils import fx_graph_cse
    from torch._inductor.decomposition import select_decomp_table

    trace = make_fx(function, select_decomp_table(), tracing_mode="fake", _allow_non_fake_inputs=True)
    graph = trace(*(fake.from_tensor(tensor) for tensor in inputs))
    without_places(graph)
    graph.graph.eliminate_dead_code()
    graph.graph = fx_graph_cse(graph.graph)
    return graph, _constants_as_inputs(graph, fake)


def _laid(tensor: Tensor, stride: tuple[int, ...]) -> Tensor:
    """Return a copy with other strides."""
    new = torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype, device=tensor.device)
    return new.copy_(tensor)


def without_places(traced: GraphModule) -> None:
    """Replace operations in place by ordinary ones.

    Raises:
        CannotBeLean: one of them changes a tensor that may be a part of another, or have parts.
    """
    order = {node: number for number, node in enumerate(traced.graph.nodes)}
    for node in list(traced.graph.nodes):
        if not _mutates(node):
            continue
        name = node.target._schema.name.removeprefix("aten::")
        changed = node.args[0]
        if name not in IN_PLACE or not _alone(changed):
            raise CannotBeLean(f"{node.target} of {changed}")
        packet = getattr(torch.ops.aten, IN_PLACE[name])
        with traced.graph.inserting_before(node):
            new = traced.graph.call_function(getattr(packet, node.target._overloadname), node.args, node.kwargs)
        order[new] = order[node]
        new.meta = node.meta.copy()
        node.replace_all_uses_with(new)
        for user in [u for u in changed.users if u not in (new, node) and order[u] > order[node]]:
            user.replace_input_with(changed, new)
        traced.graph.erase_node(node)


def _mutates(node: Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _alone(node: Node) -> bool:
    """Return whether a node's tensor is no other's memory, as far as its own operation and those that use it tell."""
    made = isinstance(node.target, torch._ops.OpOverload) and not _shares(node)
    return made and not any(_shares(user) for user in node.users if not _mutates(user))


def _shares(node: Node) -> bool:
    """Return whether a node's output may be its input's memory: a view, or an operation in place."""
    schema = getattr(node.target, "_schema", None)
    return schema is None or any(returned.alias_info is not None for returned in schema.returns)


def _constants_as_inputs(traced: GraphModule, fake: FakeTensorMode) -> list[Tensor]:
    """Make the tensors that the graph holds its last inputs, and return them.

    Inductor writes the addresses of what a graph holds into the code, which would then differ from process to process.
    """
    held: list[Tensor] = []
    last = [node for node in traced.graph.nodes if node.op == "placeholder"][-1]
    for node in [node for node in traced.graph.nodes if node.op == "get_attr"]:
        with traced.graph.inserting_after(last):
            last = traced.graph.placeholder(f"held{len(held)}")
        held.append(getattr(traced, node.target))
        last.meta["val"] = fake.from_tensor(held[-1])
        node.replace_all_uses_with(last)
        traced.graph.erase_node(node)
    traced.recompile()
    return held


@contextmanager
def _lean() -> Iterator[None]:
    """Set Inductor up inside the context: options, no trial builds, strides read off, no garbage collection."""
    from torch._inductor import config, cpu_vec_isa
    from torch._inductor.codegen import cpp

    shims = shim.declarations()
    options = {
        **OPTIONS,
        "aot_inductor.custom_ops_to_c_shims": shims,
        # The cache's key cannot hold an operator; what is declared for it stands there instead.
        "_cache_config_ignore_prefix": [*config._cache_config_ignore_prefix, "aot_inductor.custom_ops_to_c_shims"],
        "aot_inductor.metadata": {str(operator): lines[0] for operator, lines in shims.items()},
    }
    with ExitStack() as stack:
        stack.enter_context(config.patch(options))
        stack.enter_context(_replaced(cpu_vec_isa.VecISA, "check_build", lambda isa, code: True))
        stack.enter_context(_replaced(cpp, "stride_at_vec_range", stride_of(cpp.stride_at_vec_range)))
        stack.callback(gc.enable if gc.isenabled() else gc.disable)
        gc.disable()  # hundreds of thousands of nodes, none of them garbage: searched again and again
        try:
            yield
        except Stopped:
            gc.freeze()  # the process is about to end: what is left of the compilation need not be searched for garbage
            raise


@contextmanager
def _replaced(owner: Any, name: str, new: Any) -> Iterator[None]:
    """Replace a class's or module's function inside the context."""
    before = getattr(owner, name)
    setattr(owner, name, new)
    try:
        yield
    finally:
        setattr(owner, name, before)


def stride_of(general: Callable[..., Any]) -> Callable[..., Any]:
    """Return Inductor's function of (index, variable, …) → stride, which it asks for every index of every kernel.

    Where an index is a sum of products of one variable and a number, the stride is that number, and `general`, which
    simplifies a difference symbolically, is left out: 14 of 24 seconds of code generation were spent there.
    """

    @functools.cache
    def stride(index: sympy.Expr, variable: sympy.Symbol, vec_length: int | None = None) -> Any:
        found = linear_stride(index, variable)
        return general(index, variable, vec_length) if found is None else found

    return stride


def linear_stride(index: sympy.Expr, variable: sympy.Symbol) -> sympy.Expr | None:
    """Return the factor of `variable` in a sum of products of numbers and one symbol; None where it stands elsewhere,
    too."""
    total = sympy.S.Zero
    for term in sympy.Add.make_args(index):
        if variable not in term.free_symbols:
            continue
        factor, rest = term.as_coeff_Mul()
        if rest != variable:
            return None
        total += factor
    return total
