"""Further test sets (`data.tests`): an axis of the run table that changes no run, whenever they are named."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.config.parse import parse
from experiments.core.errors import InputError
from experiments.data.load import dataset_of, load_any
from experiments.data.sources.extxyz import write_frames
from experiments.runs import evaluate
from experiments.runs.evaluations import lacking, on_axis
from experiments.runs.execute import execute
from experiments.runs.store import Run, RunStore
from experiments.runs.table import run_table
from tests.experiments.finished import configuration, finished, molecules, queued


@pytest.fixture(scope="module")
def hot(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of frames that no training file holds."""
    path = tmp_path_factory.mktemp("frames") / "hot.xyz"
    write_frames(path, molecules(4, seed=7))
    return str(path)


def errors_of(run: Run, test_set: str) -> dict[str, float]:
    """Errors by metric on a set of the axis."""
    return next(one["metrics"] for one in on_axis(run) if one["test_set"] == test_set)


def rows(run: Run) -> pd.DataFrame:
    return run_table(RunStore(run.path.parent))


@pytest.mark.parametrize("model", ["mace", "ace"])
def test_a_named_set_has_rows_of_its_own_and_the_run_its_old_name(tmp_path: Path, hot: str, model: str) -> None:
    plain = configuration(tmp_path, model)
    run = finished(configuration(tmp_path, model, {"data.tests": {"600K": hot}}))
    assert run.id == queued(plain).id
    table = rows(run).set_index(["test_set", "metric"])
    assert set(table.index.get_level_values(0)) == {"test", "600K"}
    one_off, _ = evaluate.evaluate(run, evaluate.section_of(run, [f"data.test={hot}"]))
    for metric, error in one_off["metrics"].items():
        row, own = table.loc[("600K", metric)], table.loc[("test", metric)]
        # made in the pass or from the weights: the same arithmetic but for the order of float64 sums of 3000 eV
        assert row["error"] == pytest.approx(1000 * error, rel=1e-9)
        assert row["error"] != own["error"]
        for name in ("train_error", "P", "seed", "model_id", "training.max_steps"):
            assert str(row[name]) == str(own[name]), name  # or both empty
        assert row["n_test"] == 12
        assert row["mean_error"] > 0
        if model == "mace":  # named before the training: shorter schedules were evaluated on it, too
            assert 0 < row["error_half_budget"] != own["error_half_budget"]
            assert 0 < row["error_quarter_budget"] != row["error_half_budget"]
            assert row["verdict"] in ("converged", "not_converged", "cannot_tell", "overfitting")
        else:
            assert pd.isna(row["error_half_budget"])


def test_a_set_added_to_a_finished_run_trains_nothing(tmp_path: Path, hot: str) -> None:
    run = finished(configuration(tmp_path, "mace"))
    before = (run.path / "result.json").read_bytes()
    again = queued(configuration(tmp_path, "mace", {"data.tests": {"600K": hot}}))
    assert again == run
    assert execute([run], lambda: False, lambda event: None) == {run.id: "done"}
    assert (run.path / "result.json").read_bytes() == before
    assert run.latest_attempt() == 1
    assert set(rows(run)["test_set"]) == {"test", "600K"}
    changes = {"data.tests": {"600K": hot}, "store": str(tmp_path / "other")}
    at_once = finished(configuration(tmp_path, "mace", changes))
    later, named = (rows(one).query("test_set == '600K'") for one in (run, at_once))
    assert later["error_half_budget"].isna().all()  # the weights of shorter schedules are not kept
    assert named["error_half_budget"].notna().all()
    assert errors_of(run, "600K") == pytest.approx(errors_of(at_once, "600K"), rel=1e-9)  # as above


