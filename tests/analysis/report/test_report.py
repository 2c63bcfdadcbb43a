"""The report: true sentences, health and provenance; nothing from a table becomes markup; one file, equal bytes."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.calibration.synthetic import curve_rows, demo_table
from analysis.cli import main
from analysis.comparisons.claim import STATEMENT
from analysis.curve import curves
from analysis.figures.references import Reference
from analysis.fits.flags import Flag, JudgedFit
from analysis.fits.record import analyse
from analysis.fits.results import Form
from analysis.forecasts.forecast import outlook
from analysis.report import page
from analysis.report.chart import charts, script_json
from analysis.report.health import health
from analysis.report.next_steps import next_steps
from analysis.report.words import FLAG_WORDS, SPOILS, answers, overview, pooled, quotable
from analysis.spelling import display_unit
from analysis.table import check_table
from experiments.core.states import RunState
from tests.analysis.tables import papers_table

MAIN = (Form.POWER, Form.POWER_FLOOR)
HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{DATA}}\u2028&amp;"


def fitted(frame: pd.DataFrame) -> list[JudgedFit]:
    return analyse(curves(check_table(frame, "t")), MAIN)


@pytest.fixture(scope="module")
def demo() -> list[JudgedFit]:
    return fitted(demo_table())


@pytest.fixture(scope="module")
def html(demo: list[JudgedFit]) -> str:
    return page(check_table(demo_table(), "demo"), demo, Path("demo.csv"))


class Elements(HTMLParser):
    """All elements with their attributes, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.shown = ""
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.shown += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def test_overview_counts_what_can_be_quoted(demo: list[JudgedFit]) -> None:
    good = sum(quotable(item) for item in demo)
    assert overview(demo).startswith(f"13 learning curves on 2 datasets: {good} of their exponents can be quoted")
    assert "1 curve had not converged" in overview(demo)


def test_what_has_not_converged_is_never_part_of_a_difference(demo: list[JudgedFit]) -> None:
    ethanol = next(answer for answer in answers(demo) if answer.dataset == "ethanol")
    assert any("Not converged" in text and "ν=3 edge 0" in text for text in ethanol.sentences)
    assert not any("edge 0 to edge 3" in text for text in ethanol.sentences if text.startswith("MACE"))
    assert any("NOT CONVERGED" in text for text in ethanol.further)  # in full, it says so itself


def test_verdicts_of_the_claim_are_those_of_the_test(demo: list[JudgedFit]) -> None:
    """The statement that is judged stands before the verdict."""
    outcomes = {answer.dataset: [str(outcome) for outcome, _ in answer.verdicts] for answer in answers(demo)}
    assert outcomes == {"ethanol": ["undecided"], "star": ["undecided"]}
    for answer in answers(demo):
        assert all(text.startswith(f"The claim that {STATEMENT}, is undecided (") for _, text in answer.verdicts)


def test_differences_are_told_between_neighbours_and_with_their_certainty() -> None:
    fits = fitted(papers_table())
    water = answers(fits)[0]
    steps = [re.findall(r"from (L=\d) to (L=\d)", text) for text in water.sentences]
    assert [step[0] for step in steps if step] == [("L=0", "L=1"), ("L=1", "L=2"), ("L=2", "L=3")]
    assert "rises by 0.2" in water.sentences[1]
    assert "no difference of β is shown" in water.sentences[2]
    aspirin = next(answer for answer in answers(fits) if answer.dataset == "aspirin")
    uncertain = [float(p) for text in aspirin.sentences for p in re.findall(r" rises by [^(]*\(p = ([0-9.]+)", text)]
    assert all(p < 0.05 for p in uncertain)  # after Holm's correction; others only "may rise"
    together = [text for text in pooled(fits) if "over 2 datasets" in text]
    assert any(text.startswith("NequIP") and "from L=0 to L=1 Δβ = 0.2" in text for text in together)


def test_every_flag_is_explained() -> None:
    assert set(FLAG_WORDS) == set(Flag)
    assert set(Flag) > SPOILS


def test_health_finds_holes_and_bad_rows() -> None:
    frame = demo_table().query("dataset == 'star'").reset_index(drop=True)
    frame.loc[3, "error"] = np.nan
    frame = frame.drop(index=[7, 8]).reset_index(drop=True)
    table = check_table(frame, "t", drop_bad=True)
    state = health(analyse(curves(table), MAIN), table)
    first = state.curves[0]
    assert (first.present, first.expected, first.converged) == (22, 25, 22)
    assert first.missing == ("P=128 seed 0", "P=64 seed 1", "P=128 seed 1")
    assert len(state.dropped) == 1
    assert "must be a finite number" in state.dropped[0]


