"""The configuration of a run: settings, their ranges, identity, matched sizes, tuned rates (no torch)."""
