"""Hydra's Optuna sweeper chooses a learning rate: its trials are runs, and it minimises errors on the holdout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from experiments.runs.store import RunStore

pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="Optuna needs the extra: pip install '.[optuna]'")


def test_the_best_rate_of_an_interval(root: Path, tmp_path: Path, tiny_arguments: list[str]) -> None:
    """Four trials, two at a time: what Optuna calls best is the best run of the store, by its error on the holdout."""
    arguments = [word for word in tiny_arguments if not word.startswith("training.learning_rate=")]
    arguments += ["P=8", "nu=2", "training.learning_rate=tag(log,interval(1e-4,1e-1))", f"store={tmp_path / 'store'}"]
    optuna = ["n_trials=4", "n_jobs=2", "sampler.seed=1"]
    hydra = ["hydra/sweeper=optuna", *(f"hydra.sweeper.{word}" for word in optuna), f"hydra.sweep.dir={tmp_path}"]
    command = [sys.executable, "-m", "experiments", "-m", *arguments, *hydra, "hydra.launcher.workers=1"]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    errors = {}
    for run in RunStore(tmp_path / "store").runs():
        result = run.result()
        assert result is not None
        rate = float(run.config()["training"]["learning_rate"])
        errors[rate] = result["by_metric"]["force_mae"]["holdout_error"]
    assert len(errors) == 4
    best = yaml.safe_load((tmp_path / "optimization_results.yaml").read_text())
    assert best["best_params"] == {"training.learning_rate": min(errors, key=lambda one: errors[one])}
    assert best["best_value"] == min(errors.values())
    assert max(errors) > 10 * min(errors)  # it looked around, on a logarithmic scale
