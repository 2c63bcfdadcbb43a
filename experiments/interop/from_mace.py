"""Models of mace-torch (ScaleShiftMACE) as ours.

Two linear maps in a row of the package that ours merges (embedding and first "up" map; the first layer's node map and
the species-dependent map after it) become the product of their weights. The couplings of its symmetric contraction are
another basis, partly of duplicates, of the same functions; weights are converted by values at points (see
`experiments.interop.export`). Weights that cannot reach the energy are dropped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.core.errors import InputError
from experiments.core.schema import build
from experiments.models.mace import MaceConfig
from experiments.models.networks.mace import Mace
from experiments.nn.contraction import Term, couplings
from experiments.runs.converted import ConvertedNetwork, named, shaped

FIRST = {"RealAgnosticInteractionBlock": False, "RealAgnosticResidualInteractionBlock": True}
"""Classes of the package's first interaction; True: with a residual."""
PLAIN: dict[str, Sequence[Any]] = {
    "model": ("ScaleShiftMACE",),
    "interaction_cls_first": tuple(FIRST),
    "interaction_cls": ("RealAgnosticResidualInteractionBlock",),
    "readout_cls": ("NonLinearReadoutBlock",),
    "gate": ("silu",),
    "radial_type": ("bessel",),
    "distance_transform": (None, "None"),
    "pair_repulsion": (False,),
    "apply_cutoff": (True,),
    "use_so3": (False,),
    "use_agnostic_product": (False,),
    "use_last_readout_only": (False,),
    "use_embedding_readout": (False,),
    "embedding_specs": (None,),
    "edge_irreps": (None,),
}
"""Accepted values of settings that only the package has."""


def config_of(settings: Mapping[str, Any]) -> MaceConfig:
    """Return our settings of a model that export.py wrote.

    Raises:
        InputError: the model uses a feature that our network lacks; the message names it.
    """
    for name, accepted in PLAIN.items():
        if settings[name] not in accepted:
            raise InputError(
                f"{name}={settings[name]}: our MACE has none such; accepted: {' | '.join(map(str, accepted))}"
            )
    if len(settings["heads"]) != 1:
        raise InputError(f"heads={', '.join(settings['heads'])}: accepted: a model with one head")
    first, *later = settings["interactions"]
    if first not in FIRST or set(later) - set(PLAIN["interaction_cls"]):
        raise InputError(f"interactions={', '.join(settings['interactions'])}: accepted: {PLAIN['interaction_cls'][0]}")
    hidden = settings["hidden_irreps"]  # [[C, [l, parity]], …]
    irreps = [(degree, parity) for _, (degree, parity) in hidden]
    channels = {count for count, _ in hidden}
    if irreps != [(degree, (-1) ** degree) for degree in range(len(irreps))] or len(channels) != 1:
        written = " + ".join(f"{count}x{degree}{'e' if parity == 1 else 'o'}" for count, (degree, parity) in hidden)
        raise InputError(f"hidden_irreps={written}: accepted: Cx0e + Cx1o + …, the same C of all")
    values = {
        "L": len(irreps) - 1,
        "nu": settings["correlation"],
        "edge_lmax": settings["max_ell"],
        "n_layers": settings["num_interactions"],
        "channels": channels.pop(),
        "cutoff": settings["r_max"],
        "n_bessel": settings["num_bessel"],
        "cutoff_power": int(settings["num_polynomial_cutoff"]),
        "radial_hidden": settings["radial_MLP"],
        "readout_hidden": sum(count for count, _ in settings["MLP_irreps"]),
        "first_residual": FIRST[first],
    }
    return build(MaceConfig, values, "model.")


