"""What talks to Slurm: submissions, batch scripts, their jobs, and what became of them."""
