"""The ground floor: errors, files, processes, settings (no torch)."""
