"""What a dry run says: runs, packs and hours, from what finished runs took and from nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from experiments.config import RunConfig, parse
from slurm.estimate import SHAPE
from slurm.grid import expand
from slurm.outline import outline
from slurm.plan import Composer, DataAbsent, PlannedRun, plan

MakeConfig = Callable[..., dict[str, Any]]


def planned(config: RunConfig) -> PlannedRun:
    return PlannedRun.of(config, "d")


def test_hours_come_from_finished_runs_of_the_same_store(make_config: MakeConfig, tmp_path: Path) -> None:
    """One run of a shape took 1 s an update; another seed of it is estimated, on the device that the first had."""
    settings = {"store": str(tmp_path), "training.max_steps": 1000, "training.cooldown": 0.5, "device": "auto"}
    first, second = (planned(parse(make_config({**settings, "seed": seed}))) for seed in (0, 1))
    other = planned(parse(make_config({**settings}, model="ace")))
    assert "hours: unknown" in outline([first, second], []).text()
    shape = {name: getattr(first.config.model, name, getattr(first.config, name, None)) for name in SHAPE}
    assert first.config.training is not None
    result = {
        "architecture": first.config.architecture, "dataset_sha256": "d", "P": first.config.P, "device": "cpu",
        "training.batch_size": first.config.training.batch_size, "seconds": 100.0, "n_updates": 100, **shape,
    }  # fmt: skip
    first.run.create(first.config.as_dict())
    attempt = first.run.claim()
    assert attempt is not None
    with attempt:
        attempt.publish(result)
    found = outline([first, second, other], [])
    assert (found.runs, found.done, found.unknown) == (3, 1, 1)
    # T = 1000 and the branch of T/2 = 500, which leaves the trunk at 250: 1250 updates of 1 s
    assert found.hours == pytest.approx({"cpu": 1250 / 3600})
    assert "0.347 core hours, by what was taken by 1 finished runs of this shape; unknown for 1 runs" in found.text()


def test_outline_counts_packs_of_a_shape_and_what_is_done(make_config: MakeConfig, tmp_path: Path) -> None:
    common = {"store": str(tmp_path), "device": "cuda"}
    runs = [planned(parse(make_config({**common, "L": L, "seed": seed}))) for L in (0, 1) for seed in (0, 1, 2)]
    found = outline(runs, [], pack=2)
    assert (found.runs, found.done, found.packs, found.unknown) == (6, 0, 4, 6)  # 3 runs of a shape in packs of 2
    assert outline(runs, []).packs == 2
    assert "hours: unknown" in found.text()


def test_a_plan_goes_on_without_data_only_where_it_may(
    loader: ConfigLoader, master: Callable[..., DictConfig], tmp_path: Path
) -> None:
    def absent(section: Mapping[str, Any]) -> Any:
        raise DataAbsent("not here")

    points = expand([f"store={tmp_path / 's'}", "data=star", "P=4,8", "L=0,1"], [])
    made = plan(Composer(loader, master()), points, absent)
    assert made.runs == []
    assert len(made.unnamed) == 4
    assert "no data" in made.unnamed[0].line()
    text = outline(made.runs, made.unnamed).text()
    assert "4 runs, 0 done, 4 left in 4 packs; the data of 4 are not on this machine" in text
    assert not (tmp_path / "s").exists()
