"""A pretended accelerator: its tensors say `gpu:0`, compute on the CPU, and refuse to meet tensors of the CPU.

What a GPU would do wrongly or slowly for a mistake in the placement of tensors is an error here, on a machine without
one. The backend is registered for the rest of the process, and has to be before the first backward pass in it, for
torch then starts a thread for each device: tests use it in a process of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "gpu"
COPY, CONVERT = torch.ops.aten.copy_, torch.ops.aten._to_copy
"""What may have tensors of both devices."""
MAKERS = (
    "empty.memory_format", "empty_strided.default", "eye.default", "eye.m", "arange.default", "arange.start",
    "arange.start_step",
)  # fmt: skip
"""What makes a tensor of the device from none: memory, and what torch would make by changing the size of empty ones."""


class Meeting(RuntimeError):
    """An operation had tensors of both devices."""


class Pretended(Tensor):
    """A tensor of the device; `held` is the CPU's tensor that computes in its place."""

    held: Tensor

    @staticmethod
    def __new__(cls, real: Tensor) -> Pretended:
        made: Pretended = torch.Tensor._make_wrapper_subclass(
            cls,
            real.shape,
            strides=real.stride(),
            storage_offset=real.storage_offset(),
            dtype=real.dtype,
            layout=real.layout,
            device=torch.device(NAME, 0),
        )
        made.held = real
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return _computed(func, args, kwargs or {})


class Copies:
    """Numbers of copies between the devices so far, and of the times that the host read a single number."""

    to_device = 0
    to_host = 0


@cache
def device() -> torch.device:
    """The device `gpu:0`, registered when it is first asked for."""
    _setup_privateuseone_for_python_backend(NAME)
    library: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    for name in MAKERS:
        library.impl(name.removesuffix(".default"), _maker(name), "PrivateUse1")
    library.impl("_copy_from", _copied, "PrivateUse1")
    _LIBRARIES.append(library)
    return torch.device(NAME, 0)


_LIBRARIES: list[Any] = []
"""A library takes its registrations back when nobody holds it."""


def _maker(name: str) -> Callable[..., Tensor]:
    packet, overload = name.split(".")
    operation = getattr(getattr(torch.ops.aten, packet), overload)

    def made(*args: Any, **kwargs: Any) -> Tensor:
        return Pretended(operation(*args, **{**kwargs, "device": "cpu"}))

    return made


def _copied(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    """How `torch.as_tensor` copies, which calls no `__torch_dispatch__`."""
    _computed(torch.ops.aten.copy_.default, (target, source), {})
    return target


def _computed(func: Any, args: Any, kwargs: Any) -> Any:
    """The operation on the CPU's tensors; results are the device's, but where they go to the host."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    strangers = [t for t in tensors if not isinstance(t, Pretended) and t.ndim > 0]  # numbers are passed by value
    kind, to_host = func.overloadpacket, False
    if kind is COPY:
        to_host = not isinstance(args[0], Pretended)
        Copies.to_device += not to_host and not all(isinstance(t, Pretended) for t in tensors)
    elif kind is CONVERT:
        to_host = torch.device(kwargs.get("device") or NAME).type == "cpu"
    elif strangers:
        shapes = [tuple(t.shape) for t in strangers]
        raise Meeting(f"{func}: tensors {shapes} of the CPU among tensors of the device")
    Copies.to_host += to_host or kind is torch.ops.aten._local_scalar_dense
    found = func(*tree_map(_held, args), **tree_map(_held, kwargs))
    assert all(t.shape == t.held.shape for t in tensors if isinstance(t, Pretended)), f"{func} changed a size"
    if kind is CONVERT and to_host:
        return found.clone()
    if func._schema.is_mutable and func._schema.name.endswith("_"):
        return args[0]
    return tree_map(lambda leaf: Pretended(leaf) if isinstance(leaf, Tensor) else leaf, found)


def _held(leaf: Any) -> Any:
    if isinstance(leaf, Pretended):
        return leaf.held
    return torch.device("cpu") if isinstance(leaf, torch.device) and leaf.type == NAME else leaf
