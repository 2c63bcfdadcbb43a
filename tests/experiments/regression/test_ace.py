"""Linear ACE: symmetries, exact derivatives, and neither a duplicate nor a missing feature."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from e3nn import o3
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from experiments.core.arrays import Floats
from experiments.core.errors import InputError
from experiments.data.dataset import Frames
from experiments.models.ace import AceConfig
from experiments.regression.ace import Ace, LinearAce, radial_functions
from experiments.regression.ace_basis import Truncation, basis, most_features

CELLS = [(1, 0), (1, 2), (2, 0), (2, 3), (2, 6), (3, 2), (4, 1), (3, 4)]
ELEMENTS = (1, 6, 8)
# float64 sums of up to 1e3 terms of order 1e2: 1e-16 × 1e5, with room for cancellation
ROUND_OFF = 1e-10


def molecules(count: int, numbers: list[int], seed: int = 0, spread: float = 1.1) -> Frames:
    """Draw frames whose atoms are at least 0.7 Å apart; labels zero."""
    rng = np.random.default_rng(seed)
    positions: list[Floats] = []
    while len(positions) < count:
        x = rng.normal(size=(len(numbers), 3)) * spread
        apart = np.linalg.norm(x[:, None] - x[None], axis=2) + 9 * np.eye(len(numbers))
        if apart.min() > 0.7:
            positions.append(x)
    shape = (count, len(numbers))
    return Frames(
        np.tile(np.array(numbers, np.int64), (count, 1)),
        np.stack(positions),
        np.zeros(count),
        np.zeros((*shape, 3)),
        np.zeros((count, 3, 3)),
        np.zeros((count, 3), bool),
    )


def config(nu: int, edge_lmax: int, n_radial: int = 3, cutoff: float = 4.0) -> AceConfig:
    """Settings of all products, not up to a total degree."""
    return AceConfig(nu=nu, edge_lmax=edge_lmax, n_radial=n_radial, cutoff=cutoff, degree=None)


def model(nu: int, edge_lmax: int, n_radial: int = 3, cutoff: float = 4.0) -> LinearAce:
    """Return all products; with an edge order above 3, those up to a total degree."""
    if edge_lmax > 3:
        settings = AceConfig(nu=nu, edge_lmax=edge_lmax, n_radial=5, cutoff=cutoff, degree=(4, 12, 8, 6)[:nu])
        return LinearAce(settings, ELEMENTS)
    return LinearAce(config(nu, edge_lmax, n_radial, cutoff), ELEMENTS)


def coefficients(ace: LinearAce, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=ace.size)


def count(n_species: int, kept: Truncation, order: int, top: int) -> int:
    """Count the O(3) scalars of total degree ≤ `top` in Sym^order of all channels, from characters alone.

    The density is a sum of D_l of degree n−1+l. Characters are polynomials in t, whose powers count the degree, made by
    Newton's identity; the class measure of SO(3) is (1 − cos θ)/π; the trapezoid rule is exact for trigonometric
    polynomials.
    """
    theta = 2 * np.pi * np.arange(128) / 128
    total = 0.0
    for sign in (1, -1):
        power = {k: np.zeros((top + 1, len(theta))) for k in range(1, order + 1)}
        for k, terms in power.items():
            for n in range(kept.n_radial):
                for degree in range(kept.lmax + 1):
                    if k * (n + degree) <= top:
                        character = 1 + 2 * sum((np.cos(m * k * theta) for m in range(1, degree + 1)), 0 * theta)
                        terms[k * (n + degree)] += n_species * sign ** (k * degree) * character
        h = [np.zeros_like(power[1])]
        h[0][0] = 1.0
        for n in range(1, order + 1):
            following = np.zeros_like(h[0])
            for k in range(1, n + 1):
                for d in range(top + 1):
                    following[d:] += power[k][d] * h[n - k][: top + 1 - d] / n
            h.append(following)
        total += float(np.mean((1 - np.cos(theta)) * h[order].sum(0))) / 2
    assert total == pytest.approx(round(total), abs=1e-7)
    return round(total)


@pytest.mark.parametrize("lmax", [0, 1, 2, 3])
@pytest.mark.parametrize("n_channels", [1, 2, 3])
def test_number_of_features_is_that_of_the_invariants(n_channels: int, lmax: int) -> None:
    """With one radial function nothing is truncated, and different channels are different features."""
    sizes = dict.fromkeys(range(1, 5), 0)
    for group in basis(n_channels, Truncation(1, lmax, 4)):
        sizes[len(group.degrees)] += group.size
    kept = Truncation(1, lmax, 4)
    assert sizes == {order: count(n_channels, kept, order, order * lmax) for order in sizes}


@pytest.mark.parametrize("kept", [Truncation(6, 6, 4, (5, 6, 5, 4)), Truncation(3, 2, 3, (1, 5, 7))])
def test_every_invariant_up_to_the_total_degree_is_a_feature(kept: Truncation) -> None:
    assert kept.degrees is not None
    sizes = dict.fromkeys(range(1, kept.nu + 1), 0)
    for group in basis(2, kept):
        sizes[len(group.degrees)] += group.size
        degree = (group.channels % kept.n_radial).sum(1) + sum(group.degrees)
        assert int(degree.max()) <= kept.degrees[len(group.degrees) - 1]
    assert sizes == {order: count(2, kept, order, kept.degrees[order - 1]) for order in sizes}


def test_a_degree_for_every_number_of_factors() -> None:
    with pytest.raises(InputError, match=r"^model.degree=\[4, 4\]: accepted: null or 3 numbers for nu=3, one for "):
        AceConfig(nu=3, degree=(4, 4))
    assert LinearAce(AceConfig(nu=2, degree=(4, 4)), ELEMENTS).lmax == 2


def test_rougher_features_have_smaller_columns() -> None:
    """A prior variance of (1 + Σ(n−1)² + Σl²)^−p; with p = 0 every column is as it is."""
    settings = AceConfig(nu=3, n_radial=4, cutoff=4.0, degree=(3, 4, 3), smoothness=2.0)
    plain, smooth = LinearAce(replace(settings, smoothness=0.0), ELEMENTS), LinearAce(settings, ELEMENTS)
    expected = []
    for group in smooth.groups:
        for channels in group.channels.tolist():
            rough = sum((c % 4) ** 2 for c in channels) + sum(degree**2 for degree in group.degrees)
            expected += [1 / (1 + rough)] * group.coupling.shape[-1]
    frames = molecules(2, [6, 8, 1, 1])
    one, other = plain.design(frames), smooth.design(frames)
    np.testing.assert_allclose(other.energies, one.energies * np.tile(expected, 3), rtol=1e-12)
    np.testing.assert_allclose(other.forces, one.forces * np.tile(expected, 3), rtol=1e-12)


@pytest.mark.parametrize(
    ("n_species", "kept"),
    [
        *((1, Truncation(5, 2, 4)), (2, Truncation(4, 1, 4)), (3, Truncation(3, 3, 3)), (2, Truncation(8, 0, 2))),
        *((2, Truncation(9, 4, 4, (8, 8, 6, 4))), (3, Truncation(4, 6, 3, (5, 9, 7)))),
    ],
)
def test_size_is_known_before_features_are_listed(n_species: int, kept: Truncation) -> None:
    """Exactly where no two factors can be equal, as with one factor; else a little above."""
    exact = sum(group.size for group in basis(n_species, kept))
    assert exact <= most_features(n_species, kept) < 1.6 * exact
    first = kept.n_radial if kept.degrees is None else min(kept.n_radial, kept.degrees[0] + 1)
    assert most_features(n_species, replace(kept, nu=1)) == n_species * first


def test_refuses_more_than_memory_before_features_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten million features of an atom would take minutes to list."""
    ace = Ace(config(4, 3, n_radial=32, cutoff=5.0), ELEMENTS)
    frames = molecules(40, [6, 8, 1, 1])
    monkeypatch.setattr("experiments.core.machine_memory.memory_limit", lambda: 2.0**32)
    with pytest.raises(
        InputError,
        match=r"^P=40: 520 labels and \d+ coefficients: needs about .* accepted: a smaller nu or sm",
    ):
        ace.accept(frames, frames)
    assert "groups" not in vars(ace)


