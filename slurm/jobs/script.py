"""The sbatch file of a job array: submitit writes its parameters; the command and the requeue are our own.

submitit's executor knows sbatch's parameters, checks their names and writes the file. Its wrapper in the job is not
used, for it unpickles a callable (after the loss of a node the *submitted* one, so that work starts from zero), ignores
SIGTERM, takes every warning within a job of ten minutes or less for a timeout, requeues from inside the step that is
being killed, and lets Slurm say COMPLETED if the callable raised. Here the run directories are the state: the exit code
of `slurm.jobs.job` asks for a requeue or not, and the batch script, which outlives the step and gets no signal before
the last one, carries that out.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit

from experiments.core.errors import InputError
from slurm.requests import flags
from slurm.settings import SlurmSettings

REQUEUE = 85
"""Exit code of `slurm.jobs.job` that asks for the job to be queued again."""

AGAIN = """
code=$?
if [ $code -eq {requeue} ]; then
  trap '' TERM USR2 INT  # the kill at the end of a grace time must not reach the request; children inherit this
  # Not $SLURM_JOB_ID: the last element's is the id of the whole array, and all of it would be requeued.
  job=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID
  for attempt in 1 2 3 4 5 6; do
    case "$(scontrol show job -o "$job")" in
      *JobState=RUNNING*) scontrol requeue "$job" && sleep 60 && break ;;  # the kill comes within the sleep
      *JobState=*) break ;;  # cancelled, or Slurm has requeued it by itself
    esac
    sleep 2
  done
fi
exit $code
"""


class _Executor(submitit.SlurmExecutor):  # type: ignore[misc]
    """submitit's writer of sbatch files; it submits nothing."""

    @classmethod
    def affinity(cls) -> int:
        """Claim that Slurm is here, so that files can be written, for a look at them, on a machine without it."""
        return 2

    def text(self, command: str, count: int) -> str:
        """Return the text of the file for an array of `count` elements."""
        self.parameters["map_count"] = count
        return str(self._make_submission_file_text(command, ""))


def array_script(
    folder: Path,
    name: str,
    settings: SlurmSettings,
    count: int,
    cores: int,
    gres: str | None,
    memory: float | None,
    array: int,
) -> str:
    """Return the text of the sbatch file of one job array.

    Args:
        folder: of the submission.
        name: of the jobs.
        settings: of the launcher.
        count: number of elements.
        cores: of a job.
        gres: generic resources of a job, `gpu:1`; None: none.
        memory: GB of a job; None: the cluster's default.
        array: its number within the submission.

    Raises:
        InputError: a parameter that neither submitit nor sbatch knows.
    """
    python = settings.python or shlex.quote(sys.executable)
    step = ["srun", "--ntasks=1", f"--cpus-per-task={cores}", "--kill-on-bad-exit=0"]
    container = "" if settings.container is None else f"{settings.container} "
    pack = f"{shlex.quote(str(folder.resolve() / 'packs'))}/{array}-$SLURM_ARRAY_TASK_ID.json"
    command = f"{' '.join(step)} {container}{python} -u -m slurm.jobs.job {pack}"
    extra: dict[str, Any] = {
        "output": str(folder.resolve() / "logs" / "%A_%a.log"),
        "signal": f"USR2@{settings.warning_seconds}",  # to the steps
        ("requeue" if settings.requeue else "no-requeue"): True,
        **flags(settings.sbatch),
    }
    return _text(
        folder, settings, command + AGAIN.format(requeue=REQUEUE), count,
        job_name=name, time=settings.minutes, cpus_per_task=cores, ntasks_per_node=1, nodes=1,
        partition=settings.partition or None, account=settings.account or None, qos=settings.qos or None,
        constraint=settings.constraint or None, gres=gres,
        mem=None if memory is None else f"{max(1, round(memory * 1e9 / 2**20))}M",
        array_parallelism=settings.array_parallelism, extra=extra,
    )  # fmt: skip


def after_script(folder: Path, name: str, settings: SlurmSettings, commands: Sequence[str], dependency: str) -> str:
    """Return the text of the sbatch file of the job that makes tables and figures once the sweep has ended.

    Args:
        folder: of the submission.
        name: of the job.
        settings: of the launcher.
        commands: run in turn, each whether or not those before it failed.
        dependency: sbatch's `--dependency`.

    Raises:
        InputError: a parameter that neither submitit nor sbatch knows.
    """
    container = "" if settings.container is None else f"{settings.container} "
    lines = ["failed=0", *(f"{container}{command} || failed=1" for command in commands), "exit $failed"]
    own: dict[str, Any] = {"time": 60, "partition": settings.partition, "account": settings.account}
    own.update(flags(settings.after_sbatch))
    return _text(
        folder, settings, "\n".join(lines), 1, job_name=name, extra={
            "output": str(folder.resolve() / "logs" / "after-%A.log"), "qos": settings.qos,
            **own, "dependency": dependency,
        },
    )  # fmt: skip


def _text(
    folder: Path, settings: SlurmSettings, command: str, count: int, extra: Mapping[str, Any], **parameters: Any
) -> str:
    executor = _Executor(folder=str(folder))
    try:
        executor.update_parameters(
            setup=list(settings.setup) or None, stderr_to_stdout=True, use_srun=False,
            wckey=None,  # submitit's own default, which a cluster that tracks them refuses
            **{key: value for key, value in parameters.items() if value is not None},
            additional_parameters={key: value for key, value in extra.items() if value is not None},
        )  # fmt: skip
        return executor.text(command, count)
    except ValueError as error:
        raise InputError(f"hydra.launcher: {' '.join(str(error).split())}") from None
