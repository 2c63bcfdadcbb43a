"""The one-machine cluster: it runs jobs, breaks as told, is repaired, and stops what it started and nothing else."""

from __future__ import annotations

import ipaddress
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from experiments.core import files
from experiments.core.errors import InputError
from experiments.core.processes import Process
from slurm.cli import main
from slurm.cluster import cluster as cluster_module
from slurm.cluster import daemons, pointer
from slurm.cluster import temporary as temporary_module
from slurm.cluster.cluster import Cluster, ClusterError
from slurm.cluster.configuration import Layout, Settings, own_address, slurm_conf
from slurm.cluster.temporary import temporary
from tests.slurm.conftest import skip_without_slurm

SECONDS = 120.0
"""Longest wait for what takes Slurm seconds on an idle machine."""


def submit(cluster: Cluster, folder: Path, script: str, *options: str) -> str:
    """Its job id."""
    output = f"--output={folder / '%j.out'}"
    return cluster.run("sbatch", "--parsable", output, *options, "--wrap", script).strip()


def until(condition: object) -> None:
    assert callable(condition)
    assert daemons.wait(lambda: bool(condition()), SECONDS)


def state(cluster: Cluster, job: str) -> str:
    return cluster.run("squeue", "--noheader", "--format=%T", f"--jobs={job}", "--states=all").strip()


def test_job_runs_with_a_pretended_gpu(cluster: Cluster, tmp_path: Path) -> None:
    job = submit(
        cluster, tmp_path, "echo gpu=$CUDA_VISIBLE_DEVICES on=$SLURMD_NODENAME", "--gres=gpu:2", "--nodelist=n2"
    )
    until(lambda: state(cluster, job) == "COMPLETED")
    assert (tmp_path / f"{job}.out").read_text() == "gpu=0,1 on=n2\n"


def test_a_gpu_is_shared_by_its_shards(cluster: Cluster, tmp_path: Path) -> None:
    options = ("--gres=shard:2", "--nodelist=n1")
    jobs = [submit(cluster, tmp_path, "echo $CUDA_VISIBLE_DEVICES; sleep 2", *options) for _ in range(3)]
    until(lambda: all(state(cluster, job) == "COMPLETED" for job in jobs))
    used = [(tmp_path / f"{job}.out").read_text().strip() for job in jobs]
    assert len(set(used)) < len(used)  # three at once on two GPUs


@pytest.mark.parametrize("orphans", [False, True])
def test_node_that_dies_with_its_jobs_or_leaves_orphans(cluster: Cluster, tmp_path: Path, orphans: bool) -> None:
    job = submit(cluster, tmp_path, f"echo $$ >> {tmp_path}/pids; exec sleep 300", "--nodelist=n1", "--no-requeue")
    until(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text())
    process = daemons.identified(int((tmp_path / "pids").read_text()))
    cluster.kill_node("n1", orphans=orphans)
    try:
        assert cluster.node_states()["n1"].startswith("DOWN")
        assert state(cluster, job) == "NODE_FAIL"
        assert daemons.lives(process) is orphans
        assert cluster.status().state == "half-dead"
        assert "n1 not running" in cluster.status().line()
    finally:
        daemons.end([process], 0.0, signal.SIGKILL)
        cluster.start_node("n1")
    assert cluster.status().state == "up"


def test_daemons_are_restarted_while_a_job_runs(cluster: Cluster, tmp_path: Path) -> None:
    job = submit(cluster, tmp_path, f"touch {tmp_path}/began; sleep 300", "--nodelist=n2")
    until((tmp_path / "began").exists)
    cluster.restart_daemon("slurmctld")
    cluster.restart_daemon("n2")
    assert state(cluster, job) == "RUNNING"
    assert len(cluster.job_processes()) >= 1
    cluster.run("scancel", job)
    until(lambda: not cluster.job_processes())


def test_daemon_of_an_up_that_was_killed_is_known_again(cluster: Cluster) -> None:
    """It was started and not yet written down."""
    before = cluster.registry.read()["n1"]
    cluster.registry.forget("n1")
    assert cluster.up() == []
    assert cluster.registry.read()["n1"] == before


def test_up_resumes_a_node_that_is_down(cluster: Cluster) -> None:
    cluster.run("scontrol", "update", "nodename=n2", "state=down", "reason=test")
    assert cluster.status().state == "half-dead"
    assert Cluster(cluster.directory).up() == []
    assert cluster.status().state == "up"


def test_job_ids_do_not_begin_at_1(cluster: Cluster, tmp_path: Path) -> None:
    assert int(submit(cluster, tmp_path, "true")) > 1000


