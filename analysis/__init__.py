"""Analysis of learning curves: from a run table to exponents with intervals, comparisons, bounds and figures.

Imports neither torch nor the models: the run table is all it needs.
"""
