"""Small inputs and commands that people met faults with (../shared/cases), each with the outcome that they expected."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from experiments.core.paths import ROOT

CASES = ROOT.parent / "shared" / "cases"
AS_PUBLISHED = """\
import json, pathlib
from experiments.__main__ import main
from experiments.data.sources import botnet
botnet._SHA256.update(json.loads(pathlib.Path("hashes.json").read_text()))
raise SystemExit(main())
"""
"""A command whose files, which imitate published ones, count as these."""
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is not there")


@dataclass(frozen=True)
class Expected:
    """What a case's output (both streams) says: patterns of `re`, multiline, with the number of times of each."""

    code: int
    says: dict[str, int]
    never: str = "(?!)"
    replaced: tuple[str, str] = ("", "")
    """Words of the command that have other names now, or that only repeat it."""


FORCES = r"force_mae +772\.154 meV/Å"
EXPECTED = {  # the code is that of the last command: `find` has no folder "~" to find in 26
    "01-relative-path-sweep": Expected(0, {"1 of 1 runs done$": 1}),
    "04-evaluate-from-elsewhere": Expected(
        0, {r"772\.154": 2}, replaced=("experiments.evaluate", "experiments.runs.evaluate")
    ),
    "06-isolated-atoms-in-train": Expected(0, {r"force_mae +\d\d\.\d+ meV/Å": 1}, "baseline", ("0 1 2 3 4", "0")),
    "08-hartree-pseudopotential": Expected(0, {r"data\.train=.*Hartree/Bohr or Rydberg": 1}),
    "10-acac-dihedral": Expected(0, {"energy_mae": 1}, "force_mae", ("-m experiments", "as_published.py")),
    "11-submit-from-inside-an-allocation": Expected(0, {"1 submitted in 1 job": 1}, "^SLURM_(?!CONF|TIME_FORMAT)"),
    "12-sbatch-prints-a-banner": Expected(
        0, {"job 4242: 1 pack, 1 run": 1, "1 queued or running, 0 submitted": 1}, "Welcome"
    ),
    "13-learned-memory-beside-mem-per-cpu": Expected(0, {"^#SBATCH --mem-per-cpu=900M$": 1}, "^#SBATCH --mem="),
    "15-accuracy-as-error": Expected(2, {"'accuracy' is better when larger": 2}, "rises"),
    "16-all-forces-zero": Expected(0, {r"data\.train=.*all forces are zero.*data\.forces_key=null": 1}),
    "18-duplicates-ignore-the-cell": Expected(0, {"force_mae": 1}, "repeat|are also in"),
    "19-MPLBACKEND-of-a-notebook": Expected(0, {r"^r\.html$": 1, r"^figures/learning_curves\.pdf$": 1}),
    "21-dollar-signs-in-names": Expected(0, {r"^figures/learning_curves\.pdf$": 1}),
    "23-closed-pipe": Expected(0, {r"\A.*\n\Z": 1}),
    "24-curve-by-is-not-shown": Expected(0, {"MACE, optimizer=adam ": 2, "MACE, optimizer=sgd ": 2, "^[1-9]$": 1}),
    "25-NA-in-optional-columns": Expected(0, {r" 0\.51 \[": 1}, "bad row"),
    "26-tilde-in-store": Expected(1, {FORCES: 2, "^exit 0$": 1, "^home/runs$": 1}, "^~"),
    "28-special-characters-in-paths": Expected(0, {FORCES: 5}),
    "31-numbers-where-texts-are-meant": Expected(0, {"1 to submit": 1, "^2024/[0-9a-f]{12}: solved": 1}),
    "32-semicolons-and-decimal-commas": Expected(0, {r" 0\.51 \[": 3}),
    "34-species-that-are-no-elements": Expected(2, {"frame 0 .*no chemical symbol": 3}),
    "35-several-compositions-at-small-P": Expected(
        2, {"P=1, .*training frames hold no": 2, "P=2, .*training frames hold no C": 1}, "runs done"
    ),
    "38-line-separators-in-comments": Expected(0, {"force_mae": 1}),
    "40-false-and-empty-sbatch-flags": Expected(0, {"^#SBATCH --exclusive$": 1}, "exclusive="),
    "42-gres-beside-gpus-per-node": Expected(0, {"^#SBATCH --gpus-per-node=a100:2$": 1}, "^#SBATCH --gres"),
    "44-argon-lengths-in-Bohr": Expected(0, {"force_mae": 1}, r"lengths in Bohr\?"),
}  # fmt: skip
"""The runs of 06 need not have the numbers of its `expected`, which are of an earlier schedule of training."""
LONG = {"05-same-folder-and-file-name": Expected(2, {"no two curves of one dataset": 1}, "rises|falls")}


def run(name: str, expected: Expected, folder: Path) -> str:
    """Run a case's command in a copy of its folder, hold its output against what is expected, and return it."""
    here = folder / name
    shutil.copytree(CASES / name, here)
    published = {
        str(file.relative_to(here / "data")): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in (here / "data").rglob("*.xyz")
    }
    (here / "hashes.json").write_text(json.dumps(published), encoding="utf-8")
    (here / "as_published.py").write_text(AS_PUBLISHED, encoding="utf-8")
    old, new = expected.replaced
    command = (here / "cmd").read_text(encoding="utf-8")
    assert old in command
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_"))},
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    ended = subprocess.run(
        ["bash", "-c", command.replace(old, new, 1) if old else command],
        cwd=here,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
    )
    said = ended.stdout
    assert "Traceback" not in said, said
    assert ended.returncode == expected.code, said
    for pattern, times in expected.says.items():
        assert len(re.findall(pattern, said, re.MULTILINE)) == times, (pattern, said)
    assert not re.search(expected.never, said, re.MULTILINE), said
    return said


@pytest.mark.parametrize("name", EXPECTED)
def test_case(name: str, tmp_path: Path) -> None:
    run(name, EXPECTED[name], tmp_path)
    if name.startswith("31"):
        (script,) = (tmp_path / name / "runs" / "slurm").glob("*/array-0.sh")
        assert "#SBATCH --account=12345" in script.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", LONG)
def test_case_of_many_runs(name: str, tmp_path: Path) -> None:
    run(name, LONG[name], tmp_path)


def test_every_case_is_here() -> None:
    assert {folder.name for folder in CASES.iterdir() if folder.is_dir()} == {*EXPECTED, *LONG}
