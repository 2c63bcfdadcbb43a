"""Optimisers that act on each run of a pack by itself: every tensor carries the pack axis first.

``update`` is a pure function of tensors (it is traced and compiled with the rest of the step); what needs a
decomposition is done between updates, in ``refresh``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]


class Optimizer(Protocol):
    """State is a flat dictionary of tensors ``[p, ...]``, named ``<parameter>/<what>``."""

    def init(self, params: Tensors) -> dict[str, Tensor]:
        """State before the first update."""
        ...

    def update(
        self, params: Tensors, grads: Tensors, state: Tensors, rate: Tensor, step: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """New parameters and state; ``rate`` ``[p]`` learning rates, ``step`` ``[p]`` counted from 1."""
        ...

    def due(self, step: int) -> bool:
        """Whether :meth:`refresh` is to be called after update ``step`` (counted from 1)."""
        ...

    def refresh(self, state: Tensors, first: Tensor, due: Tensor) -> dict[str, Tensor]:
        """State with what is recomputed only now and then; runs where ``due`` ``[p]`` is false keep theirs."""
        ...


def like(vector: Tensor, tensor: Tensor) -> Tensor:
    """``[p]`` reshaped to multiply ``[p, ...]``."""
    return vector.reshape(-1, *([1] * (tensor.ndim - 1)))


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba 2015, arXiv 1412.6980), Algorithm 1."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def init(self, params: Tensors) -> dict[str, Tensor]:
        """Both moments at zero."""
        return {f"{name}/{moment}": torch.zeros_like(p) for name, p in params.items() for moment in ("m", "v")}

    def update(
        self, params: Tensors, grads: Tensors, state: Tensors, rate: Tensor, step: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """One update."""
        new_params, new_state = {}, {}
        for name, param in params.items():
            m = torch.lerp(state[f"{name}/m"], grads[name], 1 - self.beta1)
            v = torch.lerp(state[f"{name}/v"], grads[name] ** 2, 1 - self.beta2)
            change = unbiased(m, self.beta1, step) / (unbiased(v, self.beta2, step).sqrt() + self.eps)
            new_params[name] = param - like(rate, param) * change
            new_state[f"{name}/m"], new_state[f"{name}/v"] = m, v
        return new_params, new_state

    def due(self, step: int) -> bool:
        """Never."""
        return False

    def refresh(self, state: Tensors, first: Tensor, due: Tensor) -> dict[str, Tensor]:
        """Nothing to do."""
        return dict(state)


def unbiased(moment: Tensor, beta: float, step: Tensor) -> Tensor:
    """Moment over its weight, 1 − β^step."""
    return moment / like(1 - torch.exp(step * math.log(beta)), moment)


@dataclass(frozen=True)
class Soap:
    """SOAP (Vyas et al. 2024, arXiv 2409.11321), Algorithm 3: Adam in the eigenbasis of Shampoo's preconditioner.

    A parameter is a matrix ``[p, a, b]`` with its last axis as columns and the others merged; an axis of length 1
    or longer than ``largest`` keeps the identity as its basis, and a vector is Adam's. The basis is renewed
    every ``every`` updates by one step of power iteration and a QR decomposition (the first time by a full
    eigendecomposition), batched over the pack.
    """

    beta1: float = 0.95
    beta2: float = 0.95
    eps: float = 1e-8
    every: int = 10
    largest: int = 256

    def sides(self, param: Tensor) -> str:
        """Which sides of the matrix are rotated: a text of "l" and "r"."""
        if param.ndim < 3:
            return ""
        rows, columns = math.prod(param.shape[1:-1]), param.shape[-1]
        return "l" * (1 < rows <= self.largest) + "r" * (1 < columns <= self.largest)

    def init(self, params: Tensors) -> dict[str, Tensor]:
        """Moments at zero, bases at the identity."""
        state = {}
        for name, param in params.items():
            matrix = as_matrix(param)
            state[f"{name}/m"] = torch.zeros_like(matrix)
            state[f"{name}/v"] = torch.zeros_like(matrix)
            for side in self.sides(param):
                size = matrix.shape[1] if side == "l" else matrix.shape[2]
                eye = torch.eye(size, dtype=param.dtype, device=param.device).expand(len(param), size, size)
                state[f"{name}/{side}gram"] = torch.zeros_like(eye)
                state[f"{name}/{side}basis"] = eye.clone()
        return state

    def update(
        self, params: Tensors, grads: Tensors, state: Tensors, rate: Tensor, step: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """One update in the present bases, and the Gram matrices moved towards the present gradient's."""
        new_params, new_state = {}, {}
        for name, param in params.items():
            gradient = as_matrix(grads[name])
            left = state.get(f"{name}/lbasis")
            right = state.get(f"{name}/rbasis")
            m = torch.lerp(state[f"{name}/m"], gradient, 1 - self.beta1)
            v = torch.lerp(state[f"{name}/v"], rotated(gradient, left, right) ** 2, 1 - self.beta2)
            top, bottom = unbiased(rotated(m, left, right), self.beta1, step), unbiased(v, self.beta2, step)
            change = rotated_back(top / (bottom.sqrt() + self.eps), left, right)
            new_params[name] = param - like(rate, param) * change.reshape(param.shape)
            new_state[f"{name}/m"], new_state[f"{name}/v"] = m, v
            if left is not None:
                gram = gradient @ gradient.mT
                new_state[f"{name}/lgram"] = torch.lerp(state[f"{name}/lgram"], gram, 1 - self.beta2)
                new_state[f"{name}/lbasis"] = left
            if right is not None:
                gram = gradient.mT @ gradient
                new_state[f"{name}/rgram"] = torch.lerp(state[f"{name}/rgram"], gram, 1 - self.beta2)
                new_state[f"{name}/rbasis"] = right
        return new_params, new_state

    def due(self, step: int) -> bool:
        """After the first update and then every ``every``."""
        return step == 1 or step % self.every == 0

    def refresh(self, state: Tensors, first: Tensor, due: Tensor) -> dict[str, Tensor]:
        """Renew the bases; the second moments follow their eigenvectors where these change places."""
        new = dict(state)
        for key in state:
            if not key.endswith("basis"):
                continue
            name, side = key[:-7], key[-6]
            gram, basis, v = new[f"{name}/{side}gram"], new[key], new[f"{name}/v"]
            renewed, order = renewed_basis(gram, basis, first)
            axis = 1 if side == "l" else 2
            index = (order[:, :, None] if side == "l" else order[:, None, :]).expand_as(v)
            moved = torch.where(like(first, v), v, v.gather(axis, index))
            new[key] = torch.where(like(due, basis), renewed, basis)
            new[f"{name}/v"] = torch.where(like(due, v), moved, v)
        return new


