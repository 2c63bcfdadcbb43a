"""Spectra of kernels, the labels' power in them, local exponents, and exponents with spectra exchanged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from analysis.bounds.label_power import Exchange, LabelPower, LocalExponents
from analysis.figures.heat_map import heat_map
from analysis.figures.naming import model_names
from analysis.figures.style import (
    COLUMN_WIDTH,
    Look,
    entry,
    legend_height,
    letters,
    log_axis,
    looks,
    save,
    sheet,
    size_axis,
    style,
    title,
)

Numbers = list[dict[str, object]]


def draw(
    powers: Sequence[LabelPower], local: Sequence[LocalExponents], exchange: Exchange | None, stem: Path
) -> list[Path]:
    """Draw what is known of the curves of one dataset into `stem`.pdf/.svg/.png and `stem`.csv; return the files."""
    curves = [power.curve for power in powers]
    chosen = dict(zip((curve.name for curve in curves), looks(curves), strict=True))
    names = dict(zip(chosen, model_names(curves), strict=True))
    local = [one for one in local if len(one.centres)]
    count = 2 + bool(local) + (exchange is not None)
    numbers: Numbers = []
    with style():
        figure, axes = sheet(count, 0.8 * COLUMN_WIDTH + legend_height(map(entry, names.values())), columns=2)
        marks = letters(count)
        numbers += _spectra(axes[0], powers, chosen, names)
        title(axes[0], f"{marks[0]}eigenvalues of the training rows")
        numbers += _outside(axes[1], powers, chosen)
        title(axes[1], f"{marks[1]}labels outside the first k directions")
        if local:
            numbers += _local(axes[2], local, chosen)
            title(axes[2], f"{marks[2]}local exponent, from left-out frames")
        if exchange is not None:
            numbers += _matrix(axes[-1], exchange)
            title(axes[-1], f"{marks[-1]}β with spectra exchanged")
        return save(figure, stem, numbers)


def _spectra(axes: Axes, powers: Sequence[LabelPower], chosen: dict[str, Look], names: dict[str, str]) -> Numbers:
    numbers: Numbers = []
    for power in powers:
        look, called = chosen[power.curve.name], names[power.curve.name]
        for seed, (k, values, _) in enumerate(power.spectra):
            axes.plot(k, values, color=look.color, linestyle=look.line, linewidth=0.9, alpha=1.0 if seed == 0 else 0.35,
                      label=entry(called) if seed == 0 else None)  # fmt: skip
            numbers += _rows("eigenvalue", called, seed, k, values)
    log_axis(axes.xaxis)
    log_axis(axes.yaxis)
    axes.set_xlabel("i")
    axes.set_ylabel("μ_i / μ_1")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), borderaxespad=0.0)
    return numbers


def _outside(axes: Axes, powers: Sequence[LabelPower], chosen: dict[str, Look]) -> Numbers:
    numbers: Numbers = []
    axes.axvspan(*powers[0].span, color="#eeeeee", zorder=0)
    for power in powers:
        look = chosen[power.curve.name]
        for seed, (k, _, outside) in enumerate(power.spectra):
            axes.plot(
                k, outside, color=look.color, linestyle=look.line, linewidth=0.9, alpha=1.0 if seed == 0 else 0.35
            )
            numbers += _rows("outside", power.curve.name, seed, k, outside)
    log_axis(axes.xaxis)
    log_axis(axes.yaxis, 1e-5)
    axes.set_xlabel("k")
    axes.set_ylabel("1 − C(k)")
    return numbers


def _local(axes: Axes, local: Sequence[LocalExponents], chosen: dict[str, Look]) -> Numbers:
    numbers: Numbers = []
    for one in local:
        look = chosen[one.curve.name]
        values, low, high = (np.array([getattr(e, name) for e in one.exponents]) for name in ("value", "low", "high"))
        axes.plot(one.centres, values, color=look.color, linestyle=look.line)
        if np.isfinite(low).all():
            axes.fill_between(one.centres, low, high, color=look.color, alpha=0.15, linewidth=0)
        numbers += _rows("local exponent", one.curve.name, None, one.centres, values)
    size_axis(axes, {float(2.0 ** round(np.log2(c))) for one in local for c in one.centres})
    axes.set_ylabel("local exponent (95 % band)")
    return numbers


def _matrix(axes: Axes, exchange: Exchange) -> Numbers:
    names = model_names(exchange.curves)
    beta = exchange.mean
    shown = [[f"{one:.2f}" for one in row] for row in beta]
    heat_map(axes, beta, shown, names, names, Normalize(float(beta.min()), float(beta.max())))
    axes.set_xticks(axes.get_xticks(), names, rotation=30, ha="right")
    axes.set_xlabel("eigenvalues of")
    axes.set_ylabel("eigenvectors of")
    return [
        {"kind": "exchange", "vectors": names[a], "values": names[b], "value": float(beta[a, b])}
        for a, b in np.ndindex(beta.shape)
    ]


def _rows(kind: str, name: str, seed: int | None, x: object, y: object) -> Numbers:
    pairs = zip(np.asarray(x, dtype=float), np.asarray(y, dtype=float), strict=True)
    return [{"kind": kind, "model": name, "seed": seed, "x": float(a), "value": float(b)} for a, b in pairs]
