"""The report in a real headless Chromium without network: no errors, controls that work, readable and accessible."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from analysis.calibration.synthetic import demo_table
from analysis.curve import curves
from analysis.figures.references import Reference
from analysis.fits.record import analyse
from analysis.fits.results import Form
from analysis.report import page
from analysis.table import check_table
from tests.analysis.report.browser import chromium
from tests.analysis.report.test_report import HOSTILE

pytestmark = pytest.mark.long
PHONE, DESKTOP = (360, 740), (1280, 900)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the demo's table with run names, and one dataset whose name is an attack."""
    frame = demo_table()
    frame["run_id"] = [f"run{index}" for index in range(len(frame))]
    frame["dataset"] = frame["dataset"].replace({"star": HOSTILE})
    table = check_table(frame, "demo")
    html = page(table, analyse(curves(table), (Form.POWER, Form.POWER_FLOOR)), Path("demo.csv"))
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html, encoding="utf-8")
    return path.as_uri()


def opened(browser: Any, address: str, size: tuple[int, int]) -> Any:
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(address)
    assert browser.find_element("css selector", "#plot svg").is_displayed()
    return browser


def texts(browser: Any, selector: str) -> list[str]:
    return [element.text for element in browser.find_elements("css selector", selector)]


def points(browser: Any) -> int:
    return int(browser.find_element("css selector", "#plot svg").get_attribute("data-points"))


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_loads_without_errors_and_fits_the_width(browser: Any, address: str, size: tuple[int, int]) -> None:
    opened(browser, address, size)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= size[0]
    assert browser.execute_script("return window.alerted") is None
    # Nothing that is to be read is smaller than 12 px or runs out of the chart.
    sizes = "return [...document.querySelectorAll('p,li,td,th,button,label,#plot text')].map(e => %s)"
    assert min(browser.execute_script(sizes % "parseFloat(getComputedStyle(e).fontSize)")) >= 12
    inside = """const frame = document.querySelector('#plot svg').getBoundingClientRect();
        return [...document.querySelectorAll('#plot text')].every(e => {
          const box = e.getBoundingClientRect();
          return box.left >= frame.left - 1 && box.right <= frame.right + 1 && box.bottom <= frame.bottom + 1; });"""
    assert browser.execute_script(inside)


def test_what_a_table_lacks_has_no_switch(browser: Any, address: str) -> None:
    """No published points were given."""
    opened(browser, address, DESKTOP)
    assert not browser.find_element("css selector", "#published").is_displayed()


def test_architectures_and_curves_can_be_toggled(browser: Any, address: str) -> None:
    opened(browser, address, DESKTOP)
    everything, curves_shown = points(browser), len(texts(browser, "#legend button"))
    assert (everything, curves_shown) == (5 * 6 * 6 + 4 * 4 * 4, 9)  # seeds and their mean, ACE and MACE
    mace = browser.find_elements("css selector", "#architectures input")[1]
    mace.click()
    assert points(browser) == 5 * 6 * 6
    assert len(texts(browser, "#legend button")) == 5
    browser.find_elements("css selector", "#legend button")[0].click()
    assert points(browser) == 4 * 6 * 6
    assert browser.find_elements("css selector", "#legend button")[0].get_attribute("aria-pressed") == "false"
    mace.click()
    browser.find_element("id", "seeds").click()
    assert points(browser) == 4 * 6 + 4 * 4


def test_axes_switch_between_logarithmic_and_linear(browser: Any, address: str) -> None:
    opened(browser, address, DESKTOP)

    def places() -> list[float]:
        drawn = "return [...document.querySelectorAll('#plot text[text-anchor=middle]')].map(e => +e.getAttribute('x'))"
        return [float(x) for x in browser.execute_script(drawn)][:-2]  # without the labels of the axes

    steps = [b - a for a, b in pairwise(places())]
    assert max(steps) - min(steps) < 1  # powers of two lie evenly on a logarithmic axis
    browser.find_element("id", "logx").click()
    browser.find_element("id", "logy").click()
    labels = [float(text) for text in texts(browser, "#plot text[text-anchor=end]")]
    assert len({round(b - a, 6) for a, b in pairwise(labels)}) == 1
    assert browser.get_log("browser") == []


