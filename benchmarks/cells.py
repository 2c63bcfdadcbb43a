"""The cells of the pre-registered test by their settings."""

from __future__ import annotations

CELLS = {"A": (0, 1, 3), "B": (1, 1, 3), "C": (0, 3, 3), "D": (0, 3, 0)}
"""L, ν and edge order of the cells of the pre-registered test."""
