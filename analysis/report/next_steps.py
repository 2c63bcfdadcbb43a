"""What to do next: the runs that would settle what is open, with the hours that they take by the finished ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.curve import Curve
from analysis.figures.naming import model_names
from analysis.figures.panels import preferred
from analysis.fits.flags import Flag, JudgedFit, Verdict
from analysis.spelling import dataset_words
from experiments.core.wording import counted

SEEDS = 3
"""Seeds from which on an interval does not rest on other curves."""
SIZES = 4
"""Sizes from which on a floor can be told from a power law."""
_WANT_SIZES = {Flag.FEW_P, Flag.FLOOR_OPEN, Flag.FORM_DEPENDENT}
_OPEN = {Verdict.NOT_CONVERGED, Verdict.CANNOT_TELL}


def next_steps(fits: Sequence[JudgedFit]) -> list[str]:
    """Return one sentence for each kind of runs that are wanted, of the main metric of each dataset."""
    steps: list[str] = []
    groups: dict[tuple[str, str], list[JudgedFit]] = {}
    for item in preferred(fits, ("dataset", "test_set")):
        curve = item[0].curve
        groups.setdefault((curve.text("dataset"), curve.text("test_set")), []).append(item)
    for (dataset, _), group in groups.items():
        names = model_names([fit.curve for fit, _ in group], full=True)
        for item, name in zip(group, names, strict=True):
            steps += [f"{dataset_words(dataset)}, {name}: {step}." for step in _steps(item)]
    return list(dict.fromkeys(steps))  # several test sets have the same runs


def _steps(item: JudgedFit) -> list[str]:
    (fit, judgement), curve, training = item, item[0].curve, item[1].training
    found = []
    if judgement.verdict in _OPEN and np.isfinite(training.factor):
        steps = curve.value("training.max_steps")
        longer = f" to {training.factor * steps:,.0f}" if isinstance(steps, float) else f" {training.factor:g}-fold"
        found.append(f"raise training.max_steps{longer}{_hours(curve, training.factor * training.seconds)}")
    lacking = SEEDS - len(fit.curve.seeds) if curve.has_seeds else 0
    seconds = _by_size(curve)
    if lacking > 0:
        found.append(f"{counted(lacking, 'more seed')}{_hours(curve, lacking * float(seconds.sum()))}")
    if _WANT_SIZES & set(judgement.flags):
        # A fit in closed form costs at least twice as much with twice the frames, a training the same.
        factor = 1.0 if len(training.change) else 2.0
        more = max(1, SIZES - len(curve.sizes))
        sizes = [f"{curve.sizes[-1] * 2 ** (k + 1):g}" for k in range(more)]
        cost = sum(factor ** (k + 1) for k in range(more)) * float(seconds[-1]) * len(curve.seeds)
        reason = "a floor is open" if Flag.FEW_P not in judgement.flags else "few sizes"
        found.append(f"add P = {', '.join(sizes)} ({reason}){_hours(curve, cost)}")
    return found


def _by_size(curve: Curve) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the mean seconds of a run at each P, NaN if the table does not say: processor time on a CPU."""
    on_cpu = curve.devices == {"cpu"} and curve.cpu_seconds is not None
    spent = curve.cpu_seconds if on_cpu and curve.cpu_seconds is not None else curve.seconds
    count = np.isfinite(spent).sum(axis=0)
    return np.asarray(np.where(count > 0, np.nansum(spent, axis=0) / np.maximum(count, 1), np.nan))


def _hours(curve: Curve, seconds: float) -> str:
    """Describe a time as hours of what the runs were computed on; empty if it is unknown."""
    if not np.isfinite(seconds):
        return ""
    unit = "core" if curve.devices == {"cpu"} else "GPU" if curve.devices and "cpu" not in curve.devices else "device"
    if seconds >= 600:
        return f", about {seconds / 3600:.2g} {unit} hours"
    return f", about {counted(max(1, round(seconds / 60)), f'{unit} minute')}"