def test_hovering_shows_run_seed_and_error(browser: Any, address: str) -> None:
    from selenium.webdriver import ActionChains

    opened(browser, address, DESKTOP)
    point = browser.find_elements("css selector", "#plot g circle")[0]  # seed 0 of linear ACE at the smallest P
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
    ActionChains(browser).move_to_element(point).perform()
    reading = browser.find_element("id", "reading").text
    assert "linear ACE ν=1 edge 3" in reading
    assert "P = 16" in reading
    # Seeds of one P lie close together: whichever is nearest says who it is, and truly.
    run = re.search(r"run run(\d+)", reading)
    row = demo_table().iloc[int(run[1])] if run else None
    assert row is None or f"seed {row['seed']}, error {1000 * row['error']:.3g}" in reading
    assert run or "mean error" in reading


def test_the_keyboard_reaches_everything(browser: Any, address: str) -> None:
    from selenium.webdriver import ActionChains, Keys

    opened(browser, address, DESKTOP)
    reached = []
    for _ in range(60):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        reached.append(
            browser.execute_script("const e = document.activeElement; return e.id || e.tagName + ':' + e.textContent")
        )
    assert {"which", "logx", "logy", "seeds", "fits", "train"} <= set(reached)
    assert any(name.startswith("svg") for name in reached)
    assert sum(name.startswith("BUTTON:") for name in reached) >= 9 + 9  # legend and headings
    browser.execute_script("document.querySelector('#plot svg').focus()")
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
    first = browser.find_element("id", "reading").text
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
    assert "P = 16" in first
    assert "run run0" in first
    assert "P = 32" in browser.find_element("id", "reading").text


def test_headings_sort_the_table(browser: Any, address: str) -> None:
    opened(browser, address, DESKTOP)
    button = browser.find_elements("css selector", "#table thead button")[2]
    values = "return [...document.querySelectorAll('#table tbody tr')].map(r => +r.cells[2].dataset.v)"
    before = browser.execute_script(values)
    button.click()
    assert browser.execute_script(values) == sorted(before)
    assert button.find_element("xpath", "..").get_attribute("aria-sort") == "ascending"
    button.click()
    assert browser.execute_script(values) == sorted(before, reverse=True)


def test_another_dataset_can_be_chosen_even_one_with_a_hostile_name(browser: Any, address: str) -> None:
    from selenium.webdriver.support.select import Select

    opened(browser, address, DESKTOP)
    which = Select(browser.find_element("id", "which"))
    assert len(which.options) == 2
    which.select_by_index(1)
    assert points(browser) == 4 * 5 * 6
    assert "alert(1)" in browser.find_element("css selector", "#plot svg").get_attribute("aria-label")
    assert browser.get_log("browser") == []


CONTRAST = """
const lin = (c) => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
const lum = ([r, g, b]) => 0.2126 * lin(r) + 0.7152 * lin(g) + 0.0722 * lin(b);
const rgb = (text) => text.match(/[0-9.]+/g).map(Number);
const under = (e) => {
  for (; e; e = e.parentElement) {
    const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c;
  }
  return [255, 255, 255];
};
const silent = ['SCRIPT', 'STYLE', 'NOSCRIPT'];
const speaks = (e) => !silent.includes(e.tagName) && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
return [...document.querySelectorAll('body *')].filter(speaks).map(e => {
  const style = getComputedStyle(e);
  const [a, b] = [lum(rgb(e instanceof SVGElement ? style.fill : style.color)), lum(under(e))];
  return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.tagName + ' ' + e.textContent.slice(0, 30)];
});
"""