def test_everything_listens_on_the_machines_own_address(cluster: Cluster) -> None:
    """On the loopback, where the machine's name is there; read from the kernel's tables."""
    inodes = set()
    for seen in cluster._processes():
        for handle in Path(f"/proc/{seen.process.pid}/fd").iterdir():
            target = os.readlink(handle)
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [row[1].partition(":")[0] for row in table if row[3] == "0A" and row[9] in inodes]
    addresses = {str(ipaddress.ip_address(bytes.fromhex(address)[::-1])) for address in listening}
    assert len(listening) >= 3
    assert addresses == {own_address(exposed=True)}


def test_down_stops_its_own_and_nothing_else(cluster: Cluster, tmp_path: Path) -> None:
    """A second cluster beside the first, with a job on it; a stranger with a pid that the registry names."""
    stranger = subprocess.Popen(["sleep", "300"])
    try:
        with temporary(replace(cluster.settings, nodes=1)) as other:
            assert other.layout.port != cluster.layout.port
            submit(other, tmp_path, f"trap '' TERM; touch {tmp_path}/other; while true; do sleep 1; done")
            until((tmp_path / "other").exists)
            reused = replace(daemons.identified(stranger.pid), started="1")
            other.registry.remember("n1-of-old", reused)
            assert other.down()
            assert not other.down()
            assert other._processes() == []
            assert not other.status().nodes
        assert not other.directory.exists()
        assert stranger.poll() is None
        assert cluster.status().state == "up"
    finally:
        stranger.kill()
        stranger.wait()


