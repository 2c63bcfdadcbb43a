"""A plan that starts nothing neither downloads nor generates data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.core.errors import InputError
from experiments.data.load import load_any
from experiments.data.offline import DataNotCached, offline
from slurm.launcher import dataset_if_here
from slurm.plan import DataAbsent

SECTIONS: list[dict[str, Any]] = [
    {"source": "rmd17", "molecule": "aspirin"},
    {"source": "water"},
    {"source": "xtb", "molecule": "methanol"},
    {"source": "jets"},
]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section["source"])
def test_nothing_is_acquired(section: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQUILAW_DATA", str(tmp_path / "data"))
    with pytest.raises(DataNotCached, match="yet; it will be when the sweep starts"), offline():
        load_any(section)
    with pytest.raises(DataAbsent):
        dataset_if_here(section)
    assert not (tmp_path / "data").exists()


def test_a_file_that_cannot_be_read_stays_a_mistake(tmp_path: Path) -> None:
    section = {"source": "extxyz", "train": str(tmp_path / "no.xyz"), "test": str(tmp_path / "no.xyz")}
    with pytest.raises(InputError) as error:
        dataset_if_here(section)
    assert not isinstance(error.value, (DataAbsent, DataNotCached))
