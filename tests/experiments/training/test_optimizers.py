"""Optimisers against independent plain implementations, and each run of a pack by itself."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from experiments.training.layout import Layout
from experiments.training.optimizers import OPTIMIZERS, Adam, AmsGrad, Muon, ScheduleFree, Soap
from experiments.training.optimizers.muon import orthogonal
from experiments.training.optimizers.optimizer import unbiased

SHAPES = {"w": torch.Size([4, 3]), "stack": torch.Size([2, 4, 3]), "bias": torch.Size([3]), "c": torch.Size([])}
STEPS = 45


def problem(p: int, dtype: torch.dtype) -> tuple[Layout, Tensor, list[Tensor]]:
    """Start and gradients `[p, n]` of a pack, each run with its own."""
    layout = Layout(SHAPES)
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(p, layout.size, generator=generator, dtype=torch.float64)
    tilt = torch.randn(layout.size, layout.size, generator=generator, dtype=torch.float64) / layout.size**0.5
    noise = torch.randn(STEPS, p, layout.size, generator=generator, dtype=torch.float64)
    return layout, start.to(dtype), [(n @ tilt).to(dtype) for n in noise]


def optimise(optimizer: Any, layout: Layout, params: Tensor, gradients: list[Tensor], rates: Tensor) -> Tensor:
    """All updates as the engine does them: update, then refresh where it is due."""
    p = len(params)
    state = optimizer.init(layout, params)
    for number, gradient in enumerate(gradients, 1):
        step = torch.full((p,), float(number), dtype=params.dtype)
        params, state = optimizer.update(layout, params, gradient, state, rates, step)
        if optimizer.due(number):
            everyone = torch.ones(p, dtype=torch.bool)
            state = optimizer.refresh(layout, state, everyone & (number == 1), everyone)
    return params


@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam_is_torchs(amsgrad: bool) -> None:
    layout, start, gradients = problem(1, torch.float64)
    gradients = [g / k for k, g in enumerate(gradients, 1)]  # else the second moment's maximum is its latest value
    ours = AmsGrad() if amsgrad else Adam()
    found = optimise(ours, layout, start, gradients, torch.tensor([0.01], dtype=torch.float64))
    theirs = start[0].clone().requires_grad_(True)
    reference = torch.optim.Adam([theirs], lr=0.01, amsgrad=amsgrad)
    for gradient in gradients:
        theirs.grad = gradient[0].clone()
        reference.step()
    # The same formula in another order of operations: round-off of 45 updates of size 0.01.
    torch.testing.assert_close(found[0], theirs.detach(), rtol=0, atol=1e-13)


def test_muon_is_torchs() -> None:
    """On a matrix; theirs iterates in bfloat16, whose three digits are the tolerance."""
    layout, start, gradients = problem(1, torch.float32)
    found = optimise(Muon(), layout, start, gradients, torch.tensor([0.01]))
    theirs = layout.named(start)["w"][0].clone().requires_grad_(True)
    reference = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    for gradient in gradients:
        theirs.grad = layout.named(gradient)["w"][0].clone()
        reference.step()  # type: ignore[no-untyped-call]
    moved = float((theirs.detach() - layout.named(start)["w"][0]).abs().max())
    torch.testing.assert_close(layout.named(found)["w"][0], theirs.detach(), rtol=0, atol=0.02 * moved)


def test_muon_leaves_vectors_to_adam() -> None:
    layout, start, gradients = problem(1, torch.float64)
    rate = torch.tensor([0.01], dtype=torch.float64)
    muon, adam = (layout.named(optimise(each, layout, start, gradients, rate)) for each in (Muon(), Adam()))
    assert torch.equal(muon["bias"], adam["bias"])
    assert not torch.allclose(muon["w"], adam["w"])


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (2, 5, 5)])
def test_orthogonal_keeps_the_singular_vectors(shape: tuple[int, ...]) -> None:
    """U and V of the matrix, all singular values between 0.6 and 1.3, as the iteration's polynomial has it."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    core = u.mT @ orthogonal(matrix, 5) @ vh.mT
    values = core.diagonal(dim1=-2, dim2=-1)
    assert float((core - torch.diag_embed(values)).abs().max()) < 1e-12  # a polynomial of the matrix: round-off
    assert 0.6 < float(values.min()) <= float(values.max()) < 1.3


def test_schedule_free_is_the_papers() -> None:
    """Algorithm 1 of arXiv 2405.15682 in numbers, one parameter at a time."""
    layout, start, gradients = problem(1, torch.float64)
    optimizer, rates = ScheduleFree(), [0.01 * min(1.0, k / 10) for k in range(1, STEPS + 1)]
    params, state = start, optimizer.init(layout, start)
    for k, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        now = (torch.tensor([value], dtype=torch.float64) for value in (rate, float(k)))
        params, state = optimizer.update(layout, params, gradient, state, *now)
    for i in range(layout.size):
        z = x = float(start[0, i])
        v = total = 0.0
        for k, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), 1):
            g = float(gradient[0, i])
            v = 0.999 * v + 0.001 * g * g
            z -= rate * g / (math.sqrt(v / (1 - 0.999**k)) + 1e-8)
            total += rate * rate
            x += rate * rate / total * (z - x)
        assert float(optimizer.evaluated(params, state)[0, i]) == pytest.approx(x, abs=1e-13)  # round-off
        assert float(params[0, i]) == pytest.approx(0.1 * z + 0.9 * x, abs=1e-13)


