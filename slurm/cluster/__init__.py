"""A real Slurm on one machine: four nodes with pretended GPUs, for tests and for trying the launcher at home."""
