"""Data sections to datasets: every shipped section parses, and typing errors are named."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.core.errors import InputError
from experiments.core.kinds import KINDS
from experiments.data.load import SHARED, config_of, identity, load, maker_of, parse
from experiments.data.sources.star import StarConfig, star
from experiments.data.sources.xtb import XtbConfig

ROOT = Path(__file__).parents[3]
SECTIONS = sorted(path.stem for path in (ROOT / "conf" / "data").glob("*.yaml"))


def section(name: str, **changes: object) -> dict[str, Any]:
    """The section as Hydra composes it, `subset_seed` taken out as the run's configuration does."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "conf" / "data" / f"{name}.yaml").read_text())
    for parent in content.pop("defaults", []):
        if parent != "_self_":
            content = section(parent) | content
    content.pop("subset_seed", None)
    for shared in SHARED:
        content.pop(shared, None)
    return content | changes


@pytest.mark.parametrize("name", SECTIONS)
def test_shipped_sections_hold_every_key_and_the_defaults(name: str) -> None:
    given = {"train": "a.xyz", "test": "b.xyz"} if name in ("extxyz", "ase_db") else {}
    given |= {"molecule": "water"} if name == "molecule" else {}
    settings = parse(section(name, **given))
    assert set(section(name)) - {"source"} == {f.name for f in fields(settings)}, "no key lives in the code alone"
    required = {
        key: getattr(settings, key)
        for key in ("train", "test", "molecule", "change", "element")
        if isinstance(getattr(settings, key, 0), str)
    }
    if name == "liquid_water":  # molecules in a box need other settings than one molecule
        return
    assert settings == type(settings)(**required), "defaults in the code and in the section are the same"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"source": "oracle"}, "data.source='oracle': accepted: 3bpa, acac, ase_db"),
        ({"n_neighbors": 4}, r"data\.n_neighbors: unknown key \(did you mean data\.n_neighbours\?\)"),
        ({"pool": 10.5}, r"data\.pool=10\.5"),
        ({"pool": "many"}, r"data\.pool='many'"),
        ({"noise": True}, r"data\.noise=True"),
        ({"coefficients": 3.0}, r"data\.coefficients=3\.0"),
        ({"test_frames": 0}, r"data\.test_frames=0: accepted: an integer ≥ 1 or null"),
        ({"test_frames": "all"}, r"data\.test_frames='all'"),
    ],
)
def test_bad_sections(changed: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(section("star", **changed))


def test_missing_values_are_named() -> None:
    with pytest.raises(InputError, match=r"data\.train: missing"):
        parse(section("extxyz"))
    with pytest.raises(InputError, match=r"data\.molecule"):
        load(section("molecule", molecule="unobtainium"))


def test_every_source_has_settings_and_a_loader() -> None:
    for source in KINDS:
        assert is_dataclass(config_of(source)), source
        assert callable(maker_of(source)), source


def test_load_makes_the_dataset() -> None:
    small = {"pool": 20, "holdout": 3, "test": 4, "coefficients": [1, 0.5]}
    dataset = load(section("star", **small))
    assert dataset.sha256() == star(StarConfig(pool=20, holdout=3, test=4, coefficients=(1.0, 0.5))).sha256()


def test_some_test_frames() -> None:
    """A fixed choice, nested, in the order of the frames; what trains stays, and all of them are the set itself."""
    small = {"pool": 20, "holdout": 3, "test": 9, "coefficients": [1.0]}
    whole, five, three = (load(section("star", test_frames=n, **small)) for n in (None, 5, 3))
    rows = [whole.test.positions[:, 1, 0].tolist().index(x) for x in five.test.positions[:, 1, 0]]
    assert rows == sorted(set(rows))
    assert len(five.test) == 5
    assert set(three.test.energies) < set(five.test.energies)
    assert five.pool.sha256() == whole.pool.sha256()
    assert five.sha256() != whole.sha256()
    assert load(section("star", test_frames=9, **small)).sha256() == whole.sha256()
    with pytest.raises(InputError, match=r"data\.test_frames=10: accepted: an integer from 1 to 9 or null"):
        load(section("star", test_frames=10, **small))
    assert identity(section("star", test_frames=None)) == identity(section("star"))
    assert identity(section("star", test_frames=5)) != identity(section("star"))


def test_identity_leaves_out_what_does_not_change_the_frames() -> None:
    assert identity(section("ethanol", workers=3, cache="/elsewhere")) == identity(section("ethanol"))
    assert identity(section("ethanol", seed=1)) != identity(section("ethanol"))
    assert isinstance(parse(section("ethanol")), XtbConfig)


def test_no_torch() -> None:
    """Frames are read without torch: in the analysis, and before a sweep starts."""
    paths = (path.relative_to(ROOT) for path in (ROOT / "experiments" / "data").rglob("[!_]*.py"))
    modules = [".".join(path.with_suffix("").parts) for path in paths]
    assert len(modules) > 30
    code = f"import importlib, sys\nfor m in {modules!r}: importlib.import_module(m)\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
