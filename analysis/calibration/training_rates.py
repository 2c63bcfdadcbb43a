"""How often which verdict on training falls, and what the hull covers: simulated curves that lack a known remainder.

ln ε = −β·ln P + (seed's noise, the same for all schedules) + (own noise of each schedule) + excess, with the excess
b·(T/T′)^κ·ln(P/P_min) after T′ updates: more training would raise the exponent by b from its value after T updates. The
seed's noise is that of module `calibrate`; the schedules' own, independent at every P, gives every slope the stated
standard deviation, so that the change between two schedules has √2 times it (measured: .5 to 1.5 % an error, .005 a
slope). The rule is the program's own (`fits.training`) with κ from each curve by itself: pooling can only help.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np

from analysis.arrays import FloatArray
from analysis.calibration.calibrate import Scenario, seeds_t, simulate
from analysis.fits.remainder import estimate_kappa, gain_pairs, hull, remainder, rising

BETA = 0.5
"""Exponent after all training."""
SEEDS = (3, 5, 10)
"""Numbers of seeds S."""
NOISES = (0.005, 0.02, 0.06)
"""Standard deviations of a seed's slope from the noise of one schedule."""
BIASES = (0.0, 0.01, 0.03, 0.06)
"""What training still lacks, b."""
KAPPAS = (0.25, 0.5, 1.0)
"""Values of κ; for the first the law is slower than the rule allows for where it is not told."""
SIZES = 7
"""Values of P."""
WRONG = 0.05
"""Largest accepted share of *converged* at the largest bias, and of *not converged* without one."""
COVERED = 0.92
"""Smallest accepted coverage of the hull."""


@dataclass(frozen=True)
class TrainingRate:
    """Verdicts and coverage in simulated curves of one kind."""

    kappa: float
    """True κ."""
    bias: float
    """True remainder."""
    noise: float
    """Standard deviation of a seed's slope from the noise of one schedule."""
    n_seeds: int
    """Seeds S."""
    n_tables: int
    """Simulated curves."""
    converged: float
    """Share of *converged*."""
    not_converged: float
    """Share of *not converged*."""
    cannot_tell: float
    """Share of *cannot tell*."""
    plain: float
    """Share of intervals of β after T updates that contain the exponent after all training."""
    hull: float
    """Share of hulls that contain it."""
    width: float
    """Median of half the width of the hull."""
    told: float
    """Share of curves that tell κ."""

    @property
    def missed(self) -> tuple[str, ...]:
        """Targets that are missed, in words; κ = ¼ has none."""
        targets = (
            (self.bias == max(BIASES) and self.converged > WRONG, f"converged in {100 * self.converged:.1f} %"),
            (self.bias == 0 and self.not_converged > WRONG, f"not converged in {100 * self.not_converged:.1f} %"),
            (self.hull < COVERED, f"the hull covers {100 * self.hull:.1f} %"),
        )
        return tuple(text for missed, text in targets if missed) if self.kappa >= min(KAPPAS[1:]) else ()


def measure_training(n: int = 4000, seed: int = 0) -> list[TrainingRate]:
    """Return the rates for every κ, bias, noise and number of seeds, from n curves each."""
    rng = np.random.default_rng(seed)
    return [
        training_rate(kappa, bias, noise, s, n, rng)
        for kappa in KAPPAS
        for bias in BIASES
        for noise in NOISES
        for s in SEEDS
    ]


def training_rate(
    kappa: float, bias: float, noise: float, n_seeds: int, n: int, rng: np.random.Generator
) -> TrainingRate:
    """Return the rates of the verdicts and the coverage in n curves."""
    x, (full, half, quarter) = training_curves(kappa, bias, noise, n_seeds, n, rng)
    shifted = x - x.mean()
    slopes, before = (-(rows @ shifted) / (shifted @ shifted) for rows in (full, half))
    told = estimate_kappa(*gain_pairs(quarter - half, half - full))
    left = remainder(slopes - before, told)
    rises = (rising(half - full) | rising(quarter - full)).any(axis=-1)
    plain = seeds_t(x, full)
    low, high = hull(plain.value, plain.low, plain.high, slopes, slopes - before, told)
    converged, late = left.within & ~rises, left.outside | rises
    return TrainingRate(
        kappa=kappa,
        bias=bias,
        noise=noise,
        n_seeds=n_seeds,
        n_tables=n,
        converged=float(converged.mean()),
        not_converged=float(late.mean()),
        cannot_tell=float((~converged & ~late).mean()),
        plain=float(plain.holds(BETA).mean()),
        hull=float(((low <= BETA) & (high >= BETA)).mean()),
        width=float(np.median(high - low) / 2),
        told=float(told.told.mean()),
    )


def training_curves(
    kappa: float, bias: float, noise: float, n_seeds: int, n: int, rng: np.random.Generator
) -> tuple[FloatArray, tuple[FloatArray, FloatArray, FloatArray]]:
    """Simulate n curves: return ln P [K] and ln ε of the schedules of T, T/2 and T/4, [n, S, K] each."""
    x, shared = simulate(Scenario("", n_seeds, SIZES, beta=BETA, test=0.0), n, rng)
    shifted = x - x.mean()
    own = noise * np.sqrt(shifted @ shifted)
    excess = bias * (x - x[0])
    full, half, quarter = (
        shared + own * rng.normal(size=shared.shape) + excess * factor**kappa for factor in (1.0, 2.0, 4.0)
    )
    return x, (full, half, quarter)


def training_table(rates: Iterable[TrainingRate]) -> str:
    """Return a text table of the rates in per cent, and what misses its target."""
    rates = list(rates)
    head = ("κ", "bias", "noise", "seeds", "converged", "not", "cannot", "β alone", "hull", "±hull", "κ told")
    lines = [f"verdicts on training and coverage of the hull, % of {rates[0].n_tables} simulated curves each"]
    lines.append("".join(f"{name:>10}" for name in head))
    for one in rates:
        shares = (one.converged, one.not_converged, one.cannot_tell, one.plain, one.hull)
        lines.append(
            f"{one.kappa:10g}{one.bias:10g}{one.noise:10g}{one.n_seeds:10d}"
            + "".join(f"{100 * share:10.1f}" for share in shares)
            + f"{one.width:10.3f}{100 * one.told:10.1f}"
        )
    missed = [(one, text) for one in rates for text in one.missed]
    lines += [
        f"missed: κ = {one.kappa:g}, bias {one.bias:g}, noise {one.noise:g}, {one.n_seeds} seeds: {text}"
        for one, text in missed
    ]
    slow = [one.hull for one in rates if one.kappa < min(KAPPAS[1:])]
    if slow:
        lines.append(f"κ = {min(KAPPAS):g} (no target): the hull covers {100 * min(slow):.1f}–{100 * max(slow):.1f} %")
    lines.append(
        f"targets: converged ≤ {100 * WRONG:.0f} % at a bias of {max(BIASES):g}, not converged ≤ {100 * WRONG:.0f} % "
        f"without one, hull ≥ {100 * COVERED:.0f} %: " + (f"{len(missed)} missed" if missed else "all met")
    )
    return "\n".join(lines)


def training_records(rates: Iterable[TrainingRate]) -> list[dict[str, object]]:
    """Return the rates as records for JSON."""
    return [{**asdict(one), "missed": list(one.missed)} for one in rates]
