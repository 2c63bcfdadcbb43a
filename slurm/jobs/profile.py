"""A cluster's own file of launcher settings, chosen by what the cluster offers; what its user lacks on the way."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from experiments.core.wording import counted
from slurm.jobs.site import Account, Partition, Site
from slurm.requests import EXPORTED
from slurm.settings import SlurmSettings

NAME = "mycluster"
PLACE = f"conf/hydra/launcher/{NAME}.yaml"
YAML_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
"""Words that YAML does not read as texts."""


@dataclass
class Profile:
    """The settings to write, and what is to be said about them."""

    settings: dict[str, str] = field(default_factory=dict)
    """Lines of the file by key, as YAML writes the value."""
    remarks: dict[str, str] = field(default_factory=dict)
    """Comments behind lines."""
    hints: list[str] = field(default_factory=list)
    """Further lines of the file, commented out."""
    missing: list[str] = field(default_factory=list)
    """What keeps jobs from running, one line each."""

    def text(self) -> str:
        """Return the file's text."""
        lines = [f"# {PLACE}: use it with hydra/launcher={NAME}", "defaults: [slurm]"]
        for key, value in self.settings.items():
            line = f"{key}: {value}"
            lines.append(f"{line:<28}# {self.remarks[key]}" if key in self.remarks else line)
        return "\n".join([*lines, *(f"# {hint}" for hint in self.hints)]) + "\n"


def describe(site: Site) -> Iterator[tuple[str, str]]:
    """Yield a line for each partition and account, with its kind."""
    for partition in site.partitions:
        gpus = [f"{count} {name or 'GPU'}" for name, count in partition.gpus.items()]
        parts = [f"{name} ({count} parts)" for name, count in partition.parts.items()]
        about = [
            "default" if partition.default else "",
            "" if partition.up else "down",
            f"up to {_spelled(partition.minutes)}" if partition.minutes else "no time limit",
            f"{_spelled(partition.default_minutes)} if no time is asked for" if partition.default_minutes else "",
            f"GPUs of a node: {', '.join(gpus)}" if gpus else "no GPUs",
            f"shared by {' or '.join(parts)}" if parts else "",
            f"accounts {_listed(partition.accounts)} only" if partition.accounts else "",
            f"not for accounts {_listed(partition.denied)}" if partition.denied else "",
            f"QOS {_listed(partition.qos)} only" if partition.qos else "",
            f"preemptible ({partition.preempt_mode.lower()})" if site.preemptible(partition) else "",
        ]
        yield "partition", f"{partition.name}: {', '.join(filter(None, about))}"
    for account in site.accounts or ():
        about = [
            "default" if account.name == site.default_account else "",
            "closed (a limit of 0 jobs)" if account.closed else "",
            f"partitions {_listed(account.partitions)} only" if account.partitions else "",
            f"QOS {', '.join(account.qos)}" if account.qos else "",
            f"QOS {account.default_qos} if none is asked for" if account.default_qos else "",
        ]
        yield "account", f"{account.name}: {', '.join(filter(None, about)) or 'open'}"
    if site.preempting:
        yield "qos", "; ".join(f"{name} preempts {others}" for name, others in site.preempting.items())


def profile(site: Site, device: str, environment: Mapping[str, str]) -> Profile:
    """Choose the settings of a launcher on this cluster.

    Args:
        site: what it offers.
        device: `cuda`, `cpu`, or `auto`: GPUs if there are any.
        environment: variables, among them those by which sites give defaults.
    """
    made = Profile()
    partition, account = _choose(site, device, environment, made)
    if partition is not None:
        made.settings["partition"] = _yaml(partition.name)
        others = [p.name for p in site.partitions if p.up and p.name != partition.name]
        if others:
            made.remarks["partition"] = f"or {', '.join(others)}"
    if account is not None:
        made.settings["account"] = _yaml(account.name)
        others = [a.name for a in site.accounts or () if not a.closed and a.name != account.name]
        if others:
            made.remarks["account"] = f"or {', '.join(others)}"
        _add_qos(partition, account, made)
    standard = SlurmSettings().minutes
    longest = standard if partition is None or partition.minutes is None else partition.minutes
    made.settings["time"] = f"'{_spelled(max(1, min(standard, longest)))}'"
    if partition is not None and site.preemptible(partition):
        made.remarks["time"] = "preempted jobs are queued again and go on from their checkpoints"
    gpu, remark = ("", "anything else that sbatch knows") if partition is None else _gpus(partition, device, made)
    made.hints += [
        "setup: ['module load python/3.11', 'source ~/equilaw/.venv/bin/activate']   # shell lines before the program",
        f"sbatch: {{{gpu}mail-user: me@example.org, mail-type: FAIL}}   # {remark}",
    ]
    return made


