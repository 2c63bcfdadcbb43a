"""`fetch` of generated sets, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.data.__main__ import main, section_of
from experiments.data.load import load
from experiments.data.offline import offline


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EQUILAW_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_fetch_makes_generated_sets(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So that no compute node has to: a plan finds them where they are expected."""
    small = ["data.pool=3", "data.holdout=1", "data.test=2", "data.walkers=3", "data.surrogate=0"]
    quick = ["data.warm_up=0", "data.pilot=500", "data.workers=1"]
    assert main(["fetch", "molecule", "data.molecule=water", *small, *quick]) == 0
    assert f"molecule: 3 training and 2 test examples, in {root}" in capsys.readouterr().out
    section = section_of("molecule", ["data.molecule=water", *small, *quick])
    with offline():
        assert len(load(section).pool) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["molecule"], "molecule: data.molecule: missing; accepted: data.molecule=VALUE beside the name"),
        (["star", "data.pol=4"], "data.pol: unknown key"),
        (["star", "data.pool=0"], "data.pool=0: accepted: an integer ≥ 1"),
        (["star", "acac", "data.pool=9"], "data.pool=9: acac is published, with all its files; accepted: for"),
        (["star", "--from", "."], "--from .: star is generated; accepted: for published sets"),
        (["extxyz"], "extxyz: neither published nor generated; accepted: 3bpa, acac"),
        (["data.pool=9"], "data.pool=9: accepted: names of data sets before it"),
    ],
)
def test_what_fetch_cannot_do(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", *words]) == 2
    said = capsys.readouterr()
    assert f"equilaw: {message}" in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)
