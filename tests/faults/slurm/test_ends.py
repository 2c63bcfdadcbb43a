"""Jobs that end as they should not: time limits, nodes and daemons that die, scancel, faults of a run itself."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from slurm.cluster.cluster import Cluster
from tests.faults.slurm.harness import ROOT, Sweep

pytestmark = pytest.mark.faults
MakeSweep = Callable[..., Sweep]


def test_warning_before_the_time_limit(sweep: MakeSweep, cluster: Cluster) -> None:
    """Sent by hand: Slurm looks at time limits about twice a minute."""
    s = sweep()
    s.launch("time=9")
    s.until_running(count=2)
    cluster.run("scancel", "--signal=USR2", *s.jobs())
    s.finish()
    assert min(s.attempts()) == 2
    s.assert_resumed()


def test_time_limit_of_minutes(sweep: MakeSweep) -> None:
    """A job that takes longer than its limit goes on in the queue, again and again.

    The limit leaves a job several times what imports take here now: on a busy machine a worker that has only begun at
    its warning keeps nothing, and three of these in a row are rightly a failure.
    """
    s = sweep()
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import experiments.runs.execute"], cwd=ROOT, check=True)
    minutes = max(2, math.ceil((5 * (time.monotonic() - began) + 30) / 60))
    s.disturb(slow=4.0 * minutes)  # 200 updates in chunks of at most 20, twice: 4/3 of the limit at least
    s.launch(f"time={minutes}", "pack=2", "signal_delay=30")
    s.finish(seconds=450.0 * minutes)  # two runs, one after the other, that work until half a minute before each limit
    assert "timeout" in s.causes()
    s.assert_resumed()


@pytest.mark.parametrize("orphans", [False, True], ids=["with-its-processes", "orphans-left"])
def test_node_killed(sweep: MakeSweep, cluster: Cluster, orphans: bool) -> None:
    s = sweep()
    s.launch()
    (first, *_) = s.until_kept(count=2)
    node = _node_of(s, first.job)
    cluster.kill_node(node, orphans=orphans)
    try:
        s.finish()
    finally:
        cluster.start_node(node)
    if not orphans:
        assert max(s.attempts()) >= 2
        s.assert_resumed()


def _node_of(s: Sweep, job: str | None) -> str:
    return s.cluster.run("squeue", "--noheader", "--format=%N", f"--jobs={job}").strip()


def test_orphan_that_wakes_after_its_lease(sweep: MakeSweep, cluster: Cluster) -> None:
    """Its copy has taken over by then; it may go on, but only one result counts. Each node is a machine of its own."""
    s = sweep()
    s.disturb(slow=0.4, node=True, lease=6.0)
    s.launch("pack=2")
    (row, *_) = s.until_running()
    node = _node_of(s, row.job)
    cluster.kill_node(node, orphans=True)
    frozen = cluster.job_processes()
    for seen in frozen:
        _signal(seen.process.pid, signal.SIGSTOP)
    s.until(lambda: max(s.attempts()) >= 2, "the copy to take over")
    for seen in frozen:
        _signal(seen.process.pid, signal.SIGCONT)
    try:
        s.finish()
    finally:
        cluster.start_node(node)


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def test_clock_of_a_node_that_is_an_hour_ahead(sweep: MakeSweep) -> None:
    """A heartbeat is as old as the file system says, whatever the machines' clocks do."""
    s = sweep()
    s.disturb(slow=0.4, node=True, skew=3600.0)
    s.launch()
    s.until_running(count=2)
    s.finish()
    assert s.attempts() == [1, 1]


def test_daemons_restarted(sweep: MakeSweep, cluster: Cluster) -> None:
    s = sweep("unknown")
    s.disturb(slow=0.8)
    s.launch()
    s.until_running(count=2)
    cluster.stop_daemon("slurmctld")
    assert "running" in s.states()  # the run directories say so; what only waits is unknown now
    cluster.start_daemon("slurmctld")
    for node in cluster.nodes:
        cluster.restart_daemon(node)
    s.finish()
    assert s.attempts() == [1, 1]


def test_scancel_of_a_pending_element(sweep: MakeSweep, cluster: Cluster) -> None:
    """By hand, past our own command: Slurm forgets it at once."""
    s = sweep("lost")
    s.launch("sbatch={hold: true}")
    job, other = s.jobs()
    cluster.run("scancel", job)
    s.until(lambda: s.states() == ["lost", "queued"], "the loss to be told")
    cluster.run("scontrol", "release", other)
    assert "1 submitted" in s.launch()
    s.finish()


def test_scancel_of_a_running_element(sweep: MakeSweep, cluster: Cluster) -> None:
    s = sweep("cancelled", "lost")
    s.launch()
    (row, *_) = s.until_running(count=2)
    cluster.run("scancel", str(row.job))
    s.until(lambda: {r.run_id: r.state for r in s.rows()}[row.run_id] in ("cancelled", "lost"), "its end")
    assert "1 submitted" in s.launch()
    s.finish()
    s.assert_resumed()


def test_exception_in_one_run_of_a_pack(sweep: MakeSweep, cluster: Cluster) -> None:
    s = sweep("failed")
    s.disturb(hit={"P": 4, "how": "raise"})
    s.launch("pack=2")
    s.until(lambda: s.states() == ["done", "failed"], "one done, one failed")
    (row,) = [row for row in s.rows() if row.state == "failed"]
    assert row.why == "RuntimeError: a fault of the test"
    s.until(lambda: not s.jobs(), "the end of the job")
    assert cluster.run("squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={row.job}").strip() == "FAILED"
    s.disturb()
    assert "0 submitted" in s.launch(code=1)  # a failed run is tried again only when asked for
    assert "1 submitted" in s.launch("retry=true")
    s.finish()


def test_worker_that_exits_at_once(sweep: MakeSweep) -> None:
    """os._exit: nobody is left to record anything but the driver of the job."""
    s = sweep("failed")
    s.disturb(hit={"P": 4, "how": "exit"})
    s.launch("pack=2")
    s.until(lambda: s.states() == ["done", "failed"], "one done, one failed")
    (row,) = [row for row in s.rows() if row.state == "failed"]
    assert "exit code 3" in row.why
    s.disturb()
    s.launch("retry=true")
    s.finish()


def test_out_of_memory(sweep: MakeSweep) -> None:
    """Slurm kills the step: the run is lost or failed, never still running; with more memory it is done."""
    s = sweep("failed", "lost")
    s.disturb(hit={"P": 4, "how": "memory"})
    s.launch("memory=1.5")
    s.until(lambda: not s.jobs(), "the end of the jobs")
    # the process that was killed has memory to give back, and lives until then
    s.until(lambda: s.states()[1] in ("failed", "lost"), "one run failed or lost", 60.0)
    assert s.states()[0] == "done"
    s.disturb()
    s.launch("memory=4", "retry=true")
    s.finish()


def test_disk_that_is_full(sweep: MakeSweep) -> None:
    """A limit on the size of the workers' files, which the system refuses like a full disk; then there is room."""
    s = sweep("lost")
    s.disturb(slow=0.4, room=1500)
    s.launch()
    s.until(lambda: not s.jobs(), "the end of the jobs")
    assert s.states() == ["lost", "lost"]
    assert all("nothing is lost, submit the sweep again" in row.why for row in s.rows())
    s.disturb(slow=0.4)
    s.launch()
    s.finish()


def test_undisturbed(sweep: MakeSweep) -> None:
    """An undisturbed sweep passes the same examination."""
    s = sweep()
    s.launch()
    s.finish()
    assert s.attempts() == [1, 1]
