"""Table of exponents for papers in Markdown and LaTeX (booktabs), and its rows for the report."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.curve import Curve
from analysis.figures.naming import model_names
from analysis.fits.flags import Flag, JudgedFit, Verdict
from analysis.fits.record import interval_text, place_of, several_test_sets, span
from analysis.fits.results import Form
from analysis.spelling import display_unit

HEAD = (
    *("dataset", "metric", "model", "β, last octaves (95 %)", "β (95 %)", "with more training", "floor", "P", "seeds"),
    "flags",
)
"""Heads of the columns."""
FORMS = {
    Form.POWER: "",
    Form.POWER_FLOOR: "with floor",
    Form.BINOMIAL: "by counts",
    Form.BINOMIAL_FLOOR: "by counts, with floor",
}
"""Remark on the form beside β; empty for a power law."""
_LATE = "†"
_NOTE = "not converged: β still moves with the length of training; not an exponent to quote"
_BAR = {ord("|"): r"\textbar{}"}  # LaTeX's oldest font encoding, which is its default, has a dash in the bar's place


@dataclass(frozen=True)
class Row:
    """Row of one curve: cells as text, and numbers to sort by."""

    dataset: str
    metric: str
    model: str
    local: str
    """β over the last three octaves of P, which needs no form."""
    local_value: float
    """The same as a number."""
    beta: str
    """β ± half its interval, or both ends of an asymmetric one."""
    value: float
    """β itself."""
    low: float
    """Lower end of its interval; NaN for none."""
    high: float
    """Upper end."""
    trained: str
    """Both ends of the hull of that interval and the one after all further training; empty if unknown."""
    form: Form
    """The recommended form."""
    floor: str
    """The fitted floor with its unit; empty for a power law."""
    sizes: str
    """The range of P."""
    largest: float
    """The largest P."""
    seeds: int
    """Fewest seeds at a P that entered; 0 if the table has none."""
    seeds_text: str
    """The same with the most, if seeds differ in their sizes: `4–8`; `none` without seeds."""
    verdict: Verdict
    """Verdict on the training."""
    flags: tuple[Flag, ...]
    """Reasons for caution."""

    def cells(self) -> tuple[str, ...]:
        """Return the cells in the order of `HEAD`, with a dagger at an exponent that has not converged."""
        late = _LATE if self.verdict is Verdict.NOT_CONVERGED else ""
        form = FORMS.get(self.form, str(self.form))
        beta = self.beta + late + (f" ({form})" if form else "")
        flags = ", ".join(flag.replace("_", " ") for flag in self.flags)
        late_local = self.local + late
        return (
            *(self.dataset, self.metric, self.model, late_local, beta, self.trained or "–", self.floor),
            *(self.sizes, self.seeds_text, flags),
        )


def rows(fits: Sequence[JudgedFit]) -> list[Row]:
    """Return one row per curve, in order."""
    places: dict[tuple[str, ...], list[Curve]] = {}
    for fit, _ in fits:
        places.setdefault(_place(fit.curve), []).append(fit.curve)
    called = {
        (place, curve.name): name
        for place, group in places.items()
        for curve, name in zip(group, model_names(group, full=True), strict=True)
    }
    several = several_test_sets([fit.curve for fit, _ in fits])
    return [_row(item, called[_place(item[0].curve), item[0].curve.name], several) for item in fits]


def _place(curve: Curve) -> tuple[str, ...]:
    return tuple(curve.text(name) for name in ("dataset", "test_set", "metric"))


def _row(item: JudgedFit, model: str, several: bool) -> Row:
    (fit, judgement), curve, best = item, item[0].curve, item[0].best
    floor = best.floor if fit.has_floor and math.isfinite(best.floor) else None
    unit, factor = display_unit(curve.unit)
    return Row(
        dataset=place_of(curve, several),
        metric=curve.text("metric"),
        model=model,
        local=interval_text(fit.local.beta),
        local_value=fit.local.beta.value,
        beta=interval_text(best.beta),
        value=best.beta.value,
        low=best.beta.low,
        high=best.beta.high,
        trained=span(*judgement.training.hull(best.beta)) if len(judgement.training.change) else "",
        form=best.form,
        floor="" if floor is None else f"{floor * factor:.3g} {unit}".strip(),
        sizes=f"{curve.sizes[0]:g}–{curve.sizes[-1]:g}",
        largest=float(curve.sizes[-1]),
        seeds=fit.seeds[0],
        seeds_text=fit.seeds_text if fit.seeds[1] else "none",
        verdict=judgement.verdict,
        flags=judgement.flags,
    )


def markdown(fits: Sequence[JudgedFit]) -> str:
    """Return the exponents as a Markdown table, with a note if some have not converged."""
    body = rows(fits)
    lines = [HEAD, tuple("---" for _ in HEAD), *(row.cells() for row in body)]
    table = ["| " + " | ".join(_markdown(cell) for cell in line) + " |" for line in lines]
    note = [f"\n{_LATE} {_NOTE}."] if any(row.verdict is Verdict.NOT_CONVERGED for row in body) else []
    return "\n".join([*table, *note]) + "\n"


def _markdown(cell: str) -> str:
    """Escape whatever would end a cell or a row, or begin markup."""
    return re.sub(r"([\\|`*_<>\[\]])", r"\\\1", re.sub(r"\s+", " ", cell)) if cell != "---" else cell


def latex(fits: Sequence[JudgedFit]) -> str:
    """Return the exponents as a LaTeX tabular that needs the package booktabs; text of the table is escaped."""
    curves = rows(fits)
    body = [" & ".join(_latex(cell) for cell in row.cells()) + r" \\" for row in curves]
    note = [f"% {_LATE} {_NOTE}"] if any(row.verdict is Verdict.NOT_CONVERGED for row in curves) else []
    head = " & ".join(_latex(name) for name in HEAD) + r" \\"
    layout = "\\begin{tabular}{" + "l" * len(HEAD) + "}"
    lines = ["% needs booktabs", *note, layout, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def _latex(cell: str) -> str:
    from pylatexenc import latexencode  # here, for one option of one command needs it

    rules = [latexencode.UnicodeToLatexConversionRule(latexencode.RULE_DICT, _BAR), "defaults"]
    encoder = latexencode.UnicodeToLatexEncoder(conversion_rules=rules, unknown_char_warning=False)
    return str(encoder.unicode_to_latex(re.sub(r"\s+", " ", cell)))
