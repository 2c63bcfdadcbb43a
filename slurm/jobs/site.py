"""What a cluster offers its user, asked of `scontrol`, `sinfo` and `sacctmgr`: partitions, GPUs, accounts, QOS."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from slurm.jobs.commands import SlurmError, ask
from slurm.jobs.limits import configuration, user

Ask = Callable[..., str]
UNLIMITED = ("UNLIMITED", "INFINITE", "NONE", "")
ASSOCIATION = ("Account", "Partition", "QOS", "DefaultQOS", "MaxSubmitJobs", "MaxJobs", "GrpSubmit", "GrpJobs")
"""Columns asked of `sacctmgr show assoc`; the last four are limits, and a 0 in one of them closes the account."""


@dataclass(frozen=True)
class Partition:
    """A partition, as `scontrol show partition` has it."""

    name: str
    default: bool = False
    up: bool = True
    minutes: int | None = None
    """Longest time limit; None: none."""
    default_minutes: int | None = None
    accounts: frozenset[str] = frozenset()
    """Accounts that may use it; empty: all."""
    denied: frozenset[str] = frozenset()
    qos: frozenset[str] = frozenset()
    """QOS that may use it; empty: all."""
    preempt_mode: str = "OFF"
    tier: int = 1
    """Its priority: jobs of partitions with a higher one may preempt those of this one."""
    gpus: Mapping[str, int] = field(default_factory=dict)
    """GPUs of a node by type (`` where they have none); of nodes that differ the largest number."""
    parts: Mapping[str, int] = field(default_factory=dict)
    """Parts of a node's GPUs, by the name of the resource: shard, mps."""


@dataclass(frozen=True)
class Account:
    """An account of the user's: an association without which jobs cannot be charged to it."""

    name: str
    closed: bool = False
    """Whether a limit of 0 keeps all jobs out."""
    qos: tuple[str, ...] = ()
    default_qos: str = ""
    partitions: frozenset[str] = frozenset()
    """Partitions in which it holds; empty: all."""


@dataclass(frozen=True)
class Site:
    """What the cluster offers."""

    partitions: tuple[Partition, ...]
    accounts: tuple[Account, ...] | None
    """The user's; None: the cluster has no accounting, or it does not answer."""
    default_account: str = ""
    enforced: str = ""
    """`AccountingStorageEnforce`: what a job must have (associations, limits, qos)."""
    preempted_by: str = ""
    """`partition_prio`, `qos` or nothing."""
    preempting: Mapping[str, str] = field(default_factory=dict)
    """QOS → those whose jobs it preempts."""

    def preemptible(self, partition: Partition) -> bool:
        """Return whether jobs in `partition` may be ended for others'."""
        higher = any(other.tier > partition.tier for other in self.partitions)
        return self.preempted_by == "partition_prio" and higher and partition.preempt_mode not in ("OFF", "DISABLED")


def read(ask: Ask = ask) -> Site:
    """Ask the cluster.

    Raises:
        SlurmError: its controller does not answer.
    """
    config = configuration(ask)
    resources = _resources(ask("sinfo", "-h", "-o", "%R|%G"))
    lines = ask("scontrol", "show", "partition", "-o").splitlines()
    partitions = tuple(_partition(line, resources) for line in lines if line.startswith("PartitionName="))
    accounts: tuple[Account, ...] | None = None
    default, preempting = "", dict[str, str]()
    if "slurmdbd" in config.get("AccountingStorageType", ""):
        with suppress(SlurmError):  # the controller goes on without its database, and so do its users
            accounts, default, preempting = _accounting(ask)
    enforced = config.get("AccountingStorageEnforce", "none").lower()
    kind = config.get("PreemptType", "").rpartition("/")[2]
    return Site(
        partitions, accounts, default, "" if enforced == "none" else enforced, "" if kind == "none" else kind,
        preempting,
    )  # fmt: skip


