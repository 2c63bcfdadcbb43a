"""What a few seconds of a run tell of its cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.config.parse import parse
from experiments.data.load import dataset_of
from slurm.probe import probe

MakeConfig = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("model", ["ace", "mace"])
def test_a_probe_keeps_nothing(make_config: MakeConfig, tmp_path: Path, model: str) -> None:
    """A fit is done within it; a training of many updates is not, and its whole time is that of the first updates."""
    config = parse(make_config({"training.max_steps": 10_000_000} if model == "mace" else {}, model=model))
    found = probe(config, dataset_of(config.data).sha256(), seconds=0.5 if model == "mace" else 60.0)
    assert found.seconds is not None
    assert found.seconds > (1000 if model == "mace" else 0)  # ten million updates
    assert found.basis.startswith("a probe")
    assert not Path(config.store).exists()
