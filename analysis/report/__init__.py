"""One HTML page that says what a run table means: self-contained, without network, for people.

`words` makes the sentences, `health` says what ran and where it comes from, `chart` the data of the interactive
curves, and `page` puts them together. Everything that comes from a table is escaped.
"""

from analysis.report.page import page

__all__ = ["page"]
