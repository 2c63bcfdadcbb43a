"""Where it runs: sweeps become runs, runs become packs, packs go to worker processes (or a cluster)."""
