"""The commands of `python -m analysis`, called with their parsed arguments; `analysis.cli` has their help."""
