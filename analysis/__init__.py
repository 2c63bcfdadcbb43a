"""What the runs mean: run table in, exponents with honest intervals, comparisons, bounds and figures out.

Imports neither torch nor the models: the run table is all it needs.
"""
