"""The result of a finished run as JSON, with every column of the run table (eV, Å and eV/Å)."""

from __future__ import annotations

import functools
import os
import platform
import resource
import subprocess
import time
from collections.abc import Mapping
from importlib import metadata
from types import MappingProxyType
from typing import Any

from experiments.config.channel_match import ChannelMatch
from experiments.config.run import RunConfig
from experiments.core import files
from experiments.core.gpu import computed_with, machine_facts
from experiments.core.paths import ROOT
from experiments.core.processes import Process
from experiments.data.dataset import AnyDataset, Dataset
from experiments.data.splits import subsets_disjoint, training_subset
from experiments.runs.metric_record import LEARNED_BELOW, MetricErrors
from experiments.runs.problems import problem_of
from experiments.runs.schedules import CANNOT_TELL, CONVERGED, OVERFITTING, Schedules
from experiments.runs.store import Attempt
from experiments.runs.table import setting_columns
from experiments.training.schedule import FEWEST_UPDATES, Schedule

SHORTEST_HALF = 20
"""T/2 of fewer updates is no training: the running means of SOAP's moments alone span 1/(1 − 0.95) of them."""
AT_FLOOR_FROM = 0.75
"""Training error over test error from which a fit in closed form sits on its floor (for curves: `analysis`)."""
ENERGIES_ONLY = "energy_mae"
"""The primary metric of data without forces."""


def result_of(
    config: RunConfig,
    dataset: AnyDataset,
    errors: Schedules,
    facts: Mapping[str, Any],
    validation: Mapping[str, float] = MappingProxyType({}),
    stopped: Schedules | None = None,
) -> dict[str, Any]:
    """Return the content of a run's `result.json`.

    Args:
        config: the run's configuration.
        dataset: the one that it learned from.
        errors: by the run's protocol; without T/2 for a fit in closed form, which is converged by construction.
        facts: n_parameters, n_steps, seconds, device and more, copied into the result.
        validation: errors of the final weights on the validation set by metric; empty if there is no such set.
        stopped: errors by the protocol of validation, whatever the run's own; None without validation frames.
    """
    by_metric = _by_metric(config, dataset, errors, validation, stopped)
    preferred, fitted = problem_of(dataset).primary, config.training is None
    primary_name = preferred if preferred in by_metric else ENERGIES_ONLY
    primary, short = by_metric[primary_name], too_short(config)
    return {
        **_settings(config, dataset),
        "metrics": {name: values["error"] for name, values in by_metric.items()},
        "primary": primary_name,
        "converged": primary["converged"],
        "too_short": short is not None,
        "data_limited": primary["data_limited"],
        "learned": primary["learned"],
        **_weights(config, dataset),
        "verdict": _solved(primary, facts) if fitted else _verdict(primary, short),
        "stopped_steps": None if stopped is None else stopped.steps,
        "n_validation": 0 if stopped is None else stopped.n_validation,
        "by_metric": by_metric,
        **facts,
        **computed_with(str(facts.get("device"))),
        "code_version": code_version(),
        "versions": versions(),
    }


def publish(
    attempt: Attempt,
    config: RunConfig,
    dataset: AnyDataset,
    errors: Schedules,
    facts: Mapping[str, Any],
    validation: Mapping[str, float] = MappingProxyType({}),
    stopped: Schedules | None = None,
) -> None:
    """Write the errors of all test frames, then make this attempt's result the run's; see `result_of`."""
    assert errors.full.frames is not None
    with files.whole(attempt.path / "frame_errors.parquet") as temporary:
        errors.full.frames.to_parquet(temporary)
    attempt.publish(result_of(config, dataset, errors, facts, validation, stopped))


def _settings(config: RunConfig, dataset: AnyDataset) -> dict[str, Any]:
    """Return the columns of the run table that were known before the run."""
    sha256 = dataset.sha256()
    return {
        "run_id": config.run_id(sha256),
        "model_id": config.model_id(sha256),
        "dataset": dataset.name,
        "dataset_sha256": sha256,
        "test_set": dataset.test_set,
        "n_test": len(dataset.test),
        "n_atoms": getattr(dataset.test, "atoms_each", None),
        "architecture": config.architecture,
        "group": config.model.group,
        "L": config.L,
        "nu": config.nu,
        **{name: getattr(config.model, name, None) for name in ("edge_lmax", "n_layers", "channels", "cutoff")},
        "P": config.P,
        "seed": config.seed,
        "subset_seed": config.subset_seed,
        "init_seed": config.init_seed,
        **setting_columns(config.as_dict()),
        "training.tuned": None if config.tuned is None else config.tuned.name,
        "match": config.match.as_dict() if isinstance(config.match, ChannelMatch) else None,
        "subsets_disjoint": subsets_disjoint(len(dataset.pool), config.P, config.subset_seed, dataset.disjoint_seeds),
    }


def _weights(config: RunConfig, dataset: AnyDataset) -> dict[str, Any]:
    """Return the weights that stood in the loss, of frames of atoms: of the energy per atom, the mean over frames."""
    settings: Any = config.model if config.training is None else config.training
    if not isinstance(dataset, Dataset) or not hasattr(settings, "energy_weight"):
        return {}
    chosen = training_subset(dataset, config.P, config.subset_seed, config.model.closed_form)
    atoms = (dataset.labelled.take(chosen).numbers > 0).sum(1)
    given = settings.energy_weight
    weights = {"energy": float(atoms.mean()) / 3 if given is None else given, "force": settings.force_weight}
    late = getattr(settings, "late_energy_weight", None)
    rule = "atoms" if given is None else "given"
    return {"loss_weights": {**weights, "energy_rule": rule, **({} if late is None else {"late_energy": late})}}