def test_a_ladder_and_a_pack_are_evaluated_run_by_run(tmp_path: Path, hot: str) -> None:
    ladder = [queued(configuration(tmp_path, "ace", {"P": P, "data.tests": {"600K": hot}})) for P in (10, 20, 30)]
    pack = [queued(configuration(tmp_path, "mace", {"seed": seed, "data.tests": {"600K": hot}})) for seed in (0, 1)]
    for runs in (ladder, pack):
        assert set(execute(runs, lambda: False, lambda event: None).values()) == {"done"}
        for run in runs:
            one_off, _ = evaluate.evaluate(run, evaluate.section_of(run, [f"data.test={hot}"]))
            assert errors_of(run, "600K") == pytest.approx(one_off["metrics"], rel=1e-8)
    assert len({errors_of(run, "600K")["force_mae"] for run in (*ladder, *pack)}) == 5


def test_a_store_is_evaluated_later(tmp_path: Path, hot: str, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [finished(configuration(tmp_path, "ace", {"P": P})) for P in (10, 30)]
    store = str(tmp_path / "store")
    assert evaluate.main([store]) == 2
    assert "its runs name no further test sets" in capsys.readouterr().err
    assert evaluate.main([store, f"data.tests={{600K:{hot}}}"]) == 0
    assert capsys.readouterr().out.count("on the 12 examples of 600K") == 2
    assert evaluate.main([store]) == 0  # the runs keep the names
    assert "nothing is lacking" in capsys.readouterr().out
    assert set(runs[0].config()["data"]["tests"]) == {"600K"}
    assert sorted(rows(runs[0])["test_set"].unique()) == ["600K", "test"]
    assert evaluate.main([store, "data.energy_key=e"]) == 2
    assert evaluate.main([store, "data.tests={600K:/no.xyz}"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("equilaw: data.tests.600K=/no.xyz: no such file")


def test_what_was_evaluated_once_is_no_row_and_stays_a_row(tmp_path: Path, hot: str) -> None:
    """`data.test=FILE` is a look; `data.tests` makes a curve, and a later look does not unmake it."""
    run = finished(configuration(tmp_path, "ace"))
    look = evaluate.section_of(run, [f"data.test={hot}"])
    evaluate.evaluate(run, look)
    assert set(rows(run)["test_set"]) == {"test"}
    evaluate.evaluate_further(run, evaluate.section_of(run, [f"data.tests={{hot:{hot}}}"]))
    assert set(rows(run)["test_set"]) == {"test", "hot"}
    evaluate.evaluate(run, look)
    assert set(rows(run)["test_set"]) == {"test", "hot"}


def test_the_first_set_under_its_own_name_is_not_counted_twice(tmp_path: Path, hot: str) -> None:
    run = finished(configuration(tmp_path, "ace"))
    own = run.config()["data"]["test"]
    evaluate.evaluate_further(run, evaluate.section_of(run, [f"data.tests={{test:{own},hot:{hot}}}"]))
    assert sorted(rows(run)["test_set"].unique()) == ["hot", "test"]
    with pytest.raises(InputError, match=r"test is the name of data.test, which has other frames"):
        evaluate.evaluate_further(run, evaluate.section_of(run, [f"data.tests={{test:{hot}}}"]))
    section = parse(configuration(tmp_path, "ace", {"data.tests": {"test": own}})).data
    assert not dataset_of(section).further  # type: ignore[attr-defined]  # frames of atoms


def test_one_name_for_two_sets(tmp_path: Path, hot: str, caplog: pytest.LogCaptureFixture) -> None:
    runs = [finished(configuration(tmp_path, "ace", {"P": P, "data.tests": {"600K": hot}})) for P in (10, 30)]
    other = tmp_path / "other.xyz"
    write_frames(other, molecules(4, seed=8))
    evaluate.evaluate_further(runs[0], evaluate.section_of(runs[0], [f"data.tests={{600K:{other}}}"]))
    with caplog.at_level(logging.WARNING):
        names = set(rows(runs[0])["test_set"])
    digests = {one["test_sha256"] for run in runs for one in on_axis(run)}
    assert len(digests) == 2
    first = next(iter(on_axis(runs[1])))["test_sha256"]
    assert names == {"test", f"600K@{first[:6]}"}  # the other set has one P alone
    assert "600K names 2 different test sets" in caplog.text
    assert "1 of 2 runs of curve" in caplog.text


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"a/b": "hot"}, "data.tests: 'a/b': accepted: a name of letters"),
    ({"600K": "/no.xyz"}, "data.tests.600K=/no.xyz: no such file"),
    ({"test": "hot"}, "data.tests: test is the name of data.test, which has other frames"),
    ({"nitrogen": "n"}, "atom 0 is N, an element that no frame of"),
]


