"""The settings as they are declared, in words: files of `conf/`, the page docs/settings.md, schemas for editors.

Dataclasses declare every setting once (`experiments.core.schema.setting`); the docstring below a field says what it
means. What is written from them is never edited: `python -m slurm.generate`.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import yaml

from experiments.core.schema import describe, required, section_schema

WIDTH = 120
INLINE = 40
"""Longest `key: value` that has its comment behind it; longer ones have it above."""
REQUIRED = "???"
"""Hydra's mark of a key that has to be given."""
MEANINGS = {
    "L": "Message order: highest degree passed between layers.",
    "nu": "Correlation order: number of neighbour factors in a product.",
    "edge_lmax": "Edge order: highest degree inside a layer.",
    "n_layers": "Number of layers.",
    "channels": "Channels of a layer.",
    "kernel": "Side of a kernel in pixels, odd.",
    "KrrConfig.kernel": "Kernel of inverse distances between all atoms.",
    "PointKernelConfig.kernel": "Kernel of distances between points.",
    "NtkConfig.of": "The network: any file of conf/model that is trained on molecules.",
    "hidden": "Hidden units of the readout; null: as many as it has inputs.",
    "cutoff": "Cutoff radius in Å.",
    "cutoff_power": "p of the polynomial cutoff.",
    "n_bessel": "Radial Bessel functions.",
    "n_radial": "Radial functions.",
    "radial_hidden": "Hidden layers of the radial network.",
    "readout_hidden": "Hidden layer of the last readout.",
    "energy_weight": "Weight of the energy per atom, in units of the force RMS × 1 Å; null: a third of the atoms.",
    "force_weight": "Weight of the forces, in units of the force RMS.",
    "disjoint_seeds": "So many seeds draw disjoint subsets, while P ≤ pool / disjoint_seeds.",
    "workers": "Processes; null: one a core. Does not change the data.",
    "cache": "Directory; null: the environment variable EQUILAW_DATA, or the user's cache.",
}
"""Meanings of keys that many classes have; a docstring of the class's own goes before."""

HINTS = {
    "NequipConfig": "The paper's small molecules have L=3, n_layers=5, channels=64, cutoff=4.0.",
    "MpnnConfig": "No L, no nu. training.augment=true rotates its training frames at random.",
    "TfnConfig": "With L ≥ 1 and three layers or more it distinguishes mirror images.",
    "PolynomialConfig": "Nothing but the products is nonlinear. Up to nu=2 L is irrelevant.",
    "KrrConfig": "Fitted in closed form. Frames must hold the same atoms in the same order.",
    "NearestConfig": "Frames must hold the same atoms in the same order.",
    "NtkConfig": "cell=… sets the network's L, nu and edge_lmax; its other settings are added: +model.n_bessel=4.",
    "MlpConfig": "The twin of cnn.",
    "MomentaConfig": "The twin of lorentz without its symmetry.",
}
"""What a user of a class has to know besides its docstring, by its name."""


@dataclass(frozen=True)
class Key:
    """A setting as a person sees it."""

    name: str
    accepted: str
    """In words."""
    default: Any
    """`REQUIRED` if it has none."""
    meaning: str
    choices: tuple[Any, ...] = ()
    heading: str | None = None
    inner: tuple[Key, ...] = ()
    """Keys of a section inside."""


@dataclass(frozen=True)
class Section:
    """The keys of one file of `conf/`."""

    file: str
    """Relative to `conf/`."""
    prefix: str
    """Stands before every key on the command line: `model.`."""
    about: tuple[str, ...]
    """Paragraphs on the whole."""
    keys: tuple[Key, ...]
    classes: tuple[type, ...]
    """Dataclasses that declare the keys; of a key in several, the last one's counts."""
    fixed: Mapping[str, str] = field(default_factory=dict)
    """Keys that say which section it is: `architecture`."""
    left_out: Collection[str] = ()
    """Fields of the classes that are no keys of the section."""


