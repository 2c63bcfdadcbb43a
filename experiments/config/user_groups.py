"""A user's architectures and sources as options of the groups `model` and `data`, as if `conf/` had a file for each.

Hydra asks for them through `hydra_plugins.equilaw`. Names come from a scan; a file is imported once it is chosen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from experiments.core import kinds, plugins
from experiments.core.plugins import Declaration
from experiments.data import load
from experiments.models.registry import models


def options(group: str) -> Mapping[str, Declaration]:
    """Return a user's declarations of a group by name; none for groups that a user cannot add to.

    Raises:
        InputError: two files declare the same name, or a folder is not there.
    """
    users = plugins.folders()
    if not users or group not in ("model", "data"):
        return {}
    found = models(users).declared if group == "model" else kinds.sources({})
    return {name: declared for name, declared in found.items() if declared.module is None}


def section(group: str, name: str) -> dict[str, Any]:
    """Return the section of an option: its settings with their defaults, as a file of `conf/` has them.

    Raises:
        InputError: the file breaks its contract.
    """
    if group == "model":
        settings: Any = models(plugins.folders())[name]
        head: dict[str, Any] = {"architecture": name}
        tail: dict[str, Any] = {}
    else:
        settings = load.config_of(name)
        head, tail = {"source": name}, {"subset": "random", "subset_seed": None}
    values = {f.name: _default(f) for f in dataclasses.fields(settings) if f.name not in ("L", "nu")}
    return {**head, **values, **tail}


def _default(f: dataclasses.Field[Any]) -> Any:
    """Return the default of a setting; Hydra's mark of a missing one if it has none."""
    if f.default is not dataclasses.MISSING:
        return list(f.default) if isinstance(f.default, tuple) else f.default
    return "???" if f.default_factory is dataclasses.MISSING else f.default_factory()
