"""Linearised networks in the report: side by side with trained ones on the same subsets, else not trained yet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.calibration.synthetic import curve_rows
from analysis.curve import curves
from analysis.fits.flags import JudgedFit
from analysis.fits.record import analyse
from analysis.fits.results import Form
from analysis.report import page
from analysis.report.linearised import not_trained, side_by_side
from analysis.table import check_table

ORDERS = {"nu": 3, "edge_lmax": 3, "n_layers": 2, "cutoff": 5.0, "group": "E(3)"}


def table(**trained: object) -> pd.DataFrame:
    """Linearised MACE of L = 0 and 1, and trained MACE of L = 0 with changes."""
    rng = np.random.default_rng(0)
    shared = {"dataset": "ethanol", "metric": "force_mae", "unit": "meV/Å", "sizes": (8, 16, 32, 64), **ORDERS}
    parts = [
        curve_rows(rng, beta=beta, prefactor=200, **shared, architecture="ntk-mace", L=L, channels=16, model_id=f"l{L}")  # type: ignore[arg-type]
        for L, beta in ((0, 0.6), (1, 0.7))
    ]
    own: dict[str, object] = {"beta": 0.4, "prefactor": 300, **shared, "architecture": "mace", "L": 0, "channels": 32}
    parts.append(curve_rows(rng, **(own | {"model_id": "t", "undertrained": 0.0001} | trained)))  # type: ignore[arg-type]
    return pd.concat(parts, ignore_index=True)


def fitted(frame: pd.DataFrame) -> list[JudgedFit]:
    return analyse(curves(check_table(frame, "t")), (Form.POWER, Form.POWER_FLOOR))


def test_a_table_where_both_exist_on_the_same_subsets() -> None:
    fits = fitted(table(sizes=(16, 32, 64, 128), n_seeds=3))
    (row,) = side_by_side(fits)
    assert (row.model, row.sizes, row.seeds) == ("MACE L=0 ν=3 edge 3", "16–64", "3")
    # 3 seeds of 4 % noise over a factor of 4: 0.02
    assert float(row.linearised.split(" ± ")[0]) == pytest.approx(0.6, abs=0.05)
    assert float(row.trained.split(" ± ")[0]) == pytest.approx(0.4, abs=0.05)
    assert float(row.difference.split(" ± ")[0].replace("−", "-")) == pytest.approx(-0.2, abs=0.07)
    assert "meV/Å" in row.errors
    sentence = not_trained(fits)
    assert sentence.startswith("Not trained yet: linearised MACE on ethanol (L=1 ν=3 edge 3).")
    assert "hypothesis" in sentence


def test_networks_of_one_name_are_told_apart() -> None:
    """The same network trained on frames as they are and on rotated copies: two rows, each with its own setting."""
    frame = table().assign(**{"training.augment": "False"})
    rotated = frame[frame["architecture"] == "mace"].assign(**{"training.augment": "True", "model_id": "r"})
    rotated["error"] *= (rotated["P"] / 8) ** -0.1
    rows = side_by_side(fitted(pd.concat([frame, rotated], ignore_index=True)))
    assert [row.model.partition(", ")[0] for row in rows] == ["MACE L=0 ν=3 edge 3"] * 2
    assert ["augment=" + value in row.model for row, value in zip(rows, ("False", "True"), strict=True)] == [True, True]
    assert rows[1].delta.value == pytest.approx(rows[0].delta.value + 0.1, abs=1e-9)


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": "aspirin"}, {"architecture": "nequip"}, {"n_layers": 3}, {"cutoff": 4.0}, {"nu": 1},
        {"sizes": (128, 256)}, {"metric": "energy_mae"},
    ],
    ids=str,
)  # fmt: skip
def test_other_networks_and_other_subsets_are_not_set_beside(changes: dict[str, object]) -> None:
    fits = fitted(table(**changes))
    assert not side_by_side(fits)
    assert "(L=0 ν=3 edge 3, L=1 ν=3 edge 3)" in not_trained(fits)


def test_the_page_says_it_and_is_silent_without_linearised_networks() -> None:
    frame = table()
    shown = page(check_table(frame, "t"), fitted(frame), Path("t.csv"))
    assert "Linearised and trained networks" in shown
    assert "Not trained yet: linearised MACE on ethanol (L=1" in shown
    assert "β trained" in shown
    plain = frame[frame["architecture"] == "mace"].reset_index(drop=True)
    assert "Linearised" not in page(check_table(plain, "t"), fitted(plain), Path("t.csv"))
