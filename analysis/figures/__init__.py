"""Figures of a run table, one file per figure; `draw_all` draws them."""
