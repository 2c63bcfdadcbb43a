"""Weights of the packages that people use, in our layout: the same functions, so that numbers can be compared."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from e3nn import o3
from torch import Tensor

from experiments.errors import InputError
from experiments.models.convert.converted import named, shaped
from experiments.models.gate import SCALAR, gated, name_of
from experiments.models.nequip import Nequip


def nequip_weights(state: Mapping[str, Tensor], network: Nequip, hidden: str) -> dict[str, Tensor]:
    """Weights of one run from the state of a network of the nequip package, 0.5 (``EnergyModel``, gate, one-hot
    self-connections).

    Args:
        state: by the package's names, with or without a common prefix; derived tables (buffers) may be among them.
        network: made with ``prune=none``, the same numbers of layers, channels, species and so on.
        hidden: the package's ``feature_irreps_hidden``, whose order is that of the weights.

    ``constant.inverse_neighbours`` stays 1: the package's ``avg_num_neighbors`` is a setting, no weight.

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
    for t in range(len(network.layers)):
        out |= _layer(state, network, t, hidden)
    return shaped(out, network.init(0, torch.float64))


def _stripped(state: Mapping[str, Tensor], known: str) -> Mapping[str, Tensor]:
    """Without the prefix that wrappers put before all names."""
    for name in state:
        if name.endswith(known):
            prefix = name[: -len(known)]
            return {key.removeprefix(prefix): value for key, value in state.items()}
    raise InputError(f"{known}: not in the state; accepted: a network of the nequip package, 0.5")


def _layer(state: Mapping[str, Tensor], network: Nequip, t: int, hidden: str) -> dict[str, Tensor]:
    layer, config, ours = network.layers[t], network.config, f"layer{t}"
    theirs = f"{ours}_convnet.conv"
    c, species = config.channels if t > 0 else config.embedding_channels, network.n_species
    # scalars come before the rest, each in the order that was asked for
    order = [str(ir) for _, ir in sorted(o3.Irreps(hidden), key=lambda entry: entry.ir.l > 0)]
    before = [name for name in order if name in {name_of(i) for i in layer.inputs}]
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
    for i in range(depth):
        out[f"{ours}.radial.{i}"] = named(state, f"{theirs}.fc.layer{i}.weight")
    last = named(state, f"{theirs}.fc.layer{depth}.weight").reshape(-1, len(paths), c)
    out[f"{ours}.radial.{depth}"] = last[:, [paths.index(path) for path in own]].flatten(1)
    ups = named(state, f"{theirs}.linear_1.weight").reshape(len(before), c, c)
    out |= {f"{ours}.up.{name}": up for name, up in zip(before, ups, strict=True)}
    columns = [0] + [1 + gates.index(name_of(g)) for g in gated(layer.outputs)]
    flat, start = named(state, f"{theirs}.linear_2.weight"), 0
    for name in map(str, summed):
        width = config.channels * (len(columns) if name == name_of(SCALAR) else 1)
        listed, wanted = ([path for path in some if path[2] == name] for some in (paths, own))
        size = len(listed) * c * width
        down = flat[start : start + size].reshape(len(listed), c, -1, config.channels)
        down = down[[listed.index(path) for path in wanted]]
        out[f"{ours}.down.{name}"] = down[:, :, columns] if name == name_of(SCALAR) else down
        start += size
    flat, start = named(state, f"{theirs}.sc.weight"), 0
    for name in before:
        width = config.channels * (len(columns) if name == name_of(SCALAR) else 1)
        size = c * species * width
        mix = flat[start : start + size].reshape(c, species, -1, config.channels).transpose(0, 1)
        out[f"{ours}.self.{name}"] = mix[:, :, columns] if name == name_of(SCALAR) else mix
        start += size
    return out