def test_one_and_two_factors_keep_all_radial_pairs() -> None:
    # 3 elements × 3 radial functions = 9 channels; 9·10/2 unordered pairs for each degree
    assert model(1, 3).per_element == 9
    assert model(2, 3).per_element == 9 + 4 * 45


@pytest.mark.parametrize(("nu", "lmax", "n_radial"), [(1, 0, 4), (2, 2, 3), (3, 2, 2), (3, 1, 4)])
def test_features_are_linearly_independent(nu: int, lmax: int, n_radial: int) -> None:
    """A carbon among hydrogens: as many independent energies as features of carbon that see hydrogen."""
    ace = LinearAce(config(nu, lmax, n_radial), (1, 6))
    seen = [(g.channels < n_radial).all(1).repeat_interleave(g.coupling.shape[-1]).numpy() for g in ace.groups]
    columns = np.flatnonzero(np.concatenate(seen)) + ace.per_element
    energies = ace.design(molecules(2 * len(columns), [6, *[1] * 6])).energies[:, columns]
    energies = energies / np.sqrt((energies**2).mean(0))
    singular = np.linalg.svd(energies, compute_uv=False)
    # 3e-3 to 0.3 here; a copy would give 1e-16
    assert singular[-1] > 1e-4 * singular[0]


@pytest.mark.parametrize(("nu", "lmax"), CELLS)
def test_prediction_is_the_design_matrix_times_coefficients(nu: int, lmax: int) -> None:
    ace, frames = model(nu, lmax), molecules(5, [6, 8, 1, 1, 6])
    design, w = ace.design(frames), coefficients(ace)
    predicted = ace.predict(w, frames)
    np.testing.assert_allclose(design.energies @ w, predicted.energies, atol=ROUND_OFF)
    np.testing.assert_allclose(design.forces @ w, predicted.forces.reshape(5, -1), atol=ROUND_OFF)


