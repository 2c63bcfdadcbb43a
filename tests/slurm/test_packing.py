"""Packs and estimates: one shape each, filled by known times, honest where nothing is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.config.parse import parse
from experiments.config.run import LADDER, RunConfig
from experiments.models.mace import MaceConfig
from experiments.runs.store import Run
from experiments.training.schedule import Schedule
from slurm.estimate import UNKNOWN, Estimate, Estimates
from slurm.packing import at_most, pack
from slurm.plan import PlannedRun

MakeConfig = Callable[..., dict[str, Any]]


@pytest.fixture
def config(make_config: MakeConfig) -> RunConfig:
    return parse(make_config())


def made(config: RunConfig, number: int, shape: str = "a") -> PlannedRun:
    return PlannedRun(config, "curve", Run(Path(f"store/{number:012x}")), shape, "")


def costing(seconds: float | None, memory: float | None = None) -> Estimate:
    return Estimate(seconds, memory, "a test")


def sizes(packs: Any) -> list[int]:
    return [len(packed.runs) for packed in packs]


def test_packs_fill_the_time_of_a_job(config: RunConfig) -> None:
    runs = [(made(config, i), costing(60.0)) for i in range(10)]
    packs = pack(runs, "cpu", workers=1, wanted_seconds=240.0)
    assert sizes(packs) == [4, 4, 2]
    assert [packed.seconds for packed in packs] == [240.0, 240.0, 120.0]
    assert sizes(pack(runs, "cpu", workers=2, wanted_seconds=240.0)) == [8, 2]
    assert sizes(pack(runs, "cpu", workers=1, wanted_seconds=240.0, most=3)) == [3, 3, 3, 1]
    assert sizes(pack(runs, "cpu", workers=1, wanted_seconds=1.0)) == [1] * 10


def test_a_job_takes_as_long_as_its_longest_run(config: RunConfig) -> None:
    (packed,) = pack([(made(config, 0), costing(100.0)), (made(config, 1), costing(20.0))], "cpu", 4, 600.0)
    assert packed.seconds == 100.0


def test_where_nothing_is_known(config: RunConfig) -> None:
    runs = [(made(config, i), UNKNOWN) for i in range(20)]
    packs = pack(runs, "cpu", workers=4, wanted_seconds=240.0)
    assert sizes(packs) == [4] * 5
    assert {packed.seconds for packed in packs} == {None}
    assert sizes(pack(runs, "cuda", workers=1, wanted_seconds=240.0)) == [16, 4]
    assert sizes(pack(runs, "cpu", workers=1, wanted_seconds=240.0, most=7)) == [7, 7, 6]
    half = [(p, costing(120.0) if i < 2 else cost) for i, (p, cost) in enumerate(runs)]
    assert sizes(pack(half, "cpu", workers=1, wanted_seconds=240.0)) == [2] * 10  # as those of their shape


def test_memory_is_asked_for_only_where_it_is_known(config: RunConfig) -> None:
    known = [(made(config, i), costing(1.0, 2e9)) for i in range(3)]
    assert pack(known, "cpu", 2, 60.0)[0].memory == pytest.approx(2 * 2 * 1.3)
    unknown = [*known, (made(config, 9), costing(1.0))]
    assert pack(unknown, "cpu", 2, 60.0, room=4.0)[0].memory is None
    assert pack(known, "cuda", 1, 60.0, room=4.0)[0].memory == pytest.approx(2 * 1.3 + 4.0)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.floats(1.0, 1e4))), min_size=1, max_size=40),
    st.sampled_from(["cpu", "cuda"]),
    st.integers(1, 8),
    st.one_of(st.none(), st.integers(1, 10)),
    st.integers(1, 50),
)
def test_every_run_is_in_one_pack_of_its_shape(
    drawn: list[tuple[str, float | None]], kind: str, workers: int, most: int | None, limit: int
) -> None:
    runs = [
        (PlannedRun(None, "curve", Run(Path(f"s/{i:012x}")), shape, ""), costing(seconds))  # type: ignore[arg-type]
        for i, (shape, seconds) in enumerate(drawn)
    ]
    packs = pack(runs, kind, workers, 600.0, most)
    assert sorted(p.run.id for packed in packs for p in packed.runs) == sorted(p.run.id for p, _ in runs)
    assert all(len({p.shape_id for p in packed.runs}) == 1 for packed in packs)
    assert most is None or max(sizes(packs)) <= most
    fewer = at_most(packs, limit)
    assert len(fewer) == min(limit, len(packs))
    assert sorted(p.run.id for packed in fewer for p in packed.runs) == sorted(p.run.id for p, _ in runs)


def test_merging_keeps_kinds_apart(config: RunConfig) -> None:
    runs = [(made(config, i), costing(10.0)) for i in range(8)]
    packs = [*pack(runs[:6], "cpu", 1, 10.0), *pack(runs[6:], "cuda", 1, 10.0)]
    fewer = at_most(packs, 4)
    assert [packed.kind for packed in fewer] == ["cpu"] * 3 + ["cuda"]
    assert sorted(sizes(fewer)) == [2, 2, 2, 2]
    assert len(at_most(packs, 1)) == 2  # one of each kind at least


# --- estimates


def result_of(config: RunConfig, seconds: float, **changes: Any) -> dict[str, Any]:
    """Return the result of a finished run of this configuration, as far as it matters here."""
    knobs = {name: getattr(config.model, name, None) for name in ("edge_lmax", "n_layers", "channels", "cutoff")}
    training = config.training
    schedule = None if training is None else Schedule(training.max_steps, training.warmup_steps, training.cooldown)
    return {
        "device": "cpu", "architecture": config.model.architecture, "L": config.L, "nu": config.nu, **knobs,
        "dataset_sha256": "data", **({} if training is None else {"training.batch_size": training.batch_size}),
        "seconds": seconds, "P": config.P, "peak_memory": 1e9,
        "n_steps": None if training is None else training.max_steps,
        "n_updates": None if schedule is None else schedule.total, **changes,
    }  # fmt: skip


def test_seconds_of_an_update_are_learned(config: RunConfig) -> None:
    assert config.training is not None
    learned = Estimates([result_of(config, seconds) for seconds in (10.0, 30.0, 20.0)])
    found = learned.of(config, "data", "cpu")
    assert found.seconds == pytest.approx(20.0)
    assert found.memory == 1e9
    assert found.basis == "3 finished runs of this shape"
    longer = replace(config, training=replace(config.training, max_steps=4 * config.training.max_steps))
    assert longer.training is not None
    schedules = [Schedule(c.max_steps, c.warmup_steps, c.cooldown) for c in (config.training, longer.training)]
    assert learned.of(longer, "data", "cpu").seconds == pytest.approx(20.0 * schedules[1].total / schedules[0].total)


def test_another_shape_falls_back_on_the_architecture_and_another_device_on_nothing(config: RunConfig) -> None:
    learned = Estimates([result_of(config, 10.0)])
    assert isinstance(config.model, MaceConfig)
    wider = replace(config, model=replace(config.model, channels=64))
    assert learned.of(wider, "data", "cpu").basis == "1 finished runs of mace"
    assert learned.of(config, "data", "cuda") == UNKNOWN


A100, H100 = "NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3"


def test_what_one_gpu_model_takes_is_not_what_another_takes(config: RunConfig) -> None:
    on_a100 = [result_of(config, seconds, device="cuda:0", gpu=A100, peak_memory=2e9) for seconds in (30.0, 31.0, 32.0)]
    on_h100 = result_of(config, 10.0, device="cuda", gpu=H100, peak_memory=8e9)
    learned = Estimates([*on_a100, on_h100, result_of(config, 200.0)])
    found = learned.of(config, "data", "cuda", ["a100"])
    assert found.seconds == pytest.approx(31.0)
    assert found.memory == 2e9
    assert found.basis == f"3 finished runs of this shape on {A100}"
    found = learned.of(config, "data", "cuda", ["h100"])
    assert found.seconds == pytest.approx(10.0)
    assert found.memory == 8e9
    for names, said in (((), "ask for no model"), (("v100",), "ask for v100"), (("a100", "h100"), "for a100, h100")):
        found = learned.of(config, "data", "cuda", names)
        assert (found.seconds, found.memory) == (None, None)
        assert found.basis.endswith(f"finished runs are of {A100}, {H100}")
        assert said in found.basis
    assert learned.of(config, "data", "cpu", ["a100"]).seconds == pytest.approx(200.0)


def test_a_single_model_is_taken_unless_another_is_asked_for(config: RunConfig) -> None:
    learned = Estimates([result_of(config, 30.0, device="cuda:0", gpu=A100)])
    assert learned.of(config, "data", "cuda").basis == f"1 finished runs of this shape on {A100}"
    found = learned.of(config, "data", "cuda", ["h100"])
    assert (found.seconds, found.basis) == (None, f"jobs ask for h100, finished runs are of {A100}")


def test_runs_that_recorded_no_model_tell_only_where_nothing_else_does(config: RunConfig) -> None:
    old = result_of(config, 50.0, device="cuda:0")
    learned = Estimates([old])
    found = learned.of(config, "data", "cuda")
    assert found.seconds == pytest.approx(50.0)
    assert found.basis == "1 finished runs of this shape on GPUs whose model is not recorded"
    assert learned.of(config, "data", "cuda", ["a100"]).seconds is None
    learned = Estimates([old, result_of(config, 30.0, device="cuda:0", gpu=A100)])
    assert learned.of(config, "data", "cuda").seconds == pytest.approx(30.0)
    assert Estimates([]).of(config, "data", "cuda", ["a100"]) == UNKNOWN


def test_closed_form_solves_are_of_a_model_too(make_config: MakeConfig) -> None:
    config = parse(make_config({"P": 8}, model="ace"))
    learned = Estimates([result_of(config, s, device="cuda", gpu=gpu) for s, gpu in ((4.0, A100), (1.0, H100))])
    assert [learned.of(config, "data", "cuda", [name]).seconds for name in ("a100", "h100")] == [4.0, 1.0]


def test_closed_form_grows_with_P(make_config: MakeConfig) -> None:
    config = parse(make_config({"P": 8}, model="ace"))
    learned = Estimates([result_of(config, 4.0), result_of(replace(config, P=16), 8.0)])
    seconds = [learned.of(replace(config, P=P), "data", "cpu").seconds for P in (4, 8, 32)]
    assert seconds == [4.0, 4.0, 16.0]


@pytest.mark.parametrize("damage", [{"seconds": "x"}, {"seconds": float("nan")}, {"P": None}, {"device": None}])
def test_results_that_others_wrote_teach_nothing(config: RunConfig, damage: dict[str, Any]) -> None:
    assert Estimates([{**result_of(config, 10.0), **damage}]).of(config, "data", "cpu") == UNKNOWN
    assert Estimates([{}]).of(config, "data", "cpu") == UNKNOWN


def test_a_ladder_is_one_pack_unless_it_is_split(config: RunConfig) -> None:
    """Four ladders of three runs of one curve; shares of a pass add up, and jobs are filled with whole ladders."""
    shapes = [f"{LADDER}{number}" for number in range(4)]
    runs = [(made(config, 3 * n + i, shape), costing(20.0)) for n, shape in enumerate(shapes) for i in range(3)]
    packs = pack(runs, "cpu", workers=1, wanted_seconds=130.0)
    assert [[p.shape_id for p in packed.runs] for packed in packs] == [
        [shape for shape in pair for _ in range(3)] for pair in (shapes[:2], shapes[2:])
    ]
    assert [packed.seconds for packed in packs] == [120.0, 120.0]
    assert sizes(pack(runs, "cpu", workers=1, wanted_seconds=10.0)) == [3] * 4
    assert sizes(pack(runs, "cpu", workers=1, wanted_seconds=1e9, most=1)) == [1] * 12
    unknown = [(planned, UNKNOWN) for planned, _ in runs]
    assert sizes(pack(unknown, "cpu", workers=2, wanted_seconds=1.0)) == [6, 6]  # a ladder a worker
    assert pack(runs, "cpu", workers=4, wanted_seconds=60.0)[0].seconds == 60.0  # one worker solves a ladder
