"""Commands start fast: a help and a plan import what they use and no more. In fresh interpreters; no time is taken."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from equilaw import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "e3nn", "scipy", "pandas", "matplotlib", "sklearn", "submitit", "ase.io", "pydantic")
"""Libraries that take from a tenth of a second to four to import (of pydantic its core is enough, a third of that)."""


def modules_after(code: str, cwd: Path = ROOT) -> list[str]:
    """The modules that an interpreter holds once it has run some code."""
    code += "\nimport sys, json\nprint('\\n' + json.dumps(list(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-500:]
    loaded: list[str] = json.loads(ended.stdout.splitlines()[-1])
    return loaded


def test_helps_import_no_library_that_computes() -> None:
    """All in one interpreter: what one of them loads, all are found to have loaded."""
    code = "\n".join([
        "import contextlib, sys, equilaw",
        "from experiments.interop import export",
        f"for name in {list(COMMANDS)!r}:",
        "    with contextlib.suppress(SystemExit):",
        "        code = equilaw.main([name, '--help'])",
        "        assert code == 0, name",
        "sys.argv = ['export', '--help']",
        "with contextlib.suppress(SystemExit):",
        "    export.main()",
    ])  # fmt: skip
    loaded = modules_after(code)
    assert {"analysis.cli", "experiments.interop.convert", "slurm.cli"} <= set(loaded)  # the helps were asked for
    assert [name for name in loaded if name in (*HEAVY, "hydra", "omegaconf", "pydantic_core")] == []


def test_a_plan_imports_only_the_reader_of_its_data(tmp_path: Path) -> None:
    words = ["-m", "data=star", "model=ace", "P=4,8", "hydra.launcher.submit=false", f"store={tmp_path / 'runs'}"]
    code = f"import sys\nfrom experiments.__main__ import main\nsys.argv = ['x', *{words!r}]\nassert main() == 0"
    loaded = modules_after(code)
    sources = "experiments.data.sources."
    assert [name for name in loaded if name.startswith(sources)] == [f"{sources}star"]
    assert [name for name in loaded if name in HEAVY] == []
