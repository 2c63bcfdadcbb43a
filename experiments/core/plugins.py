"""Files that declare something (an architecture, a source of data, a figure): found by a scan, imported when named.

The program's own lie in its rooms; a user's in `DIR/models`, `DIR/sources` and `DIR/figures`, where DIR is given by
`plugins=DIR` or `EQUILAW_PLUGINS` (several: separated as in PATH). A scan reads texts and imports nothing: it takes
names from literal class attributes (`architecture = "foo"`), and if a user's file has none, from the file's name.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from experiments.core import paths
from experiments.core.errors import InputError

VARIABLE = "EQUILAW_PLUGINS"
_CLASS = re.compile(r"^class (\w+)[^\n]*\n((?:[ \t][^\n]*\n|\n)*)", re.MULTILINE)
_LITERAL = r"(\w+)(?:: *[^=\n]+?)? = ([\"'(\[].*|True|False|None|\d+)$"
_IN_CLASS = re.compile(f"^    {_LITERAL}", re.MULTILINE)
_AT_TOP = re.compile(f"^{_LITERAL}", re.MULTILINE)


@dataclass(frozen=True)
class Declaration:
    """A file that declares something.

    name        in configurations
    path        the file
    module      its dotted name if it is the program's own, else None
    settings    name of the class of its settings, `CONFIG` in a user's file; empty if the file has none
    attributes  literal values that this class (or the file) assigns, by name
    """

    name: str
    path: Path
    module: str | None
    settings: str
    attributes: Mapping[str, Any]

    def load(self) -> ModuleType:
        """Import the file.

        Raises:
            InputError: a user's file cannot be imported.
        """
        if self.module is not None:
            return importlib.import_module(self.module)
        return _load(self.path, self.path.stat().st_mtime_ns)

    def fault(self, text: str) -> InputError:
        """Return the error of a file that breaks its contract, in one line."""
        return InputError(f"{self.path}: {' '.join(text.split())}")


def folders(given: str | None = None) -> tuple[Path, ...]:
    """Return a user's folders: those of `plugins=given`, then those of the environment; absolute, without repeats.

    Raises:
        InputError: one of them is no folder.
    """
    found: dict[Path, None] = {}
    for source, text in (("plugins", given), (VARIABLE, os.environ.get(VARIABLE))):
        for part in filter(None, (text or "").split(os.pathsep)):
            path = Path(os.path.abspath(paths.given(part)))
            if not path.is_dir():
                raise InputError(
                    f"{source}={part}: no folder is there; accepted: DIR with DIR/models/*.py, DIR/sources/*.py or "
                    "DIR/figures/*.py"
                )
            found[path] = None
    return tuple(found)


def announce(given: str) -> None:
    """Put the folders of `plugins=given` into the environment: of this process, and of those that it starts."""
    os.environ[VARIABLE] = os.pathsep.join(map(str, folders(given)))


@functools.cache
def own(folder: Path, package: str, key: str) -> Mapping[str, Declaration]:
    """Return the program's own declarations of a folder by name: classes (or files) with a literal attribute `key`."""
    found = {}
    for path in sorted(folder.glob("*.py")):
        for settings, attributes in _declared(path.read_text(encoding="utf-8"), key):
            name = str(attributes[key])
            found[name] = Declaration(name, path, f"{package}.{path.stem}", settings, attributes)
    return dict(sorted(found.items()))


def declarations(
    known: Mapping[str, Declaration], key: str, users: Sequence[Path], room: str
) -> dict[str, Declaration]:
    """Return the program's own declarations, `known`, and those of `room` in the users' folders.

    Raises:
        InputError: two files declare the same name.
    """
    found = dict(known)
    for user in users:
        for path in sorted((user / room).glob("[!_]*.py")):
            said = next((each for _, each in _declared(path.read_text(encoding="utf-8"), key)), {})
            name = str(said.get(key, path.stem))
            if name in found:
                whose = "the program's own" if found[name].module is not None else found[name].path
                raise InputError(f"{path}: {key} {name!r}: the name is taken by {whose}; accepted: another name")
            found[name] = Declaration(name, path, None, "CONFIG", said)
    return found


def _declared(text: str, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every class (and the file itself, as an empty name) that assigns a literal to `key`, with all literals."""
    blocks = [
        ("", _AT_TOP.findall(text)),
        *((match[1], _IN_CLASS.findall(match[2])) for match in _CLASS.finditer(text)),
    ]
    for name, assigned in blocks:
        values: dict[str, Any] = {}
        for attribute, literal in assigned:
            with contextlib.suppress(ValueError, SyntaxError):
                values.setdefault(attribute, ast.literal_eval(literal))
        if key in values:
            yield name, values


@functools.lru_cache(maxsize=256)
def _load(path: Path, _: int) -> ModuleType:
    """Import a user's file; once for each state of it."""
    name = f"equilaw_plugin_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}_{path.stem}"
    root = str(path.parent.parent)
    if root not in sys.path:
        sys.path.append(root)  # modules of the user's own that lie in DIR
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their annotations up there
    try:
        spec.loader.exec_module(module)
    except InputError:
        raise
    except Exception as error:
        del sys.modules[name]
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be imported: {type(error).__name__}: {reason}") from error
    return module
