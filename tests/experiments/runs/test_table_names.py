"""Two sets of data never share a name in the run table, unless the user gave it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.runs.store import RunStore
from experiments.runs.table import run_table


def made(store: Path, number: int, sha256: str, data: dict[str, Any]) -> None:
    run = RunStore(store).run(f"{number:012d}")
    run.create({"P": 8, "seed": 0, "data": data})
    metric = {"unit": "eV/Å", "error": 0.1 * number}
    result = {
        "attempt": 1,
        "dataset": "data_train",
        "dataset_sha256": sha256,
        "by_metric": {"force_mae": metric},
        "P": 8,
    }
    (run.path / "result.json").write_text(json.dumps(result))


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ({"source": "extxyz", "name": None}, {"data_train@aaaaaa", "data_train@bbbbbb"}),
        ({"source": "ase_db"}, {"data_train@aaaaaa", "data_train@bbbbbb"}),
        ({"source": "extxyz", "name": "data_train"}, {"data_train"}),
        ({"source": "rmd17"}, {"data_train"}),
    ],
)
def test_files_of_one_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data: dict[str, Any], names: set[str]
) -> None:
    made(tmp_path, 1, "a" * 64, data)
    made(tmp_path, 2, "a" * 64, data)
    assert set(run_table(RunStore(tmp_path))["dataset"]) == {"data_train"}
    made(tmp_path, 3, "b" * 64, data)
    assert set(run_table(RunStore(tmp_path))["dataset"]) == names
    assert ("data_train names 2 different sets of data" in caplog.text) == (len(names) > 1)
