"""Errors at larger training-set sizes, and the sizes that errors need: extrapolated learning curves with intervals."""