def tilt(gram: Tensor) -> Tensor:
    """The ramp on a Gram matrix before its eigenvectors are taken: from 2e-3 down to 1e-3 of its mean diagonal."""
    size = len(gram)
    ramp = [2 - k / (size - 1) for k in range(size)] if size > 1 else [2.0]
    return torch.diag(1e-3 * gram.trace() / size * torch.tensor(ramp, dtype=gram.dtype))


def plain_soap(w: Tensor, gradients: list[Tensor], rate: float) -> Tensor:
    """SOAP (arXiv 2409.11321, Algorithm 3) on one matrix, written down slowly with loops and full bookkeeping.

    As there: the first update uses the identity, then eigenvectors of the first Gram matrices; every tenth update
    one step of orthogonal iteration; the second moment lives in the rotated space, the first in the original one.
    Beyond the paper: the ramp of `tilt`.
    """
    beta, eps = 0.95, 1e-8
    rows, columns = w.shape
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    grams = [torch.zeros(rows, rows, dtype=w.dtype), torch.zeros(columns, columns, dtype=w.dtype)]
    bases = [torch.eye(rows, dtype=w.dtype), torch.eye(columns, dtype=w.dtype)]
    if rows == 1:
        grams, bases = [grams[1]], [bases[1]]

    def turn(x: Tensor, back: bool) -> Tensor:
        right = bases[-1]
        x = x @ (right.T if back else right)
        if rows > 1:
            x = (bases[0] if back else bases[0].T) @ x
        return x

    for number, g in enumerate(gradients, 1):
        m = beta * m + (1 - beta) * g
        v = beta * v + (1 - beta) * turn(g, back=False) ** 2
        direction = (turn(m, back=False) / (1 - beta**number)) / ((v / (1 - beta**number)).sqrt() + eps)
        w = w - rate * turn(direction, back=True)
        outer = [g @ g.T, g.T @ g] if rows > 1 else [g.T @ g]
        grams = [beta * gram + (1 - beta) * new for gram, new in zip(grams, outer, strict=True)]
        sized = [gram + tilt(gram) for gram in grams]
        if number == 1:
            bases = [torch.linalg.eigh(gram)[1].flip(1) for gram in sized]
        elif number % 10 == 0:
            for side, (gram, basis) in enumerate(zip(sized, bases, strict=True)):
                rayleigh = [float(basis[:, k] @ gram @ basis[:, k]) for k in range(len(gram))]
                order = sorted(range(len(gram)), key=lambda k: -rayleigh[k])
                basis = basis[:, order]
                v = v[order] if side == 0 and rows > 1 else v[:, order]
                bases[side] = torch.linalg.qr(gram @ basis)[0]
    return w


@pytest.mark.parametrize("name", ["w", "stack", "bias"])
def test_soap_is_the_papers(name: str) -> None:
    layout, start, gradients = problem(1, torch.float64)
    found = layout.named(optimise(Soap(), layout, start, gradients, torch.tensor([0.01], dtype=torch.float64)))[name]
    first, each = layout.named(start)[name], [layout.named(g)[name] for g in gradients]
    matrix = (1, *first.shape[1:]) if first.ndim < 3 else first.shape[-2:]
    for k, ours in enumerate(found.reshape(-1, *matrix[-2:])):
        theirs = plain_soap(
            first.reshape(-1, *matrix[-2:])[k], [g.reshape(-1, *matrix[-2:])[k] for g in each], rate=0.01
        )
        # Round-off, amplified by the decompositions; a wrong sign, order or basis shows at 1e-2.
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


