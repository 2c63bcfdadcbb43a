"""The configuration of a run: its settings with ranges and messages, and the run's identity.

Torch-free, so that a sweep of thousands of runs is checked and named without loading a model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.config.channel_match import CHOICES, KNOBS, ChannelMatch, ChannelMatchSpec, network_of, reference_of
from experiments.config.tuned_rates import Tuned, tuned_rates
from experiments.core import plugins
from experiments.core.errors import InputError
from experiments.core.kinds import KINDS, kind_of, sources
from experiments.core.paths import given
from experiments.core.schema import build, check, identity_of, setting
from experiments.models.contract import ModelConfig
from experiments.models.ntk import NtkConfig
from experiments.models.registry import MODELS, Models, models, origin

NUMERICS_VERSION = {"data": 1, "model": 1, "training": 2}
"""Part of every run's identity as it is, and never edited: that would rename all runs (see `NUMERICS_RAISED`)."""
NUMERICS_RAISED: dict[str, int] = {"ntk": 2, "ace": 2, "krr": 2}
"""Versions, by family, of numerics that no longer give the numbers of the first release; golden tests say when.

A family is `data` (all runs are renamed), `training` (trained ones), or an architecture (its own, and linearised
networks of it). Put it here with 2 (`training`: 3) the first time and count on from there: `{"mace": 2}`.
"""
LADDER = "ladder-"
"""Beginning of the `RunConfig.shape_id` of runs that are solved in one pass, for the largest P of them."""
assert set(NUMERICS_RAISED) <= {"data", "training", *MODELS}, "a number of no family would rename nothing"


class LacksKnob(InputError):
    """A setting was named that the model does not have: an error for one run, a dropped point in a grid."""


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained; budgets are in updates, so that they do not depend on P."""

    max_steps: int = setting(2000, low=2, high=100_000_000)
    """Updates of the full schedule T; a second complete schedule of T/2 branches off its stable phase."""
    batch_size: int = setting(8, low=1, high=65536)
    optimizer: str = setting("soap", choices=("soap", "adam", "amsgrad", "muon", "schedule_free"))
    learning_rate: float = setting(4e-2, above=0.0, high=10.0)
    warmup_steps: int = setting(100, low=0)
    cooldown: float = setting(0.5, above=0.0, high=1.0)
    """Fraction of a schedule over which the learning rate falls to zero."""
    ema_decay: float = setting(0.99, low=0.0, high=1.0)
    """Errors are those of the exponential moving average of the weights; 0 switches it off."""
    clip: float = setting(10.0, above=0.0)
    """Largest norm of a run's gradient; longer ones are shortened to it."""
    energy_weight: float = setting(1.0, low=0.0)
    """Weight of the squared error of the energy per atom, in units of (force RMS × 1 Å)²."""
    force_weight: float = setting(1.0, low=0.0)
    """Weight of the mean squared error of a force component, in units of (force RMS)²."""
    augment: bool = setting(False, since=2)
    """Rotate every frame of every batch at random, but no test frame. For models without rotation symmetry."""
    precision: str = setting("float32", choices=("float32", "float64"))
    tf32: bool = setting(False, since=2)
    """On a GPU, compute products and convolutions with 11 of float32's 24 binary digits: faster, and equivariant only
    to that precision. No effect on a CPU."""
    compile: bool = setting(True)
    """Compile the whole step if a C++ compiler is found; part of the identity, for round-off differs."""
    checkpoint_seconds: float = setting(60.0, above=0.0, identity=False)
    """Wall time between checkpoints in seconds, the most that a kill can cost."""
    tracker: str | None = setting(None, choices=("tensorboard", "mlflow", "wandb"), identity=False)
    """Tracker that also receives the records of the history (`experiments.runs.trackers`)."""
    keep: str = setting("trunk", choices=("trunk", "weights"), identity=False)
    """State that a finished run keeps: its weights; with `trunk` also the state from which twice the budget goes on."""

    def __post_init__(self) -> None:
        if self.energy_weight == 0 and self.force_weight == 0:
            raise InputError("energy_weight=0 and force_weight=0: nothing to train on; one of them must be > 0")
        if self.ema_decay == 1:
            raise InputError("ema_decay=1.0: the average would never move; accepted: 0 ≤ ema_decay < 1")
        if self.tf32 and self.precision != "float32":
            raise InputError(f"tf32=true: a way to compute with float32, not {self.precision}; accepted: false")


