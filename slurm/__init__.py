"""Running sweeps: their points become runs, runs become packs, and packs go to worker processes or to a cluster."""
