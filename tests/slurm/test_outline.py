"""The plan that a dry run prints: runs, packs and hours, from the times of finished runs and nothing else."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from experiments.config.parse import parse
from experiments.config.run import RunConfig
from experiments.runs.store import RunStore
from slurm.estimate import Estimate, Estimates
from slurm.grid import expand
from slurm.outline import compiling, outline
from slurm.plan import Composer, DataAbsent, PlannedRun, UnnamedRun, plan
from tests.conftest import ACE

MakeConfig = Callable[..., dict[str, Any]]


def finished(config: RunConfig) -> dict[str, Any]:
    """The result of a run like this one that took 10 s for 100 updates."""
    shape = {name: getattr(config.model, name, None) for name in ("edge_lmax", "n_layers", "channels", "cutoff")}
    assert config.training is not None
    result: dict[str, Any] = {"run_id": "r", "architecture": config.model.architecture}
    result |= {
        "L": config.L,
        "nu": config.nu,
        "P": config.P,
        "device": "cuda:0",
        "seconds": 10.0,
        "n_updates": 100,
        "dataset_sha256": "d",
        **shape,
    }
    return {**result, "training.batch_size": config.training.batch_size}


@pytest.fixture
def planned(make_config: MakeConfig, tmp_path: Path) -> Callable[..., PlannedRun]:
    def make(**changes: Any) -> PlannedRun:
        settings = {"training.max_steps": 1000, "training.cooldown": 0.5}
        return PlannedRun.of(parse(make_config({"store": str(tmp_path), "device": "cuda", **settings, **changes})), "d")

    return make


def test_packs_are_of_one_shape_and_hours_unknown_where_nothing_has_run(planned: Callable[..., PlannedRun]) -> None:
    runs = [planned(L=L, seed=seed) for L in (0, 1) for seed in (0, 1, 2)]
    found = outline(runs, [], pack=2)
    assert (found.runs, found.done, found.packs, found.unknown) == (6, 0, 4, 6)  # 3 runs of a shape in packs of 2
    assert outline(runs, []).packs == 2
    assert "hours: unknown" in found.text()


def test_shapes_that_are_compiled_are_counted(planned: Callable[..., PlannedRun]) -> None:
    """Of runs that differ in P and seed there is one; short runs are not compiled, and fits have no step."""
    long = {"training.max_steps": 1500, "training.compile": "auto"}
    runs = [planned(L=L, seed=seed, P=P, **long) for L in (0, 1) for seed in (0, 1) for P in (4, 8)]
    short = [planned(L=0, seed=seed, **{**long, "training.max_steps": 100}) for seed in (0, 1, 2)]
    fits = [planned(model=dict(ACE), L=None)]
    assert "\ncompiles 2 shapes, once a machine, in about a minute of one core each\n" in outline(runs, []).text()
    assert compiling([*runs[:4], *short, *fits]) == (
        "compiles 1 shape, once a machine, in about a minute of one core; "
        "trains 3 runs without compiling, which pays from max_steps=1500 on"
    )
    other = dataclasses.replace(runs[0], data_sha256="e", shape_id="other")
    assert compiling([runs[0], other]).startswith("compiles at most 2 shapes")
    assert compiling(fits) == ""
    absent = [UnnamedRun(dataclasses.replace(runs[0].config, data={"source": name}), "") for name in ("rmd17", "water")]
    assert compiling([], absent).startswith("compiles at most 2 shapes")


def test_a_ladder_counts_as_one_pack(planned: Callable[..., PlannedRun]) -> None:
    runs = [planned(model=dict(ACE), L=None, P=P, seed=seed) for P in (4, 8, 12) for seed in (0, 1)]
    assert (outline(runs, []).packs, outline(runs, [], pack=1).packs) == (2, 6)


def test_hours_are_those_of_an_update_times_the_updates(
    planned: Callable[..., PlannedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [planned(L=0, seed=seed) for seed in (0, 1)]
    other = planned(L=0, seed=0)
    other = dataclasses.replace(other, config=dataclasses.replace(other.config, device="cpu"))

    def results(store: RunStore) -> Iterator[tuple[Any, Mapping[str, Any]]]:
        yield other.run, finished(runs[0].config)

    monkeypatch.setattr(RunStore, "results", results)
    monkeypatch.setattr("slurm.outline.models_here", list)
    found = outline([*runs, other], [])
    # T = 1000 and the branches of T/2 and T/4, with half of each in its decay: 1375 updates at 0.1 s, for two runs.
    assert found.hours == {"cuda": pytest.approx(2 * 137.5 / 3600)}
    assert found.unknown == 1  # nothing has run on a CPU
    basis = "1 finished runs of this shape on GPUs whose model is not recorded"
    assert f"GPU hours, by the time per update of {basis} in the store" in found.text()
    assert found.text().endswith("unknown for 1 runs")
    assert Estimates.of_store(Path("nowhere")).of(runs[0].config, "d", "cuda").seconds == pytest.approx(137.5)


def test_each_shape_says_what_it_costs_and_a_sweep_can_be_capped(
    planned: Callable[..., PlannedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [planned(L=L, seed=seed) for L in (0, 1) for seed in (0, 1)]
    known = finished(runs[0].config) | {"run_id": "elsewhere"}
    monkeypatch.setattr(RunStore, "results", lambda store: iter([(planned(L=0, seed=9).run, known)]))
    monkeypatch.setattr("slurm.outline.models_here", list)
    found = outline(runs, [])
    lines = found.text().splitlines()
    assert lines[1].startswith("  mace L=0 ν=2, ")
    assert "2 runs, 0.076 GPU hours (1 finished runs of this shape" in lines[1]
    assert "(1 finished runs of mace" in lines[2]  # another shape: by its architecture
    assert found.over(None) == found.over(1.0) == ""
    assert found.over(0.1).startswith("hydra.launcher.max_hours=0.1: the 4 runs that are left take about 0.153 hours")


def test_hours_are_those_of_this_machines_gpus(
    planned: Callable[..., PlannedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned(L=0)
    result = {**finished(run.config), "gpu": "NVIDIA H200"}
    monkeypatch.setattr(RunStore, "results", lambda store: iter([(planned(L=0, seed=1).run, result)]))
    monkeypatch.setattr("slurm.outline.models_here", lambda: ["NVIDIA H200"])
    assert "of 1 finished runs of this shape on NVIDIA H200 in the store" in outline([run], []).text()
    monkeypatch.setattr("slurm.outline.models_here", lambda: ["NVIDIA A100-SXM4-80GB"])
    said = "hours: unknown; jobs ask for NVIDIA A100-SXM4-80GB, finished runs are of NVIDIA H200"
    assert outline([run], []).text().endswith(said)


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
    matched = expand([f"store={tmp_path / 's'}", "data=star", "L=0,1", "match=weights", "reference.L=1"], [])
    made = plan(Composer(loader, master()), matched, absent)  # nobody knows their channels yet
    assert "2 runs, 0 done, 2 left in 2 packs" in outline(made.runs, made.unnamed).text()


def test_hours_of_auto_are_those_of_the_device_it_will_be(
    planned: Callable[..., PlannedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned(device="auto")
    result = {**finished(run.config), "device": "cpu"}
    monkeypatch.setattr(RunStore, "results", lambda store: iter([(planned(L=0, seed=1).run, result)]))
    monkeypatch.setattr("slurm.outline.visible", lambda: False)
    found = outline([run], [])
    assert found.hours == {"cpu": pytest.approx(137.5 / 3600)}
    assert "core hours" in found.text()
    assert found.over(0.01) != ""
    assert outline([run], [], auto="cuda").hours == {}
    monkeypatch.setattr("slurm.outline.visible", lambda: True)
    assert outline([run], []).hours == {}


def test_a_probe_tells_what_no_finished_run_does(planned: Callable[..., PlannedRun]) -> None:
    """Once for each shape, at its largest P; fits in closed form cost less at smaller ones."""
    asked: list[tuple[str, int]] = []

    def probe(config: RunConfig, sha256: str) -> Estimate:
        asked.append((config.architecture, config.P))
        return Estimate(3600.0, None, "a probe")

    runs = [planned(device="cpu", P=P) for P in (4, 8)]
    runs += [planned(device="cpu", model=dict(ACE), L=None, P=P) for P in (4, 8)]
    found = outline(runs, [], probe=probe)
    assert sorted(asked) == [("ace", 8), ("mace", 8)]
    assert found.hours == {"cpu": pytest.approx(3.5)}
    assert found.unknown == 0
    assert outline(runs, []).hours == {}


def test_a_plan_in_one_command(root: Path, tmp_path: Path) -> None:
    words = ["data=star", "data.pool=320", "P=4,8", "L=0", f"store={tmp_path / 'runs'}"]
    ended = subprocess.run(
        [sys.executable, "-m", "slurm", "plan", *words], cwd=root, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.splitlines()) == 2
    assert "2 runs, 0 done, 2 left" in ended.stderr
    assert not (tmp_path / "runs").exists()