CONTINUOUS = (
    "max_steps", "learning_rate", "warmup_steps", "cooldown", "ema_decay", "clip", "energy_weight", "force_weight"
)  # fmt: skip
"""Training settings in which the runs of one pack may differ."""


WEIGHTS = ("energy_weight", "force_weight")
"""Training settings for molecules only."""


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
            terms = [self.training.energy_weight > 0, self.training.force_weight > 0]
            identity["training"] = {**discrete, "terms": terms}
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


FACTORS = ("budget_factor", "rate_factor")
"""Keys that multiply `training.max_steps` and `training.learning_rate`; only the products are kept."""
SEED = {"low": 0, "high": 2**31 - 1}
TOP_LEVEL = ("P", "L", "nu", "seed", "data", "model", "training", "match", "reference", "store", "device", "plugins")


def parse(config: Mapping[str, Any]) -> RunConfig:
    """Check a composed configuration.

    Raises:
        LacksKnob: L, nu or another knob was named for a model that has none.
        InputError: anything else; the message names the key, the value and what would be accepted.
    """
    for key in config:
        if key not in TOP_LEVEL:
            raise InputError(f"{key}: unknown key; accepted: {', '.join(TOP_LEVEL)}")
    P = check(config.get("P"), int, "P", {"low": 1})
    seed = check(config.get("seed"), int, "seed", SEED)
    users = plugins.folders(check(config.get("plugins"), str | None, "plugins"))
    known = models(users)
    data = with_plugins(located(section_of(config, "data")), users)
    subset_seed = check(data.pop("subset_seed", None), int | None, "data.subset_seed", SEED)
    training_section = dict(section_of(config, "training"))
    init_seed = check(training_section.pop("init_seed", None), int | None, "training.init_seed", SEED)
    model = parse_model(section_of(config, "model"), config.get("L"), config.get("nu"), known)
    match = parse_match(config, model, known)
    if isinstance(match, ChannelMatchSpec):
        training_section["tuned"] = None  # rates are looked up for the channels that come out
    training, tuned = parse_training(training_section, model, data, P)
    check_kind(data, model, training, match, known)
    if training.augment and model.group != "T(3)" and not model.closed_form:
        raise LacksKnob(
            f"training.augment=true: model={model.architecture} has rotation symmetry ({model.group}); accepted: false"
        )
    return RunConfig(
        P=P,
        seed=seed,
        subset_seed=seed if subset_seed is None else subset_seed,
        init_seed=seed if init_seed is None else init_seed,
        data=data,
        model=model,
        training=None if model.closed_form else training,
        store=given(check(config.get("store"), str, "store")),
        device=check(config.get("device"), str, "device", {"choices": ("auto", "cpu", "cuda")}),
        tuned=tuned,
        match=match,
        plugins=_folder_of(getattr(model, "network", model)),
    )


def with_plugins(section: Mapping[str, Any], users: Sequence[Path]) -> dict[str, Any]:
    """Return the data section; of a user's source with the folder of its file, so that every process finds it."""
    data = dict(section)
    name = str(data.get("source"))
    if users and name not in KINDS and "plugins" not in data:
        declared = sources({"plugins": os.pathsep.join(map(str, users))}).get(name)
        if declared is not None:
            data["plugins"] = str(declared.path.parents[1])
    return data


