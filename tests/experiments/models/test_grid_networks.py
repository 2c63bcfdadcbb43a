"""Networks on grids: each against its whole group in double precision, and against slow loops."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from experiments.data.image_transforms import transform_image
from experiments.models.cnn import CnnConfig
from experiments.models.gcnn import GcnnConfig
from experiments.models.harmonic import HarmonicConfig
from experiments.models.mlp import MlpConfig
from experiments.models.networks import example_network, harmonic
from experiments.models.networks.cnn import Cnn
from experiments.models.networks.gcnn import Gcnn, point_group
from experiments.models.networks.scale_space import ScaleSpace, blur
from experiments.models.scale_space import ScaleSpaceConfig
from experiments.nn.grid import CENTRE, VARIATION, averaged, correlate
from experiments.nn.radial import scaled_silu

ROUND_OFF = 1e-12
"""Of sums of some thousand products of size one in double precision."""
SIDE = 6
CONFIGS = [
    MlpConfig(channels=3), CnnConfig(n_layers=2, channels=3, kernel=3), GcnnConfig(n_layers=2, channels=2, kernel=3),
    GcnnConfig(symmetry="p4m", n_layers=2, channels=2, kernel=3), HarmonicConfig(n_layers=2, channels=2, max_order=2),
    ScaleSpaceConfig(n_layers=2, channels=2), CnnConfig(n_layers=3, channels=3, kernel=3, instance_norm=True, hidden=5),
    GcnnConfig(n_layers=3, channels=2, kernel=3, instance_norm=True, hidden=5),
    ScaleSpaceConfig(n_layers=3, channels=2, instance_norm=True, hidden=5),
]  # fmt: skip


def name_of(config: Any) -> str:
    return f"{config.architecture}-{config.group}-{'norm' if getattr(config, 'instance_norm', False) else 'plain'}"


def drawn(model: Any, seed: int = 0) -> dict[str, Tensor]:
    """Draw the weights of a pack of one, biases too."""
    weights = model.init(seed, torch.float64)
    generator = torch.Generator().manual_seed(seed)
    noise = {name: 0.1 * torch.randn(value.shape, generator=generator, dtype=value.dtype)
             for name, value in weights.items()}  # fmt: skip
    return {name: (value + noise[name])[None] for name, value in weights.items()}


def images(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_same(one: Tensor, other: Tensor, tolerance: float = ROUND_OFF) -> None:
    assert float((one - other).abs().max()) < tolerance * (1 + float(other.abs().max()))


@pytest.mark.parametrize("dilation", [1, 3, 4, 9])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_correlation_is_its_sum(dimensions: int, dilation: int) -> None:
    """Σ_y kernel(y)·x(z + dilation·y) with periodic borders, by loops; also where a kernel laps the grid, or its border
    is a whole grid and more."""
    size, side = 4, 3
    x = images(2, 2, *[size] * dimensions).expand(2, *[-1] * (dimensions + 2)).clone()
    x[1] *= 2
    kernel = images(3, 2, *[side] * dimensions, seed=2).expand(2, *[-1] * (dimensions + 2)).clone()
    kernel[1] += 1
    found = correlate(x, kernel, dilation)
    expected = torch.zeros_like(found)
    flat, x_flat, kernel_flat = expected.flatten(3), x.flatten(3), kernel.flatten(3)  # views
    pixels, taps = (list(itertools.product(range(n), repeat=dimensions)) for n in (size, side))
    for i, z in enumerate(pixels):
        for j, y in enumerate(taps):
            at = tuple((z[d] + dilation * (y[d] - side // 2)) % size for d in range(dimensions))
            flat[..., i] += torch.einsum("poc,pbc->pbo", kernel_flat[..., j], x_flat[..., pixels.index(at)])
    assert_same(found, expected)


@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
def test_a_pack_is_its_runs(config: Any) -> None:
    model = example_network(config, (1, SIDE, SIDE), 3)
    weights = [drawn(model, seed) for seed in (0, 1)]
    packed = {name: torch.cat([w[name] for w in weights]) for name in weights[0]}
    x = [images(4, 1, SIDE, SIDE, seed=seed) for seed in (3, 4)]
    found = model.outputs(packed, torch.cat(x))
    assert found.shape == (2, 4, 3)
    for i in range(2):
        assert_same(found[i], model.outputs(weights[i], x[i])[0])


@pytest.mark.parametrize("config", [c for c in CONFIGS if not isinstance(c, MlpConfig)], ids=name_of)
def test_all_translations_leave_outputs_alone(config: Any) -> None:
    model = example_network(config, (1, SIDE, SIDE), 3)
    weights, x = drawn(model), images(2, 1, SIDE, SIDE)
    expected = model.outputs(weights, x)
    for shift in itertools.product(range(SIDE), repeat=2):
        assert_same(model.outputs(weights, x.roll(shift, (3, 4))), expected)


def test_a_perceptron_sees_translations() -> None:
    """The test of invariance can fail."""
    model = example_network(MlpConfig(channels=3), (1, SIDE, SIDE), 3)
    weights, x = drawn(model), images(2, 1, SIDE, SIDE)
    assert float((model.outputs(weights, x.roll(1, 3)) - model.outputs(weights, x)).abs().max()) > 0.01


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(("symmetry", "order"), [("p4", 4), ("p4m", 8)])
def test_gcnn_over_its_whole_point_group(symmetry: str, order: int, norm: bool) -> None:
    """features(L_u f)(h, x) = features(f)(u⁻¹h, u⁻¹x) for every u; outputs do not change at all."""
    config = GcnnConfig(symmetry=symmetry, n_layers=3, channels=2, kernel=3, instance_norm=norm)
    model = Gcnn(config, (1, 5, 5), 3)
    weights, x = drawn(model), images(2, 1, 5, 5)
    group = point_group(symmetry)
    assert len({u.tobytes() for u in group}) == order
    places = np.stack(np.meshgrid(*[np.arange(5)] * 2, indexing="ij"), -1) - 2
    expected, before = model.outputs(weights, x), model.features(weights, x)
    for u in group:
        back = places @ u + 2  # rows x → (u⁻¹x)
        moved = x[..., back[..., 0], back[..., 1]]
        elements = [next(k for k, h in enumerate(group) if (h == u.T @ h2).all()) for h2 in group]
        assert_same(model.outputs(weights, moved), expected)
        assert_same(model.features(weights, moved), before[:, :, :, elements][..., back[..., 0], back[..., 1]])


def test_a_cnn_and_p4_see_what_is_not_in_their_groups() -> None:
    x = images(2, 1, 5, 5)
    for model, moved in (
        (Cnn(CnnConfig(n_layers=2, channels=3, kernel=3), (1, 5, 5), 3), x.rot90(1, (3, 4))),
        (Gcnn(GcnnConfig(n_layers=2, channels=2, kernel=3), (1, 5, 5), 3), x.flip(4)),
    ):
        weights = drawn(model)
        assert float((model.outputs(weights, moved) - model.outputs(weights, x)).abs().max()) > 1e-3


def test_group_correlation_is_its_sum() -> None:
    """Σ_h' Σ_y ψ(h⁻¹h', h⁻¹y) f(h', x + y) by loops over the group (Cohen & Welling, eq. 11)."""
    model = Gcnn(GcnnConfig(n_layers=2, channels=1, kernel=3), (1, 5, 5), 2)
    group = point_group("p4")
    weight = images(4 * 9, 1, 1)  # ψ(h, y) by h and tap
    kernel = model._kernel(weight, model.places)
    f = images(1, 4, 5, 5, seed=5)
    found = correlate(f, kernel)[0, 0]  # [h, x]
    scale = 1 / math.sqrt(4 * 9)
    for k, h in enumerate(group):
        expected = torch.zeros(5, 5, dtype=torch.float64)
        for k2, h2 in enumerate(group):
            element = next(i for i, g in enumerate(group) if (g == h.T @ h2).all())
            for y in itertools.product((-1, 0, 1), repeat=2):
                back = h.T @ np.array(y) + 1
                psi = weight[0, element * 9 + back[0] * 3 + back[1], 0, 0] * scale
                expected += psi * f[0, 0, k2].roll((-y[0], -y[1]), (0, 1))
        assert_same(found[k], expected)


@given(angle=st.floats(-10, 10), order=st.integers(-4, 4), seed=st.integers(0, 2**16))
def test_circular_harmonics_turn_into_themselves(angle: float, order: int, seed: int) -> None:
    """W(R y) = e^{imθ} W(y) at any points and for every angle: what makes the layers exact in continuous space."""
    points = np.random.default_rng(seed).normal(size=(7, 2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    before = harmonic.filters(points, 2.0, 3, order)
    after = harmonic.filters(points @ turn.T, 2.0, 3, order)
    edge = np.abs(np.hypot(*points.T) - 2.5) < 1e-9  # where rounding may decide on which side of the disc a point is
    assert np.allclose(after[:, ~edge], np.exp(1j * order * angle) * before[:, ~edge], atol=1e-12)


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_harmonic_features_turn_with_their_order(quarter_turns: int) -> None:
    """Exact on the grid for multiples of 90°: z_m → e^{imθ} z_m, at the rotated place."""
    model = harmonic.Harmonic(HarmonicConfig(n_layers=2, channels=2, max_order=2), (1, SIDE, SIDE), 3)
    weights, x = drawn(model), images(2, 1, SIDE, SIDE)
    before = torch.view_as_complex(model.features(weights, x).movedim(4, -1).contiguous())
    moved = x.rot90(quarter_turns, (3, 4))
    after = torch.view_as_complex(model.features(weights, moved).movedim(4, -1).contiguous())
    for order in range(3):
        phase = np.exp(1j * order * quarter_turns * np.pi / 2)
        assert_same(after[:, :, order], phase * before[:, :, order].rot90(quarter_turns, (-2, -1)))
    assert_same(model.outputs(weights, moved), model.outputs(weights, x))


def test_harmonic_invariance_under_any_angle_is_that_of_the_pixels() -> None:
    """Of a smooth image, outputs change by under 2 % of their spread over images (measured: about 0.5 %); those of a
    CNN by more than 10 % (measured: about 40 %)."""
    rng = np.random.default_rng(0)
    blobs = [transform_image(np.pad(rng.normal(size=(3, 3)), 2), 32, 0.0, 4.0) for _ in range(12)]
    rotated = [transform_image(image, 32, 0.6, 1.0) for image in blobs]
    x, y = (torch.as_tensor(np.array(some)[None, :, None], dtype=torch.float64) for some in (blobs, rotated))

    def change(model: Any) -> float:
        weights = drawn(model)
        before, after = model.outputs(weights, x), model.outputs(weights, y)
        return float((after - before).abs().mean() / before.std(1).mean())

    assert change(harmonic.Harmonic(HarmonicConfig(n_layers=2, channels=4), (1, 32, 32), 3)) < 0.02
    assert change(Cnn(CnnConfig(n_layers=2, channels=4), (1, 32, 32), 3)) > 0.1


def test_scale_space_layers_commute_with_dilations_exactly() -> None:
    """[L f](k, x) = f(k + 1, 2x) on a periodic grid, on all scales that are left; the readout sees that one is lost."""
    config = ScaleSpaceConfig(n_scales=4, kernel_scales=2, n_layers=2, channels=3)
    model = ScaleSpace(config, (1, 8, 8), 3)
    weights = drawn(model)
    x = [images(2, 1, 8, 8, seed=k) for k in range(4)]

    def dilated(f: list[Tensor]) -> list[Tensor]:
        where = torch.arange(8) * 2 % 8
        return [one[..., where, :][..., where] for one in f[1:]]

    one, other = x, dilated(x)
    for t in range(2):
        one, other = model.layer(weights, t, one), model.layer(weights, t, other)
        for found, expected in zip(other, dilated(one), strict=True):
            assert_same(found, expected)
    means = [torch.stack(some).mean() for some in (one, other)]
    assert abs(float(means[0] - means[1])) > 1e-3


def test_scale_space_of_an_image_of_twice_the_size() -> None:
    """Of smooth images, features on scale 2 at places twice as far out are those of half the size on scale 1, but for
    what pixels lose: under 6 % of their spread (measured: 3.6 %), with layers normalised by means over the canvas, of
    which a digit of twice the size covers more, under 10 % (6.6 %). The scale itself tells sizes apart: 26 %."""
    rng = np.random.default_rng(0)
    cells = [np.pad(rng.normal(size=(3, 3)), 1) for _ in range(8)]
    x, y = (
        torch.as_tensor(
            np.array([transform_image(image, 49, 0.0, size) for image in cells])[None, :, None], dtype=torch.float64
        )
        for size in (3.0, 6.0)
    )
    inner = torch.arange(-12, 13)

    def at(f: Tensor, factor: int) -> Tensor:
        where = factor * inner + 24
        return f[..., where, :][..., where]

    for norm, bound in ((False, 0.06), (True, 0.1)):
        config = ScaleSpaceConfig(n_scales=4, kernel_scales=2, n_layers=2, channels=4, instance_norm=norm)
        model = ScaleSpace(config, (1, 49, 49), 3)
        weights = drawn(model)
        one, two = model.lifted(x), model.lifted(y)
        for t in range(2):
            one, two = model.layer(weights, t, one), model.layer(weights, t, two)
        expected = at(one[0], 1)
        changes = [float((at(two[k], 2) - expected).abs().mean() / expected.std()) for k in (0, 1)]
        assert changes[1] < bound
        assert changes[0] > 0.2


def test_means_of_a_normal_field_are_centred() -> None:
    """∫ silu(z)·φ(z) dz by Gauss–Hermite quadrature of 60 points, where silu is scaled as networks have it."""
    nodes, shares = np.polynomial.hermite_e.hermegauss(60)
    mean = float(scaled_silu(torch.as_tensor(nodes)) @ torch.as_tensor(shares)) / math.sqrt(2 * math.pi)
    assert abs(mean - CENTRE) < 5e-4, "the constant has three digits"
    field = scaled_silu(torch.randn(1, 1, 1, 400, 400, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    # 160,000 numbers of deviation about one: their mean to 1/400, in units of VARIATION, four standard errors
    assert abs(float(averaged(field, 3))) < 4 * float(field.std()) / 400 / VARIATION


@pytest.mark.parametrize("config", [CnnConfig, GcnnConfig, HarmonicConfig, ScaleSpaceConfig])
def test_hidden_units_of_the_readout(config: Any) -> None:
    """null: as many as it sees; more units are more weights, and nothing else."""
    networks = [example_network(config(channels=4, hidden=units), (1, 8, 8), 3) for units in (None, 4, 7)]
    weights = [network.init(0, torch.float64) for network in networks]
    seen = len(weights[0]["readout.0"])
    assert [len(one["readout.1"]) for one in weights] == [seen, 4, 7]
    others = [{k: v.shape for k, v in one.items() if not k.startswith("readout")} for one in weights]
    assert others[0] == others[1] == others[2]


def test_blurs_are_a_semigroup_and_lifting_is_not_exact() -> None:
    assert np.allclose(blur(9, 0.6) @ blur(9, 0.8), blur(9, 1.0), atol=1e-14)
    model = ScaleSpace(ScaleSpaceConfig(n_scales=2), (1, 8, 8), 3)
    f = images(1, 1, 8, 8)
    fine, coarse = model.lifted(f)
    assert_same(fine, f)
    where = torch.arange(8) * 2 % 8
    pixels_first = model.lifted(f[..., where, :][..., where])[0]
    assert float((coarse[..., where, :][..., where] - pixels_first).abs().max()) > 0.1  # blurring is what is lost


def test_every_network_takes_what_it_says() -> None:
    from experiments.models.registry import MODELS

    for name, config in MODELS.items():
        if not config.closed_form and not MODELS.of_molecules(name):
            assert set(config.kinds) - {"molecules"}
    assert MODELS["mace"].kinds == ("molecules",)
