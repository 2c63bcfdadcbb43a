"""Files of a user are found from any directory, under any name, and after store and data moved together."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.core.errors import InputError
from experiments.core.paths import given, importable
from experiments.data.dataset import Frames
from experiments.data.sources.extxyz import write_frames
from slurm.from_words import configs_of

NEAREST = ("P=4", "model=nearest", "data=extxyz")


def command(where: Path, *words: str, home: Path | None = None) -> str:
    """What `python -m WORDS` prints in a directory; it must succeed."""
    environment = {**os.environ, **importable(), "OMP_NUM_THREADS": "1"}
    if home is not None:
        environment["HOME"] = str(home)
    ended = subprocess.run(
        [sys.executable, "-m", *words], cwd=where, capture_output=True, text=True, timeout=300, env=environment
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path / "work" / "it's (v2) T=300K Müller, #1"
    folder.mkdir(parents=True)
    for name, count in (("train", 12), ("test", 5)):
        x = np.array([[0.0, 0.0, 0.12], [0.0, 0.76, -0.47], [0.0, -0.76, -0.47]]) + 0.03 * rng.standard_normal(
            (count, 3, 3)
        )
        frames = Frames(
            numbers=np.tile([8, 1, 1], (count, 1)),
            positions=x,
            energies=rng.standard_normal(count),
            forces=rng.standard_normal((count, 3, 3)),
            cells=np.zeros((count, 3, 3)),
            pbc=np.zeros((count, 3), bool),
        )
        write_frames(folder / f"{name}.xyz", frames)
    return folder


def errors(store: Path) -> dict[str, float]:
    (result,) = store.glob("*/result.json")
    found: dict[str, float] = json.loads(result.read_text())["metrics"]
    return found


def test_relative_paths_of_any_letters_alone_in_a_sweep_and_later_from_elsewhere(data: Path, tmp_path: Path) -> None:
    work = data.parent
    files = [f"data.{part}={data.name}/{part}.xyz" for part in ("train", "test")]
    command(work, "experiments", *NEAREST, *files, "store=alone")
    command(work, "experiments", "-m", *NEAREST, *files, "store=sweep", "hydra.launcher.workers=1")
    assert errors(work / "alone") == errors(work / "sweep")
    (run,) = (path.parent for path in (work / "alone").glob("*/result.json"))
    assert "on the 5 examples of test" in command(Path("/"), "experiments.runs.evaluate", str(run))
    shutil.move(work, tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere" / run.relative_to(work)
    assert "on the 5 examples of test" in command(Path("/"), "experiments.runs.evaluate", str(moved))


def test_home_is_replaced_whatever_shell_or_file_leaves_it(data: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    for part in ("train", "test"):
        shutil.copy(data / f"{part}.xyz", home / "data")
    files = ["data.train=~/data/train.xyz", "data.test='~/data/test.xyz'"]
    command(data, "experiments", *NEAREST, *files, "store=~/runs", home=home)
    assert errors(home / "runs")
    assert sorted(p.name for p in data.iterdir()) == ["test.xyz", "train.xyz"]


@pytest.mark.parametrize("path", ["x" * 256, "ä" * 128, "a/" * 2048 + "b"])
@pytest.mark.parametrize("key", ["plugins", "store", "data.train", "+data.tests.other"])
def test_a_path_that_no_file_can_have_is_refused_in_one_line(path: str, key: str) -> None:
    """Not by an error of the system, from wherever it is asked for first."""
    words = {"data.train": "here.xyz", "data.test": "there.xyz", key: path}
    with pytest.raises(InputError, match=r"^the path [^\n]*: \d+ characters; accepted: [^\n]*$"):
        configs_of([*NEAREST, *(f"{key}='{value}'" for key, value in words.items())])


def test_a_path_with_a_zero_byte_is_refused() -> None:
    with pytest.raises(InputError, match="zero bytes"):
        given("here\0there")