def _folder_of(model: ModelConfig) -> str | None:
    declared = origin(model)
    return None if declared.module is not None else str(declared.path.parents[1])


FILES = ("train", "test", "holdout", "isolated_atoms", "cache")
"""Settings of data that are paths where a user gives files; elsewhere all but `cache` are names or numbers."""


def located(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a data section whose files are those of the directory that the command is given in, `~` replaced.

    A run is computed and evaluated from other directories too, so that relative paths would mean other files there.
    """
    own = ("cache",) if data.get("source") not in ("extxyz", "ase_db") else FILES
    paths = {k: os.path.abspath(given(v)) for k, v in data.items() if k in own and isinstance(v, str) and v != "???"}
    return {**data, **{key: path for key, path in paths.items() if data[key]}}


def parse_match(
    config: Mapping[str, Any], model: ModelConfig, known: Models = MODELS
) -> ChannelMatchSpec | ChannelMatch | None:
    """Read `match` and `reference`; a mapping in `match` is the outcome that an earlier run wrote down.

    Raises:
        LacksKnob: the model has no channels, or lacks a knob of the reference.
        InputError: no reference, or more than one.
    """
    match, reference = config.get("match"), reference_of(config.get("reference")).given()
    if isinstance(match, Mapping):
        return ChannelMatch.parse(match)
    by = check(match, str | None, "match", {"choices": CHOICES})
    if by is None:
        if reference:
            raise InputError(f"reference.{next(iter(reference))} without match; accepted: match=weights|features")
        return None
    fields = {f.name for f in dataclasses.fields(network_of(model))}
    if "channels" not in fields:
        raise LacksKnob(f"match={by}: model={model.architecture} has no channels to choose; accepted: null")
    if ("count" in reference) == any(knob in reference for knob in KNOBS):
        named = ", ".join(f"reference.{knob}" for knob in KNOBS)
        raise InputError(f"match={by}: accepted: one or more of {named}, or reference.count alone")
    if "count" in reference:
        return ChannelMatchSpec(by, reference, None, reference["count"])
    section = dict(section_of(config, "model"))
    for knob in set(reference) - {"L", "nu"}:
        if knob not in fields:
            raise LacksKnob(f"reference.{knob}={reference[knob]}: model={model.architecture} has no {knob}")
        section[knob] = reference[knob]
    try:
        other = parse_model(section, reference.get("L", config.get("L")), reference.get("nu", config.get("nu")), known)
    except InputError as error:
        raise type(error)(f"reference: {error}") from None
    return ChannelMatchSpec(by, reference, other, None)


def parse_training(
    section: Mapping[str, Any], model: ModelConfig, data: Mapping[str, Any], P: int
) -> tuple[TrainingConfig, Tuned | None]:
    """Return the training settings with factors multiplied in, and the tuned rates if there are any.

    `tuned` is the name of a file; in a configuration that was written down, the rates that were looked up there.
    """
    values = dict(section)
    tuned = values.pop("tuned", None)
    if model.closed_form:
        tuned = None  # no training, no rate
    factors = {name: check(values.pop(name, 1.0), float, f"training.{name}", {"above": 0.0}) for name in FACTORS}
    if values.get("learning_rate") is None:
        values.pop("learning_rate", None)
    training = build(TrainingConfig, values, "training.")
    rates: Tuned | None = None
    if isinstance(tuned, Mapping):
        rates = Tuned.parse(tuned)
        if "learning_rate" in values and training.learning_rate != rates.rate(P):
            raise InputError(
                f"training.learning_rate={training.learning_rate!r}: not the rate that training.tuned has for P={P}; "
                f"accepted: {rates.rate(P)!r}"
            )
    elif tuned is not None:
        name = check(tuned, str, "training.tuned")
        if "learning_rate" in values:
            raise InputError(
                f"training.learning_rate={training.learning_rate!r} and training.tuned={name}: two learning rates; "
                "accepted: one of them, the other null (training.rate_factor multiplies a tuned rate)"
            )
        identity = {"architecture": model.architecture, **identity_of(model)}
        rates = tuned_rates(name, data, identity, identity_of(training))
    rates = None if rates is None else rates.times(factors["rate_factor"])
    products = {
        "max_steps": round(training.max_steps * factors["budget_factor"]),
        "learning_rate": training.learning_rate * factors["rate_factor"] if rates is None else rates.rate(P),
    }
    fields = {f.name: f for f in dataclasses.fields(TrainingConfig)}
    hints = {"max_steps": int, "learning_rate": float}
    for key, value in products.items():
        check(value, hints[key], f"training.{key} times its factor", fields[key].metadata)
    return dataclasses.replace(training, **products), rates


def check_kind(
    data: Mapping[str, Any],
    model: ModelConfig,
    training: TrainingConfig,
    match: ChannelMatchSpec | ChannelMatch | None,
    known: Models = MODELS,
) -> None:
    """Raise `InputError` if a model cannot learn from a source's examples, or for settings of molecules on others.

    Unknown sources pass: loading the data names them.
    """
    kind = kind_of(data)
    if kind is not None and kind not in model.kinds:
        fitting = " | ".join(name for name, cls in known.items() if kind in cls.kinds)
        raise InputError(
            f"model={model.architecture}: learns from {' and '.join(model.kinds)}, and data.source={data['source']} "
            f"holds {kind}; accepted: {fitting}"
        )
    if kind not in (None, "molecules"):
        if training.augment:
            raise InputError("training.augment=true: rotates molecules; accepted: false (images: model.copies of cnn)")
        if match is not None:
            raise InputError(f"match: counts weights of networks of molecules, not of {kind}; accepted: null")


def section_of(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a group's section; raise `InputError` if the group was not chosen."""
    section = config.get(name)
    if not isinstance(section, Mapping):
        raise InputError(f"{name}={section!r}: accepted: one of the files in conf/{name}/, by name")
    return section


def parse_model(section: Mapping[str, Any], L: Any, nu: Any, known: Models = MODELS) -> ModelConfig:
    """Build the model's settings, with `L` and `nu` of the top level merged in; `known` are the architectures."""
    values = dict(section)
    architecture = values.pop("architecture", None)
    if architecture not in known:
        raise InputError(f"model.architecture={architecture!r}: accepted: {' | '.join(known)}")
    cls = known[architecture]
    if cls is NtkConfig:
        return _parse_linearised(values, L, nu, known)
    return _parse_model(cls, values, L, nu, f"model={architecture}")


def _parse_linearised(values: dict[str, Any], L: Any, nu: Any, known: Models) -> NtkConfig:
    """Build a linearised network's settings; null leaves the shared ones to the network's own defaults."""
    trained = [name for name in known if known.of_molecules(name)]
    of = check(values.pop("of", None), str, "model.of", {"choices": trained})
    own: dict[str, Any] = {name: values.pop(name) for name in ("energy_weight", "force_weight") if name in values}
    given = {k: v for k, v in values.items() if v is not None or k not in NtkConfig.shared}
    network = _parse_model(known[of], given, L, nu, f"model=ntk model.of={of}")
    return build(NtkConfig, {**own, "of": of, "network": network}, "model.")


def _parse_model(cls: type[ModelConfig], values: dict[str, Any], L: Any, nu: Any, choice: str) -> ModelConfig:
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for knob, value in (("L", L), ("nu", nu)):
        if value is None:
            continue
        if knob in fields:
            values[knob] = check(value, int, knob, fields[knob].metadata)
        elif check(value, int, knob, {"low": 0}) != cls.lacks[knob]:
            natural = cls.lacks[knob]
            accepted = "null" if natural is None else f"null or {natural}"
            raise LacksKnob(f"{knob}={value}: {choice} has no {knob}; accepted: {accepted}")
    return build(cls, values, "model.")
