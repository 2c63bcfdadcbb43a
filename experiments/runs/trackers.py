"""Experiment trackers (`training.tracker`): the records of `history.jsonl` in TensorBoard, MLflow or W&B too.

Files go to `<store>/tracking/<tracker>`, and nothing leaves the machine unless the library's own environment
variables say so (`WANDB_MODE`, `MLFLOW_TRACKING_URI`). A run that goes on after an interruption writes all its
records anew in place of those of earlier attempts, so that no point is doubled or missing. Torch-free.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from experiments.config.run import RunConfig
from experiments.core.errors import InputError
from experiments.core.leases import exclusive
from experiments.runs.store import Run

logger = logging.getLogger(__name__)


class Tracker(Protocol):
    """A tracker of one run, made from a directory, the run's id and its configuration by flat names.

    Making it deletes the records of earlier attempts of the run.
    """

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers after `step` updates."""
        ...

    def close(self, done: bool) -> None:
        """Write out buffered records and close; `done`: the run is complete."""
        ...


class TensorBoard:
    """Event files in `<directory>/<run id>`: `tensorboard --logdir <directory>` shows all runs."""

    def __init__(self, directory: Path, run_id: str, config: Mapping[str, Any]) -> None:
        shutil.rmtree(directory / run_id, ignore_errors=True)
        self.writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter(str(directory / run_id))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers; see `Tracker`."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def close(self, done: bool) -> None:
        """Close; see `Tracker`."""
        self.writer.close()


class MLflow:
    """Experiment `equilaw` in `<directory>/mlflow.db`, or at `MLFLOW_TRACKING_URI`."""

    TAG = "equilaw.run"

    def __init__(self, directory: Path, run_id: str, config: Mapping[str, Any]) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        mlflow = importlib.import_module("mlflow")
        self.metric = importlib.import_module("mlflow.entities").Metric
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{directory.absolute() / 'mlflow.db'}"
        with exclusive(directory / "lock"):  # several workers would make the tables at once
            self.client = mlflow.MlflowClient(tracking_uri=uri)
            existing = self.client.get_experiment_by_name("equilaw")
            experiment = existing.experiment_id if existing else self.client.create_experiment("equilaw")
        for old in self.client.search_runs([experiment], f"tags.`{self.TAG}` = '{run_id}'"):
            self.client.delete_run(old.info.run_id)
        self.run = self.client.create_run(experiment, run_name=run_id, tags={self.TAG: run_id}).info.run_id
        for name, value in config.items():
            self.client.log_param(self.run, name, value)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers; see `Tracker`."""
        now = int(1000 * time.time())
        self.client.log_batch(self.run, metrics=[self.metric(name, v, now, step) for name, v in values.items()])

    def close(self, done: bool) -> None:
        """Close; see `Tracker`."""
        self.client.set_terminated(self.run, status="FINISHED" if done else "KILLED")


class WandB:
    """Project `equilaw` in `<directory>`: `wandb sync` uploads it, `WANDB_MODE=online` does at once."""

    def __init__(self, directory: Path, run_id: str, config: Mapping[str, Any]) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        wandb = importlib.import_module("wandb")
        mode = os.environ.get("WANDB_MODE") or "offline"
        for old in directory.glob(f"offline-run-*-{run_id}"):
            shutil.rmtree(old, ignore_errors=True)
        self.run = wandb.init(
            project="equilaw",
            id=run_id,
            name=run_id,
            dir=str(directory.parent),  # it adds "wandb" itself
            mode=mode,
            config=dict(config),
            resume="allow" if mode == "online" else None,  # a server passes over steps that it has
            reinit="create_new",  # the runs of a pack are there at the same time
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_git=True),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers; see `Tracker`."""
        self.run.log(dict(values), step=step)

    def close(self, done: bool) -> None:
        """Close; see `Tracker`."""
        self.run.finish(exit_code=0 if done else 1)


TRACKERS: Mapping[str, Callable[[Path, str, Mapping[str, Any]], Tracker]] = {
    "tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB
}  # fmt: skip
"""Trackers by name, which is also that of the library and of the extra that installs it."""


def check(config: RunConfig) -> None:
    """Raise `InputError` if the library of the configured tracker is not installed."""
    name = None if config.training is None else config.training.tracker
    if name is None or name in sys.modules:
        return
    library = importlib.util.find_spec(name)
    if library is None or library.origin is None:  # without an origin it is a folder of that name
        raise InputError(
            f"training.tracker={name}: its library is not installed; "
            f"accepted: null, or first pip install --editable '.[{name}]'"
        )


class Tracking:
    """The trackers of a pack's runs. A failure of one ends that tracker alone, with one warning."""

    def __init__(self) -> None:
        self._open: dict[str, Tracker | None] = {}
        self._steps_done: dict[str, int] = {}
        self._warned = False

    def __enter__(self) -> Tracking:
        return self

    def __exit__(self, *_: object) -> None:
        for run_id in list(self._open):
            self._close(run_id, done=False)

    def follow(self, name: str | None, run: Run, records: Sequence[Mapping[str, Any]]) -> None:
        """Pass the new ones of all `records` of a run's history so far to tracker `name` (None: to none)."""
        if name is None:
            return
        if run.id not in self._open:
            self._open[run.id] = None
            self._guard(run.id, lambda: self._start(name, run))
        for record in records:
            # a run that went back to a checkpoint makes the same records again
            if record["clock"] > self._steps_done.get(run.id, -1):
                self._steps_done[run.id] = record["clock"]
                self._log(run.id, {k: v for k, v in record.items() if k not in ("clock", "total")})

    def end(self, run_id: str, errors: Mapping[str, float]) -> None:
        """Record the test errors of a finished run and close its tracker."""
        self._log(run_id, errors)
        self._close(run_id, done=True)

    def _start(self, name: str, run: Run) -> None:
        directory = run.path.parent / "tracking" / name
        directory.mkdir(parents=True, exist_ok=True)
        self._open[run.id] = TRACKERS[name](directory, run.id, _flat(run.config()))

    def _log(self, run_id: str, values: Mapping[str, Any]) -> None:
        tracker = self._open.get(run_id)
        finite = {k: float(v) for k, v in values.items() if isinstance(v, (int, float)) and math.isfinite(v)}
        if tracker is not None and finite:
            self._guard(run_id, lambda: tracker.log(self._steps_done.get(run_id, 0), finite))

    def _close(self, run_id: str, done: bool) -> None:
        tracker = self._open.get(run_id)
        if tracker is not None:
            self._guard(run_id, lambda: tracker.close(done))
            self._open[run_id] = None

    def _guard(self, run_id: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # a library's error, of any kind, must not fail a run
            self._open[run_id] = None
            if not self._warned:
                self._warned = True
                reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
                logger.warning("training.tracker failed (%s); training goes on without it", reason)


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten a configuration: `{"data": {"seed": 0}}` → `{"data.seed": 0}`."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
