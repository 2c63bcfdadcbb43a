"""Which curves an answer is about: those asked for, or of each dataset the metric that a reader would look at first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analysis.curve import Curve
from analysis.errors import InputError
from analysis.fits.flags import JudgedFit
from analysis.fits.record import label, title
from analysis.spelling import dataset_words

PREFERRED = ("force_mae", "force_rmse", "energy_rmse", "energy_mae", "error_rate")
"""Metrics in order of preference, if one must represent a dataset."""
ALL = "all"
"""Word that asks for every metric."""


def rank(metric: str) -> int:
    """Return the place of a metric in the order of preference; metrics that are not listed come last."""
    return PREFERRED.index(metric) if metric in PREFERRED else len(PREFERRED)


def main_metrics(curves: Iterable[Curve]) -> dict[str, str]:
    """Return the main metric of each dataset: the first of the preferred ones that it has, else its first."""
    found: dict[str, str] = {}
    for curve in curves:
        dataset, metric = curve.text("dataset"), curve.text("metric")
        if dataset not in found or rank(metric) < rank(found[dataset]):
            found[dataset] = metric
    return found


@dataclass(frozen=True)
class Selection:
    """What is asked for; empty: everything, and of the metrics the main one of each dataset."""

    metric: tuple[str, ...] = ()
    """Metrics, or `all`."""
    dataset: tuple[str, ...] = ()
    """Datasets."""
    model: tuple[str, ...] = ()
    """Models: an architecture, or words of the names that `fit` prints, as `mace L=1 ν=3` (or nu=3)."""
    test_set: tuple[str, ...] = ()
    """Test sets."""

    def of_metrics(self, curves: Sequence[Curve]) -> list[Curve]:
        """Return the curves of the metrics asked for, or of the main metric of each dataset.

        Raises InputError for a metric that no curve has.
        """
        if ALL in self.metric:
            return list(curves)
        if self.metric:
            return _having("--metric", self.metric, curves, "metric")
        main = main_metrics(curves)
        return [curve for curve in curves if curve.text("metric") == main[curve.text("dataset")]]

    def of_models(self, fits: Sequence[JudgedFit]) -> list[JudgedFit]:
        """Return the fits of the datasets, test sets and models asked for.

        They are chosen after all curves were fitted, for these lend each other degrees of freedom: an interval does
        not depend on what is shown beside it.

        Raises InputError for a name that no curve has, or if no curve has all that is asked for.
        """
        kept = {id(curve) for curve in self._of_models([fit.curve for fit, _ in fits])}
        return [item for item in fits if id(item[0].curve) in kept]

    def of_curves(self, curves: Sequence[Curve]) -> list[Curve]:
        """Return the curves asked for, of all that is asked for; raises as `of_metrics` and `of_models` do."""
        return self._of_models(self.of_metrics(curves))

    def _of_models(self, kept: list[Curve]) -> list[Curve]:
        if self.dataset:
            kept = _having("--dataset", self.dataset, kept, "dataset")
        if self.test_set:
            kept = _having("--test-set", self.test_set, kept, "test_set")
        if self.model:
            known = list(dict.fromkeys(title(curve) for curve in kept))
            for text in self.model:
                if not any(_is_called(curve, text) for curve in kept):
                    raise InputError(f"--model {text}: no curve of it; the table has {'; '.join(known)}")
            kept = [curve for curve in kept if any(_is_called(curve, text) for text in self.model)]
        return kept

    def left_out(self, curves: Sequence[Curve]) -> str:
        """Return a line that names the metrics of the table that are not shown unless asked for; empty if none."""
        if self.metric:
            return ""
        shown = set(main_metrics(curves).values())
        others = [name for name in dict.fromkeys(curve.text("metric") for curve in curves) if name not in shown]
        return f"also in the table: {', '.join(others)} (--metric NAME, or --metric all)" if others else ""


def _having(option: str, wanted: Sequence[str], curves: Sequence[Curve], column: str) -> list[Curve]:
    known = list(dict.fromkeys(curve.text(column) for curve in curves))
    named = {dataset_words(text): text for text in known} if column == "dataset" else {}
    chosen = [named.get(name, name) for name in wanted]
    for name in chosen:
        if name not in known:
            raise InputError(f"{option} {name}: no curve of it; the table has {', '.join(known)}")
    return [curve for curve in curves if curve.text(column) in chosen]


def _is_called(curve: Curve, text: str) -> bool:
    """Return whether all words of a text are in the name of a curve's model."""
    own = set(f"{label(curve)} {title(curve)}".replace(",", " ").split())
    return all(word in own for word in text.replace("nu=", "ν=").replace(",", " ").split())
