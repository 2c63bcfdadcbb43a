"""Calls of Slurm's own commands, with a time limit and a message of one line if one fails (torch-free)."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from pathlib import Path

from slurm.cluster import pointer

SECONDS = 60.0


class SlurmError(RuntimeError):
    """A command of Slurm failed; the message is one line that says which and why."""


class NoAnswer(SlurmError):
    """A command of Slurm did not end in time; whether it did its work is unknown."""


SHOWN = 3
"""Most lines of a command's complaint in a message: there may be one for each of a thousand jobs."""


FOREIGN = ("SBATCH_", "SQUEUE_", "SACCT_", "SINFO_", "SCANCEL_", "SALLOC_", "SRUN_", "SLURM_", "SLURMD_", "SLURMSTEPD_")
"""Beginnings of variables that Slurm's commands read."""


@functools.cache
def environment() -> dict[str, str]:
    """Return the environment for Slurm's commands: ours, without variables that change what they do or print.

    sbatch hands its environment on to the job. Inside an allocation that holds the outer job's limits, which srun in
    the new job would take for its own (SLURM_MEM_PER_CPU, SLURM_GPUS_PER_TASK, SLURM_EXPORT_ENV=NONE, …). Only
    SLURM_CONF stays, which says what cluster there is.
    """
    kept = {k: v for k, v in os.environ.items() if k == "SLURM_CONF" or not k.startswith(FOREIGN)}
    conf = pointer.slurm_conf()
    return {**kept, "SLURM_TIME_FORMAT": "standard", **({} if conf is None else {"SLURM_CONF": conf})}


def ask(*command: str, seconds: float = SECONDS, cwd: Path | None = None) -> str:
    """Return the output of a command.

    Raises:
        NoAnswer: it did not end in `seconds`.
        SlurmError: there is no such command, or it failed.
    """
    try:
        ended = subprocess.run(
            command, env=environment(), cwd=cwd, capture_output=True, text=True, timeout=seconds, check=False,
            errors="replace",  # banners of sites are in any encoding
            stdin=subprocess.DEVNULL, start_new_session=True,  # a Ctrl-C in the terminal is ours to handle
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{command[0]}: no answer in {seconds:g} s") from None
    except OSError as error:
        raise SlurmError(f"{command[0]}: {error.strerror or error}") from None
    if ended.returncode:
        said = [line.strip() for line in ended.stderr.splitlines() if line.strip()]
        # sites print banners before it, which may be longer than what is shown
        lines = [line for line in said if re.search(rf"\berror\b|^{re.escape(command[0])}:", line)] or said
        why = "; ".join([*lines[:SHOWN], *([f"and {len(lines) - SHOWN} lines more"] if len(lines) > SHOWN else [])])
        raise SlurmError(f"{command[0]}: {why or f'exit code {ended.returncode}'}")
    return ended.stdout


ENDED = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT",
    "REVOKED",
)  # fmt: skip
"""States of a job that will not run again (a requeued one is PENDING, or COMPLETING on its way there)."""
