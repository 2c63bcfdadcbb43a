"""Networks of the nequip package as ours: 0.5 (one-hot self-connections) and from 0.7 on (embedded ones)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers
from e3nn import o3
from torch import Tensor

from experiments.core.errors import InputError
from experiments.core.schema import build
from experiments.models.nequip import NequipConfig
from experiments.models.networks.nequip import Nequip
from experiments.nn.gate import SCALAR, gated, name_of
from experiments.nn.radial import silu_scale
from experiments.runs.converted import ConvertedNetwork, named, shaped

BUILDER = "nequip.model.NequIPGNNModel"
PLAIN: dict[str, tuple[Any, ...]] = {
    "per_edge_type_cutoff": (None,),
    "pair_potential": (None,),
    "categorical_graph_field_embed": (None,),
    "readout_mlp_hidden_layers_depth": (0,),
    "convnet_sc": (True,),
    "convnet_resnet": (False,),
    "learnable_shift": (False,),
    "convnet_nonlinearity_type": ("gate",),
    "convnet_nonlinearity_scalars": ({"e": "silu", "o": "tanh"},),
    "convnet_nonlinearity_gates": ({"e": "silu", "o": "tanh"},),
}
"""Accepted values of settings that only the package has, its default first."""
KNOWN = (
    "_target_", "seed", "model_dtype", "compile_mode", "type_names", "r_max", "num_layers", "l_max", "parity",
    "num_features", "type_embed_num_features", "radial_mlp_depth", "radial_mlp_width", "num_bessels",
    "bessel_trainable", "polynomial_cutoff_p", "avg_num_neighbors", "per_type_energy_scales", "per_type_energy_shifts",
    "per_type_energy_scales_trainable", "per_type_energy_shifts_trainable", "do_derivatives",
    "readout_mlp_hidden_layers_width", "readout_mlp_nonlinearity", *PLAIN,
)  # fmt: skip
"""Accepted arguments of the builder: each is read, or changes nothing here."""


def config_of(settings: Mapping[str, Any]) -> NequipConfig:
    """Return our settings of a network that `NequIPGNNModel` (nequip ≥ 0.7) makes with the arguments `settings`.

    Raises:
        InputError: the network uses a feature that ours lacks; the message names it.
    """
    if settings.get("_target_") != BUILDER:
        raise InputError(f"model {settings.get('_target_')}: accepted: {BUILDER}")
    for name in settings:
        if name not in KNOWN:
            raise InputError(f"{name}={settings[name]}: an unknown setting of {BUILDER}; accepted: {', '.join(KNOWN)}")
    for name, accepted in PLAIN.items():
        if settings.get(name, accepted[0]) not in accepted:
            raise InputError(f"{name}={settings[name]}: our NequIP has none such; accepted: {accepted[0]}")
    features = settings.get("num_features", 32)
    widths = {features} if isinstance(features, int) else set(features)
    if len(widths) != 1:
        raise InputError(f"num_features={list(features)}: accepted: the same number for all degrees")
    scales = settings.get("per_type_energy_scales")
    values = {
        "L": settings.get("l_max", 1),
        "parity": settings.get("parity", True),
        "n_layers": settings.get("num_layers", 4),
        "channels": widths.pop(),
        "embedding": settings.get("type_embed_num_features"),
        "cutoff": settings["r_max"],
        "n_bessel": settings.get("num_bessels", 8),
        "bessel_trainable": settings.get("bessel_trainable", False),
        "cutoff_power": settings.get("polynomial_cutoff_p", 6),
        "radial_hidden": [settings.get("radial_mlp_width", 128)] * settings.get("radial_mlp_depth", 1),
        "readout_hidden": None,
        "self_connection": "embedding",
        "first_self_connection": False,
        "species_scales": isinstance(scales, Mapping) or settings.get("per_type_energy_scales_trainable", False),
        "prune": "last",
    }
    return build(NequipConfig, values, "model.")


def converted(state: Mapping[str, Tensor], settings: Mapping[str, Any]) -> ConvertedNetwork:
    """Return our network with the weights of one of the nequip package, ≥ 0.7.

    Args:
        state: by the package's names, with or without a common prefix.
        settings: the arguments of its builder.

    Raises:
        InputError: the network uses a feature that ours lacks, or a weight is missing.
    """
    config = config_of(settings)
    names = [str(name) for name in settings["type_names"]]
    unknown = [name for name in names if name not in atomic_numbers]
    if unknown:
        raise InputError(f"type_names={', '.join(names)}: {unknown[0]} is no element; accepted: chemical symbols")
    network = Nequip(config, len(names))
    precision = str(settings["model_dtype"])
    known = "type_embed.embed_module.weight"
    state = {name: value.double() for name, value in _stripped(state, known).items() if value.is_floating_point()}
    rising = sorted(range(len(names)), key=lambda i: int(atomic_numbers[names[i]]))
    scales, shifts = (
        named(state, f"per_type_energy_scale_shift.{what}").flatten() for what in ("scales", "shifts")
    )  # empty: none
    weights = {
        "embedding": named(state, known)[rising],
        "readout.1": named(state, "per_atom_energy_readout.mlp_module.mlp.0.weight"),
        "constant.inverse_neighbours": torch.tensor(1 / _neighbours(settings), dtype=torch.float64),
        "bessel" if config.bessel_trainable else "constant.bessel": math.pi
        * named(state, "bessel_encode.bessel_weights"),
    }
    if config.species_scales:
        weights["scales"] = scales.expand(len(names))[rising]
    signs = (1, -1) if config.parity else (1,)
    irreps = [
        o3.Irrep(degree, sign if config.parity else (-1) ** degree) for degree in range(config.L + 1) for sign in signs
    ]
    depth = len(config.radial_hidden)
    # the package gives a hidden layer the gain √2, ours normalises the activation
    gains = [1.0, *[math.sqrt(2) / silu_scale()] * depth]
    for t in range(config.n_layers):
        conv = f"layer{t}_convnet.conv"
        radial = [gains[i] * named(state, f"{conv}.edge_mlp.mlp.{2 * i}.weight") for i in range(depth + 1)]
        weights |= _layer(state, network, t, irreps, radial)
    offsets = shifts.expand(len(names))[rising] if len(shifts) else torch.zeros(len(names))
    return ConvertedNetwork(
        config=config,
        elements=[int(atomic_numbers[names[i]]) for i in rising],
        weights=shaped(weights, network.init(0, torch.float64)),
        scale=1.0 if config.species_scales or not len(scales) else float(scales),
        per_atom=np.asarray(offsets, dtype=np.float64),
        precision=precision,
    )


def averaged(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the model's state in a checkpoint of nequip-train: the moving averages of its weights if there are any.

    Raises:
        InputError: averages that are not those of the weights.
    """
    state = checkpoint["state_dict"]
    model = {name: value for name, value in state.items() if name.startswith("model.")}
    averages = [value for name, value in state.items() if name.startswith("ema.ema_weight_")]
    if not averages:
        return model
    settings = checkpoint["hyper_parameters"]["model"]
    trained = [
        name
        for name, value in model.items()
        if value.numel()
        and (
            name.endswith(".weight")
            or (name.endswith(".bessel_weights") and settings.get("bessel_trainable", False))
            or (name.endswith(".scales") and settings.get("per_type_energy_scales_trainable", False))
            or (name.endswith(".shifts") and settings.get("per_type_energy_shifts_trainable", False))
        )
    ]
    if [tuple(model[name].shape) for name in trained] != [tuple(value.shape) for value in averages]:
        raise InputError("ema: averages of other weights than the model's; accepted: a checkpoint of nequip-train")
    return model | dict(zip(trained, averages, strict=True))


