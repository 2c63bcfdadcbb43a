"""Requests to sbatch in every spelling: one line for each thing, the user's own where there is one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from experiments.core.errors import InputError
from slurm.jobs.commands import SlurmError, ask
from slurm.jobs.limits import limits
from slurm.jobs.script import array_script
from slurm.launcher import with_site_defaults
from slurm.requests import flags, gpu_count
from slurm.settings import SlurmSettings


def lines(folder: Path, sbatch: dict[str, Any]) -> set[str]:
    text = array_script(folder, "name", SlurmSettings(sbatch=sbatch), 1, 1, None, None, 0)
    return {line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH --")}


def test_flags_that_are_false_or_empty(tmp_path: Path) -> None:
    assert flags({"exclusive": False, "mail_user": None, "contiguous": "", "hold": True, "nice": 0}) == {
        "contiguous": True, "hold": True, "nice": 0,
    }  # fmt: skip
    assert not any(line.startswith("exclusive") for line in lines(tmp_path, {"exclusive": False}))
    assert "exclusive" in lines(tmp_path, {"exclusive": ""})
    empty = SlurmSettings(account="", partition="", qos="", constraint="")
    assert "=''" not in array_script(tmp_path, "name", empty, 1, 1, None, None, 0)


def test_names_and_lists_as_people_write_them(tmp_path: Path) -> None:
    written = lines(tmp_path, {"--mem_per_cpu": "2G", "nodelist": ["n1", "n2"], "mail-type": ("FAIL", "END")})
    assert {"mem-per-cpu=2G", "nodelist=n1,n2", "mail-type=FAIL,END"} <= written


@pytest.mark.parametrize(
    ("sbatch", "count"),
    [
        ({"gres": "gpu"}, 1), ({"gres": "gpu:2"}, 2), ({"gres": "gpu:a100"}, 1), ({"gres": "gpu:a100:4"}, 4),
        ({"gres": "lustre:1,gpu:h100:2"}, 2), ({"gres": "shard:3"}, 3), ({"gres": "gpu:1g.5gb:1"}, 1),
        ({"gres": "lustre:4"}, 0), ({"gpus": 2}, 2), ({"gpus": "a100:2"}, 2), ({"gpus_per_node": "v100:2"}, 2),
        ({"gpus-per-task": 1}, 1), ({"tres-per-node": "gres/gpu:a100:2"}, 2), ({"tres-per-task": "cpu:4"}, 0),
        ({"gpus": False}, 0), ({"tres-per-job": "gres/gpu=2"}, 2), ({}, 0),
    ],
    ids=str,
)  # fmt: skip
def test_gpus_in_every_spelling(sbatch: dict[str, Any], count: int) -> None:
    settings = SlurmSettings(sbatch=sbatch)
    assert gpu_count(sbatch) == count
    assert settings.gpus_of_a_job == (count or None)
    assert settings.cores("cuda") == 8 * max(1, count)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sbatch": {"mem": "4G", "mem-per-cpu": "1G"}}, "sbatch.mem beside sbatch.mem-per-cpu: accepted: one of them"),
        ({"sbatch": {"mem_per_gpu": "4G"}, "memory": 8.0}, "sbatch.mem-per-gpu beside hydra.launcher.memory=8.0"),
        ({"sbatch": {"gres": "gpu:1", "gpus": 1}}, "accepted: one of them"),
        ({"sbatch": {"gpus-per-node": 2}, "gpus": 1}, "sbatch.gpus-per-node beside hydra.launcher.gpus=1"),
        ({"sbatch": {"gpus": 1}, "packs_per_gpu": 2}, "accepted: packs_per_gpu=1"),
        ({"sbatch": {"gpus": 1, "cpus-per-gpu": 2}}, "sbatch.cpus-per-gpu: set by the launcher; accepted: cpus"),
        ({"sbatch": {"time": "1:00:00"}}, "accepted: hydra.launcher.time"),
        ({"sbatch": {"account": "a"}, "account": "b"}, "sbatch.account beside hydra.launcher.account=b"),
        ({"sbatch": {"p": "gpu"}}, "sbatch.p: accepted: long names"),
        ({"sbatch": {"MEM": "4G"}}, "sbatch.MEM: accepted: long names"),
        ({"sbatch": {"": 1}}, "sbatch.: accepted: long names"),
        ({"after_sbatch": {"a b": 1}}, "after_sbatch.a b: accepted: long names"),
        ({"sbatch": {"comment": "two\nlines"}}, "sbatch.comment='two"),  # the second would be a command of the job
        ({"sbatch": {"mem": {"a": 1}}}, "sbatch.mem={'a': 1}: accepted: a text of one line"),
        ({"sbatch": {"no_requeue": True}}, "sbatch.no_requeue: set by the launcher; accepted: requeue=false"),
        ({"sbatch": {"wait": True}}, "accepted: detach=false"),
    ],
)
def test_what_is_asked_for_twice_or_is_no_line_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        SlurmSettings(**settings)


def test_defaults_that_a_site_exports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SBATCH_ACCOUNT", "proj1")
    monkeypatch.setenv("SLURM_ACCOUNT", "proj2")
    monkeypatch.setenv("SBATCH_PARTITION", "long")
    monkeypatch.setenv("SBATCH_EXCLUSIVE", "1")
    monkeypatch.setenv("SBATCH_TIMELIMIT", "1-0")
    settings, notes = with_site_defaults(SlurmSettings(partition="gpu"))
    assert (settings.account, settings.partition) == ("proj1", "gpu")
    assert notes == [
        "account=proj1, from $SBATCH_ACCOUNT; hydra.launcher.account= replaces it",
        "not used: $SBATCH_TIMELIMIT=1-0; accepted: hydra.launcher.time=MINUTES",
        "not used: $SBATCH_EXCLUSIVE; hydra.launcher.sbatch={NAME: VALUE} asks sbatch for more",
    ]
    mine = with_site_defaults(SlurmSettings(sbatch={"account": "mine", "mail-type": "FAIL"}))[0]
    assert (mine.account, mine.sbatch) == ("mine", {"mail-type": "FAIL"})  # for limits and the job afterwards too


@pytest.mark.parametrize(
    ("account", "rows", "most"),
    [(None, "closed|0\nopen|50\n", 47), ("closed", "closed|0\nopen|50\n", 0), (None, "a|\nb|50\n", 97), (None, "", 97),
     (None, "** Welcome **\na|20\n", 17)],
)  # fmt: skip
def test_limits_of_several_accounts(account: str | None, rows: str, most: int) -> None:
    def ask(*command: str, **_: Any) -> str:
        match command[0]:
            case "scontrol":
                return "** Welcome **\nMaxJobCount = 100\nAccountingStorageType = accounting_storage/slurmdbd\n"
            case "sacctmgr":
                return rows
            case "squeue":
                return "** Welcome to 3 clusters **\n41\n42_1\n42_2\n"
        return "me\n"

    assert limits(account, ask).jobs == most


def test_a_busy_controller_is_asked_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from slurm.jobs import submit

    monkeypatch.setattr(submit, "BUSY_PAUSES", (0.0, 0.0))
    answers: list[str | SlurmError] = [
        SlurmError("sbatch: error: Socket timed out on send/recv operation"),
        "** Hi **\n7;c\n",
    ]

    def ask(*_: str) -> str:
        answer = answers.pop(0)
        if isinstance(answer, SlurmError):
            raise answer
        return answer

    monkeypatch.setattr(submit, "ask", ask)
    assert submit._sbatch(tmp_path) == "7"
    answers[:] = [SlurmError("sbatch: error: Invalid account")]
    with pytest.raises(SlurmError, match="Invalid account"):
        submit._sbatch(tmp_path)
    answers[:] = [SlurmError("Slurm temporarily unable to accept job, sleeping and retrying")] * 3
    with pytest.raises(SlurmError, match="temporarily"):
        submit._sbatch(tmp_path)
    answers[:] = ["no id here"]
    with pytest.raises(SlurmError, match="said no job id, but 'no id here'"):
        submit._sbatch(tmp_path)


@pytest.mark.parametrize(
    "error",
    ["sbatch: error: Batch job submission failed: Invalid account", "slurm_load_jobs error: Socket timed out on send"],
)
def test_a_banner_does_not_hide_what_slurm_says(tmp_path: Path, error: str) -> None:
    """In any encoding, and longer than what a message shows."""
    command = tmp_path / "sbatch"
    banner = "".join(f"echo '** Willkommen {n}' >&2; printf '\\374\\n' >&2\n" for n in range(5))
    command.write_text(f"#!/bin/sh\n{banner}echo '{error}' >&2\nexit 1\n")
    command.chmod(0o755)
    with pytest.raises(SlurmError) as raised:
        ask(str(command), "job.sh")
    assert str(raised.value) == f"{command}: {error}"
    command.write_text("#!/bin/sh\nprintf '** gr\\374n **\\n12\\n'\n")
    assert ask(str(command)).splitlines()[1] == "12"
