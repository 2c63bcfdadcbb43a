"""Published files beside the checkout, where somebody has put them: reference data, which the project does not hold."""

from __future__ import annotations

from pathlib import Path

import pytest

COPIES = (Path(__file__).parents[3] / "../shared/data").resolve()
needed = pytest.mark.skipif(not COPIES.is_dir(), reason=f"no copies of published files at {COPIES}")


def laid_out(root: Path) -> Path:
    """Make a cache directory in which the copies lie as they do beside the checkout (what is written stays here)."""
    for folder in (path for path in COPIES.iterdir() if path.is_dir()):
        (root / folder.name).mkdir(parents=True)
        for path in folder.iterdir():
            (root / folder.name / path.name).symlink_to(path)
    return root
