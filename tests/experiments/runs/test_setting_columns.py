"""Settings that tell curves apart are columns of the run table and factors to compare by; closed forms are solved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.cli import main
from experiments.runs.result import _solved
from experiments.runs.store import RunStore
from experiments.runs.table import COLUMNS, run_table
from tests.experiments.finished import configuration, finished


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two curves that differ in the number of radial functions alone."""
    path = tmp_path_factory.mktemp("settings")
    for n_radial in (2, 3):
        for P in (20, 25, 30):  # enough to hold every composition
            for seed in (0, 1):
                finished(configuration(path, "ace", {"P": P, "seed": seed, "model.n_radial": n_radial}))
    return path


def test_every_setting_is_a_column(folder: Path) -> None:
    table = run_table(RunStore(folder / "store"))
    assert tuple(table.columns[: len(COLUMNS)]) == COLUMNS
    assert set(table["model.n_radial"]) == {2, 3}
    assert (table["model.energy_weight"] == 1.0).all()
    assert "model.cutoff" not in table.columns  # it is `cutoff`
    units = table.groupby("metric")["unit"].unique().map(list).to_dict()
    assert units["energy_mae"] == units["energy_rmse"] == ["meV/atom"]
    assert units["force_mae"] == ["meV/Å"]
    assert table["n_atoms"].isna().all()  # its test frames have several sizes


def test_results_of_earlier_versions_give_the_same_table(folder: Path, tmp_path: Path) -> None:
    """They lack the settings, have no number of atoms, and call meV/atom meV."""
    before = run_table(RunStore(folder / "store"))
    earlier = tmp_path / "store"
    for run, result in RunStore(folder / "store").results():
        (earlier / run.id).mkdir(parents=True)
        (earlier / run.id / "config.yaml").write_bytes((run.path / "config.yaml").read_bytes())
        content: dict[str, Any] = json.loads(json.dumps(dict(result)))
        content = {
            k: v for k, v in content.items() if not k.startswith("model.") and k not in ("n_atoms", "loss_weights")
        }
        for name in ("energy_mae", "energy_rmse"):
            content["by_metric"][name]["unit"] = "eV"
        (earlier / run.id / "result.json").write_text(json.dumps(content))
    pd.testing.assert_frame_equal(run_table(RunStore(earlier)), before)


def test_a_setting_is_compared_by_with_or_without_its_section(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for name in ("n_radial", "model.n_radial"):
        assert main(["compare", "--store", str(folder / "store"), "--by", name]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert "n_radial" in said[0]


@pytest.mark.parametrize(
    ("train", "fit", "text"),
    [
        (0.2, {}, "solved in closed form"),
        (0.9, {}, "solved, at its floor: training and test frames err alike"),
        (0.2, {"ridge_at_floor": True}, "solved, at the floor of the arithmetic"),
    ],
)
def test_a_closed_form_is_never_called_converged(train: float, fit: dict[str, bool], text: str) -> None:
    primary = {"train_error": train, "error": 1.0, "mean_error": 5.0, "learned": True}
    assert _solved(primary, {"fit": fit}).startswith(text)
    assert _solved({**primary, "learned": False, "mean_error": 0.5}, {}).endswith(
        "learned nothing: worse than the mean"
    )