def _neighbours(settings: Mapping[str, Any]) -> float:
    numbers = settings["avg_num_neighbors"]
    values = set(numbers.values()) if isinstance(numbers, Mapping) else {numbers}
    if len(values) != 1:
        raise InputError(f"avg_num_neighbors={dict(numbers)}: accepted: one number for all elements")
    return float(values.pop())


def nequip_weights(state: Mapping[str, Tensor], network: Nequip, hidden: str) -> dict[str, Tensor]:
    """Return weights of one run from the state of a network of nequip 0.5 (`EnergyModel`, gate, one-hot
    self-connections).

    `constant.inverse_neighbours` stays 1: the package's `avg_num_neighbors` is a setting, no weight.

    Args:
        state: by the package's names, with or without a common prefix; derived tables (buffers) may be among them.
        network: made with `prune=none`, the same numbers of layers, channels, species and so on.
        hidden: the package's `feature_irreps_hidden`, whose order is that of the weights.

    Raises:
        InputError: a weight is missing or has another size than the network's.
    """
    if network.config.prune != "none":
        raise InputError(f"prune={network.config.prune}: the package has all weights; accepted: none")
    state = _stripped(state, "chemical_embedding.linear.weight")
    out = {"embedding": state["chemical_embedding.linear.weight"]}
    out["readout.0"] = named(state, "conv_to_output_hidden.linear.weight")
    out["readout.1"] = named(state, "output_hidden_to_scalar.linear.weight")
    bessel = "bessel" if network.config.bessel_trainable else "constant.bessel"
    out[bessel] = named(state, "radial_basis.basis.bessel_weights")
    # scalars come before the rest, each in the order that was asked for
    order = [entry.ir for entry in sorted(o3.Irreps(hidden), key=lambda entry: entry.ir.l > 0)]
    for t in range(len(network.layers)):
        names = [f"layer{t}_convnet.conv.fc.layer{i}.weight" for i in range(len(network.config.radial_hidden) + 1)]
        out |= _layer(state, network, t, order, [named(state, name) for name in names])
    return shaped(out, network.init(0, torch.float64))


