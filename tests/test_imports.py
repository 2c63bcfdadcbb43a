"""Who may import whom: the store and the analysis without torch, and data that flow one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TORCH_FREE = (
    "experiments.models.contract", "experiments.models.registry", "experiments.core.plugins",
    "experiments.config.run", "experiments.config.parse", "experiments.config.training",
    "experiments.config.channel_match",
    "experiments.data.sources.polynomial_teacher", "experiments.data.load", "experiments.core.schema",
    "experiments.core.errors", "experiments.core.files", "experiments.core.processes", "experiments.core.leases",
    "experiments.core.command", "experiments.runs.store", "experiments.runs.table", "experiments.core.interrupt",
    "experiments.data.dataset", "experiments.runs.trackers", "experiments.data.sources.extxyz",
    "experiments.data.sources.star", "experiments.data.splits", "experiments.data.neighbours",
    "experiments.runs.measure_distances", "experiments.data.distances", "experiments.data.download",
    "experiments.data.checks", "experiments.data.card", "experiments.data.published", "experiments.data.__main__",
    "experiments.data.shared_graph", "experiments.runs.tune", "experiments.config.tuned_rates", "slurm.grid",
    "hydra_plugins.equilaw", "slurm.cli", "slurm.jobs.status", "slurm.jobs.table", "slurm.jobs.actions",
    "slurm.jobs.scheduler", "slurm.cluster.command_line", "slurm.jobs.ledger", "slurm.launcher", "slurm.jobs.submit",
    "slurm.jobs.wait", "slurm.jobs.job", "slurm.jobs.script",
)  # fmt: skip


def modules(package: str) -> list[str]:
    """Names of all modules of a package, without `__main__`."""
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] != "__main__":
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


def imports(path: Path) -> Iterator[str]:
    """Every module that a file names in an import, also inside functions; relative ones are not used here."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def test_importing_them_loads_no_torch() -> None:
    """In a fresh interpreter, all at once: analysis, the store, the configuration, the readers of frames.

    Nor statsmodels, which few commands call.
    """
    names = [*TORCH_FREE, *modules("analysis")]
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        "    heavy = [m for m in ('torch', 'e3nn', 'statsmodels') if m in sys.modules]\n"
        "    training = [m for m in sys.modules if m.startswith('experiments.training.')]\n"
        "    heavy += [m for m in training if m != 'experiments.training.schedule']\n"  # arithmetic
        "    assert not heavy, f'{name} imports {heavy}'\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-500:]


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_experiments_know_neither_launchers_nor_analysis(path: Path) -> None:
    wrong = [name for name in imports(path) if inside(name, "slurm") or inside(name, "analysis")]
    assert not wrong


@pytest.mark.parametrize("path", sorted((ROOT / "analysis").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_analysis_knows_runs_and_nothing_that_trains(path: Path) -> None:
    """Torch nowhere, also not inside a function; of experiments only what reads a store."""
    allowed = [
        f"experiments.{name}" for name in (
            "runs.store", "core.errors", "core.states", "runs.table", "core.files", "core.command", "core.paths",
            "core.plugins", "core.wording",
        )
    ]  # fmt: skip
    allowed += ["experiments.data.distances"]  # metrics between frames, for a file of frames
    for name in imports(path):
        assert not inside(name, "torch"), name
        assert not inside(name, "slurm"), name
        if inside(name, "experiments"):
            assert any(inside(name, a) or inside(a, name) for a in allowed), name


def test_launchers_know_no_analysis() -> None:
    for path in (ROOT / "slurm").rglob("*.py"):
        assert not [name for name in imports(path) if inside(name, "analysis")], path
