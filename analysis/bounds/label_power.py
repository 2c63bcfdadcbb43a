"""Why exponents differ: which share of the labels lies outside the first k directions of each model's kernel.

Runs that were solved by products of rows keep eigenvalues and 1 − C(k) of their training rows (`fit.spectrum` of their
results; formulas in `experiments.regression.spectrum`). `python -m experiments.runs.measure_spectra` adds errors of
left-out frames at every P and β with spectra exchanged (`spectra.json` in the store).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analysis.arrays import FloatArray
from analysis.curve import Curve
from analysis.errors import InputError
from analysis.fits.flags import JudgedFit
from analysis.fits.jsonable import Record, dataset_and_metric, ends, model
from analysis.fits.record import plus_minus, title
from analysis.fits.uncertainty import Interval, line, t_interval
from analysis.sources import run_file
from analysis.spelling import dataset_words, metric_words
from experiments.core.files import read_json

SPECTRA_FILE = "spectra.json"
"""File name of what `experiments.runs.measure_spectra` measures in a store."""
METRIC = "force_rmse"
"""Metric whose exponents stand beside the tails, which are of squares; without it, the first of the table."""
TAIL = 4
"""The tail's exponent is taken over k = TAIL·P_min … TAIL·P of the spectrum."""
WINDOW = 2.0
"""A local exponent is the slope from P/WINDOW to P·WINDOW."""
POINTS = 20
"""Points of a slope, evenly spaced on a log scale."""


@dataclass(frozen=True)
class LabelPower:
    """Spectra of the training rows of one curve, of the largest P that keeps one."""

    fit: JudgedFit
    """The curve with its exponent."""
    size: int
    """P of the spectra, frames."""
    spectra: tuple[tuple[FloatArray, FloatArray, FloatArray], ...]
    """k, μ_k/μ_1 and 1 − C(k) of every seed. [K] each"""
    span: tuple[float, float]
    """Range of k of the tail."""
    tail: Interval
    """Exponent of 1 − C(k) there, over seeds."""

    @property
    def curve(self) -> Curve:
        """The learning curve."""
        return self.fit[0].curve


@dataclass(frozen=True)
class LocalExponents:
    """Errors of left-out frames at every P, and the slope of the curve around each."""

    curve: Curve
    """The learning curve of the same model."""
    sizes: tuple[FloatArray, ...]
    """P of every seed. [K] each"""
    errors: tuple[FloatArray, ...]
    """Force RMSE of left-out frames, eV/Å. [K] each"""
    centres: FloatArray
    """P at which the local exponent is given. [C]"""
    exponents: tuple[Interval, ...]
    """Local exponents, over seeds. [C]"""


@dataclass(frozen=True)
class Exchange:
    """β with the eigenvectors of one model and the eigenvalues of another, on the same frames."""

    dataset: str
    curves: tuple[Curve, ...]
    """The models. [M]"""
    frames: int
    """Frames, of which subsets train and the others test."""
    sizes: tuple[int, ...]
    """P of the subsets."""
    beta: FloatArray
    """By eigenvectors, eigenvalues and subset. [M, M, T]"""

    @property
    def mean(self) -> FloatArray:
        """β averaged over subsets, [M, M]."""
        return np.asarray(self.beta.mean(axis=2))

    @property
    def by_values(self) -> float:
        """Largest change of β, for any eigenvectors, by an exchange of eigenvalues."""
        return float(np.ptp(self.mean, axis=1).max())

    @property
    def by_vectors(self) -> float:
        """Largest change of β, for any eigenvalues, by an exchange of eigenvectors."""
        return float(np.ptp(self.mean, axis=0).max())


def label_powers(fits: Sequence[JudgedFit], *stores: Path) -> list[LabelPower]:
    """Return the spectra of all curves that keep some, one metric a model.

    Raises InputError if no run of the stores keeps a spectrum.
    """
    found = [power for item in _one_metric(fits) if (power := _power(item, stores)) is not None]
    if not found:
        names = ", ".join(map(str, stores))
        raise InputError(
            f"{names}: no run keeps a spectrum; they come with model=ntk (and krr, ace) solved by products of rows"
        )
    return found


def _one_metric(fits: Sequence[JudgedFit]) -> list[JudgedFit]:
    metrics = [fit.curve.text("metric") for fit, _ in fits]
    metric = METRIC if METRIC in metrics else metrics[0] if metrics else ""
    return [item for item in fits if item[0].curve.text("metric") == metric]


