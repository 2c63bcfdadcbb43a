"""Installed, as a wheel and from a checkout, the program works in any directory and brings all that it needs.

A fresh environment sees the packages of this one, but not the way in which this one finds the program: a `.pth` file
names their directory, and Python does not read the `.pth` files there.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("setuptools", reason="wheels are built without a network, by the setuptools that is here")
PACKAGES = ("experiments", "slurm", "analysis", "benchmarks")
STAR = ("data=star", "data.pool=40", "data.holdout=4", "data.test=4", "model=ace", "store=x")
FRAMES = """2
Properties=species:S:1:pos:R:3:forces:R:3 energy={energy}
H 0.0 0.0 0.0 {force} 0.0 0.0
H {r} 0.0 0.0 -{force} 0.0 0.0
"""


@dataclass(frozen=True)
class Installed:
    """An environment with the program in it, and where its packages must come from."""

    bin: Path
    source: Path

    def run(self, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment in `folder`, without PYTHONPATH."""
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        environment |= {"OMP_NUM_THREADS": "1", "EQUILAW_DATA": str(folder / "cache")}
        ended = subprocess.run(
            [str(self.bin / words[0]), *words[1:]], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert ended.returncode == 0, f"{words}: {ended.stdout}{ended.stderr}"
        return ended


def command(*words: str) -> None:
    ended = subprocess.run(words, capture_output=True, text=True)
    assert ended.returncode == 0, f"{words}: {ended.stdout}{ended.stderr}"


def fresh(path: Path) -> Path:
    """Make an environment that sees this one's packages; returns its `bin`."""
    command(sys.executable, "-m", "venv", "--without-pip", str(path))
    (site,) = path.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return path / "bin"


@pytest.fixture(scope="module")
def checkout(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is packaged: building leaves files beside the sources."""
    path = tmp_path_factory.mktemp("checkout")
    for name in (*PACKAGES, "hydra_plugins", "conf"):
        shutil.copytree(root / name, path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("equilaw.py", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(root / name, path / name)
    return path


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(request: pytest.FixtureRequest, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    path = tmp_path_factory.mktemp(request.param)
    programs = fresh(path / "environment")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    into = (*pip, "--python", str(programs / "python"), "install", "--no-deps", "--no-index", "--no-build-isolation")
    if request.param == "editable":
        command(*into, "--editable", str(checkout))
        return Installed(programs, checkout)
    command(*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(path), str(checkout))
    (wheel,) = path.glob("equilaw-*.whl")
    command(*into, str(wheel))
    (site,) = (path / "environment").glob("lib/python*/site-packages")
    return Installed(programs, site)


@pytest.mark.long
def test_packages_are_those_installed(installed: Installed, tmp_path: Path) -> None:
    names = [*PACKAGES, "equilaw", "hydra_plugins.equilaw"]
    code = f"import importlib, json; print(json.dumps([importlib.import_module(n).__file__ for n in {names}]))"
    places = json.loads(installed.run(tmp_path, "python", "-c", code).stdout)
    assert [place for place in places if not Path(place).is_relative_to(installed.source)] == []


@pytest.mark.long
def test_files_that_are_no_modules_came_along(installed: Installed, tmp_path: Path) -> None:
    """The C++ source of the native operator, the pages of the report, geometries, and every file of conf/."""
    code = (
        "import json\nfrom pathlib import Path\nimport analysis, experiments\nfrom experiments.core.paths import CONF\n"
        "roots = [Path(p.__file__).parent for p in (experiments, analysis)]\n"
        "found = {str(f.relative_to(r)) for r in roots for f in r.rglob('*') if f.suffix not in ('.py', '.pyc')}\n"
        "print(json.dumps([sorted(found), sorted(str(f.relative_to(CONF)) for f in CONF.rglob('*.yaml'))]))\n"
    )
    found, conf = json.loads(installed.run(tmp_path, "python", "-c", code).stdout)
    root = Path(__file__).resolve().parent.parent
    assert conf == sorted(str(f.relative_to(root / "conf")) for f in (root / "conf").rglob("*.yaml"))
    needed = {"nn/native/sparse_product.cpp", "report/page.html", "report/page.css", "report/page.js"}
    needed |= {f"data/sampling/geometries/{name}.xyz" for name in ("aspirin", "malonaldehyde", "acetylacetone")}
    assert needed <= set(found)


@pytest.mark.long
def test_a_run_a_sweep_and_their_analysis_in_an_empty_directory(installed: Installed, tmp_path: Path) -> None:
    """All paths are of that directory, and nothing else is written."""
    assert installed.run(tmp_path, "equilaw", "--version").stdout.startswith("equilaw ")
    installed.run(tmp_path, "equilaw", "run", *STAR, "P=4")
    plan = installed.run(tmp_path, "equilaw", "plan", *STAR, "P=4,8").stdout.splitlines()
    assert [line.split()[-1] for line in plan] == ["done", "queued"]
    installed.run(tmp_path, "equilaw", "sweep", *STAR, "P=4,8,16,32", "hydra.launcher.workers=1")
    installed.run(tmp_path, "python", "-m", "analysis", "table", "--store", "x", "--csv", "x.csv")
    with open(tmp_path / "x.csv") as file:
        assert {row["P"] for row in csv.DictReader(file)} == {"4", "8", "16", "32"}
    installed.run(tmp_path, "equilaw", "fit", "--table", "x.csv", "--json", "fits.json")
    installed.run(tmp_path, "equilaw", "report", "--table", "x.csv", "--out", "x.html")
    installed.run(tmp_path, "python", "-m", "slurm", "status", "--store", "x")
    made = {path.name for path in tmp_path.iterdir()} - {"cache"}
    assert made == {"x", "x.csv", "fits.json", "x.html"}


@pytest.mark.long
def test_files_of_frames_are_of_that_directory_for_workers_too(installed: Installed, tmp_path: Path) -> None:
    """A relative path in a configuration is read by the worker processes of a sweep."""
    for name, count in (("train", 12), ("test", 4)):
        radii = [0.7 + 0.02 * n for n in range(count)]
        text = (
            FRAMES.format(r=f"{r:.3f}", energy=f"{(r - 0.8) ** 2:.6f}", force=f"{2 * (r - 0.8):.6f}") for r in radii
        )
        (tmp_path / f"{name}.xyz").write_text("".join(text).replace("--", ""))
    keys = ("data=extxyz", "data.train=train.xyz", "data.test=test.xyz", "model=ace", "store=x")
    installed.run(tmp_path, "equilaw", "sweep", *keys, "P=4,8", "hydra.launcher.workers=1")
    assert len(list((tmp_path / "x").glob("*/result.json"))) == 2
