"""How often the intervals of forecasts hold, and the factors that make them hold: largest sizes held out.

Every learning curve is cut off, and the error at two, four and eight times its last remaining size is forecast. The
factors (`analysis.forecasts.factors`) of error rates are fitted on one half of the datasets and judged on the other;
those of other errors, with fewer datasets, are fitted on all datasets but the one that they are judged on. The factors
that ship are fitted on all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from analysis.arrays import FloatArray
from analysis.calibration.forecast_sides import bands, digest, fit_sides, quantiles_in
from analysis.calibration.progress import watched
from analysis.curve import Curve, curves
from analysis.files import write_text
from analysis.forecasts.factors import (
    LEVELS,
    MEAN,
    OCTAVES,
    RATE,
    RUN,
    Sides,
    kind_of,
    quantile_levels,
)
from analysis.forecasts.forecast import Outlook, outlook
from analysis.forecasts.mixture import predict
from analysis.table import RunTable

SOURCES = {
    "lcdb": "Learning Curve Database 1 (Mohr et al. 2022), package lcdb 0.1.0, MIT licence: error rates of 20 learners",
    "published": "Vita & Schwalbe-Koda 2023 (arXiv 2302.05823), CC BY 4.0: MACE, NequIP, Allegro on 3BPA, one seed",
    "linearised": "linearised MACE and NequIP (sweeps mace_linear, nequip_linear, claim_linear) on ethanol and acac",
    "closed_forms": "linear ACE, kernel ridge regression, nearest neighbours and linearised networks (sweep forecast)",
}
"""Source → what it is, as the file of factors names it."""
CURVES = Path(__file__).parent / "forecast_curves.parquet"
"""Learning curves that ship with the program: `python -m analysis.calibration.forecast_curves` gathers them."""
KEY = ("source", "dataset", "test_set", "architecture", "model_id", "metric")
NEAR = 0.35
"""Octaves by which a held-out size may miss a horizon of one, two or three octaves."""
TARGETS: Mapping[str, Mapping[int, tuple[float, float]]] = {
    "95": {1: (0.92, 0.98), 2: (0.92, 0.98), 3: (0.90, 1.0)},
    "80": {1: (0.75, 0.87), 2: (0.75, 0.87), 3: (0.75, 0.87)},
}
"""Level → octaves → range in which the coverage of error rates should lie."""
WIDTHS = {1: 1.3, 2: 1.5, 3: 2.0}
"""Octaves → largest wanted median factor from the middle to the ends of a 95 % interval of error rates."""
OTHERS_COVER = 0.88
"""Wanted coverage of 95 % intervals of other errors."""
REFUSED = 0.2
"""Largest wanted share of refused curves at twice the data."""


@dataclass(frozen=True)
class Rate:
    """Coverage on held-out sizes."""

    what: str
    """Which curves, and how the factors were fitted."""
    target: str
    """Mean over the curve's seeds, or a new run."""
    octaves: int
    """Horizon."""
    curves: int
    """Different curves."""
    datasets: int
    """Different datasets."""
    n: int
    """Forecasts."""
    covered: Mapping[int, int]
    """Level → how many of them hold."""
    factor: float
    """Median over forecasts of √(upper end / lower end) of the 95 % interval."""
    rms: float
    """Root mean square of ln(median / measured)."""
    raw: int
    """How many 95 % intervals of the mixture itself, without factors, hold."""


def forecast_rates(write: Path | None = None) -> tuple[str, list[dict[str, object]]]:
    """Measure the coverage of forecasts on the curves that ship; return it as text and as records.

    Args:
        write: where to write the factors fitted on all of them; None to leave them as they are.
    """
    found = read_curves()
    cases = pd.DataFrame([row for curve in watched(found, "forecasts") for row in held_out(curve)])
    if write is not None:
        write_text(write, factors_json(cases, date.today().isoformat(), sources_of(found)))
    rates = judge(cases)
    return rates_text(rates, refused_share(cases)), [rate_record(rate) for rate in rates]


def sources_of(found: Sequence[Curve]) -> list[dict[str, object]]:
    """Return the sources of these curves, with their numbers of curves and datasets."""
    sources = dict.fromkeys(curve.text("source") for curve in found)
    return [
        {
            "name": name,
            "what": SOURCES[name],
            "curves": sum(curve.text("source") == name for curve in found),
            "datasets": len({curve.text("dataset") for curve in found if curve.text("source") == name}),
        }
        for name in sources
    ]


def read_curves(path: Path = CURVES) -> list[Curve]:
    """Return the learning curves of a file of `analysis.calibration.forecast_curves`."""
    rows = pd.read_parquet(path)
    return curves(RunTable(rows, KEY, has_seeds=True))


