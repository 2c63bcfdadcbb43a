"""One look for every figure: colour-blind safe, legible at column width, the same bytes from the same table."""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator
from matplotlib.transforms import Bbox

from analysis.curve import Curve
from analysis.files import csv_text, write_bytes, write_text

COLUMN_WIDTH = 85 / 25.4
"""Width of one journal column, inches."""
DPI = 300
SNAP = 6
"""Decimals of places in a figure, of its width."""
PALE = 0.35
"""Opacity of the part of an interval that further training may add."""
GRID = "#e6e6e6"
NARROWEST = 1.5
"""Least ratio of the ends of a logarithmic axis."""
CAPTION_WIDTH = 100
"""Characters of a line of a caption's file."""
TITLE_WIDTH = 42
"""Characters of a bold title that fit one column."""
LEGEND_WIDTH = 54
"""Characters of a legend's entry that fit one column."""

# Okabe & Ito's colours (2008), which stay apart in the common kinds of colour blindness, and two of Paul Tol's.
_HUES = {
    (-1, 1): "#7F7F7F",
    (-1, 2): "#882255",
    (-1, 3): "#CC6677",
    (0, 1): "#E69F00",
    (1, 1): "#0072B2",
    (0, 3): "#009E73",
    (1, 3): "#CC79A7",
    (0, 2): "#661100",
    (2, 1): "#56B4E9",
    (2, 3): "#332288",
    (1, 2): "#D55E00",
    (2, 2): "#999933",
    (3, 1): "#44AA99",
    (3, 3): "#AA4499",
}
HUES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#332288", "#56B4E9", "#882255", "#7F7F7F", "#999933")
"""Colours in order of use if they stand for something else than (L, ν)."""
MARKERS = ("o", "s", "^", "D", "v", "p", "h", "<", ">", "d")
"""Markers whose hollow form is visible at their size."""
_DASHES: tuple[Any, ...] = ("-", (0, (6, 1.5)), (0, (1.2, 1.4)), (0, (4, 1.2, 1, 1.2)))
_OTHERS = ("#117733", "#88CCEE", "#DDCC77", "#AA4466", "#6699CC", "#888888")
_MARKERS = {
    (-1, 1): "o",
    (-1, 2): "^",
    (-1, 3): "<",
    (0, 1): "o",
    (1, 1): "s",
    (0, 3): "^",
    (1, 3): "D",
    (0, 2): "v",
    (2, 1): "p",
    (2, 3): "h",
    (1, 2): ">",
}
_EDGE_LINES: dict[int | None, Any] = {
    None: "-",
    3: "-",
    2: (0, (6, 1.5)),
    1: (0, (4, 1.2, 1, 1.2)),
    0: (0, (1.2, 1.4)),
}
_EDGE_MARKERS = {(-1, 1): "o", (-1, 2): "^", (-1, 3): "<", 2: "s", 1: "D", 0: "v"}

_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # shipped with matplotlib: the same glyphs on every machine
    "font.size": 7.0,
    "text.parse_math": False,  # names hold $, _ and ^ as they are
    "axes.labelsize": 7.5,
    "axes.titlesize": 8.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.labelcolor": "#222222",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "xtick.direction": "out",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.4,
    "lines.markeredgewidth": 0.8,  # of the default, 1, triangles are all edge
    "legend.fontsize": 6.6,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "legend.handletextpad": 0.6,
    "legend.labelspacing": 0.35,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "pdf.fonttype": 42,  # embeds the fonts as text
    "svg.fonttype": "path",  # embeds the glyphs, so that no viewer replaces them
    "svg.hashsalt": "equilaw",
}


@dataclass(frozen=True)
class Look:
    """How one curve is drawn."""

    color: str
    """Colour of (L, ν)."""
    marker: str
    """Marker, by (L, ν), then by edge order."""
    line: Any
    """Line style, by edge order."""


@contextmanager
def style() -> Iterator[None]:
    """Apply the figures' settings while the context lasts."""
    with mpl.rc_context():
        mpl.rcdefaults()  # a user's matplotlibrc (text.usetex, other fonts) changes no figure
        mpl.rcParams.update(_SETTINGS)
        yield


