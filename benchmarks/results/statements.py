"""What the papers said about exponents, and what the tables say of it: on each dataset, and over all of them.

A statement names two networks that differ in one setting, and says that one is steeper, or that both are as steep.
Over datasets the differences are pooled as random effects, since what holds for one molecule need not for the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.comparisons.claim import METRIC
from analysis.comparisons.compare import Comparison, compare_curves
from analysis.comparisons.conditions import MARGIN, TOST
from analysis.comparisons.differences import floor_difference, slope_difference
from analysis.comparisons.equal_error import EqualError, equal_error
from analysis.comparisons.paired import Pair, excludes_zero, random_effects
from analysis.comparisons.sentences import SIGNIFICANT
from analysis.curve import Curve, curves
from analysis.fits.flags import JudgedFit
from analysis.fits.names import MAIN_FORMS
from analysis.fits.record import analyse, signed_interval
from analysis.fits.uncertainty import Interval, t_quantile
from analysis.table import load
from benchmarks.results import remembered
from benchmarks.results.outstanding import Place
from benchmarks.results.sections import DATA

CONTRADICTED, HOLDS, NOT_SHOWN, NO_DIFFERENCE = "**contradicted**", "holds", "not shown", "no difference shown"
NOT_CONVERGED = "not converged"
_NONE = Interval(np.nan, np.nan, np.nan, np.nan, 0)
NO_FRAMES = EqualError(_NONE, np.nan)
"""Where no ratio of frames is known."""


@dataclass(frozen=True)
class Said:
    """A statement of a paper about the exponents of two networks."""

    words: str
    """The statement."""
    source: str
    """The paper's network."""
    kind: str
    """Kind of section that tests it: `nequip` or `mace`."""
    factor: str
    """Column in which the two differ."""
    levels: tuple[int, int]
    """Values of it, the reference first."""
    steeper: bool
    """Whether the second is said to be steeper; else to have the same exponent."""
    fixed: tuple[tuple[str, int], ...] = ()
    """Other columns with their values, the same in both."""

    @property
    def change(self) -> str:
        """What changes, `L = 0 → 2`."""
        return f"{_sign(self.factor)} = {self.levels[0]} → {self.levels[1]}"

    @property
    def name(self) -> str:
        """What is compared, `MACE, ν = 3: L = 0 → 2`."""
        return f"{', '.join([self.source, *(f'{_sign(key)} = {value}' for key, value in self.fixed)])}: {self.change}"


SAID = (
    Said("L = 1 is steeper than L = 0", "NequIP", "nequip", "L", (0, 1), True),
    Said("L = 2 is as steep as L = 1", "NequIP", "nequip", "L", (1, 2), False),
    Said("L = 3 is as steep as L = 1", "NequIP", "nequip", "L", (1, 3), False),
    Said("at L = 0, ν = 3 is steeper than ν = 1", "MACE", "mace", "nu", (1, 3), True, (("L", 0),)),
    Said("at ν = 1, L = 1 is steeper than L = 0", "MACE", "mace", "L", (0, 1), True, (("nu", 1),)),
    Said("at ν = 3, L = 2 is as steep as L = 0", "MACE", "mace", "L", (0, 2), False, (("nu", 3),)),
)


@dataclass(frozen=True)
class Answer:
    """What tables say of a statement."""

    data: tuple[str, ...]
    """The dataset, or all that were pooled (names in `DATA`)."""
    power: Interval
    """Δβ of power laws, 95 %."""
    floor: Interval
    """Δβ with a floor in both, 95 %; NaN if it is not identified."""
    verdict: str
    """In a word or two."""
    frames: EqualError = NO_FRAMES
    """Frames that the first needs for the same error, over those of the second."""

    @property
    def contradicts(self) -> bool:
        """Whether the paper is contradicted."""
        return self.verdict == CONTRADICTED

    @property
    def power_text(self) -> str:
        """Δβ of power laws with its interval."""
        return _text(self.power)

    @property
    def floor_text(self) -> str:
        """Δβ with a floor in both with its interval; a dash where it is not identified."""
        return _text(self.floor)


def answers(place: Place) -> dict[Said, list[Answer]]:
    """Return what every dataset's table says of each statement, in the order of `DATA`; force MAE, its own test set."""
    found: dict[Said, list[Answer]] = {said: [] for said in SAID}
    for data in DATA:
        for kind in dict.fromkeys(said.kind for said in SAID):
            table = place.table(f"{kind}_{data}")
            compared = _compared(table) if table.exists() else []
            for said in SAID:
                if said.kind == kind and (one := next((c for c in compared if _tests(said, c)), None)):
                    found[said].append(_answer(said, data, one))
    return found


def over_datasets(single: Sequence[Answer], steeper: bool) -> Answer | None:
    """Pool what two datasets or more say of a difference; None for fewer.

    Args:
        single: each dataset's answer.
        steeper: as for `judge`.
    """
    known = [one for one in single if one.power.error > 0 and one.verdict != NOT_CONVERGED]
    if len(known) < 2:
        return None
    power = _pooled([one.power for one in known])
    floored = [one.floor for one in known if one.floor.error > 0]
    floor = _pooled(floored) if len(floored) == len(known) else _NONE
    data = tuple(name for one in known for name in one.data)
    return Answer(data, power, floor, judge(power, floor, excludes_zero(power), steeper), _pooled_frames(known))