def held_out(curve: Curve) -> Iterator[dict[str, object]]:
    """Yield what a curve's forecasts at held-out sizes say, as rows of the table that the functions here take.

    An error rate is forecast at its last size alone, of which there are many; other curves at all sizes.
    """
    kind = kind_of(curve.text("metric"))
    for last in range(len(curve.sizes)) if kind != RATE else [len(curve.sizes) - 1]:
        for first in range(last):
            octaves = float(np.log2(curve.sizes[last] / curve.sizes[first]))
            nearest = round(octaves)
            if nearest not in OCTAVES or abs(octaves - nearest) > (NEAR if kind != RATE else 0.1):
                continue
            cut = curve.at(np.arange(len(curve.sizes)) <= first)
            seen = outlook(cut)
            if last < len(curve.sizes) - 1 and (seen.refused or seen.caution):
                continue  # too short only because it was cut off before its last size but one
            shared: dict[str, object] = {"source": curve.text("source"), "kind": kind, "dataset": curve.text("dataset")}
            shared |= {"curve": curve.name, "octave": nearest, "octaves": octaves}
            yield {**shared, "target": MEAN, **_outcome(seen, outlook(curve.at(_only(curve, last))), MEAN)}
            if len(curve.seeds) > 1:
                kept, new = _seeds(cut, slice(-1)), _seeds(curve.at(_only(curve, last)), slice(-1, None))
                yield {**shared, "target": RUN, **_outcome(outlook(kept), outlook(new), RUN)}


def _only(curve: Curve, index: int) -> np.ndarray:
    return np.asarray(np.arange(len(curve.sizes)) == index)


def _seeds(curve: Curve, rows: slice) -> Curve:
    """Return the curve of some of its seeds."""
    names = ("error", "train_error", "half_budget", "quarter_budget", "sem", "n_test", "seconds")
    return replace(curve, seeds=curve.seeds[rows], **{name: getattr(curve, name)[rows] for name in names})


def _outcome(cut: Outlook, there: Outlook, target: str) -> dict[str, object]:
    """Return quantiles, last error, noise and the measured truth; `refused` alone if the curve is not forecast."""
    if cut.refused or cut.caution or not len(there.log_error):
        return {"refused": True}
    mixture = predict(cut.log_p, cut.log_error, cut.noise, there.log_p)
    quantiles = mixture.quantiles(quantile_levels(), run=target == RUN)[:, 0]
    noise = mixture.run_noise if target == RUN else mixture.noise
    return {
        "refused": False,
        **{f"q{i}": value for i, value in enumerate(quantiles)},
        "last": cut.log_error[-1],
        "noise": noise,
        "truth": there.log_error[0],
    }


def first_half(dataset: str) -> bool:
    """Return whether a dataset belongs to the half that factors are fitted on: by a hash of its name."""
    return digest(dataset, 0) % 2 == 0


def judge(cases: pd.DataFrame) -> list[Rate]:
    """Return the coverage of forecasts by factors of other datasets, for each kind, target and horizon."""
    rates = []
    for (kind, target), part in cases.groupby(["kind", "target"], sort=False):
        half = part["dataset"].map(first_half)
        if kind == RATE:
            parts = [("error rates, factors of the other half", [(part[~half], fit_sides(part[half]))])]
        else:
            parts = []
            for source, own in part.groupby("source", sort=False):
                folds = [(one, fit_sides(part[part["dataset"] != dataset])) for dataset, one in own.groupby("dataset")]
                parts.append((f"{source}, factors of other datasets", folds))
        for what, folds in parts:
            rates += [_rate(what, str(target), octave, folds) for octave in OCTAVES]
    return [rate for rate in rates if rate.n]


def _rate(what: str, target: str, octave: int, folds: Sequence[tuple[pd.DataFrame, Sides]]) -> Rate:
    columns: list[FloatArray] = []
    names: list[pd.DataFrame] = []
    for cases, sides in folds:
        part = cases[(cases["octave"] == octave) & ~cases["refused"].astype(bool)]
        truth, quantiles, found = part["truth"].to_numpy(dtype=float), quantiles_in(part), bands(part, sides)
        inside = [(found.low[level] <= truth) & (truth <= found.high[level]) for level in LEVELS]
        raw = (quantiles[3] <= truth) & (truth <= quantiles[4])
        columns.append(np.array([*inside, raw, (found.high[95] - found.low[95]) / 2, found.median - truth]))
        names.append(part[["dataset", "curve"]])
    whole, named = np.concatenate(columns, axis=1), pd.concat(names)
    n = whole.shape[1]
    return Rate(
        what=what,
        target=target,
        octaves=octave,
        curves=named["curve"].nunique(),
        datasets=named["dataset"].nunique(),
        n=n,
        covered={level: int(whole[i].sum()) for i, level in enumerate(LEVELS)},
        factor=float(np.exp(np.median(whole[3]))) if n else np.nan,
        rms=float(np.sqrt(np.mean(whole[4] ** 2))) if n else np.nan,
        raw=int(whole[2].sum()),
    )


