"""Figures of a run table, one file each; `draw_all` finds and draws them.

A file `NAME.py` here, or `DIR/figures/NAME.py` of a user (`--plugins DIR`), has

- `NAME`, the name of the files that it writes;
- `collect(fits, distances)`: what it draws of the fitted curves (and of the table of distances, None if there is
  none); None or empty if the table lacks it;
- `draw(data, stem)`, which writes `stem`.pdf, .svg, .png and the plotted numbers as `stem`.csv
  (`analysis.figures.style.save`) and returns the files;
- if it can show published points, `with_references(data, references)`, which adds them (`analysis.figures.references`)
  to what `collect` returned.
"""
