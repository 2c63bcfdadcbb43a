"""Jobs on a Slurm cluster: submissions, batch scripts, the jobs themselves, and their states."""
