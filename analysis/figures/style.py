"""One look for every figure: colour-blind safe, legible at column width, the same bytes from the same table."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from analysis.curve import Curve
from analysis.files import write_bytes

COLUMN_WIDTH = 85 / 25.4
"""Width of one journal column, inches."""
DPI = 300

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
_OTHERS = ("#117733", "#88CCEE", "#DDCC77", "#AA4466", "#6699CC", "#888888")
_MARKERS = {
    (-1, 1): "o",
    (-1, 2): "^",
    (-1, 3): "*",
    (0, 1): "o",
    (1, 1): "s",
    (0, 3): "^",
    (1, 3): "D",
    (0, 2): "v",
    (2, 1): "p",
    (2, 3): "h",
    (1, 2): "P",
}
_EDGE_LINES: dict[int | None, Any] = {
    None: "-",
    3: "-",
    2: (0, (6, 1.5)),
    1: (0, (4, 1.2, 1, 1.2)),
    0: (0, (1.2, 1.4)),
}
_EDGE_MARKERS = {(-1, 1): "o", (-1, 2): "^", (-1, 3): "*", 2: "s", 1: "D", 0: "v"}

_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # shipped with matplotlib: the same glyphs on every machine
    "font.size": 7.0,
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
    "lines.markersize": 3.2,
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
    """The figures' settings, for the time of drawing only."""
    with mpl.rc_context(_SETTINGS):
        yield


def looks(curves: Sequence[Curve]) -> list[Look]:
    """Colours by (L, ν), line styles by edge order (lighter shades too where one (L, ν) comes with several)."""
    keys = [_key(curve) for curve in curves]
    unknown = {key: _OTHERS[i % len(_OTHERS)] for i, key in enumerate(k for k in dict.fromkeys(keys) if k not in _HUES)}
    result = []
    for curve, key in zip(curves, keys, strict=True):
        edges = sorted({_edge(other) for other, k in zip(curves, keys, strict=True) if k == key}, key=_edge_order)
        rank = edges.index(_edge(curve))
        shade = 0.0 if len(edges) == 1 else 0.5 * rank / (len(edges) - 1)
        edge = _edge(curve)
        marker = _MARKERS.get(key, "X")
        if len(edges) > 1 and rank > 0:
            marker = _EDGE_MARKERS.get(edge if edge is not None else 3, marker)
        line = _EDGE_LINES.get(edge, "-") if len(edges) > 1 or edge == 0 else "-"
        result.append(Look(_lighten(_HUES.get(key, unknown.get(key, "#333333")), shade), marker, line))
    return result


def _key(curve: Curve) -> tuple[int, int]:
    """(L, ν), with −1 for models without messages."""
    order = curve.number("L")
    return -1 if order is None else int(order), int(curve.number("nu") or 0)


def _edge(curve: Curve) -> int | None:
    value = curve.number("edge_lmax")
    return None if value is None else int(value)


def _edge_order(edge: int | None) -> int:
    return -99 if edge is None else -edge


def _lighten(color: str, share: float) -> str:
    channels = [c + (1 - c) * share for c in to_rgb(color)]
    return "#" + "".join(f"{round(255 * c):02x}" for c in channels)


def display_unit(unit: str) -> tuple[str, float]:
    """The unit on the axes and the factor into it: eV becomes meV, everything else stays."""
    plain = unit.replace("/A", "/Å") if unit.endswith("/A") else unit
    if plain.startswith("eV"):
        return "m" + plain, 1000.0
    return plain, 1.0


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write PDF, SVG and PNG beside each other, without dates, so that equal figures are equal files."""
    FigureCanvasAgg(figure)
    written = []
    for suffix, metadata in (
        (".pdf", {"CreationDate": None, "ModDate": None}),
        (".svg", {"Date": None}),
        (".png", {"Software": None}),
    ):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix[1:], metadata=metadata)
        path = stem.with_name(stem.name + suffix)
        write_bytes(path, buffer.getvalue())
        written.append(path)
    return written
