"""Names of any length leave the axes their room and stay within the picture."""

from __future__ import annotations

import warnings
from pathlib import Path

import matplotlib.figure
import numpy as np
import pandas as pd
import pytest

from analysis.curve import curves
from analysis.figures import learning_curves
from analysis.figures.draw_all import draw_all
from analysis.figures.panels import Panel
from analysis.figures.style import folded
from analysis.fits.flags import JudgedFit
from analysis.fits.record import analyse
from analysis.fits.results import Form
from analysis.table import check_table

DATASET = "polyethylene_terephthalate_oligomers_in_explicit_solvent_at_350K_train_split_v3"
MODELS = (
    "my_very_own_message_passing_network_with_attention_v2",
    "my_very_own_message_passing_network_without_attention_v2",
    "a-baseline-with-a-long-descriptive-name-of-smooth-overlap-kernels",
)


@pytest.fixture(scope="module")
def fits() -> list[JudgedFit]:
    rng = np.random.default_rng(0)
    rows: list[dict[str, object]] = [
        {
            "dataset": DATASET,
            "architecture": name,
            "metric": metric,
            "unit": "eV/A",
            "P": P,
            "seed": seed,
            "L": 1 if "without" in name else 0,
            "nu": 3,
            "seconds": 2.0 * P,
            "n_parameters": 1000 * (1 + number),
            "error": float(0.5 * P**-0.5 * np.exp(0.03 * rng.normal())),
        }
        for number, name in enumerate(MODELS)
        for metric in ("force_mae", "energy_mae")
        for P in (8, 16, 32, 64, 128, 256)
        for seed in range(3)
    ]
    return analyse(curves(check_table(pd.DataFrame(rows), "made up")), (Form.POWER, Form.POWER_FLOOR))


def test_axes_keep_their_room_and_names_stay_in_the_picture(
    fits: list[JudgedFit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[str, matplotlib.figure.Figure]] = []
    save = matplotlib.figure.Figure.savefig

    def kept(self: matplotlib.figure.Figure, *arguments: object, **named: object) -> None:
        drawn.append((str(named["format"]), self))
        save(self, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", kept)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "axes sizes collapsed to zero"
        draw_all(fits, tmp_path)
    pictures = [figure for format, figure in drawn if format == "png"]
    assert len(pictures) >= 5
    for picture in pictures:
        width = picture.bbox.width
        columns = max(axes.get_subplotspec().get_gridspec().ncols for axes in picture.axes)  # type: ignore[union-attr]
        for axes in picture.axes:
            assert axes.get_position().width > 0.3 / columns
            box = axes.get_tightbbox()
            assert box is not None
            assert box.x0 >= -1
            assert box.x1 <= width + 1


def test_names_at_the_ends_tell_curves_apart_or_are_left_out(fits: list[JudgedFit]) -> None:
    """Of these models, L alone (0, 1 and 0) would name two curves alike."""
    forces = tuple(item for item in fits if item[0].curve.text("metric") == "force_mae")
    assert learning_curves._ends(Panel("", forces)) == []
    assert list(learning_curves._ends(Panel("", forces[:2]))) == ["L=0", "L=1"]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one two", ["one two"]),
        ("my_own_network_of_atoms", ["my_own_", "network_of_", "atoms"]),
        ("a-b-c d  e", ["a-b-c d  e"]),
        ("0123456789abcdef", ["0123456789a", "bcdef"]),
    ],
)
def test_lines_break_within_names(text: str, lines: list[str]) -> None:
    assert folded(text, 11).split("\n") == lines
