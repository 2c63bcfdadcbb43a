"""+sweep=budget_check from its command to the sentence about β, on real, short, eager runs of the star."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.cli import main


def command(root: Path, *arguments: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=root, capture_output=True, text=True, timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture
def tiny(tiny_arguments: list[str], tmp_path: Path) -> list[str]:
    """The tiny runs with invariant messages, ten times their rate."""
    kept = [argument for argument in tiny_arguments if not argument.startswith("training.learning_rate")]
    return [*kept, "L=0", "nu=2", "P=4,8", f"store={tmp_path / 'store'}", "training.learning_rate=3e-2"]


def test_the_plan_is_nine_curves_around_what_is_set(root: Path, tiny: list[str], tmp_path: Path) -> None:
    plan = command(root, "experiments", "+sweep=budget_check", *tiny, "seed=0", "hydra.launcher.submit=false")
    lines = [line for line in plan.splitlines() if "curve" in line]
    assert len(lines) == 18
    assert len({line.split("curve ")[1].split()[0] for line in lines}) == 9
    assert not (tmp_path / "store").exists()


def test_from_the_sweep_to_the_sentence(
    root: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Budgets of 12, 24 and 48 updates: T/2 of the first two is too short for a verdict."""
    grid = ["seed=0,1", "training.rate_factor=0.5,1", "hydra.launcher.workers=1"]
    command(root, "experiments", "+sweep=budget_check", *tiny, *grid)
    store, out, fits = str(tmp_path / "store"), tmp_path / "compare.json", tmp_path / "fit.json"
    assert main(["compare", "--store", store, "--by", "training.max_steps", "--json", str(out)]) == 0
    assert "from training.max_steps=12 to training.max_steps=24" in capsys.readouterr().out
    comparisons = [entry for entry in json.loads(out.read_text()) if entry["metric"] == "force_mae"]
    budgets = {(e["first"]["training.max_steps"], e["second"]["training.max_steps"]) for e in comparisons}
    assert budgets == {(12, 24), (12, 48), (24, 48)}
    assert len(comparisons) == 6  # at each of the two rates
    for entry in comparisons:
        assert entry["first"]["training.learning_rate"] == entry["second"]["training.learning_rate"]
        assert entry["first"]["model_id"] != entry["second"]["model_id"]
        assert "first" in entry["not_converged"]
    assert main(["compare", "--store", store, "--by", "training.learning_rate"]) == 0
    assert "from training.learning_rate=0.015 to training.learning_rate=0.03" in capsys.readouterr().out
    assert main(["fit", "--store", store, "--forms", "power", "--json", str(fits)]) == 0
    for entry in json.loads(fits.read_text()):
        short = entry["training.max_steps"] < 40
        assert ("too_short" in entry["flags"]) == short
        assert entry["verdict"] == "not_converged" or not short
