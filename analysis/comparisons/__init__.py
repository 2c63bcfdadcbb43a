"""Differences between curves: pairs of seeds, groups, the pre-registered claim."""