def test_soap_finds_the_minimum_of_a_tilted_quadratic() -> None:
    """An ill-conditioned quadratic on matrices, L = ½ tr(Aᵀ W B Wᵀ A): SOAP's own case."""
    layout = Layout({"w": torch.Size([6, 5])})
    generator = torch.Generator().manual_seed(0)
    left = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))[0]
    right = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64))[0]
    A = left @ torch.diag(torch.logspace(-2, 0, 6, dtype=torch.float64)) @ left.T
    B = right @ torch.diag(torch.logspace(-2, 0, 5, dtype=torch.float64)) @ right.T

    def losses(optimizer: Any) -> tuple[float, float]:
        params = torch.randn(1, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        state, loss = optimizer.init(layout, params), []
        for number in range(1, 301):
            w = params.reshape(6, 5)
            loss.append(0.5 * float(torch.trace(w.T @ A @ w @ B)))
            rate = torch.tensor([0.05 * (1 - (number - 1) / 300)], dtype=torch.float64)
            step = torch.tensor([float(number)], dtype=torch.float64)
            params, state = optimizer.update(layout, params, (A @ w @ B).reshape(1, -1), state, rate, step)
            if optimizer.due(number):
                yes = torch.ones(1, dtype=torch.bool)
                state = optimizer.refresh(layout, state, yes & (number == 1), yes)
        return loss[0], loss[-1]

    first, last = losses(Soap())
    assert last < 1e-4 * first
    assert last < losses(Adam())[1]


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_pack_is_its_runs(name: str, dtype: torch.dtype) -> None:
    optimizer = OPTIMIZERS[name]()
    layout, start, gradients = problem(3, dtype)
    rates = torch.tensor([0.01, 0.003, 0.02], dtype=dtype)
    together = optimise(optimizer, layout, start, gradients, rates)
    for i in range(3):
        alone = optimise(
            optimizer, layout, start[i : i + 1], [g[i : i + 1] for g in gradients], rates[i : i + 1]
        )  # batched and single matrix products may sum in another order
        torch.testing.assert_close(
            together[i], alone[0], rtol=0, atol={torch.float32: 1e-4, torch.float64: 1e-12}[dtype]
        )


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_one_runs_nan_leaves_the_others_bit_for_bit(name: str, poison: float) -> None:
    optimizer = OPTIMIZERS[name]()
    layout, start, gradients = problem(3, torch.float32)
    rates = torch.full((3,), 0.01)
    clean = optimise(optimizer, layout, start, gradients, rates)
    for place in (0, 7, 29):
        spoilt = [g.clone() for g in gradients]
        spoilt[place][1] = poison
        found = optimise(optimizer, layout, start, spoilt, rates)
        assert torch.equal(found[[0, 2]], clean[[0, 2]])


def test_runs_at_different_clocks_are_refreshed_at_their_own() -> None:
    """Run 0 is due, run 1 is not: its bases and moments stay."""
    soap = Soap()
    layout, start, gradients = problem(2, torch.float64)
    state = soap.init(layout, start)
    for gradient in gradients[:3]:
        _, state = soap.update(layout, start, gradient, state, torch.ones(2), torch.ones(2, dtype=torch.float64))
    due = torch.tensor([True, False])
    after = soap.refresh(layout, state, torch.zeros(2, dtype=torch.bool), due)
    changed = [key for key in state if not torch.equal(after[key][0], state[key][0])]
    assert "v" in changed
    assert any(key.endswith("basis") for key in changed)
    assert all(torch.equal(after[key][1], state[key][1]) for key in state)


@pytest.mark.parametrize(("dtype", "eps", "grown"), [(torch.float64, 1e-15, 1e-11), (torch.float32, 1e-7, 1e-4)])
def test_round_off_stays_round_off(dtype: torch.dtype, eps: float, grown: float) -> None:
    """A relative change of the gradients by `eps` moves the weights by no more than some hundred times that.

    Bases of singular Gram matrices (the first is of rank one to three here) would move them by 1e-2.
    """
    layout, start, gradients = problem(1, dtype)
    rates = torch.tensor([0.01], dtype=dtype)
    generator = torch.Generator().manual_seed(1)
    nudged = [g * (1 + eps * torch.randn(g.shape, generator=generator, dtype=dtype)) for g in gradients]
    found = [optimise(Soap(), layout, start, each, rates) for each in (gradients, nudged)]
    assert not torch.equal(found[0], found[1])
    assert float((found[0] - found[1]).abs().max()) < grown


def test_bases_stay_orthonormal() -> None:
    soap = Soap()
    layout, params, gradients = problem(2, torch.float32)
    state, rates = soap.init(layout, params), torch.full((2,), 0.01)
    for number, gradient in enumerate(gradients, 1):
        params, state = soap.update(layout, params, gradient, state, rates, torch.full((2,), float(number)))
        if soap.due(number):
            yes = torch.ones(2, dtype=torch.bool)
            state = soap.refresh(layout, state, yes & (number == 1), yes)
    for key, basis in state.items():
        if key.endswith("basis"):
            eye = torch.eye(basis.shape[-1]).expand_as(basis)
            # A QR decomposition's own orthogonality in float32: a few eps = 1.2e-7 times the size.
            torch.testing.assert_close(basis.mT @ basis, eye, rtol=0, atol=5e-6)


def test_bias_correction_keeps_its_digits_in_float32() -> None:
    """1 − β^step by subtraction would lose three digits at β = 0.999."""
    step = torch.arange(1.0, 100.0)
    found = unbiased(torch.ones(99, 1), 0.999, step)[:, 0].double()
    exact = 1 / (1 - 0.999 ** torch.arange(1, 100, dtype=torch.float64))
    torch.testing.assert_close(found, exact, rtol=5e-7, atol=0)  # a few float32 eps
