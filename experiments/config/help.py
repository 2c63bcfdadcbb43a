"""The text of `python -m experiments --help`: every group and every key with its default.

Hydra prints the same for `--help KEY=VALUE`, with that value, but composes its configuration over and over for it:
a second of computing, and more on the busy login node where people read a help.
"""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Any

import yaml

from experiments.core.paths import CONF


def help_text() -> str:
    """Return the help, as the template in `conf/hydra/help/equilaw.yaml` says."""
    words = _read(CONF / "hydra" / "help" / "equilaw.yaml")
    text = words["template"]
    for part in ("header", "footer"):
        text = text.replace(f"${{hydra.help.{part}}}", words[part])
    keys = composed(CONF / "config.yaml")
    del keys["hydra"]  # settings of Hydra itself
    folders = [path for path in sorted(CONF.iterdir()) if path.is_dir() and path.name != "hydra"]
    groups = [f"{folder.name}: {', '.join(sorted(one.stem for one in folder.glob('*.yaml')))}\n" for folder in folders]
    shown = yaml.safe_dump(keys, sort_keys=False, allow_unicode=True)
    return Template(text).substitute(APP_CONFIG_GROUPS="".join(groups), CONFIG=shown)


def composed(path: Path) -> dict[str, Any]:
    """Return a file's keys with those of its `defaults`: files beside it, and of a group under the group's name.

    Of a key in two files the whole value of the later one counts, as `conf` needs; Hydra would merge the two.
    """
    own, merged = _read(path), dict[str, Any]()
    for entry in own.pop("defaults", ["_self_"]):
        if entry == "_self_":
            merged |= own
        elif isinstance(entry, str):
            merged |= composed(path.with_name(f"{entry}.yaml"))
        else:
            ((group, name),) = entry.items()
            if name is not None and not group.startswith("override "):
                merged[group] = composed(path.parent / group / f"{name}.yaml")
    return merged


def _read(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
