"""Sources of data: one file a source, with its settings and its loader."""
