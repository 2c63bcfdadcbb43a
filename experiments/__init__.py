"""Run it: data → model → training → run directory."""
