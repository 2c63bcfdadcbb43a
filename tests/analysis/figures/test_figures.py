"""Figures: every kind is drawn where the table has the data, and the CSV holds what is plotted."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from analysis.calibration.synthetic import demo_table
from analysis.curve import curves
from analysis.figures import exponents, learning_curves, panels
from analysis.figures.cost import costs, front
from analysis.figures.cost import draw as draw_costs
from analysis.figures.draw_all import draw_all
from analysis.figures.maps import draw as draw_maps
from analysis.figures.maps import maps
from analysis.figures.nearest import draw as draw_nearest
from analysis.figures.nearest import nearest
from analysis.figures.style import HUES, MARKERS, looks, plain_number, style
from analysis.fits.flags import JudgedFit, misses
from analysis.fits.record import analyse
from analysis.fits.results import Form
from analysis.spelling import display_unit
from analysis.table import check_table
from tests.analysis.tables import papers_distances, papers_table


def test_a_curve_that_bends_is_no_power_law(tmp_path: Path) -> None:
    """It gets no line with an exponent, but its points, joined."""
    rng = np.random.default_rng(0)
    laws: dict[str, Callable[[float], float]] = {"bent": lambda x: -0.25 * x**2, "straight": lambda x: -0.5 * x}
    rows: list[dict[str, object]] = [
        {"dataset": "d", "architecture": name, "metric": "force_mae", "unit": "eV/A", "P": P, "seed": seed}
        | {"error": float(np.exp(law(np.log(P / 8)) + 0.02 * rng.normal()))}
        for name, law in laws.items()
        for P in (8, 16, 32, 64, 128)
        for seed in range(4)
    ]
    fits = analyse(curves(check_table(pd.DataFrame(rows), "made up")), MAIN)
    assert [misses(item) for item in fits] == [True, False]
    draw_all(fits, tmp_path)
    plotted = pd.read_csv(tmp_path / "learning_curves_force_mae.csv")
    kinds = plotted.groupby(plotted["curve"].str.contains("bent"))["kind"].agg(set)
    assert kinds[True] == {"seed", "mean"}
    assert "fit" in kinds[False]


@pytest.mark.parametrize(("share", "last", "named"), [(0.3, 0.3, True), (1e-4, 1e-4, False), (1e-4, 0.3, False)])
def test_the_legend_names_training_errors_where_their_line_is_drawn(share: float, last: float, named: bool) -> None:
    """Errors of interpolating networks are far below the axes, and have no line; nor has a single point."""
    rows = [
        {"dataset": "d", "architecture": "mace", "metric": "force_mae", "unit": "eV/A", "P": P, "seed": seed}
        | {"error": (1 + 0.01 * seed) * P**-0.5, "train_error": (last if P == 64 else share) * P**-0.5}
        for P in (8, 16, 32, 64)
        for seed in range(3)
    ]
    (sheet,) = learning_curves.figure(analyse(curves(check_table(pd.DataFrame(rows), "made up")), MAIN)).axes
    legend = sheet.get_legend() or sheet.figure.legends[0]
    assert any(text.get_text() == "training error" for text in legend.get_texts()) == named


def test_lines_of_namesakes_are_not_those_of_training_errors() -> None:
    """The first after the plain one has dots between its dashes: thin long dashes would look the same."""
    rows = [
        {"dataset": "d", "architecture": "mace", "L": 1, "nu": 1, "metric": "force_mae", "unit": "eV/A"}
        | {"P": P, "seed": 0, "error": P**-0.5, "model_id": name}
        for P in (8, 16, 32)
        for name in "ab"
    ]
    one, other = looks(curves(check_table(pd.DataFrame(rows), "made up")))
    assert one.line == "-"
    assert len(other.line[1]) == 4


MAIN = (Form.POWER, Form.POWER_FLOOR)


@pytest.fixture(scope="module")
def papers() -> list[JudgedFit]:
    return analyse(curves(check_table(papers_table(), "papers")), MAIN)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, papers: list[JudgedFit]) -> Path:
    """Figures of a table that has the data for all of them."""
    path = tmp_path_factory.mktemp("papers")
    draw_all([item for item in papers if item[0].curve.text("dataset") == "aspirin"], path, papers_distances())
    return path


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


@pytest.mark.parametrize("where", ["folder", "drawn"])
def test_every_figure_has_one_caption_beside_it_and_in_its_pictures(where: str, request: pytest.FixtureRequest) -> None:
    for picture in sorted(request.getfixturevalue(where).glob("*.png")):
        caption = " ".join(picture.with_suffix(".txt").read_text(encoding="utf-8").split())
        assert caption.endswith("."), picture
        with Image.open(picture) as opened:
            assert opened.text["Description"] == caption  # type: ignore[attr-defined]  # of PNG alone
        drawing = picture.with_suffix(".svg").read_text(encoding="utf-8")
        assert f"<dc:description>{escape(caption)}</dc:description>" in drawing


def test_costs_of_several_test_sets_are_told_apart(papers: list[JudgedFit]) -> None:
    """By the name of the set, where a dataset has more than one."""
    (fit, judged), *_ = papers
    further = replace(fit, curve=replace(fit.curve, key={**fit.curve.key, "test_set": "hot_600K"}))
    titles = {panel.title for panel in costs([(fit, judged), (further, judged)])}
    assert any("hot 600K" in title for title in titles)
    assert len(titles) == 2
    assert not any("hot" in panel.title for panel in costs([(further, judged)]))


def test_models_of_equally_many_weights_have_no_panel_of_weights(papers: list[JudgedFit]) -> None:
    def panels(ratio: float) -> set[bool]:
        fits = [
            (replace(fit, curve=replace(fit.curve, n_parameters=n)), judged)
            for (fit, judged), n in zip(papers[:2], (1000.0, 1000.0 * ratio), strict=True)
        ]
        return {panel.largest_only for panel in costs(fits)}

    assert True not in panels(1.05)
    assert True in panels(1.5)


def test_panels_of_the_overview(folder: Path) -> None:
    plotted = pd.read_csv(folder / "learning_curves.csv")
    assert list(dict.fromkeys(plotted["panel"])) == ["(a) ethanol, linear ACE", "(b) star, MACE", "(c) ethanol, MACE"]
    assert set(plotted["kind"]) == {"seed", "mean", "fit", "fit_low", "fit_high", "train_mean"}


def test_exponents_are_those_of_the_fit(folder: Path) -> None:
    plotted = pd.read_csv(folder / "exponents.csv")
    plotted = plotted[plotted["kind"] == "model"]
    fits = analyse(curves(check_table(demo_table(), "demo")))
    expected = {fit.curve.name: fit.best.beta.value for fit, _ in fits}
    assert dict(zip(plotted["curve"], plotted["beta"], strict=True)) == pytest.approx(expected, rel=1e-12)
    assert (plotted["form"] == Form.POWER_FLOOR).sum() == 4


def test_claim_figure_has_the_verdicts(folder: Path) -> None:
    plotted = pd.read_csv(folder / "claim.csv")
    assert dict(zip(plotted["dataset"], plotted["outcome"], strict=True)) == {
        "star": "undecided",
        "ethanol": "undecided",
    }


def test_looks_tell_curves_apart() -> None:
    ethanol = [curve for curve in curves(check_table(demo_table(), "demo")) if curve.text("dataset") == "ethanol"]
    assert len({(look.color, look.marker, str(look.line)) for look in looks(ethanol)}) == len(ethanol)


@pytest.mark.parametrize(
    ("unit", "shown", "factor"),
    [("eV/Å", "meV/Å", 1e3), ("eV/A", "meV/Å", 1e3), ("eV", "meV", 1e3), ("meV/Å", "meV/Å", 1.0), ("", "", 1.0)],
)
def test_units_on_the_axes(unit: str, shown: str, factor: float) -> None:
    assert display_unit(unit) == (shown, factor)


@pytest.mark.parametrize(
    "name", ["by_L", "by_nu_and_L", "by_architecture", "by_group", "exponents", "map", "cost", "nearest", "forecast"]
)
def test_figures_of_the_papers(drawn: Path, name: str) -> None:
    """All are drawn, one column wide per panel, with their fonts inside and nothing that dates them."""
    document = (drawn / f"{name}.pdf").read_bytes()
    assert b"/FontFile2" in document  # TrueType, embedded
    assert b"CreationDate" not in document
    svg = (drawn / f"{name}.svg").read_text(encoding="utf-8")
    assert "<text" not in svg  # glyphs are paths: no viewer can replace the font
    points = float(re.findall(r'width="([0-9.]+)pt"', svg)[0])
    assert points / 72 * 25.4 % 85 == pytest.approx(0, abs=0.1) or points / 72 * 25.4 % 85 > 84.9  # mm a column
    assert len(pd.read_csv(drawn / f"{name}.csv")) > 0


def test_nequips_figure_has_every_order_and_both_capacity_controls(papers: list[JudgedFit]) -> None:
    water, aspirin = panels.panels_by_order(papers)
    assert water.names == ("L=0", "L=1", "L=2", "L=3")
    assert aspirin.names[:3] == ("L=0, 64 channels", "L=0, 173 channels", "L=0, 512 channels")
    assert len(set(map(str, looks([fit.curve for fit, _ in aspirin.fits])))) == 6


def test_maces_figure_has_three_panels(papers: list[JudgedFit]) -> None:
    by_order = panels.panels_by_correlation_and_order(papers)
    assert [panel.title for panel in by_order] == ["aspirin, MACE, L=0", "aspirin, MACE, ν=3", "aspirin, MACE, ν=1"]
    assert [panel.names for panel in by_order] == [("ν=1", "ν=2", "ν=3"), *[("L=0", "L=1", "L=2")] * 2]


def test_architectures_stand_by_their_best_model(papers: list[JudgedFit]) -> None:
    (panel,) = panels.panels_by_architecture(papers)
    assert panel.names == ("linear ACE ν=2 edge 3", "MACE L=2 ν=3 edge 3", "NequIP L=3 edge 3", "TFN L=1 edge 1")
    (panel,) = panels.panels_by_group(papers)
    assert [name.partition(":")[0] for name in panel.names] == ["E(3)"] * 3 + ["SE(3)"]
    worse = [
        (replace(fit, curve=replace(fit.curve, error=fit.curve.error * 9)), judgement)
        if fit.curve.text("architecture") == "mace" and fit.curve.number("L") == 2
        else (fit, judgement)
        for fit, judgement in papers
    ]
    (panel,) = panels.panels_by_architecture(worse)
    assert "MACE L=1 ν=3 edge 3" in panel.names


def test_panels_of_several_test_sets_are_named_by_them(papers: list[JudgedFit]) -> None:
    def tested(item: JudgedFit, name: str) -> JudgedFit:
        fit, judgement = item
        return replace(fit, curve=replace(fit.curve, key={**fit.curve.key, "test_set": name})), judgement

    aspirin = [item for item in papers if item[0].curve.text("dataset") == "aspirin"]
    both = [tested(item, name) for item in aspirin for name in ("MD_300K", "MD_600K")]
    for found in (panels.panels_by_architecture(both), panels.panels_by_group(both)):
        assert [panel.title.split(", ")[1] for panel in found] == ["MD 300K", "MD 600K"]
    assert "MD" not in panels.panels_by_architecture(both[::2])[0].title


def test_groups_stand_with_and_without_copies(papers: list[JudgedFit]) -> None:
    """Twins that learn from copies are curves of their own, named by that; who has rivals is said to be the best."""

    def with_copies(item: JudgedFit, copies: int) -> JudgedFit:
        fit, judgement = item
        settings = {**fit.curve.settings, "model.copies": copies}
        return replace(fit, curve=replace(fit.curve, settings=settings)), judgement

    aspirin = [item for item in papers if item[0].curve.text("dataset") == "aspirin"]
    (plain,) = panels.panels_by_group(aspirin)
    assert plain.title.endswith(", the best model of each")
    tfn = [item for item in aspirin if item[0].curve.text("architecture") == "tfn"][:1]
    ace = [item for item in aspirin if item[0].curve.text("architecture") == "ace"][:1]
    (panel,) = panels.panels_by_group([*ace, *(with_copies(tfn[0], copies) for copies in (1, 8))])
    assert "best" not in panel.title
    assert [name.rpartition(", ")[2] for name in panel.names if name.startswith("SE(3)")] == ["copies=1", "copies=8"]


def test_no_arrangement_is_drawn_from_one_kind_of_model(papers: list[JudgedFit]) -> None:
    alone = [item for item in papers if item[0].curve.number("L") == 1 and item[0].curve.text("dataset") == "water"]
    for arrange in (panels.panels_by_order, panels.panels_by_architecture, panels.panels_by_group):
        assert arrange(alone) == []
    assert maps(alone) == []


def test_map_holds_the_exponents_and_the_errors_at_the_largest_common_size(drawn: Path) -> None:
    table = papers_table()
    table = table[(table["architecture"] == "mace")]
    plotted = pd.read_csv(drawn / "map.csv")
    errors = plotted[plotted["kind"] == "error at P=950"].set_index(["L", "nu"])["value"]
    geometric = np.exp(np.log(table[table["P"] == 950].set_index(["L", "nu"])["error"]).groupby(level=[0, 1]).mean())
    assert errors.sort_index().to_dict() == pytest.approx(geometric.sort_index().to_dict())
    assert (plotted["kind"] == "beta").sum() == 9


@given(st.lists(st.tuples(st.floats(1, 100), st.floats(1, 100)), min_size=1, max_size=30))
def test_pareto_front_is_what_nothing_beats(points: list[tuple[float, float]]) -> None:
    spent, error = (np.array(column) for column in zip(*points, strict=True))
    best = front(spent, error)
    assert list(np.diff(error[best]) < 0) == [True] * (len(best) - 1)
    for i in range(len(points)):
        beaten = ((spent <= spent[i]) & (error <= error[i]) & ((spent < spent[i]) | (error < error[i]))).any()
        twin = any(spent[j] == spent[i] and error[j] == error[i] for j in best)
        assert beaten != twin


def test_bounds_in_the_forest_plot_are_those_of_the_measured_dimension(drawn: Path) -> None:
    plotted = pd.read_csv(drawn / "exponents.csv")
    bounds = plotted[(plotted["kind"] == "bound") & plotted["beta"].notna()]  # Lip·δ(P) has no β
    d = estimate_of(papers_distances(), "aligned_rmsd")
    assert sorted(bounds["beta"].unique()) == pytest.approx(sorted([1 / d, 1 / (d + 3)]))


def test_energy_errors_stand_under_the_bound_at_every_size(drawn: Path, papers: list[JudgedFit]) -> None:
    """The curve of Lip·δ(P) is that of the figure `nearest`, and the words beside it are one-sided."""
    plotted, other = pd.read_csv(drawn / "exponents.csv"), pd.read_csv(drawn / "nearest.csv")
    bound = plotted[(plotted["panel"] == "aspirin: Lip·δ(P)") & (plotted["kind"] == "bound")]
    expected = other[(other["panel"] == "(b)") & (other["kind"] == "bound")]
    assert bound["P"].tolist() == expected["P"].tolist()
    assert bound["value"].tolist() == expected["value"].tolist()
    fits = [item for item in papers if item[0].curve.text("dataset") == "aspirin"]
    gaps = papers_distances()
    (energies,) = exponents.collect(fits, gaps).energies
    assert "no errors above Lip·δ(P)" in exponents._sides(energies)
    (energies,) = exponents.collect(fits, gaps.assign(label_gap=gaps["label_gap"] / 100)).energies
    assert "worse than the nearest neighbour can be: " in exponents._sides(energies)


def estimate_of(distances: pd.DataFrame, space: str) -> float:
    """The dimension by an independent route: a straight line through ln of the means over subsets, one by one."""
    part = distances[distances["space"] == space]
    means = part.groupby(["subset_seed", "P"])["d1"].mean().unstack("P")
    slopes = [np.polyfit(np.log(means.columns.to_numpy(float)), np.log(row), 1)[0] for row in means.to_numpy(float)]
    return float(np.mean([-1 / slope for slope in slopes]))


def test_fans_start_at_the_last_point_and_widen(drawn: Path) -> None:
    plotted = pd.read_csv(drawn / "forecast.csv")
    for (_, name), part in plotted.groupby(["panel", "curve"]):
        ahead = part[part["kind"] == "forecast"].sort_values("P")
        last = part.loc[part["kind"] == "measured", "P"].max()
        assert ahead["P"].iloc[0] == pytest.approx(last), name
        assert ahead["P"].iloc[-1] == pytest.approx(8 * last), name
        width = np.log(ahead["high_95"].to_numpy() / ahead["low_95"].to_numpy())
        assert width[-1] > width[0], name


def test_lipschitz_bound_lies_above_the_nearest_neighbour_everywhere(drawn: Path) -> None:
    plotted = pd.read_csv(drawn / "nearest.csv")
    errors = plotted[plotted["panel"] == "(b)"]
    bound, own = (errors[errors["kind"] == kind].set_index("P")["value"] for kind in ("bound", "nearest neighbour"))
    assert (bound > own).all()
    gaps = papers_distances()
    gaps = gaps[gaps["space"] == "aligned_rmsd"]
    assert own.to_dict() == pytest.approx((1000 * gaps.groupby("P")["label_gap"].mean()).to_dict())  # eV → meV
    over = plotted[plotted["panel"] == "(c)"]
    assert over[over["kind"] == "bound"]["value"].to_numpy() == pytest.approx(
        over[over["kind"] == "bound"]["x"].to_numpy() * (bound.iloc[0] / over[over["kind"] == "bound"]["x"].iloc[0])
    )  # a straight line through the origin: Lip·δ over δ


def test_they_are_the_same_bytes_for_the_same_table(drawn: Path, papers: list[JudgedFit], tmp_path: Path) -> None:
    """(The learning curves: test_cli.py, in two processes.)"""
    fits = [item for item in papers if item[0].curve.text("dataset") == "aspirin"]
    written = exponents.draw(exponents.collect(fits, papers_distances()), tmp_path / "exponents")
    written += draw_maps(maps(fits), tmp_path / "map") + draw_costs(costs(fits), tmp_path / "cost")
    written += draw_nearest(nearest(fits, papers_distances()), tmp_path / "nearest")
    assert {path.name: path.read_bytes() == (drawn / path.name).read_bytes() for path in written} == {
        path.name: True for path in written
    }


def test_ticks_read_as_numbers() -> None:
    assert [plain_number(value) for value in (0.5, 200, 5000, 20_000, 3e6)] == ["0.5", "200", "5000", "20k", "3M"]


def test_colours_keep_apart_in_lightness_or_hue() -> None:
    """Okabe and Ito's palette and Tol's: no two hues in use are near each other for a dichromat."""
    for name in ("protanopia", "deuteranopia"):
        seen = [simulated(colour, name) for colour in HUES[:6]]
        least = min(float(np.linalg.norm(a - b)) for i, a in enumerate(seen) for b in seen[:i])
        assert least > 0.12  # in linear RGB; a pair of red and green of equal lightness has some 0.03


def simulated(colour: str, kind: str) -> NDArray[np.float64]:
    """Linear RGB as a dichromat sees it (Viénot, Brettel & Mollon 1999)."""
    to_lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
    lacks = {
        "protanopia": [[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]],
        "deuteranopia": [[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]],
    }
    linear = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]) ** 2.2
    return np.asarray(np.linalg.inv(to_lms) @ np.array(lacks[kind]) @ to_lms @ linear)


@pytest.mark.parametrize("marker", MARKERS)
def test_hollow_markers_look_hollow(marker: str) -> None:
    """Not converged is said by them: of the pixels that a filled one covers, at least a sixth are white in a hollow."""
    with style():
        covered = []
        for face in ("black", "white"):
            figure = Figure(figsize=(0.3, 0.3))
            canvas = FigureCanvasAgg(figure)
            axes = figure.add_axes((0, 0, 1, 1))
            axes.set_axis_off()
            axes.plot([0], [0], marker, color="black", markerfacecolor=face)
            canvas.draw()  # type: ignore[no-untyped-call]
            covered.append(np.asarray(canvas.buffer_rgba())[..., 0] < 128)  # type: ignore[no-untyped-call]
    filled, hollow = covered
    assert (filled & ~hollow).sum() > filled.sum() / 6


def test_all_markers_are_among_those(papers: list[JudgedFit]) -> None:
    keys = [fit.curve for fit, _ in papers]
    drawn = {look.marker for by in ("model", "architecture", "group") for look in looks(keys, by)}
    assert drawn <= set(MARKERS)
    networks = curves(check_table(papers_table().assign(architecture="cnn", L=np.nan, nu=np.nan).head(20), "t"))
    assert {look.marker for look in looks(networks[:1])} <= set(MARKERS)
