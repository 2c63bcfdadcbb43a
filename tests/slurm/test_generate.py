"""What repeats the declared settings is as the program writes it, and says what the classes say."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
import yaml

from experiments.config.reference import REQUIRED, Section
from experiments.core.schema import build, required
from slurm.generate import files, sections

SECTIONS = [part for parts in sections().values() for part in parts]
GROUPS = {"data": "data", "model": "model", "training": "training", "launcher": "hydra/launcher"}
"""Folder of `conf/` by the schema of its files."""


@pytest.mark.parametrize("name", sorted(files()))
def test_no_file_is_stale(root: Path, name: str) -> None:
    path = root / name
    assert path.exists(), f"make settings writes {name}"
    assert path.read_text(encoding="utf-8") == files()[name], f"{name} is stale: make settings writes it anew"


def test_every_setting_has_a_meaning() -> None:
    keys = [(part.file, one) for part in SECTIONS for key in part.keys for one in (key.inner or (key,))]
    assert [(file, key.name) for file, key in keys if not key.meaning] == []


@pytest.mark.parametrize("part", SECTIONS, ids=lambda part: part.file)
def test_a_file_has_the_defaults_of_its_classes(root: Path, part: Section) -> None:
    content = yaml.safe_load((root / "conf" / part.file).read_text(encoding="utf-8"))
    for cls in map(any_class, part.classes):
        fields = {f.name: f for f in dataclasses.fields(cls)}
        given = {name: "x" for name, f in fields.items() if required(f)}
        own = {name: value for name, value in content.items() if name in fields and value != REQUIRED}
        overridden = {"learning_rate"} if part.prefix == "training." else {"edge_lmax"} if "of" in content else set()
        for name in overridden & set(own):
            assert own.pop(name) is None
        assert build(cls, {**given, **own}, "") == build(cls, given, "")


def any_class(cls: type) -> Any:
    return cls


def schema_of(root: Path, name: str) -> Any:
    """Compile a schema, with those of files beside it put in place of references to them."""
    folder = root / "docs" / "schema"
    content = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    for key, value in content["properties"].items():
        if "$ref" in value:
            content["properties"][key] = json.loads((folder / value["$ref"]).read_text(encoding="utf-8"))
    return fastjsonschema.compile(content, use_default=False)


@pytest.mark.parametrize("name", GROUPS)
def test_schemas_accept_the_files_of_their_group(root: Path, name: str) -> None:
    check = schema_of(root, name)
    paths = sorted((root / "conf" / GROUPS[name]).glob("*.yaml"))
    assert paths
    for path in paths:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        check({key: value for key, value in content.items() if value != REQUIRED})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data", {"source": "star", "pol": 3}),
        ("data", {"source": "star", "pool": 0}),
        ("data", {"source": "no such source"}),
        ("model", {"architecture": "mace", "edge_lmax": 4}),
        ("model", {"architecture": "ace", "channels": 4}),
        ("training", {"optimizer": "sgd"}),
        ("training", {"learning_rate": 0.0}),
        ("launcher", {"_target_": "hydra_plugins.equilaw.LocalLauncher", "packs_per_gpu": 1}),
        ("run", {"P": 0}),
        ("run", {"reference": {"l": 1}}),
        ("run", {"model": {"architecture": "mace", "chanels": 4}}),
    ],
)
def test_schemas_refuse_what_the_program_refuses(root: Path, name: str, content: dict[str, Any]) -> None:
    with pytest.raises(fastjsonschema.JsonSchemaException):
        schema_of(root, name)(content)
