"""The configuration of a run: its settings with ranges and messages, and the run's identity.

Torch-free, so that a sweep of thousands of runs is checked and named without loading a model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from experiments.config.channel_match import CHOICES, ChannelMatch, ChannelMatchSpec, Reference
from experiments.config.training import CONTINUOUS, WEIGHTS, TrainingConfig
from experiments.config.tuned_rates import Tuned
from experiments.core.kinds import kind_of
from experiments.core.schema import identity_of, setting
from experiments.core.subsets import MOST_SEED
from experiments.models.contract import ModelConfig
from experiments.models.registry import MODELS

NUMERICS_VERSION = {"data": 1, "model": 1, "training": 2}
"""Part of every run's identity as it is, and never edited: that would rename all runs (see `NUMERICS_RAISED`)."""
NUMERICS_RAISED: dict[str, int] = {"ntk": 2, "ace": 4, "krr": 3}
"""Versions, by family, of numerics that no longer give the numbers of the first release; golden tests say when.

A family is `data` (all runs are renamed), `training` (trained ones), or an architecture (its own, and linearised
networks of it). Put it here with 2 (`training`: 3) the first time and count on from there: `{"mace": 2}`.
"""
LADDER = "ladder-"
"""Beginning of the `RunConfig.shape_id` of runs that are solved in one pass, for the largest P of them."""
assert set(NUMERICS_RAISED) <= {"data", "training", *MODELS}, "a number of no family would rename nothing"


@dataclass(frozen=True)
class RunConfig:
    """A validated run. `training` is null for models fitted in closed form."""

    P: int
    seed: int
    subset_seed: int
    init_seed: int
    data: Mapping[str, Any]
    model: ModelConfig
    training: TrainingConfig | None
    store: str
    device: str
    tuned: Tuned | None = None
    """Source of the learning rate, if it was looked up."""
    match: ChannelMatchSpec | ChannelMatch | None = None
    """How the number of channels was chosen, if matched; `capacity.resolve_channels` makes it a `ChannelMatch`."""
    plugins: str | None = None
    """The user's folder that declares the architecture, absolute; no part of the identity."""

    @property
    def architecture(self) -> str:
        """Name of the model in tables; of a linearised network, its own (`ntk-mace`)."""
        return getattr(self.model, "name", self.model.architecture)

    @property
    def L(self) -> int | None:
        """Message order; None if the model has no messages."""
        return getattr(self.model, "L", None)

    @property
    def nu(self) -> int | None:
        """Correlation order; None if the model has none to choose."""
        return getattr(self.model, "nu", None)

    def model_identity(self, data_sha256: str) -> dict[str, Any]:
        """Return everything that can change the run's number except P and the seeds.

        A tuned learning rate may differ between the runs of a curve; they share the table of rates by P.
        """
        assert not isinstance(self.match, ChannelMatchSpec), "a run has no name before its channels are known"
        training = None if self.training is None else identity_of(self.training)
        if training is not None and kind_of(self.data) not in (None, "molecules"):
            training = {key: value for key, value in training.items() if key not in WEIGHTS}
        if training is not None and self.tuned is not None:
            training["learning_rate"] = self.tuned.as_dict()["rates"]
        families = {"data", self.model.architecture, getattr(self.model, "of", "")}
        families |= set() if training is None else {"training"}
        network = getattr(self.model, "network", self.model)
        own = {} if network.numerics == 1 else {network.architecture: network.numerics}  # raised by a plug-in
        return {
            "data": data_sha256,
            "model": {"architecture": self.model.architecture, **identity_of(self.model)},
            "training": training,
            "numerics": NUMERICS_VERSION | {name: n for name, n in NUMERICS_RAISED.items() if name in families} | own,
        }

    def model_id(self, data_sha256: str) -> str:
        """Return twelve hex digits shared by the runs of one learning curve."""
        return digest(self.model_identity(data_sha256))

    def run_id(self, data_sha256: str) -> str:
        """Return twelve hex digits: the name of the run's directory in the store."""
        seeds = {"P": self.P, "seed": self.seed, "subset_seed": self.subset_seed, "init_seed": self.init_seed}
        resolved = dataclasses.replace(self, tuned=None)  # the source of the rate changes no number
        return digest({**resolved.model_identity(data_sha256), **seeds})

    def shape_id(self, data_sha256: str) -> str:
        """Return a name shared by the runs that can be computed in one pack.

        Runs that train together differ in P, seeds and numbers that enter the arithmetic, not in shapes or operations.
        Fits in closed form that are a ladder differ in P alone; their name begins with `LADDER`.
        """
        identity = self.model_identity(data_sha256)
        if self.model.closed_form:
            seeds = {"seed": self.seed, "subset_seed": self.subset_seed, "init_seed": self.init_seed}
            return LADDER + digest({**identity, **seeds, "device": self.device})
        if self.training is not None:
            discrete = {k: v for k, v in identity["training"].items() if k not in CONTINUOUS}
            own = {"terms": list(self.training.terms), "compile": self.training.compiles}
            identity["training"] = {**discrete, **own}
        return digest({**identity, "device": self.device})

    def as_dict(self) -> dict[str, Any]:
        """Return the resolved configuration as it is written to `config.yaml`; `parse` reads it back."""
        model, knobs = section_of_model(self.model)
        return {
            "P": self.P,
            **knobs,
            "seed": self.seed,
            "data": {**self.data, "subset_seed": self.subset_seed},
            "model": model,
            "training": {
                **({} if self.training is None else jsonable(dataclasses.asdict(self.training))),
                **({} if self.tuned is None else {"tuned": self.tuned.as_dict()}),
                "init_seed": self.init_seed,
            },
            **({"match": self.match.as_dict()} if isinstance(self.match, ChannelMatch) else {}),
            **({"plugins": self.plugins} if self.plugins is not None else {}),
            "store": os.path.abspath(self.store),
            "device": self.device,
        }


def section_of_model(model: ModelConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the section `model` of a configuration and the knobs of its top level; `parse_model` reads them back."""
    section = {"architecture": model.architecture, **dataclasses.asdict(model)}
    section |= section.pop("network", {})  # a linearised network's settings stand beside its own
    knobs = {knob: section.pop(knob, None) for knob in ("L", "nu")}
    return jsonable(section), knobs


def jsonable(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace tuples by lists, for YAML and JSON."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def digest(content: Any) -> str:
    """Return the first 12 hex digits of the SHA-256 of the canonical JSON."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class RunKeys:
    """The keys of a run outside its sections (conf/run.yaml)."""

    P: int = setting(100, low=1)
    """Training-set size: number of training frames."""
    L: int | None = setting(None, low=0)
    """Message order: highest degree passed between layers; null: the model's own."""
    nu: int | None = setting(None, low=0)
    """Correlation order: number of neighbour factors in a product; null: the model's own."""
    seed: int = setting(0, low=0, high=MOST_SEED)
    """Draws the training subset, the initial weights and the order of the batches."""
    match: str | None = setting(None, choices=CHOICES)
    """Choose the channels so that the model has as many weights (or features) as its reference."""
    reference: Reference = field(default_factory=Reference)
    store: str = setting("runs")
    """Directory of runs."""
    plugins: str | None = setting(None)
    """Folder of your own architectures, sources and figures: DIR/models/*.py, DIR/sources/*.py (CONTRIBUTING.md)."""
    device: str = setting("cpu", choices=("auto", "cpu", "cuda"))
    """Auto: the first GPU if there is one, else the CPU; fits in closed form use the CPU alone."""
