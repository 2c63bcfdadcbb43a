"""Jets: selected and clustered as documented, the same for the same seed, checked when they are read."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from experiments.core.errors import InputError
from experiments.core.schema import build
from experiments.data import load
from experiments.data.sources import jets

needed = pytest.mark.skipif(
    any(not importlib.util.find_spec(name) for name in ("pythia8mc", "fastjet")),
    reason="jets need the extra jets: pip install --editable '.[jets]'",
)
SMALL = {"pool": 16, "holdout": 2, "test": 6, "workers": 1, "particles": 8}


def momentum(pt: float, eta: float, phi: float) -> tuple[float, float, float, float]:
    """A massless particle (p_x, p_y, p_z, E)."""
    return pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)


@needed
def test_the_hardest_jet_within_the_windows() -> None:
    """Two prongs 0.3 apart are one jet of 600 GeV; a third far away, a softer jet, and jets outside are not in it."""
    config = jets.JetsConfig()
    prongs = [momentum(400, 0.1, 0.2), momentum(200, 0.4, 0.2)]
    event = [*prongs, momentum(100, -1.0, 2.0)]
    too_hard = [momentum(700, 0.0, 0.0), momentum(600, 0.0, 3.0)]
    too_far = [momentum(600, 2.5, 0.0)]
    too_soft = [momentum(500, 0.0, 0.0)]
    found = jets.hardest([event, too_hard, too_far, too_soft], config)
    assert found[1:] == [None, None, None]
    assert found[0] is not None
    expected = np.array(sorted((E, x, y, z) for x, y, z, E in prongs))
    assert np.allclose(np.array(sorted(map(tuple, found[0]))), expected)


def test_what_lies_inside_a_jet() -> None:
    x, y, z, energy = momentum(600, 0.5, 3.1)
    jet = np.array([[energy, x, y, z]])
    assert jets.inside(jet, np.array([[0.5, 3.1], [0.9, -3.1]]), 0.8)  # φ is periodic
    assert not jets.inside(jet, np.array([[0.5, 3.1], [1.4, 3.1]]), 0.8)


@needed
def test_the_same_seed_is_the_same_jets_and_damage_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jets, "PARTS", 1)
    config = build(jets.JetsConfig, {**SMALL, "cache": str(tmp_path / "a")}, "data.")
    made = jets.jets(config)
    assert [len(made.pool), len(made.holdout), len(made.test)] == [16, 2, 6]
    assert made.kind == "momenta"
    every = np.concatenate([part.labels for part in (made.pool, made.holdout, made.test)])
    assert every.sum() == 12  # both kinds in equal numbers
    momenta = made.pool.inputs.astype(np.float64)
    pts = np.hypot(momenta[..., 1], momenta[..., 2])
    assert (np.diff(pts, axis=1) <= 1e-3).all()  # hardest first
    total = momenta.sum(1)
    assert (np.hypot(total[:, 1], total[:, 2]) < 650).all()
    again = jets.jets(build(jets.JetsConfig, {**SMALL, "cache": str(tmp_path / "b")}, "data."))
    assert again.sha256() == made.sha256()
    path = next((tmp_path / "a").glob("jets-*/jets.npz"))
    content = dict(np.load(path))
    content["inputs"][0, 0, 0] += 1
    np.savez(path, **content)
    with pytest.raises(InputError, match="the cached jets are damaged; delete the directory to generate"):
        jets.jets(config)


@needed
def test_pythia_knows_its_settings(tmp_path: Path) -> None:
    config = build(jets.JetsConfig, {**SMALL, "light": ["HardQCD:all = maybe"], "cache": str(tmp_path)}, "data.")
    wrong = build(jets.JetsConfig, {**SMALL, "top": ["Top:nothing = on"], "cache": str(tmp_path)}, "data.")
    assert config != wrong
    with pytest.raises(InputError, match="data: 'Top:nothing = on': PYTHIA does not know this setting"):
        jets.jets(wrong)


def test_without_the_extra_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pythia8mc is missing; pip install --editable '.\[jets\]'"):
        jets.jets(build(jets.JetsConfig, {**SMALL, "cache": str(tmp_path)}, "data."))


def test_bad_input_has_one_line() -> None:
    with pytest.raises(InputError) as error:
        load.parse({"source": "jets", "pt": [650.0, 550.0]})
    assert str(error.value).startswith("data: pt=[650.0, 550.0]: accepted: a smallest and a largest transverse")
