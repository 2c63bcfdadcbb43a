"""Errors of the analysis: bad input (exit code 2); a curve that cannot be fitted or runs that failed (exit code 1)."""

from __future__ import annotations

from experiments.core.errors import InputError, RunsFailed

__all__ = ["InputError", "RunsFailed", "UnfittableError"]


class UnfittableError(RuntimeError):
    """At least one curve could not be fitted at all; the message names it. Commands exit with code 1."""