def _partition(line: str, resources: Mapping[str, tuple[dict[str, int], dict[str, int]]]) -> Partition:
    values = dict(re.findall(r"(\w+)=(\S*)", line))
    name = values["PartitionName"]
    gpus, parts = resources.get(name, ({}, {}))
    tier = values.get("PriorityTier", "1")
    return Partition(
        name, values.get("Default") == "YES", values.get("State", "UP") == "UP",
        minutes(values.get("MaxTime", "")), minutes(values.get("DefaultTime", "")),
        _names(values.get("AllowAccounts", "ALL")), _names(values.get("DenyAccounts", "")),
        _names(values.get("AllowQos", "ALL")), values.get("PreemptMode", "OFF").upper(),
        int(tier) if tier.isdigit() else 1, gpus, parts,
    )  # fmt: skip


def _names(text: str) -> frozenset[str]:
    return frozenset() if text in ("ALL", "(null)") else frozenset(filter(None, text.split(",")))


def minutes(text: str) -> int | None:
    """Return a time limit as Slurm prints it (`D-HH:MM:SS`) in minutes, rounded down; None: there is none."""
    if text.upper() in UNLIMITED or not (match := re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)):
        return None
    days, hours, rest, _ = (int(part or 0) for part in match.groups())
    return (24 * days + hours) * 60 + rest


def _resources(output: str) -> dict[str, tuple[dict[str, int], dict[str, int]]]:
    """Return GPUs by type, and parts of them by resource, of a node of every partition (`sinfo -o '%R|%G'`)."""
    found: dict[str, tuple[dict[str, int], dict[str, int]]] = {}
    for line in output.splitlines():
        partition, sign, text = line.strip().partition("|")
        if not sign:  # a banner
            continue
        gpus, parts = found.setdefault(partition, ({}, {}))
        of_node: dict[str, int] = {}
        for entry in re.sub(r"\([^)]*\)", "", text).split(","):  # (S:0-1): the sockets that a GPU is at
            name, *kind, number = entry.split(":") if ":" in entry else (entry, "1")
            if not number.isdigit() or int(number) == 0:
                continue
            if name == "gpu":
                gpus[":".join(kind)] = max(int(number), gpus.get(":".join(kind), 0))
            elif name in ("shard", "mps"):
                of_node[name] = of_node.get(name, 0) + int(number)
        for name, count in of_node.items():
            parts[name] = max(count, parts.get(name, 0))
    return found


def _accounting(ask: Ask) -> tuple[tuple[Account, ...], str, dict[str, str]]:
    me = user(ask)
    columns = ",".join(ASSOCIATION)
    rows = _rows(ask("sacctmgr", "-nP", "show", "assoc", "where", f"user={me}", f"format={columns}"), len(ASSOCIATION))
    by_name: dict[str, list[list[str]]] = {}
    for row in rows:
        by_name.setdefault(row[0], []).append(row)
    accounts = []
    for name, of_name in by_name.items():
        best = next((row for row in of_name if "0" not in row[4:]), of_name[0])
        everywhere = any(not row[1] for row in of_name)
        accounts.append(
            Account(
                name, "0" in best[4:], tuple(filter(None, best[2].split(","))), best[3],
                frozenset() if everywhere else frozenset(row[1] for row in of_name),
            )
        )  # fmt: skip
    default = ask("sacctmgr", "-nP", "show", "user", "where", f"user={me}", "format=DefaultAccount").split()
    qos = _rows(ask("sacctmgr", "-nP", "show", "qos", "format=Name,Preempt"), 2)
    known = {account.name for account in accounts}
    preempting = {name: others for name, others in qos if others and " " not in name}  # a banner's bar is no column
    return tuple(accounts), next((name for name in default if name in known), ""), preempting


def _rows(output: str, columns: int) -> list[list[str]]:
    """Return the rows of a table in parsable form, without banners."""
    rows = [line.strip().split("|") for line in output.splitlines()]
    return [row for row in rows if len(row) == columns]