def section(file: str, prefix: str, classes: Sequence[type], left_out: Collection[str] = (), **fixed: str) -> Section:
    """Describe the file whose keys these dataclasses declare; the first one's docstring is about the whole."""
    keys: dict[str, Key] = {}
    for cls in classes:
        for key in keys_of(cls):
            if key.name not in left_out:
                keys[key.name] = (
                    key if key.name not in keys else dataclasses.replace(key, heading=keys[key.name].heading)
                )
    for name, key in keys.items():
        declared = {f.name: f.default for cls in classes for f in dataclasses.fields(cls) if f.default is not None}
        keys[name] = dataclasses.replace(key, meaning=key.meaning.replace("{default}", str(declared.get(name))))
    hints = [HINTS[cls.__name__] for cls in classes if cls.__name__ in HINTS]
    return Section(
        file, prefix, (*paragraphs(classes[0]), *hints), tuple(keys.values()), tuple(classes), fixed, tuple(left_out)
    )


def keys_of(cls: Any) -> list[Key]:
    """Return the settings that a dataclass declares."""
    hints, meanings = get_type_hints(cls), docstrings(cls)
    keys = []
    for f in dataclasses.fields(cls):
        kind = hints[f.name]
        made = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
        inner = tuple(keys_of(kind)) if dataclasses.is_dataclass(kind) else ()
        common = MEANINGS.get(f"{cls.__name__}.{f.name}", MEANINGS.get(f.name, ""))
        meaning = meanings.get(f.name, " ".join(paragraphs(kind)) if inner else common)
        accepted = "a section" if inner else describe(kind, f.metadata)
        default = REQUIRED if required(f) else None if inner else made
        choices = tuple(f.metadata.get("choices") or ())
        keys.append(Key(f.name, accepted, default, meaning, choices, f.metadata.get("heading"), inner))
    return keys


@functools.cache
def docstrings(cls: type) -> dict[str, str]:
    """Return the docstring below each field of a dataclass, in one line; its own ones go before those of its bases."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(tree, ast.ClassDef)
        for declared, below in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(declared, ast.AnnAssign) and isinstance(declared.target, ast.Name):
                match below:
                    case ast.Expr(value=ast.Constant(value=str(text))):
                        texts[declared.target.id] = " ".join(text.split())
    return texts


def paragraphs(cls: type) -> tuple[str, ...]:
    """Return the paragraphs of a class's docstring."""
    return tuple(" ".join(part.split()) for part in inspect.cleandoc(cls.__doc__ or "").split("\n\n"))


def yaml_of(part: Section, command: str) -> str:
    """Return a file of `conf/`: every key with its default and its meaning; `command` writes it."""
    about = list(part.about)
    lines = [line for text in about for line in _comment(text)]
    lines += [
        f"# Written by {command}; edit the class {part.classes[0].__module__}.{part.classes[0].__name__} instead."
    ]
    lines += [f"{name}: {value}" for name, value in part.fixed.items()]
    return "\n".join([*lines, *_entries(part.keys, "")]) + "\n"


def _entries(keys: Sequence[Key], indent: str) -> list[str]:
    """Return the lines of keys with their comments, behind short ones in one column."""
    entries = [f"{indent}{key.name}: {_flow(key.default)}" if not _block(key) else "" for key in keys]
    column = max((len(entry) for entry in entries if len(entry) <= INLINE), default=0) + 2
    lines: list[str] = []
    for key, entry in zip(keys, entries, strict=True):
        if key.heading is not None:
            lines += ["", *_comment(key.heading)]
        text = comment_of(key)
        if entry and len(entry) <= INLINE:
            first, *others = textwrap.wrap(text, WIDTH - column - 2, break_on_hyphens=False) or [""]
            lines += [f"{entry:{column}}# {first}" if first else entry, *(f"{'':{column}}# {line}" for line in others)]
            continue
        lines += [f"{indent}{line}" for line in _comment(text)]
        if key.inner:
            lines += [f"{indent}{key.name}:", *_entries(key.inner, indent + "  ")]
        else:
            text = yaml.safe_dump({key.name: _plain(key.default)}, allow_unicode=True, sort_keys=False, width=1000)
            lines += [f"{indent}{line}" for line in text.splitlines()]
    return lines


