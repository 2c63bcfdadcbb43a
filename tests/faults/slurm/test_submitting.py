"""Faults between a driver and the controller: killed, refused, unanswered; two drivers at once."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from slurm.cluster.cluster import Cluster
from tests.faults.slurm.harness import SECONDS, Sweep

pytestmark = pytest.mark.faults
MakeSweep = Callable[..., Sweep]


def submitted(text: str) -> int:
    """Runs that a driver says to have submitted."""
    return sum(int(number) for number in re.findall(r"(\d+) submitted", text))


@pytest.mark.parametrize(
    ("script", "state"), [("kill -9 $PPID", "lost"), ('"$real" "$@"; kill -9 $PPID', "queued")], ids=["before", "after"]
)
def test_driver_killed_while_submitting(sweep: MakeSweep, script: str, state: str) -> None:
    """Before or after sbatch got through, and before it could write down the job's id in either case."""
    s = sweep("lost")
    s.replace_program("sbatch", script)
    s.launch(code=-9)
    assert s.states() == [state] * 2 or state == "queued"
    s.replace_program("sbatch", None)
    assert submitted(s.launch()) == (2 if state == "lost" else 0)
    s.finish()
    assert s.attempts() == [1, 1]


def test_bad_partition(sweep: MakeSweep) -> None:
    s = sweep("lost")
    said = s.launch("partition=nosuch", code=1)
    assert "partition" in said
    assert all("sbatch refused it" in row.why for row in s.rows())
    assert submitted(s.launch()) == 2
    s.finish()


def test_submit_limit(sweep: MakeSweep, cluster: Cluster) -> None:
    """A job that is queued is joined; the next one sbatch refuses, with the words of a limit of a QOS."""
    s = sweep("lost")
    assert submitted(s.launch("sbatch={hold: true}", P="4")) == 1
    held = s.jobs()
    limit = "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit)"
    s.replace_program("sbatch", f'echo "{limit}" >&2; exit 1')
    said = s.launch(code=1, P="4,8")
    assert "job submit limit" in said
    assert "1 queued or running" in said
    assert s.states() == ["lost", "queued"]
    assert any("sbatch refused it" in row.why and "job submit limit" in row.why for row in s.rows())
    s.replace_program("sbatch", None)
    assert submitted(s.launch()) == 1
    cluster.run("scontrol", "release", *held)
    s.finish()


def test_squeue_that_hangs_for_half_a_minute(sweep: MakeSweep, cluster: Cluster) -> None:
    """Nothing is submitted by guess: the driver gives up in one line, and the same command continues later."""
    s = sweep()
    assert submitted(s.launch("sbatch={hold: true}")) == 2
    jobs = s.jobs()
    s.replace_program("squeue", 'sleep 30; "$real" "$@"')
    said = s.launch(code=1)
    assert "squeue: no answer" in said
    assert submitted(said) == 0
    s.replace_program("squeue", None)
    assert s.jobs() == jobs
    assert submitted(s.launch()) == 0
    cluster.run("scontrol", "release", *jobs)
    s.finish()
    assert s.attempts() == [1, 1]


def test_same_sweep_twice(sweep: MakeSweep, cluster: Cluster) -> None:
    s = sweep()
    assert submitted(s.launch("sbatch={hold: true}")) == 2
    assert submitted(s.launch()) == 0
    cluster.run("scontrol", "release", *s.jobs())
    s.until_running(updates=0, count=2)
    assert submitted(s.launch()) == 0
    s.finish()


def test_two_drivers_at_once(sweep: MakeSweep) -> None:
    s = sweep()
    drivers = [s.start(), s.start()]
    said = ["".join(driver.communicate(timeout=SECONDS)) for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], said
    assert sum(map(submitted, said)) == 2
    s.finish()
    assert s.attempts() == [1, 1]


def test_cancelled_by_command_and_taken_up_again(sweep: MakeSweep) -> None:
    """`python -m slurm cancel` and `retry`: what was computed stays."""
    from slurm.jobs.actions import cancel, retry

    s = sweep("cancelled")
    s.launch()
    s.until_running(count=2)
    began = time.monotonic()
    assert cancel([s.store], []).problems == []
    s.until(lambda: s.states() == ["cancelled"] * 2 and not s.jobs(), "the end of the jobs")
    assert time.monotonic() - began < SECONDS
    assert retry([s.store], []).problems == []
    s.finish()
    s.assert_resumed()