def test_text_has_contrast_and_controls_have_names(browser: Any, address: str) -> None:
    opened(browser, address, DESKTOP)
    least = min(browser.execute_script(CONTRAST), key=lambda found: found[0])
    assert least[0] >= 4.5, least  # WCAG 2.1 AA, 1.4.3
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"checkbox", "combobox", "button", "link", "region", "image", "img"}
    controls = [node for node in tree if node.get("role", {}).get("value") in roles and not node.get("ignored")]
    assert len(controls) > 30
    assert [node for node in controls if not node.get("name", {}).get("value")] == []
    assert browser.execute_script("return document.documentElement.lang") == "en"
    levels = browser.execute_script("return [...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    ids = browser.execute_script("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_calculator_gives_errors_and_frames(browser: Any, address: str) -> None:
    page = opened(browser, address, DESKTOP)
    answer = page.find_element("css selector", "#forecast-answer")
    frames, error = (page.find_element("css selector", f"#{name}") for name in ("frames", "error"))
    largest = page.execute_script(
        "return JSON.parse(document.getElementById('data').textContent)[0].curves[0].mean.at(-1)[0]"
    )
    frames.send_keys(str(int(2 * largest)))
    found = re.search(r"frames: error ([\d.]+)", answer.text)
    assert found, answer.text
    error.send_keys(found[1])
    assert frames.get_attribute("value") == ""
    back = re.search(r": ([\d.]+) frames, 95 %", answer.text)
    assert back, answer.text
    frames.send_keys(back[1])
    again = re.search(r"frames: error ([\d.]+)", answer.text)
    assert again, answer.text
    assert float(again[1]) == pytest.approx(float(found[1]), rel=0.01)  # numbers are printed with three digits


def test_calculator_says_what_is_out_of_reach(browser: Any, address: str) -> None:
    """Far below every interval, also where its upper end is level, no number of frames is named but the farthest."""
    page = opened(browser, address, DESKTOP)
    page.find_element("css selector", "#error").send_keys("1e-9")
    answer = page.find_element("css selector", "#forecast-answer").text
    assert re.match(r"Error 1e-9[^:]*: more than \d+ frames(\.|$)", answer), answer


def test_published_points_are_marked_named_and_can_be_hidden(browser: Any, tmp_path: Path) -> None:
    table = check_table(demo_table(), "demo")
    unit, test_set = "meV/Å", ""
    one = Reference(("ethanol",), test_set, "theirs", 50, "force_mae", 40.0, unit, "their table 1")
    fits = analyse(curves(table), (Form.POWER, Form.POWER_FLOOR))
    (tmp_path / "r.html").write_text(page(table, fits, Path("demo.csv"), references=[one]), encoding="utf-8")
    shown = opened(browser, (tmp_path / "r.html").as_uri(), DESKTOP)
    which = shown.find_element("css selector", "#which")
    for option in which.find_elements("css selector", "option"):
        option.click()
        assert ("theirs [1]" in texts(shown, "#legend li")) == (option.text == "ethanol: Force MAE")
    next(o for o in which.find_elements("css selector", "option") if o.text == "ethanol: Force MAE").click()
    assert "[1] their table 1" in shown.find_element("css selector", "figcaption").text
    before = points(shown)
    shown.find_element("css selector", "#marks").click()
    assert points(shown) == before - 1


def test_the_chart_can_be_saved(browser: Any, address: str) -> None:
    """Each button makes a link with the chart as it is shown: a picture, a drawing, a row for each run."""
    browser.execute_script(
        "window.saved = []; "
        "HTMLAnchorElement.prototype.click = function () { window.saved.push([this.download, this.href]); };"
    )
    for name in ("svg", "csv", "png"):
        browser.find_element("css selector", f"#save-{name}").click()
    for _ in range(50):
        saved = dict(browser.execute_script("return window.saved"))
        if len(saved) == 3:
            break
        time.sleep(0.1)
    endings = {name.rpartition(".")[2]: href for name, href in saved.items()}
    assert set(endings) == {"svg", "csv", "png"}
    assert endings["png"].startswith("data:image/png;base64,")
    assert len(endings["png"]) > 10_000  # an empty canvas of this size is smaller
    assert "%3Csvg" in endings["svg"]
    rows = unquote(endings["csv"].partition(",")[2]).splitlines()
    assert rows[0] == "model,P,seed,error,train_error"
    assert len(rows) > 100