def _power(item: JudgedFit, stores: Sequence[Path]) -> LabelPower | None:
    curve = item[0].curve
    for column in reversed(range(len(curve.sizes))):
        kept = [_kept(run_file(stores, runs[column], "result.json")) for runs in curve.runs if runs[column]]
        spectra = tuple(one for one in kept if one is not None)
        if spectra:
            size = int(curve.sizes[column])
            span = TAIL * float(curve.sizes[0]), TAIL * float(size)
            return LabelPower(item, size, spectra, span, t_interval(np.array([_tail(one, span) for one in spectra])))
    return None


def _kept(path: Path) -> tuple[FloatArray, FloatArray, FloatArray] | None:
    result = read_json(path)
    spectrum = ((result or {}).get("fit") or {}).get("spectrum") or {}
    arrays = tuple(np.array(spectrum.get(name, []), dtype=float) for name in ("k", "eigenvalues", "outside"))
    return (arrays[0], arrays[1], arrays[2]) if len(arrays[0]) > 1 else None


def _tail(spectrum: tuple[FloatArray, FloatArray, FloatArray], span: tuple[float, float]) -> float:
    """Return −d ln(1 − C)/d ln k over `span`, or the part of it that the spectrum has; NaN where that is none."""
    k, _, outside = spectrum
    good = outside > 0
    low, high = max(span[0], k[good][0]), min(span[1], k[good][-1])
    if low >= high:
        return np.nan
    x = np.linspace(np.log(low), np.log(high), POINTS)
    return -line(x, np.interp(x, np.log(k[good]), np.log(outside[good])))[0]


def read_spectra(*stores: Path) -> Mapping[str, Any]:
    """Return what `experiments.runs.measure_spectra` wrote into the stores, empty lists if it has not run."""
    contents = [read_json(store / SPECTRA_FILE) for store in stores]
    known = [content for content in contents if isinstance(content, dict)]
    return {name: [one for content in known for one in content[name]] for name in ("left_out", "exchanges")}


def local_exponents(powers: Sequence[LabelPower], content: Mapping[str, Any]) -> list[LocalExponents]:
    """Return the errors of left-out frames of the curves, with the local exponent and its band over seeds."""
    found = []
    for power in powers:
        mine = [one for one in content["left_out"] if one["model_id"] == power.curve.text("model_id")]
        if not mine:
            continue
        sizes = tuple(np.array(one["P"], dtype=float) for one in mine)
        errors = tuple(np.array(one["force_rmse"], dtype=float) for one in mine)
        low, high = max(s[0] for s in sizes) * WINDOW, min(s[-1] for s in sizes) / WINDOW
        centres = np.geomspace(low, high, 1 + 2 * round(np.log2(high / low))) if high > low else np.array([])
        slopes = [[_local(s, e, centre) for s, e in zip(sizes, errors, strict=True)] for centre in centres]
        found.append(
            LocalExponents(power.curve, sizes, errors, centres, tuple(t_interval(np.array(one)) for one in slopes))
        )
    return found


def _local(sizes: FloatArray, errors: FloatArray, centre: float) -> float:
    x = np.linspace(np.log(centre / WINDOW), np.log(centre * WINDOW), POINTS)
    return -line(x, np.interp(x, np.log(sizes), np.log(errors)))[0]


def exchanges(powers: Sequence[LabelPower], content: Mapping[str, Any]) -> list[Exchange]:
    """Return the exchanges of spectra between the curves."""
    by_id = {power.curve.text("model_id"): power.curve for power in powers}
    return [
        Exchange(
            dataset=one["dataset"],
            curves=tuple(by_id[name] for name in one["model_ids"]),
            frames=int(one["frames"]),
            sizes=tuple(one["sizes"]),
            beta=np.array(one["beta"], dtype=float),
        )
        for one in content["exchanges"]
        if set(one["model_ids"]) <= set(by_id)
    ]


