"""`python -m experiments` as a user calls it: exit codes, one line for bad input, nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.runs.store import RunStore
from experiments.runs.table import COLUMNS, run_table
from tests.experiments.finished import configuration


def command(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "experiments", *arguments], cwd=root, capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


BAD: list[tuple[list[str], str]] = [
    (["P=61"], "P=61: the pool holds 60 frames"),
    (["P=many"], "P='many': accepted: an integer ≥ 1"),
    (["-m", "L=0,9", "nu=2,x"], "L=9: accepted: an integer from 0 to 3"),
    (["model=nequip2"], "model=nequip2: no such choice (did you mean nequip?); accepted: "),
    (["training.max_stepz=3"], "training.max_stepz: unknown key"),
    (["--P", "8"], "--P: no such option; accepted: KEY=VALUE, as P=16, and -m for a sweep of several values"),
    (["store=${HOME}/runs"], "store: ${HOME}: no such key; accepted: a key, as ${P}; an environment variable is $HOME"),
    (["data=null", "model=nequip2"], "data=null: no such choice; accepted: "),
    (["-m", "P=61,4"], "P=61: the pool holds 60 frames"),
]
MANY = ["model=mcae", "training.max_step=3", "data.n_neighbors=4", "L=7", "nu=0"]
"""Two of Hydra's mistakes, one of the data's, two of the model's, which is the default one."""


@pytest.mark.parametrize("more", [[], ["-m", "seed=0,-1"]], ids=["run", "sweep"])
def test_all_mistakes_of_a_command_line_come_at_once(root: Path, tmp_path: Path, more: list[str]) -> None:
    ended = command(root, "data=star", f"store={tmp_path / 'store'}", *MANY, *more)
    assert ended.returncode == 2
    subjects = sorted(line.removeprefix("equilaw: ").split(": ")[0] for line in ended.stderr.splitlines())
    assert subjects == sorted(
        [word if word.startswith(("model", "L", "nu")) else word.split("=")[0] for word in MANY]
        + (["seed=-1"] if more else [])
    )
    assert "(did you mean mace?)" in ended.stderr
    assert "(did you mean training.max_steps?)" in ended.stderr
    assert "(did you mean data.n_neighbours?)" in ended.stderr


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(a) for a, _ in BAD])
def test_bad_input(tiny_arguments: list[str], root: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    """One line for each mistake on standard error, exit code 2, and no store."""
    ended = command(root, *tiny_arguments, f"store={tmp_path / 'store'}", *arguments)
    assert ended.returncode == 2, ended.stderr
    lines = ended.stderr.splitlines()
    assert any(line.startswith(f"equilaw: {message}") for line in lines), ended.stderr
    assert all(line.startswith("equilaw: ") for line in lines)
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "store").exists()


def test_a_short_run_is_eager_and_says_so(tiny_arguments: list[str], root: Path, tmp_path: Path) -> None:
    """Nothing is compiled, and the result has the kind of its step."""
    ended = command(root, *tiny_arguments, f"store={tmp_path / 'store'}", "P=4", "training.compile=auto")
    assert ended.returncode == 0, ended.stderr
    assert [line for line in ended.stderr.splitlines() if line.startswith("equilaw: ")] == [
        "equilaw: the step is not compiled, which takes about a minute of one core and pays from "
        "training.max_steps=1500 on"
    ]
    ((_, result),) = RunStore(tmp_path / "store").results()
    assert result.get("step") == "eager"


@pytest.mark.parametrize(
    ("words", "compiled"),
    [
        (["P=4"], "compiles 1 shape, once a machine, in about a minute of one core"),
        (["-m", "P=4,8", "L=0,1"], "compiles 2 shapes, once a machine, in about a minute of one core each"),
        (["P=4,8", "training.max_steps=99"], "trains 2 runs without compiling, which pays from max_steps=1500 on"),
        (["-m", "data=ethanol,star", "P=4,8"], "compiles at most 2 shapes, once a machine, in about a minute of"),
        (["hydra/sweeper=optuna", "L=0,1"], ""),
        (["model=ace", "nu=1"], ""),
    ],
    ids=" ".join,
)
def test_a_printed_configuration_says_what_is_compiled(root: Path, words: list[str], compiled: str) -> None:
    """On standard error, with the values that a sweep has in place of those that are printed; nothing is loaded."""
    ended = command(root, "--cfg", "job", *words)
    assert ended.returncode == 0, ended.stderr
    assert yaml.safe_load(ended.stdout).keys() >= {"P", "data", "model"}
    lines = ended.stderr.splitlines()
    assert [line for line in lines if line.startswith("equilaw: swept")] == (
        [f"equilaw: swept, so that what is above has other values: {' '.join(swept)}"]
        if (swept := [word for word in words if "," in word])
        else []
    )
    told = [line for line in lines if not line.startswith("equilaw: swept")]
    assert [line.startswith(f"equilaw: {compiled}") for line in told] == ([True] if compiled else [])