@pytest.mark.parametrize(
    ("nu", "lmax", "degree"), [(3, 2, None), (4, 1, None), (4, 2, None), (3, 4, (5, 8, 6)), (4, 3, (2, 6, 5, 4))]
)
def test_design_matrix_is_that_of_plain_sums(nu: int, lmax: int, degree: tuple[int, ...] | None) -> None:
    """Every feature from sums over neighbours and one product of all factors, its forces by automatic differentiation;
    harmonics from e3nn."""
    elements = (1, 6)
    ace = LinearAce(AceConfig(nu=nu, edge_lmax=lmax, n_radial=2, cutoff=4.0, degree=degree), elements)
    frames = molecules(1, [6, 1, 1])
    x = torch.tensor(frames.positions[0], requires_grad=True)
    energies = [[torch.zeros((), dtype=torch.float64)] * ace.per_element for _ in elements]
    for i, centre in enumerate(frames.numbers[0]):
        density = torch.zeros(len(elements) * 2, (ace.lmax + 1) ** 2, dtype=torch.float64)
        for j, z in enumerate(frames.numbers[0]):
            away = x[j] - x[i]
            if j != i and away.norm() < 4.0:
                y = o3.spherical_harmonics(list(range(ace.lmax + 1)), away, True, "component")
                radial = radial_functions(away.norm(), 4.0, 2, ace.config.stretch)
                rows = torch.zeros(len(elements), dtype=torch.float64)
                rows[elements.index(int(z))] = 1.0
                density = density + torch.kron(rows, radial)[:, None] * y
        column = 0
        for group in ace.groups:
            for channels in group.channels.tolist():
                product = group.coupling
                for channel, own_l in zip(channels, group.degrees, strict=True):
                    product = torch.tensordot(density[channel, own_l**2 : (own_l + 1) ** 2], product, 1)
                for value in product:
                    own = energies[elements.index(int(centre))]
                    own[column] = own[column] + value
                    column += 1
        assert column == ace.per_element
    plain = torch.stack([value for own in energies for value in own]) * torch.as_tensor(ace.scales)
    design = ace.design(frames)
    np.testing.assert_allclose(design.energies[0], plain.detach().numpy(), atol=ROUND_OFF)
    some = np.random.default_rng(0).choice(ace.size, size=min(40, ace.size), replace=False)
    for m in some:
        slope = torch.zeros_like(x)
        if plain[m].requires_grad:
            (slope,) = torch.autograd.grad(plain[m], x, retain_graph=True)
        np.testing.assert_allclose(design.forces[0, :, m], -slope.flatten().numpy(), atol=ROUND_OFF)


