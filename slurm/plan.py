"""The plan of a sweep: every point is composed, checked and given its run id before anything starts."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from experiments.config.channel_match import ChannelMatch, ChannelMatchSpec
from experiments.config.parse import LacksKnob, parse, without_gpu
from experiments.config.run import RunConfig
from experiments.config.suits import check_run
from experiments.core import files
from experiments.core.command import quoted
from experiments.core.errors import InputError, Mistakes
from experiments.core.library_errors import one_line
from experiments.core.wording import did_you_mean
from experiments.data.dataset import AnyDataset, Dataset
from experiments.runs import trackers
from experiments.runs.evaluations import lacking
from experiments.runs.store import Run, RunStore


@dataclass(frozen=True)
class PlannedRun:
    """A run of the sweep with its place in the store."""

    config: RunConfig
    model_id: str
    run: Run
    shape_id: str
    """Shared by the runs that can train in one pack."""
    data_sha256: str
    tests: Mapping[str, str] = field(default_factory=dict)
    """Digest of the content of each further test set, by name."""

    @staticmethod
    def of(config: RunConfig, data_sha256: str, tests: Mapping[str, str] | None = None) -> PlannedRun:
        """Return the run of a configuration on the dataset with this digest, and with these further test sets."""
        run = RunStore(config.store).run(config.run_id(data_sha256))
        shape_id = config.shape_id(data_sha256)
        return PlannedRun(config, config.model_id(data_sha256), run, shape_id, data_sha256, tests or {})

    @property
    def lacks_tests(self) -> list[str]:
        """Names of the test sets that the run, which is done, has no errors on."""
        return lacking(self.run, self.tests)

    @property
    def budget(self) -> int:
        """Number of updates (`training.max_steps`); 0 for a fit in closed form."""
        return 0 if self.config.training is None else self.config.training.max_steps

    def line(self) -> str:
        """Describe the run in one line of the plan."""
        c = self.config
        point = f"{c.architecture} L={c.L} nu={c.nu} P={c.P} seed={c.seed}"
        if isinstance(c.match, ChannelMatch):
            point += f" channels={getattr(c.model, 'channels', None)} ({c.match.count} {c.match.by})"
        return f"{self.run.id}  {point}  curve {self.model_id}  {self.run.state()}"


@dataclass(frozen=True)
class UnnamedRun:
    """A run whose data are not on this machine; its id depends on them."""

    config: RunConfig
    reason: str
    """Why the data are absent."""

    def line(self) -> str:
        """Describe the run in one line of the plan, in the columns of `PlannedRun.line`."""
        c = self.config
        point = f"{c.architecture} L={c.L} nu={c.nu} P={c.P} seed={c.seed}"
        return f"{'-' * 12}  {point}  curve {'-' * 12}  no data"


@dataclass
class Plan:
    """The runs of a sweep."""

    runs: list[PlannedRun] = field(default_factory=list)
    """Distinct runs, in order."""
    dropped: list[str] = field(default_factory=list)
    """One line for each point that sets a knob its model lacks."""
    notes: list[str] = field(default_factory=list)
    """One line for each model that gets another device than was asked for."""
    unnamed: list[UnnamedRun] = field(default_factory=list)
    """Runs whose data are absent, in a plan that starts nothing."""
    of_point: dict[int, str] = field(default_factory=dict)
    """Run of each point by the point's number: two points may be one run, and some have none."""


class DataAbsent(InputError):
    """The data of a run are not on this machine; the plan goes on without its id."""


def plan(
    compose: Callable[[Sequence[str]], Mapping[str, Any]],
    points: Sequence[Sequence[str]],
    load: Callable[[Mapping[str, Any]], AnyDataset],
) -> Plan:
    """Check every point and give its run an id; if `load` raises `DataAbsent`, go on without the id.

    Args:
        compose: returns the configuration of a point (`Composer`).
        points: overrides of each point of the sweep.
        load: returns the dataset of the section `data` of a configuration.

    Raises:
        InputError: one or more points are bad; the message has a line for each.
    """
    sweep = Plan()
    errors: dict[str, None] = {}
    configs = []
    for number, point in enumerate(points):
        try:
            composed = compose(point)
            config = parse(composed)
            trackers.check(config)
            configs.append((number, composed, config))
        except LacksKnob as error:
            sweep.dropped.append("; ".join(str(error).splitlines()))
        except InputError as error:
            errors.update(dict.fromkeys(str(error).splitlines()))
    if errors:  # before any dataset is generated for a sweep that cannot start
        raise InputError("\n".join(errors))
    notes = (without_gpu(composed, config) for _, composed, config in configs)
    sweep.notes = list(dict.fromkeys(filter(None, notes)))
    for store in {config.store for _, _, config in configs}:
        files.creatable(Path(store), "store")
    seen: dict[str, None] = {}
    for number, composed, config in configs:
        try:
            dataset = load(config.data)
            if config.plugins is not None:
                from experiments.runs.problems import check_network  # builds it with torch

                check_network(config, dataset)
            if isinstance(config.match, ChannelMatchSpec):
                from experiments.runs.capacity import (
                    resolve_channels,  # counts weights with torch, whose import takes seconds
                )

                config = resolve_channels(composed, config, dataset)
            check_run(config, dataset)
        except DataAbsent as error:
            sweep.unnamed.append(UnnamedRun(config, str(error)))
            continue
        except InputError as error:
            errors[str(error)] = None
            continue
        sha256 = dataset.sha256()
        sweep.of_point[number] = run_id = config.run_id(sha256)
        if run_id not in seen:
            seen[run_id] = None
            tests = dataset.further_sha256 if isinstance(dataset, Dataset) else None
            sweep.runs.append(PlannedRun.of(config, sha256, tests))
    if errors:
        raise InputError("\n".join(errors))
    return sweep