def as_matrix(tensor: Tensor) -> Tensor:
    """``[p, ..., b]`` as ``[p, a, b]``; a vector ``[p, b]`` as ``[p, 1, b]``."""
    return tensor.reshape(tensor.shape[0], -1, tensor.shape[-1] if tensor.ndim > 1 else 1)


def rotated(matrix: Tensor, left: Tensor | None, right: Tensor | None) -> Tensor:
    """Lᵀ G R."""
    if left is not None:
        matrix = left.mT @ matrix
    return matrix if right is None else matrix @ right


def rotated_back(matrix: Tensor, left: Tensor | None, right: Tensor | None) -> Tensor:
    """L G Rᵀ."""
    if left is not None:
        matrix = left @ matrix
    return matrix if right is None else matrix @ right.mT


def renewed_basis(gram: Tensor, basis: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """The next eigenbasis ``[p, n, n]`` and where each of its vectors stood before ``[p, n]``."""
    # One run's NaN must not stop the decompositions of the others (LAPACK refuses the whole batch).
    gram = torch.nan_to_num(gram, posinf=0.0, neginf=0.0)
    basis = torch.nan_to_num(basis)
    estimates = torch.einsum("pij,pik,pkj->pj", basis, gram, basis)
    order = estimates.argsort(dim=1, descending=True, stable=True)
    sorted_basis = basis.gather(2, order[:, None, :].expand_as(basis))
    renewed = torch.linalg.qr(gram @ sorted_basis).Q
    if bool(first.any()):
        full = torch.linalg.eigh(gram).eigenvectors.flip(-1)
        renewed = torch.where(like(first, renewed), full, renewed)
    return renewed, order


OPTIMIZERS: dict[str, type[Adam] | type[Soap]] = {"adam": Adam, "soap": Soap}
