"""Load the dataset that the section `data` of a configuration describes."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from experiments.core.errors import InputError
from experiments.core.kinds import sources_of
from experiments.core.schema import build, check, identity_of
from experiments.data.checks import check_frames
from experiments.data.dataset import AnyDataset, Dataset, Frames
from experiments.data.examples import Examples, ExampleSet
from experiments.data.splits import fixed_choice

if TYPE_CHECKING:
    from experiments.data.sources.ase_db import AseDbConfig
    from experiments.data.sources.botnet import AcacConfig, BpaConfig, EthanolPbeConfig
    from experiments.data.sources.digits import DigitsConfig
    from experiments.data.sources.ethanol_small import EthanolSmallConfig
    from experiments.data.sources.extxyz import ExtxyzConfig
    from experiments.data.sources.jets import JetsConfig
    from experiments.data.sources.md17 import Md17Config
    from experiments.data.sources.mlearn import MlearnConfig
    from experiments.data.sources.mnist1d import Mnist1dConfig
    from experiments.data.sources.polynomial_teacher import PolynomialTeacherConfig
    from experiments.data.sources.qm9 import Qm9Config
    from experiments.data.sources.rmd17 import Rmd17Config
    from experiments.data.sources.star import StarConfig
    from experiments.data.sources.teachers import SphereConfig, TorusConfig
    from experiments.data.sources.tetris import TetrisConfig
    from experiments.data.sources.voxels import VoxelsConfig
    from experiments.data.sources.water import WaterConfig
    from experiments.data.sources.xtb import XtbConfig

    SourceConfig = (
        XtbConfig | StarConfig | PolynomialTeacherConfig | ExtxyzConfig | AseDbConfig
        | Rmd17Config | Md17Config | BpaConfig | AcacConfig | WaterConfig | Qm9Config | SphereConfig | TorusConfig
        | EthanolPbeConfig | MlearnConfig | EthanolSmallConfig
        | DigitsConfig | Mnist1dConfig | TetrisConfig | VoxelsConfig | JetsConfig
    )  # fmt: skip

SUBSETS = ("random", "farthest")
"""Methods of drawing training subsets (`data.subset`, a key of every source)."""
SHARED = ("subset", "test_frames")
"""Keys of every source, beside its own settings."""


@dataclass(frozen=True)
class _Source:
    """A source by names, so that only the one in use is imported: some bring libraries that take a second."""

    module: str
    """File of `experiments.data.sources`."""
    config: str
    """Class of the settings there."""
    make: str
    """Function there from settings to dataset."""

    def load(self, name: str) -> Any:
        """Return what the module calls so."""
        return getattr(importlib.import_module(f"experiments.data.sources.{self.module}"), name)


_SOURCES = {
    "xtb": _Source("xtb", "XtbConfig", "xtb"),
    "star": _Source("star", "StarConfig", "star"),
    "polynomial": _Source("polynomial_teacher", "PolynomialTeacherConfig", "polynomial"),
    "extxyz": _Source("extxyz", "ExtxyzConfig", "extxyz"),
    "ase_db": _Source("ase_db", "AseDbConfig", "ase_db"),
    "rmd17": _Source("rmd17", "Rmd17Config", "rmd17"),
    "md17": _Source("md17", "Md17Config", "md17"),
    "3bpa": _Source("botnet", "BpaConfig", "bpa"),
    "acac": _Source("botnet", "AcacConfig", "acac"),
    "ethanol_pbe": _Source("botnet", "EthanolPbeConfig", "ethanol_pbe"),
    "ethanol_small": _Source("ethanol_small", "EthanolSmallConfig", "ethanol_small"),
    "mlearn": _Source("mlearn", "MlearnConfig", "mlearn"),
    "water": _Source("water", "WaterConfig", "water"),
    "qm9": _Source("qm9", "Qm9Config", "qm9"),
    "sphere": _Source("teachers", "SphereConfig", "sphere"),
    "torus": _Source("teachers", "TorusConfig", "torus"),
    "digits": _Source("digits", "DigitsConfig", "digits"),
    "mnist1d": _Source("mnist1d", "Mnist1dConfig", "mnist1d"),
    "tetris": _Source("tetris", "TetrisConfig", "tetris"),
    "voxels": _Source("voxels", "VoxelsConfig", "voxels"),
    "jets": _Source("jets", "JetsConfig", "jets"),
}


def config_of(source: str) -> type[SourceConfig]:
    """Return the class of a source's settings."""
    config: type[SourceConfig] = _SOURCES[source].load(_SOURCES[source].config)
    return config


