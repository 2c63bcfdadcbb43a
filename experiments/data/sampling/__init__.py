"""Frames that are generated: molecules, Langevin and nested Monte Carlo sampling with xTB."""
