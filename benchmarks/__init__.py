"""Measurements of speed (`make bench`), and the scripts that print tables and draw pictures of docs/."""
