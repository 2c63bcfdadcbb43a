"""Trackers hear what the history holds, once each, also after interruptions; and no run fails for them."""

from __future__ import annotations

import json
import logging
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from experiments.__main__ import single
from experiments.config.parse import parse
from experiments.config.run import RunConfig
from experiments.core.errors import InputError
from experiments.data.dataset import Dataset
from experiments.runs import trackers
from experiments.runs.execute import execute
from experiments.runs.store import Run, read_history
from experiments.training.pack import Interrupted
from slurm.plan import plan
from tests.conftest import MakeConfig
from tests.experiments.finished import queued

Points = list[tuple[str, int, float]]


class FakeMetric:
    def __init__(self, key: str, value: float, timestamp: int, step: int) -> None:
        self.point = (key, step, value)


class Backend:
    """The records that the three libraries would have on disk: points by run, as far as the libraries' own names go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.points: dict[str, Points] = {}
        self.ended: dict[str, Any] = {}
        self.broken: set[str] = set()
        self.started: list[tuple[str, Mapping[str, Any]]] = []
        backend = self

        class SummaryWriter:
            def __init__(self, log_dir: str) -> None:
                self.name = Path(log_dir).name
                Path(log_dir).mkdir(parents=True)  # as the real one; nothing of an earlier attempt may be there
                backend.points[self.name] = []

            def add_scalar(self, tag: str, value: float, step: int) -> None:
                backend.say("add_scalar")
                backend.points[self.name].append((tag, step, value))

            def flush(self) -> None:
                pass

            def close(self) -> None:
                backend.ended[self.name] = True

        class WandBRun:
            def __init__(self, name: str) -> None:
                self.name = name

            def log(self, values: dict[str, float], step: int) -> None:
                backend.say("log")
                backend.points[self.name] += [(name, step, value) for name, value in values.items()]

            def finish(self, exit_code: int) -> None:
                backend.ended[self.name] = exit_code == 0

        def init(**given: Any) -> WandBRun:
            backend.say("init")
            assert given["mode"] == "offline"
            place = Path(given["dir"]) / "wandb"
            assert not list(place.glob(f"*-{given['id']}"))
            (place / f"offline-run-1-{given['id']}").mkdir(parents=True)
            backend.points[given["id"]] = []
            backend.started.append((given["id"], given["config"]))
            return WandBRun(given["id"])

        class MlflowClient:
            def __init__(self, tracking_uri: str) -> None:
                assert tracking_uri.startswith("sqlite:///")

            def get_experiment_by_name(self, name: str) -> None:
                return None

            def create_experiment(self, name: str) -> str:
                return "1"

            def search_runs(self, experiments: list[str], query: str) -> list[Any]:
                found = [name for name in backend.points if f"'{name}'" in query]
                return [types.SimpleNamespace(info=types.SimpleNamespace(run_id=name)) for name in found]

            def delete_run(self, name: str) -> None:
                del backend.points[name]

            def create_run(self, experiment: str, run_name: str, tags: dict[str, str]) -> Any:
                assert run_name not in backend.points
                assert run_name in tags.values()
                backend.points[run_name] = []
                return types.SimpleNamespace(info=types.SimpleNamespace(run_id=run_name))

            def log_param(self, name: str, key: str, value: Any) -> None:
                pass

            def log_batch(self, name: str, metrics: list[FakeMetric]) -> None:
                backend.say("log_batch")
                backend.points[name] += [metric.point for metric in metrics]

            def set_terminated(self, name: str, status: str) -> None:
                backend.ended[name] = status == "FINISHED"

        modules: dict[str, dict[str, Any]] = {
            "tensorboard": {},
            "torch.utils.tensorboard": {"SummaryWriter": SummaryWriter},
            "wandb": {"init": init, "Settings": dict},
            "mlflow": {"MlflowClient": MlflowClient},
            "mlflow.entities": {"Metric": FakeMetric},
        }
        for name, contents in modules.items():
            module = types.ModuleType(name)
            vars(module).update(contents)
            monkeypatch.setitem(sys.modules, name, module)
        for variable in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
            monkeypatch.delenv(variable, raising=False)

    def say(self, call: str) -> None:
        if call in self.broken:
            raise OSError(f"{call} is\nbroken")


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Backend:
    return Backend(monkeypatch)


@pytest.fixture(params=["tensorboard", "mlflow", "wandb"])
def tracked(request: pytest.FixtureRequest, make_config: MakeConfig) -> Run:
    """A queued run that its tracker follows, with twelve records and a checkpoint after each chunk."""
    changes = {"training.tracker": request.param, "training.checkpoint_seconds": 1e-9}
    return queued(make_config(changes))


def expected(run: Run) -> Points:
    """All numbers of the history of the run's last attempt, and its errors at the end."""
    records = read_history(run.path / f"attempt-{run.latest_attempt()}" / "history.jsonl")
    numbers = [(k, r["clock"], v) for r in records for k, v in r.items() if k not in ("clock", "total")]
    result = run.result()
    assert result is not None
    return numbers + [(f"test_{name}", records[-1]["clock"], error) for name, error in result["metrics"].items()]