@pytest.mark.parametrize(("tests", "message"), REFUSED)
def test_sets_are_refused_before_anything_is_trained(
    tmp_path: Path, hot: str, tests: dict[str, str], message: str
) -> None:
    write_frames(tmp_path / "n.xyz", molecules(2, ((7, 1, 1),)))
    files = {"hot": hot, "n": str(tmp_path / "n.xyz")}
    config = configuration(tmp_path, "ace", {"data.tests": {k: files.get(v, v) for k, v in tests.items()}})
    with pytest.raises(InputError, match=message):
        dataset_of(parse(config).data)


def test_sources_without_named_sets_say_so(tmp_path: Path) -> None:
    data = {"source": "star", "n_neighbours": 3, "tests": {"far": "x"}}
    with pytest.raises(InputError, match=r"data.tests: unknown key"):
        parse(configuration(tmp_path, "ace", {"data": data}))


def test_damaged_errors_are_computed_again(tmp_path: Path, hot: str) -> None:
    run = finished(configuration(tmp_path, "ace", {"data.tests": {"600K": hot}}))
    (path,) = (run.path / "evaluations").glob("*.json")
    path.write_text("{")
    (sha256,) = dataset_of(parse(run.config()).data).further_sha256.values()  # type: ignore[attr-defined]
    assert lacking(run, {"600K": sha256}) == ["600K"]
    execute([run], lambda: False, lambda event: None)
    assert lacking(run, {"600K": sha256}) == []


def test_a_set_whose_file_is_gone_is_in_nobodys_way(
    tmp_path: Path, hot: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Its errors stay; other sets are evaluated, by the same run asked for again, later, and in a queued run."""
    gone = tmp_path / "gone.xyz"
    write_frames(gone, molecules(4, seed=9))
    run = finished(configuration(tmp_path, "ace", {"data.tests": {"gone": str(gone)}}))
    waiting = queued(configuration(tmp_path, "ace", {"P": 20, "data.tests": {"gone": str(gone)}}))
    kept = errors_of(run, "gone")
    gone.unlink()
    again = queued(configuration(tmp_path, "ace", {"data.tests": {"600K": hot}}))
    assert again == run
    with caplog.at_level(logging.WARNING):
        assert execute([run, waiting], lambda: False, lambda event: None) == {run.id: "done", waiting.id: "done"}
    assert f"data.tests.gone={gone}: the file is gone" in caplog.text
    assert set(errors_of(run, "600K")) == set(kept)
    assert errors_of(run, "gone") == kept
    assert evaluate.main([str(tmp_path / "store")]) == 0
    assert "nothing is lacking" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"data.tests.gone=.*: no such file"):  # who asks for it is told
        load_any(parse(configuration(tmp_path, "ace", {"data.tests": {"gone": str(gone)}})).data)


def test_training_frames_in_a_set_are_named_later_too(
    tmp_path: Path, hot: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = finished(configuration(tmp_path, "ace"))
    train = run.config()["data"]["train"]
    with caplog.at_level(logging.WARNING):
        evaluate.evaluate_further(run, evaluate.section_of(run, [f"data.tests={{hot:{hot}}}"]))
        assert "are also in" not in caplog.text
        evaluate.evaluate_further(run, evaluate.section_of(run, [f"data.tests={{again:{train}}}"]))
        assert f"60 frames of data.tests.again are also in data.train={train}" in caplog.text
        caplog.clear()
        evaluate.evaluate(run, evaluate.section_of(run, [f"data.test={train}"]))
        assert "60 frames of data.test are also in data.train" in caplog.text


def test_what_a_store_takes_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finished(configuration(tmp_path, "ace"))
    assert evaluate.main([str(tmp_path / "store"), "data.test=hot.xyz"]) == 2
    assert "data.test=hot.xyz: accepted of one run, <store>/<id>, alone; of a store" in capsys.readouterr().err