class Composer:
    """Composes the configuration of a point: by Hydra once for each choice of groups; other values are set in copies.

    Hydra takes some 50 ms a configuration and OmegaConf some 3 ms a copy, too long for a sweep of thousands of points.
    So values are set in plain containers if the outcome is the same.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self.loader = loader
        self.master = master
        self._bases: dict[tuple[str, ...], DictConfig] = {}
        self._pickled: dict[tuple[str, ...], bytes] = {}
        self._parsed: dict[str, tuple[Override, bool]] = {}

    def __call__(self, point: Sequence[str]) -> dict[str, Any]:
        """Return the composed configuration of a point as plain containers.

        Raises:
            InputError: unknown key, group or option.
        """
        try:
            parsed = [(text, *self._parse(text)) for text in point]
            groups = tuple(text for text, _, is_group in parsed if is_group)
            values = [override for _, override, is_group in parsed if not is_group and not override.is_hydra_override()]
            base = self._base(groups)
            plain = self._plain(groups)
            if plain is not None and _set_plainly(plain, values):
                return plain
            config = copy.deepcopy(base)
            mistakes = Mistakes()
            for override in values:
                mistakes.of(self._set, config, override, groups)
            mistakes.tell()
            resolved = OmegaConf.to_container(config, resolve=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise InputError(one_line(error)) from error
        assert isinstance(resolved, dict)
        return {str(key): value for key, value in resolved.items()}

    def _plain(self, groups: tuple[str, ...]) -> dict[str, Any] | None:
        """Return a copy of the base as plain containers, or None if its values refer to each other."""
        if groups not in self._pickled:
            container = OmegaConf.to_container(self._base(groups), resolve=False)
            refers = "${" in repr(container)
            self._pickled[groups] = b"" if refers else pickle.dumps(container)
        pickled = self._pickled[groups]
        return pickle.loads(pickled) if pickled else None  # the fastest copy of plain containers that there is

    def _parse(self, text: str) -> tuple[Override, bool]:
        """Parse an override, and tell whether it chooses from a group; cached, for both take Hydra milliseconds."""
        if text not in self._parsed:
            (override,) = OverridesParser.create(config_loader=self.loader).parse_overrides([text])
            key = override.key_or_group
            self._parsed[text] = override, "." not in key and bool(self.loader.get_group_options(key))
        return self._parsed[text]

    @staticmethod
    def _set(config: DictConfig, override: Override, groups: Sequence[str]) -> None:
        key = override.key_or_group
        try:
            OmegaConf.update(config, key, override.value(), force_add=override.is_add())
        except (ConfigKeyError, ConfigAttributeError):
            section = OmegaConf.select(config, key.rpartition(".")[0]) if "." in key else config
            known = ", ".join(map(str, section)) if isinstance(section, DictConfig) else ", ".join(map(str, config))
            beside = f" beside {' '.join(groups)}" if groups else ""
            prefix = f"{key.rpartition('.')[0]}." if isinstance(section, DictConfig) and "." in key else ""
            options = known.split(", ")
            if not prefix:  # what was meant may be a section's
                values = (value for _, value in config.items_ex(resolve=False))
                named = zip(map(str, config), values, strict=True)
                options += [f"{name}.{own}" for name, s in named if isinstance(s, DictConfig) for own in map(str, s)]
            near = did_you_mean(key.removeprefix(prefix), options, prefix)
            raise InputError(f"{key}: unknown key{beside}{near}; accepted: {known}") from None

    def _base(self, groups: tuple[str, ...]) -> DictConfig:
        if groups not in self._bases:
            composed = self.loader.load_sweep_config(self.master, list(map(quoted, groups)))
            OmegaConf.set_struct(composed, False)
            composed.pop("hydra", None)
            OmegaConf.set_struct(composed, True)
            self._bases[groups] = composed
        return self._bases[groups]


def _set_plainly(config: dict[str, Any], overrides: Sequence[Override]) -> bool:
    """Set the overrides in plain containers; return False if OmegaConf could do otherwise with one of them.

    It does the same if each replaces a value that exists, neither a section nor a reference to another key.
    """
    for override in overrides:
        value = override.value()
        *sections, name = override.key_or_group.split(".")
        place: Any = config
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        there = isinstance(place, dict) and name in place and not isinstance(place[name], dict)
        if not there or override.is_add() or isinstance(value, dict) or "${" in repr(value):
            return False
        place[name] = value
    return True
