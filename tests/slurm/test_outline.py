"""What a dry run says: runs, packs and hours, from what finished runs took and from nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from experiments.config import RunConfig, parse
from experiments.runs import RunStore
from slurm.grid import expand
from slurm.outline import outline, seconds_of
from slurm.plan import Composer, DataAbsent, PlannedRun, plan

MakeConfig = Callable[..., dict[str, Any]]


def finished(config: RunConfig, **changes: Any) -> dict[str, Any]:
    """The result of a run like this one that took 10 s for 100 updates."""
    shape = {name: getattr(config.model, name, None) for name in ("edge_lmax", "n_layers", "channels", "cutoff")}
    training = {} if config.training is None else {"training.batch_size": config.training.batch_size}
    result = {"run_id": "r", "architecture": config.model.architecture, "L": config.L, "nu": config.nu, "P": config.P}
    return {**result, **shape, **training, "device": "cpu", "seconds": 10.0, "n_updates": 100, **changes}


def test_time_is_that_of_an_update_times_the_updates(make_config: MakeConfig) -> None:
    config = parse(make_config({"training.max_steps": 1000, "training.cooldown": 0.5}))
    like = [finished(config, run_id="a"), finished(config, run_id="b", seconds=30.0, n_updates=100)]
    # T = 1000 and the branch of T/2 = 500, which leaves the trunk at 250: 1250 updates at (0.1 + 0.3)/2 s.
    seconds, basis = seconds_of(config, like)
    assert seconds == pytest.approx(250.0)
    assert basis == {"a", "b"}


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "tfn"}, {"channels": 5}, {"device": "cuda:0"}, {"L": 3}, {"training.batch_size": 77},
        {"seconds": None}, {"seconds": float("nan")}, {"n_updates": 0},
    ],
)  # fmt: skip
def test_nothing_is_learned_from_other_shapes_devices_and_broken_records(
    make_config: MakeConfig, change: Mapping[str, Any]
) -> None:
    config = parse(make_config())
    assert seconds_of(config, [finished(config, **change)]) == (None, set())


def test_a_fit_in_closed_form_costs_what_the_nearest_size_did(make_config: MakeConfig) -> None:
    config = parse(make_config({"P": 40}, model="ace"))
    like = [finished(config, P=10, n_updates=None, seconds=1.0), finished(config, P=20, n_updates=None, seconds=3.0)]
    assert seconds_of(config, like)[0] == pytest.approx(6.0)


def test_outline_counts_packs_of_a_shape_and_what_is_done(make_config: MakeConfig, tmp_path: Path) -> None:
    def planned(name: str, **changes: Any) -> PlannedRun:
        config = parse(make_config({"store": str(tmp_path), "device": "cuda", **changes}))
        run = RunStore(tmp_path).run(name)
        return PlannedRun(config, "m", run, config.shape_id("d"))

    runs = [planned(f"{L}{seed}0123456789", L=L, seed=seed) for L in (0, 1) for seed in (0, 1, 2)]
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
