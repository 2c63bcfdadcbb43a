"""Datasets: sources, training subsets, energy baselines, neighbour lists and their cache (torch-free)."""
