"""Learning tasks: targets, losses, predictions and errors for molecules and for other examples."""
