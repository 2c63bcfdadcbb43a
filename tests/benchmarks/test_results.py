"""Pages of docs/results say what the program says of their tables today."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import groups, results
from experiments.core.paths import ROOT

WRITTEN = sorted({path.parent.name for path in results.FOLDER.glob("*/runs.csv")} - {"groups"})
"""Sections; the groups have a page of their own, docs/groups.md."""


def test_every_folder_with_a_table_is_a_section() -> None:
    assert WRITTEN
    assert set(WRITTEN) <= set(results.SECTIONS)


@pytest.mark.parametrize("name", WRITTEN)
def test_page_and_table_agree(name: str) -> None:
    folder = results.FOLDER / name
    assert (folder / "README.md").read_text(encoding="utf-8") == results.page(name, folder / "runs.csv")
    assert (folder / "learning_curves.png").exists()


def test_the_index_lists_every_section_with_a_table() -> None:
    text = (results.FOLDER / "README.md").read_text(encoding="utf-8")
    assert text == results.index()
    assert all(f"({name}/README.md)" in text for name in WRITTEN)


def test_a_section_without_runs_says_what_computes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    assert results.main(["claim_acac"]) == 2
    assert "accepted: --store DIR with the runs of +sweep=claim_linear data=acac" in capsys.readouterr().err


def test_the_page_on_groups_has_the_table_of_its_runs() -> None:
    page = (ROOT / "docs" / "groups.md").read_text(encoding="utf-8")
    assert groups.text_of(groups.TABLE) in page
    assert "perceptron (none)" in page  # networks without a symmetry are there, too


def test_a_missing_table_of_groups_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert groups.main(["--table", str(tmp_path / "no.csv")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