def _stripped(state: Mapping[str, Tensor], known: str) -> Mapping[str, Tensor]:
    """Strip the prefix that wrappers put before all names."""
    for name in state:
        if name.endswith(known):
            prefix = name[: -len(known)]
            return {key.removeprefix(prefix): value for key, value in state.items()}
    raise InputError(f"{known}: not in the state; accepted: a network of the nequip package")


def _layer(
    state: Mapping[str, Tensor], network: Nequip, t: int, hidden: Sequence[o3.Irrep], radial: Sequence[Tensor]
) -> dict[str, Tensor]:
    """Return the weights of layer `t` from those of the package, whose hidden irreps are in its order, scalars first.

    `radial` are the weights of its radial network, normalised as ours.
    """
    layer, config, ours = network.layers[t], network.config, f"layer{t}"
    theirs = f"{ours}_convnet.conv"
    c = config.channels if t > 0 else config.embedding_channels
    weighing = network.n_species if config.self_connection == "species" else config.embedding_channels
    order = [str(irrep) for irrep in hidden]
    exist = network.layers[t - 1].outputs if t > 0 else (SCALAR,)
    before = [name for name in order if name in {name_of(i) for i in exist}]
    after = [name for name in order if name in {name_of(o) for o in layer.outputs}]
    gates = [name for name in after if not name.startswith("0")]
    summed = sorted((o3.Irrep(name) for name in after), key=lambda ir: (ir.l, ir.p))
    # the package lists paths by input, harmonic and result; results of a kind are joined in that order
    harmonics = o3.Irreps.spherical_harmonics(config.edge_order)
    paths = [
        (left, edge.ir.l, str(right))
        for left in before
        for edge in harmonics
        for right in o3.Irrep(left) * edge.ir
        if str(right) in after
    ]
    own = [(name_of(i), degree, name_of(o)) for i, degree, o in layer.paths]
    out: dict[str, Tensor] = {}
    depth = len(config.radial_hidden)
    out |= {f"{ours}.radial.{i}": radial[i] for i in range(depth)}
    last = radial[depth].reshape(-1, len(paths), c)
    out[f"{ours}.radial.{depth}"] = last[:, [paths.index(path) for path in own]].flatten(1)
    ups = named(state, f"{theirs}.linear_1.weight").reshape(len(before), c, c)
    out |= {f"{ours}.up.{name}": up for name, up in zip(before, ups, strict=True)}
    columns = [0] + [1 + gates.index(name_of(g)) for g in gated(layer.outputs)]
    flat, start = named(state, f"{theirs}.linear_2.weight"), 0
    for name in map(str, summed):
        width = config.channels * (len(columns) if name == name_of(SCALAR) else 1)
        listed, kept = ([path for path in some if path[2] == name] for some in (paths, own))
        size = len(listed) * c * width
        down = flat[start : start + size].reshape(len(listed), c, -1, config.channels)
        down = down[[listed.index(path) for path in kept]]
        out[f"{ours}.down.{name}"] = down[:, :, columns] if name == name_of(SCALAR) else down
        start += size
    if not any(f"{ours}.self" in parameter.name for parameter in network.parameters()):
        return out
    flat, start = named(state, f"{theirs}.sc.weight"), 0
    for name in [name for name in before if name in after]:
        width = config.channels * (len(columns) if name == name_of(SCALAR) else 1)
        size = c * weighing * width
        mix = flat[start : start + size].reshape(c, weighing, -1, config.channels).transpose(0, 1)
        out[f"{ours}.self.{name}"] = mix[:, :, columns] if name == name_of(SCALAR) else mix
        start += size
    return out
