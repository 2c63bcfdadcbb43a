"""`python -m experiments.runs.tune --store DIR --name NAME`: the best learning rates of a sweep, by validation
errors alone.

For each problem, model and P it chooses the rate with the smallest validation error, averaged over seeds, without
interpolation. Test errors are not read: a rate chosen by them would make the test error a training error. Torch-free.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from experiments.config.parse import parse
from experiments.config.run import RunConfig, jsonable
from experiments.config.tuned_rates import path_of, problem_of, rate_settings, short_name
from experiments.core import command, files
from experiments.core.errors import InputError
from experiments.core.schema import identity_of
from experiments.core.states import RunState
from experiments.runs.record import Result
from experiments.runs.store import RunStore

Seeds = tuple[int, int, int]
"""seed, subset_seed, init_seed."""


@dataclass
class Trial:
    """The runs with one learning rate at one P."""

    errors: dict[Seeds, float] = field(default_factory=dict)
    """Validation errors of the finished runs."""
    runs: dict[Seeds, str] = field(default_factory=dict)
    """Ids of the finished runs."""
    failed: int = 0
    """Number of failed runs (most likely their loss was not finite)."""

    @property
    def mean(self) -> float:
        """Mean validation error over seeds."""
        return sum(self.errors.values()) / len(self.errors)


@dataclass
class Model:
    """A model on a problem, with the trials of its learning rates."""

    dataset: str
    dataset_sha256: str
    data: dict[str, Any]
    model: dict[str, Any]
    training: dict[str, Any]
    """Identity of the training without the learning rate."""
    trials: dict[int, dict[float, Trial]] = field(default_factory=dict)
    """Trials by P and learning rate."""
    unit: str = ""
    metric: str = ""
    versions: set[str] = field(default_factory=set)


def collect(store: RunStore, metric: str | None) -> list[Model]:
    """Return the models of a store with all trials of their learning rates.

    Args:
        store: the runs.
        metric: the validation error to go by; None: the result's primary one.

    Raises:
        InputError: no finished run has a validation error; runs on two versions of a dataset; two kinds of training
            that one table cannot tell apart.
    """
    models: dict[str, Model] = {}
    failed: list[RunConfig] = []
    for run in store.runs():
        config, result = parse(run.config()), run.result()
        if config.training is None:
            continue
        if result is None:
            if run.state() == RunState.FAILED:
                failed.append(config)
            continue
        chosen = metric or result.primary
        error = validation_error(result, chosen)
        if error is None:
            continue
        model = models.setdefault(_key(config), _model(config, str(result.dataset), str(result.dataset_sha256)))
        if model.dataset_sha256 != result.dataset_sha256:
            raise InputError(
                f"{store.path}: runs on two versions of {model.dataset}; accepted: a store with one of them"
            )
        trial = model.trials.setdefault(config.P, {}).setdefault(config.training.learning_rate, Trial())
        seeds = (config.seed, config.subset_seed, config.init_seed)
        trial.errors[seeds], trial.runs[seeds] = error, run.id
        model.metric, model.unit = chosen, result.by_metric[chosen].unit
        model.versions.add(str(result.code_version))
    for config in failed:
        if _key(config) in models and config.P in (model := models[_key(config)]).trials and config.training:
            model.trials[config.P].setdefault(config.training.learning_rate, Trial()).failed += 1
    if not models:
        raise InputError(f"{store.path}: no finished run with a validation error; accepted: the store of +sweep=tune")
    _one_training_each(store, list(models.values()))
    return list(models.values())


def validation_error(result: Result, metric: str) -> float | None:
    """Return a result's error on the validation set, the only error that is read from it.

    Raises:
        InputError: the task has no such metric.
    """
    if metric not in result.by_metric:
        raise InputError(f"--metric {metric}: accepted: {' | '.join(result.by_metric)}")
    return result.by_metric[metric].holdout_error


def _model(config: RunConfig, dataset: str, sha256: str) -> Model:
    model = {"architecture": config.model.architecture, **identity_of(config.model)}
    training = {key: value for key, value in identity_of(config.training).items() if key != "learning_rate"}
    return Model(dataset, sha256, problem_of(jsonable(config.data)), model, training)


def _key(config: RunConfig) -> str:
    model = _model(config, "", "")
    return json.dumps([model.data, model.model, model.training], sort_keys=True)


def _one_training_each(store: RunStore, models: Sequence[Model]) -> None:
    """Raise `InputError` if two models agree in all that selects an entry: problem, model, `relevant` training."""
    by_entry: dict[str, Model] = {}
    for model in models:
        entry = json.dumps([model.data, model.model, rate_settings(model.training)], sort_keys=True)
        if (other := by_entry.setdefault(entry, model)) is not model:
            keys = [key for key in model.training if model.training[key] != other.training.get(key)]
            differences = ", ".join(
                f"training.{key} ({other.training.get(key)}, {model.training[key]})" for key in keys
            )
            raise InputError(
                f"{store.path}: runs of {short_name(model.model)} on {model.dataset} differ in {differences}; "
                "accepted: a store for each"
            )


def choose(model: Model) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the best rate for each P with the trials that it was chosen from, and warnings.

    A rate at which seeds are missing (failed, or not done yet) cannot be compared and is not chosen.
    """
    points, warnings = [], []
    for P, rates in sorted(model.trials.items()):
        where = f"{model.dataset}, {short_name(model.model)}, P={P}"
        seeds = sorted({seed for trial in rates.values() for seed in trial.errors})
        complete = {rate: trial for rate, trial in rates.items() if len(trial.errors) == len(seeds)}
        for rate in sorted(rates.keys() - complete.keys()):
            trial = rates[rate]
            short = f"{len(trial.errors)} of {len(seeds)} seeds" + (f" ({trial.failed} failed)" if trial.failed else "")
            warnings.append(f"{where}: learning rate {rate:g} has {short}; left out")
        if not complete:
            warnings.append(f"{where}: no learning rate has all {len(seeds)} seeds; left out")
            continue
        best = min(complete, key=lambda rate: (complete[rate].mean, rate))
        at_end = best in (min(rates), max(rates))
        if len(rates) == 1:
            warnings.append(f"{where}: only one learning rate was tried, {best:g}")
        elif at_end:
            side = "below" if best == min(rates) else "above"
            warnings.append(f"{where}: the best learning rate, {best:g}, is the end of the grid; try more {side} it")
        validation = [
            {
                "learning_rate": rate,
                "mean": trial.mean if trial.errors else None,
                "failed": trial.failed,
                "runs": {trial.runs[seed]: trial.errors[seed] for seed in sorted(trial.errors)},
            }
            for rate, trial in sorted(rates.items())
        ]
        points.append(
            {"P": P, "learning_rate": best, "at_end_of_grid": at_end, "seeds": len(seeds), "holdout": validation}
        )
    return points, warnings


