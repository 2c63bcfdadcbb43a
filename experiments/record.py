"""What a finished run leaves: its result as JSON, with every column of the run table (eV, Å and eV/Å)."""

from __future__ import annotations

import functools
import math
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from experiments.config import RunConfig
from experiments.data.dataset import Dataset
from experiments.data.splits import subsets_disjoint
from experiments.tasks.metrics import UNITS
from experiments.training.evaluate import Evaluation

CONVERGED_WITHIN = 0.10
"""A run counts as converged where half the budget costs less than this share of its error: over P in 16…256 a
larger excess at the largest P alone shifts β by more than ln(1.1)/ln(16) ≈ 0.03. The verdict on a curve, which
compares β from both budgets with β's own standard error, is the analysis's."""
DATA_LIMITED_BELOW = 1 / 3
"""A run is limited by its data where its training error is under this share of its test error."""
PRIMARY = "force_mae"


def result_of(
    config: RunConfig,
    dataset: Dataset,
    full: Evaluation,
    half: Evaluation | None,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """The result of a run.

    Args:
        full, half: errors of the schedules of T and T/2; without the latter the fit is in closed form, and
            converged by construction.
        facts: n_parameters, n_steps, seconds, device and what else is worth keeping.
    """
    sha256 = dataset.sha256()
    by_metric: dict[str, dict[str, Any]] = {}
    for name, unit in UNITS.items():
        error, train = full.test[name], full.train[name].value
        before = None if half is None else half.test[name].value
        by_metric[name] = {
            "unit": unit,
            "error": error.value,
            "error_test_sem": error.sem if math.isfinite(error.sem) else None,  # of a single frame there is none
            "train_error": train,
            "error_half_budget": before,
            "converged": before is None or abs(before - error.value) <= CONVERGED_WITHIN * error.value,
            "data_limited": train < DATA_LIMITED_BELOW * error.value,
        }
    pool = len(dataset.pool)
    return {
        "run_id": config.run_id(sha256),
        "model_id": config.model_id(sha256),
        "dataset": dataset.name,
        "dataset_sha256": sha256,
        "test_set": dataset.test_set,
        "architecture": config.model.architecture,
        "group": "E(3)",
        "L": config.L,
        "nu": config.nu,
        **{name: getattr(config.model, name, None) for name in ("edge_lmax", "n_layers", "channels", "cutoff")},
        "P": config.P,
        "seed": config.seed,
        "subset_seed": config.subset_seed,
        "init_seed": config.init_seed,
        "subsets_disjoint": subsets_disjoint(pool, config.P, config.subset_seed, dataset.disjoint_seeds),
        "metrics": {name: values["error"] for name, values in by_metric.items()},
        "converged": by_metric[PRIMARY]["converged"],
        "data_limited": by_metric[PRIMARY]["data_limited"],
        "by_metric": by_metric,
        **facts,
        "code_version": code_version(),
        "versions": versions(),
    }


@functools.cache
def code_version() -> str:
    """The commit (with ``-dirty`` where files differ from it), or the package's version outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return metadata.version("equilaw")


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what computes."""
    names = ("torch", "e3nn", "numpy", "scipy")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}