def stop_after(count: int) -> Callable[[], bool]:
    """A signal at the `count`-th time of asking."""
    asked = iter(range(count))
    return lambda: next(asked, None) is None


def test_every_record_once(backend: Backend, tracked: Run) -> None:
    assert execute([tracked], lambda: False, lambda event: None) == {tracked.id: "done"}
    assert sorted(backend.points[tracked.id]) == sorted(expected(tracked))
    assert len(expected(tracked)) > 50
    assert backend.ended == {tracked.id: True}
    kind = tracked.config()["training"]["tracker"]
    assert (tracked.path.parent / "tracking" / kind).is_dir()


def test_interrupted_and_resumed_doubles_nothing(backend: Backend, tracked: Run) -> None:
    """Twice stopped; what was heard before is replaced by what the checkpoint's history says."""
    for times in (4, 5):
        with pytest.raises(Interrupted):
            execute([tracked], stop_after(times), lambda event: None)
        assert tracked.id in backend.ended  # closed; TensorBoard knows no more than that
        assert backend.points[tracked.id]
    assert execute([tracked], lambda: False, lambda event: None) == {tracked.id: "done"}
    assert tracked.latest_attempt() == 3
    assert sorted(backend.points[tracked.id]) == sorted(expected(tracked))
    assert backend.ended[tracked.id] is True


def test_killed_with_records_beyond_the_checkpoint(backend: Backend, make_config: MakeConfig) -> None:
    """A kill leaves records (and points) that no checkpoint has; they come again, and are there once."""
    run = queued(make_config({"training.tracker": "wandb", "training.checkpoint_seconds": 1e9}))

    class Killed(BaseException):
        pass

    def report(event: Mapping[str, Any]) -> None:
        if event.get("clock", 0) > 10:
            raise Killed

    with pytest.raises(Killed):
        execute([run], lambda: False, report)
    before = len(backend.points[run.id])
    assert before > 5
    assert execute([run], lambda: False, lambda event: None) == {run.id: "done"}
    assert sorted(backend.points[run.id]) == sorted(expected(run))


def test_a_pack_that_goes_back_logs_each_clock_once(backend: Backend, make_config: MakeConfig) -> None:
    run = queued(make_config())
    records = [{"clock": 3 * n, "total": 9, "seconds": 0.1, "loss": 1.0 / n} for n in (1, 2, 3)]
    with trackers.Tracking() as tracking:
        for until in (1, 2, 3, 1, 2, 3):
            tracking.follow("wandb", run, records[:until])
        tracking.follow("wandb", run, [*records, {"clock": 10, "loss": None, "seconds": float("nan")}])
    assert [point for point in backend.points[run.id] if point[0] == "loss"] == [
        ("loss", 3 * n, 1.0 / n) for n in (1, 2, 3)
    ]
    assert len(backend.points[run.id]) == 6
    (started,) = backend.started
    assert started[0] == run.id
    assert started[1]["data.n_neighbours"] == 3  # the configuration, by flat names
    assert backend.ended == {run.id: False}


