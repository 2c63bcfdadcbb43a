"""Compute and write docs/results: `python -m benchmarks.results` (`make results`)."""
