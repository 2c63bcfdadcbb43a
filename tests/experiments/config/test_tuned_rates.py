"""Tuned learning rates and factors in a configuration: looked up once, the product alone in the identity."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from experiments.config import tuned_rates as tuned_module
from experiments.config.parse import parse
from experiments.config.tuned_rates import Tuned, problem_of
from experiments.core.errors import InputError
from experiments.core.schema import identity_of

MakeConfig = Callable[..., dict[str, Any]]
SHA = "0" * 64


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_config: MakeConfig) -> Path:
    """Make a folder of tuned files in which `star.yaml` has rates of the tiny model at P = 4 and 64."""
    made = parse(make_config())
    entry = {
        "dataset": "star-3",
        "data": problem_of(made.data),
        "model": {"architecture": "mace", **identity_of(made.model)},
        "training": {k: v for k, v in identity_of(made.training).items() if k != "learning_rate"},
        "points": [{"P": 64, "learning_rate": 0.004}, {"P": 4, "learning_rate": 0.03}],
    }
    monkeypatch.setattr(tuned_module, "FOLDER", tmp_path / "tuned")
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "star.yaml").write_text(yaml.safe_dump({"store": "s", "models": [entry]}))
    return tmp_path / "tuned"


def asked(make_config: MakeConfig, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    return make_config({"training.tuned": "star", "training.learning_rate": None} | (changes or {}))


@pytest.mark.parametrize(("P", "rate"), [(1, 0.03), (15, 0.03), (16, 0.03), (17, 0.004), (60, 0.004), (999, 0.004)])
@pytest.mark.usefixtures("folder")
def test_the_nearest_P_in_log_scale_gives_the_rate(make_config: MakeConfig, P: int, rate: float) -> None:
    """√(4·64) = 16 is the middle, and goes to the smaller."""
    training = parse(asked(make_config, {"P": P})).training
    assert training is not None
    assert training.learning_rate == rate


@given(st.dictionaries(st.integers(1, 10**6), st.floats(1e-6, 10.0), min_size=1, max_size=6), st.integers(1, 10**7))
def test_nothing_is_interpolated(rates: dict[int, float], P: int) -> None:
    found = Tuned("x", tuple(sorted(rates.items())))
    assert found.rate(P) in rates.values()
    if P in rates:
        assert found.rate(P) == rates[P]
    assert Tuned.parse(found.as_dict()) == found


@pytest.mark.usefixtures("folder")
def test_only_the_resolved_rate_is_in_the_runs_identity(make_config: MakeConfig) -> None:
    looked_up = parse(asked(make_config, {"P": 8}))
    explicit = parse(make_config({"P": 8, "training.learning_rate": 0.03}))
    assert looked_up.run_id(SHA) == explicit.run_id(SHA)
    assert looked_up.training == explicit.training


@pytest.mark.usefixtures("folder")
def test_a_curve_of_tuned_rates_is_one_curve(make_config: MakeConfig) -> None:
    """Its rates differ with P by one rule; the rule is what its runs share."""
    small, large = (parse(asked(make_config, {"P": P})) for P in (4, 64))
    assert small.training != large.training
    assert small.model_id(SHA) == large.model_id(SHA)
    assert small.model_id(SHA) != parse(make_config({"training.learning_rate": 0.03})).model_id(SHA)
    assert small.shape_id(SHA) == large.shape_id(SHA)
    twice = parse(asked(make_config, {"P": 4, "training.rate_factor": 2.0}))
    assert twice.training is not None
    assert twice.training.learning_rate == 0.06
    assert twice.model_id(SHA) != small.model_id(SHA)


def test_written_down_it_needs_the_file_no_more(folder: Path, make_config: MakeConfig) -> None:
    made = parse(asked(make_config, {"P": 40, "training.rate_factor": 0.5, "training.budget_factor": 2.0}))
    (folder / "star.yaml").unlink()
    written = yaml.safe_load(yaml.safe_dump(made.as_dict()))
    assert written["training"]["learning_rate"] == 0.002
    assert written["training"]["max_steps"] == 48
    assert written["training"]["tuned"] == {"name": "star", "rates": [[4, 0.015], [64, 0.002]]}
    again = parse(written)
    assert again == made
    assert (again.run_id(SHA), again.model_id(SHA)) == (made.run_id(SHA), made.model_id(SHA))
    with pytest.raises(InputError, match=r"not the rate that training.tuned has for P=40; accepted: 0.002"):
        parse(written | {"training": written["training"] | {"learning_rate": 0.1}})


BAD: list[tuple[dict[str, Any], str]] = [
    ({"training.learning_rate": 0.01}, "training.learning_rate=0.01 and training.tuned=star: two learning rates"),
    ({"training.tuned": "other"}, "training.tuned=other: no file "),
    ({"training.tuned": "../star"}, "training.tuned='../star': accepted: a name in conf/tuned"),
    ({"training.tuned": 3.5}, "training.tuned=3.5: accepted: a text"),
    ({"training.tuned": {"rates": []}}, "training.tuned={'rates': []}: accepted: null or the name"),
    (
        {"nu": 1},
        "training.tuned=star: not tuned for mace L=1 nu=1 edge_lmax=1 on star; there is mace L=1 nu=2 edge_lmax=1 on",
    ),
    ({"model.channels": 8}, "there is mace L=1 nu=2 edge_lmax=1 on star-3 (model.channels=4)"),
    ({"data.coefficients": [1.0, 1.0]}, "on star-3 (data.coefficients=[1.0])"),
    ({"training.optimizer": "adam"}, "on star-3 (training.optimizer=soap)"),
    ({"training.rate_factor": 1000.0}, "training.learning_rate times its factor=30.0: accepted: a number > 0 and ≤ 10"),
    ({"training.budget_factor": 0.01}, "training.max_steps times its factor=0: accepted: an integer from 2"),
    ({"training.budget_factor": 0.0}, "training.budget_factor=0.0: accepted: a number > 0"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
@pytest.mark.usefixtures("folder")
def test_bad_input_has_one_line(make_config: MakeConfig, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        parse(asked(make_config, changes))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["", "models: [", "models: [{points: []}]", "- 3", "models: {a: b}"])
def test_a_damaged_file_is_one_line(folder: Path, make_config: MakeConfig, content: str) -> None:
    (folder / "star.yaml").write_text(content)
    with pytest.raises(InputError, match="no table of tuned learning rates") as error:
        parse(asked(make_config))
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("folder")
def test_what_the_rate_need_not_know_does_not_matter(make_config: MakeConfig) -> None:
    """More frames, another seed of the data, a longer budget and round-off: the same problem and model."""
    changes = {"data.pool": 90, "data.seed": 1, "training.max_steps": 50, "training.precision": "float32"}
    training = parse(asked(make_config, changes)).training
    assert training is not None
    assert training.learning_rate == 0.03


@pytest.mark.usefixtures("folder")
def test_closed_forms_have_no_rate_to_look_up(make_config: MakeConfig) -> None:
    changes = {"training.tuned": "nowhere", "training.learning_rate": None}
    assert parse(make_config(changes, model="ace")).run_id(SHA) == parse(make_config(model="ace")).run_id(SHA)


def test_factors_multiply_what_is_configured_and_vanish(make_config: MakeConfig) -> None:
    base = {"training.max_steps": 24, "training.learning_rate": 3e-3}
    doubled = parse(make_config(base | {"training.budget_factor": 2.0, "training.rate_factor": 0.5}))
    explicit = parse(make_config({"training.max_steps": 48, "training.learning_rate": 1.5e-3}))
    assert doubled == explicit
    assert doubled.as_dict() == explicit.as_dict()
    assert parse(make_config(base | {"training.budget_factor": 1, "training.rate_factor": 1})) == parse(make_config())


def test_without_a_rate_it_is_the_default(make_config: MakeConfig) -> None:
    training = parse(make_config({"training.learning_rate": None})).training
    assert training is not None
    assert training.learning_rate == 4e-2
