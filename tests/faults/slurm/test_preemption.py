"""Preempted and stopped at time limits, with and without the signal that an administrator may have set."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from slurm.cluster.cluster import Cluster
from slurm.cluster.configuration import Settings
from slurm.cluster.temporary import temporary
from tests.faults.slurm.harness import Sweep
from tests.slurm.conftest import skip_without_slurm

pytestmark = pytest.mark.faults
MakeSweep = Callable[..., Sweep]


@pytest.fixture(scope="module", params=[True, False], ids=["user-signal", "no-user-signal"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """With and without `preempt_send_user_signal`."""
    skip_without_slurm()
    with temporary(Settings(nodes=2, exposed=True, user_signal=request.param)) as made:
        yield made


def preempt(cluster: Cluster) -> None:
    """A job that takes both nodes from those of the lower partition."""
    cluster.run(
        "sbatch", "--partition=preempt", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=8", "--mem-per-cpu=100",
        "--output=/dev/null", "--wrap", "sleep 2",
    )  # fmt: skip


@pytest.mark.parametrize("minutes", [60, 5], ids=["hour", "five-minutes"])
def test_preempted(sweep: MakeSweep, cluster: Cluster, minutes: int) -> None:
    """Also where a limit under ten minutes would make submitit call it a timeout."""
    s = sweep()
    s.launch(f"time={minutes}")
    s.until_running(count=2)
    preempt(cluster)
    s.finish()
    assert min(s.attempts()) >= 2
    assert s.causes() == {"preemption"}
    s.assert_resumed()


def test_preempted_twice_in_one_pack(sweep: MakeSweep, cluster: Cluster) -> None:
    s = sweep()
    s.disturb(slow=0.8)
    s.launch("pack=2")
    for _ in range(2):
        s.until_running()
        preempt(cluster)
        s.until(lambda: "running" not in s.states(), "the preemption")
    s.finish()
    assert s.causes() == {"preemption"}
    s.assert_resumed()
