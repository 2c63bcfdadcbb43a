"""Published points: read with their units, shown as marks alone, with their source."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from analysis.cli import main
from analysis.errors import InputError
from analysis.figures.references import PUBLISHED, read_references
from experiments.core.kinds import KINDS
from tests.analysis.tables import papers_table

HEADER = "dataset,model,P,metric,value,unit,source,atoms,second_hand\n"


def points(path: Path, *rows: str) -> Path:
    file = path / "points.csv"
    file.write_text(HEADER + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return file


def test_units_become_those_of_axes(tmp_path: Path) -> None:
    rows = ("aspirin,A,950,energy_mae,2.1,meV/frame,S,21,", "aspirin|rmd17_aspirin,B,50,force_mae,0.04,eV/Å,S,,yes")
    energy, force = read_references(points(tmp_path, *rows))
    assert [energy.value, force.value] == pytest.approx([0.1, 40.0])
    assert [(one.unit, one.second_hand) for one in (energy, force)] == [("meV/atom", False), ("meV/Å", True)]
    assert force.datasets == ("aspirin", "rmd17_aspirin")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("aspirin,A,950,energy_mae,2.1,meV,S,,", r"points.csv, line 2: unit 'meV' of energy_mae; accepted: meV/atom"),
        ("aspirin,A,950,energy_mae,2.1,meV/frame,S,,", r"line 2: unit 'meV/frame' without atoms"),
        ("aspirin,A,950,force_mae,-1,meV/Å,S,,", r"line 2: value is '-1'; accepted: a number > 0"),
        ("aspirin,A,,force_mae,1,meV/Å,S,,", r"line 2: P is ''; accepted: a number > 0"),
    ],
)
def test_rows_that_no_axes_can_hold(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_references(points(tmp_path, row))


def test_a_column_that_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "points.csv"
    file.write_text("dataset,model,P,metric,value,unit\na,b,1,force_mae,1,meV/Å\n", encoding="utf-8")
    with pytest.raises(InputError, match="no column 'source'; a table of published points needs dataset, model"):
        read_references(file)


def test_marks_stand_beside_the_curves_and_change_nothing(tmp_path: Path) -> None:
    """The same fits with and without them; a single P is enough; only axes of the same frames and metric show them."""
    table = papers_table()
    table[table["architecture"].isin(["ace", "krr", "nearest"])].to_csv(tmp_path / "runs.csv", index=False)
    rows = (
        "aspirin,published ACE,1000,force_mae,17.9,meV/Å,Somebody 2021,,yes",
        "aspirin,published KRR,1000,energy_mae,6.1,meV/frame,Somebody 2021,21,",
        "water,elsewhere,1000,force_mae,5,meV/Å,Nobody,,",
    )
    for metric, model, value in (("force_mae", "published ACE ‡", 17.9), ("energy_mae", "published KRR", 6.1 / 21)):
        drawn = []
        for name, more in (("plain", []), ("marked", ["--reference", str(points(tmp_path, *rows))])):
            out = tmp_path / metric / name
            words = ["figures", "--table", str(tmp_path / "runs.csv"), "--metric", metric, "--out", str(out)]
            assert main([*words, *more]) == 0
            of_dataset = out / f"learning_curves_{metric}.csv"  # absent where it would be the same picture
            drawn.append(pd.read_csv(of_dataset if of_dataset.exists() else out / "learning_curves.csv"))
        plain, marked = drawn
        caption = (out / "learning_curves.txt").read_text(encoding="utf-8").replace("\n", " ")
        assert "[1] Somebody 2021" in caption
        assert ("‡ quoted by the source" in caption) == model.endswith("‡")
        shown = marked[marked["kind"] == "published"]
        assert shown[["model", "P", "error", "source"]].values.tolist() == [
            [model, 1000.0, pytest.approx(value), "Somebody 2021"]
        ]
        pd.testing.assert_frame_equal(marked[marked["kind"] != "published"][plain.columns], plain)


def test_the_table_that_comes_with_the_program() -> None:
    """Every point has a source and says how it was seen; its datasets are ones that the program reads."""
    found = read_references(Path("published"))
    assert found
    sets = {name for one in found for name in one.datasets}
    named = {path.stem for path in (PUBLISHED.parents[2] / "conf" / "data").glob("*.yaml")}
    assert sets <= named | set(KINDS)
    for one in found:
        assert one.source, one
        assert one.read, one
        assert one.second_hand or "table" in one.source or re.search(r"github|run on", one.source), one
    assert {one.unit for one in found} == {"meV/atom", "meV/Å"}
    texts = PUBLISHED.read_text(encoding="utf-8")
    assert "Not opened" in texts[: texts.index("\ndataset,")]
