"""Errors of the analysis: bad input (exit code 2) and a curve that cannot be fitted (exit code 1)."""

from __future__ import annotations

from experiments.errors import InputError

__all__ = ["InputError", "UnfittableError"]


class UnfittableError(RuntimeError):
    """At least one curve could not be fitted at all; the message names it. Commands exit with code 1."""
