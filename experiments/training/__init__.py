"""Training of neural networks: packs of runs, schedules, optimisers, checkpoints."""
