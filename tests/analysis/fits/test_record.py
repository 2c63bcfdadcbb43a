"""Numbers in words: enough decimals to see what an interval says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.fits.record import plus_minus, signed_interval, span
from analysis.fits.uncertainty import Interval


@pytest.mark.parametrize(
    ("value", "low", "high", "shown"),
    [
        (0.52, 0.49, 0.55, "0.52 ± 0.03"),
        (0.61, 0.57, 0.84, "0.61 [0.57, 0.84]"),
        (0.0, -0.02, 0.02, "0.00 ± 0.02"),
        (0.5, 0.497, 0.503, "0.500 ± 0.003"),
        (0.0012, 0.0004, 0.0020, "0.0012 ± 0.0008"),
        (0.0105, 0.001, 0.02, "0.011 ± 0.009"),  # to two decimals 0.01 ± 0.01
        (0.1, 0.002, 0.198, "0.100 ± 0.098"),
        (0.3, float("nan"), float("nan"), "0.30"),
        (float("nan"), float("nan"), float("nan"), "–"),
    ],
)
def test_estimates_have_the_decimals_of_their_intervals(value: float, low: float, high: float, shown: str) -> None:
    assert plus_minus(value, low, high) == shown


@pytest.mark.parametrize(
    ("value", "low", "high", "shown"),
    [
        (0.0012, 0.0004, 0.0020, "+0.0012 [0.0004, 0.0020]"),
        (-0.0012, -0.0030, 0.0006, "−0.001 [−0.003, 0.001]"),
        (-0.001, -0.03, 0.03, "+0.00 [−0.03, 0.03]"),
        (0.12, 0.05, 0.19, "+0.12 [0.05, 0.19]"),
        (0.12, float("nan"), float("nan"), "+0.12"),
    ],
)
def test_differences_that_are_tiny_are_no_zeros(value: float, low: float, high: float, shown: str) -> None:
    assert signed_interval(Interval(value, low, high, 0.1, 4)) == shown


@given(
    low=st.floats(-2, 2).map(lambda x: round(x, 4)),
    width=st.floats(1e-3, 2).map(lambda x: round(x, 4)),
)
def test_an_interval_shows_whether_it_excludes_zero(low: float, width: float) -> None:
    """Ends of four decimals are within reach of two decimals and two more."""
    high = low + width
    shown = [float(end.replace("−", "-")) for end in span(low, high)[1:-1].split(", ")]
    assert [(end > 0) - (end < 0) for end in shown] == [
        (end > 0) - (end < 0) for end in (round(low, 6), round(high, 6))
    ]
    assert shown[0] < shown[1]