def power_text(powers: Sequence[LabelPower]) -> str:
    """Return a line for every curve of one dataset, and the sentence that they add up to."""
    lines = []
    for power in sorted(powers, key=lambda one: -one.tail.value):
        beta = power.fit[0].best.beta
        lines.append(
            f"  {title(power.curve):32} tail {plus_minus(power.tail.value, power.tail.low, power.tail.high):13} "
            f"half {power.tail.value / 2:.2f}   β {plus_minus(beta.value, beta.low, beta.high)}"
        )
    first = powers[0]
    dataset, metric = dataset_words(first.curve.text("dataset")), metric_words(first.curve.text("metric"))
    head = (
        f"{dataset}, {metric}: exponent of 1 − C(k), the labels' power outside the "
        f"kernel's first k directions, over k = {first.span[0]:g} … {first.span[1]:g} "
        f"(P = {first.size}, {len(first.spectra)} seeds)"
    )
    return "\n".join([head, *lines, f"  {power_sentence(powers)}"])


def power_sentence(powers: Sequence[LabelPower]) -> str:
    """Say in plain words what the tails tell of these curves of one dataset."""
    text = (
        "How much of the labels lies outside the kernel's first k directions: where this falls faster with k, errors "
        "fall faster with P"
    )
    known = [power for power in powers if np.isfinite(power.tail.value) and np.isfinite(power.fit[0].best.beta.value)]
    if len(known) < 2:
        return f"{text}."
    tails = np.array([power.tail.value for power in known])
    betas = np.array([power.fit[0].best.beta.value for power in known])
    pairs = [(i, j) for i in range(len(known)) for j in range(i)]
    agree = sum((tails[i] - tails[j]) * (betas[i] - betas[j]) > 0 for i, j in pairs)
    fast, slow = known[int(tails.argmax())], known[int(tails.argmin())]
    return (
        f"{text}. Here fastest for {title(fast.curve)}, slowest for {title(slow.curve)}; β ranks {agree} of "
        f"{len(pairs)} pairs in the same order. It ranks models on the same frames and is no estimate of β."
    )


def exchange_text(exchange: Exchange) -> str:
    """Return the matrix of β and the sentence that it adds up to."""
    names = [title(curve) for curve in exchange.curves]
    width = max(map(len, names)) + 2
    rows = [
        f"  {name:{width}}" + "".join(f"{beta:8.2f}" for beta in row)
        for name, row in zip(names, exchange.mean, strict=True)
    ]
    sizes = f"P = {exchange.sizes[0]} … {exchange.sizes[-1]}"
    head = (
        f"{dataset_words(exchange.dataset)}: β with the eigenvectors of a row's model and the eigenvalues of a "
        f"column's (exact, {sizes} of {exchange.frames} frames, {exchange.beta.shape[2]} subsets, best ridge; "
        "columns as rows)"
    )
    return "\n".join([head, *rows, f"  {exchange_sentence(exchange)}"])


def exchange_sentence(exchange: Exchange) -> str:
    """Say in plain words whether directions or eigenvalues decide."""
    values, vectors = exchange.by_values, exchange.by_vectors
    moved = f"exchanging eigenvalues moves β by up to {values:.2f}, exchanging directions by up to {vectors:.2f}"
    if vectors > 2 * values:
        return f"β goes with the kernel's directions: {moved}."
    if values > 2 * vectors:
        return f"β goes with the kernel's eigenvalues: {moved}."
    return f"Neither alone decides β: {moved}."


def power_record(power: LabelPower) -> Record:
    """Return the JSON record of one curve's spectra."""
    return {
        **dataset_and_metric(power.curve),
        **model(power.curve),
        "P": power.size,
        "tail_from": power.span[0],
        "tail_to": power.span[1],
        **ends("tail", power.tail),
        **ends("beta", power.fit[0].best.beta),
    }


def local_record(local: LocalExponents) -> Record:
    """Return the JSON record of local exponents."""
    steps = [{"P": float(P), **ends("beta", one)} for P, one in zip(local.centres, local.exponents, strict=True)]
    return {**dataset_and_metric(local.curve), **model(local.curve), "local": steps}


def exchange_record(exchange: Exchange) -> Record:
    """Return the JSON record of an exchange."""
    return {
        "dataset": exchange.dataset,
        "models": [model(curve) for curve in exchange.curves],
        "P": list(exchange.sizes),
        "frames": exchange.frames,
        "beta": exchange.mean.tolist(),
        "by_eigenvalues": exchange.by_values,
        "by_eigenvectors": exchange.by_vectors,
        "sentence": exchange_sentence(exchange),
    }
