"""Weights of energies beside forces: the default serves cells of any size, and given ones stay what they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.core.errors import InputError
from experiments.data.dataset import Frames
from experiments.models.ace import AceConfig
from experiments.regression import least_squares
from experiments.regression.ace import LinearAce
from experiments.regression.closed_form import Labels
from tests.experiments.finished import finished, molecules

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "rmd17_ethanol"


def frames(*kinds: tuple[int, ...]) -> Frames:
    return molecules(3, kinds, seed=0)


def test_by_default_an_energy_counts_as_one_force_component() -> None:
    """Rows of one size of cell then all have the weight 1; of several sizes, energies of larger cells have less."""
    alike = frames((6, 1, 1, 1))
    labels = Labels.of(alike, np.array([1, 6]), None, None, 1.0)
    np.testing.assert_allclose(labels.energy_weight, 1.0, rtol=1e-15)
    mixed = frames((6, 1, 1, 1), (8, 1))
    own = Labels.of(mixed, np.array([1, 6, 8]), None, None, 1.0)
    atoms = own.counts.sum(1)
    np.testing.assert_allclose(own.energy_weight**2, atoms.mean() / atoms, rtol=1e-14)


def test_a_given_weight_is_that_of_the_energy_per_atom() -> None:
    """Σ over rows is the loss times 3·Σ atoms: w · mean (ΔE/N)² has the row weight √(w · 3 · mean N)/N."""
    mixed = frames((6, 1, 1, 1), (8, 1))
    labels = Labels.of(mixed, np.array([1, 6, 8]), None, 2.0, 1.0)
    atoms = labels.counts.sum(1)
    np.testing.assert_allclose(labels.energy_weight, np.sqrt(2.0 * 3 * atoms.mean()) / atoms, rtol=1e-14)
    with pytest.raises(InputError, match="nothing to fit"):
        Labels.of(mixed, np.array([1, 6, 8]), None, 0.0, 0.0)


def test_for_one_size_of_cell_the_default_is_a_third_of_its_atoms() -> None:
    train = frames((6, 1, 1, 1))
    config = AceConfig(nu=2, edge_lmax=1, n_radial=2, stretch=None)  # does not fit them all but exactly: weights matter
    fits = [least_squares.solve(LinearAce(config, [1, 6]), train, weight, 1.0) for weight in (None, 4 / 3, 1.0)]
    # the same rows to a rounding of their weights
    np.testing.assert_allclose(fits[0].coefficients, fits[1].coefficients, rtol=1e-6, atol=1e-9)
    assert not np.allclose(fits[0].coefficients, fits[2].coefficients, rtol=1e-3)


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no ethanol at {SHARED}")
def test_ethanol_at_the_weight_of_the_first_release(tmp_path: Path) -> None:
    """The run of the first release, by its name and its numbers; by default it is another run with other energies."""
    ethanol = {
        "source": "extxyz", "train": str(SHARED / "train.xyz"), "test": str(SHARED / "test.xyz"), "test_frames": 20
    }  # fmt: skip
    network = {"architecture": "ntk", "of": "mace", "channels": 4, "radial_hidden": [8]}
    runs = [
        finished(
            {"P": 8, "L": 0, "nu": 2, "seed": 0, "training": {}, "device": "cpu", "data": ethanol}
            | {"store": str(tmp_path), "model": {**network, **weight}}
        )
        for weight in ({"energy_weight": 1.0}, {})
    ]
    first, default = (run.result() for run in runs)
    assert first is not None
    assert default is not None
    assert runs[0].id == "808d20b5aab9"
    # least squares amplify round-off: other BLAS kernels move the sixth digit
    assert first["metrics"]["force_mae"] == pytest.approx(0.2789551742657202, rel=1e-5)
    assert first["metrics"]["energy_mae"] == pytest.approx(0.011897743754151535, rel=1e-5)
    assert first["loss_weights"] == {"energy": 1.0, "force": 1.0, "energy_rule": "given"}
    assert default["loss_weights"] == {"energy": 3.0, "force": 1.0, "energy_rule": "atoms"}
    assert default["n_atoms"] == 9
    assert default["metrics"]["energy_mae"] != pytest.approx(first["metrics"]["energy_mae"], rel=1e-4)
