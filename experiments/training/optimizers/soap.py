"""Adam in the eigenbases of the gradients' Gram matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from experiments.training.layout import Block, Layout
from experiments.training.optimizers.optimizer import PlainOptimizer, Tensors, along, unbiased

WELL_CONDITIONED = 0.1
"""Largest entry of QᵀQ − 1 after one pass of Cholesky QR that a second pass, which squares it, brings to
round-off."""
TILT = 1e-3
"""Size of the ramp in `tilted`, relative to the mean of the diagonal."""


@dataclass(frozen=True)
class Soap(PlainOptimizer):
    """SOAP (Vyas et al. 2024, arXiv 2409.11321), Algorithm 3: Adam in the eigenbasis of Shampoo's preconditioner.

    Each matrix of the layout has its own bases; a side of length 1 or longer than `largest` keeps the identity.
    Bases are renewed every `every` updates by one step of power iteration and a QR decomposition, the first
    time by a full eigendecomposition, batched over the pack and the matrices of one shape; unlike the paper's they
    are those of a slightly changed matrix (`tilted`), which makes them independent of round-off.
    """

    beta1: float = 0.95
    beta2: float = 0.95
    eps: float = 1e-8
    every: int = 10
    largest: int = 256

    def sides(self, block: Block) -> str:
        """Return which sides of a block's matrices are rotated: a text of "l" and "r"."""
        return "l" * (1 < block.rows <= self.largest) + "r" * (1 < block.columns <= self.largest)

    def init(self, layout: Layout, like: Tensor) -> dict[str, Tensor]:
        """Return moments at zero and bases at the identity."""
        state = {"m": torch.zeros_like(like), "v": torch.zeros_like(like)}
        for block in layout.blocks:
            for side in self.sides(block):
                size = block.rows if side == "l" else block.columns
                eye = torch.eye(size, dtype=like.dtype, device=like.device).expand(len(like), block.count, size, size)
                state[f"{block.name}/{side}gram"] = torch.zeros_like(eye)
                state[f"{block.name}/{side}basis"] = eye.clone()
        return state

    def update(
        self, layout: Layout, params: Tensor, grads: Tensor, state: Tensors, rate: Tensor, step: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Make one update in the present bases, and move the Gram matrices towards the present gradient's."""
        new = dict(state)
        new["m"] = m = torch.lerp(state["m"], grads, 1 - self.beta1)
        rotated = self._rotated(layout, grads, state)
        new["v"] = v = torch.lerp(state["v"], rotated**2, 1 - self.beta2)
        top, bottom = unbiased(self._rotated(layout, m, state), self.beta1, step), unbiased(v, self.beta2, step)
        change = self._rotated(layout, top / (bottom.sqrt() + self.eps), state, back=True)
        for block in layout.blocks:
            g = block.of(grads)
            for side in self.sides(block):
                key = f"{block.name}/{side}gram"
                new[key] = torch.lerp(state[key], g @ g.mT if side == "l" else g.mT @ g, 1 - self.beta2)
        return params - along(rate, params) * change, new

    def _rotated(self, layout: Layout, flat: Tensor, state: Tensors, back: bool = False) -> Tensor:
        """Return LᵀGR of every matrix G of `flat` `[p, n]`, or with `back` LGRᵀ; `[p, n]`."""
        parts = []
        for block in layout.blocks:
            matrix, sides = block.of(flat), self.sides(block)
            if "l" in sides:
                left = state[f"{block.name}/lbasis"]
                matrix = (left if back else left.mT) @ matrix
            if "r" in sides:
                right = state[f"{block.name}/rbasis"]
                matrix = matrix @ (right.mT if back else right)
            parts.append(matrix.flatten(1))
        return torch.cat(parts, 1)

    def due(self, step: int) -> bool:
        """Return True after the first update and then every `every` updates."""
        return step == 1 or step % self.every == 0

    def refresh(self, layout: Layout, state: Tensors, first: Tensor | None, due: Tensor) -> dict[str, Tensor]:
        """Renew the bases; second moments follow their eigenvectors when these change places."""
        new = dict(state)
        keys = [f"{block.name}/{side}" for block in layout.blocks for side in self.sides(block)]
        iterated = [power_iteration(state[f"{key}gram"], state[f"{key}basis"]) for key in keys]
        renewed = dict(zip(keys, orthonormal([one.columns for one in iterated]), strict=True))
        orders = {key: one.order for key, one in zip(keys, iterated, strict=True)}
        if first is not None:
            for key, one in zip(keys, iterated, strict=True):
                full = torch.linalg.eigh(one.gram).eigenvectors.flip(-1)
                renewed[key] = torch.where(along(first, full), full, renewed[key])
        moments = []
        for block in layout.blocks:
            v = block.of(state["v"])
            for side in self.sides(block):
                key = f"{block.name}/{side}"
                basis, order = state[f"{key}basis"], orders[key]
                index = (order[..., :, None] if side == "l" else order[..., None, :]).expand_as(v)
                moved = v.gather(-2 if side == "l" else -1, index)
                if first is not None:
                    moved = torch.where(along(first, v), v, moved)
                # Contiguous, as a checkpoint stores it: products round differently along other strides.
                new[f"{key}basis"] = torch.where(along(due, basis), renewed[key], basis).contiguous()
                v = torch.where(along(due, v), moved, v)
            moments.append(v.flatten(1))
        new["v"] = torch.cat(moments, 1)
        return new


class Iterated(NamedTuple):
    """A step of power iteration.

    Args:
        gram: Gram matrices `[p, count, n, n]`, finite and tilted.
        columns: their products with the eigenvectors so far, by falling eigenvalue.
        order: previous places of these, `[p, count, n]`.
    """

    gram: Tensor
    columns: Tensor
    order: Tensor


def power_iteration(gram: Tensor, basis: Tensor) -> Iterated:
    """Multiply Gram matrices `[p, count, n, n]` with their eigenbases so far."""
    # One run's NaN must not stop the decompositions of the others (LAPACK refuses the whole batch).
    gram = tilted(torch.nan_to_num(gram, posinf=0.0, neginf=0.0))
    basis = torch.nan_to_num(basis)
    image = gram @ basis
    order = (basis * image).sum(-2).argsort(dim=-1, descending=True, stable=True)  # by Rayleigh quotients
    return Iterated(gram, image.gather(-1, order[..., None, :].expand_as(image)), order)


def orthonormal(columns: Sequence[Tensor]) -> list[Tensor]:
    """Return orthonormal vectors with the spans of the first 1, 2, … columns of matrices `[..., n, n]`, of each stack.

    On a CPU by LAPACK's QR. CUDA's takes a matrix at a time (431 ms for 4,160 of 32 × 32 on an H200, and Cholesky
    0.84 ms), so there by `cholesky_qr`. Some vectors then have the other sign; no update depends on it, in any digit.
    """
    if all(stack.device.type == "cpu" for stack in columns):
        return [torch.linalg.qr(stack).Q for stack in columns]
    return cholesky_qr(columns)


def cholesky_qr(columns: Sequence[Tensor]) -> list[Tensor]:
    """Return Q of the QR decomposition of matrices `[..., n, n]`, with R's diagonal positive, by Cholesky twice.

    In double precision, by CholeskyQR2 (Yamamoto et al. 2015, Electronic Transactions on Numerical Analysis 44, 306),
    whose second pass brings Q to round-off if the condition number is below 10⁸. Matrices for which it is larger are
    decomposed by QR. The host waits for the device once for all stacks, to learn whether there are any.
    """
    twice = [_cholesky_twice(stack) for stack in columns]
    wrong = torch.stack([bad.any() for _, bad in twice]).cpu().tolist() if twice else []
    for stack, (found, bad), some in zip(columns, twice, wrong, strict=True):
        if some:
            found[bad] = torch.linalg.qr(stack[bad].double()).Q
    return [found.to(stack.dtype) for stack, (found, _) in zip(columns, twice, strict=True)]


def _cholesky_twice(columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return Q of matrices `[..., n, n]` and where it is not to be trusted, `[...]`."""
    first, info = _cholesky_pass(columns.double())
    eye = torch.eye(columns.shape[-1], dtype=first.dtype, device=first.device)
    apart = (first.mT @ first - eye).abs().amax((-2, -1))
    found, info_again = _cholesky_pass(first)
    return found, (info != 0) | (info_again != 0) | ~(apart < WELL_CONDITIONED)  # a NaN is bad too


def _cholesky_pass(columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return `columns` times the inverse of their Gram matrix's upper factor, and where there is no factor (not 0)."""
    factor, info = torch.linalg.cholesky_ex(columns.mT @ columns)
    return torch.linalg.solve_triangular(factor, columns.mT, upper=False).mT, info


def tilted(gram: Tensor) -> Tensor:
    """Return `gram` `[..., n, n]` with a small ramp on its diagonal, so that its null space has preferred directions.

    The Gram matrix of a few gradients is singular, and round-off would choose the basis of its null space: training
    then amplified a relative change of the weights by 1e-15 to 1e-2 within a hundred updates, and two packings of a
    run or two devices gave different errors (measured). With the ramp it stays at 1e-14 (float32: 1e-7 to 5e-5),
    and the errors reached on the star teacher differ by no more than between seeds.
    """
    size = gram.shape[-1]
    ramp = torch.linspace(2.0, 1.0, size, dtype=gram.dtype, device=gram.device)
    mean = gram.diagonal(dim1=-2, dim2=-1).mean(-1)
    return gram + torch.diag_embed(TILT * mean[..., None] * ramp)
