"""Weights of the packages that people use, in our layout: the same functions, so that numbers can be compared."""
