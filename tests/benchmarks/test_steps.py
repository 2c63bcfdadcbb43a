"""The cases of the comparison, and that our side of each trains the architecture that it names."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import steps
from benchmarks.step_ours import config_of, prepare
from experiments.models.mace import MaceConfig
from experiments.models.nequip import NequipConfig

LAYERS = {"mace": 2, "nequip": 3}


def test_cases_name_equal_architectures() -> None:
    made = steps.cases(["mace", "nequip"], [0, 2], 16, LAYERS, "cpu")
    configs = [config_of(settings) for settings, _ in made]
    assert configs[:2] == [MaceConfig(L=L, nu=3, channels=16) for L in (0, 2)]
    for config, L in zip(configs[2:], (0, 2), strict=True):
        assert config == NequipConfig(
            L=L, channels=16, bessel_trainable=False, readout_hidden=None, self_connection="embedding",
            first_self_connection=False,
        )  # fmt: skip
    assert [list(modes) for _, modes in made] == [["eager"]] * 2 + [["its own compiled mode", "eager"]] * 2


def test_a_package_that_is_absent_has_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(steps, "peer_python", lambda package: None)
    ((settings, modes),) = steps.cases(["mace"], [0], 16, LAYERS, "cpu")
    assert steps.measure(settings, modes, 1.0) == []
    assert capsys.readouterr().out == "mace: not compared with its package, which `make peers` installs\n"


@pytest.mark.parametrize("architecture", ["mace", "nequip"])
def test_our_side_takes_steps(architecture: str) -> None:
    ((settings, _),) = steps.cases([architecture], [1], 2, {"mace": 1, "nequip": 1}, "cpu")
    small: dict[str, Any] = {**settings, "radial_hidden": [3], "cutoff": 3.0, "compile": False}
    take, facts = prepare(small)
    take(2)
    assert facts["parameters"] > 0
