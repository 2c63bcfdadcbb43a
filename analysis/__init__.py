"""Analysis of learning curves: from a run table to exponents with intervals, comparisons, bounds and figures.

Imports neither torch nor the models: the run table is all it needs. In Python, `from analysis import load, fit,
compare, claim, forecast, plot` (module `analysis.notebook`; docs/python.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.notebook import claim, compare, fit, forecast, load, plot

__all__ = ["claim", "compare", "fit", "forecast", "load", "plot"]


def __getattr__(name: str) -> object:
    """Import the Python interface when one of its functions is asked for: `--help` needs neither pandas nor scipy."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from analysis import notebook

    return getattr(notebook, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