def refused_share(cases: pd.DataFrame) -> tuple[int, int]:
    """Return how many forecasts of the mean at twice the data are refused, and how many there are."""
    part = cases[(cases["octave"] == 1) & (cases["target"] == MEAN)]
    return int(part["refused"].sum()), len(part)


def rates_text(rates: Sequence[Rate], refused: tuple[int, int]) -> str:
    """Return the rates as lines, with their 95 % binomial intervals (Clopper & Pearson 1934), and what misses."""
    lines, missed = [], []
    for what in dict.fromkeys(rate.what for rate in rates):
        lines.append(what)
        for rate in (one for one in rates if one.what == what):
            shown = ", ".join(f"{level} %: {_share(rate.covered[level], rate.n)}" for level in reversed(LEVELS))
            lines.append(
                f"  {'mean over seeds' if rate.target == MEAN else 'a new run':15} ×{2**rate.octaves}  {shown}; "
                f"×/÷ {rate.factor:.2f}, rms |ln| {rate.rms:.2f}; without factors {100 * rate.raw / rate.n:.0f} %  "
                f"({rate.n} forecasts, {rate.curves} curves, {rate.datasets} datasets)"
            )
            missed += _missed(rate)
    lines.append(f"refused at ×2: {_share(*refused)} of the curves")
    if refused[0] > REFUSED * refused[1]:
        missed.append(f"refused at ×2: more than {100 * REFUSED:.0f} %")
    lines.append("×/÷: median factor from the middle of a 95 % interval to its ends. Forecasts of one curve correlate.")
    return "\n".join([*lines, f"missed: {'; '.join(missed)}" if missed else "all targets are met"])


def _share(count: int, n: int) -> str:
    found = stats.binomtest(count, n).proportion_ci()
    return f"{100 * count / n:.1f} % [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def _missed(rate: Rate) -> list[str]:
    where = f"{rate.what}, {rate.target}, ×{2**rate.octaves}"
    share = {level: rate.covered[level] / rate.n for level in LEVELS}
    if not rate.what.startswith("error rates"):
        return [f"{where}: 95 % covers {100 * share[95]:.1f} %"] if share[95] < OTHERS_COVER else []
    wrong = []
    for level, value in share.items():
        low, high = TARGETS[str(level)][rate.octaves]
        if not low <= value <= high:
            wrong.append(f"{where}: {level} % covers {100 * value:.1f} %")
    if rate.target == MEAN and rate.factor > WIDTHS[rate.octaves]:
        wrong.append(f"{where}: ×/÷ {rate.factor:.2f}")
    return wrong


def rate_record(rate: Rate) -> dict[str, object]:
    """Return the JSON record of a rate."""
    return {
        "what": rate.what, "target": rate.target, "octaves": rate.octaves, "curves": rate.curves,
        "datasets": rate.datasets, "n": rate.n, "covered_80": rate.covered[80], "covered_95": rate.covered[95],
        "factor": rate.factor, "rms": rate.rms, "covered_95_without_factors": rate.raw,
    }  # fmt: skip


def factors_json(cases: pd.DataFrame, day: str, sources: Sequence[Mapping[str, object]]) -> str:
    """Return the content of the file of factors, fitted on all cases."""
    factors: dict[str, dict[str, object]] = {}
    for (kind, target), part in cases.groupby(["kind", "target"]):
        sides = fit_sides(part)
        factors.setdefault(str(kind), {})[str(target)] = {
            **{
                name: {str(level): np.round(values[level], 3).tolist() for level in LEVELS}
                for name, values in (("low", sides.low), ("high", sides.high))
            },
            "cap": np.round(sides.cap, 3).tolist(),
            "fall": sides.fall,
            "curves": int(part["curve"].nunique()),
            "datasets": int(part["dataset"].nunique()),
            "forecasts": [int((~part["refused"] & (part["octave"] == octave)).sum()) for octave in OCTAVES],
        }
    about = {"made_by": "python -m analysis calibrate --forecast --write", "date": day, "octaves": list(OCTAVES)}
    return json.dumps({**about, "sources": list(sources), "factors": factors}, indent=1, ensure_ascii=False) + "\n"