def test_four_factors_span_the_products_of_dot_products() -> None:
    """Of four vectors a, b, c, d: (a·b)(c·d), its two siblings and nothing else are of degree 1 in each."""
    groups = [g for g in basis(4, Truncation(1, 1, 4)) if g.degrees == (1, 1, 1, 1)]
    (coupling,) = [g.coupling for g in groups for row in g.channels.tolist() if len(set(row)) == 4]
    eye = torch.eye(3, dtype=torch.float64)
    known = torch.stack([torch.einsum(f"{pairs}->ijkl", eye, eye) for pairs in ("ij,kl", "ik,jl", "il,jk")])
    both = torch.cat([coupling.flatten(0, -2), known.flatten(1).T], 1)
    assert coupling.shape[-1] == 3
    assert int(torch.linalg.matrix_rank(both, atol=1e-9)) == 3


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize(("nu", "lmax"), CELLS)
def test_forces_are_minus_the_gradient(nu: int, lmax: int, periodic: bool) -> None:
    ace, frames = model(nu, lmax), molecules(1, [6, 8, 1, 1])
    if periodic:  # edges to images, of an atom to itself too
        cell = np.array([[3.5, 0.2, 0], [0, 3.7, 0.3], [0.1, 0, 9.0]])
        frames = replace(frames, cells=cell[None], pbc=np.array([[True, True, False]]))
    w, step = coefficients(ace), 1e-4
    shifts = np.eye(12).reshape(12, 4, 3) * step

    def energies(sign: int) -> Floats:
        moved = [replace(frames, positions=frames.positions + sign * shift) for shift in shifts]
        return np.array([ace.predict(w, m).energies[0] for m in moved])

    numeric = -(energies(1) - energies(-1)) / (2 * step)
    exact = ace.predict(w, frames).forces.ravel()
    # error of central differences: step²/6 × third derivative (≲ 1e3 × force) = 2e-6 of the largest force
    np.testing.assert_allclose(numeric, exact, atol=1e-5 * np.abs(exact).max())
    assert np.abs(exact).max() > 0.1
    np.testing.assert_allclose(ace.design(frames).forces @ w, exact.reshape(1, 12), atol=ROUND_OFF)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), cell=st.sampled_from(CELLS), inverted=st.booleans())
def test_symmetries(seed: int, cell: tuple[int, int], inverted: bool) -> None:
    """Energies do not change under rotation, inversion, translation and relabelling; forces rotate with the frame."""
    ace, frames = model(*cell), molecules(1, [6, 8, 1, 1, 1], seed)
    rng = np.random.default_rng(seed)
    rotation = Rotation.random(random_state=rng).as_matrix() * (-1 if inverted else 1)
    order = rng.permutation(5)
    moved = replace(
        frames,
        positions=(frames.positions @ rotation.T + rng.normal(size=3) * 5)[:, order],
        numbers=frames.numbers[:, order],
    )
    w = coefficients(ace)
    here, there = ace.predict(w, frames), ace.predict(w, moved)
    scale = 1 + np.abs(here.forces).max() + np.abs(here.energies).max()
    np.testing.assert_allclose(there.energies, here.energies, atol=ROUND_OFF * scale)
    np.testing.assert_allclose(there.forces, (here.forces @ rotation.T)[:, order], atol=ROUND_OFF * scale)
    np.testing.assert_allclose(here.forces.sum(1), 0, atol=ROUND_OFF * scale)


@pytest.mark.parametrize(("nu", "lmax"), CELLS)
def test_smooth_at_the_cutoff(nu: int, lmax: int) -> None:
    """Two atoms at distance cutoff − δ: A falls as δ⁴ (δ³ of the envelope, δ of the Bessel functions), and F as δ³."""
    ace, w = model(nu, lmax), coefficients(model(nu, lmax))
    found = {}
    for gap in (1e-2, 5e-3, -1e-3):
        frames = molecules(1, [6, 1])
        frames.positions[0] = np.array([[0, 0, 0], [0, 0, 4.0 - gap]])
        found[gap] = ace.predict(w, frames)
    assert found[-1e-3].energies[0] == 0.0
    assert not found[-1e-3].forces.any()
    # a power of δ would halve exactly; the next order changes the ratio by about δ/cutoff × 10
    assert found[1e-2].energies[0] / found[5e-3].energies[0] == pytest.approx(16, rel=0.1)
    assert found[1e-2].forces[0, 0, 2] / found[5e-3].forces[0, 0, 2] == pytest.approx(8, rel=0.1)