def of_pair(data: str, both: Pair, power: Interval | None = None) -> Answer:
    """Return what a pair of curves says of the statement that both are as steep.

    Args:
        data: name in `DATA`.
        both: the reference first.
        power: Δβ of power laws, if it is known already.
    """
    power, floor = power or slope_difference(both), floor_difference(both)
    verdict = judge(power, floor, excludes_zero(power), steeper=False)
    return Answer((data,), power, floor, verdict, equal_error(both))


def judge(power: Interval, floor: Interval, shown: bool, steeper: bool) -> str:
    """Return whether a difference bears a statement out, in words.

    A floor that is not excluded leaves a difference open. As steep is what lies within the margin of the claim, ±0.05;
    no difference shown is no proof of it.

    Args:
        power: Δβ of power laws.
        floor: Δβ with a floor in both.
        shown: whether `power` is beyond chance, after whatever correction.
        steeper: what was said: that the second is steeper, else that both are as steep.
    """
    if not steeper and _within(power):
        return f"{HOLDS} within ±{MARGIN:g}{'' if _within(floor) else ', open: floor'}"
    if not shown:
        return NOT_SHOWN if steeper else NO_DIFFERENCE
    rises = power.value > 0
    if not (excludes_zero(floor) and (floor.value > 0) == rises):
        return f"{'rises' if rises else 'falls'}, open: floor"
    return HOLDS if steeper and rises else CONTRADICTED


def force_curves(tables: Sequence[Path]) -> list[Curve]:
    """Return the curves of force MAE of run tables, on the first test set, the dataset's own."""
    found = on_all_test_sets(tables)
    return [one for one in found if one.text("test_set") == found[0].text("test_set")]


def on_all_test_sets(tables: Sequence[Path]) -> list[Curve]:
    """Return those on every test set, as a section's page fits them: their variances lend to each other."""
    return [one for one in curves(load(tables, [])) if one.text("metric") == METRIC]


@remembered.of_tables
def fits_of(table: Path) -> list[JudgedFit]:
    """Return the fits of the curves of force MAE of a table, on all its test sets, the dataset's own first."""
    return analyse(on_all_test_sets([table]), MAIN_FORMS)


def own_test_set(fits: Sequence[JudgedFit]) -> list[JudgedFit]:
    """Return those on the first test set, the dataset's own."""
    return [one for one in fits if one[0].curve.text("test_set") == fits[0][0].curve.text("test_set")]


@remembered.of_tables
def _compared(table: Path) -> Sequence[Comparison]:
    fits = fits_of(table)
    own = fits[0][0].curve.text("test_set") if fits else ""
    return [one for one in compare_curves(fits) if one.first.text("test_set") == own]


def _tests(said: Said, c: Comparison) -> bool:
    levels = [curve.number(said.factor) for curve in (c.first, c.second)]
    fixed = all(c.first.number(name) == value for name, value in said.fixed)
    return c.factor == said.factor and levels == list(said.levels) and fixed


def _answer(said: Said, data: str, c: Comparison) -> Answer:
    shown = excludes_zero(c.delta) and c.p_holm < SIGNIFICANT
    verdict = NOT_CONVERGED if c.not_converged else judge(c.delta, c.with_floor, shown, said.steeper)
    return Answer((data,), c.delta, c.with_floor, verdict, c.ratio)


def _pooled(deltas: Sequence[Interval]) -> Interval:
    return random_effects(np.array([one.value for one in deltas]), np.array([one.error for one in deltas]))[0]


def _pooled_frames(single: Sequence[Answer]) -> EqualError:
    """Pool logarithms of ratios; where one has no more than a limit, take the limit that holds on each.

    Datasets without a value are those with the largest effects, so that a mean over the others would be too small.
    """
    ratios = [one.frames.ratio for one in single]
    if not all(np.isfinite(one.value) and one.error > 0 for one in ratios):
        return _limit_of_all([one.frames for one in single])
    values, errors = np.log([one.value for one in ratios]), np.array([one.error for one in ratios])
    pooled = random_effects(values, errors)[0]
    value, low, high = (float(np.exp(end)) for end in (pooled.value, pooled.low, pooled.high))
    return EqualError(Interval(value, low, high, pooled.error, pooled.dof), np.nan)


def _limit_of_all(frames: Sequence[EqualError]) -> EqualError:
    lows, highs = zip(*(_ends(one) for one in frames), strict=True)
    if min(lows) > 1:
        return EqualError(Interval(np.nan, min(lows), np.nan, np.nan, 0), np.nan, open_ends=("high",))
    if max(highs) < 1:
        return EqualError(Interval(np.nan, np.nan, max(highs), np.nan, 0), np.nan, open_ends=("low",))
    return NO_FRAMES


def _ends(one: EqualError) -> tuple[float, float]:
    """Return the smallest and the largest ratio that are not excluded."""
    if one.bound:
        kind, limit = one.bound
        return (limit, np.inf) if kind == "more" else (0.0, limit)
    if not np.isfinite([one.ratio.low, one.ratio.high]).all():
        return 0.0, np.inf
    return (0.0 if "low" in one.open_ends else one.ratio.low), (np.inf if "high" in one.open_ends else one.ratio.high)


def _within(delta: Interval) -> bool:
    """Return whether two one-sided tests at 5 % show |Δβ| < margin."""
    if not (delta.error > 0 and delta.dof >= 1):
        return False
    return abs(delta.value) + float(t_quantile(delta.dof, TOST)) * delta.error < MARGIN


def _sign(column: str) -> str:
    return "ν" if column == "nu" else column


def _text(delta: Interval) -> str:
    return signed_interval(delta) if np.isfinite(delta.value) else "–"
