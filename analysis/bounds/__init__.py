"""Bounds and laws of theory, distances between frames, and the dimension of the data."""
