"""Files that declare something (an architecture, a source of data, a figure): found by a scan, imported when named.

The program's own lie in its rooms; a user's in `DIR/models`, `DIR/sources` and `DIR/figures`, where DIR is given by
`plugins=DIR` or `EQUILAW_PLUGINS` (several: separated as in PATH). A scan reads texts and imports nothing: it takes
names from literal class attributes (`architecture = "foo"`), and if a user's file has none, from the file's name.
"""

from __future__ import annotations

import ast
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

from experiments.core.errors import InputError

VARIABLE = "EQUILAW_PLUGINS"
_LITERAL = re.compile(r"^(?:    )?(\w+)(?:: *[^=\n]+?)? = ([\"'(\[].*|True|False|None|\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Declaration:
    """A file that declares something.

    name        in configurations
    path        the file
    module      its dotted name if it is the program's own, else None
    attributes  literal values of the file's first class (or of the file) by name
    """

    name: str
    path: Path
    module: str | None
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
        """Return the error of a file that breaks its contract."""
        return InputError(f"{self.path}: {text}")


def folders(given: str | None = None) -> tuple[Path, ...]:
    """Return a user's folders: those of `plugins=given`, then those of the environment; absolute, without repeats.

    Raises:
        InputError: one of them is no folder.
    """
    found: dict[Path, None] = {}
    for source, text in (("plugins", given), (VARIABLE, os.environ.get(VARIABLE))):
        for part in filter(None, (text or "").split(os.pathsep)):
            path = Path(os.path.abspath(os.path.expanduser(part)))
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
    """Return the program's own declarations of a folder by name: the files with a literal attribute `key`."""
    found = {}
    for path in sorted(folder.glob("*.py")):
        attributes = _attributes(path.read_text(encoding="utf-8"))
        if key in attributes:
            name = str(attributes[key])
            found[name] = Declaration(name, path, f"{package}.{path.stem}", attributes)
    return found


def declarations(folder: Path, package: str, key: str, users: Sequence[Path], room: str) -> dict[str, Declaration]:
    """Return the program's own declarations, and those of `room` in the users' folders.

    Raises:
        InputError: two files declare the same name.
    """
    found = dict(own(folder, package, key))
    for user in users:
        for path in sorted((user / room).glob("[!_]*.py")):
            attributes = _attributes(path.read_text(encoding="utf-8"))
            name = str(attributes.get(key, path.stem))
            if name in found:
                whose = "the program's own" if found[name].module is not None else found[name].path
                raise InputError(f"{path}: {key} {name!r}: the name is taken by {whose}; accepted: another name")
            found[name] = Declaration(name, path, None, attributes)
    return found


def _attributes(text: str) -> dict[str, Any]:
    """Return the literal values that a text assigns at the top of the file or of a class; of a name, the first."""
    values: dict[str, Any] = {}
    for name, literal in _literals(text):
        if name not in values:
            try:
                values[name] = ast.literal_eval(literal)
            except (ValueError, SyntaxError):
                continue
    return values


def _literals(text: str) -> Iterator[tuple[str, str]]:
    for match in _LITERAL.finditer(text):
        yield match[1], match[2]


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
        raise InputError(f"{path}: cannot be imported: {type(error).__name__}: {error}") from error
    return module