def test_health_has_one_row_for_runs_in_several_metrics() -> None:
    star = demo_table().query("dataset == 'star'").assign(metric="energy_rmse")
    force = star.assign(metric="force_mae", error=2 * star["error"])
    table = check_table(pd.concat([star, force], ignore_index=True), "t")
    by_curve = health(analyse(curves(table), MAIN), table).curves
    assert [(one.metric, one.metrics, one.present) for one in by_curve] == [("force_mae", 2, 25)] * 4
    assert by_curve[0].model == "MACE L=0 ν=1 edge 3"


def test_page_is_one_file_without_network(html: str) -> None:
    elements = Elements(html)
    assert not [a for a in elements.of("link") if not (a.get("href") or "").startswith("data:")]
    assert not elements.of("img") + elements.of("iframe")
    assert not [a for a in elements.of("script") if "src" in a]
    assert "http://" not in html.replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert "https://" not in html
    policy = next(a["content"] for a in elements.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    script = base64.b64encode(hashlib.sha256(elements.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{script}'" in (policy or "")
    assert "unsafe" not in (policy or "")


def test_page_is_the_same_for_the_same_table(html: str, demo: list[JudgedFit]) -> None:
    assert page(check_table(demo_table(), "demo"), demo, Path("elsewhere/demo.csv")) == html


def test_page_says_what_the_fits_say(html: str, demo: list[JudgedFit]) -> None:
    values = [float(value) for value in re.findall(r'<td data-v="([-0-9.e]+)" class="number">', html)]
    assert {fit.best.beta.value for fit, _ in demo} <= set(values)
    assert len(re.findall(r'<span class="state not_converged">not converged</span>', html)) == 2  # exponents, health


def test_forecasts_stand_in_the_page_without_its_script(html: str, demo: list[JudgedFit]) -> None:
    fit, _ = demo[0]
    found = outlook(fit.curve).at(fit.curve.sizes[-1:] * 2)
    _, factor = display_unit(fit.curve.unit)
    values = (float(ends[0]) * factor for ends in (found.median, found.low_95, found.high_95))
    assert '<td class="number">{:.3g} [{:.3g}, {:.3g}]</td>'.format(*values) in html
    for chart in charts(demo):
        for curve in chart["curves"]:
            sizes = [point[0] for point in curve["ahead"]]
            assert sizes == sorted(sizes)
            assert sizes[-1] == pytest.approx(64 * curve["mean"][-1][0])
            assert curve["calibrated"] in (0.0, pytest.approx(8 * curve["mean"][-1][0]))


def test_downloads_are_the_table_and_the_fits(html: str) -> None:
    hrefs = {str(a["download"]): str(a["href"]) for a in Elements(html).of("a") if "download" in a}
    assert set(hrefs) == {"runs.csv", "fits.json", "exponents.md", "exponents.tex"}
    files = {name: base64.b64decode(href.partition("base64,")[2]).decode() for name, href in hrefs.items()}
    again = pd.read_csv(io.StringIO(files["runs.csv"]))
    assert list(again["error"]) == pytest.approx(list(demo_table()["error"]), rel=1e-15)
    assert sum(entry["recommended"] for entry in json.loads(files["fits.json"])) == 13


@pytest.mark.parametrize("column", ["dataset", "architecture", "model_id", "run_id", "code_version", "dataset_sha256"])
def test_hostile_columns_stay_text(column: str) -> None:
    frame = demo_table().query("dataset == 'star'").assign(**{column: HOSTILE})
    check_hostile(frame)


def test_hostile_seeds_and_units_stay_text() -> None:
    frame = demo_table().query("dataset == 'star'").assign(unit=HOSTILE, metric=HOSTILE, test_set=HOSTILE)
    check_hostile(frame.assign(seed=HOSTILE + frame["seed"].astype(str)))


def check_hostile(frame: pd.DataFrame) -> None:
    elements = Elements(page(check_table(frame, "t"), fitted(frame), Path(HOSTILE.replace("/", "|"))))
    assert len(elements.scripts) == 2
    assert "alert" not in elements.scripts[1]
    assert not elements.of("img")
    assert not [attributes for _, attributes in elements.found if any(name.startswith("on") for name in attributes)]
    json.loads(elements.scripts[0])


def test_script_json_has_no_character_that_ends_a_script() -> None:
    script = script_json({"x": HOSTILE})
    assert not set("<>&\u2028\u2029") & set(script)
    assert json.loads(script) == {"x": HOSTILE}


def test_charts_hold_every_run(demo: list[JudgedFit]) -> None:
    drawn: list[dict[str, Any]] = charts(demo)
    points = [point["error"] for chart in drawn for curve in chart["curves"] for point in curve["points"]]
    assert sorted(points) == pytest.approx(sorted(1000 * demo_table()["error"]))
    assert {chart["unit"] for chart in drawn} == {"meV/atom", "meV/Å"}


def test_published_points_stand_in_charts_of_their_frames_alone(demo: list[JudgedFit]) -> None:
    here = Reference(("ethanol",), "", "theirs", 50, "force_mae", 40.0, "meV/Å", "table 1")
    elsewhere = Reference(("water",), "", "others", 50, "force_mae", 40.0, "meV/Å", "table 2")
    drawn: list[dict[str, Any]] = charts(demo, [here, elsewhere])
    marked = [chart for chart in drawn if chart["marks"]]
    assert [chart["title"] for chart in marked] == ["ethanol: Force MAE"]
    assert marked[0]["marks"] == [{"name": "theirs [1]", "points": [[50, 40.0]], "source": "table 1"}]
    assert marked[0]["sources"] == "Black marks: published points, [1] table 1."


def test_a_foreign_table_with_the_required_columns_alone(tmp_path: Path) -> None:
    frame = curve_rows(np.random.default_rng(0), beta=0.5, prefactor=1.0, dataset="a", architecture="b", metric="m")
    table, out = tmp_path / "t.csv", tmp_path / "deep" / "report.html"
    frame[["dataset", "architecture", "metric", "P", "seed", "error"]].to_csv(table, index=False)
    assert main(["report", "--table", str(table), "--out", str(out)]) == 0
    text = Elements(out.read_text(encoding="utf-8")).shown
    assert "For 1 the table does not say" in text
    assert "no checksum in the table" in text
    assert hashlib.sha256(table.read_bytes()).hexdigest() in text


def test_a_table_without_seeds(tmp_path: Path) -> None:
    rows = "".join(f"a,b,m,{p},{p**-0.5}\n" for p in (8, 16, 32, 64))
    (tmp_path / "t.csv").write_text("dataset,architecture,metric,P,error\n" + rows, encoding="utf-8")
    assert main(["report", "--table", str(tmp_path / "t.csv"), "--out", str(tmp_path / "r.html")]) == 0
    text = Elements((tmp_path / "r.html").read_text(encoding="utf-8")).shown
    assert "no seeds" in text
    assert "No exponent here can be quoted" in text


def test_failed_runs_of_a_store_are_in_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import experiments.runs.table
    from experiments.runs.store import RunStore

    monkeypatch.setattr(experiments.runs.table, "run_table", lambda store: demo_table().query("dataset == 'star'"))
    failed = RunStore(tmp_path / "runs").run("0123456789ab")
    failed.create({"P": 16})
    failed.set_state(RunState.FAILED, message="loss <b>diverged</b>")
    RunStore(tmp_path / "runs").run("ba9876543210").create({"P": 32})
    assert main(["report", "--store", str(tmp_path / "runs"), "--out", str(tmp_path / "r.html")]) == 1
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "0123456789ab: loss &lt;b&gt;diverged&lt;/b&gt;" in text
    assert "1 failed runs, 1 queued" in text


def test_the_next_runs_are_named_with_their_hours() -> None:
    rng = np.random.default_rng(0)
    shared: dict[str, Any] = {"dataset": "d", "metric": "force_mae", "device": "cpu", "unit": "eV/A"}
    few = curve_rows(rng, beta=0.5, prefactor=1.0, sizes=(8, 16), n_seeds=2, **shared, architecture="mace", L=0)
    few["seconds"] = few["cpu_seconds"] = 90.0 * few["P"]
    steps = next_steps(fitted(few))
    # a seed of both sizes is 24 · 90 s; two seeds at P = 32 and 64 of a fit in closed form (2 + 4) · 16 · 90 s each
    assert "d, MACE L=0: 1 more seed, about 0.6 core hours." in steps
    assert "d, MACE L=0: add P = 32, 64 (few sizes), about 4.8 core hours." in steps
    good = curve_rows(rng, beta=0.5, prefactor=1.0, n_seeds=5, **shared, architecture="mace", L=0, undertrained=0.2)
    good["seconds"] = 3600.0
    assert any(step.startswith("d, MACE L=0: raise training.max_steps") for step in next_steps(fitted(good)))
    assert "hours" in next_steps(fitted(good))[0]
