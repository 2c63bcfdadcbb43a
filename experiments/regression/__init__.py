"""Models solved in closed form, and the solvers that they share."""
