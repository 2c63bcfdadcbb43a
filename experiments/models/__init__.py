"""Architectures: one file each, functional, with an explicit leading pack axis."""
