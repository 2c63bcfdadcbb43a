"""sbatch files, and the settings and limits that they come from."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from analysis import cli
from experiments.core.errors import InputError
from experiments.core.schema import build
from slurm.jobs.commands import SlurmError
from slurm.jobs.limits import limits, part_of_gpu
from slurm.jobs.script import after_script, array_script
from slurm.settings import SlurmSettings


def text(folder: Path, settings: SlurmSettings, gres: str | None = None, memory: float | None = None) -> str:
    return array_script(folder, "equilaw-x-0", settings, 3, settings.cores("cpu"), gres, memory, 0)


def parameters(script: str) -> dict[str, str]:
    found = re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", script, re.MULTILINE)
    assert len({name for name, _ in found}) == len(found)
    return dict(found)


def test_an_array(tmp_path: Path) -> None:
    settings = SlurmSettings(
        partition="gpu", account="me", qos="long", constraint="a100", time="1-00:00:00", cpus=4,
        setup=("module load x",), sbatch={"mail_user": "a@b.c", "exclusive": True},
    )  # fmt: skip
    script = text(tmp_path, settings, "gpu:1", 2.0)
    assert parameters(script) == {
        "array": "0-2%3", "job-name": "equilaw-x-0", "partition": "gpu", "account": "me", "qos": "long",
        "constraint": "a100", "time": "1440", "cpus-per-task": "4", "ntasks-per-node": "1", "nodes": "1",
        "gres": "gpu:1", "mem": "1907M", "signal": "USR2@90", "requeue": "", "open-mode": "append",
        "output": f"{tmp_path}/logs/%A_%a.log", "mail-user": "a@b.c", "exclusive": "",
    }  # fmt: skip
    assert script.index("module load x") < script.index("srun --ntasks=1 --cpus-per-task=4")
    assert f"-m slurm.jobs.job {tmp_path}/packs/0-$SLURM_ARRAY_TASK_ID.json" in script


def test_nothing_is_asked_for_that_nobody_set(tmp_path: Path) -> None:
    names = set(parameters(text(tmp_path, SlurmSettings())))
    assert not names & {"partition", "account", "qos", "constraint", "mem", "gres", "wckey"}


def test_container_and_interpreter(tmp_path: Path) -> None:
    script = text(tmp_path, SlurmSettings(container="apptainer exec --nv a.sif", python="python3", requeue=False))
    assert "srun --ntasks=1 --cpus-per-task=1 --kill-on-bad-exit=0 apptainer exec --nv a.sif python3 -u -m" in script
    assert "no-requeue" in parameters(script)


@pytest.mark.parametrize(("time", "delay", "warning"), [(240, 90, 90), (2, 90, 30), (4, 10, 10), (1, 90, 15)])
def test_the_warning_is_no_larger_part_of_a_short_limit(tmp_path: Path, time: int, delay: int, warning: int) -> None:
    script = text(tmp_path, SlurmSettings(time=time, signal_delay=delay))
    assert parameters(script)["signal"] == f"USR2@{warning}"


def test_the_scripts_are_shell(tmp_path: Path) -> None:
    after = after_script(
        tmp_path, "equilaw-x-after", SlurmSettings(after_sbatch={"time": 5}), ["false", "true"], "afterany:1"
    )
    assert parameters(after)["time"] == "5"
    for script in (text(tmp_path, SlurmSettings()), after):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert subprocess.run(["bash"], input=after, text=True).returncode == 1  # one of its commands failed, both ran


SCONTROL = """#!/bin/sh
echo "$@" >> {log}
case "$1" in
  show) echo "JobId=7 JobState={state} Reason=None"; kill -TERM $PPID ;;
  requeue) {requeue} ;;