def test_two_factors_see_angles_only_with_edge_order() -> None:
    """Neighbours on a sphere: with scalar edges every arrangement of them looks the same to the centre."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(6, 4, 3))
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    frames = molecules(6, [6, 1, 1, 1, 1])
    frames.positions[:] = np.concatenate([np.zeros((6, 1, 3)), directions], 1)
    bonds = np.array([[0, 1], [0, 2], [0, 3], [0, 4]])
    frames = replace(frames, bonds=bonds)
    for nu, lmax, varies in ((1, 3, False), (2, 0, False), (3, 0, False), (2, 1, True)):
        energies = model(nu, lmax).design(frames).energies
        assert (np.ptp(energies, axis=0).max() > 1e-3) == varies


def test_one_factor_does_not_depend_on_the_edge_order() -> None:
    frames = molecules(3, [6, 8, 1, 1])
    np.testing.assert_array_equal(model(1, 0).design(frames).forces, model(1, 3).design(frames).forces)


@pytest.mark.parametrize(("nu", "lmax"), [(2, 2), (3, 1)])
def test_padding_mixed_compositions_and_chunks(nu: int, lmax: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame gives the same rows alone, padded, among others, and whatever the size of the chunks."""
    ace = model(nu, lmax)
    big, small = molecules(3, [6, 8, 1, 1]), molecules(3, [8, 1, 1], 1)
    pad = [(0, 0), (0, 1)]
    padded = replace(
        small,
        numbers=np.pad(small.numbers, pad),
        positions=np.pad(small.positions, [*pad, (0, 0)], constant_values=0.3),
        forces=np.pad(small.forces, [*pad, (0, 0)]),
    )
    fields = ("numbers", "positions", "energies", "forces", "cells", "pbc")
    mixed = Frames(
        *(np.stack([getattr(part, name) for part in (big, padded)], 1).reshape(6, *getattr(big, name).shape[1:])
          for name in fields)
    )  # fmt: skip
    design = ace.design(mixed)
    alone = ace.design(big), ace.design(small)
    np.testing.assert_allclose(design.energies[::2], alone[0].energies, atol=ROUND_OFF)
    np.testing.assert_allclose(design.forces[::2], alone[0].forces, atol=ROUND_OFF)
    np.testing.assert_allclose(design.energies[1::2], alone[1].energies, atol=ROUND_OFF)
    np.testing.assert_allclose(design.forces[1::2, :9], alone[1].forces, atol=ROUND_OFF)
    assert not design.forces[1::2, 9:].any()
    w = coefficients(ace)
    np.testing.assert_allclose(ace.predict(w, mixed).forces.reshape(6, -1), design.forces @ w, atol=ROUND_OFF)
    monkeypatch.setattr("experiments.regression.ace._CHUNK_BYTES", 1)
    assert len(list(ace.chunks(mixed, None))) == 6
    np.testing.assert_allclose(ace.design(mixed).forces, design.forces, atol=ROUND_OFF)
    np.testing.assert_allclose(ace.predict(w, mixed).energies, design.energies @ w, atol=ROUND_OFF)


def test_atoms_without_neighbours() -> None:
    frames = molecules(1, [6, 1])
    frames.positions[0, 1] = 100.0
    design = model(2, 2).design(frames)
    assert not design.energies.any()
    assert not design.forces.any()
    assert not model(2, 2).predict(coefficients(model(2, 2)), frames).forces.any()


def test_forces_of_stretched_functions_are_minus_the_gradient() -> None:
    ace, frames = LinearAce(replace(config(2, 2), stretch=0.5), ELEMENTS), molecules(1, [6, 8, 1, 1])
    w, step = coefficients(ace), 1e-4
    exact = ace.predict(w, frames).forces.ravel()
    moved = frames.positions + np.concatenate([step * np.eye(12), -step * np.eye(12)]).reshape(24, 1, 4, 3)
    energies = np.array([ace.predict(w, replace(frames, positions=one)).energies[0] for one in moved])
    # error of central differences: step²/6 × third derivative (≲ 1e3 × force) = 2e-6 of the largest force
    np.testing.assert_allclose((energies[12:] - energies[:12]) / (2 * step), exact, atol=1e-5 * np.abs(exact).max())
    np.testing.assert_allclose(ace.design(frames).forces @ w, exact.reshape(1, 12), atol=ROUND_OFF)


def test_refuses_unknown_elements_and_bad_positions() -> None:
    with pytest.raises(InputError, match="atomic number 7 is not among"):
        model(1, 0).design(molecules(1, [7, 1]))
    frames = molecules(2, [6, 1])
    frames.positions[1, 0, 2] = np.nan
    with pytest.raises(InputError, match="frame 1, atom 0: its position is not finite"):
        model(1, 0).predict(np.zeros(model(1, 0).size), frames)
