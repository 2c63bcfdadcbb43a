"""A run from its directory to its numbers: store, execution, results, evaluation, tuning."""
