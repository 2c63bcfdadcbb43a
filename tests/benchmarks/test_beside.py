"""Linearised networks beside trained ones, and architectures beside each other."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.results import __main__ as results
from benchmarks.results import architectures, beside, plateau
from benchmarks.results.outstanding import Place
from benchmarks.results.sections import SECTIONS
from tests.benchmarks.test_results import COMMITTED, WRITTEN


def test_costs_and_frames_needed_stand_beside_each_other() -> None:
    """Every model once; the best needs its own frames, and one that errs more, more of them."""
    lines = architectures.cost_table(COMMITTED.table("mace_acac")).splitlines()[4:]
    rows = {cells[1].strip(): cells[4].strip() for cells in (line.split("|") for line in lines)}
    assert len(rows) == len(lines) == 7
    assert [model for model, frames in rows.items() if frames == "1"] == ["linearised MACE L=2 ν=3 edge 3"]
    assert float(rows["linearised MACE L=0 ν=1 edge 3"].split()[0]) > 1.5
    told = architectures.headline("mace_acac", COMMITTED)
    assert "P = 64 of the best model of every architecture: linearised MACE L=2 ν=3 edge 3 " in told
    assert "; none of them trained yet; " in told
    assert "; trained, stopped by validation, MACE L=0 " in architectures.headline(
        "architectures_ethanol_pbe", COMMITTED
    )
    assert "; trained, stopped by validation, at P = 128 MACE " in architectures.headline("mace_ethanol_pbe", COMMITTED)
    assert not architectures.headline("architectures_ethanol_small", COMMITTED)


@pytest.mark.parametrize("name", [name for name in WRITTEN if SECTIONS[name].linearised])
def test_pages_on_linearised_networks_link_to_trained_ones_or_say_that_there_are_none(name: str) -> None:
    text = (results.FOLDER / name / "README.md").read_text(encoding="utf-8")
    trained = [
        other for other in WRITTEN if SECTIONS[other].part == "trained" and SECTIONS[other].data == SECTIONS[name].data
    ]
    assert [other for other in trained if f"(../{other}/README.md)" not in text] == []
    assert ("**Not trained yet.**" in text) == (not trained)


def test_trained_networks_stand_beside_linearised_ones(tmp_path: Path) -> None:
    """β of both over the common sizes and seeds, and the difference; the rest is said not to be trained yet."""
    place = Place(tmp_path, tmp_path)
    for name in ("claim_ethanol_pbe", "trained_ethanol_pbe"):
        (tmp_path / name).mkdir()
    linear = pd.read_csv(COMMITTED.table("claim_ethanol_pbe"))
    linear.to_csv(place.table("claim_ethanol_pbe"), index=False)
    trained = linear[(linear["nu"] == 3) & (linear["edge_lmax"] == 3)].copy()
    trained["run_id"] += "t"
    trained["model_id"] += "t"
    trained["architecture"], trained["training.max_steps"] = "mace", 4000
    trained["error_stopped"] = trained["error"] * (trained["P"] / 8) ** -0.5
    trained["error"] *= (trained["P"] / 8) ** -0.25  # steeper by a quarter, and by a half if stopped by validation
    trained["error_half_budget"], trained["error_stopped_half_budget"] = trained["error"], trained["error_stopped"]
    trained["n_validation"] = trained["P"] // 4
    trained.to_csv(place.table("trained_ethanol_pbe"), index=False)
    assert "No common sizes" in beside.trained_table("trained_ethanol_pbe", place)  # the page writes what it reads
    plateau.write("trained_ethanol_pbe", place)
    text = beside.trained_table("trained_ethanol_pbe", place)
    rows = [line for line in text.splitlines() if line.startswith("| Ethanol, PBE, ")]
    assert len(rows) == 1
    assert re.search(r"\| 0\.250* ± 0\.0+ \|.*\| 0\.50* ± 0\.0+ \|", rows[0])  # the same for all seeds: no half width
    assert "Not trained yet: " in text
    assert re.search(r" by 0\.50* ± 0\.0+, stopped by", beside.feature_learning("trained_ethanol_pbe", place))
    assert beside.feature_learning("trained_mpnn_ethanol_pbe", place) == ""
