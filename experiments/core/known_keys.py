"""Every key of the shipped configuration, for "did you mean". `conf/` is read as text, which is fast."""

from __future__ import annotations

import re
from pathlib import Path

from experiments.core.paths import CONF

NO_SECTIONS = ("sweep", "cell", "tuned")
"""Folders of `conf/` whose files set keys of other sections."""


def known_keys(conf: Path = CONF) -> list[str]:
    """Return all keys and groups: `P`, `model`, `model.channels`, `hydra.launcher.workers` and so on."""
    keys: dict[str, None] = {}
    for path in sorted(conf.rglob("*.yaml")):
        section = path.relative_to(conf).parts[:-1]
        if section and section[0] in NO_SECTIONS:
            keys[section[0]] = None
            continue
        if section:
            keys[".".join(section)] = None
        for name in re.findall(r"^(\w+):", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
            keys[".".join([*section, name])] = None
    return [key for key in keys if key not in ("defaults", "hydra")]
