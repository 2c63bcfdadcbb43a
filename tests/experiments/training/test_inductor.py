"""Inductor without what costs time: the shortcuts give what the ways around would."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._inductor.codegen.cpp import stride_at_vec_range
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._sympy.functions import FloorDiv, ModularIndexing

from experiments.training import inductor
from experiments.training.inductor import CannotBeLean, linear_stride, without_places

SYMBOLS = sympy.symbols("x0 x1 x2", integer=True, nonnegative=True)


@given(st.lists(st.integers(-9, 64), min_size=4, max_size=4), st.sampled_from([None, 8, 16]))
def test_strides_of_linear_indices_are_inductors(numbers: list[int], length: int | None) -> None:
    index = sum((n * x for n, x in zip(numbers, SYMBOLS, strict=False)), sympy.Integer(numbers[-1]))
    for symbol in SYMBOLS:
        assert linear_stride(index, symbol) == stride_at_vec_range(index, symbol, length)


@pytest.mark.parametrize("term", [lambda x: x**2, lambda x: FloorDiv(x, 8), lambda x: ModularIndexing(x, 1, 8)])
def test_other_indices_are_left_to_inductor(term: Any) -> None:
    x, y, _ = SYMBOLS
    assert linear_stride(3 * x + term(x) + y, x) is None
    assert linear_stride(3 * x + term(x) + y, y) == 1


def test_operations_in_place_become_ordinary_ones() -> None:
    def changed(x: Tensor) -> Tensor:
        made = torch.empty_like(x)
        made.copy_(x * 2)
        return made.sub_(x).mul_(made) + made

    x = torch.arange(6.0)
    traced = make_fx(changed)(x)
    without_places(traced)
    traced.recompile()
    called = [node.target for node in traced.graph.nodes if node.op == "call_function"]
    assert called
    assert not any(operator._schema.is_mutable for operator in called)
    assert torch.equal(traced(x), changed(x))


def test_what_may_have_another_name_is_refused() -> None:
    def through_a_view(x: Tensor) -> Tensor:
        made = x * 2
        made[0].sub_(x[1])
        return made

    def of_an_argument(x: Tensor) -> Tensor:
        return x.sub_(1)

    for function in (through_a_view, of_an_argument):
        with pytest.raises(CannotBeLean):
            without_places(make_fx(function)(torch.ones(3, 3)))


@pytest.mark.long
@pytest.mark.skipif(not any(shutil.which(name) for name in ("g++", "c++", "clang++")), reason="needs a C++ compiler")
def test_a_second_derivative_is_compiled() -> None:
    """Of a function whose decomposition works in place, and that holds a tensor."""
    held = torch.linspace(0, 1, 5)

    def function(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            x, w = x.detach().requires_grad_(True), w.detach().requires_grad_(True)
            (slope,) = torch.autograd.grad(torch.nn.functional.silu(x @ w * held).sum(), x, create_graph=True)
            return (torch.autograd.grad((slope**2).sum(), w)[0].detach(),)

    generator = torch.Generator().manual_seed(0)
    x, w = torch.randn(8, 5, generator=generator), torch.randn(5, 5, generator=generator)
    run = inductor.compiled(function, [x, w])
    for other in (w, 2 * w, w.T):  # the last lies otherwise in memory than what was compiled for
        torch.testing.assert_close(run(x, other)[0], function(x, other)[0])