esac
"""


@pytest.mark.parametrize(
    ("code", "state", "requeue", "asked"),
    [
        (85, "RUNNING", "true", True),
        (85, "RUNNING", "test $(wc -l < {log}) -ge 4", True),  # the controller refuses once
        (85, "COMPLETING", "true", False),  # cancelled, or requeued by Slurm itself
        (0, "RUNNING", "true", False),
        (1, "RUNNING", "true", False),
    ],
)
def test_the_batch_script_requeues_its_own_element(
    tmp_path: Path, code: int, state: str, requeue: str, asked: bool
) -> None:
    """SIGTERM, which scontrol here sends to the script, does not keep it from that."""
    log = tmp_path / "calls"
    log.touch()
    shims = tmp_path / "bin"
    shims.mkdir()
    contents = {
        "scontrol": SCONTROL.format(log=log, state=state, requeue=requeue.format(log=log)),
        "srun": f"#!/bin/sh\nexit {code}\n", "sleep": "#!/bin/sh\n",
    }  # fmt: skip
    for name, content in contents.items():
        (shims / name).write_text(content)
        (shims / name).chmod(0o755)
    environment = {"PATH": f"{shims}:/usr/bin:/bin", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}
    ended = subprocess.run(["bash"], input=text(tmp_path, SlurmSettings()), text=True, env=environment, timeout=60)
    assert ended.returncode == code
    calls = log.read_text().splitlines()
    assert ("requeue 7_2" in calls) is asked
    assert ("show job -o 7_2" in calls) is (code == 85)


# --- settings


def test_commands_of_the_job_afterwards_are_commands(root: Path) -> None:
    """As far as there are such: `report` may be absent."""
    content = yaml.safe_load((root / "conf/hydra/launcher/slurm.yaml").read_text())
    assert set(content["after_commands"]) == {"fit", "report"}
    parser = cli._parser()
    for commands in content["after_commands"].values():
        for command in commands:
            python, _, module, *words = shlex.split(command.format(python="python", store="s", out="o"))
            assert (python, module) == ("python", "analysis")
            if words[0] in parser.format_help() or words[0] != "report":
                parser.parse_args(words)


GUIDE = (Path(__file__).parents[3] / "slurm" / "README.md").read_text()


@pytest.mark.parametrize("command", re.findall(r"^(python .*)$", GUIDE, re.MULTILINE))
def test_commands_of_the_guide(command: str, root: Path, tmp_path: Path) -> None:
    """On a machine without a cluster: sweeps as dry runs, on a data set that takes no time."""
    words = shlex.split(command.replace("--store runs", f"--store {shlex.quote(str(tmp_path))}"))
    if words[2] == "experiments":
        words += [f"store={tmp_path}", "data=star", "data.pool=320", "hydra.launcher.submit=false"]
    path = Path(sys.executable).parent  # without Slurm's commands
    ended = subprocess.run(
        [sys.executable, *words[1:]], cwd=root, env={**os.environ, "PATH": str(path)}, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert words[2] != "experiments" or list(tmp_path.glob("slurm/*/array-0.sh"))


def test_a_clusters_own_file(root: Path, master: Any, tmp_path: Path) -> None:
    """The guide's example, composed."""
    (example,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    (tmp_path / "hydra" / "launcher").mkdir(parents=True)
    (tmp_path / "hydra" / "launcher" / "mycluster.yaml").write_text(example)
    composed = master(f"hydra.searchpath=[{tmp_path}]", "hydra/launcher=mycluster")
    content = OmegaConf.to_container(composed.hydra.launcher)
    assert isinstance(content, dict)
    del content["_target_"]
    settings = build(SlurmSettings, {str(k): v for k, v in content.items()}, "hydra.launcher.")
    assert (settings.partition, settings.minutes, settings.array_parallelism) == ("gpu", 240, 256)
    script = text(tmp_path, settings)
    assert parameters(script)["mail-type"] == "FAIL"
    assert "source ~/equilaw/.venv/bin/activate" in script


@pytest.mark.parametrize(
    ("time", "minutes"),
    [(30, 30), ("30:00", 30), ("0:30", 1), ("01:30:00", 90), ("1-12", 2160), ("1-01:30", 1530), ("2-00:00:01", 2881)],
)
def test_times(time: int | str, minutes: int) -> None:
    assert SlurmSettings(time=time).minutes == minutes


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"time": "soon"}, "time='soon': accepted: 1 to 1440 minutes, or a text"),
        ({"time": 0}, "time=0: accepted: 1 to 1440 minutes"),
        (yaml.safe_load("time: 4:00:00"), "time=14400: accepted: 1 to 1440 minutes"),
        ({"time": "00:00"}, "accepted: 1 to 1440 minutes"),
        ({"partitoin": "x"}, "did you mean hydra.launcher.partition"),
        ({"sbatch": {"array": "0-3"}}, "sbatch.array: set by the launcher; accepted: array_parallelism"),
        ({"sbatch": {"cpus_per_task": 3}}, "set by the launcher; accepted: cpus"),
        ({"sbatch": [1]}, "accepted: names with values, {name: value, …} or null"),
        ({"packs_per_gpu": 2, "gpus": 4}, "packs_per_gpu=2, gpus=4: accepted: gpus=1"),
        ({"after": "dance", "after_commands": {"fit": []}}, "after='dance': accepted: null | fit"),
    ],
)
def test_bad_settings_are_one_line(section: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as error:
        build(SlurmSettings, section, "hydra.launcher.")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "on_gpu", "on_cpu"),
    [
        (SlurmSettings(), 8, 1),
        (SlurmSettings(gpus=4), 32, 1),
        (SlurmSettings(cpus=3, gpus=4), 3, 3),
        (SlurmSettings(packs_per_gpu=3), 3, 1),
        (SlurmSettings(packs_per_gpu=16), 2, 1),
        (SlurmSettings(cpus=1, packs_per_gpu=16), 1, 1),
    ],
)
def test_cores_follow_the_gpus_unless_they_are_set(settings: SlurmSettings, on_gpu: int, on_cpu: int) -> None:
    assert (settings.cores("cuda"), settings.cores("cpu")) == (on_gpu, on_cpu)


