"""Symmetric contraction: sparse against dense, both against explicit polynomials, derivatives, and the fallback."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from experiments.nn.contraction import Contraction, couplings
from experiments.nn.forms import SymmetricForm
from experiments.nn.native import sparse

# Cubic polynomials with some hundred terms of order one, in float64.
ROUND_OFF = 1e-11
needs_compiler = pytest.mark.skipif(not sparse.available(), reason="no C++ compiler")


def example(contraction: Contraction, l_in: int, channels: int) -> tuple[Tensor, Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    which = torch.eye(3, dtype=torch.float64)[torch.randint(3, (2, 5), generator=generator)]
    weights = [normal(2, 3, term.paths, channels) for term in contraction.terms]
    return normal(2, 5, (l_in + 1) ** 2, channels), which, weights


def explicit(contraction: Contraction, l_in: int, a: Tensor, which: Tensor, weights: list[Tensor]) -> dict[int, Tensor]:
    """Return the full polynomials by einsum, one order at a time."""
    out = {degree: torch.zeros(*a.shape[:2], 2 * degree + 1, a.shape[-1], dtype=a.dtype) for degree in (0, 1, 2)}
    for term, weight in zip(contraction.terms, weights, strict=True):
        u = couplings(l_in, term.degree, term.order)
        own = torch.einsum("pns,pskc->pnkc", which, weight)
        factors = [a] * term.order
        letters = "xyz"[: term.order]
        equation = ",".join([f"m{letters}k", "pnkc", *(f"pn{x}c" for x in letters)]) + "->pnmc"
        out[term.degree] = out[term.degree] + torch.einsum(equation, u, own, *factors)
    return {degree: out[degree] for degree in contraction.degrees}


# channel counts that fill vector registers, and that do not
@pytest.mark.parametrize("channels", [1, 3, 8, 37])
@pytest.mark.parametrize("nu", [1, 2, 3])
@pytest.mark.parametrize(("l_in", "degrees"), [(0, (0,)), (1, (0, 1)), (2, (0, 1, 2)), (3, (0,))])
def test_dense_and_sparse_are_the_polynomial(l_in: int, degrees: tuple[int, ...], nu: int, channels: int) -> None:
    contraction = Contraction(l_in, degrees, nu)
    a, which, weights = example(contraction, l_in, channels)
    expected = explicit(contraction, l_in, a, which, weights)
    found = [contraction.dense(a, which, weights)]
    if sparse.available():
        found.append(contraction.sparse(a, which, weights))
    for result in found:
        assert set(result) == set(degrees)
        for degree in degrees:
            assert torch.allclose(result[degree], expected[degree], atol=ROUND_OFF, rtol=ROUND_OFF)


@needs_compiler
def test_sparse_in_float32() -> None:
    contraction = Contraction(3, (0, 1), 3)
    a, which, weights = example(contraction, 3, 37)
    exact = contraction.sparse(a, which, weights)
    single = contraction.sparse(a.float(), which.float(), [weight.float() for weight in weights])
    for degree in exact:  # round-off of single precision, 1e-7, times the root of some hundred terms
        assert single[degree].dtype == torch.float32
        assert (single[degree] - exact[degree]).abs().max() < 3e-6 * exact[degree].abs().max()


@needs_compiler
@pytest.mark.parametrize("nu", [1, 2, 3])
def test_all_derivatives_to_third_order(nu: int) -> None:
    table: dict[tuple[int, int], Tensor] = {}
    weight = 0
    for degree, start in ((0, 0), (1, 1)):
        for order in range(1, nu + 1):
            u = couplings(1, degree, order)
            if u.shape[-1]:
                table[start, weight] = u
                weight += u.shape[-1]
    form = SymmetricForm(table)
    generator = torch.Generator().manual_seed(nu)
    x = torch.randn(2, 4, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    w = torch.randn(2, weight, 2, generator=generator, dtype=torch.float64, requires_grad=True)

    def gradient(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(form(x, w).pow(2).sum(), (x, w), create_graph=True)

    assert torch.autograd.gradcheck(form, (x, w))
    assert torch.autograd.gradgradcheck(form, (x, w))
    assert torch.autograd.gradgradcheck(gradient, (x, w))


def test_without_a_compiler_the_dense_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "available", lambda: False)
    contraction = Contraction(2, (0, 1), 2)
    monkeypatch.setattr(contraction, "sparse", lambda *_: pytest.fail("took the sparse way"))
    a, which, weights = example(contraction, 2, 4)
    result = contraction(a, which, weights)
    expected = explicit(contraction, 2, a, which, weights)
    assert all(torch.allclose(result[d], expected[d], atol=ROUND_OFF) for d in result)


def test_a_compiler_that_fails_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "/bin/false")
    sparse._library.cache_clear()
    try:
        assert not sparse.available()
        assert not sparse.available()
        assert len(caplog.records) == 1
    finally:
        sparse._library.cache_clear()


@needs_compiler
def test_the_inner_loop_under_torch_compile() -> None:
    """Traced with a second derivative, then compiled: the way in which a training step uses it."""
    contraction = Contraction(1, (0, 1), 2)
    a, which, weights = example(contraction, 1, 4)

    def gradient(a: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        a = a.detach().requires_grad_(True)
        leaves = [weight.detach().requires_grad_(True) for weight in weights]
        value = sum((out.pow(2).sum() for out in contraction.sparse(a, which, leaves).values()), torch.zeros(()))
        (slope,) = torch.autograd.grad(value, a, create_graph=True)
        return torch.autograd.grad(slope.pow(2).sum(), leaves)

    traced = make_fx(gradient)(a, *weights)
    with torch.no_grad():
        compiled = torch.compile(traced, fullgraph=True, dynamic=False)(a, *weights)
    for found, expected in zip(compiled, gradient(a, *weights), strict=True):
        assert torch.allclose(found, expected, atol=ROUND_OFF, rtol=ROUND_OFF)