def table(store: RunStore, metric: str | None = None) -> tuple[dict[str, Any], list[str]]:
    """Return the content of a tuned file, and warnings.

    Raises:
        InputError: nothing can be chosen from this store.
    """
    entries, warnings = [], []
    for model in sorted(collect(store, metric), key=lambda model: (model.dataset, short_name(model.model))):
        points, warnings_of_model = choose(model)
        warnings += warnings_of_model
        if points:
            own = {name: getattr(model, name) for name in ("dataset", "dataset_sha256", "data", "model", "training")}
            how = {"metric": model.metric, "unit": model.unit, "code_versions": sorted(model.versions)}
            entries.append({**own, **how, "points": points})
    if not entries:
        raise InputError(f"{store.path}: nothing to choose from: {'; '.join(warnings)}")
    return {"store": str(store.path), "models": entries}, warnings


def write(content: Mapping[str, Any], path: Path) -> None:
    """Write a tuned file, whole or not at all."""
    files.creatable(path.parent, "--out")
    path.parent.mkdir(parents=True, exist_ok=True)
    head = (
        "# Learning rates chosen by validation errors (the mean over seeds; test errors were not read), made by\n"
        "# python -m experiments.runs.tune. A run takes the rate of the nearest P in log scale: training.tuned=NAME.\n"
        "# The labels of the validation set have then served to choose one number; P does not count them.\n"
    )
    body = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=120)
    files.write_bytes(path, (head + body).encode())


def destination(name: str | None, out: str | None) -> Path:
    """Return the path of the file to write.

    Raises:
        InputError: neither is given, or `training.tuned` would not find the file there.
    """
    if out is not None and not out.endswith(".yaml"):
        raise InputError(f"--out {out}: accepted: a path that ends in .yaml")
    if out is None and (not name or "/" in name or name.startswith(".") or name.endswith(".yaml")):
        raise InputError(f"--name {name}: accepted: a name for conf/tuned/NAME.yaml, or --out FILE.yaml")
    return path_of(out or str(name))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return exit code 0 (written) or 2 (bad input, told in one line)."""
    parser = command.Parser(prog="python -m experiments.runs.tune", description=__doc__.split("\n\n")[1])
    parser.add_argument(
        "--store", type=command.path, required=True, metavar="DIR", help="store of the runs of +sweep=tune"
    )
    parser.add_argument("--name", metavar="NAME", help="training.tuned=NAME uses it; written to conf/tuned/NAME.yaml")
    parser.add_argument("--out", metavar="FILE.yaml", help="write there instead; training.tuned=FILE.yaml uses it")
    parser.add_argument("--metric", metavar="METRIC", help="validation error to go by (default: the primary one)")
    return command.run(_tune, parser.parse_args(argv))


def _tune(arguments: argparse.Namespace) -> None:
    path = destination(arguments.name, arguments.out)
    if not arguments.store.is_dir():
        raise InputError(f"--store {arguments.store}: no such directory; accepted: a store of runs")
    content, warnings = table(RunStore(arguments.store), arguments.metric)
    write(content, path)
    for warning in warnings:
        command.say(f"warning: {warning}")
    for entry in content["models"]:
        for point in entry["points"]:
            best = next(trial for trial in point["holdout"] if trial["learning_rate"] == point["learning_rate"])
            reached = f"validation {entry['metric']} {1000 * best['mean']:.3f} m{entry['unit']}"
            what = f"{entry['dataset']}  {short_name(entry['model'])}  P={point['P']}"
            print(f"{what}  learning rate {point['learning_rate']:g}  ({reached}, {point['seeds']} seeds)")
    print(path)


if __name__ == "__main__":
    sys.exit(main())