def test_cluster_of_a_killed_test_is_stopped_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A living owner's is left alone, and a directory that names no owner."""
    monkeypatch.setattr(temporary_module, "TEMPORARY", tmp_path)
    me = Process.this()
    for name, owner in (("living", me), ("dead", replace(me, started="1"))):
        (tmp_path / f"equilaw-{name}").mkdir()
        files.write_json(tmp_path / f"equilaw-{name}" / "owner.json", asdict(owner))
    (tmp_path / "equilaw-other").mkdir()
    stopped: list[Path] = []
    monkeypatch.setattr(Cluster, "down", lambda self: stopped.append(self.directory))
    temporary_module.remove_abandoned()
    assert stopped == [tmp_path / "equilaw-dead" / "cluster"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["equilaw-living", "equilaw-other"]


@pytest.mark.slow
def test_pending_job_is_there_after_down_and_up(tmp_path: Path) -> None:
    skip_without_slurm()
    with temporary(Settings(nodes=1, exposed=True)) as cluster:
        job = submit(cluster, tmp_path, "echo ran", "--hold")
        submit(cluster, tmp_path, f"echo >> {tmp_path}/starts; sleep 300")
        until((tmp_path / "starts").exists)
        cluster.down()
        again = Cluster(cluster.directory)
        assert again.settings == cluster.settings
        assert again.up() == ["munged", "slurmctld", "n1"]
        cluster.run("scontrol", "release", job)
        until(lambda: state(cluster, job) == "COMPLETED")
        until(lambda: len((tmp_path / "starts").read_text()) == 2)  # what ran was requeued


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user's cache of its own, no Slurm in the environment, and a short directory for the cluster."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("SLURM_CONF", raising=False)
    return tmp_path


@pytest.mark.slow
def test_command_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    skip_without_slurm()
    directory = f"/tmp/equilaw-{os.getpid()}"
    options = ["--dir", directory]
    try:
        assert main(["cluster", "status", *options]) == 1
        assert capsys.readouterr().out.startswith(f"no cluster in {directory}")
        assert main(["cluster", "up", "--nodes=1", "--exposed", *options]) == 0
        assert capsys.readouterr().out.startswith(f"started cluster {directory}: up, nodes n1 idle, 0 jobs, without")
        assert pointer.slurm_conf() == f"{directory}/slurm.conf"
        assert main(["cluster", "up", *options]) == 0
        assert capsys.readouterr().out.startswith("was up already")
        assert main(["cluster", "up", "--accounting", *options]) == 2
        assert capsys.readouterr().err.startswith("python -m slurm: ")
        Cluster(Path(directory)).stop_daemon("n1", signal.SIGKILL)
        assert main(["cluster", "status", *options]) == 1
        assert "half-dead (n1 not running" in capsys.readouterr().out
        assert main(["cluster", "up", *options]) == 0
        assert capsys.readouterr().out.startswith("started again n1")
    finally:
        assert main(["cluster", "down", *options]) == 0
        subprocess.run(["rm", "-r", directory], check=True)
    assert pointer.slurm_conf() is None


def test_pointer_counts_only_where_there_is_no_other_slurm(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = home / "slurm.conf"
    assert pointer.slurm_conf() is None
    pointer.point_to(conf)
    assert pointer.slurm_conf() is None  # it is gone
    conf.touch()
    monkeypatch.setattr(pointer, "_machine_has_slurm", lambda: False)
    assert pointer.slurm_conf() == str(conf)
    monkeypatch.setattr(pointer, "_machine_has_slurm", lambda: True)
    assert pointer.slurm_conf() is None
    monkeypatch.setattr(pointer, "_machine_has_slurm", lambda: False)
    monkeypatch.setenv("SLURM_CONF", "/elsewhere")
    assert pointer.slurm_conf() is None
    pointer.point_no_more_to(home / "another.conf")
    assert pointer.pointer().exists()
    pointer.point_no_more_to(conf)
    assert not pointer.pointer().exists()
    pointer.pointer().write_text("garbage")
    monkeypatch.delenv("SLURM_CONF")
    assert pointer.slurm_conf() is None


@pytest.mark.parametrize(("answer", "there"), [("echo 'Slurmctld(primary) at h is UP'", True), ("exit 1", False)])
def test_machines_own_slurm_is_one_that_answers(
    home: Path, monkeypatch: pytest.MonkeyPatch, answer: str, there: bool
) -> None:
    scontrol = home / "scontrol"
    scontrol.write_text(f"#!/bin/sh\n{answer}\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(home), prepend=os.pathsep)
    assert pointer._machine_has_slurm() is there


def test_bad_input_is_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemons, "missing", lambda accounting: [])
    (home / "own").mkdir()
    (home / "own" / "thesis.tex").touch()
    short = Path("/tmp") / home.name
    for directory, settings, message in (
        (Path("/tmp") / ("long" * 20), Settings(), "too long a path"),
        (short, Settings(nodes=0), "nodes=0"),
    ):
        with pytest.raises(InputError, match=message):
            Cluster(directory, settings).up()
    monkeypatch.setattr(cluster_module, "LONGEST", 1000)
    with pytest.raises(InputError, match="holds something else"):
        Cluster(home / "own").up()
    monkeypatch.setattr(daemons, "missing", lambda accounting: ["munged", "slurmd"])
    with pytest.raises(InputError, match=r"munged, slurmd not installed; accepted: make slurm"):
        Cluster(short).up()
    assert (home / "own" / "thesis.tex").exists()
    assert not short.exists()


def test_address_that_others_reach_is_refused_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostbyname", lambda name: "192.0.2.7")
    with pytest.raises(InputError, match=r"192\.0\.2\.7, where others may reach"):
        own_address(exposed=False)
    assert own_address(exposed=True) == "192.0.2.7"


def test_configuration_takes_further_lines(tmp_path: Path) -> None:
    layout = Layout(tmp_path, 20_000, "c")
    text = slurm_conf(layout, Settings(user_signal=False, extra={"MaxArraySize": "5", "KillWait": "1"}), "127.0.0.1")
    assert "MaxArraySize=5" in text
    assert text.count("KillWait=") == 1
    assert "preempt_send_user_signal" not in text
    assert "preempt_send_user_signal" in slurm_conf(layout, Settings(), "127.0.0.1")


def test_daemon_that_ends_at_once_is_reported_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cluster = Cluster(tmp_path / "c")
    (tmp_path / "c" / "log").mkdir(parents=True)
    command = [sys.executable, "-c", "import sys; sys.exit('the port is taken')"]
    monkeypatch.setattr(Cluster, "_daemon", lambda *_: (command, lambda: False))
    with pytest.raises(ClusterError, match=r"n1 ended at once: the port is taken \(see .*n1-said\.log\)"):
        cluster._start("n1", "127.0.0.1")


def test_registry_survives_garbage(tmp_path: Path) -> None:
    registry = daemons.Registry(tmp_path / "daemons.json")
    assert registry.read() == {}
    me = Process.this()
    files.write_json(registry.path, {"good": asdict(me), "bad": {"pid": "x"}})
    assert registry.read() == {"good": me}
    registry.path.write_text("garbage")
    assert registry.read() == {}


def test_processes_are_seen_with_program_and_environment_until_they_end() -> None:
    mark = {"EQUILAW_TEST_MARK": str(os.getpid())}
    with subprocess.Popen(["sleep", "60"], env={**os.environ, **mark}) as child:
        try:
            until(lambda: "sleep" in [seen.program for seen in marked(mark)])  # until exec it is a copy of us
            assert [seen.process for seen in marked(mark)] == [daemons.identified(child.pid)]
        finally:
            child.kill()
        until(lambda: not marked(mark))  # a zombie, for nobody has waited yet


def marked(mark: dict[str, str]) -> list[daemons.RunningProcess]:
    return [seen for seen in daemons.running() if mark.items() <= dict(seen.environment).items()]
