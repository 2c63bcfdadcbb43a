"""The forms that are fitted, by the names that people give; the parser of commands loads no more than this."""

from __future__ import annotations

from enum import StrEnum


class Form(StrEnum):
    """Fit forms."""

    POWER = "power"
    """ε = a·P^(−β)."""
    POWER_FLOOR = "power_floor"
    """ε = a·P^(−β) + c with c ≥ 0."""
    POWER_HUBER = "power_huber"
    """ε = a·P^(−β) under Huber's loss: a check of robustness, never recommended."""
    BNSL_1 = "bnsl_1"
    """A power law with one break; β is the exponent after it. For diagnosis, never recommended."""
    M4 = "m4"
    """A power law between a small-data plateau and a floor; β is the exponent between them, and no slope of the curve.
    For diagnosis, never recommended."""
    BINOMIAL = "binomial"
    """ε = a·P^(−β) by the likelihood of the error counts, for error rates (which can be zero)."""
    BINOMIAL_FLOOR = "binomial_floor"
    """ε = a·P^(−β) + c by the likelihood of the error counts: c is an error rate that no amount of data removes."""


WITH_FLOOR = frozenset({Form.POWER_FLOOR, Form.BINOMIAL_FLOOR})
"""Forms with a floor that can be recommended."""
DIAGNOSTIC = (Form.POWER_HUBER, Form.BNSL_1, Form.M4)
"""Forms that are never recommended."""

MAIN_FORMS = (Form.POWER, Form.POWER_FLOOR, Form.BINOMIAL)
"""Forms that every answer rests on; `fit` has more, for comparison."""
