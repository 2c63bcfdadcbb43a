"""Constants of networks: moved once, plain tensors whatever happens around them, and no copies in traced steps."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from benchmarks.on_gpu.small_networks import CASES
from experiments.nn.constants import Constant
from experiments.tasks.task import LossTerms, LossWeights, Tensors
from experiments.training.layout import Layout
from experiments.training.step import eager_gradient

VALUE = torch.tensor([1.0, 1 / 3], dtype=torch.float64)


def copied_constants(traced: GraphModule) -> list[Node]:
    """List the operations that copy or convert a constant, which a GPU would fetch from the host in every step."""
    return [
        node
        for node in traced.graph.nodes
        if any(kind in str(node.target) for kind in ("_to_copy", "lift_fresh"))
        and any(isinstance(given, Node) and given.op == "get_attr" for given in node.args)
    ]


def test_one_tensor_a_device_and_dtype() -> None:
    constant = Constant(VALUE)
    kinds = [(dtype, at) for dtype in (torch.float32, torch.float64) for at in ("cpu", "meta")]
    found = [constant.like(torch.zeros(3, dtype=dtype, device=at)) for dtype, at in kinds]
    for (dtype, at), value in zip(kinds, found, strict=True):
        assert (value.device.type, value.dtype) == (at, dtype)
        assert at == "meta" or torch.equal(value, VALUE.to(dtype))
        assert constant.like(torch.ones(5, dtype=dtype, device=at)) is value
    assert len(constant._moved) == 4


def test_whole_numbers_stay_whole() -> None:
    places = Constant(torch.tensor([2, 0]))
    assert places.like(torch.zeros(1)).dtype == torch.int64
    assert places.like(torch.zeros(1)) is places.like(torch.zeros(1, dtype=torch.float64))


def test_first_needed_within_a_trace() -> None:
    """The cached value is a plain tensor, and the trace has no conversion."""
    constant, x = Constant(VALUE), torch.ones(2)
    traced = make_fx(lambda x: x * constant.like(x))(x)
    assert not copied_constants(traced)
    assert type(constant.like(x)) is Tensor
    assert torch.equal(traced(2 * x), 2 * VALUE.float())


def test_a_conversion_in_a_trace_is_found() -> None:
    """The check of the next test sees what it is made for: constants converted, and made of numbers, in each step."""
    assert copied_constants(make_fx(lambda x: x * VALUE.to(x.dtype))(torch.ones(2)))
    assert copied_constants(make_fx(lambda x: x * torch.tensor([1.0, 2.0]))(torch.ones(2)))


@functools.cache
def traced_gradient(name: str) -> tuple[GraphModule, tuple[Any, ...], tuple[Tensor, ...]]:
    """Trace the gradient of one run in single precision, unlike the double precision of the constants.

    Return the trace, its arguments, and the gradient of an untraced call.
    """
    case = CASES[name]
    task = case.task(torch.float32, torch.device("cpu"))
    model = case.network(task)
    drawn = {key: value[None] for key, value in model.init(0, torch.float32).items()}
    constants = {key: drawn.pop(key) for key in list(drawn) if key.startswith("constant.")}
    layout = Layout({key: value.shape[1:] for key, value in drawn.items()})
    targets = task.targets([task.prepare(np.arange(4))], [LossWeights(1.0, 1.0)])

    def loss(params: Tensors, batch: Tensors) -> Tensor:
        found: Tensor = task.loss(model, params, batch, LossTerms(True, True))
        return found

    gradient = eager_gradient(loss, layout)
    arguments = (layout.flat(drawn), constants, dict(task.batch(targets, torch.tensor([[0, 1]]))))
    plain = gradient(*arguments)  # before it is traced, as in the engine
    return make_fx(gradient)(*arguments), arguments, plain


@pytest.mark.parametrize("name", CASES)
def test_traced_gradients_hold_their_constants_ready(name: str) -> None:
    traced, arguments, plain = traced_gradient(name)
    assert not copied_constants(traced)
    for one, other in zip(traced(*arguments), plain, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", CASES)
def test_sums_in_any_order(name: str) -> None:
    """docs/speed.md says what a GPU does not do the same way twice: there these operations add atomically.

    Of the loss of classes there is `scatter_add`, but what it adds goes to a place of its own each.
    """
    traced, _, _ = traced_gradient(name)
    kinds = ("index_add", "index_put", "index_reduce", "scatter_add", "scatter_reduce", "bincount", "put_", "embedding")
    found = {kind for node in traced.graph.nodes for kind in kinds if kind in str(node.target)}
    own = set() if CASES[name].kind == "molecules" else {"scatter_add"}
    assert found == own | ({"index_add"} if CASES[name].architecture == "gcnn" else set())
