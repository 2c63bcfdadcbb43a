"""Configuration of a one-machine cluster: its settings, its files (slurm.conf, gres.conf, slurmdbd.conf), its ports."""

from __future__ import annotations

import ipaddress
import os
import random
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from experiments.core.errors import InputError
from experiments.core.processes import user_name

PORTS = range(20_000, 32_000, 32)
"""Base ports to choose from, below those that Linux assigns by itself; a cluster has the 32 ports from its base on."""
CONTROLLER, ACCOUNTING, DATABASE, FIRST_NODE = 0, 1, 2, 3
"""Ports, counted from the base port."""
MOST_NODES = 29
LONGEST = 60
"""Most characters of the directory: sockets lie in it, and Linux allows 108 for a socket's path."""
EPOCH = 1_767_225_600
"""2026-01-01 in Unix seconds. Job ids of a new cluster begin at the seconds since then."""
JOB_IDS = 60_000_000
"""First job ids lie below this number; Slurm's largest job id is a little above it."""


@dataclass(frozen=True)
class Settings:
    """Settings of a cluster."""

    nodes: int = 4
    gpus: int = 2
    """Pretended GPUs of a node."""
    gpu_types: Mapping[str, int] = field(default_factory=dict)
    """How many of them are of which type (`a100`, or a part of a GPU, `1g.5gb`); none: GPUs have no type."""
    shards: int = 8
    """Parts of a node's GPUs (`shard`) that jobs may ask for."""
    cpus: int = 8
    """CPUs that a node pretends to have."""
    memory: int = 8000
    """MB that a node pretends to have."""
    accounting: bool = False
    """Whether there is a database, so that `sacct` answers."""
    user_signal: bool = True
    """Whether a job hears of its preemption by the signal that it asked for (`preempt_send_user_signal`)."""
    grace: int = 10
    """Seconds between the signals of a preemption and the kill."""
    exposed: bool = False
    """Whether the cluster may listen on an address that other machines may reach."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """Lines of slurm.conf to add or replace."""


@dataclass(frozen=True)
class Layout:
    """The directory with all files of a cluster, its range of ports, and its name."""

    directory: Path
    port: int
    name: str
    """Slurm's name of the cluster, in the environment of its processes; unique."""

    @property
    def slurm_conf(self) -> Path:
        """The path for `SLURM_CONF`."""
        return self.directory / "slurm.conf"

    def path(self, *parts: str) -> Path:
        """Return a path inside the directory."""
        return self.directory.joinpath(*parts)

    @property
    def munge_socket(self) -> Path:
        """The socket of munged, by which the daemons authenticate each other."""
        return self.path("munge", "munge.socket")

    def log(self, daemon: str) -> Path:
        """Return the log file of a daemon."""
        return self.path("log", f"{daemon}.log")


def node_names(settings: Settings) -> list[str]:
    """Return the names of the nodes (n1, n2, …)."""
    return [f"n{number}" for number in range(1, settings.nodes + 1)]


def own_address(exposed: bool) -> str:
    """Return the address of the machine's own name, on which Slurm listens.

    Args:
        exposed: accept an address that other machines may reach.

    Raises:
        InputError: the name has no address, or one that other machines may reach.
    """
    name = short_hostname()
    try:
        address = socket.gethostbyname(socket.gethostname())
    except OSError:
        raise InputError(
            f"this machine's name {name} has no address; accepted: a line '127.0.1.1 {name}' in /etc/hosts"
        ) from None
    if not (exposed or ipaddress.ip_address(address).is_loopback):
        raise InputError(
            f"this machine's name {name} is {address}, where others may reach the cluster; accepted: a line "
            f"'127.0.1.1 {name}' before it in /etc/hosts, or --exposed (all still need the cluster's own key)"
        )
    return address


def short_hostname() -> str:
    """Return the machine's name as Slurm compares it with its configuration."""
    return socket.gethostname().partition(".")[0]


def free_port(address: str) -> int:
    """Return a base port whose range is free; ranges are tried in random order, for tests run side by side.

    Raises:
        InputError: no range is free.
    """
    bases = list(PORTS)
    random.Random(os.urandom(8)).shuffle(bases)
    for base in bases:
        if is_free(address, base):
            return base
    raise InputError(f"no 32 free ports in a row between {PORTS.start} and {PORTS.stop}")


def is_free(address: str, base: int) -> bool:
    """Return whether all ports of the range from `base` on are free."""
    return all(_port_is_free(address, base + offset) for offset in range(MOST_NODES + FIRST_NODE))


def _port_is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Slurm does: a port just left will do
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def write(layout: Layout, settings: Settings, address: str) -> None:
    """Make the directories and write every file that the daemons read."""
    for part in ("munge", "state", "spool", "pid", "log", "dev", "db"):
        layout.path(part).mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in node_names(settings):
        layout.path("spool", name).mkdir(exist_ok=True)
    key = layout.path("munge", "munge.key")
    if not key.exists():
        with open(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "wb") as file:
            file.write(os.urandom(1024))
    for number in range(settings.gpus):
        device = layout.path("dev", f"nvidia{number}")
        if not device.is_symlink():
            device.symlink_to("/dev/null")  # a regular file would be allocated without CUDA_VISIBLE_DEVICES
    layout.path("gres.conf").write_text(_gres_conf(layout, settings))
    layout.slurm_conf.write_text(slurm_conf(layout, settings, address))
    if settings.accounting:
        path = layout.path("slurmdbd.conf")
        path.touch(mode=0o600)
        path.write_text(_slurmdbd_conf(layout, address))


