"""Which curves an answer is about, at the command line and from Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis import cli
from analysis.comparisons.comparison_table import HEAD, comparison_rows
from analysis.errors import InputError
from analysis.fits.selection import main_metrics

METRICS = {"energy_mae": 0.3, "force_mae": 0.6}


@pytest.fixture
def frame() -> pd.DataFrame:
    """Two models on two datasets, one of them with energies alone; noise from a fixed seed."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"dataset": dataset, "architecture": "mace", "L": L, "nu": 3, "metric": metric, "unit": "meV", "P": P}
        | {"seed": seed, "error": 100 * P ** -(beta + 0.2 * L) * np.exp(0.02 * rng.normal())}
        for dataset, metrics in (("ethanol", METRICS), ("qm9", {"energy_mae": 0.3}))
        for metric, beta in metrics.items()
        for L in (0, 1)
        for P in (8, 16, 32, 64)
        for seed in range(3)
    )


def test_main_metric_is_that_of_forces_where_a_dataset_has_them(frame: pd.DataFrame) -> None:
    fits = analysis.fit(frame)
    assert {(fit.curve.text("dataset"), fit.curve.text("metric")) for fit, _ in fits} == {
        ("ethanol", "force_mae"),
        ("qm9", "energy_mae"),
    }
    assert main_metrics(fit.curve for fit, _ in analysis.fit(frame, metric="all")) == {
        "ethanol": "force_mae",
        "qm9": "energy_mae",
    }


def test_numbers_do_not_depend_on_what_is_chosen(frame: pd.DataFrame) -> None:
    """Curves lend each other degrees of freedom, so they are fitted before they are chosen from."""
    whole = analysis.fit(frame, metric="all").to_frame()
    chosen = analysis.fit(frame, dataset="ethanol", model="mace L=1", metric=["force_mae"]).to_frame()
    same = whole[(whole["dataset"] == "ethanol") & (whole["L"] == 1) & (whole["metric"] == "force_mae")]
    pd.testing.assert_frame_equal(chosen.reset_index(drop=True), same.reset_index(drop=True))


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"metric": "force_mea"}, "--metric force_mea: no curve of it; the table has energy_mae, force_mae"),
        ({"dataset": "water"}, "--dataset water: no curve of it; the table has ethanol, qm9"),
        ({"model": "mace L=2"}, "--model mace L=2: no curve of it; the table has MACE L=0 ν=3; MACE L=1 ν=3"),
    ],
)
def test_a_name_that_no_curve_has_is_refused_with_those_that_are_there(
    frame: pd.DataFrame, chosen: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        analysis.fit(frame, **chosen)


def test_python_gives_what_the_commands_print(
    frame: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "runs.csv"
    frame.to_csv(table, index=False)
    assert cli.main(["fit", "--table", str(table), "--dataset", "ethanol"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(repr(analysis.fit(table, dataset="ethanol")))
    assert "also in the table: energy_mae" not in printed  # qm9 shows it as its main one
    assert cli.main(["compare", "--table", str(table), "--model", "nu=3", "--sentence"]) == 0
    sentences = capsys.readouterr().out
    found = analysis.compare(str(table))
    assert [line for line in sentences.splitlines() if line.startswith("β rises")] == found.sentences()
    assert len(found) == 2
    assert cli.main(["compare", "--table", str(table)]) == 0
    assert capsys.readouterr().out.startswith(repr(found))


def test_a_difference_that_is_not_shown_is_not_called_a_rise(frame: pd.DataFrame) -> None:
    alike = frame.assign(error=[100 * p**-0.5 * np.exp(0.1 * np.sin(97 * i)) for i, p in enumerate(frame["P"])])
    for one in comparison_rows(analysis.compare(alike)):
        assert one[HEAD.index("shown")] == "no"


def test_results_show_themselves_in_a_notebook(frame: pd.DataFrame) -> None:
    runs = analysis.load(frame.rename(columns={"error": "MAE"}), columns={"error": "MAE"})
    assert len(runs) == len(frame)
    assert "ethanol, qm9; mace; energy_mae, force_mae; P = 8–64" in repr(runs)
    fits = analysis.fit(runs)
    assert "β (95 %)" in fits._repr_html_()
    assert "shown" in analysis.compare(fits)._repr_html_()
    figure = fits.plot()
    assert sorted(axes.get_title(loc="left") for axes in figure.axes) == ["(a) ethanol", "(b) QM9"]
    assert "energy_mae" in repr(fits.select(dataset="qm9"))
    assert fits[:1].to_frame()["recommended"].all()
    assert len(fits.to_frame(forms=True)) == 2 * len(fits)


def test_claim_from_python_is_that_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    cells = {"A": (0, 1, 3, 0.3), "B": (1, 1, 3, 0.6), "C": (0, 3, 3, 0.6), "D": (0, 3, 0, 0.3)}
    frame = pd.DataFrame(
        {"dataset": "d", "architecture": "mace", "L": L, "nu": nu, "edge_lmax": edge, "metric": "force_mae"}
        | {"P": P, "seed": seed, "error": 100 * P**-beta * np.exp(0.02 * rng.normal())}
        for L, nu, edge, beta in cells.values()
        for P in (8, 16, 32, 64, 128)
        for seed in range(5)
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert cli.main(["claim", "--table", str(tmp_path / "t.csv")]) == 0
    assert capsys.readouterr().out.startswith(repr(analysis.claim(frame)))
