"""Questions to Slurm and the reading of its answers: real ones, and ones that a test makes up."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm.cluster import daemons
from slurm.cluster.cluster import Cluster
from slurm.cluster.configuration import Settings
from slurm.cluster.temporary import temporary
from slurm.jobs import commands, scheduler
from slurm.jobs.commands import NoAnswer, SlurmError
from slurm.jobs.scheduler import Job, cancel, cluster_name, look, past, ranges
from tests.slurm.conftest import skip_without_slurm

SECONDS = 120.0
Answers = Callable[..., str]


def answers(monkeypatch: pytest.MonkeyPatch, told: Callable[..., str]) -> list[tuple[str, ...]]:
    """Let `told` answer instead of Slurm; what it was asked."""
    asked: list[tuple[str, ...]] = []

    def ask(*command: str, seconds: float = 0.0) -> str:
        asked.append(command)
        return told(*command)

    monkeypatch.setattr(scheduler, "ask", ask)
    return asked


def row(name: str = "a", array: str = "7", index: str = "2", state: str = "RUNNING", **other: str) -> str:
    fields = {
        "raw": "9",
        "node": "n1",
        "left": "1:00",
        "time": "0:30",
        "partition": "gpu",
        "user": "u",
        "reason": "None",
    }
    f = {**fields, **other}
    return "|".join(
        [name, array, index, f["raw"], state, f["node"], f["left"], f["time"], f["partition"], f["user"], f["reason"]]
    )


def test_nothing_is_asked_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answers(monkeypatch, lambda *_: "")
    assert look([]).reachable
    assert past({}, 0.0) == {}
    assert asked == []


def test_rows_of_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        row(reason="Resources|and more", left="1-02:03:04", time="59"),
        row(index="[4-5,9%2]", state="PENDING", node="", left="UNLIMITED", reason="Priority"),
        row(name="alone", array="11", index="N/A", state="NODE_FAIL"),
        row(name="somebody's"),
        "torn|row",
    ]
    asked = answers(monkeypatch, lambda *_: "\n".join(rows))
    answer = look(["a", "alone"], ["u", "v", "u"])
    assert len(asked) == 1
    assert "--user=u,v" in asked[0]
    assert sorted(answer.jobs) == [("a", 2), ("a", 4), ("a", 5), ("a", 9), ("alone", 0)]
    running = answer.jobs["a", 2]
    assert (running.id, running.held, running.node) == ("7_2", True, "n1")
    assert (running.seconds, running.seconds_left) == (59.0, 93784.0)
    assert running.reason == "Resources|and more"
    waiting = answer.jobs["a", 9]
    assert (waiting.held, waiting.seconds_left, waiting.reason) == (True, None, "Priority")
    assert (answer.jobs["alone", 0].id, answer.jobs["alone", 0].held) == ("11", False)


@pytest.mark.parametrize("order", [1, -1])
def test_job_that_is_held_goes_before_one_of_the_same_name_that_ended(
    monkeypatch: pytest.MonkeyPatch, order: int
) -> None:
    """sbatch that got through twice, or an element that was requeued under another id."""
    rows = [row(array="7", state="CANCELLED"), row(array="8", state="PENDING")][::order]
    answers(monkeypatch, lambda *_: "\n".join(rows))
    assert look(["a"]).jobs["a", 2].array == "8"


def test_user_that_this_machine_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(*command: str) -> str:
        if any(word.startswith("--user") for word in command):
            raise SlurmError("squeue: error: Invalid user: alice")
        return row()

    asked = answers(monkeypatch, told)
    assert ("a", 2) in look(["a"], ["alice"]).jobs
    assert len(asked) == 2


def test_no_answer_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(*_: str) -> str:
        raise NoAnswer("squeue: no answer in 10 s")

    answers(monkeypatch, told)
    answer = look(["a"], ["u"])
    assert not answer.reachable
    assert answer.message == "squeue: no answer in 10 s"
    assert past({"a": ["7"]}, 0.0) == {}
    assert cluster_name() is None


def test_rows_of_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        "7_2|9|CANCELLED by 1000|0:15|n1|61|gpu|u|a",
        "7_[3-4]|7|PENDING|0:0|None assigned|0|gpu|u|a",
        "8|8|FAILED|3:0|n2|5|gpu|u|other",
        "7_5|12|TIMEOUT|0:0|n2|5|gpu|u|an older job with the same id",
    ]
    answers(monkeypatch, lambda *_: "\n".join(rows))
    found = past({"a": ["7"], "other": ["8"]}, 0.0)
    assert sorted(found) == [("a", 2), ("a", 3), ("a", 4), ("other", 0)]
    assert found["a", 2].how_it_ended() == "CANCELLED, exit code 0:15"
    assert found["other", 0].how_it_ended() == "FAILED, exit code 3:0"
    assert found["a", 3].how_it_ended() == "PENDING"
    assert not any(job.held for job in found.values())  # the controller has the word on that


def test_many_jobs_in_few_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "\n".join(row(name=f"j{i // 1000}", array=str(i // 1000), index=str(i % 1000)) for i in range(10_000))
    asked = answers(monkeypatch, lambda *_: rows)
    assert len(look([f"j{i}" for i in range(10)]).jobs) == 10_000
    past({f"j{i}": [str(i)] for i in range(10)}, 0.0)
    cancel("j0", "0", range(1000))
    assert len(asked) == 2 + 2  # who has the id, and one scancel


@given(days=st.integers(0, 400), hours=st.integers(0, 23), minutes=st.integers(0, 59), seconds=st.integers(0, 59))
def test_times_as_slurm_writes_them(days: int, hours: int, minutes: int, seconds: int) -> None:
    text = f"{minutes}:{seconds:02}"
    if days or hours:
        text = f"{hours:02}:{minutes:02}:{seconds:02}"
    if days:
        text = f"{days}-{text}"
    assert scheduler._seconds(text) == 86400 * days + 3600 * hours + 60 * minutes + seconds


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), min_size=1))
def test_indices_as_slurm_writes_them(ranges: list[tuple[int, int]]) -> None:
    text = ",".join(f"{a}-{a + n}" if n else str(a) for a, n in ranges)
    wanted = [i for a, n in ranges for i in range(a, a + n + 1)]
    assert list(scheduler._indices(f"[{text}%3]")) == wanted
    assert list(scheduler._indices(text)) == wanted


def test_job_that_is_no_array_has_index_none() -> None:
    job = Job("a", "7", None, "RUNNING", True)
    assert (job.id, job.key) == ("7", ("a", 0))
    assert list(scheduler._indices("N/A")) == [None]
    assert list(scheduler._indices("0-6:3")) == [0, 3, 6]


@given(st.sets(st.integers(0, 40)))
def test_ranges(numbers: set[int]) -> None:
    """Every number is in them, and no other."""
    text, found = ranges(sorted(numbers)), set()
    for part in text.split(",") if text else []:
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    assert found == numbers


# -- the real one ------------------------------------------------------------------------------------------------------


def sbatch(cluster: Cluster, folder: Path, *options: str, script: str = "sleep 300") -> str:
    return cluster.run("sbatch", "--parsable", f"--output={folder}/%j.out", *options, "--wrap", script).strip()


def test_queue_of_a_real_cluster(on_cluster: Cluster, tmp_path: Path) -> None:
    job = sbatch(on_cluster, tmp_path, "--job-name=mine", "--array=0-3%1", "--time=10", "--nodelist=n1")
    other = sbatch(on_cluster, tmp_path, "--job-name=other")
    assert daemons.wait(lambda: look(["mine"]).jobs["mine", 0].state == "RUNNING", SECONDS)
    found = look(["mine", "absent"], ["root", "nosuchuser"])
    assert sorted(found.jobs) == [("mine", index) for index in range(4)]
    assert all(j.array == job and j.held for j in found.jobs.values())
    assert found.jobs["mine", 0].node == "n1"
    assert 0 < (found.jobs["mine", 0].seconds_left or 0) <= 600
    assert found.jobs["mine", 3].reason == "JobArrayTaskLimit"
    assert cluster_name() == on_cluster.layout.name
    cancel("not-mine", job, [2])  # the id belongs to another job by now
    assert look(["mine"]).jobs["mine", 2].held
    cancel("mine", job, [2, 3])
    assert daemons.wait(lambda: ("mine", 3) not in look(["mine"]).jobs, SECONDS)  # a pending element is forgotten
    assert {j.index for j in look(["mine"]).jobs.values() if j.held} == {0, 1}  # and no other with them
    cancel("mine", job)
    cancel("other", other)
    assert daemons.wait(lambda: not look(["mine"]).jobs["mine", 0].held, SECONDS)
    assert past({"mine": [job]}, time.time()) == {}  # no database


def test_controller_that_is_down_is_not_reachable(on_cluster: Cluster) -> None:
    on_cluster.stop_daemon("slurmctld")
    try:
        answer = look(["mine"], seconds=2.0)
        assert not answer.reachable
        assert answer.message.startswith("squeue: ")
    finally:
        on_cluster.start_daemon("slurmctld")
    assert daemons.wait(lambda: look(["mine"]).reachable, SECONDS)


@pytest.fixture
def hanging_squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A squeue that does not answer."""
    (tmp_path / "squeue").write_text("#!/bin/sh\nexec sleep 300\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    commands.environment.cache_clear()
    yield
    commands.environment.cache_clear()


@pytest.mark.usefixtures("hanging_squeue")
def test_squeue_that_hangs_does_not_hang_us() -> None:
    answer = look(["mine"], seconds=0.5)
    assert not answer.reachable
    assert answer.message == "squeue: no answer in 0.5 s"


@pytest.mark.slow
def test_database_of_a_real_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_without_slurm(accounting=True)
    with temporary(Settings(nodes=1, accounting=True, exposed=True)) as cluster:
        monkeypatch.setenv("SLURM_CONF", str(cluster.layout.slurm_conf))
        commands.environment.cache_clear()
        job = sbatch(cluster, tmp_path, "--job-name=a", "--array=0-1", script="exit $SLURM_ARRAY_TASK_ID")
        wanted = {"a": [job], "b": ["1"]}
        assert daemons.wait(
            lambda: sorted(j.state for j in past(wanted, time.time()).values()) == ["COMPLETED", "FAILED"], SECONDS
        )
        found = past(wanted, time.time())
        assert found["a", 1].how_it_ended() == "FAILED, exit code 1:0"
        assert found["a", 0].how_it_ended() == "COMPLETED"
        assert past({"not-a": [job]}, time.time()) == {}
    commands.environment.cache_clear()
