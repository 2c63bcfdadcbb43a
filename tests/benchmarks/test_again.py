"""Committed tables are computed again: one seed, from nothing, in closed form; digits that differ are told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.results import __main__ as results
from benchmarks.results import merged_table
from benchmarks.results.outstanding import Place, compute
from benchmarks.results.sections import SECTIONS

SECTION = "nequip_ethanol_small"
TINY = "+sweep=nequip_linear L=0,1 P=4,8 seed=0,1 model.channels=4 data.test_frames=20"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A section of eight small runs, computed."""
    folder = tmp_path_factory.mktemp("results")
    place = Place(folder / "tables", folder / "stores", quick=True)
    with pytest.MonkeyPatch.context() as changed:
        changed.setitem(SECTIONS, SECTION, replace(SECTIONS[SECTION], quick=(TINY,)))
        compute(SECTION, place, 1)
        yield place


def again(place: Place, seed: int, section: str = SECTION) -> int:
    return results.main([section, "--quick", "--workers", "1", "--out", str(place.tables), "--again", str(seed)])


def test_errors_come_again(table: Place, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in table.tables.rglob("*") if path.is_file()}
    assert again(table, 1) == 0
    own = merged_table.read(table.table(SECTION))
    own = own[own["seed"] == "1"]
    told = capsys.readouterr().out
    # one computation twice, on one machine
    assert f"{SECTION}: {own['run_id'].nunique()} runs computed again, {len(own)} errors: every digit the same" in told
    assert {path: path.read_bytes() for path in table.tables.rglob("*") if path.is_file()} == before


def test_a_table_that_says_otherwise_is_told(table: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = merged_table.read(table.table(SECTION))
    wrong = own.index[(own["seed"] == "0") & (own["metric"] == "force_mae") & (own["L"] == "1")][0]
    own.loc[wrong, "error"] = repr(1.002 * float(own.loc[wrong, "error"]))
    place = Place(tmp_path, tmp_path / "none", quick=True)
    place.table(SECTION).parent.mkdir(parents=True)
    own.to_csv(place.table(SECTION), index=False)
    assert again(place, 0) == 1
    out, err = capsys.readouterr()
    assert f"up to 2.0e-03 (force_mae, linearised NequIP L=1 edge 1, P = {own.loc[wrong, 'P']})" in out
    assert f"{SECTION}: errors differ from the table's by more than 0.001" in err


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, "its table has no run with seed 77"),
        ({"run_id": "0"}, "its table has no run on the frames that are here"),
    ],
)
def test_what_cannot_be_computed_again_is_skipped(
    table: Place, tmp_path: Path, change: dict[str, str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own: pd.DataFrame = merged_table.read(table.table(SECTION)).assign(**change)
    place = Place(tmp_path, tmp_path / "none", quick=True)
    place.table(SECTION).parent.mkdir(parents=True)
    own.to_csv(place.table(SECTION), index=False)
    assert again(place, 77) == 0
    assert f"skipped {SECTION}: {reason}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("trained_ethanol_pbe", "its networks are trained"),
        ("statements", "it has no runs of its own"),
        (SECTION, "it has no table yet"),
    ],
)
def test_what_has_no_fits_in_closed_form_is_skipped(name: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert results.main([name, "--again", "0"]) == 0
    assert f"skipped {name}: {reason}" in capsys.readouterr().out


@pytest.mark.parametrize("other", ["--list", "--pages"])
def test_again_is_refused_with_what_computes_nothing(other: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert results.main([SECTION, "--again", "0", other]) == 2
    assert f"--again with {other}: accepted is one of them" in capsys.readouterr().err