def _block(key: Key) -> bool:
    """Return whether a value takes several lines."""
    return (
        bool(key.inner) or (isinstance(key.default, Mapping) and bool(key.default)) or len(_flow(key.default)) > INLINE
    )


def comment_of(key: Key) -> str:
    """Return a key's meaning for a comment, after the choices if it does not name them."""
    text = key.meaning[:-1] if key.meaning.endswith(".") and ". " not in key.meaning else key.meaning
    if all(str(choice) in text for choice in key.choices):
        return text
    return ": ".join(part for part in (" | ".join(map(str, key.choices)), text) if part)


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, WIDTH - 2, break_on_hyphens=False)]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _flow(value: Any) -> str:
    """Return a value as YAML in one line."""
    if value == REQUIRED:
        return REQUIRED
    text: str = yaml.safe_dump(_plain(value), default_flow_style=True, allow_unicode=True, width=1000)
    return text.removesuffix("...\n").strip()


def page_of(parts: Mapping[str, Sequence[Section]]) -> str:
    """Return the tables of the reference page, by heading."""
    lines = []
    for heading, sections in parts.items():
        lines += ["", f"## {heading}"]
        for part in sections:
            chosen = ", ".join(f"`{name}: {value}`" for name, value in part.fixed.items() if not name.startswith("_"))
            place = f"[conf/{part.file}](../conf/{part.file})" + (f", {chosen}" if chosen else "")
            title = [] if len(sections) == 1 else ["", f"### {part.file.rpartition('/')[2].removesuffix('.yaml')}"]
            lines += [*title, "", *(line for text in part.about for line in textwrap.wrap(text, WIDTH)), "", place, ""]
            if part.keys:
                lines += ["| key | accepted | default | meaning |", "|---|---|---|---|"]
            for key in part.keys:
                shown = [dataclasses.replace(one, name=f"{key.name}.{one.name}") for one in key.inner] or [key]
                lines += [_row(part.prefix, one) for one in shown]
    return "\n".join(lines) + "\n"


def _row(prefix: str, key: Key) -> str:
    default = "required" if key.default == REQUIRED else f"`{_flow(key.default)}`"
    cells = (f"`{prefix}{key.name}`", key.accepted, default, key.meaning)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def json_schema(part: Section) -> dict[str, Any]:
    """Return the JSON Schema of a section: an editor completes and checks its keys. No key has to be given."""
    from pydantic.json_schema import GenerateJsonSchema

    properties: dict[str, Any] = {name: {"const": value} for name, value in part.fixed.items()}
    for cls in part.classes:
        made = GenerateJsonSchema().generate(section_schema(cls))
        definitions = made.get("$defs", {})
        for name, value in made["properties"].items():
            if name not in part.left_out:
                properties[name] = _without_titles(value, definitions)
    for key in part.keys:
        properties.setdefault(key.name, {})["description"] = key.meaning
        if key.default != REQUIRED and not key.inner:
            properties[key.name]["default"] = _plain(key.default)
        for one in key.inner:
            properties[key.name]["properties"][one.name]["description"] = one.meaning
    properties["defaults"] = {"description": "Hydra's list of the files that this one goes on from."}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _without_titles(value: Any, definitions: Mapping[str, Any]) -> Any:
    """Return a schema without the titles that pydantic makes of names, and with its references put in."""
    if isinstance(value, Mapping):
        if "$ref" in value:
            return _without_titles(definitions[value["$ref"].rpartition("/")[2]], definitions)
        named = ("properties", "$defs")
        return {
            k: {name: _without_titles(v, definitions) for name, v in inner.items()}
            if k in named
            else _without_titles(inner, definitions)
            for k, inner in value.items()
            if k != "title"
        }
    return [_without_titles(item, definitions) for item in value] if isinstance(value, list) else value