def converted(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> ConvertedNetwork:
    """Return our network with the weights of a model that export.py wrote.

    Raises:
        InputError: the model uses a feature that our network lacks, or a weight is missing.
    """
    config = config_of(settings)
    elements = [int(z) for z in settings["atomic_numbers"]]
    if elements != sorted(set(elements)):
        raise InputError(f"atomic_numbers={elements}: accepted: rising ones, as mace-torch has them")
    network = Mace(config, len(elements))
    dtype = named(tensors, "node_embedding.linear.weight").dtype
    state = {name: value.double() for name, value in tensors.items()}
    weights = _ends(state, network)
    for t in range(config.n_layers):
        weights |= _layer(state, network, t, 1e-9 if dtype == torch.float64 else 1e-5)
    neighbours = set(settings["neighbours"])
    if len(neighbours) != 1:
        raise InputError(f"avg_num_neighbors={sorted(neighbours)}: accepted: the same in all layers")
    weights["constant.inverse_neighbours"] = torch.tensor(1 / neighbours.pop(), dtype=torch.float64)
    isolated = np.asarray(named(state, "atomic_energies_fn.atomic_energies")).reshape(-1)
    return ConvertedNetwork(
        config=config,
        elements=elements,
        weights=shaped(weights, network.init(0, torch.float64)),
        scale=float(named(state, "scale_shift.scale").reshape(())),
        per_atom=isolated + float(named(state, "scale_shift.shift").reshape(())),
        precision=str(dtype).removeprefix("torch."),
    )


def _ends(state: Mapping[str, Tensor], network: Mace) -> dict[str, Tensor]:
    """Return embedding and readouts; the package divides its linear map of a one-hot vector by √S, ours does not."""
    c, s, last = network.config.channels, network.n_species, network.config.n_layers - 1
    embedding = named(state, "node_embedding.linear.weight").reshape(s, c) / math.sqrt(s)
    up = named(state, "interactions.0.linear_up.weight").reshape(c, c)
    out = {"embedding": embedding @ up / math.sqrt(c)}
    for t in range(last):
        out[f"layer{t}.readout"] = named(state, f"readouts.{t}.linear.weight")
    out["readout.0"] = named(state, f"readouts.{last}.linear_1.weight")
    out["readout.1"] = named(state, f"readouts.{last}.linear_2.weight")
    if network.config.first_residual:
        skip = named(state, "interactions.0.skip_tp.weight").reshape(c, s, c)
        out["layer0.residual.0"] = torch.einsum("sc,csd->sd", embedding, skip) / math.sqrt(c * s)
    return out


def _layer(state: Mapping[str, Tensor], network: Mace, t: int, rounding: float) -> dict[str, Tensor]:
    config, layer, ours, theirs = network.config, network.layers[t], f"layer{t}", f"interactions.{t}"
    c, s, edge = config.channels, network.n_species, config.edge_lmax
    before = range(config.L + 1) if t > 0 else range(1)
    after = range(config.L + 1) if t < config.n_layers - 1 else range(1)
    # the package's paths, sorted by result, sender and harmonic as ours
    paths = [
        (l1, l2, l3)
        for l3 in range(edge + 1)
        for l1 in before
        for l2 in range(edge + 1)
        if abs(l1 - l2) <= l3 <= l1 + l2 and (l1 + l2 + l3) % 2 == 0
    ]
    out: dict[str, Tensor] = {}
    depth = len(config.radial_hidden)
    for i in range(depth):
        out[f"{ours}.radial.{i}"] = named(state, f"{theirs}.conv_tp_weights.layer{i}.weight")
    last = named(state, f"{theirs}.conv_tp_weights.layer{depth}.weight").reshape(-1, len(paths), c)
    out[f"{ours}.radial.{depth}"] = last[:, [paths.index(path) for path in layer.paths]].flatten(1)
    if t > 0:
        ups = named(state, f"{theirs}.linear_up.weight").reshape(-1, c, c)
        out |= {f"{ours}.up.{degree}": ups[degree] for degree in network.convolutions[t].degrees}
    down = named(state, f"{theirs}.linear.weight").reshape(len(paths), c, c)
    skip = named(state, f"{theirs}.skip_tp.weight").reshape(-1, c, s, c).transpose(1, 2)  # [l, S, C, C]
    for degree in layer.features:
        node = torch.cat([down[paths.index(path)] for path in layer.paths if path[2] == degree])
        # paths that cannot reach the energy count in the package's normalisation
        node = node * math.sqrt(len(node) / (c * sum(path[2] == degree for path in paths)))
        if t == 0 and not config.first_residual:
            node = node @ skip[degree] / math.sqrt(c * s)
        out[f"{ours}.node.{degree}"] = node
    if t > 0:
        out |= {f"{ours}.residual.{degree}": skip[degree] / math.sqrt(s) for degree in layer.residual}
    mixes = named(state, f"products.{t}.linear.weight").reshape(len(after), c, c)
    for degree in layer.outputs:
        out[f"{ours}.message.{degree}"] = mixes[degree]
    for term in network.contractions[t].terms:
        name = f"products.{t}.symmetric_contractions.contractions.{term.degree}"  # sorted by degree
        weight = "weights_max" if term.order == config.nu else f"weights.{config.nu - 1 - term.order}"
        points, values = (named(state, f"{name}.{what}_{term.order}") for what in ("points", "values"))
        basis = _basis(term, max(layer.features), points, values, rounding)
        out[f"{ours}.contraction.{term.degree}.{term.order}"] = basis @ named(state, f"{name}.{weight}")
    return out


def _basis(term: Term, l_in: int, points: Tensor, values: Tensor, rounding: float) -> Tensor:
    """Return `[K, K']`, which maps weights of the package's couplings to weights of ours.

    Both give the same values, up to `rounding`, for the package keeps its couplings in the precision of its weights.
    The package has couplings among all degrees; if ours leaves degrees out, theirs see zeros there.

    Raises:
        InputError: ours cannot give the package's values.
    """
    own = couplings(l_in, term.degree, term.order)  # [2l+1] + [M]*order + [K]
    at = torch.tensordot(points[:, : (l_in + 1) ** 2], own.movedim(0, -2), 1)
    for _ in range(term.order - 1):
        at = torch.einsum("na,na...->n...", points[:, : (l_in + 1) ** 2], at)
    left, right = at.flatten(0, 1), values.flatten(0, 1)
    basis: Tensor = torch.linalg.lstsq(left, right).solution
    if (left @ basis - right).abs().max() > rounding * right.abs().max():
        raise InputError(
            f"couplings of order {term.order} to degree {term.degree}: not those of features of natural parity; "
            "accepted: models without use_so3"
        )
    return basis
