"""Errors of finished runs on other test sets than `data.test`, as files beside the result (torch-free).

`<run>/evaluations/<test set>-<digest of its content>.json`, and `….frame_errors.parquet` with the errors of every
example. Those on the sets of `data.tests` are marked (`"axis": true`), and are rows of the run table.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.core import files
from experiments.runs.store import Run

FOLDER = "evaluations"
DIGITS = 12
"""Digits of the content's hash in a file's name."""
FRAME_ERRORS = ".frame_errors.parquet"
FURTHER_TESTS = "further_tests"
"""Entry of a result: by name of the test sets that were named before a training, their digest and by metric the errors
of its shorter schedules."""


def path_of(run: Run, test_set: str, sha256: str) -> Path:
    """Return the file of a run's errors on the test set of this name and content."""
    return run.path / FOLDER / f"{test_set}-{sha256[:DIGITS]}.json"


def is_on_axis(path: Path) -> bool:
    """Return whether a file holds errors on a set of `data.tests`."""
    content = files.read_json(path)
    return isinstance(content, dict) and bool(content.get("axis"))


def lacking(run: Run, tests: Mapping[str, str]) -> list[str]:
    """Return the names of those test sets (name → digest) that a run has no errors on, or damaged ones."""
    return [name for name, sha256 in tests.items() if not is_on_axis(path_of(run, name, sha256))]


def on_axis(run: Run) -> Iterator[dict[str, Any]]:
    """Yield what a run's files hold of the sets of `data.tests`, ordered by name."""
    for path in sorted(glob.glob(f"{glob.escape(str(run.path / FOLDER))}/*.json")):
        content = files.read_json(Path(path))
        if isinstance(content, dict) and content.get("axis"):
            yield content
