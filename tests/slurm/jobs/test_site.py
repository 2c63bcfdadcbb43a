"""What the doctor reads of a cluster, what it says is missing, and the file of settings that it prints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from experiments.core.schema import build
from slurm.cluster.configuration import Settings
from slurm.cluster.temporary import temporary
from slurm.jobs import commands, doctor
from slurm.jobs.commands import SlurmError
from slurm.jobs.profile import profile
from slurm.jobs.site import Site, minutes, read
from slurm.settings import SlurmSettings
from tests.slurm.conftest import skip_without_slurm

BANNER = "*** Maintenance on Monday | 3 nodes down ***\n"
CONFIG = f"""{BANNER}Configuration data as of 2026-11-29
AccountingStorageEnforce = associations,limits,qos
AccountingStorageType   = accounting_storage/slurmdbd
PowerPlugin             =
PreemptType             = preempt/partition_prio
"""
PARTITIONS = f"""{BANNER}PartitionName=short Default=YES MaxTime=01:00:00 DefaultTime=00:10:00 State=UP PriorityTier=1
PartitionName=gpu AllowAccounts=phys,chem AllowQos=ALL Default=NO MaxTime=2-00:00:00 State=UP PriorityTier=10
PartitionName=scavenge Default=NO MaxTime=UNLIMITED State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=old Default=NO MaxTime=1-00:00:00 State=DOWN PriorityTier=1
"""
RESOURCES = f"""{BANNER}short|(null)
gpu|gpu:a100:4(S:0-1),shard:a100:16(S:0-1)
gpu|gpu:h100:8(S:0-3)
scavenge|gpu:a100:4(S:0-1),lustre:1
old|(null)
"""
ASSOCIATIONS = f"""{BANNER}closed||normal||0|||
phys||long,normal|long||||
chem|gpu|normal|||||10
"""


def answers(**changed: str) -> Any:
    """Return what asks a cluster with these answers; `!message` is an error."""

    def ask(*command: str, **_: Any) -> str:
        last = command[3] if command[0] == "sacctmgr" else command[-1] if command[0] == "id" else command[2]
        texts = {
            "config": CONFIG, "partition": PARTITIONS, "-o": RESOURCES, "assoc": ASSOCIATIONS, "user": "closed\n",
            "qos": f"{BANNER}normal|\nlong|normal\n",
        } | changed  # fmt: skip
        said = texts.get(last, "me\n")
        if said.startswith("!"):
            raise SlurmError(said[1:])
        return said

    return ask


def settings_of(site: Site, device: str = "auto", **environment: str) -> tuple[dict[str, Any], str]:
    made = profile(site, device, environment)
    assert made.missing == []
    text = made.text()
    content = yaml.safe_load(text)
    assert content.pop("defaults") == ["slurm"]
    build(SlurmSettings, content, "hydra.launcher.")  # the program takes what it prints
    return content, text


def test_a_site_is_read_past_its_banners() -> None:
    site = read(answers())
    assert [(p.name, p.default, p.up, p.minutes) for p in site.partitions] == [
        ("short", True, True, 60), ("gpu", False, True, 2880), ("scavenge", False, True, None),
        ("old", False, False, 1440),
    ]  # fmt: skip
    gpu = site.partitions[1]
    assert (gpu.gpus, gpu.parts, gpu.accounts) == ({"a100": 4, "h100": 8}, {"shard": 16}, frozenset({"phys", "chem"}))
    assert [site.preemptible(p) for p in site.partitions[:3]] == [False, False, True]
    assert [(a.name, a.closed, a.partitions) for a in site.accounts or ()] == [
        ("closed", True, frozenset()), ("phys", False, frozenset()), ("chem", False, frozenset({"gpu"})),
    ]  # fmt: skip
    assert (site.default_account, site.preempting) == ("closed", {"long": "normal"})


def test_the_file_names_an_open_account_and_a_partition_with_gpus() -> None:
    content, text = settings_of(read(answers()))
    assert content == {"partition": "gpu", "account": "phys", "time": "4:00:00"}
    assert "# or short, scavenge\n" in text
    assert "# or chem\n" in text
    assert "# sbatch: {gpus-per-node: 'a100:1', mail-user: me@example.org" in text
    assert "# 2 types of GPU: a100, h100; jobs that name none take any\n" in text


def test_the_file_for_cpus_has_the_time_that_the_partition_allows() -> None:
    assert settings_of(read(answers()), "cpu")[0] == {"partition": "short", "account": "phys", "time": "1:00:00"}


def test_what_a_site_exports_is_preferred() -> None:
    content, _ = settings_of(read(answers()), SBATCH_ACCOUNT="chem", SBATCH_PARTITION="gpu")
    assert (content["partition"], content["account"]) == ("gpu", "chem")
    made = profile(read(answers()), "auto", {"SLURM_ACCOUNT": "closed"})
    assert made.missing == ["account closed of $SLURM_ACCOUNT is closed or not yours; accepted: phys, chem"]


def test_a_qos_that_slurm_would_not_choose_is_named() -> None:
    rows = "phys||long,debug|||||\n"
    assert settings_of(read(answers(assoc=rows)))[0]["qos"] == "long"
    only = PARTITIONS.replace("AllowQos=ALL", "AllowQos=debug")
    assert settings_of(read(answers(assoc=rows, partition=only)))[0]["qos"] == "debug"


@pytest.mark.parametrize(
    ("changed", "device", "missing"),
    [
        ({"assoc": "closed||normal||0|||\n"}, "auto", "no account that jobs can be charged to; closed: closed; ask"),
        ({"assoc": ""}, "auto", "no account that jobs can be charged to; ask the site for one"),
        ({"-o": "short|(null)\n"}, "cuda", "no partition with GPUs that is up and open to your accounts"),
        ({"partition": PARTITIONS.replace("State=UP", "State=DOWN")}, "auto", "no partition that is up and open"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(changed: Mapping[str, str], device: str, missing: str) -> None:
    assert profile(read(answers(**changed)), device, {}).missing[0].startswith(missing)


def test_names_that_yaml_would_read_otherwise_are_in_quotes() -> None:
    rows = "2024_05||normal|||||\nno||normal|||||\n"
    assert settings_of(read(answers(assoc=rows)), "cpu", SBATCH_ACCOUNT="2024_05")[0]["account"] == "2024_05"
    assert settings_of(read(answers(assoc=rows)), "cpu", SBATCH_ACCOUNT="no")[0]["account"] == "no"


def test_a_database_that_does_not_answer_leaves_the_partitions() -> None:
    site = read(answers(assoc="!sacctmgr: no"))
    assert site.accounts is None
    assert settings_of(site)[0] == {"partition": "gpu", "time": "4:00:00"}  # Slurm chooses the account


@pytest.mark.parametrize(
    ("text", "expected"),
    [("UNLIMITED", None), ("NONE", None), ("", None), ("30:00", 30), ("04:00:00", 240), ("2-12:00:00", 3600)],
)
def test_times_as_slurm_prints_them(text: str, expected: int | None) -> None:
    assert minutes(text) == expected


@pytest.mark.slow
def test_a_real_cluster_with_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_without_slurm(accounting=True)
    types = {"a100": 1, "1g.5gb": 3}
    with temporary(Settings(nodes=1, gpus=4, gpu_types=types, accounting=True, exposed=True)) as cluster:
        monkeypatch.setenv("SLURM_CONF", str(cluster.layout.slurm_conf))
        commands.environment.cache_clear()
        me = commands.ask("id", "-un").strip()
        for name, limit in (("phys", ()), ("old", ("maxsubmitjobs=0",))):
            commands.ask("sacctmgr", "-i", "add", "account", name)
            commands.ask("sacctmgr", "-i", "add", "user", me, f"account={name}", *limit)
        findings = list(doctor.check_site("cuda", asked=True))
        commands.environment.cache_clear()
    texts = [line.text for line in findings]
    assert {line.mark for line in findings} == {"ok"}
    assert any(t.startswith("gpu: default, no time limit, GPUs of a node: 1 a100, 3 1g.5gb, shared by") for t in texts)
    assert any(text.startswith("old: closed (a limit of 0 jobs)") for text in texts)
    content = yaml.safe_load(texts[-1].partition("\n\n")[2])
    assert content["partition"] == "gpu"
    assert content["account"] in ("root", "phys")


EXAMPLES = sorted((Path(__file__).parents[3] / "conf/hydra/launcher").glob("example_*.yaml"))


@pytest.mark.parametrize("name", [path.stem for path in EXAMPLES])
def test_examples_compose(name: str, master: Any) -> None:
    content = OmegaConf.to_container(master(f"hydra/launcher={name}").hydra.launcher)
    assert isinstance(content, dict)
    assert content.pop("_target_") == "hydra_plugins.equilaw.SlurmLauncher"
    settings = build(SlurmSettings, {str(key): value for key, value in content.items()}, "hydra.launcher.")
    assert (settings.gpus_of_a_job is None) == (name == "example_cpu")


def test_there_is_an_example_of_each_kind() -> None:
    assert [path.stem for path in EXAMPLES] == ["example_cpu", "example_gpu", "example_preemptible"]
