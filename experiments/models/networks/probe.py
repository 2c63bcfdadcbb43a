"""A look at a user's network before anything trains: each piece of its contract is tried on a few atoms.

What is asked of a module is in `experiments.models.networks.plain`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from experiments.models.contract import ModelConfig
from experiments.models.networks import network
from experiments.models.networks.plain import NEIGHBOURS, PlainNetwork, weights_of
from experiments.models.registry import origin

TOLERANCE = 1e-3
"""Largest relative difference of two energies that must be equal: single precision, amplified by a deep network."""
ATOMS = 4

Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def examine(config: ModelConfig, species: tuple[int, ...], precision: str) -> None:
    """Try a user's network for molecules; nothing is done for the program's own.

    Args:
        config: settings of the network (of a linearised one: the network's).
        species: ascending atomic numbers of the data.
        precision: name of the dtype that it will be computed in.

    Raises:
        InputError: the first piece of the contract that the file breaks, in one line.
    """
    if origin(config).module is not None or config.closed_form or "molecules" not in config.kinds:
        return
    made = network(config, species, neighbours=float(ATOMS - 1))
    if isinstance(made, PlainNetwork):
        _examine(made, getattr(torch, precision))


def _examine(plain: PlainNetwork, dtype: torch.dtype) -> None:
    fault = origin(plain.config).fault
    drawn = plain.init(0, dtype)
    if not any(not name.startswith("constant.") for name in drawn):
        raise fault("build returned a module without parameters; accepted: one that has something to train")
    again = plain.init(0, dtype)
    if any(not torch.equal(value, again[name]) for name, value in drawn.items() if name != NEIGHBOURS):
        raise fault("build drew other weights from the same seed; accepted: weights drawn by torch's generator alone")
    weights = weights_of({name: value[None] for name, value in drawn.items()}, 0)
    bare = molecule(plain.info.n_species, float(plain.config.cutoff), dtype)  # type: ignore[attr-defined]
    energies = _called(plain, weights, bare)
    if not isinstance(energies, Tensor) or energies.shape != (ATOMS,):
        raise plain.wrong(energies, ATOMS)
    if energies.dtype != dtype:
        raise fault(f"forward returned {energies.dtype}; accepted: {dtype}, as its positions have (training.precision)")
    if not torch.isfinite(energies).all():
        raise fault("forward returned energies that are not finite; accepted: numbers")
    if not _same(energies, _called(plain, weights, by_shifts(bare))):
        raise fault(
            "forward depends on positions by more than positions[j] + shifts - positions[i]; accepted: a function of "
            "these vectors, of species and of batch"
        )
    if not _same(energies, _called(plain, weights, beside_another(bare))[:ATOMS]):
        raise fault(
            "forward gives the atoms of a molecule other energies beside another molecule; accepted: energies that "
            "depend on the atom's own molecule"
        )
    try:
        gradient = forces_gradient(plain, weights, bare)
    except Exception as error:
        raise fault(
            "forward cannot be differentiated by vectors and then by weights; accepted: differentiable operations of "
            f"torch ({type(error).__name__}: {error})"
        ) from error
    if not all(torch.isfinite(one).all() for one in gradient):
        raise fault("the gradient of forces by weights is not finite; accepted: a smooth function of distinct atoms")


def _called(plain: PlainNetwork, weights: Mapping[str, Tensor], inputs: Inputs) -> Any:
    try:
        return plain(weights, *inputs)
    except Exception as error:
        raise origin(plain.config).fault(
            f"forward(positions, species, edge_index, shifts, batch): {type(error).__name__}: {error}"
        ) from error


def _same(one: Tensor, other: Tensor) -> bool:
    return float((one - other).abs().max()) <= TOLERANCE * (1 + float(one.abs().max()))


def molecule(n_species: int, cutoff: float, dtype: torch.dtype) -> Inputs:
    """Return the arguments of `forward` for four atoms within the cutoff of each other, off the origin."""
    corners = torch.tensor([[0.0, 0, 0], [1, 0.1, 0], [0.2, 1, 0.1], [0.1, 0.3, 1.1]], dtype=dtype)
    receivers, senders = torch.nonzero(~torch.eye(ATOMS, dtype=torch.bool)).T
    species = torch.arange(ATOMS) % n_species
    shifts = torch.zeros((len(senders), 3), dtype=dtype)
    batch = torch.zeros(ATOMS, dtype=torch.int64)
    return 0.4 * cutoff * corners + 3.0, species, torch.stack([receivers, senders]), shifts, batch


def by_shifts(inputs: Inputs) -> Inputs:
    """Return the same vectors with all positions zero."""
    positions, species, edges, shifts, batch = inputs
    vectors = positions[edges[1]] + shifts - positions[edges[0]]
    return torch.zeros_like(positions), species, edges, vectors, batch


def beside_another(inputs: Inputs) -> Inputs:
    """Return the molecule beside a second one, of a single atom that is its own neighbour, as padding makes it."""
    positions, species, edges, shifts, batch = by_shifts(inputs)
    return (
        torch.cat([positions, positions[:1]]),
        torch.cat([species, species[:1]]),
        torch.cat([edges, torch.full((2, 3), ATOMS)], 1),
        torch.cat([shifts, 0.9 * shifts[:3]]),
        torch.cat([batch, batch[:1] + 1]),
    )


def forces_gradient(plain: PlainNetwork, weights: Mapping[str, Tensor], inputs: Inputs) -> tuple[Tensor, ...]:
    """Return the gradient by the weights of the squared derivative of the energy by the vectors of edges."""
    names = list(weights)
    tensors = [weights[name].detach().requires_grad_(weights[name].is_floating_point()) for name in names]
    positions, species, edges, shifts, batch = by_shifts(inputs)
    vectors = shifts.detach().requires_grad_(True)
    energy = plain(dict(zip(names, tensors, strict=True)), positions, species, edges, vectors, batch).sum()
    (slope,) = torch.autograd.grad(energy, vectors, create_graph=True)
    return torch.autograd.grad((slope**2).sum() + energy**2, tensors, materialize_grads=True)


def traceable(plain: PlainNetwork, dtype: torch.dtype) -> bool:
    """Return whether the operations of a module depend on shapes alone, so that a step can be compiled.

    A choice of edges by their length (`edges[r < cutoff]`) or an `if` on a value of a tensor forbids it.
    """
    weights = weights_of({name: value[None] for name, value in plain.init(0, dtype).items()}, 0)
    inputs = beside_another(molecule(plain.info.n_species, float(plain.config.cutoff), dtype))  # type: ignore[attr-defined]
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:  # tensors of shapes, without values
        faked = {name: mode.from_tensor(value) for name, value in weights.items()}
        positions, species, edges, shifts, batch = (mode.from_tensor(one) for one in inputs)
        try:
            forces_gradient(plain, faked, (positions, species, edges, shifts, batch))
        except Exception:
            return False
    return True
