"""What Hydra and OmegaConf refuse, in one line that names key, value and the accepted values."""

from __future__ import annotations

import re

from experiments.core.known_keys import known_keys
from experiments.core.wording import did_you_mean


def one_line(error: Exception) -> str:
    """Return the message of a library's exception as one line that names key, value and the accepted values."""
    text = str(error)
    if match := re.search(r"Could not find '([^']+)/([^'/]+)'\n+Available options in '[^']+':\n((?:\t.*\n?)+)", text):
        group, option, options = match.groups()
        near = did_you_mean(option, options.split())
        return f"{group}={option}: no such choice{near}; accepted: {' | '.join(options.split())}"
    if match := re.search(r"Could not override '([^']+)'", text):
        if match[1] in (known := known_keys()):
            what = f"no key of the chosen {match[1].partition('.')[0]}, but of others"
        else:
            what = f"unknown key{did_you_mean(match[1], known)}"
        return f"{match[1]}: {what}; accepted: the keys that python -m experiments --cfg job lists"
    if isinstance(override := getattr(error, "override", None), str):  # Hydra's parser did not understand it
        reason = next(iter(text.splitlines()), "")
        reason = "not understood" if reason.startswith("LexerNoViableAlt") else reason  # of the parser's own making
        return f"{override}: {reason}; accepted: KEY=VALUE"
    if match := re.search(r"Interpolation key '([^']+)' not found", text):
        key, name = getattr(error, "full_key", None), match[1]
        where = f"{key}: " if key else ""
        return f"{where}${{{name}}}: no such key; accepted: a key, as ${{P}}; an environment variable is ${name}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    useful = [line for line in lines if not line.startswith(("full_key:", "object_type=", "reference_type=", "See "))]
    return "; ".join(useful) or type(error).__name__