def looks(curves: Sequence[Curve], by: str = "model") -> list[Look]:
    """Choose colour, marker and line of each curve of a panel.

    By model: colours by (L, ν), line styles by edge order (lighter shades as well if one (L, ν) comes with several). By
    another column (`architecture`, `group`), or if two curves would look the same: a hue for each of its values with
    lighter shades, and markers by position, so that curves differ in black and white, too.
    """
    if by == "model":
        own_looks = _by_model(curves)
        if len(set(own_looks)) == len(own_looks):
            return own_looks
        if len({curve.text("architecture") for curve in curves}) == 1:
            return [_variant(look, own_looks[:index].count(look)) for index, look in enumerate(own_looks)]
        by = "architecture"
    own = [curve.text(by) for curve in curves]
    kinds = list(dict.fromkeys(own))
    result = []
    for index, kind in enumerate(own):
        rank, of = own[:index].count(kind), own.count(kind)
        hue = _lighten(HUES[kinds.index(kind) % len(HUES)], 0.55 * rank / max(of - 1, 1))
        dashes = _DASHES[(index // len(MARKERS)) % len(_DASHES)]
        result.append(Look(hue, MARKERS[index % len(MARKERS)], dashes))
    return result


def _variant(look: Look, rank: int) -> Look:
    """Return a lighter shade of the same colour with another marker and line, for namesakes (capacity controls)."""
    if rank == 0:
        return look
    shade = _lighten(look.color, min(0.22 * rank, 0.5))
    line = _DASHES[-rank % len(_DASHES)]  # long dashes last: thin ones look like those of training errors
    return Look(shade, MARKERS[(MARKERS.index(look.marker) + rank) % len(MARKERS)], line)


def _by_model(curves: Sequence[Curve]) -> list[Look]:
    keys = [_key(curve) for curve in curves]
    unknown = {key: _OTHERS[i % len(_OTHERS)] for i, key in enumerate(k for k in dict.fromkeys(keys) if k not in _HUES)}
    result = []
    for curve, key in zip(curves, keys, strict=True):
        edges = sorted({_edge(other) for other, k in zip(curves, keys, strict=True) if k == key}, key=_edge_order)
        rank = edges.index(_edge(curve))
        shade = 0.0 if len(edges) == 1 else 0.5 * rank / (len(edges) - 1)
        edge = _edge(curve)
        marker = _MARKERS.get(key, "d")
        if len(edges) > 1 and rank > 0:
            marker = _EDGE_MARKERS.get(edge if edge is not None else 3, marker)
        line = _EDGE_LINES.get(edge, "-") if len(edges) > 1 or (edge == 0 and key[1] > 1) else "-"
        result.append(Look(_lighten(_HUES.get(key, unknown.get(key, "#333333")), shade), marker, line))
    return result


def _key(curve: Curve) -> tuple[int, int]:
    """Return (L, ν), with L = −1 for models without messages and ν = 1 for messages without a correlation order."""
    order = curve.number("L")
    return (-1, int(curve.number("nu") or 0)) if order is None else (int(order), int(curve.number("nu") or 1))


def _edge(curve: Curve) -> int | None:
    value = curve.number("edge_lmax")
    return None if value is None else int(value)


def _edge_order(edge: int | None) -> int:
    return -99 if edge is None else -edge


def _lighten(color: str, share: float) -> str:
    channels = [c + (1 - c) * share for c in to_rgb(color)]
    return "#" + "".join(f"{round(255 * c):02x}" for c in channels)


def sheet(count: int, height: float, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """Create a figure of `count` panels, one column wide and `height` inches high, at most `columns` to a row."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(COLUMN_WIDTH * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for spare in axes.flat[count:]:
        spare.remove()
    return figure, list(axes.flat[:count])


def letters(count: int) -> list[str]:
    """Return the letters `(a) `, `(b) ` … of the panels of a figure; an empty text for a single panel."""
    if count == 1:
        return [""]
    return [f"({chr(97 + i // 26 - 1) if i >= 26 else ''}{chr(97 + i % 26)}) " for i in range(count)]


class _Folder(textwrap.TextWrapper):
    """Breaks lines within names as well, `my_own_network` after an underscore, for they may be wider than a column."""

    wordsep_re = re.compile(r"(\s+|(?<=[_-])(?=\w))")


def folded(text: str, width: int) -> str:
    """Break a text into lines of at most `width` characters."""
    return "\n".join(_Folder(width).wrap(text))


def title(axes: Axes, text: str, loc: Literal["left", "right"] = "left") -> None:
    """Set the panel's title, broken into lines that fit one column."""
    axes.set_title(folded(text, TITLE_WIDTH), loc=loc)


def entry(name: str, words: str = "") -> str:
    """Return a legend's entry that fits one column: a name, and words on it, on a line of their own if need be."""
    text = f"{name}:  {words}" if words else name
    if words and len(text) > LEGEND_WIDTH:
        return f"{folded(f'{name}:', LEGEND_WIDTH)}\n{folded(words, LEGEND_WIDTH)}"
    return folded(text, LEGEND_WIDTH)


def legend_height(entries: Iterable[str]) -> float:
    """Return the height, inches, of a legend with these entries below each other."""
    return 0.13 * sum(text.count("\n") + 1 for text in entries)


def legend(axes: Axes, handles: Sequence[Line2D | Patch]) -> None:
    """Write a legend below the axes, its entries below each other."""
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.2), borderaxespad=0.0)


def size_axis(axes: Axes, sizes: Iterable[float]) -> None:
    """Make the axis of P logarithmic, with ticks at measured values (at most nine of them)."""
    axes.set_xscale("log", base=2)
    ticks = _apart(sorted(set(sizes)))
    axes.set_xticks(ticks, [f"{size:g}" for size in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(True, which="major", color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel("Training-set size P")


def _apart(values: Sequence[float]) -> list[float]:
    """Return those of ascending values whose labels have room on a logarithmic axis, always with the largest."""
    room = math.log(values[-1] / values[0]) / 8.5
    kept: list[float] = []
    for value in reversed(values):
        if not kept or math.log(kept[-1] / value) >= room:
            kept.append(value)
    return kept[::-1]


def plain_number(value: float) -> str:
    """Format the number of a tick: 0.5, 200, 20k, 3M."""
    for scale, suffix in ((1e6, "M"), (1e3, "k")):
        if value >= max(scale, 1e4):
            return f"{value / scale:g}{suffix}"
    return f"{value:g}"


def log_axis(axis: Axis, floor: float = 0.0) -> None:
    """Make an axis logarithmic with plain numbers, starting at `floor` or the smallest value, whichever is larger."""
    axes = axis.axes
    vertical = axis is axes.yaxis
    (axes.set_yscale if vertical else axes.set_xscale)("log")
    low, high = axis.get_view_interval()
    low = max(low, floor)
    if high / low < NARROWEST:  # values that hardly differ shall look so
        middle = math.sqrt(low * high)
        low, high = middle / math.sqrt(NARROWEST), middle * math.sqrt(NARROWEST)
    (axes.set_ylim if vertical else axes.set_xlim)(low, high)
    many = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)
    subs = (1.0,) if high / low >= 300 else (1.0, 2.0, 5.0) if high / low > 6 else many
    axis.set_major_locator(LogLocator(base=10, subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain_number(value)))
    axis.set_minor_formatter(NullFormatter())
    axis.grid(True, which="major", color=GRID, linewidth=0.5)


def rows_csv(numbers: Sequence[Mapping[str, object]]) -> str:
    """Return plotted numbers as CSV, with every column that any row has, in order of appearance."""
    return csv_text(pd.DataFrame(list(numbers)))


def save(figure: Figure, stem: Path, numbers: Sequence[Mapping[str, object]], caption: str = "") -> list[Path]:
    """Write a figure as PDF, SVG and PNG, its plotted numbers as CSV and its caption as text; return the files.

    They contain no dates, so that equal figures are equal files.

    Args:
        figure: the figure.
        stem: path of the files without their endings.
        numbers: rows of the CSV.
        caption: what the figure shows, for a paper; it stands in the pictures' metadata, too. Empty: none is written.
    """
    FigureCanvasAgg(figure)
    _snap(figure)
    written = []
    told = caption or None
    for suffix, metadata in (
        (".pdf", {"CreationDate": None, "ModDate": None, "Subject": told}),
        (".svg", {"Date": None, "Description": told}),
        (".png", {"Software": None, **({"Description": caption} if caption else {})}),
    ):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix[1:], metadata=metadata)
        path = stem.with_name(stem.name + suffix)
        write_bytes(path, buffer.getvalue())
        written.append(path)
    table = stem.with_name(stem.name + ".csv")
    write_text(table, rows_csv(numbers))
    written.append(table)
    if caption:
        beside = stem.with_name(stem.name + ".txt")
        write_text(beside, textwrap.fill(caption, CAPTION_WIDTH) + "\n")
        written.append(beside)
    return written


def _snap(figure: Figure) -> None:
    """Lay a figure out for good, without the round-off of the solver, which depends on the order of addresses."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for part in figure.subfigs:
        place = part.bbox_relative
        place.p0, place.p1 = place.p0.round(SNAP), place.p1.round(SNAP)
    for axes in figure.axes:
        axes.set_position(Bbox(axes.get_position().get_points().round(SNAP)))
