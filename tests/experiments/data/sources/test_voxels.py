"""Densities of isomers: balanced, nested, with labels invariant to rotations; other molecules are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from experiments.core.errors import InputError
from experiments.data.dataset import Dataset, Frames
from experiments.data.load import load_any
from experiments.data.sampling.molecule import find_molecule
from experiments.data.sources import voxels
from experiments.data.sources.voxels import HEIGHT, VoxelsConfig
from experiments.data.sources.xtb import XtbConfig
from experiments.data.splits import subset

ISOMERS = ("ethanol", "dimethyl_ether")
SMALL = VoxelsConfig(molecules=ISOMERS, side=8, spacing=0.8, pool=21, holdout=4, test=6, walkers=3)


def frames(name: str, count: int, seed: int) -> Frames:
    molecule = find_molecule(name)
    rng = np.random.default_rng(seed)
    positions = molecule.positions + 0.02 * rng.standard_normal((count, *molecule.positions.shape))
    return Frames(
        numbers=np.tile(molecule.numbers, (count, 1)),
        positions=positions,
        energies=-10.0 * len(name) - np.arange(count, dtype=np.float64),
        forces=np.zeros_like(positions),
        cells=np.zeros((count, 3, 3)),
        pbc=np.zeros((count, 3), bool),
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[XtbConfig]:
    """Replace generation by frames about the minima; return the settings it is called with."""
    found: list[XtbConfig] = []

    def xtb(config: XtbConfig) -> Dataset:
        found.append(config)
        pool, holdout, test = (
            frames(config.molecule, count, seed)
            for seed, count in enumerate((config.pool, config.holdout, config.test))
        )
        return Dataset(config.molecule, pool, holdout, test, isolated_energies=None, disjoint_seeds=5, provenance={})

    monkeypatch.setattr(voxels, "xtb", xtb)
    return found


def test_every_beginning_holds_as_many_of_each(asked: list[XtbConfig]) -> None:
    found = voxels.voxels(SMALL)
    assert [(c.molecule, c.pool, c.holdout, c.test, c.walkers) for c in asked] == [
        ("ethanol", 11, 2, 3, 3), ("dimethyl_ether", 10, 2, 3, 3)
    ]  # fmt: skip
    assert found.n_classes == 2
    assert found.pool.inputs.shape == (21, 3, 8, 8, 8)  # H, C, O
    for length in range(2, 22):
        counts = np.bincount(found.pool.labels[:length])
        assert abs(counts[0] - counts[1]) <= 1
    smaller, larger = (set(subset(21, P, 0, 1).tolist()) for P in (4, 12))
    assert smaller < larger


def test_both_targets_see_the_same_densities(asked: list[XtbConfig]) -> None:
    classes, energies = (voxels.voxels(replace(SMALL, target=target)) for target in ("molecule", "energy"))
    np.testing.assert_array_equal(classes.pool.inputs, energies.pool.inputs)
    assert energies.n_classes is None
    assert energies.unit == "eV/atom"
    expected = [(-10.0 * len(ISOMERS[i % 2]) - i // 2) / 9 for i in range(21)]  # nine atoms
    np.testing.assert_allclose(energies.pool.labels, expected)


def test_composition_tells_isomers_nothing(asked: list[XtbConfig]) -> None:
    """The integral of each channel is that of its atoms: the same for both but for what the grid cuts and rounds."""
    found = voxels.voxels(replace(SMALL, side=16, spacing=0.6)).pool
    whole = (2 * np.pi) ** 1.5 * 0.5**3 * HEIGHT / 0.6**3
    sums = found.inputs.sum((2, 3, 4)) / whole
    np.testing.assert_allclose(sums, np.tile([6.0, 2.0, 1.0], (21, 1)), rtol=2e-3)


def test_each_frame_is_turned_by_its_own_rotation(asked: list[XtbConfig]) -> None:
    still = voxels.voxels(replace(SMALL, turned=False)).pool.inputs
    turned, again, other = (voxels.voxels(replace(SMALL, seed=seed)).pool.inputs for seed in (0, 0, 1))
    np.testing.assert_array_equal(turned, again)
    assert np.abs(turned - other).max() > 1.0
    # frames of one molecule are alike as they are, and unlike once turned
    assert np.abs(still[0] - still[2]).max() < 0.3 * np.abs(turned[0] - turned[2]).max()


def test_noise_is_white_and_of_its_size_whatever_else(asked: list[XtbConfig]) -> None:
    for turned in (True, False):
        clean, noisy = (voxels.voxels(replace(SMALL, turned=turned, noise=noise)).pool.inputs for noise in (0.0, 0.1))
        noise = (noisy - clean) / (0.1 * HEIGHT)
        # 21·3·8³ = 32,256 numbers: their mean and deviation to 1/√n and 1/√2n, at five standard errors
        assert abs(noise.mean()) < 5 / np.sqrt(noise.size)
        assert abs(noise.std() - 1) < 5 / np.sqrt(2 * noise.size)
        flat = noise.reshape(21, -1)
        pairs = np.corrcoef(flat)[np.triu_indices(21, 1)]
        assert np.abs(pairs).max() < 5 / np.sqrt(flat.shape[1]), "no two frames share their noise"
        neighbours = (noise[..., 1:] * noise[..., :-1]).mean()
        assert abs(neighbours) < 5 / np.sqrt(noise[..., 1:].size)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"molecules": ["ethanol", "methanol"]},
            "data.molecules: ethanol is C2H6O and methanol is CH4O; accepted: iso",
        ),
        ({"molecules": ["ethanol"]}, "data: target=molecule: ethanol is the only one; accepted: two molecules or more"),
        ({"molecules": ["ethanol", "ethanol"]}, "data: molecules=['ethanol', 'ethanol']: accepted: at least one mol"),
        ({"molecules": []}, "data: molecules=[]: accepted: at least one molecule, each once"),
        ({"holdout": 1}, "data: holdout=1: accepted: a frame of each of the 2 molecules"),
        ({"noise": -0.1}, "data.noise=-0.1: accepted: a number ≥ 0"),
        ({"target": "size"}, "data.target='size': accepted: molecule | energy"),
    ],
)
def test_bad_input_has_one_line(asked: list[XtbConfig], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        load_any({"source": "voxels", "molecules": list(ISOMERS), **changes})
    assert str(error.value).startswith(message), str(error.value)
    assert asked == [], "nothing is generated for it"


def test_one_molecule_has_energies(asked: list[XtbConfig]) -> None:
    found = voxels.voxels(replace(SMALL, molecules=("ethanol",), target="energy"))
    assert len(found.pool.labels) == 21
