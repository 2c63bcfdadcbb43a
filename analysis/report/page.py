"""The page: one HTML file with its style, script, data and downloads inside; equal tables give equal bytes.

Text from a table enters the HTML through `html.escape` and the script through JSON without `<`, `>` and `&`, and the
script sets text, never markup. A content security policy allows this page's own style and script, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from analysis.figures.naming import METRIC_NAMES
from analysis.fits.flags import Flag, JudgedFit, Verdict
from analysis.fits.record import records
from analysis.fits.results import Form
from analysis.report.chart import charts, script_json
from analysis.report.exponent_table import FORMS, Row, latex, markdown, rows
from analysis.report.health import SHOWN, CurveHealth, Health, health, provenance
from analysis.report.linearised import HEAD, SideBySide, not_trained, side_by_side
from analysis.report.words import FLAG_WORDS, Answer, answers, overview, pooled
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


def page(table: RunTable, fits: Sequence[JudgedFit], source: Path, store: Path | None = None) -> str:
    """Return the HTML of the whole page.

    Args:
        table: the checked run table.
        fits: its curves, fitted and judged.
        source: file or store that the table came from; its name alone is shown.
        store: the store, if there is one: it knows of failed runs and of versions.
    """
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    datasets = list(dict.fromkeys(fit.curve.text("dataset") for fit, _ in fits))
    parts = {
        "TITLE": _text(f"Learning curves: {', '.join(datasets[:NAMED])}" + (" and others" if datasets[NAMED:] else "")),
        "POLICY": _policy(style, script),
        "STYLE": style,
        "SCRIPT": script,
        "DATA": script_json(charts(fits)),
        "OVERVIEW": _text(overview(fits)),
        "ANSWERS": "\n".join(_answer(one) for one in answers(fits)) + _together(pooled(fits)),
        "LINEARISED": _linearised(side_by_side(fits), not_trained(fits)),
        "EXPONENTS": "\n".join(_row(row) for row in rows(fits)),
        "FLAGS": _flags(fits),
        "HEALTH": _health(health(fits, table, store)),
        "PROVENANCE": "\n".join(
            f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in provenance(table, source, store)
        ),
        "DOWNLOADS": "\n".join(_downloads(table, fits)),
    }
    template = (HERE / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda name: parts[name[1]], template)


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)


def _policy(style: str, script: str) -> str:
    def digest(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    return f"default-src 'none'; img-src data:; style-src {digest(style)}; script-src {digest(script)}; base-uri 'none'"


def _list(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{_text(item)}</li>' for item in items)}</ul>"


def _folded(summary: str, inside: str, *, opened: bool = False) -> str:
    return f"<details{' open' if opened else ''}><summary>{summary}</summary>{inside}</details>"


def _answer(one: Answer) -> str:
    verdicts = "".join(f'<p class="verdict {outcome}">{_text(text)}</p>' for outcome, text in one.verdicts)
    more = _folded(f"All {len(one.further)} comparisons in full", _list(one.further)) if one.further else ""
    heading = f"{_text(one.dataset)} <small>{_text(one.metric)}</small>"
    return f"<section><h3>{heading}</h3>{verdicts}{_list(one.sentences)}{more}</section>"


def _together(sentences: Sequence[str]) -> str:
    return f"<section><h3>All datasets together</h3>{_list(sentences)}</section>" if sentences else ""


def _linearised(table: Sequence[SideBySide], missing: Sequence[str]) -> str:
    """Return the section on linearised networks; empty if there are none."""
    if not table and not missing:
        return ""
    shown = ""
    if table:
        head = "".join(f'<th scope="col">{_text(name)}</th>' for name in HEAD)
        body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row.cells())}</tr>" for row in table)
        late = "" if all(row.converged for row in table) else " † not converged."
        shown = (
            "<p>Power laws over the P and seeds, and so the subsets, that both have. The errors are first the "
            f"linearised and then the trained network's.{late}</p>"
            '<div class="wide" tabindex="0" role="region" aria-label="Linearised and trained networks">'
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )
    return f"<section><h3>Linearised and trained networks</h3>{shown}{_list(missing) if missing else ''}</section>"


def _row(row: Row) -> str:
    """Return a row of the table of exponents; `data-v` is the value by which its column is sorted."""

    def cell(shown: str, value: object = None, kind: str = "") -> str:
        key = "" if value is None else f' data-v="{_text(value)}"'
        return f"<td{key}{f' class={kind}' if kind else ''}>{shown}</td>"

    metric = METRIC_NAMES.get(row.metric, row.metric)
    flags = " ".join(_flag(flag) for flag in row.flags)
    late = row.verdict is Verdict.NOT_CONVERGED
    more = f"<br><small>with more training {_text(row.trained)}</small>" if row.trained else ""
    form = "" if row.form in (Form.POWER, Form.POWER_FLOOR) else FORMS.get(row.form, str(row.form))
    return (
        f'<tr class="{"late" if late else ""}"><th scope="row">{_text(row.model)}</th>'
        + cell(_text(row.local), row.local_value, "number")
        + cell(_text(row.beta) + (" †" if late else "") + more, row.value, "number")
        + cell(_text(row.dataset))
        + cell(_text(metric))
        + cell(f'<span class="state {row.verdict}">{VERDICTS[row.verdict]}</span>')
        + cell(_text(row.sizes), row.largest, "number")
        + cell(_text(row.seeds or "none"), row.seeds, "number")
        + cell(_text(", ".join(text for text in (row.floor, form) if text) or "none"), kind="number")
        + cell(flags or "–")
        + "</tr>"
    )


def _flag(flag: Flag) -> str:
    return f'<abbr title="{_text(FLAG_WORDS[flag])}">{_text(flag.replace("_", " "))}</abbr>'


def _flags(fits: Sequence[JudgedFit]) -> str:
    """Return an explanation of the flags that occur."""
    raised = {flag for _, judgement in fits for flag in judgement.flags}
    terms = [f"<dt>{flag.replace('_', ' ')}</dt><dd>{_text(FLAG_WORDS[flag])}</dd>" for flag in Flag if flag in raised]
    return _folded("What the flags mean", f"<dl>{''.join(terms)}</dl>") if terms else ""


def _health(runs: Health) -> str:
    present, expected = (sum(getattr(curve, name) for curve in runs.curves) for name in ("present", "expected"))
    lists = (("Failed runs", runs.failed), ("Rows left out", runs.dropped))
    counts = [f"{present} of {expected} runs of the grids are present"]
    counts += [f"{len(items)} {title.lower()}" for title, items in lists if items]
    counts += runs.pending
    shown = "".join(_folded(title, _list(items), opened=True) for title, items in lists if items)
    body = "\n".join(_curve_health(curve) for curve in runs.curves)
    columns = ("Model", "Dataset", "Metric", "Runs", "Converged", "Slope", "Missing")
    head = "".join(f'<th scope="col">{name}</th>' for name in columns)
    return (
        f"<p>{_text(', '.join(counts))}.</p>{shown}"
        '<div class="wide" tabindex="0" role="region" aria-label="Runs by curve">'
        f'<table id="health"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _curve_health(curve: CurveHealth) -> str:
    missing = ", ".join(curve.missing[:SHOWN])
    if len(curve.missing) > SHOWN:
        missing += f" and {len(curve.missing) - SHOWN} more"
    converged = "unknown" if curve.converged is None else f"{curve.converged} of {curve.present}"
    metric = METRIC_NAMES.get(curve.metric, curve.metric)
    if curve.metrics > 1:
        metric += f" and {curve.metrics - 1} more"
    notes = "; ".join(text for text in (missing, *curve.notes) if text) or "–"
    return (
        f'<tr><th scope="row">{_text(curve.model)}</th><td>{_text(curve.dataset)}</td><td>{_text(metric)}</td>'
        f'<td class="number">{curve.present} of {curve.expected}</td><td class="number">{converged}</td>'
        f'<td><span class="state {curve.verdict}">{VERDICTS[curve.verdict]}</span></td><td>{_text(notes)}</td></tr>'
    )


def _downloads(table: RunTable, fits: Sequence[JudgedFit]) -> list[str]:
    entries = [entry for fit, judged in fits for entry in records(fit, judged)]
    files = (
        ("runs.csv", "text/csv", "the run table", table.rows.drop(columns="line", errors="ignore").to_csv(index=False)),
        ("fits.json", "application/json", "every fit of every curve", json_text(entries)),
        ("exponents.md", "text/markdown", "exponents, Markdown", markdown(fits)),
        ("exponents.tex", "text/x-tex", "exponents, LaTeX", latex(fits)),
    )
    return [
        f'<li><a download="{name}" href="data:{kind};charset=utf-8;base64,'
        f'{base64.b64encode(text.encode()).decode()}">{name}</a> {what}</li>'
        for name, kind, what, text in files
    ]
