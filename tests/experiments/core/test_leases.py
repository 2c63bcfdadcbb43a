"""Locks that any machine can take: one holder at a time, the dead are passed over, no number is used twice."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from experiments.core import files, leases
from experiments.core.leases import exclusive, lease_lives
from experiments.core.processes import Process


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "made" / "lock"


def names(lock: Path) -> list[str]:
    return sorted(path.name for path in lock.parent.iterdir())


def test_one_thread_at_a_time(lock: Path) -> None:
    inside = 0
    most = []

    def enter(_: int) -> None:
        nonlocal inside
        with exclusive(lock):
            inside += 1
            most.append(inside)
            time.sleep(0.01)
            inside -= 1

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(enter, range(12)))
    assert most == [1] * 12


def test_the_highest_number_stays_and_is_not_used_again(lock: Path) -> None:
    for number in (1, 2, 3):
        with exclusive(lock):
            assert names(lock) == [f"lock-{number}.json"]
            assert lease_lives(lock.with_name(f"lock-{number}.json"))
        assert names(lock) == [f"lock-{number}.json"]
        assert not lease_lives(lock.with_name(f"lock-{number}.json"))


def test_a_dead_holder_is_passed_over(lock: Path) -> None:
    me = Process.this()
    lock.parent.mkdir()
    for other in ("9", "9.json", "lock-9", "lock-x.json", "block-9.json"):
        lock.with_name(other).touch()
    files.write_json(lock.with_name("lock-7.json"), vars(Process(me.host, me.boot, me.pid, "another's start")))
    with exclusive(lock, patience=0.0):
        assert "lock-8.json" in names(lock)
    assert "lock-7.json" not in names(lock)


def test_a_holder_is_named_and_waited_for(lock: Path) -> None:
    told: list[str] = []
    with (
        exclusive(lock),
        pytest.raises(TimeoutError, match=rf"lock-1.json: process {Process.this().pid} on \S+ holds it"),
        exclusive(lock, patience=0.5, waiting=lambda: told.append("waits")),
    ):
        pytest.fail("two hold it")
    assert told == ["waits"]


def test_who_looked_long_ago_does_not_enter_beside_a_later_holder(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a look and the link that follows it, others come and go, and one stays."""
    look = leases.lease_lives
    with ExitStack() as others:

        def slow(held: Path) -> bool:
            monkeypatch.setattr(leases, "lease_lives", look)
            living = look(held)
            for _ in range(2):
                with exclusive(lock):
                    pass
            others.enter_context(exclusive(lock))
            return living

        monkeypatch.setattr(leases, "lease_lives", slow)
        with pytest.raises(TimeoutError, match=r"lock-3\.json"), exclusive(lock, patience=0.3):
            pytest.fail("two hold it")
        assert names(lock) == ["lock-3.json"]


def test_a_lock_whose_directory_is_removed_is_given_up(lock: Path) -> None:
    with exclusive(lock):
        for path in lock.parent.iterdir():
            path.unlink()
        lock.parent.rmdir()
    assert not leases.LEASES._held
