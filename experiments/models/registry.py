"""Every architecture by name: the files of this folder, and of users' folders (`experiments.core.plugins`).

Torch-free, but for what a user's file imports; an architecture's file is imported when it is looked up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from experiments.core import plugins
from experiments.core.errors import InputError
from experiments.core.plugins import Declaration
from experiments.models.contract import Architecture, ModelConfig

_DECLARED: dict[type, tuple[Declaration, ModuleType]] = {}
"""The file of every settings class that was looked up."""


class Models(Mapping[str, type[ModelConfig]]):
    """Settings classes by architecture; names are known without an import."""

    def __init__(self, declared: Mapping[str, Declaration]) -> None:
        self.declared = declared

    def __getitem__(self, name: str) -> type[ModelConfig]:
        return settings_class(self.declared[name])

    def __contains__(self, name: object) -> bool:
        return name in self.declared

    def __iter__(self) -> Iterator[str]:
        return iter(self.declared)

    def __len__(self) -> int:
        return len(self.declared)

    def of_molecules(self, name: str) -> bool:
        """Return whether an architecture is trained on molecules; by its text, without an import."""
        said = self.declared[name].attributes
        return not said.get("closed_form", False) and "molecules" in said.get("kinds", ("molecules",))


def models(users: Sequence[Path] = ()) -> Models:
    """Return the program's own architectures and those of users' folders.

    Raises:
        InputError: two files declare the same name.
    """
    if not users:
        return MODELS
    return Models(plugins.declarations(MODELS.declared, "architecture", users, "models"))


MODELS = Models(plugins.own(Path(__file__).parent, "experiments.models", "architecture"))
"""The program's own architectures."""


def settings_class(declared: Declaration) -> type[ModelConfig]:
    """Import an architecture's file and return its `CONFIG`, complete and checked.

    Raises:
        InputError: a user's file breaks the contract (`experiments.models.contract`).
    """
    module = declared.load()
    config: Any = getattr(module, declared.settings, None)
    if isinstance(config, type) and config in _DECLARED:
        return config
    if declared.module is None:
        _check(declared, module, config)
    _DECLARED[config] = declared, module
    return config  # type: ignore[no-any-return]


def _check(declared: Declaration, module: ModuleType, config: Any) -> None:
    """Raise `InputError` for the first piece of the contract that a user's file lacks; complete its class."""
    if not _is_dataclass(config):
        raise declared.fault(f"CONFIG={config!r}: accepted: a frozen dataclass of settings")
    if not callable(getattr(module, "build", None)):
        raise declared.fault("build is missing; accepted: a function build(config, info) that returns a network")
    for name in ("architecture", "label", "group"):
        value = getattr(config, name, None)
        if not isinstance(value, str | property) or value == "":
            raise declared.fault(f"CONFIG.{name}={value!r}: accepted: a class attribute, {name} = TEXT")
    if config.architecture != declared.name:
        raise declared.fault(
            f"CONFIG.architecture={config.architecture!r}: accepted: the file's name, or a text in its own line"
        )
    kinds = getattr(config, "kinds", None)
    if not isinstance(kinds, tuple | list) or not kinds or not all(isinstance(kind, str) for kind in kinds):
        raise declared.fault(f"CONFIG.kinds={kinds!r}: accepted: kinds of examples, as in kinds = ('molecules',)")
    fields = {f.name: f for f in dataclasses.fields(config)}
    if "molecules" in kinds and not getattr(config, "closed_form", False) and "cutoff" not in fields:
        raise declared.fault("CONFIG.cutoff is missing; accepted: a field cutoff: float = 5.0, in Å")
    for f in fields.values():
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise declared.fault(f"CONFIG.{f.name} has no default; accepted: a default for every setting")
    for name, value in vars(Architecture).items():
        if not name.startswith("__") and not hasattr(config, name):
            setattr(config, name, value)
    if not config.lacks:
        config.lacks = {knob: None for knob in ("L", "nu") if knob not in fields}
    if config.__hash__ is None:  # networks are kept by their settings, which nothing changes
        config.__hash__ = lambda self: hash(repr(self))


def _is_dataclass(value: Any) -> bool:
    return isinstance(value, type) and dataclasses.is_dataclass(value)


def origin(config: ModelConfig) -> Declaration:
    """Return the declaration of a model's settings."""
    return _file(config)[0]


def build(config: ModelConfig, info: Any) -> Any:
    """Make the network (or the closed form) of these settings.

    Raises:
        InputError: a user's `build` failed.
    """
    declared, module = _file(config)
    try:
        return module.build(config, info)
    except Exception as error:
        if declared.module is not None or isinstance(error, InputError):
            raise
        raise declared.fault(f"build(config, info): {type(error).__name__}: {error}") from error


def widths(config: ModelConfig) -> Callable[[Any], Sequence[int]] | None:
    """Return the function `widths` of the architecture's file; None if it has none."""
    return getattr(_file(config)[1], "widths", None)


def _file(config: ModelConfig) -> tuple[Declaration, ModuleType]:
    if type(config) not in _DECLARED:  # made by hand, from an import of its class
        MODELS[config.architecture]
    return _DECLARED[type(config)]


def is_network_of_molecules(config: ModelConfig) -> bool:
    """Return whether the architecture is trained on molecules."""
    return not config.closed_form and "molecules" in config.kinds
