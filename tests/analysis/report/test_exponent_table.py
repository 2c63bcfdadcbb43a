"""Tables of exponents: what they say, and that no text of a run table breaks out of its cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.calibration.synthetic import demo_table
from analysis.cli import main
from analysis.curve import curves
from analysis.fits.flags import JudgedFit
from analysis.fits.record import analyse
from analysis.fits.results import Form
from analysis.report.exponent_table import HEAD, latex, markdown, rows
from analysis.table import check_table
from tests.analysis.tables import papers_table

HOSTILE = r"a|b & 100% $x_1$ <script>\end{tabular} #~^"


@pytest.fixture(scope="module")
def fits() -> list[JudgedFit]:
    return analyse(curves(check_table(demo_table(), "demo")), (Form.POWER, Form.POWER_FLOOR))


def test_every_curve_has_a_row_with_its_exponent(fits: list[JudgedFit]) -> None:
    table_rows = rows(fits)
    assert [row.value for row in table_rows] == [fit.best.beta.value for fit, _ in fits]
    assert {row.model for row in table_rows if row.dataset == "star"} == {
        *("MACE L=0 ν=1 edge 3", "MACE L=1 ν=1 edge 3", "MACE L=0 ν=3 edge 3", "MACE L=0 ν=3 edge 0")
    }
    floored = next(row for row in table_rows if row.form is Form.POWER_FLOOR)
    assert floored.floor.endswith(" meV/Å")


def test_namesakes_are_told_apart() -> None:
    table_rows = rows(analyse(curves(check_table(papers_table(), "papers")), (Form.POWER, Form.POWER_FLOOR)))
    aspirin = [row.model for row in table_rows if row.dataset == "aspirin" and row.metric == "force_mae"]
    assert len(set(aspirin)) == len(aspirin)
    assert "NequIP L=0 edge 0, 512 channels" in aspirin


def test_markdown_is_a_table_with_a_dagger_for_what_has_not_converged(fits: list[JudgedFit]) -> None:
    lines = markdown(fits).splitlines()
    assert lines[0] == "| " + " | ".join(HEAD) + " |"
    assert all(line.count(" | ") == len(HEAD) - 1 for line in lines[: len(fits) + 2])
    assert sum("†" in line for line in lines[: len(fits) + 2]) == 1
    assert "not an exponent to quote" in lines[-1]


def test_latex_needs_no_unicode(fits: list[JudgedFit]) -> None:
    text = latex(fits)
    body = text.partition("\\toprule")[2]
    assert body.isascii()
    assert body.count("\\\\\n") == len(fits) + 1
    assert r"{\textdagger}" in body


def test_hostile_text_stays_in_its_cell() -> None:
    frame = demo_table().query("dataset == 'star'").assign(dataset=HOSTILE)
    fits = analyse(curves(check_table(frame, "demo")), (Form.POWER, Form.POWER_FLOOR))
    pipes = markdown(fits).splitlines()[2]
    assert pipes.replace("\\|", "").count("|") == len(HEAD) + 1
    assert "\\<script\\>" in pipes
    assert latex(fits).count("\\end{tabular}") == 1
    assert r"100\% \$x\_1\$" in latex(fits)
    body = latex(fits).partition("\\midrule\n")[2].partition("\\bottomrule")[0].splitlines()
    assert [line.replace(r"\&", "").count("&") for line in body] == [len(HEAD) - 1] * len(fits)


def test_latex_of_letters_and_signs_beyond_ascii() -> None:
    """pdflatex knows neither subscript digits nor signs such as ∞ as they stand."""
    frame = demo_table().query("dataset == 'star'").assign(dataset="CO₂|∞ Δ é")
    fits = analyse(curves(check_table(frame, "demo")), (Form.POWER,))
    cells = latex(fits).partition("\\midrule\n")[2].splitlines()[0]
    assert cells.isascii()
    assert cells.startswith(r"CO\ensuremath{_2}\textbar{}\ensuremath{\infty} \ensuremath{\Delta} \'e &")


def test_fit_writes_both(tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    demo_table().query("dataset == 'star'").to_csv(table, index=False)
    out = [str(tmp_path / name) for name in ("e.md", "e.tex")]
    assert main(["fit", "--table", str(table), "--forms", "power", "--markdown", out[0], "--latex", out[1]]) == 0
    assert "MACE" in (tmp_path / "e.md").read_text(encoding="utf-8")
    assert "\\midrule" in (tmp_path / "e.tex").read_text(encoding="utf-8")
