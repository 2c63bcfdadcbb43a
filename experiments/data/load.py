"""Load the dataset that the section `data` of a configuration describes."""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass, replace
from types import MappingProxyType
from typing import Any, TypeVar

from experiments.core.errors import InputError, Mistakes
from experiments.core.kinds import FILE_SOURCES, KINDS, is_test_file, sources, sources_of, varied_by_tests
from experiments.core.plugins import Declaration
from experiments.core.schema import build, identity_of
from experiments.core.spoken import Spoken
from experiments.core.subsets import SubsetKeys
from experiments.core.wording import did_you_mean
from experiments.data.checks import check_frames
from experiments.data.dataset import AnyDataset, Dataset, Frames
from experiments.data.examples import Examples, ExampleSet
from experiments.data.splits import fixed_choice

logger = logging.getLogger(__name__)

SourceConfig = Any
"""The settings of a source: an instance of the dataclass that its file declares."""
SHARED = ("subset", "test_frames")
"""Keys of every source, beside its own settings."""
TESTS = "tests"
"""Key of the further test sets by name, of sources that have it: they are evaluated, and change no run's number."""


def config_of(source: str, data: Mapping[str, Any] = MappingProxyType({})) -> type[SourceConfig]:
    """Return the class of a source's settings; `data`, its section, says where a user's file is.

    Raises:
        InputError: a user's file breaks the contract (`experiments.data.sources`).
    """
    declared = sources(data)[source]
    module = declared.load()
    config: Any = getattr(module, declared.settings, None)
    if declared.module is None:
        _check_source(declared, module, config)
    return config  # type: ignore[no-any-return]


def maker_of(source: str, data: Mapping[str, Any] = MappingProxyType({})) -> Callable[[SourceConfig], AnyDataset]:
    """Return the function that makes a source's dataset from its settings."""
    make: Callable[[SourceConfig], AnyDataset] = sources(data)[source].load().load
    return make


def _check_source(declared: Declaration, module: Any, config: Any) -> None:
    """Raise `InputError` for the first piece of the contract that a user's file lacks."""
    if not _is_dataclass(config):
        raise declared.fault(f"CONFIG={config!r}: accepted: a frozen dataclass of settings")
    if getattr(config, "source", None) != declared.name:
        found = getattr(config, "source", None)
        raise declared.fault(f"CONFIG.source={found!r}: accepted: the file's name, or a text in its own line")
    kinds = tuple(dict.fromkeys(KINDS.values()))
    if getattr(config, "kind", None) not in kinds:
        raise declared.fault(f"CONFIG.kind={getattr(config, 'kind', None)!r}: accepted: {' | '.join(kinds)}")
    if not callable(getattr(module, "load", None)):
        raise declared.fault("load is missing; accepted: a function load(config) that returns a Dataset or ExampleSet")


def _is_dataclass(value: Any) -> bool:
    return isinstance(value, type) and is_dataclass(value)


def parse(section: Mapping[str, Any]) -> SourceConfig:
    """Check a data section and return its settings; nothing is read or generated.

    `section` holds `source`, that source's own keys, and those of `SHARED`. Raises `InputError` for an unknown source
    or key, a missing key, a wrong type, or a value out of range.
    """
    rest = {key: value for key, value in section.items() if value != "???"}  # Hydra's mark of a key not given
    source = rest.pop("source", None)
    rest.pop("plugins", None)  # where a user's source is
    known = sources(section)
    if source not in known:
        raise InputError(f"data.source={source!r}{did_you_mean(str(source), known)}: accepted: {', '.join(known)}")
    mistakes = Mistakes()
    mistakes.of(build, SubsetKeys, {key: rest.pop(key) for key in SHARED if key in rest}, "data.")
    settings = mistakes.of(build, config_of(source, section), rest, "data.", beside=["source", *SHARED])
    mistakes.tell()
    assert settings is not None
    return settings


def load_any(section: Mapping[str, Any]) -> AnyDataset:
    """Load the dataset of a data section: read, download or compute it, or generate it once and cache it.

    Raises `InputError` as `parse` and the source do, and if a check of the frames refuses them.
    """
    named = further_sections(section)
    section = {key: value for key, value in section.items() if key != TESTS}
    settings = parse(section)
    dataset = maker_of(section["source"], section)(settings)
    subset = section.get("subset", "random")
    if not isinstance(dataset, Dataset):
        if not isinstance(dataset, ExampleSet):
            declared = sources(section)[section["source"]]
            raise declared.fault(f"load returned {type(dataset).__name__}; accepted: Dataset | ExampleSet")
        return replace(dataset, subset=subset, test=chosen_test(section, dataset.test))
    teacher = dataset.pool.bonds is not None or dataset.pool.points is not None
    if section["source"] not in FILE_SOURCES and not teacher:  # files are checked by their own names
        names = {f"{dataset.name}, {part}": getattr(dataset, part) for part in ("pool", "holdout", "test")}
        check_frames(names, f"{dataset.name}, pool", dataset.isolated_energies)
    dataset = replace(dataset, subset=subset, test=chosen_test(section, dataset.test))
    return replace(dataset, further=_further_tests(named, dataset)) if named else dataset