def maker_of(source: str) -> Callable[[SourceConfig], AnyDataset]:
    """Return the function that makes a source's dataset from its settings."""
    make: Callable[[SourceConfig], AnyDataset] = _SOURCES[source].load(_SOURCES[source].make)
    return make


def parse(section: Mapping[str, Any]) -> SourceConfig:
    """Check a data section and return its settings; nothing is read or generated.

    `section` holds `source`, that source's own keys, and those of `SHARED`. Raises `InputError` for an unknown source
    or key, a missing key, a wrong type, or a value out of range.
    """
    rest = {key: value for key, value in section.items() if value != "???"}  # Hydra's mark of a key not given
    source = rest.pop("source", None)
    if source not in _SOURCES:
        raise InputError(f"data.source={source!r}: accepted: {', '.join(_SOURCES)}")
    check(rest.pop("subset", "random"), str, "data.subset", {"choices": SUBSETS})
    check(rest.pop("test_frames", None), int | None, "data.test_frames", {"low": 1})
    return build(config_of(source), rest, "data.")


def load_any(section: Mapping[str, Any]) -> AnyDataset:
    """Load the dataset of a data section: read, download or compute it, or generate it once and cache it.

    Raises `InputError` as `parse` and the source do, and if a check of the frames refuses them.
    """
    settings = parse(section)
    dataset = maker_of(section["source"])(settings)
    subset = section.get("subset", "random")
    if not isinstance(dataset, Dataset):
        assert isinstance(dataset, ExampleSet)
        return replace(dataset, subset=subset, test=chosen_test(section, dataset.test))
    teacher = dataset.pool.bonds is not None or dataset.pool.points is not None
    if section["source"] not in ("extxyz", "ase_db") and not teacher:  # files are checked by their own names
        names = {f"{dataset.name}, {part}": getattr(dataset, part) for part in ("pool", "holdout", "test")}
        check_frames(names, f"{dataset.name}, pool", dataset.isolated_energies)
    return replace(dataset, subset=subset, test=chosen_test(section, dataset.test))


TestSet = TypeVar("TestSet", Frames, Examples)


def chosen_test(section: Mapping[str, Any], test: TestSet) -> TestSet:
    """Return the test examples that `data.test_frames` asks for, in their order; null: all of them.

    The choice depends on the two numbers alone, so that all runs share it, and a smaller one lies in a larger one.
    Raises `InputError` if there are fewer.
    """
    wanted = section.get("test_frames")
    if wanted is None or wanted == len(test):
        return test
    if wanted > len(test):
        raise InputError(f"data.test_frames={wanted}: accepted: an integer from 1 to {len(test)} or null")
    return test.take(fixed_choice(len(test), wanted))


def load(section: Mapping[str, Any]) -> Dataset:
    """Load a dataset of frames of atoms (see `load_any`). Raises `InputError` if its examples are no frames."""
    dataset = load_any(section)
    if not isinstance(dataset, Dataset):
        accepted = sources_of("molecules")
        raise InputError(f"data.source={section['source']}: this needs frames of atoms; accepted: {accepted}")
    return dataset


def identity(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that decide the content, without paths, worker processes and cache; run ids use it."""
    chosen = {"source": section.get("source"), **identity_of(parse(section))}
    if section.get("subset", "random") != "random":  # the key was added later: ids without it must not change
        chosen["subset"] = section["subset"]
    if section.get("test_frames") is not None:  # so was this one
        chosen["test_frames"] = section["test_frames"]
    return chosen


Section = tuple[tuple[str, Any], ...]
"""A data section in a hashable form."""


def key_of(section: Mapping[str, Any]) -> Section:
    """Convert a section to its hashable form; `dict` converts it back, with tuples in place of lists."""
    return tuple(sorted((name, tuple(v) if isinstance(v, list) else v) for name, v in section.items()))


def dataset_of(section: Mapping[str, Any]) -> AnyDataset:
    """Return the dataset of a section, loaded once a process."""
    return _dataset(key_of(section))


@functools.lru_cache(maxsize=4)
def _dataset(section: Section) -> AnyDataset:
    return load_any({key: list(value) if isinstance(value, tuple) else value for key, value in section})
