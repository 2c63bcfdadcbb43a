"""Generation of frames: molecules, and their Langevin and nested Monte Carlo sampling with xTB."""