def _choose(
    site: Site, device: str, environment: Mapping[str, str], made: Profile
) -> tuple[Partition | None, Account | None]:
    """Return the partition and the account to use; None: none is needed, or none is to be had (`made.missing`)."""
    asked = {name: next(filter(None, map(environment.get, EXPORTED[name])), None) for name in ("partition", "account")}
    accounts = [account for account in site.accounts or () if not account.closed]
    if site.accounts is not None and not accounts and "associations" in site.enforced:
        closed = f"; closed: {', '.join(a.name for a in site.accounts)}" if site.accounts else ""
        made.missing.append(f"no account that jobs can be charged to{closed}; ask the site for one")
    if site.accounts and asked["account"] is not None and asked["account"] not in {a.name for a in accounts}:
        made.missing.append(
            f"account {asked['account']} of ${next(v for v in EXPORTED['account'] if environment.get(v))} is closed "
            f"or not yours; accepted: {', '.join(a.name for a in accounts) or 'none'}"
        )
    accounts.sort(key=lambda a: (a.name != asked["account"], a.name != site.default_account))
    up = [p for p in site.partitions if p.up]
    usable = [p for p in up if not accounts or any(_fits(p, a) for a in accounts)]
    with_gpus = [p for p in usable if p.gpus]
    if device == "cuda" and not with_gpus:
        made.missing.append("no partition with GPUs that is up and open to your accounts")
    elif site.partitions and not usable:
        made.missing.append("no partition that is up and open to your accounts")
    choice = with_gpus if device == "cuda" or (device == "auto" and with_gpus) else usable
    choice.sort(key=lambda p: (p.name != asked["partition"], not p.default, site.preemptible(p)))
    partition = next(iter(choice), None)
    fitting = [a for a in accounts if partition is None or _fits(partition, a)]
    return partition, next(iter(fitting), None)


def _fits(partition: Partition, account: Account) -> bool:
    """Return whether jobs of `account` may run in `partition`."""
    open_ = not partition.accounts or account.name in partition.accounts
    here = not account.partitions or partition.name in account.partitions
    allowed = not partition.qos or not account.qos or partition.qos.intersection(account.qos)
    return open_ and here and account.name not in partition.denied and bool(allowed)


def _gpus(partition: Partition, device: str, made: Profile) -> tuple[str, str]:
    """Return an example of a parameter of sbatch for GPUs of one type, and a remark; hint at how GPUs are shared."""
    if device == "cpu" or not partition.gpus:
        return "", "anything else that sbatch knows"
    total = sum(partition.gpus.values())
    shared = next(((name, count // total) for name, count in partition.parts.items() if count // total > 1), None)
    if shared is not None:
        made.hints.append(f"packs_per_gpu: {shared[1]}   # jobs that share a GPU by {shared[0]}, at most")
    names = [name for name in partition.gpus if name]
    if not names:
        return "", "anything else that sbatch knows"
    types = f"{counted(len(names), 'type')} of GPU: {', '.join(names)}"
    return f"gpus-per-node: '{names[0]}:1', ", f"{types}; jobs that name none take any"


def _add_qos(partition: Partition | None, account: Account, made: Profile) -> None:
    """Name a QOS where Slurm would otherwise choose none, or one that the partition refuses."""
    allowed = [q for q in account.qos if partition is None or not partition.qos or q in partition.qos]
    standard = account.default_qos or ("normal" if "normal" in account.qos else "")
    if allowed and standard not in allowed:
        made.settings["qos"] = _yaml(allowed[0])
        if allowed[1:]:
            made.remarks["qos"] = f"or {', '.join(allowed[1:])}"


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


def _spelled(minutes: int) -> str:
    days, rest = divmod(minutes, 1440)
    return f"{f'{days}-' if days else ''}{rest // 60:0{2 if days else 1}d}:{rest % 60:02d}:00"


def _yaml(text: str) -> str:
    """Return a text as YAML writes it, in quotes where it would be read as something else."""
    return text if re.fullmatch(r"[A-Za-z][\w.-]*", text) and text.lower() not in YAML_WORDS else json.dumps(text)
