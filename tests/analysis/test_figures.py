"""Figures: every kind is drawn where the table has the data, and the CSV holds what is plotted."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.curve import curves
from analysis.figures import draw_all
from analysis.figures.style import display_unit, looks
from analysis.record import analyse
from analysis.results import Form
from analysis.synthetic import demo_table
from analysis.table import check_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("figures")
    draw_all(analyse(curves(check_table(demo_table(), "demo"))), path)
    return path


@pytest.mark.parametrize("name", ["learning_curves", "learning_curves_force_mae", "exponents", "claim"])
def test_every_figure_comes_in_all_formats(folder: Path, name: str) -> None:
    for suffix, magic in ((".pdf", b"%PDF"), (".svg", b"<?xml"), (".png", b"\x89PNG")):
        assert (folder / (name + suffix)).read_bytes().startswith(magic)
    assert len(pd.read_csv(folder / f"{name}.csv")) > 0


def test_panels_of_the_overview(folder: Path) -> None:
    plotted = pd.read_csv(folder / "learning_curves.csv")
    assert list(dict.fromkeys(plotted["panel"])) == ["(a) ethanol, linear ACE", "(b) star, MACE", "(c) ethanol, MACE"]
    assert set(plotted["kind"]) == {"seed", "mean", "fit", "fit_low", "fit_high", "train_mean"}


def test_exponents_are_those_of_the_fit(folder: Path) -> None:
    plotted = pd.read_csv(folder / "exponents.csv")
    fits = analyse(curves(check_table(demo_table(), "demo")))
    expected = {fit.curve.name: fit.best.beta.value for fit, _ in fits}
    assert dict(zip(plotted["curve"], plotted["beta"], strict=True)) == pytest.approx(expected, rel=1e-12)
    assert (plotted["form"] == Form.POWER_FLOOR).sum() == 4


def test_claim_figure_has_the_verdicts(folder: Path) -> None:
    plotted = pd.read_csv(folder / "claim.csv")
    assert dict(zip(plotted["dataset"], plotted["outcome"], strict=True)) == {"star": "holds", "ethanol": "undecided"}


def test_looks_tell_curves_apart() -> None:
    found = [curve for curve in curves(check_table(demo_table(), "demo")) if curve.text("dataset") == "ethanol"]
    assert len({(look.color, look.marker, str(look.line)) for look in looks(found)}) == len(found)


@pytest.mark.parametrize(
    ("unit", "shown", "factor"),
    [("eV/Å", "meV/Å", 1e3), ("eV/A", "meV/Å", 1e3), ("eV", "meV", 1e3), ("meV/Å", "meV/Å", 1.0), ("", "", 1.0)],
)
def test_units_on_the_axes(unit: str, shown: str, factor: float) -> None:
    assert display_unit(unit) == (shown, factor)
