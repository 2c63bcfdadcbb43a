"""From points of a sweep to runs: every one composed, checked and named before anything starts."""

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

from experiments.config.matching import Match, Matched
from experiments.config.run import LacksKnob, RunConfig, parse
from experiments.core import files
from experiments.core.errors import InputError, one_line
from experiments.data.dataset import AnyDataset
from experiments.data.splits import training_subset
from experiments.runs import trackers
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

    @staticmethod
    def of(config: RunConfig, data_sha256: str) -> PlannedRun:
        """The run on the data with this digest."""
        run = RunStore(config.store).run(config.run_id(data_sha256))
        return PlannedRun(config, config.model_id(data_sha256), run, config.shape_id(data_sha256), data_sha256)

    @property
    def budget(self) -> int:
        """Updates that it asks for; 0 for a fit in closed form."""
        return 0 if self.config.training is None else self.config.training.max_steps

    def line(self) -> str:
        """One line for people."""
        c = self.config
        where = f"{c.architecture} L={c.L} nu={c.nu} P={c.P} seed={c.seed}"
        if isinstance(c.match, Matched):
            where += f" channels={getattr(c.model, 'channels', None)} ({c.match.count} {c.match.by})"
        return f"{self.run.id}  {where}  curve {self.model_id}  {self.run.state()}"


@dataclass(frozen=True)
class Unnamed:
    """A run whose data are not on this machine: it has no name before they are."""

    config: RunConfig
    reason: str

    def line(self) -> str:
        """One line for people, in the columns of a run that has a name."""
        c = self.config
        where = f"{c.architecture} L={c.L} nu={c.nu} P={c.P} seed={c.seed}"
        return f"{'-' * 12}  {where}  curve {'-' * 12}  no data"


@dataclass
class Plan:
    """What a sweep comes to: distinct runs, and the points that name a knob their model lacks."""

    runs: list[PlannedRun] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    unnamed: list[Unnamed] = field(default_factory=list)
    """Only where data may be absent."""
    of_point: dict[int, str] = field(default_factory=dict)
    """Run of each point by the point's number: two points may be one run, and some have none."""


class DataAbsent(InputError):
    """A dataset could not be loaded, in a plan that goes on without."""


def plan(
    compose: Callable[[Sequence[str]], Mapping[str, Any]],
    points: Sequence[Sequence[str]],
    load: Callable[[Mapping[str, Any]], AnyDataset],
) -> Plan:
    """Check every point and name its run; where `load` raises `DataAbsent`, go on without a name.

    Raises:
        InputError: one or more points are bad; one line each, all at once.
    """
    made = Plan()
    errors: dict[str, None] = {}
    configs = []
    for number, point in enumerate(points):
        try:
            composed = compose(point)
            config = parse(composed)
            trackers.check(config)
            configs.append((number, composed, config))
        except LacksKnob as error:
            made.dropped.append(str(error))
        except InputError as error:
            errors[str(error)] = None
    if errors:  # before any dataset is generated for a sweep that cannot start
        raise InputError("\n".join(errors))
    for store in {config.store for _, _, config in configs}:
        files.creatable(Path(store), "store")
    seen: dict[str, None] = {}
    for number, composed, config in configs:
        try:
            dataset = load(config.data)
            if isinstance(config.match, Match):
                from experiments.runs.capacity import settled  # counts weights with torch, whose import takes seconds

                config = settled(composed, config, dataset)
            training_subset(dataset, config.P, config.subset_seed)
        except DataAbsent as error:
            made.unnamed.append(Unnamed(config, str(error)))
            continue
        except InputError as error:
            errors[str(error)] = None
            continue
        sha256 = dataset.sha256()
        made.of_point[number] = run_id = config.run_id(sha256)
        if run_id not in seen:
            seen[run_id] = None
            made.runs.append(PlannedRun.of(config, sha256))
    if errors:
        raise InputError("\n".join(errors))
    return made


class Composer:
    """Composes a point's configuration: once by Hydra per choice of groups, the plain values set in a copy of that.

    Hydra takes some 50 ms a configuration and OmegaConf some 3 ms a copy, which a sweep of thousands would feel; so
    where it comes to the same, values are set in plain containers.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self.loader = loader
        self.master = master
        self._bases: dict[tuple[str, ...], DictConfig] = {}
        self._pickled: dict[tuple[str, ...], bytes] = {}
        self._parsed: dict[str, tuple[Override, bool]] = {}

    def __call__(self, point: Sequence[str]) -> dict[str, Any]:
        """The composed configuration as plain containers.

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
            for override in values:
                self._set(config, override, groups)
            resolved = OmegaConf.to_container(config, resolve=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise InputError(one_line(error)) from error
        assert isinstance(resolved, dict)
        return {str(key): value for key, value in resolved.items()}

    def _plain(self, groups: tuple[str, ...]) -> dict[str, Any] | None:
        """A copy of the base as plain containers, or None where its values refer to each other."""
        if groups not in self._pickled:
            container = OmegaConf.to_container(self._base(groups), resolve=False)
            refers = "${" in repr(container)
            self._pickled[groups] = b"" if refers else pickle.dumps(container)
        pickled = self._pickled[groups]
        return pickle.loads(pickled) if pickled else None  # the fastest copy of plain containers that there is

    def _parse(self, text: str) -> tuple[Override, bool]:
        """An override, and whether it chooses from a group; remembered, for both take Hydra milliseconds."""
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
            raise InputError(f"{key}: unknown key{beside}; accepted: {known}") from None

    def _base(self, groups: tuple[str, ...]) -> DictConfig:
        if groups not in self._bases:
            composed = self.loader.load_sweep_config(self.master, list(groups))
            OmegaConf.set_struct(composed, False)
            composed.pop("hydra", None)
            OmegaConf.set_struct(composed, True)
            self._bases[groups] = composed
        return self._bases[groups]


def _set_plainly(config: dict[str, Any], overrides: Sequence[Override]) -> bool:
    """Set the overrides in plain containers; whether all are such that OmegaConf would do the same.

    They are where each replaces a value that is there, neither a section nor a reference to another key.
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