@pytest.mark.parametrize("call", ["init", "log"])
def test_a_tracker_that_fails_fails_no_run(
    backend: Backend, make_config: MakeConfig, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning for the pack, in one line."""
    backend.broken.add(call)
    pack = [queued(make_config({"training.tracker": "wandb", "seed": seed})) for seed in (0, 1)]
    with caplog.at_level(logging.WARNING):
        assert execute(pack, lambda: False, lambda event: None) == {run.id: "done" for run in pack}
    said = [r.getMessage() for r in caplog.records if r.name == "experiments.runs.trackers"]
    assert said == [f"training.tracker failed (OSError: {call} is broken); training goes on without it"]


def test_null_tracks_nothing_and_changes_no_identity(backend: Backend, make_config: MakeConfig) -> None:
    ids = {parse(make_config({"training.tracker": t})).run_id("0") for t in (None, "tensorboard", "mlflow", "wandb")}
    assert ids == {parse(make_config()).run_id("0")}
    run = queued(make_config())
    execute([run], lambda: False, lambda event: None)
    assert backend.points == {}
    assert not (run.path.parent / "tracking").exists()


def test_library_that_is_absent(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said before anything starts, naming the extra; a folder of the library's name is not the library."""
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    (tmp_path / "wandb").mkdir()
    message = (
        "training.tracker=wandb: its library is not installed; "
        "accepted: null, or first pip install --editable '.[wandb]'"
    )
    with pytest.raises(InputError) as caught:
        trackers.check(parse(make_config({"training.tracker": "wandb"})))
    assert str(caught.value) == message
    trackers.check(parse(make_config({"training.tracker": "wandb"}, model="ace")))  # nothing to track
    with pytest.raises(InputError, match=r"training.tracker='aim': accepted: null \| tensorboard \| mlflow \| wandb"):
        parse(make_config({"training.tracker": "aim"}))


def test_said_before_a_run_or_a_sweep_starts(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """And before a dataset is generated for them."""

    def absent(config: RunConfig) -> None:
        raise InputError("not installed")

    def load(section: Mapping[str, Any]) -> Dataset:
        raise AssertionError

    monkeypatch.setattr(trackers, "check", absent)
    monkeypatch.setattr("experiments.runs.execute.dataset_of", load)
    config = make_config({"training.tracker": "tensorboard"})
    with pytest.raises(InputError, match="not installed"):
        single(OmegaConf.create(config))
    with pytest.raises(InputError, match="not installed"):
        plan(lambda point: config, [[]], load)
    assert not Path(config["store"]).exists()


def test_real_tensorboard(make_config: MakeConfig, tmp_path: Path) -> None:
    """Its own reader finds each point once, after an interruption too."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = queued(make_config({"training.tracker": "tensorboard"}))
    with pytest.raises(Interrupted):
        execute([run], stop_after(6), lambda event: None)
    execute([run], lambda: False, lambda event: None)
    found = accumulator.EventAccumulator(str(run.path.parent / "tracking" / "tensorboard" / run.id)).Reload()
    points = [(tag, event.step) for tag in found.Tags()["scalars"] for event in found.Scalars(tag)]
    assert sorted(points) == sorted((name, step) for name, step, _ in expected(run))


def test_real_mlflow(make_config: MakeConfig) -> None:
    mlflow = pytest.importorskip("mlflow")
    run = queued(make_config({"training.tracker": "mlflow"}))
    with pytest.raises(Interrupted):
        execute([run], stop_after(6), lambda event: None)
    execute([run], lambda: False, lambda event: None)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{run.path.parent / 'tracking' / 'mlflow' / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("equilaw").experiment_id])
    names = {name for name, _, _ in expected(run)}
    points = [(name, m.step) for name in names for m in client.get_metric_history(found.info.run_id, name)]
    assert sorted(points) == sorted((name, step) for name, step, _ in expected(run))
    assert found.data.params["model.channels"] == json.dumps(run.config()["model"]["channels"])


def test_real_wandb(make_config: MakeConfig) -> None:
    pytest.importorskip("wandb")
    run = queued(make_config({"training.tracker": "wandb"}))
    with pytest.raises(Interrupted):
        execute([run], stop_after(6), lambda event: None)
    execute([run], lambda: False, lambda event: None)
    (place,) = (run.path.parent / "tracking" / "wandb").glob(f"offline-run-*-{run.id}")
    assert (place / f"run-{run.id}.wandb").stat().st_size > 0
