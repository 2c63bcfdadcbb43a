"""Write what repeats the declared settings: `python -m slurm.generate` (`make settings`).

These are the files of `conf/` with the defaults, docs/settings.md, and JSON Schemas for editors (docs/schema). A test
fails if one of them is not as this program writes it. It stands in this room, the highest that declares settings.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.config.reference import Key, Section, json_schema, page_of, section, yaml_of
from experiments.config.run import RunKeys
from experiments.config.training import TrainingConfig, TrainingKeys
from experiments.core import command
from experiments.core.kinds import KINDS
from experiments.core.paths import ROOT
from experiments.core.subsets import SubsetKeys
from experiments.data.load import config_of
from experiments.models.ntk import NtkConfig
from experiments.models.registry import MODELS
from slurm.settings import LocalSettings, SlurmSettings

COMMAND = "python -m slurm.generate"
NAMES = {"xtb": "molecule", "digits": "digits_rotated"}
"""Sources whose file has another name: that of the data that it is about."""
ORDERED = ("molecules", "points")
"""Kinds of examples of which subsets can be drawn otherwise than at random."""
DRAFT = "http://json-schema.org/draft-07/schema#"
INTRODUCTION = f"""\
# All settings

Written by `{COMMAND}` from the classes that declare the settings, as are the files of `conf/` with the same
keys.

On the command line a setting is `KEY=VALUE`, as `model.channels=16`; `model=NAME` and `data=NAME` choose the file that
the keys of `model.` and `data.` come from. Lists are written `[1,2]`, mappings `{{a: 1}}`, nothing `null`. A key that
the chosen file lacks is unknown. `python -m experiments --help` lists the keys of the default run.

An editor that knows JSON Schema completes and checks files of one's own: docs/schema/data.json, model.json,
training.json and launcher.json for files in `conf/data`, `conf/model`, `conf/training` and `conf/hydra/launcher`,
run.json for the `config.yaml` of a run. In VS Code with the YAML extension:
`"yaml.schemas": {{"docs/schema/data.json": "conf/data/*.yaml"}}`.
"""


def sections() -> dict[str, list[Section]]:
    """Return every file with defaults, by heading."""
    models = [_model(name) for name in MODELS]
    data = [_source(source) for source in KINDS]
    local = section("hydra/launcher/local.yaml", "hydra.launcher.", [LocalSettings], **_target("LocalLauncher"))
    slurm = section("hydra/launcher/slurm.yaml", "hydra.launcher.", [SlurmSettings], **_target("SlurmLauncher"))
    return {
        "The run": [section("run.yaml", "", [RunKeys])],
        "training": [section("training/default.yaml", "training.", [TrainingConfig, TrainingKeys])],
        "model": models,
        "data": data,
        "hydra/launcher": [local, slurm],
    }


def _target(name: str) -> dict[str, str]:
    return {"_target_": f"hydra_plugins.equilaw.{name}"}


def _model(name: str) -> Section:
    """Return an architecture's file, without L and ν, which are the run's, and with keys of a linearised network."""
    made = section(f"model/{name}.yaml", "model.", [MODELS[name]], ("L", "nu", "network"), architecture=name)
    if MODELS[name] is not NtkConfig:
        return made
    of, *others = made.keys
    shared = [
        Key(key, "as of the network, or null", None, "Of the network; null: its own.") for key in NtkConfig.shared
    ]
    return Section(made.file, made.prefix, made.about, (of, *shared, *others), made.classes, made.fixed, made.left_out)


def _source(source: str) -> Section:
    left_out = () if KINDS[source] in ORDERED else ("subset",)
    name = NAMES.get(source, source)
    return section(f"data/{name}.yaml", "data.", [config_of(source), SubsetKeys], left_out, source=source)


def files() -> dict[str, str]:
    """Return the content of every generated file by its path from the repository's root."""
    made = sections()
    texts = {f"conf/{part.file}": yaml_of(part, COMMAND) for parts in made.values() for part in parts}
    texts["docs/settings.md"] = INTRODUCTION + page_of(made)
    for name, content in schemas(made).items():
        texts[f"docs/schema/{name}.json"] = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    return texts


def schemas(made: Mapping[str, Sequence[Section]]) -> dict[str, dict[str, Any]]:
    """Return the JSON Schemas: of the files of every group, and of a whole run."""
    parts = {
        "data": _one_of(made["data"], "source"),
        "model": _one_of(made["model"], "architecture"),
        "training": json_schema(made["training"][0]),
        "launcher": _one_of(made["hydra/launcher"], "_target_"),
    }
    run = json_schema(made["The run"][0])
    run["properties"] |= {name: {"$ref": f"{name}.json"} for name in ("data", "model", "training")}
    return {
        name: {"$schema": "http://json-schema.org/draft-07/schema#", **part}
        for name, part in {**parts, "run": run}.items()
    }


def _one_of(parts: Sequence[Section], by: str) -> dict[str, Any]:
    """Return the schema of a group: the key `by` decides which file's keys it has."""
    names = [part.fixed[by] for part in parts]
    return {
        "type": "object",
        "properties": {by: {"enum": names}},
        "allOf": [
            {"if": {"properties": {by: {"const": part.fixed[by]}}, "required": [by]}, "then": json_schema(part)}
            for part in parts
        ],
    }


def main() -> int:
    """Write the files that are not as they should be, and name them; return 0, or 2 outside a checkout."""
    if not (ROOT / "pyproject.toml").exists():
        command.say("works in a checkout only, whose files it writes", COMMAND)
        return 2
    for name, text in files().items():
        path = ROOT / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
