"""The commands of docs/datasets.md, in their order, on copies of the published files; its names and commits."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.data.published import published
from experiments.data.sources import botnet, mlearn
from tests.experiments.data.published_copies import COPIES, needed

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
SMALL = ["data.pool=3", "data.holdout=1", "data.test=2", "data.walkers=3", "data.surrogate=0", "data.warm_up=0"]
"""Appended to the command that generates molecules: a set for a test."""


@needed
def test_commands_run_in_their_order(tmp_path: Path) -> None:
    environment = {**os.environ, "EQUILAW_DATA": str(tmp_path / "data"), "PYTHONPATH": str(ROOT)}
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
    commands = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    assert len(commands) == 8
    for command in commands:
        runs = [path.name for path in (tmp_path / "runs").glob("[0-9a-f]*")]
        words = [str(COPIES) if word == "DIR" else word for word in shlex.split(command)]
        words = [word.replace("runs/ID", f"runs/{runs[0]}") if runs else word for word in words]
        words += [*SMALL, "data.pilot=500", "data.workers=1"] if "molecule" in words else []
        words += ["--seeds=1", "--test-frames=5"] if "info" in words else []
        done = subprocess.run(
            [sys.executable, *words[1:]], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    assert (tmp_path / "card" / "card.png").exists()


def test_every_published_set_is_described() -> None:
    for name in published():
        family = re.sub(r"^(r?md17)_.*", r"`\1_MOLECULE`", name)
        family = re.sub(r"^mlearn_(cu|ge|mo|ni)$", r"`(mlearn)?_\1`", family)
        assert re.search(family if "`" in family else f"`{family}`", PAGE), name


@pytest.mark.parametrize("commit", [botnet._COMMIT, mlearn._COMMIT])
def test_commits_are_those_of_the_program(commit: str) -> None:
    assert f"`{commit}`" in PAGE
