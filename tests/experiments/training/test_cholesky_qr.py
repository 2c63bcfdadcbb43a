"""Bases of SOAP by Cholesky, as on a GPU, against LAPACK's QR."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from experiments.training.layout import Layout
from experiments.training.optimizers import Soap, soap
from experiments.training.optimizers.soap import cholesky_qr, orthonormal

EPS = torch.finfo(torch.float64).eps


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_condition(condition: float, count: int, size: int) -> Tensor:
    """Matrices with that condition number: singular values at equal ratios between 1 and its inverse."""
    left, right = (torch.linalg.qr(random(count, size, size, seed=seed)).Q for seed in (1, 2))
    values = torch.logspace(0, -torch.tensor(condition).log10().item(), size, dtype=torch.float64)
    made: Tensor = left * values @ right.mT
    return made


def aligned(found: Tensor, expected: Tensor) -> Tensor:
    """`expected` with the signs of `found`, vector by vector."""
    return expected * (found * expected).sum(-2, keepdim=True).sign()


@pytest.mark.parametrize("size", [2, 7, 32])
@pytest.mark.parametrize("condition", [1.0, 1e3, 1e7, 1e12])
def test_vectors_are_lapacks_up_to_sign(condition: float, size: int) -> None:
    """Both are exact for a matrix that differs by round-off; Q then differs by that times the condition number."""
    columns = with_condition(condition, 5, size)
    (found,), expected = cholesky_qr([columns]), torch.linalg.qr(columns).Q
    assert float((found - aligned(found, expected)).abs().max()) < 100 * size * EPS * condition
    # As orthogonal as LAPACK's whatever the condition number is.
    assert float((found.mT @ found - torch.eye(size, dtype=torch.float64)).abs().max()) < 20 * size * EPS


@pytest.mark.parametrize("kind", ["zero", "equal columns", "rank one", "one column zero"])
def test_matrices_without_full_rank_are_decomposed_by_qr(kind: str) -> None:
    """And the others of the batch are not touched by them."""
    columns = random(2, 3, 6, 6)
    one = columns[1, 2]
    columns[1, 2] = {
        "zero": torch.zeros(6, 6, dtype=torch.float64),
        "equal columns": one[:, :1].expand(6, 6),
        "rank one": one[:, :1] * one[:1],
        "one column zero": torch.cat([one[:, :3], torch.zeros(6, 1, dtype=torch.float64), one[:, 4:]], 1),
    }[kind]
    (found,) = cholesky_qr([columns])
    assert torch.equal(found[1, 2], torch.linalg.qr(columns[1, 2]).Q)
    (alone,) = cholesky_qr([columns[:1]])
    torch.testing.assert_close(found[:1], alone, rtol=0, atol=100 * EPS)
    eye = torch.eye(6, dtype=torch.float64)
    assert float((found.mT @ found - eye).abs().max()) < 100 * EPS


def test_single_precision_has_all_its_digits() -> None:
    columns = random(4, 16, 16).float()
    (found,) = cholesky_qr([columns])
    assert found.dtype == torch.float32
    expected = torch.linalg.qr(columns.double()).Q
    # The decomposition is done in double precision: what is left is one rounding of numbers below 1.
    assert float((found.double() - aligned(found.double(), expected)).abs().max()) < 2**-24


def test_the_cpu_has_lapacks() -> None:
    columns = random(3, 5, 5)
    assert torch.equal(orthonormal([columns])[0], torch.linalg.qr(columns).Q)


def trained(monkeypatch: pytest.MonkeyPatch, decomposition: object, steps: int = 120) -> Tensor:
    """Parameters `[p, n]` after updates of two runs, one of them with gradients of rank one."""
    monkeypatch.setattr(soap, "orthonormal", decomposition)
    layout, optimizer = Layout({"w": torch.Size([3, 8, 6])}), Soap()
    params = random(2, layout.size)
    state = optimizer.init(layout, params)
    tilt = random(layout.size, layout.size, seed=5) / layout.size**0.5
    for number in range(1, steps + 1):
        gradient = (params + random(2, layout.size, seed=100 + number)) @ tilt
        gradient[1] = (gradient[1, :6] * random(24, 1, seed=6)).reshape(-1)
        step = torch.full((2,), float(number), dtype=params.dtype)
        params, state = optimizer.update(layout, params, gradient, state, torch.full_like(step, 0.01), step)
        if optimizer.due(number):
            everyone = torch.ones(2, dtype=torch.bool)
            state = optimizer.refresh(layout, state, everyone & (number == 1), everyone)
    return params


def test_many_updates_are_those_of_lapack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirteen bases, each from the one before: round-off of 120 updates, which training amplifies (1e-13 measured)."""
    expected = trained(monkeypatch, orthonormal)
    found = trained(monkeypatch, cholesky_qr)
    assert float((found - expected).abs().max()) < 1e-10
    assert float((trained(monkeypatch, orthonormal, 10) - expected).abs().max()) > 0.1


def test_signs_change_no_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    """So vectors with other signs than LAPACK's are as good."""

    def flipped(columns: Sequence[Tensor]) -> list[Tensor]:
        return [one * random(one.shape[-1], seed=9).sign() for one in orthonormal(columns)]

    assert torch.equal(trained(monkeypatch, flipped), trained(monkeypatch, orthonormal))
