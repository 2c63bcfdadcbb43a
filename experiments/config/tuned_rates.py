"""Learning rates tuned on validation errors: their files, the problem each holds for, and the rate that a run gets.

`conf/tuned/NAME.yaml` is written by `python -m experiments.runs.tune` and used by `training.tuned=NAME`.
Torch-free.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.core.errors import InputError
from experiments.core.paths import CONF
from experiments.core.schema import build, setting

FOLDER = CONF / "tuned"
NOT_THE_PROBLEM = frozenset({
    "pool", "holdout", "holdout_frames", "test", "test_frames", "seed", "subset_seed", "disjoint_seeds", "walkers",
    "workers", "cache",
})  # fmt: skip
"""Keys of a data section that choose frames, their number or how they are made, but do not change the problem."""
NOT_THE_RATE = frozenset({"learning_rate", "max_steps", "warmup_steps", "precision", "compile"})
"""Training settings in which a run may differ from those its rate was tuned with: length of training, round-off."""

KNOBS = ("L", "nu", "edge_lmax")
SHOWN = frozenset({"architecture", *KNOBS})
"""Settings of a model that `short_name` names."""


@dataclass(frozen=True)
class Tuned:
    """The tuned learning rates of one model on one problem, as a run's configuration records them."""

    name: str
    """Name (or path) of the file."""
    rates: tuple[tuple[int, float], ...] = setting(above=0)
    """P and learning rate, by ascending P; `training.rate_factor` is in them."""

    def rate(self, P: int) -> float:
        """Return the rate of the tuned P nearest to `P` on a log scale, the smaller P of two."""
        return min(self.rates, key=lambda point: (abs(math.log(point[0] / P)), point[0]))[1]

    def times(self, factor: float) -> Tuned:
        """Return a copy with all rates multiplied by `factor`."""
        return Tuned(self.name, tuple((P, rate * factor) for P, rate in self.rates))

    def as_dict(self) -> dict[str, Any]:
        """Return the entries of `config.yaml`; `parse` reads them back."""
        return {"name": self.name, "rates": [[P, rate] for P, rate in self.rates]}

    @staticmethod
    def parse(content: Mapping[str, Any]) -> Tuned:
        """Read what `as_dict` wrote.

        Raises:
            InputError: the content is something else.
        """
        try:
            tuned = build(Tuned, content, "training.tuned.")
            if not tuned.rates:
                raise InputError("no rates")
        except InputError:
            raise InputError(
                f"training.tuned={dict(content)!r}: accepted: null or the name of a file in conf/tuned"
            ) from None
        return Tuned(tuned.name, tuple(sorted(tuned.rates)))


def problem_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a data section that define the problem, without how many of its frames serve which purpose."""
    return {key: value for key, value in data.items() if key not in NOT_THE_PROBLEM and value is not None}


def rate_settings(training: Mapping[str, Any]) -> dict[str, Any]:
    """Return the training settings (of a run's identity) that a tuned rate depends on."""
    return {key: value for key, value in training.items() if key not in NOT_THE_RATE}


def path_of(name: str) -> Path:
    """Return the path of a tuned file; a name that ends in `.yaml` is a path already.

    Raises:
        InputError: it is no name.
    """
    if name.endswith(".yaml"):
        return Path(name)
    if not name or "/" in name or name.startswith("."):
        raise InputError(f"training.tuned={name!r}: accepted: a name in conf/tuned, or the path of a .yaml file")
    return FOLDER / f"{name}.yaml"


def tuned_rates(name: str, data: Mapping[str, Any], model: Mapping[str, Any], training: Mapping[str, Any]) -> Tuned:
    """Return the rates in file `name` for a model (with `architecture`) on a data section.

    Raises:
        InputError: no such file, a damaged one, or one without rates for these settings; the message lists what it has.
    """
    path = path_of(name)
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        there = ", ".join(sorted(file.stem for file in FOLDER.glob("*.yaml"))) or "none yet"
        raise InputError(
            f"training.tuned={name}: no file {path}; accepted: null or a name in conf/tuned (there: {there}); "
            "python -m experiments.runs.tune makes one"
        ) from None
    entries = _entries(path, changed)
    wanted = (problem_of(data), dict(model), rate_settings(training))
    for entry in entries:
        if (entry["data"], entry["model"], rate_settings(entry["training"])) == wanted:
            return Tuned(name, tuple(sorted((int(p["P"]), float(p["learning_rate"])) for p in entry["points"])))
    there = "; ".join(dict.fromkeys(_difference(entry, wanted) for entry in entries))
    raise InputError(
        f"training.tuned={name}: not tuned for {short_name(model)} on {data.get('source')}; there is {there}"
    )


@functools.lru_cache(maxsize=16)
def _entries(path: Path, changed: int) -> list[dict[str, Any]]:
    """Read the models of a tuned file, once for each of its versions (a sweep asks thousands of times)."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        entries = content["models"]
        for entry in entries:
            points = [(p["P"], p["learning_rate"]) for p in entry["points"]]
            if not points or not all(P >= 1 and rate > 0 for P, rate in points):
                raise ValueError("no points")
            rate_settings(entry["training"]), problem_of(entry["data"]), short_name(entry["model"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: no table of tuned learning rates ({type(error).__name__}); tune again") from None
    return list(entries)


def short_name(model: Mapping[str, Any]) -> str:
    """Name a model in short: `mace L=0 nu=3 edge_lmax=3`."""
    knobs = [f"{knob}={model[knob]}" for knob in KNOBS if knob in model]
    return " ".join([str(model["architecture"]), *knobs])


def _difference(entry: Mapping[str, Any], wanted: tuple[dict[str, Any], dict[str, Any], dict[str, Any]]) -> str:
    """Name a tuned model in short, with the other settings in which it differs from those wanted."""
    data, model, training = entry["data"], entry["model"], rate_settings(entry["training"])
    pairs = [("data", data, wanted[0]), ("training", training, wanted[2])]
    if model["architecture"] == wanted[1]["architecture"]:
        pairs.insert(1, ("model", model, wanted[1]))
    differing = [
        f"{section}.{key}={has.get(key)}"
        for section, has, asked in pairs
        for key in sorted({*has, *asked} - SHOWN)
        if has.get(key) != asked.get(key)
    ]
    name = f"{short_name(model)} on {entry.get('dataset')}"
    return f"{name} ({', '.join(differing)})" if differing else name
