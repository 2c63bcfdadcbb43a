"""``make bench``, the training side; see :mod:`experiments.bench.__main__`."""
