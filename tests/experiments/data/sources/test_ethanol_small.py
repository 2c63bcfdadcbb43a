"""The frames that come with the program: as the sampler gives them, labels that recompute, a small file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.core.errors import InputError
from experiments.data.dataset import Dataset
from experiments.data.offline import offline
from experiments.data.sampling import pack_ethanol
from experiments.data.sources import ethanol_small as source
from experiments.data.sources.ethanol_small import PACKED, EthanolSmallConfig, ethanol_small

ENERGY, FORCE = 1e-6, 1e-5
"""eV, eV/Å: how well labels recompute. Measured on the machine that made them: 0 and 2e-7, by the rounding of forces of
up to 5 eV/Å to float32; the rest is for other processors, for tblite's accuracy is set to 1e-6 eV/Å."""


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    with offline():
        return ethanol_small(EthanolSmallConfig())


def test_a_small_file_of_enough_frames(dataset: Dataset) -> None:
    assert PACKED.stat().st_size <= 500_000
    assert (len(dataset.pool), len(dataset.holdout), len(dataset.test)) == (1280, 64, 400)
    every = np.concatenate([part.positions for part in (dataset.pool, dataset.holdout, dataset.test)])
    assert len(np.unique(every.reshape(len(every), -1), axis=0)) == len(every)
    assert dataset.elements() == [1, 6, 8]
    assert set(dataset.isolated_energies or {}) == {1, 6, 8}
    assert dataset.provenance["temperature"] == 500
    assert dataset.provenance["tblite"]


def test_labels_recompute_and_the_command_writes_this_file(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command of the docstring on the packed frames themselves, some of each part."""
    some = {part: getattr(dataset, part).take(slice(0, None, 16)) for part in ("pool", "holdout", "test")}
    blank = {
        part: replace(frames, energies=0 * frames.energies, forces=0 * frames.forces) for part, frames in some.items()
    }
    monkeypatch.setattr(pack_ethanol, "xtb", lambda config: replace(dataset, **blank))
    assert pack_ethanol.main([str(tmp_path / "again.npz")]) == 0
    monkeypatch.setattr(source, "PACKED", tmp_path / "again.npz")
    again = ethanol_small(EthanolSmallConfig())
    for part, frames in some.items():
        found = getattr(again, part)
        np.testing.assert_array_equal(found.positions, frames.positions)
        np.testing.assert_allclose(found.energies, frames.energies, rtol=0, atol=ENERGY)
        np.testing.assert_allclose(found.forces, frames.forces, rtol=0, atol=FORCE)
        assert np.abs(frames.forces).max() > 1
    assert again.isolated_energies == dataset.isolated_energies


def test_a_damaged_file_has_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cut.npz"
    path.write_bytes(PACKED.read_bytes()[:-1000])
    for damaged in (path, tmp_path / "absent.npz"):
        monkeypatch.setattr(source, "PACKED", damaged)
        with pytest.raises(InputError, match=r"npz: not readable .*; accepted: the file as the package has it"):
            ethanol_small(EthanolSmallConfig())
