"""Where examples come from: one file a source, its settings and its loader."""
