"""Wording of errors and counts for people (torch-free)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

_VALIDATION_METRICS = {
    "force_mae": ("forces", "eV/Å"),
    "error_rate": ("error rate", ""),
    "energy_mae": ("energies", "eV/atom"),
}
"""Metrics on the validation set with name and unit; the first that a history record has is shown."""


def format_error(value: float, unit: str, atoms: int | None = None) -> str:
    """Format energies and forces in meV/atom and meV/Å, other numbers in their unit.

    Args:
        value: in `unit`.
        unit: eV/atom, eV/Å or another.
        atoms: of every frame, if all have as many: the error of a whole frame, which papers quote, then stands beside.
    """
    if not unit.startswith("eV"):
        return f"{value:10.4f} {unit}".rstrip()
    frame = f"  ({1000 * value * atoms:.3f} meV a frame of {atoms} atoms)" if atoms and unit.endswith("/atom") else ""
    return f"{1000 * value:10.3f} m{unit}{frame}"


def per_atom(metric: str, unit: str) -> str:
    """Return the unit of a metric; energies that say eV or meV, as in earlier results, are per atom."""
    return f"{unit}/atom" if metric in ("energy_mae", "energy_rmse") and unit in ("eV", "meV") else unit


def validation_error(record: Mapping[str, Any]) -> tuple[str, str]:
    """Return what a history record measured on the validation set and its error: `("forces", "12.3 meV/Å")`.

    Empty texts if it measured nothing.
    """
    for metric, (name, unit) in _VALIDATION_METRICS.items():
        if (error := record.get(f"holdout_{metric}")) is not None:
            return name, f"{1000 * error:.1f} m{unit}" if unit else f"{error:.3f}"
    return "", ""


def duration(seconds: float) -> str:
    """Return seconds in a readable unit: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 run`, `2 runs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


_ELSEWHERE = {"additional_parameters": "sbatch"}
"""Names that submitit's plugin of Hydra has for a setting, where ours is not alike."""


def did_you_mean(word: str, options: Iterable[str], prefix: str = "") -> str:
    """Return ` (did you mean X?)`, X being `prefix` and the option nearest to a mistyped word; "" if none is near."""
    by_lower = {option.lower(): option for option in options}
    for name, ours in _ELSEWHERE.items():
        before, found, _ = word.partition(name)
        if found and (before + ours).lower() in by_lower:
            return f" (did you mean {prefix}{before}{ours}?)"
    near = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return f" (did you mean {prefix}{by_lower[near[0]]}?)" if near else ""
