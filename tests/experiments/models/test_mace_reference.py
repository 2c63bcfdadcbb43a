"""MACE against a slow network of e3nn's own modules: edge lists, index_add, mul-major features, loops over nodes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from e3nn import o3
from e3nn.math import soft_one_hot_linspace
from e3nn.nn import FullyConnectedNet
from torch import Tensor
from torch.nn.functional import silu

from experiments.models.mace import MaceConfig
from experiments.models.networks.mace import Layer, Mace
from experiments.nn.contraction import couplings
from tests.experiments.models.clusters import graph_of, positions, species

CUTOFF = 3.0


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    """Set the default dtype: e3nn's modules keep their couplings in the default dtype of the moment they are made."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def name_of(degree: int) -> str:
    return f"{degree}{'e' if degree % 2 == 0 else 'o'}"


def mixed(x: Tensor, weight: Tensor, degree: int) -> Tensor:
    """Apply e3nn's linear map to mul-major features `[n, C, 2l+1]` with `weight` `[C, C']`."""
    irreps = [f"{channels}x{name_of(degree)}" for channels in weight.shape]
    layer = o3.Linear(*irreps, internal_weights=False, shared_weights=True).double()
    out: Tensor = layer(x.flatten(1), weight.flatten()).reshape(len(x), weight.shape[1], -1)
    return out


def mixed_by_species(x: Tensor, weight: Tensor, degree: int, kinds: list[int]) -> Tensor:
    return torch.cat([mixed(x[n : n + 1], weight[kind], degree) for n, kind in enumerate(kinds)])


def radial_network(widths: list[int], weights: list[Tensor], x: Tensor) -> Tensor:
    net = FullyConnectedNet(widths, silu).double()
    for parameter, weight in zip(net.parameters(), weights, strict=True):
        assert parameter.shape == weight.shape
        parameter.data = weight
    out: Tensor = net(x)
    return out


def layer_reference(
    t: int,
    layer: Layer,
    config: MaceConfig,
    params: dict[str, Tensor],
    x: Tensor,
    kinds: list[int],
    h: dict[int, Tensor],
) -> dict[int, Tensor]:
    """Compute one layer on one molecule `x` `[n, 3]`; features by degree `[n, C, 2l+1]`."""
    c, n = config.channels, len(kinds)
    edges = [(i, j) for i in range(n) for j in range(n) if i != j and (x[i] - x[j]).norm() < CUTOFF]
    receivers, senders = torch.tensor([i for i, _ in edges]), torch.tensor([j for _, j in edges])
    vectors = x[senders] - x[receivers]
    r = vectors.norm(dim=-1)
    p = config.cutoff_power
    u = r / CUTOFF
    envelope = 1 - (p + 1) * (p + 2) / 2 * u**p + p * (p + 2) * u ** (p + 1) - p * (p + 1) / 2 * u ** (p + 2)
    basis = soft_one_hot_linspace(r, 0.0, CUTOFF, config.n_bessel, basis="bessel", cutoff=True) * envelope[:, None]
    # convolution: e3nn's "uvu" tensor product with weights from the radial network
    degrees = sorted({l1 for l1, _, _ in layer.paths})
    up = {d: mixed(h[d], params[f"layer{t}.up.{d}"], d) if t > 0 else h[d] for d in degrees}
    product = o3.TensorProduct(
        "+".join(f"{c}x{name_of(d)}" for d in degrees),
        o3.Irreps.spherical_harmonics(config.edge_lmax),
        "+".join(f"{c}x{name_of(l3)}" for _, _, l3 in layer.paths),
        [(degrees.index(l1), l2, i, "uvu", True) for i, (l1, l2, _) in enumerate(layer.paths)],
        shared_weights=False,
        internal_weights=False,
    ).double()
    widths = [config.n_bessel, *config.radial_hidden, product.weight_numel]
    weights = [params[f"layer{t}.radial.{i}"] for i in range(len(widths) - 1)]
    harmonics = o3.spherical_harmonics(
        list(range(config.edge_lmax + 1)), vectors, normalize=True, normalization="component"
    )
    joined = torch.cat([up[d].flatten(1) for d in degrees], 1)
    messages = product(joined[senders], harmonics, radial_network(widths, weights, basis))
    summed = torch.zeros(n, messages.shape[1], dtype=x.dtype).index_add(0, receivers, messages)
    sizes = [c * (2 * l3 + 1) for _, _, l3 in layer.paths]
    by_path = [m.reshape(n, c, -1) for m in torch.split(summed, sizes, 1)]
    a = []
    for degree in layer.features:
        all_paths = torch.cat([m for m, (_, _, l3) in zip(by_path, layer.paths, strict=True) if l3 == degree], 1)
        weight = params[f"layer{t}.node.{degree}"]
        a.append(mixed(all_paths, weight, degree) if t > 0 else mixed_by_species(all_paths, weight, degree, kinds))
    features = torch.cat(a, -1) * params["constant.inverse_neighbours"]  # [n, C, M]
    # symmetric contraction: every component, node and channel by itself
    out = {}
    for degree in layer.outputs:
        message = torch.zeros(n, c, 2 * degree + 1, dtype=x.dtype)
        for order in range(1, config.nu + 1):
            u_tensor = couplings(max(layer.features), degree, order)
            if u_tensor.shape[-1] == 0:
                continue
            weight = params[f"layer{t}.contraction.{degree}.{order}"]
            for node, kind in enumerate(kinds):
                for channel in range(c):
                    value = u_tensor @ weight[kind, :, channel]
                    for _ in range(order):
                        value = value @ features[node, channel]
                    message[node, channel] += value
        out[degree] = mixed(message, params[f"layer{t}.message.{degree}"], degree)
        if degree in layer.residual:
            out[degree] += mixed_by_species(h[degree], params[f"layer{t}.residual.{degree}"], degree, kinds)
    return out