def slurm_conf(layout: Layout, settings: Settings, address: str) -> str:
    """Return the text of slurm.conf (Slurm 22.05 and later)."""
    lines = {**_daemons(layout, address), **_behaviour(settings), **_accounting(layout, settings, address)}
    text = [f"{key}={value}" for key, value in {**lines, **settings.extra}.items()]
    for number, name in enumerate(node_names(settings)):
        text.append(
            f"NodeName={name} NodeHostname={short_hostname()} NodeAddr={address} "
            f"Port={layout.port + FIRST_NODE + number} CPUs={settings.cpus} RealMemory={settings.memory} "
            f"Gres={','.join(_gpus(settings))},shard:{settings.shards} State=UNKNOWN"
        )
    text.append(
        f"PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE "
        f"GraceTime={settings.grace}"
    )
    text.append("PartitionName=preempt Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF")
    return "\n".join(text) + "\n"


def _daemons(layout: Layout, address: str) -> dict[str, str]:
    """Return the lines about the daemons: users, addresses, ports, files and logs."""
    return {
        "ClusterName": layout.name,
        "SlurmctldHost": f"{short_hostname()}({address})",
        "SlurmctldPort": str(layout.port + CONTROLLER),
        "SlurmUser": user_name(),
        "SlurmdUser": user_name(),
        "CommunicationParameters": "NoInAddrAny,NoCtldInAddrAny",  # listen on the address above alone
        "AuthType": "auth/munge",
        "CredType": "cred/munge",
        "AuthInfo": f"cred_expire=5,socket={layout.munge_socket}",  # a requeued job waits until its credential expired
        "StateSaveLocation": str(layout.path("state")),
        "SlurmdSpoolDir": str(layout.path("spool", "%n")),
        "SlurmctldPidFile": str(layout.path("pid", "slurmctld.pid")),
        "SlurmdPidFile": str(layout.path("pid", "slurmd-%n.pid")),
        "SlurmctldLogFile": str(layout.log("slurmctld")),
        "SlurmdLogFile": str(layout.log("%n")),
        "FirstJobId": str(1 + int(time.time() - EPOCH) % JOB_IDS),  # ids of a new state would begin at 1 again
    }


def _behaviour(settings: Settings) -> dict[str, str]:
    """Return the lines about jobs: how they are scheduled, watched, preempted and ended."""
    lines = {
        "MpiDefault": "none",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobAcctGatherFrequency": "task=1",
        "JobAcctGatherParams": "OverMemoryKill",  # without cgroups, polled
        "SlurmdParameters": "config_overrides",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core_Memory",
        "GresTypes": "gpu,shard",
        "DefMemPerCPU": str(settings.memory // settings.cpus),  # torch alone takes half a gigabyte
        "SchedulerType": "sched/backfill",
        "SchedulerParameters": "sched_interval=2,sched_min_interval=0,bf_interval=2,batch_sched_delay=0",
        "PreemptType": "preempt/partition_prio",
        "PreemptMode": "REQUEUE",
        "JobRequeue": "1",
        "KillWait": "5",
        "ReturnToService": "2",
        "SlurmctldTimeout": "10",
        "SlurmdTimeout": "15",
        "MinJobAge": "600",
        "MailProg": "/bin/true",
        "PropagateResourceLimits": "NONE",
    }
    if settings.user_signal:
        lines["SlurmctldParameters"] = "preempt_send_user_signal"
    return lines


def _accounting(layout: Layout, settings: Settings, address: str) -> dict[str, str]:
    if not settings.accounting:
        return {
            "AccountingStorageType": "accounting_storage/none",
            "JobCompType": "jobcomp/filetxt",
            "JobCompLoc": str(layout.log("jobcomp")),
        }
    return {
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": address,
        "AccountingStoragePort": str(layout.port + ACCOUNTING),
        "AccountingStoragePass": str(layout.munge_socket),  # not AuthInfo: the controller's way to slurmdbd has its own
    }


def _gpus(settings: Settings) -> list[str]:
    """Return a node's GPUs as slurm.conf has them, one entry a type."""
    return [f"gpu:{name}:{count}" for name, count in settings.gpu_types.items()] or [f"gpu:{settings.gpus}"]


def _gres_conf(layout: Layout, settings: Settings) -> str:
    lines = []
    for name in node_names(settings):
        first = 0
        for gpu_type, count in (settings.gpu_types or {"": settings.gpus}).items():
            files = layout.path("dev", f"nvidia[{first}-{first + count - 1}]")
            lines.append(f"NodeName={name} Name=gpu {f'Type={gpu_type} ' if gpu_type else ''}File={files}")
            first += count
        lines.append(f"NodeName={name} Name=shard Count={settings.shards}")
    return "\n".join(lines) + "\n"


def _slurmdbd_conf(layout: Layout, address: str) -> str:
    lines = {
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={layout.munge_socket}",
        "CommunicationParameters": "NoInAddrAny",
        "DbdHost": short_hostname(),
        "DbdAddr": address,
        "DbdPort": str(layout.port + ACCOUNTING),
        "SlurmUser": user_name(),
        "PidFile": str(layout.path("pid", "slurmdbd.pid")),
        "LogFile": str(layout.log("slurmdbd")),
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "127.0.0.1",
        "StoragePort": str(layout.port + DATABASE),
        "StorageUser": "root",
        "StoragePass": "none",
        "StorageLoc": "slurm",
    }
    return "".join(f"{key}={value}\n" for key, value in lines.items())
