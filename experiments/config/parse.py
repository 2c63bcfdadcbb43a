"""From a composed configuration to a checked run: sections, ranges, plug-ins, and what must fit together.

Torch-free, so that a sweep of thousands of runs is checked without loading a model.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.config.channel_match import (
    CHOICES,
    KNOBS,
    ChannelMatch,
    ChannelMatchSpec,
    network_of,
    reference_of,
)
from experiments.config.run import RunConfig, RunKeys
from experiments.config.training import TrainingConfig, TrainingKeys
from experiments.config.tuned_rates import Tuned, tuned_rates
from experiments.core import plugins
from experiments.core.errors import InputError, Mistakes
from experiments.core.kinds import FILE_SOURCES, KINDS, is_test_file, kind_of, sources, surely_periodic
from experiments.core.paths import given
from experiments.core.schema import build, check, identity_of
from experiments.core.subsets import SubsetKeys
from experiments.core.wording import did_you_mean
from experiments.models.contract import ModelConfig
from experiments.models.ntk import NtkConfig
from experiments.models.registry import MODELS, Models, models, origin

CHECKED_HERE = ("P", "seed", "store", "device")
"""Keys of `RunKeys` whose range does not depend on other keys; a configuration must have them."""
SECTIONS = ("data", "model", "training")
TOP_LEVEL = (*(f.name for f in dataclasses.fields(RunKeys)), *SECTIONS)


class LacksKnob(InputError):
    """A setting was named that the model does not have: an error for one run, a dropped point in a grid."""


def parse(config: Mapping[str, Any]) -> RunConfig:
    """Check a composed configuration.

    Raises:
        LacksKnob: L, nu or another knob was named for a model that has none.
        InputError: anything else; the message has a line for each mistake, which names the key, the value and what
            would be accepted.
    """
    mistakes = Mistakes()
    mistakes.of(_check_names, config)
    keys = mistakes.of(build, RunKeys, {name: config.get(name) for name in CHECKED_HERE}, "")
    users = mistakes.of(_users_of, config) or ()
    known = models(users)
    data = mistakes.of(_parse_data, config, users)
    model = mistakes.of(_parse_model_of, config, known)
    match = None if model is None else mistakes.of(parse_match, config, model, known)
    training = mistakes.of(_parse_training_of, config)
    mistakes.tell()
    assert isinstance(keys, RunKeys)
    assert data is not None
    assert model is not None
    assert training is not None
    section, subset_seed = data
    settings, keys_of_training = training
    if isinstance(match, ChannelMatchSpec):  # rates are looked up for the channels that come out
        keys_of_training = dataclasses.replace(keys_of_training, tuned=None)
    settings, tuned = with_rate(settings, keys_of_training, model, section, keys.P)
    check_kind(section, model, settings, match, known)
    if settings.augment and model.group != "T(3)" and not model.closed_form:
        raise LacksKnob(
            f"training.augment=true: model={model.architecture} has rotation symmetry ({model.group}); accepted: false"
        )
    init_seed = keys_of_training.init_seed
    return RunConfig(
        P=keys.P,
        seed=keys.seed,
        subset_seed=keys.seed if subset_seed is None else subset_seed,
        init_seed=keys.seed if init_seed is None else init_seed,
        data=section,
        model=model,
        training=None if model.closed_form else settings,
        store=given(keys.store),
        device="cpu" if model.closed_form else keys.device,
        tuned=tuned,
        match=match,
        plugins=_folder_of(getattr(model, "network", model)),
    )


def without_gpu(composed: Mapping[str, Any], config: RunConfig) -> str:
    """Return in one line that a fit in closed form uses no GPU although one was asked for; empty if there is no need.

    Args:
        composed: the configuration as it was given.
        config: what `parse` made of it.
    """
    if composed["device"] != "cuda" or config.device == "cuda":
        return ""
    return f"model={config.architecture}: fitted in closed form on the CPU; device=cuda uses and holds no GPU for it"


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
    own = FILES if data.get("source") in FILE_SOURCES else ("cache",)
    named = {k: str(v) for k, v in data.items() if k in own and type(v) in (str, int)}  # a file's name may be a number
    paths = {k: os.path.abspath(given(v)) for k, v in named.items() if v != "???"}
    located: dict[str, Any] = {**data, **{key: path for key, path in paths.items() if data[key]}}
    if isinstance(tests := data.get("tests"), Mapping):  # names and files may look like numbers
        located["tests"] = {
            str(k): os.path.abspath(given(str(v))) if is_test_file(data, v) else v for k, v in tests.items()
        }
    return located


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


def _check_names(config: Mapping[str, Any]) -> None:
    """Raise `InputError` for top-level keys that do not exist."""
    unknown = [
        f"{key}: unknown key{did_you_mean(str(key), TOP_LEVEL)}; accepted: {', '.join(TOP_LEVEL)}"
        for key in config
        if key not in TOP_LEVEL
    ]
    if unknown:
        raise InputError("\n".join(unknown))


def _users_of(config: Mapping[str, Any]) -> Sequence[Path]:
    """Return the folders of the user's own architectures and sources."""
    return plugins.folders(check(config.get("plugins"), str | None, "plugins"))