def test_a_printed_configuration_that_no_run_accepts(root: Path) -> None:
    """It is printed all the same, and its mistake told."""
    ended = command(root, "--cfg", "job", "L=9", "--package", "L")
    assert (ended.returncode, ended.stdout) == (2, "9\n")
    assert ended.stderr.splitlines() == ["equilaw: L=9: accepted: an integer from 0 to 3"]


def test_a_finished_run_is_answered_without_torch(root: Path, tmp_path: Path) -> None:
    """Its import takes longer than all else that the answer needs."""
    data = configuration(tmp_path, "ace")["data"]
    words = ["data=extxyz", f"data.train={data['train']}", f"data.test={data['test']}", "model=ace", "nu=1", "P=8"]
    words = [*words, f"store={tmp_path / 'store'}"]
    first = command(root, *words)
    assert first.returncode == 0, first.stderr
    told = "import sys; from experiments.__main__ import main; assert main() == 0; assert 'torch' not in sys.modules"
    again = subprocess.run([sys.executable, "-c", told, *words], cwd=root, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout


@pytest.mark.parametrize("arguments", [[], ["-m"], ["--multirun"]], ids=" ".join)
def test_the_bare_command_says_how_it_is_used(root: Path, arguments: list[str]) -> None:
    """And trains nothing, which the default configuration would for minutes; the exit code is that of bad input."""
    ended = command(root, *arguments)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith("usage: python -m experiments ")
    assert ended.stdout == ""


def test_store_that_cannot_be(tiny_arguments: list[str], root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = command(root, *tiny_arguments, f"store={tmp_path}/file/runs")
    assert ended.returncode == 2
    assert f"store={tmp_path}/file/runs: {tmp_path}/file is no directory; accepted: a directory" in ended.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_run_and_a_sweep_and_both_again(tiny_arguments: list[str], root: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    ended = command(root, *tiny_arguments, f"store={store}", "P=4", "L=1", "nu=2")
    assert ended.returncode == 0, ended.stderr
    assert "force_mae" in ended.stdout
    (run,) = RunStore(store).runs()
    result: dict[str, Any] = json.loads((run.path / "result.json").read_text())
    assert result["metrics"].keys() == {"force_mae", "force_rmse", "energy_mae", "energy_rmse"}
    assert isinstance(result["converged"], bool)

    sweep = (*tiny_arguments, "-m", f"store={store}", "P=4,8", "L=1", "nu=2", "seed=0", "hydra.launcher.workers=1")
    planned = command(root, *sweep, "hydra.launcher.submit=false")
    assert planned.returncode == 0, planned.stderr
    assert [line.split()[-1] for line in planned.stdout.splitlines()] == ["done", "queued"]
    assert len(RunStore(store).runs()) == 1  # a plan makes nothing
    ended = command(root, *sweep)
    assert ended.returncode == 0, ended.stderr
    assert [r.latest_attempt() for r in RunStore(store).runs()] == [1, 1]
    stamps = {r.id: (r.path / "result.json").stat().st_mtime_ns for r in RunStore(store).runs()}
    assert command(root, *sweep).returncode == 0
    assert stamps == {r.id: (r.path / "result.json").stat().st_mtime_ns for r in RunStore(store).runs()}

    table = run_table(RunStore(store))
    assert tuple(table.columns)[: len(COLUMNS)] == COLUMNS
    assert {"model.n_bessel", "training.ema_decay"} < set(table.columns)
    assert len(table) == 8
    assert table["P"].tolist() == [4] * 4 + [8] * 4
    assert table["model_id"].nunique() == 1
