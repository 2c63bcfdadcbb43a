"""Wording of errors and counts for people (torch-free)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

_VALIDATION_METRICS = {
    "force_mae": ("forces", "eV/Å"),
    "error_rate": ("error rate", ""),
    "energy_mae": ("energies", "eV"),
}
"""Metrics on the validation set with name and unit; the first that a history record has is shown."""


def format_error(value: float, unit: str) -> str:
    """Format energies and forces in meV and meV/Å, other numbers in their unit."""
    return f"{1000 * value:10.3f} m{unit}" if unit.startswith("eV") else f"{value:10.4f} {unit}".rstrip()


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


def did_you_mean(word: str, options: Iterable[str], prefix: str = "") -> str:
    """Return ` (did you mean X?)`, X being `prefix` and the option nearest to a mistyped word; "" if none is near."""
    by_lower = {option.lower(): option for option in options}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return f" (did you mean {prefix}{by_lower[near[0]]}?)" if near else ""