@pytest.mark.parametrize("cell", [(0, 1, 3), (1, 1, 3), (0, 3, 3), (1, 2, 2), (2, 3, 3), (3, 2, 1)])
def test_the_network_is_that_of_e3nn(cell: tuple[int, int, int]) -> None:
    L, nu, edge_lmax = cell
    config = MaceConfig(
        L=L, nu=nu, edge_lmax=edge_lmax, n_layers=3, channels=3, cutoff=CUTOFF, n_bessel=4, radial_hidden=(6, 6),
        readout_hidden=5,
    )  # fmt: skip
    model = Mace(config, 3)
    params = model.init(0, torch.float64) | {"constant.inverse_neighbours": torch.tensor(0.3, dtype=torch.float64)}
    x, kinds = positions(0, 1, 1, 5), species(0, 1, 1, 5)
    packed = {name: value[None] for name, value in params.items()}
    graph = graph_of(x, kinds, CUTOFF, slots=1)
    listed = kinds.flatten().tolist()
    h = {0: params["embedding"][kinds.flatten()][:, :, None]}
    energies = torch.zeros(5, dtype=torch.float64)
    for t, (layer, found) in enumerate(zip(model.layers, model.node_features(packed, graph), strict=True)):
        h = layer_reference(t, layer, config, params, x[0, 0], listed, h)
        assert set(found) == set(h)
        for degree in h:
            # the same sums in another order, float64
            assert torch.allclose(found[degree][0].transpose(1, 2), h[degree], atol=1e-11, rtol=1e-11)
        if t < config.n_layers - 1:
            energies = energies + mixed(h[0], params[f"layer{t}.readout"], 0)[:, 0, 0]
    # e3nn's perceptron is the published readout too: linear, normalised SiLU, linear
    widths = [config.channels, config.readout_hidden, 1]
    energies = energies + radial_network(widths, [params["readout.0"], params["readout.1"]], h[0][:, :, 0])[:, 0]
    assert torch.allclose(model.energies(packed, graph)[0], energies.detach(), atol=1e-11, rtol=1e-11)
    assert math.isfinite(energies.sum().item())
