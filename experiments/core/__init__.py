"""What every room stands on: errors, files, processes, settings (no torch)."""
