"""Frames of atoms: where they come from, which of them train, and who is whose neighbour (no torch here)."""
