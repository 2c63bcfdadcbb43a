"""One self-contained HTML page with the results of a run table; it needs no network.

`words` makes the sentences, `health` lists the runs and their provenance, `chart` makes the data of the interactive
curves, and `page` puts them together. All text from a table is escaped.
"""

from analysis.report.page import page

__all__ = ["page"]