def _by_metric(
    config: RunConfig,
    dataset: AnyDataset,
    errors: Schedules,
    validation: Mapping[str, float],
    stopped: Schedules | None,
) -> dict[str, dict[str, Any]]:
    """Return errors and verdicts by metric, each in its `unit`; see `result_of` for the arguments."""
    short = too_short(config) is not None
    problem, mean = problem_of(dataset), mean_errors(config, dataset)
    by_metric: dict[str, dict[str, Any]] = {}
    for name, unit in problem.units.items():
        if name not in errors.full.test or name not in errors.full.train:
            continue  # test or training frames without forces
        quarter, half = (None if one is None else one.test[name].value for one in (errors.quarter, errors.half))
        found = MetricErrors(
            unit=unit,
            test=errors.full.test[name],
            train=errors.full.train[name].value,
            half=half,
            quarter=quarter,
            holdout=validation.get(name),
            mean=mean[name],
            resolution=problem.resolution.get(name, 0.0),
        )
        told = found.told(too_short=short)
        by_metric[name] = found.record(
            converged=half is None or told == CONVERGED,
            told=None if config.training is None or config.training.max_steps < FEWEST_UPDATES else told,
            stopped=_stopped(stopped, name),
        )
    return by_metric


def _stopped(stopped: Schedules | None, metric: str) -> dict[str, float | None]:
    """Return the errors by the protocol of validation of up to T and T/2 updates; None if there are none."""
    both = (None, None) if stopped is None else (stopped.full, stopped.half)
    names = ("error_stopped", "error_stopped_half_budget")
    return {name: None if one is None else one.test[metric].value for name, one in zip(names, both, strict=True)}


def too_short(config: RunConfig) -> str | None:
    """Return in words why T/2 updates are too few to train this run; None if they are not (or without training).

    Both schedules would then end near the initial weights, and their agreement would prove nothing.
    """
    settings = config.training
    if settings is None:
        return None
    schedule = Schedule(settings.max_steps, settings.warmup_steps, settings.cooldown)
    if schedule.half < SHORTEST_HALF:
        return f"T/2 has {schedule.half} updates, fewer than {SHORTEST_HALF}"
    if schedule.branch_point < settings.warmup_steps:
        return (
            f"T/2 cools down from update {schedule.branch_point} on, within the {settings.warmup_steps} of the warm-up"
        )
    if (frames := schedule.half * settings.batch_size) < config.P:
        return f"T/2 sees {frames} of the {config.P} training frames"
    return None


def mean_errors(config: RunConfig, dataset: AnyDataset) -> dict[str, float]:
    """Return the test errors by metric of the input-independent baseline, fitted to the run's own training labels.

    Of molecules (eV per atom, eV/Å) it predicts zero forces and the energy that composition explains.
    """
    chosen = training_subset(dataset, config.P, config.subset_seed, config.model.closed_form)
    return problem_of(dataset).mean_errors(chosen)


def _verdict(primary: Mapping[str, Any], short: str | None) -> str:
    """Return one line on the training, by the primary metric."""
    if short is not None:
        return f"NOT converged, too short: {short}; raise training.max_steps"
    convergence = {
        CANNOT_TELL: "converged or not: cannot tell; a larger training.max_steps would",
        OVERFITTING: "overfitting: more training raises the error; training.stop=validation",
    }.get(primary["verdict"], "converged" if primary["converged"] else "NOT converged: raise training.max_steps")
    return convergence + _learned_nothing(primary)


def _solved(primary: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Return one line on a fit in closed form, which has no training to converge but may sit on a floor."""
    if facts.get("fit", {}).get("ridge_at_floor"):
        text = "solved, at the floor of the arithmetic: the error is larger than the model's own"
    elif primary["train_error"] >= AT_FLOOR_FROM * primary["error"]:
        text = "solved, at its floor: training and test frames err alike; a larger model would help, not more data"
    else:
        text = "solved in closed form"
    return text + _learned_nothing(primary)


def _learned_nothing(primary: Mapping[str, Any]) -> str:
    """Return a warning for a run that is no better than the input-independent baseline; else nothing."""
    if primary["learned"]:
        return ""
    worse = primary["error"] * LEARNED_BELOW > primary["mean_error"]
    return f"; learned nothing: {'worse than' if worse else 'as good as'} the mean"


@functools.cache
def code_version() -> str:
    """Return the commit (with `-dirty` if files differ from it), the package's version outside a checkout, or `unknown`
    for files that were merely copied.
    """
    if not (ROOT / ".git").exists():  # installed; a repository around it is somebody else's
        return _installed_version()
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return _installed_version()


def _installed_version() -> str:
    try:
        return metadata.version("equilaw")
    except metadata.PackageNotFoundError:
        return "unknown"


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the numerical libraries."""
    names = ("torch", "e3nn", "numpy", "scipy")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


RECORDED = ("SLURM_", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "CONDA_DEFAULT_ENV", "VIRTUAL_ENV", "EQUILAW_")
"""Prefixes of the recorded environment variables: the job, the device, the Python environment, own settings."""


def origin() -> dict[str, Any]:
    """Return the origin of a result: machine, its GPUs, process, code, versions, environment."""
    environment = {name: value for name, value in sorted(os.environ.items()) if name.startswith(RECORDED)}
    code = {"code_version": code_version(), "versions": versions()}
    return {**vars(Process.this()), "time": time.time(), **machine_facts(), **code, "environment": environment}


def peak_memory() -> int:
    """Return the largest resident set of this process so far, in bytes (on Linux)."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
