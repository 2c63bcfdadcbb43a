"""What the comment of a frame in an extended XYZ file gives more than once, of which ASE takes the last in silence."""

from __future__ import annotations

import re

_PAIR = re.compile(r"""(?:^|\s)([A-Za-z_][\w.-]*)\s*=\s*("[^"]*"|'[^']*'|\{[^}]*\}|\[[^\]]*\]|\S+)""")
REPEATED = "labels given twice"
"""Entry of a frame's `info` with the labels that its comment gives twice, and their different values."""


def contradictions(comment: str) -> dict[str, list[str]]:
    """Return the keys that a comment gives several times, with their values if these differ."""
    values: dict[str, list[str]] = {}
    for key, value in _PAIR.findall(comment):
        values.setdefault(key, []).append(value.strip("\"'"))
    return {key: found for key, found in values.items() if len(set(map(number_or_text, found))) > 1}


def number_or_text(text: str) -> float | str:
    """Return the number that a text writes, else its words with single blanks between them."""
    try:
        return float(text)
    except ValueError:
        return " ".join(text.split())