# --- limits


def answers(**by_command: str) -> Any:
    def ask(*command: str, **_: object) -> str:
        if command[0] not in by_command:
            raise SlurmError(f"{command[0]}: not here")
        return by_command[command[0]]

    return ask


CONFIG = "Configuration data\nAccountingStorageType   = accounting_storage/{storage}\nClusterName = mini\n"
CONFIG += "MaxArraySize            = 1001\nMaxJobCount             = 10000\n"


def test_limits_of_a_cluster() -> None:
    ask = answers(scontrol=CONFIG.format(storage="none"), squeue="1_0\n1_1\n", id="me\n")
    found = limits(ask=ask)
    assert (found.cluster, found.array_size, found.jobs) == ("mini", 1001, 9998)
    ask = answers(scontrol=CONFIG.format(storage="slurmdbd"), squeue="1_0\n", id="me\n", sacctmgr="a|50\nb|20\n")
    assert limits("b", ask).jobs == 19
    ask = answers(scontrol=CONFIG.format(storage="slurmdbd"), squeue="", id="me\n")  # the database is down
    assert limits(ask=ask).jobs == 10000


@pytest.mark.parametrize(
    ("offered", "packs", "part"),
    [
        ("gpu:2,shard:8\n", 4, "shard:1"),
        ("gpu:2,shard:8\n", 2, "shard:2"),
        ("gpu:a100:4(S:0-1),mps:a100:400\n", 4, "mps:25"),
        ("gpu:1\n", 1, "gpu:1"),
    ],
)
def test_parts_of_a_gpu(offered: str, packs: int, part: str) -> None:
    assert part_of_gpu(packs, "gpu", answers(sinfo=offered)) == part


@pytest.mark.parametrize(
    ("offered", "message"),
    [
        ("gpu:2,shard:4\n", "a GPU has 2 parts (shard) here"),
        ("gpu:2\n", "neither shard nor MPS"),
        ("(null)\n", "neither"),
    ],
)
def test_gpus_that_cannot_be_shared_so(offered: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        part_of_gpu(4, None, answers(sinfo=offered))


def test_a_dry_run_generates_no_data(root: Path, tmp_path: Path) -> None:
    """It is made on a login node; nothing is generated there, and the runs are listed without ids."""
    words = ["data=ethanol", "P=8,16", f"store={tmp_path / 'runs'}", "hydra.launcher.submit=false"]
    ended = subprocess.run(
        [sys.executable, "-m", "experiments", "-m", "hydra/launcher=slurm", *words], cwd=root,
        env={**os.environ, "PATH": str(Path(sys.executable).parent), "EQUILAW_DATA": str(tmp_path / "data")},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert [line.split()[-2:] for line in ended.stdout.splitlines()] == [["no", "data"]] * 2
    assert "no data: " in ended.stderr
    assert not list(tmp_path.rglob("*.xyz"))
