"""Packs in the pool: who gets what, deaths in the middle of a pack, hung workers; results do not depend on it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments.config.parse import parse
from experiments.core.errors import RunsFailed
from experiments.core.interrupt import Terminated
from experiments.data.load import dataset_of
from slurm import worker
from slurm.launcher import run_missing
from slurm.local import Pool, visible_gpus
from slurm.plan import PlannedRun
from slurm.settings import LocalSettings
from tests.conftest import ACE

MakeConfig = Callable[..., dict[str, Any]]


class Listener:
    """Remembers what it hears, and may act on it."""

    def __init__(self, act: Callable[[Mapping[str, Any]], None] = lambda event: None) -> None:
        self.act = act
        self.events: list[str] = []
        self.states: list[tuple[str, str]] = []
        self.notes: list[str] = []

    def event(self, event: Mapping[str, Any]) -> None:
        self.events.append(event["event"])
        self.act(event)

    def state(self, run_id: str, state: str) -> None:
        self.states.append((run_id, state))

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def planned(make_config: MakeConfig) -> Callable[..., PlannedRun]:
    def make(**changes: Any) -> PlannedRun:
        config = parse(make_config({key.replace("__", "."): value for key, value in changes.items()}))
        made = PlannedRun.of(config, dataset_of(config.data).sha256())
        made.run.create(config.as_dict())
        return made

    return make


def packs(planned: PlannedRun) -> list[list[str]]:
    """The packs that workers were given, in order."""
    return [json.loads(line) for line in (planned.run.path.parent / "packs.jsonl").read_text().splitlines()]


Stubs = Callable[[Mapping[str, str]], None]
Planned = Callable[..., PlannedRun]


def test_packs_have_one_shape_and_at_most_their_size(planned: Planned, stubs: Stubs) -> None:
    runs = [planned(seed=seed, L=L, training__learning_rate=1e-3 * (1 + seed)) for seed in range(5) for L in (0, 1)]
    assert Pool(1, Listener(), pack=4).compute(runs) == []
    shapes = {p.run.id: p.shape_id for p in runs}
    given = packs(runs[0])
    assert sorted(map(len, given)) == [1, 1, 4, 4]
    assert all(len({shapes[i] for i in pack}) == 1 for pack in given)
    # The worker finishes the shape that it has compiled before it begins another.
    assert [shapes[pack[0]] for pack in given] == [shapes[given[0][0]]] * 2 + [shapes[given[-1][0]]] * 2


def test_a_worker_gets_a_whole_ladder(planned: Planned, stubs: Stubs) -> None:
    """Fits in closed form that differ only in P, with a worker to spare; `pack=1` splits them, as does a small pack."""
    runs = [planned(model=dict(ACE), L=None, seed=seed, P=P) for P in (4, 8, 12) for seed in (0, 1)]
    assert Pool(3, Listener(), pack=None).compute(runs) == []
    ladders = {frozenset(p.run.id for p in runs if p.config.seed == seed) for seed in (0, 1)}
    assert {frozenset(given) for given in packs(runs[0])} == ladders
    assert len(packs(runs[0])) == 2
    again = [planned(model=dict(ACE), L=None, seed=seed, P=P) for P in (5, 9, 13) for seed in (0, 1)]
    assert Pool(3, Listener(), pack=1).compute(again) == []
    assert [len(given) for given in packs(runs[0])[2:]] == [1] * 6


def test_workers_get_fair_shares(planned: Planned, stubs: Stubs) -> None:
    """Two workers and one shape: half of it each, not all for the first."""
    runs = [planned(seed=seed) for seed in range(6)]
    assert Pool(2, Listener(), pack=4096).compute(runs) == []
    assert max(map(len, packs(runs[0]))) == 3


def test_closed_form_runs_go_in_lists_too(planned: Planned, make_config: MakeConfig, stubs: Stubs) -> None:
    runs = []
    for P in (4, 8):
        config = parse(make_config({"P": P}, model="ace"))
        runs.append(PlannedRun.of(config, dataset_of(config.data).sha256()))
        runs[-1].run.create(config.as_dict())
    assert Pool(1, Listener(), pack=8).compute(runs) == []
    assert packs(runs[0]) == [[p.run.id for p in runs]]


def test_a_dead_workers_pack_goes_back_without_what_is_done(planned: Planned, stubs: Stubs) -> None:
    runs = [planned(seed=seed) for seed in range(4)]
    ids = [p.run.id for p in runs]
    stubs({ids[2]: "die once"})
    listener = Listener()
    assert Pool(1, listener, pack=4).compute(runs) == []
    assert packs(runs[0]) == [ids, ids[2:]]
    assert [p.run.state() for p in runs] == ["done"] * 4
    assert [p.run.latest_attempt() for p in runs] == [1, 1, 2, 1]
    assert listener.notes == ["a worker ended with exit code -9; 2 of its runs go back to the queue"]


def test_one_bad_run_fails_alone(planned: Planned, stubs: Stubs) -> None:
    """It kills every worker it is given to; after two deaths its pack goes on one by one, and only it fails."""
    runs = [planned(seed=seed) for seed in range(5)]
    bad = runs[1].run
    stubs({bad.id: "die"})
    listener = Listener()
    assert [p.run.id for p in Pool(1, listener, pack=5).compute(runs)] == [bad.id]
    assert [len(pack) for pack in packs(runs[0])] == [5, 4, 1, 1, 1, 1, 1]
    assert [p.run.state() for p in runs] == ["done", "failed", "done", "done", "done"]
    message = bad.recorded_state()["message"]
    assert message == f"its worker ended with exit code -9 2 times, see {bad.path / 'worker.log'}"
    assert (bad.path / "worker.log").exists()
    assert listener.notes[1].endswith("4 of its runs go back to the queue one by one")
    assert not list((bad.path.parent / "workers").iterdir())


def test_a_hung_worker_is_killed_and_its_runs_go_back(planned: Planned, stubs: Stubs) -> None:
    runs = [planned(seed=seed) for seed in range(3)]
    stubs({runs[1].run.id: "hang"})
    listener = Listener()
    # The stub is stopped for good, so any patience will do; longer than it takes to start.
    assert Pool(1, listener, pack=3, patience=3.0).compute(runs) == []
    assert [p.run.latest_attempt() for p in runs] == [1, 2, 1]
    assert listener.notes == [
        "a worker showed no sign of life for 3 s and was killed; 2 of its runs go back to the queue"
    ]


def test_a_compilation_longer_than_the_patience_is_no_hang(planned: Planned, stubs: Stubs) -> None:
    """Both workers have a thread that could say that they live; only the one at work that is marked does."""
    runs = [planned(seed=seed) for seed in range(2)]
    stubs({runs[0].run.id: "compile", runs[1].run.id: "sleep"})
    listener = Listener()
    assert Pool(2, listener, patience=3.0).compute(runs) == []  # of five seconds; two or three signs each second
    assert [p.run.latest_attempt() for p in runs] == [1, 2]
    assert listener.notes == [
        "a worker showed no sign of life for 3 s and was killed; 1 of its runs go back to the queue"
    ]
    assert "alive" in listener.events


@pytest.mark.parametrize("slow", [False, True])
def test_workers_that_cannot_start_end_the_sweep_and_fail_no_run(
    planned: Planned, stubs: Stubs, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    """A library that cannot be loaded, say; whether they have been given runs by the time they end or not."""
    stubs({})
    runs = [planned(seed=seed) for seed in range(3)]
    with monkeypatch.context() as broken:
        broken.setenv("EQUILAW_STUB_START", "1")
        if slow:
            broken.setattr(worker, "COMMAND", ("sh", "-c", "sleep 0.3; echo 'ImportError: as told' >&2; exit 1"))
        with pytest.raises(RunsFailed, match=r"^workers cannot start here: 5 in a row ended with .*as told$"):
            Pool(1, Listener(), pack=2).compute(runs)
    assert [p.run.state() for p in runs] == ["queued"] * 3
    assert Pool(1, Listener(), pack=2).compute(runs) == []


def test_a_full_disk_ends_the_sweep_and_fails_no_run(planned: Planned, stubs: Stubs) -> None:
    runs = [planned(seed=seed) for seed in range(3)]
    stubs({runs[1].run.id: "disk"})
    with pytest.raises(OSError, match="No space left on device") as error:
        Pool(1, Listener(), pack=3).compute(runs)
    assert error.value.filename == str(runs[1].run.path)
    assert [p.run.state() for p in runs] == ["done", "queued", "queued"]
    stubs({})
    assert Pool(1, Listener(), pack=3).compute(runs) == []


def test_sigterm_is_told_from_ctrl_c(planned: Planned, stubs: Stubs) -> None:
    runs = [planned(seed=seed) for seed in range(3)]
    handler = signal.getsignal(signal.SIGTERM)
    for number, kind in ((signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)):
        pool = Pool(1, Listener(lambda event, n=number: os.kill(os.getpid(), n)))  # type: ignore[misc]
        with pytest.raises(KeyboardInterrupt) as stopped:
            pool.compute(runs)
        assert stopped.type is kind
        assert all(w.process.returncode is not None for w in pool.workers)
        assert signal.getsignal(signal.SIGTERM) == handler
    assert Pool(1, Listener()).compute(runs) == []


def test_a_damaged_configuration_is_written_anew(planned: Planned, stubs: Stubs) -> None:
    runs = [planned(seed=seed) for seed in range(2)]
    before = (runs[0].run.path / "config.yaml").read_bytes()
    (runs[0].run.path / "config.yaml").write_bytes(b"P: [1")
    run_missing(runs, LocalSettings(workers=1))
    assert (runs[0].run.path / "config.yaml").read_bytes() == before
    assert [p.run.state() for p in runs] == ["done", "done"]


def test_logs_of_dead_drivers_are_removed(planned: Planned, stubs: Stubs) -> None:
    one = planned()
    logs = one.run.path.parent / "workers"
    logs.mkdir()
    host = os.uname().nodename
    (logs / f"{host}-{os.getpid()}-1-1.log").write_text("of a process that had our number")
    (logs / f"elsewhere-{os.getpid()}-1-1.log").write_text("of another machine")
    run_missing([one], LocalSettings(workers=1))
    assert [log.name for log in logs.iterdir()] == [f"elsewhere-{os.getpid()}-1-1.log"]


def test_one_worker_for_each_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, MIG-1234")
    assert visible_gpus() == ["3", "MIG-1234"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert visible_gpus() == ["0", "1"]


# --- real workers


def test_a_pack_of_four_is_four_packs_of_one(planned: Planned, tmp_path: Path) -> None:
    """A killed worker included. Batched products sum in another order: round-off of float64, amplified by training."""
    results = []
    pools: list[Pool] = []
    for pack in (1, 4):
        runs = [
            planned(
                P=P,
                seed=seed,
                store=str(tmp_path / f"pack-{pack}"),
                training__checkpoint_seconds=0.01,
                training__max_steps=60,
            )
            for P in (4, 8)
            for seed in (0, 1)
        ]
        kills = [signal.SIGKILL] if pack == 4 else []

        def act(event: Mapping[str, Any], kills: list[signal.Signals] = kills) -> None:
            if event["event"] == "progress" and kills:
                os.kill(pools[-1].workers[0].process.pid, kills.pop())

        pools.append(Pool(1, Listener(act), pack=pack))
        assert pools[-1].compute(runs) == []
        assert kills == []
        if pack == 4:
            assert max(p.run.latest_attempt() for p in runs) == 2
        results.append([p.run.result() for p in runs])
    for single, packed in zip(*results, strict=True):
        assert single is not None
        assert packed is not None
        assert packed["metrics"] == pytest.approx(single["metrics"], rel=1e-9)
