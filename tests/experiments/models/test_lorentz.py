"""The Lorentz group network over its group; its twin, which sees boosts but not the order of particles."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from torch import Tensor

from experiments.models.lorentz import LorentzConfig
from experiments.models.momenta import MomentaConfig
from experiments.models.networks.lorentz import METRIC, Lorentz, at_rest, dual_of
from experiments.models.networks.momenta import Momenta
from experiments.nn.radial import scaled_silu
from tests.experiments.models.test_grid_networks import assert_same, drawn

LORENTZ = {rank: LorentzConfig(L=rank, n_layers=3, channels=3, width=4) for rank in (1, 2)}
MODELS: tuple[Lorentz | Momenta, ...] = (
    *(Lorentz(config, (8, 4), 2) for config in LORENTZ.values()),
    Momenta(MomentaConfig(channels=5), (8, 4), 2),
)
ETA = torch.diag(torch.tensor(METRIC, dtype=torch.float64))


def jet(seed: int, real: int = 6) -> Tensor:
    """Draw momenta of particles with masses, in GeV, and two rows of padding."""
    rng = np.random.default_rng(seed)
    momenta = rng.normal(size=(1, 2, real, 3)) * 20
    energy = np.sqrt((momenta**2).sum(-1, keepdims=True) + rng.uniform(0, 4, (1, 2, real, 1)))
    return torch.as_tensor(np.pad(np.concatenate([energy, momenta], -1), ((0, 0), (0, 0), (0, 2), (0, 0))))


def transformation(rotation: np.ndarray, rapidity: np.ndarray) -> Tensor:
    """Return exp of a generator of SO⁺(1,3): three rotations, three boosts."""
    generator = np.zeros((4, 4))
    generator[0, 1:] = generator[1:, 0] = rapidity
    generator[1:, 1:] = np.cross(np.eye(3), rotation)
    return torch.as_tensor(expm(generator))


vectors = st.lists(st.floats(-1.5, 1.5), min_size=3, max_size=3).map(np.array)


@settings(max_examples=25)
@given(rotation=vectors, rapidity=vectors, seed=st.integers(0, 2**16))
def test_any_transformation_leaves_outputs_alone(rotation: np.ndarray, rapidity: np.ndarray, seed: int) -> None:
    """A boost multiplies energies by up to e^2.6, and round-off of invariant masses by its square: 1e-9 covers it."""
    matrix = transformation(rotation, rapidity)
    assert torch.allclose(matrix.T @ ETA @ matrix, ETA, atol=1e-9)
    for rank in (1, 2):
        model = Lorentz(LORENTZ[rank], (8, 4), 2)
        weights, x = drawn(model), jet(seed)
        expected = model.outputs(weights, x)
        assert_same(model.outputs(weights, x @ matrix.T), expected, 1e-9)


@settings(max_examples=25)
@given(rotation=vectors, rapidity=vectors, seed=st.integers(0, 2**16))
def test_features_are_transformed(rotation: np.ndarray, rapidity: np.ndarray, seed: int) -> None:
    """Behind every layer: scalars stay, v → Λv, tensors with one index lowered → ΛaΛ⁻¹. Relative to the largest entry,
    1e-9: the transformed ones are up to e^5.2 times as large."""
    matrix = transformation(rotation, rapidity)
    model = Lorentz(LORENTZ[2], (8, 4), 2)
    weights, x = drawn(model), jet(seed)
    inverse = ETA @ matrix.T @ ETA
    for found, before in zip(model.features(weights, x @ matrix.T), model.features(weights, x), strict=True):
        expected = torch.einsum("xy,pbnyc->pbnxc", matrix, before.vectors)
        assert torch.allclose(found.vectors, expected, rtol=0, atol=1e-9 * float(expected.abs().max()))
        for kind in ("antisymmetric", "symmetric"):
            tensor = getattr(before, kind)
            if tensor is None:
                continue
            expected = torch.einsum("xy,pbnyzc,zw->pbnxwc", matrix, tensor, inverse)
            assert torch.allclose(getattr(found, kind), expected, rtol=0, atol=1e-9 * float(expected.abs().max()))


def lowered(vector: np.ndarray) -> np.ndarray:
    return np.asarray(np.array(METRIC) * vector)


def reference(model: Lorentz, weights: dict[str, Tensor], momenta: np.ndarray) -> list[np.ndarray]:
    """Return the scalars of every particle after each layer, by the module's table.

    One particle, pair and channel at a time; tensors with both indices raised. All of one jet's `momenta` `[n, 4]` are
    real particles.
    """
    w = {name: value[0].numpy() for name, value in weights.items()}
    c, n, eta, eps = model.config.channels, model.n_particles, np.diag(METRIC), np.zeros((4, 4, 4, 4))
    for order in itertools.permutations(range(4)):
        eps[order] = round(np.linalg.det(np.eye(4)[list(order)]))

    def squash(x: float) -> float:
        return float(np.sign(x) * np.log1p(abs(x)))

    def silu(x: np.ndarray) -> np.ndarray:
        return np.asarray(scaled_silu(torch.as_tensor(x)).numpy())

    def mix(name: str, products: list[np.ndarray]) -> np.ndarray:
        """`products`: each of all channels."""
        x = np.concatenate(products)  # [K·C, …]
        return np.asarray(np.tensordot(w[name].T, x, 1) / np.sqrt(len(x)))

    def dual(a: np.ndarray) -> np.ndarray:
        return np.asarray(0.5 * np.einsum("mnrs,crs->cmn", eps, eta @ a @ eta))

    def even(x: np.ndarray) -> np.ndarray:
        part = (x + x.swapaxes(-1, -2)) / 2
        return np.asarray(part - np.einsum("cmn,mn->c", part, eta)[:, None, None] * eta / 4)

    def odd(x: np.ndarray) -> np.ndarray:
        return np.asarray((x - x.swapaxes(-1, -2)) / 2)

    p = momenta / 10
    masses = [squash(q @ lowered(q)) for q in p]
    s = [m * w["embed.scalar"][0] + w["embed.scalar.bias"] for m in masses]
    v = [np.outer(w["embed.vector"][0], q) for q in p]  # [C, 4]
    a: list[np.ndarray] = []
    b: list[np.ndarray] = []
    found = [np.array(s)]
    for t in range(model.config.n_layers):
        name, last = f"layer{t}", t == model.config.n_layers - 1
        new: list[list[np.ndarray]] = [[], [], [], []]
        for i in range(len(p)):
            from_pairs: dict[str, Any] = dict.fromkeys(("ss", "sv", "vs", "tv", "va", "vd", "vb"), 0.0)
            for j in range(len(p)):
                q = p[i] - p[j]
                hidden = silu(squash(q @ lowered(q)) * w[f"{name}.pair.0"][0] + w[f"{name}.pair.0.bias"])
                f = (hidden @ w[f"{name}.pair.1"] / np.sqrt(len(hidden)) / n).reshape(-1, c)
                from_pairs["ss"] += f[0] * s[j]
                from_pairs["sv"] += f[1] * (v[j] @ lowered(q))
                if not last:
                    from_pairs["vs"] += (f[2] * s[j])[:, None] * q
                    from_pairs["tv"] += f[3][:, None, None] * np.einsum("m,cn->cmn", q, v[j])
                if not last and a:
                    for k, (kind, tensor) in enumerate((("va", a[j]), ("vd", dual(a[j])), ("vb", b[j]))):
                        from_pairs[kind] += f[4 + k][:, None] * (tensor @ lowered(q))
            norms = np.array([squash(x @ lowered(x)) for x in v[i]])
            scalars = [s[i], s[i] ** 2, norms, from_pairs["ss"], np.array([squash(x) for x in from_pairs["sv"]])]
            if a:
                d = dual(a[i])
                for left, right in ((a[i], a[i]), (a[i], d), (b[i], b[i])):
                    traces = [np.trace(x @ eta @ y @ eta) for x, y in zip(left, right, strict=True)]
                    scalars.append(np.array([squash(x) for x in traces]))
            new[0].append(silu(mix(f"{name}.scalar", scalars) + w[f"{name}.scalar.bias"]))
            if last:
                continue
            vectors = [v[i], s[i][:, None] * v[i], from_pairs["vs"]]
            odds = [odd(from_pairs["tv"])]
            evens = [even(from_pairs["tv"]), even(np.einsum("cm,cn->cmn", v[i], v[i]))]
            if a:
                vectors += [np.einsum("cmn,n,cn->cm", x, np.array(METRIC), v[i]) for x in (a[i], d, b[i])]
                vectors += [from_pairs[kind] for kind in ("va", "vd", "vb")]
                ab, ba, db, bd = (x @ eta @ y for x, y in ((a[i], b[i]), (b[i], a[i]), (d, b[i]), (b[i], d)))
                odds += [(ab + ba) / 2, a[i], s[i][:, None, None] * a[i]]
                evens += [even(a[i] @ eta @ a[i]), even(b[i] @ eta @ b[i]), (db - bd) / 2, (ab - ba) / 2]
                evens += [b[i], s[i][:, None, None] * b[i]]
            new[1].append(mix(f"{name}.vector", vectors))
            new[2].append(mix(f"{name}.antisymmetric", [*odds, *(dual(x) for x in odds)]))
            new[3].append(mix(f"{name}.symmetric", evens))
        s, v, a, b = new
        found.append(np.array(s))
    return found


def test_products_are_those_of_the_table() -> None:
    """Against sums over pairs and channels, one at a time; 1e-9 of invariants of degree up to 24 in momenta."""
    model = Lorentz(LORENTZ[2], (5, 4), 2)
    weights, x = drawn(model), jet(0, 5)[:, :1, :5]
    found = model.features(weights, x)
    for layer, expected in zip(found, reference(model, weights, x[0, 0].numpy()), strict=True):
        assert np.allclose(layer.scalars[0, 0].numpy(), expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_jets_at_rest() -> None:
    """Their momenta sum to zero, invariants stay; a jet without mass (one photon) and an empty one stay as they are."""
    x = jet(3)
    found = at_rest(x)
    total = found.sum(2)
    assert float(total[..., 1:].abs().max()) < 1e-12 * float(x.abs().max())
    before, after = (torch.einsum("pbix,xy,pbjy->pbij", p, ETA, p) for p in (x, found))
    assert torch.allclose(after, before, rtol=0, atol=1e-12 * float(before.abs().max()))
    photon = torch.zeros(1, 1, 3, 4, dtype=torch.float64)
    assert torch.equal(at_rest(photon), photon)
    photon[0, 0, 0] = torch.tensor([5.0, 3.0, 4.0, 0.0])
    assert torch.equal(at_rest(photon), photon)


@pytest.mark.parametrize("rank", [1, 2])
def test_single_precision_keeps_the_symmetry(rank: int) -> None:
    """Jets of 600 GeV of 24 narrow particles: round-off is under 0.3 % of the outputs' spread (measured, three draws of
    weights: at most 0.03 %; computed where the jet moves, for L=2: 0.8 to 4 %)."""
    rng = np.random.default_rng(0)
    at = np.concatenate([[[600.0, 0.0, 0.0]]] * 24)[None, None] * rng.dirichlet(np.ones(24), (1, 40))[..., None]
    at = at + rng.normal(size=at.shape) * 4
    x = torch.as_tensor(np.concatenate([np.sqrt((at**2).sum(-1, keepdims=True)), at], -1))
    model = Lorentz(LorentzConfig(L=rank), (24, 4), 2)
    weights = drawn(model)
    exact = model.outputs(weights, x)
    found = model.outputs({name: value.float() for name, value in weights.items()}, x.float())
    assert float((found - exact).abs().max()) < 0.003 * float(exact.std(1).min())


def test_tensors_are_what_they_are_called() -> None:
    model = Lorentz(LORENTZ[2], (8, 4), 2)
    last = model.features(drawn(model), jet(0))[-2]
    assert last.antisymmetric is not None
    assert last.symmetric is not None
    raised = [torch.einsum("pbnxyc,yz->pbncxz", tensor, ETA) for tensor in (last.antisymmetric, last.symmetric)]
    sizes = [float(tensor.abs().max()) for tensor in raised]
    assert min(sizes) > 1e-3
    assert float((raised[0] + raised[0].mT).abs().max()) < 1e-12 * sizes[0]
    assert float((raised[1] - raised[1].mT).abs().max()) < 1e-12 * sizes[1]
    assert float(torch.einsum("pbnxxc->pbnc", last.symmetric).abs().max()) < 1e-12 * sizes[1]


def test_duals() -> None:
    """½ ε^{μνρσ} a_{ρσ} summed term by term; twice is −1; invariants of a field are E² − B² and E·B."""
    rng = np.random.default_rng(0)
    raised = rng.normal(size=(4, 4))
    raised -= raised.T
    eta = np.diag(METRIC)
    expected = np.zeros((4, 4))
    lowered = eta @ raised @ eta
    for order in itertools.permutations(range(4)):
        sign = round(np.linalg.det(np.eye(4)[list(order)]))
        expected[order[0], order[1]] += 0.5 * sign * lowered[order[2], order[3]]
    mixed = torch.as_tensor(raised @ eta)[..., None]
    found = dual_of(mixed)
    assert np.allclose(found[..., 0].numpy() @ eta, expected, atol=1e-14)
    assert torch.allclose(dual_of(found), -mixed, atol=1e-14)
    electric, magnetic = raised[1:, 0], -np.array([raised[2, 3], raised[3, 1], raised[1, 2]])
    matrix, dual = mixed[..., 0].numpy(), found[..., 0].numpy()
    assert np.isclose(np.trace(matrix @ matrix), 2 * (electric @ electric - magnetic @ magnetic))
    assert np.isclose(np.trace(matrix @ dual), 4 * (electric @ magnetic))


@pytest.mark.parametrize("rank", [1, 2])
def test_what_is_no_transformation_is_seen(rank: int) -> None:
    model = Lorentz(LORENTZ[rank], (8, 4), 2)
    weights, x = drawn(model), jet(0)
    stretched = x * torch.tensor([1.0, 1.0, 1.0, 1.1], dtype=x.dtype)
    assert float((model.outputs(weights, stretched) - model.outputs(weights, x)).abs().max()) > 1e-3


def test_order_and_padding_do_not_count() -> None:
    for model in MODELS:
        weights, x = drawn(model), jet(1)
        expected = model.outputs(weights, x)
        assert_same(model.outputs(weights, x[:, :, [7, 3, 0, 6, 5, 1, 4, 2]]), expected)
        other = x.clone()
        other[:, :, 5] = 0
        assert float((model.outputs(weights, other) - expected).abs().max()) > 1e-6


def test_the_twin_sees_boosts() -> None:
    model = Momenta(MomentaConfig(channels=5), (8, 4), 2)
    weights, x = drawn(model), jet(2)
    boosted = x @ transformation(np.zeros(3), np.array([0.0, 0.0, 0.5])).T
    assert float((model.outputs(weights, boosted) - model.outputs(weights, x)).abs().max()) > 1e-2


def test_packs_and_gradients() -> None:
    """Runs of a pack are those alone, and gradients are finite where particles are missing or have no mass."""
    for model in MODELS:
        weights = [drawn(model, seed) for seed in (0, 1)]
        packed = {name: torch.cat([w[name] for w in weights]).requires_grad_() for name in weights[0]}
        x = torch.cat([jet(3), jet(4)])
        x[0, 0, 0] = torch.tensor([5.0, 3.0, 4.0, 0.0])
        found = model.outputs(packed, x)
        for i in range(2):
            assert_same(found[i].detach(), model.outputs(weights[i], x[i : i + 1])[0])
        found.sum().backward()  # type: ignore[no-untyped-call]
        for name, value in packed.items():
            assert value.grad is not None, name
            assert bool(torch.isfinite(value.grad).all()), name
            # every weight reaches the outputs: none is there that could not
            assert bool((value.grad != 0).all()), name