def _parse_data(config: Mapping[str, Any], users: Sequence[Path]) -> tuple[dict[str, Any], int | None]:
    """Return the data section without `subset_seed`, and that."""
    from experiments.data.load import parse as parse_source  # imports numpy, which no help needs

    section, mistakes = with_plugins(located(section_of(config, "data")), users), Mistakes()
    seed = {"subset_seed": section.pop("subset_seed")} if "subset_seed" in section else {}
    keys = mistakes.of(build, SubsetKeys, seed, "data.")
    mistakes.of(parse_source, section)
    mistakes.tell()
    assert isinstance(keys, SubsetKeys)
    return section, keys.subset_seed


def _parse_model_of(config: Mapping[str, Any], known: Models) -> ModelConfig:
    return parse_model(section_of(config, "model"), config.get("L"), config.get("nu"), known)


def _parse_training_of(config: Mapping[str, Any]) -> tuple[TrainingConfig, TrainingKeys]:
    """Return the section `training`; `with_rate` settles its learning rate and its budget."""
    section, mistakes = section_of(config, "training"), Mistakes()
    names = [f.name for f in dataclasses.fields(TrainingKeys)]
    keys = mistakes.of(build, TrainingKeys, {k: v for k, v in section.items() if k in names}, "training.")
    own = {k: v for k, v in section.items() if k not in names}
    settings = mistakes.of(build, TrainingConfig, own, "training.", beside=names)
    mistakes.tell()
    assert isinstance(keys, TrainingKeys)
    assert isinstance(settings, TrainingConfig)
    if keys.learning_rate is not None:
        settings = dataclasses.replace(settings, learning_rate=keys.learning_rate)
    return settings, keys


def with_rate(
    training: TrainingConfig, keys: TrainingKeys, model: ModelConfig, data: Mapping[str, Any], P: int
) -> tuple[TrainingConfig, Tuned | None]:
    """Return the training settings with factors multiplied in, and the tuned rates if there are any.

    `keys.tuned` is the name of a file; in a configuration that was written down, the rates that were looked up there.
    """
    tuned = None if model.closed_form else keys.tuned  # no training, no rate
    rates: Tuned | None = None
    if isinstance(tuned, Mapping):
        rates = Tuned.parse(tuned)
        if keys.learning_rate is not None and training.learning_rate != rates.rate(P):
            raise InputError(
                f"training.learning_rate={training.learning_rate!r}: not the rate that training.tuned has for P={P}; "
                f"accepted: {rates.rate(P)!r}"
            )
    elif tuned is not None:
        if keys.learning_rate is not None:
            raise InputError(
                f"training.learning_rate={training.learning_rate!r} and training.tuned={tuned}: two learning rates; "
                "accepted: one of them, the other null (training.rate_factor multiplies a tuned rate)"
            )
        identity = {"architecture": model.architecture, **identity_of(model)}
        rates = tuned_rates(tuned, data, identity, identity_of(training))
    rates = None if rates is None else rates.times(keys.rate_factor)
    products: dict[str, Any] = {
        "max_steps": round(training.max_steps * keys.budget_factor),
        "learning_rate": training.learning_rate * keys.rate_factor if rates is None else rates.rate(P),
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
    if not getattr(model, "takes_periodic", True) and surely_periodic(data):  # said before hours of reading or making
        raise InputError(
            f"model={model.architecture}: compares frames of one molecule, and those of data.source={data['source']} "
            "are periodic; accepted: frames without a cell, or another model"
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
        near = did_you_mean(str(architecture), known)
        raise InputError(f"model.architecture={architecture!r}{near}: accepted: {' | '.join(known)}")
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
    mistakes, knobs = Mistakes(), dict[str, Any]()
    for knob, value in (("L", L), ("nu", nu)):
        if value is None:
            continue
        if knob in fields:
            knobs[knob] = value
            mistakes.of(check, value, int, knob, fields[knob].metadata)
        else:
            mistakes.of(_check_lacking, knob, value, cls.lacks[knob], choice)
    good = {} if mistakes.errors else knobs
    settings = mistakes.of(build, cls, {**values, **good}, "model.")
    mistakes.tell()
    assert settings is not None
    return settings


def _check_lacking(knob: str, value: Any, natural: int | None, choice: str) -> None:
    """Raise `InputError` if a knob that the model lacks has another value than the implied one."""
    if check(value, int, knob, {"low": 0}) != natural:
        accepted = "null" if natural is None else f"null or {natural}"
        raise LacksKnob(f"{knob}={value}: {choice} has no {knob}; accepted: {accepted}")
