"""The page: one HTML file with its style, script, data and downloads inside; equal tables give equal bytes.

Text from a table enters the HTML through Jinja2's autoescape and the script through JSON without `<`, `>` and `&`, and
the script sets text, never markup. A content security policy allows this page's own style and script, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis.figures.references import Reference
from analysis.files import csv_text
from analysis.fits.flags import Flag, JudgedFit, Verdict
from analysis.fits.points import HEAD as HEAD_OF_POINTS
from analysis.fits.points import point_rows, single_points
from analysis.fits.record import records
from analysis.fits.results import Form
from analysis.fits.selection import Selection, rank
from analysis.report.chart import charts, forecast_rows, script_json
from analysis.report.exponent_table import FORMS, latex, markdown, rows
from analysis.report.health import SHOWN, CurveHealth, Health, health, provenance
from analysis.report.linearised import HEAD, not_trained, side_by_side
from analysis.report.next_steps import next_steps
from analysis.report.words import FLAG_WORDS, SPOILS, answers, overview, pooled, quotable
from analysis.spelling import METRIC_NAMES, dataset_words
from analysis.table import RunTable
from experiments.core.files import json_text

HERE = Path(__file__).parent
NAMED = 4
"""Largest number of datasets named in the title."""
VERDICTS = {
    Verdict.CONVERGED: "converged",
    Verdict.NOT_CONVERGED: "not converged",
    Verdict.CANNOT_TELL: "cannot tell",
    Verdict.NONE: "no verdict",
}


def page(
    table: RunTable,
    fits: Sequence[JudgedFit],
    *sources: Path,
    stores: Sequence[Path] = (),
    references: Sequence[Reference] = (),
) -> str:
    """Return the HTML of the whole page.

    Args:
        table: the checked run table.
        fits: its curves, fitted and judged.
        sources: files and stores that the table came from; their names alone are shown.
        stores: the stores among them: they know of failed runs and of versions.
        references: published points to mark in the charts.
    """
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    waiting = Selection().of_metrics(single_points(table))
    shown = [*(fit.curve for fit, _ in fits), *waiting]
    datasets = list(dict.fromkeys(dataset_words(curve.text("dataset")) for curve in shown))
    flagged = {flag for _, judgement in fits for flag in judgement.flags}
    ordered = sorted(fits, key=lambda item: rank(item[0].curve.text("metric")))
    runs = health(fits, table, *stores)
    left_out = [pair for pair in (("Failed runs", runs.failed), ("Rows left out", runs.dropped)) if pair[1]]
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html").render(
        title=f"Learning curves: {', '.join(datasets[:NAMED])}" + (" and others" if datasets[NAMED:] else ""),
        policy=_policy(style, script),
        style=style,
        script=script,
        data=script_json(charts(fits, references)),
        overview=overview(fits),
        answers=answers(fits),
        together=pooled(fits),
        steps=next_steps(fits),
        side_by_side=side_by_side(fits),
        side_by_side_head=HEAD,
        not_trained=not_trained(fits),
        exponents=list(zip(rows(ordered), map(quotable, ordered), strict=True)),
        spoils=SPOILS,
        forecasts=forecast_rows(fits),
        points=point_rows(waiting),
        points_head=HEAD_OF_POINTS,
        raised=[flag for flag in Flag if flag in flagged],
        flag_words=FLAG_WORDS,
        forms={form: words for form, words in FORMS.items() if form not in (Form.POWER, Form.POWER_FLOOR)},
        verdicts=VERDICTS,
        metrics=METRIC_NAMES,
        counts=[_present(runs), *(f"{len(items)} {title.lower()}" for title, items in left_out), *runs.pending],
        left_out=left_out,
        curves=runs.curves,
        missing=_missing,
        provenance=provenance(table, sources, stores),
        downloads=_downloads(table, fits),
    )


def _policy(style: str, script: str) -> str:
    def digest(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    return f"default-src 'none'; img-src data:; style-src {digest(style)}; script-src {digest(script)}; base-uri 'none'"


def _present(runs: Health) -> str:
    present, expected = (sum(getattr(curve, name) for curve in runs.curves) for name in ("present", "expected"))
    return f"{present} of {expected} runs of the grids are present"


def _missing(curve: CurveHealth) -> str:
    """Return what a curve lacks: its missing points, and further defects."""
    missing = ", ".join(curve.missing[:SHOWN])
    if len(curve.missing) > SHOWN:
        missing += f" and {len(curve.missing) - SHOWN} more"
    return "; ".join(text for text in (missing, *curve.notes) if text)


def _downloads(table: RunTable, fits: Sequence[JudgedFit]) -> list[tuple[str, str, str, str]]:
    """Return name, media type, description and content (base64) of each file that the page holds."""
    entries = [entry for fit, judged in fits for entry in records(fit, judged)]
    files = (
        ("runs.csv", "text/csv", "the run table", csv_text(table.rows.drop(columns="line", errors="ignore"))),
        ("fits.json", "application/json", "every fit of every curve", json_text(entries)),
        ("exponents.md", "text/markdown", "exponents, Markdown", markdown(fits)),
        ("exponents.tex", "text/x-tex", "exponents, LaTeX", latex(fits)),
    )
    return [(name, kind, what, base64.b64encode(text.encode()).decode()) for name, kind, what, text in files]
