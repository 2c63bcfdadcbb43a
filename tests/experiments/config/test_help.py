"""The help that is put together without Hydra is the one that Hydra would print."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from experiments.config.help import composed, help_text


def test_help_is_hydras(root: Path) -> None:
    """Hydra prints it for a help with a key, here one with its default."""
    words = [sys.executable, "-m", "experiments", "--help", "P=100"]
    ended = subprocess.run(words, cwd=root, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert help_text() + "\n" == ended.stdout


def test_files_of_the_defaults_come_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "any.yaml").write_text("source: a\nsize: 1\n")
    (tmp_path / "data" / "one.yaml").write_text("defaults: [any, _self_]\nsize: 2\n")
    head = "defaults: [{data: one}, _self_, {cell: null}, {override hydra/x: y}]\n"
    (tmp_path / "config.yaml").write_text(head + "P: 100\n")
    assert composed(tmp_path / "config.yaml") == {"data": {"source": "a", "size": 2}, "P": 100}
