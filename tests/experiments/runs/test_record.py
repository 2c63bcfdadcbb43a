"""`result.json`: one type reads what every version wrote, and writes what it reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.core.errors import InputError
from experiments.core.schema import as_json
from experiments.runs.record import VERSION, MetricResult, Result
from experiments.runs.store import Run, RunStore
from experiments.runs.table import COLUMNS, run_table

HERE = Path(__file__).parent / "results"
FORMS = sorted(path.stem for path in HERE.glob("*.json"))
"""Files as earlier versions wrote them: the first one; with torch's version twice; of a fit in closed form."""


def content(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = RunStore(tmp_path).run("0123456789ab")
    made.path.mkdir()
    (made.path / "config.yaml").write_text(yaml.safe_dump({"P": 4}))
    return made


@pytest.mark.parametrize("name", FORMS)
def test_every_earlier_form_is_read_with_all_that_it_says(run: Run, name: str) -> None:
    old = content(name)
    (run.path / "result.json").write_text(json.dumps(old))
    result = run.result()
    assert result is not None
    expected = {key: value for key, value in old.items() if key not in ("torch", "by_metric")}
    assert {key: result[key] for key in expected} == expected
    for metric, values in old["by_metric"].items():
        assert {key: result["by_metric"][metric][key] for key in values} == values
        assert result.by_metric[metric].error == values["error"]
    assert (result.P, result.dataset, result.n_parameters) == (old["P"], old["dataset"], old["n_parameters"])
    assert result.versions["torch"] == old["versions"]["torch"]
    (table,) = [run_table(RunStore(run.path.parent))]
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == len(old["by_metric"])


@pytest.mark.parametrize("name", FORMS)
def test_what_is_written_is_what_was_read(run: Run, name: str) -> None:
    result = Result.parse(content(name), "old")
    attempt = run.claim()
    assert attempt is not None
    with attempt:
        assert attempt.publish(result)
    assert run.result() == result
    written = json.loads((run.path / "result.json").read_text())
    assert written["version"] == VERSION
    assert "torch" not in written
    assert Result.parse(json.loads(json.dumps(as_json(result))), "again") == result


def test_facts_that_the_type_does_not_declare_are_kept() -> None:
    old = {"attempt": 1, "fit": {"ridge": 0.5}, "by_metric": {"force_mae": {"error": 1.0, "error_tenth_budget": 2.0}}}
    result = Result.parse(old, "x")
    assert result["fit"] == {"ridge": 0.5}
    assert result.by_metric["force_mae"] == MetricResult(1.0, further={"error_tenth_budget": 2.0})
    assert result["by_metric"]["force_mae"]["error_tenth_budget"] == 2.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"version": VERSION + 1},
            f"version {VERSION + 1}, written by a later version of the program; accepted: up to",
        ),
        ({"version": "x"}, "version 'x', written by"),
        ({"P": "four"}, "P='four': accepted: an integer or null"),
        ({"metrics": [1.0]}, "metrics=[1.0]: accepted: "),
    ],
)
def test_what_another_program_wrote_is_refused_in_one_line_and_not_computed_again(
    run: Run, change: dict[str, Any], message: str
) -> None:
    (run.path / "result.json").write_text(json.dumps({**content("torch_twice"), **change}))
    for ask in (run.result, run.state, run.claim):
        with pytest.raises(InputError) as error:
            ask()
        assert str(error.value).startswith(f"{run.path / 'result.json'}: {message}")
        assert "\n" not in str(error.value)
    assert (run.path / "result.json").exists()


def test_a_truncated_file_is_damage_and_the_run_is_open(run: Run) -> None:
    text = (HERE / "torch_twice.json").read_text()
    (run.path / "result.json").write_text(text[: len(text) // 2])
    assert run.result() is None
