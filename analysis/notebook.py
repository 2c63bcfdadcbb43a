"""The analysis from Python, for notebooks: `from analysis import load, fit, compare, claim, forecast, plot`.

Every function takes a DataFrame, a table (path), a store (path of its folder) or what `load` or `fit` returned:

>>> import numpy as np, pandas as pd
>>> from analysis import fit
>>> frame = pd.DataFrame(
...     {"dataset": "ethanol", "architecture": "mace", "metric": "force_mae", "unit": "meV/Å",
...      "P": P, "seed": seed, "error": 100 * P**-0.5 * np.exp(0.02 * np.cos(7 * P + seed))}
...     for P in (8, 16, 32, 64, 128) for seed in range(3))
>>> fits = fit(frame)
>>> len(fits)
1
>>> bool(fits.to_frame()["beta_low"].item() < 0.5 < fits.to_frame()["beta_high"].item())
True

Numbers and words are those of the commands of the same names.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pandas as pd

from analysis.comparisons.claim import Claim, claim_record, claim_text, claims
from analysis.comparisons.compare import Comparison, compare_curves
from analysis.comparisons.comparison_table import HEAD, comparison_rows, comparison_table
from analysis.comparisons.sentences import comparison_record, comparison_sentence
from analysis.curve import curves
from analysis.errors import InputError
from analysis.fits.flags import JudgedFit
from analysis.fits.names import MAIN_FORMS
from analysis.fits.record import analyse, interval_text, records, summary
from analysis.fits.selection import ALL, Selection
from analysis.forecasts.forecast import Outlook, outlook
from analysis.forecasts.output import forecast_lines, forecast_records, heading, reach_record
from analysis.reading import Spelling
from analysis.table import RunTable, check_table
from analysis.table import load as load_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Words: TypeAlias = str | Sequence[str]
"""A name, or several."""


@dataclass(frozen=True, repr=False)
class Runs:
    """A checked run table."""

    table: RunTable
    """The table as the commands read it."""

    def to_frame(self) -> pd.DataFrame:
        """Return the rows that can be used: one a run and metric."""
        return self.table.rows.drop(columns="line")

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.table.rows)

    def __repr__(self) -> str:
        """Say what the table holds."""
        rows = self.table.rows
        dropped = f", {len(self.table.dropped)} rows dropped" if self.table.dropped else ""
        if alone := len(self.table.single):
            dropped += f", {alone} rows of curves with one P so far"
        if rows.empty:
            return f"no curve with two P{dropped}"
        return (
            f"{len(rows)} rows: {', '.join(rows['dataset'].unique())}; {', '.join(rows['architecture'].unique())}; "
            f"{', '.join(rows['metric'].unique())}; P = {rows['P'].min():g}–{rows['P'].max():g}{dropped}"
        )

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>{self.to_frame().head(8).to_html(index=False, border=0)}"


@dataclass(frozen=True, repr=False)
class Fits(Sequence[JudgedFit]):
    """Fitted learning curves."""

    fits: tuple[JudgedFit, ...]
    """Each curve with its fits and the judgement on them."""

    def __getitem__(self, index: Any) -> Any:
        """Return one fitted curve with its judgement, or several as `Fits`."""
        return Fits(self.fits[index]) if isinstance(index, slice) else self.fits[index]

    def __len__(self) -> int:
        """Return the number of curves."""
        return len(self.fits)

    def select(self, *, metric: Words = ALL, dataset: Words = (), model: Words = (), test_set: Words = ()) -> Fits:
        """Return the curves of some metrics, datasets, models or test sets; their numbers do not change.

        Raises:
            InputError: no curve has a name.
        """
        asked = Selection(*map(_words, (metric, dataset, model, test_set)))
        kept = {id(curve) for curve in asked.of_metrics([fit.curve for fit, _ in self.fits])}
        return Fits(tuple(asked.of_models([item for item in self.fits if id(item[0].curve) in kept])))

    def to_frame(self, *, forms: bool = False) -> pd.DataFrame:
        """Return a row a curve: names, β with its interval, the hull with more training, flags (columns as in JSON).

        Args:
            forms: a row for each form that was fitted, instead of the recommended one alone.
        """
        entries = [entry for one in self.fits for entry in records(*one)]
        return pd.DataFrame([entry for entry in entries if forms or entry["recommended"]])

    def plot(self) -> Figure:
        """Return the learning curves as a figure, one panel per dataset and metric."""
        return plot(self)

    def __repr__(self) -> str:
        """Return the table that `fit` prints."""
        return summary(list(self.fits)) if self.fits else "no curves"

    def _repr_html_(self) -> str:
        shown = pd.DataFrame(
            {
                "dataset": fit.curve.text("dataset"),
                "metric": fit.curve.text("metric"),
                "model": name,
                "β, last octaves": interval_text(fit.local.beta),
                "β (95 %)": interval_text(fit.best.beta),
                "verdict": str(judged.verdict),
                "flags": ", ".join(judged.flags),
            }
            for (fit, judged), name in zip(self.fits, self._names(), strict=True)
        )
        return str(shown.to_html(index=False, border=0))

    def _names(self) -> tuple[str, ...]:
        from analysis.figures.naming import model_names  # names of plugins are looked up

        return model_names([fit.curve for fit, _ in self.fits], full=True) if self.fits else ()


@dataclass(frozen=True, repr=False)
class Comparisons(Sequence[Comparison]):
    """Differences of exponents between curves that differ in one factor."""

    pairs: tuple[Comparison, ...]
    """The comparisons."""

    def __getitem__(self, index: Any) -> Any:
        """Return one comparison, or several as `Comparisons`."""
        return Comparisons(self.pairs[index]) if isinstance(index, slice) else self.pairs[index]

    def __len__(self) -> int:
        """Return their number."""
        return len(self.pairs)

    def to_frame(self) -> pd.DataFrame:
        """Return a row a comparison (columns as in JSON)."""
        return pd.DataFrame([comparison_record(one) for one in self.pairs])

    def sentences(self) -> list[str]:
        """Return each comparison as a sentence for a paper."""
        return [comparison_sentence(one) for one in self.pairs]

    def __repr__(self) -> str:
        """Return the table that `compare` prints."""
        return comparison_table(self.pairs)

    def _repr_html_(self) -> str:
        return str(pd.DataFrame(comparison_rows(self.pairs), columns=list(HEAD)).to_html(index=False, border=0))


@dataclass(frozen=True, repr=False)
class Claims(Sequence[Claim]):
    """Outcomes of the pre-registered test on cells A, B, C and D."""

    tests: tuple[Claim, ...]
    """One for each dataset, metric and setting that has the cells."""
    betas: Mapping[str, str]
    """β with its interval, by name of the curve."""

    def __getitem__(self, index: Any) -> Any:
        """Return one outcome, or several as `Claims`."""
        return Claims(self.tests[index], self.betas) if isinstance(index, slice) else self.tests[index]

    def __len__(self) -> int:
        """Return their number."""
        return len(self.tests)

    def to_frame(self) -> pd.DataFrame:
        """Return a row a test (columns as in JSON)."""
        return pd.DataFrame([claim_record(one) for one in self.tests])

    def __repr__(self) -> str:
        """Return what `claim` prints."""
        return "\n".join(
            claim_text(one, {letter: self.betas[curve.name] for letter, curve in one.cells.items()})
            for one in self.tests
        )


@dataclass(frozen=True, repr=False)
class Forecasts:
    """What can be said about curves beyond their largest P."""

    outlooks: tuple[Outlook, ...]
    """One a curve."""

    def __len__(self) -> int:
        """Return the number of curves."""
        return len(self.outlooks)

    def at(self, sizes: Sequence[float], *, new_run: bool = False) -> pd.DataFrame:
        """Return a row a curve and size: the error, with 80 and 95 % intervals (columns as in JSON).

        Args:
            sizes: training-set sizes, frames.
            new_run: with the intervals of a single new run as well.
        """
        found = [(one.curve, one.at(sizes)) for one in self.outlooks]
        return pd.DataFrame([row for curve, one in found for row in forecast_records(curve, one, run=new_run)])

    def reach(self, error: float) -> pd.DataFrame:
        """Return a row a curve: the frames to an error (in the curve's unit), with intervals."""
        return pd.DataFrame([reach_record(one.curve, one.reach(error)) for one in self.outlooks])

    def __repr__(self) -> str:
        """Return what `forecast` prints for 2, 4 and 8 times the largest P."""
        lines: list[str] = []
        for one in self.outlooks:
            sizes = [float(one.curve.sizes[-1]) * factor for factor in (2, 4, 8)]
            lines += [heading(one.curve), *forecast_lines(one.at(sizes), run=False)]
        return "\n".join(lines)


Source: TypeAlias = "pd.DataFrame | str | Path | Runs | Fits"
"""Where curves come from: a DataFrame, the path of a table or of a store, or what `load` or `fit` returned."""


def load(
    source: pd.DataFrame | str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    wide: bool = False,
    unit: str | None = None,
    decimal: str | None = None,
    curve_by: Words = (),
    stop: str | None = None,
    drop_bad: bool = False,
) -> Runs:
    """Read and check a run table.

    Args:
        source: a DataFrame with the columns dataset, architecture, metric, P, error and, where there are several
            runs, seed; or the path of such a table (CSV, JSON lines, Parquet), or of a store of runs.
        columns: own names of columns, as `{"P": "n_train", "error": "MAE"}` (files only).
        wide: whether a file has a column a model, or a column a training-set size.
        unit: unit of the errors of a file that does not say.
        decimal: decimal mark of a file, where numbers such as 1,234 leave it open.
        curve_by: further columns that tell curves apart.
        stop: `validation` reads each trained run's error at the schedule that is best on validation frames.
        drop_bad: leave bad rows out, naming each in the log, instead of refusing the table.

    Raises:
        InputError: a row or column is bad, or there is no such file.
    """
    by = _words(curve_by)
    if isinstance(source, pd.DataFrame):
        spelled = {own: name for name, own in (columns or {}).items()}
        return Runs(check_table(source.rename(columns=spelled), "the DataFrame", drop_bad=drop_bad, curve_by=by))
    path = Path(source).expanduser()
    spelling = Spelling(columns=dict(columns or {}), wide=wide, unit=unit, decimal=decimal)
    table, store = (None, path) if path.is_dir() else (path, None)
    return Runs(load_table(table, store, drop_bad=drop_bad, curve_by=by, spelling=spelling, stop=stop))


def fit(source: Source, *, metric: Words = (), dataset: Words = (), model: Words = (), test_set: Words = ()) -> Fits:
    """Fit every learning curve, with and without a floor, and judge its training.

    Args:
        source: the runs.
        metric: metrics to fit, or "all"; the main one of each dataset (force MAE before others) if none is named.
        dataset: datasets; all if none is named.
        model: architectures, or words of names as `fit` prints them (`"mace L=1"`); all if none is named.
        test_set: test sets; all if none is named.

    Raises:
        InputError: bad rows, or a name that no curve has.
    """
    if isinstance(source, Fits):
        return source.select(metric=metric or ALL, dataset=dataset, model=model, test_set=test_set)
    runs = source if isinstance(source, Runs) else load(source)
    asked = Selection(*map(_words, (metric, dataset, model, test_set)))
    return Fits(tuple(asked.of_models(analyse(asked.of_metrics(curves(runs.table)), MAIN_FORMS))))


def compare(source: Source, *, by: Words = (), **chosen: Words) -> Comparisons:
    """Compare the exponents of curves that differ in one factor.

    Args:
        source: the runs or their fits.
        by: factors to compare by (`"L"`, `"nu"`, …); every one that varies if none is named.
        chosen: metric, dataset, model and test_set as of `fit`.

    Raises:
        InputError: bad rows, a name that no curve has, or no two curves that differ in one factor only.
    """
    found = compare_curves(fit(source, **chosen).fits, _words(by))
    if not found:
        raise InputError("no two curves of one dataset and metric differ in exactly one factor: nothing to compare")
    return Comparisons(tuple(found))


def claim(source: Source) -> Claims:
    """Carry out the pre-registered test of the claim on the cells A, B, C and D, for every metric."""
    fits = fit(source, metric=ALL)
    return Claims(tuple(claims(fits.fits)), {one.curve.name: interval_text(one.best.beta) for one, _ in fits})


def forecast(source: Source, **chosen: Words) -> Forecasts:
    """Forecast errors at larger P, and the frames to an error, with intervals whose coverage is measured.

    Args:
        source: the runs or their fits.
        chosen: metric, dataset, model and test_set as of `fit`.
    """
    if isinstance(source, Fits):
        return Forecasts(tuple(outlook(one.curve) for one, _ in fit(source, **chosen)))
    runs = source if isinstance(source, Runs) else load(source)
    asked = Selection(**{name: _words(given) for name, given in chosen.items()})
    return Forecasts(tuple(outlook(curve) for curve in asked.of_curves(curves(runs.table))))


def plot(source: Source, **chosen: Words) -> Figure:
    """Return the learning curves as a matplotlib figure: seeds, means, fits with bands, β in the legend.

    Args:
        source: the runs or their fits.
        chosen: metric, dataset, model and test_set as of `fit`.
    """
    from analysis.figures.learning_curves import figure  # matplotlib takes a second to import

    return figure(fit(source, **chosen).fits)


def _words(given: Words) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