def further_sections(section: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return by name of each further test set (`data.tests`) the data section whose test frames it is.

    Raises `InputError` for a name that cannot be a file's.
    """
    named = section.get(TESTS) or {}
    if not isinstance(named, Mapping):
        raise InputError(f"data.tests={named!r}: accepted: names with values, {{NAME: FILE, …}}")
    for name in named:
        if not re.fullmatch(r"\w[\w .+-]*", str(name)):
            raise InputError(f"data.tests: {name!r}: accepted: a name of letters, digits, spaces, '_', '.', '+', '-'")
    own = {key: value for key, value in section.items() if key != TESTS}
    return {str(name): _section_of_test(own, value) for name, value in named.items()}


def without_lost_tests(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data section without the further test sets whose files are gone, each told of once.

    A run keeps the names of all sets that it was ever asked for; its number does not depend on them.
    """
    named = section.get(TESTS) or {}
    lost = {k: v for k, v in named.items() if is_test_file(section, v) and not os.path.exists(str(v))}
    for name, file in lost.items():
        _tell_of_lost(str(name), str(file))
    kept = {name: value for name, value in named.items() if name not in lost}
    return {**section, TESTS: kept} if lost else dict(section)


@functools.cache
def _tell_of_lost(name: str, file: str) -> None:
    logger.warning("data.tests.%s=%s: the file is gone; what was computed on it stays", name, file)


def _section_of_test(own: Mapping[str, Any], value: object) -> dict[str, Any]:
    """Return the section of a further test set: of a file, or the dataset's own with another value."""
    if own["source"] in FILE_SOURCES:
        return {**own, "test": value}
    if is_test_file(own, value):
        chosen = {"test_frames": own["test_frames"]} if own.get("test_frames") is not None else {}
        return {"source": "extxyz", "train": value, "test": value, **chosen}  # the test frames alone are read
    if (varied := varied_by_tests(own)) == "test":
        return {**own, "test": value}
    return {**own, str(varied): value, "pool": 1, "holdout": 1}  # the least beside the test frames


def _further_tests(named: Mapping[str, Mapping[str, Any]], dataset: Dataset) -> dict[str, Frames]:
    """Read further test sets and check them as the first one was; one that is the first itself is left out."""
    further = {}
    for name, section in named.items():
        frames = read_test(section, f"data.tests.{name}")
        if name == dataset.test_set and frames.sha256() == dataset.test.sha256():
            continue
        if name == dataset.test_set:
            raise InputError(f"data.tests: {name} is the name of data.test, which has other frames; accepted: another")
        pool = f"{dataset.name}, pool"
        parts = {pool: dataset.pool, f"data.tests.{name}": frames}
        check_frames(parts, pool, dataset.isolated_energies, known=(pool,))
        further[name] = frames
    return further


def read_test(section: Mapping[str, Any], option: str = "data.test") -> Frames:
    """Return the test frames of a section of molecules; of files only that of the test frames is read.

    Args:
        section: a data section; its `test_frames` is the most of a further test set, which may have fewer.
        option: the setting to name in messages.

    Raises:
        InputError: see `load_any`.
    """
    from experiments.data.sources.ase_db import AseDbConfig, atoms_of_db
    from experiments.data.sources.extxyz import ExtxyzConfig, frames_of, label_of, molecules_of, names_of
    from experiments.data.xyz_file import atoms_of_file

    try:
        settings = parse(section)
        if isinstance(settings, ExtxyzConfig):
            where, forces = f"{option}={settings.test}", settings.forces_key
            read = (atoms_of_db if isinstance(settings, AseDbConfig) else atoms_of_file)(settings.test, option)
            molecules, alone = molecules_of(read, where)
            rows = molecules or alone
            if option != "data.test" and forces and all(label_of(atoms, forces) is None for atoms, _ in rows):
                found = names_of(rows[0][0])
                logger.warning(
                    "%s: no forces %r in it (it has: %s), so it has energy errors alone", where, forces, found
                )
                forces = None  # as many scans are published
            test = frames_of(iter(rows), settings.energy_key, forces)
        else:
            test = load({key: value for key, value in section.items() if key != "test_frames"}).test
    except InputError as error:
        if option == "data.test":
            raise
        said, wrong = re.subn(rf"^data\.{varied_by_tests(section) or 'test'}\b(?!\.)", option, str(error))
        or_file = ", or a file of extended XYZ, FILE.xyz" if wrong and section["source"] not in FILE_SOURCES else ""
        raise InputError(said + or_file) from None
    if option != "data.test" and (section.get("test_frames") or 0) > len(test):
        return test
    return chosen_test(section, test)


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
    return tuple(sorted((name, _hashable(value)) for name, value in section.items()))


def _hashable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return tuple(sorted(value.items()))
    return tuple(value) if isinstance(value, list) else value


def dataset_of(section: Mapping[str, Any]) -> AnyDataset:
    """Return the dataset of a section, loaded once a process."""
    return _dataset(key_of(section))


@functools.lru_cache(maxsize=4)
def _dataset(section: Section) -> AnyDataset:
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in section}
    with Spoken(lambda: f"loading data ({plain.get('source')})", at_once=False):
        return load_any({**plain, TESTS: dict(plain[TESTS])} if plain.get(TESTS) else plain)
