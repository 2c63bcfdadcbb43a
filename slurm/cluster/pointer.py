"""The choice of the Slurm that commands talk to: the user's own if there is one, else the one-machine cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from experiments.core import files

SECONDS = 5.0
"""A controller that does not answer in this time counts as unreachable."""


def default_directory() -> Path:
    """Return the default directory of `python -m slurm cluster`."""
    return files.user_cache() / "cluster"


def pointer() -> Path:
    """Return the path of the pointer: a file that `cluster up` writes."""
    return files.user_cache() / "cluster.json"


def point_to(slurm_conf: Path) -> None:
    """Write the pointer to the cluster with this slurm.conf."""
    files.user_cache().mkdir(parents=True, exist_ok=True)
    files.write_json(pointer(), {"slurm_conf": str(slurm_conf)})


def point_no_more_to(slurm_conf: Path) -> None:
    """Remove the pointer if it is to the cluster with this slurm.conf."""
    if _pointed() == slurm_conf:
        pointer().unlink(missing_ok=True)


def slurm_conf() -> str | None:
    """Return the value to set `SLURM_CONF` to; None: leave it, for Slurm finds its configuration by itself or has none.

    The pointer counts only if `SLURM_CONF` is not set and no controller of the machine's own Slurm answers.
    """
    if os.environ.get("SLURM_CONF"):
        return None
    pointed = _pointed()
    if pointed is None or not pointed.exists() or _machine_has_slurm():
        return None
    return str(pointed)


def _pointed() -> Path | None:
    content = files.read_json(pointer())
    path = content.get("slurm_conf") if isinstance(content, dict) else None
    return Path(path) if isinstance(path, str) else None


def _machine_has_slurm() -> bool:
    """Return whether a controller of the machine's own Slurm answers, which may take seconds."""
    scontrol = shutil.which("scontrol")
    if scontrol is None:
        return False
    try:
        ended = subprocess.run([scontrol, "ping"], capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Path("/etc/slurm/slurm.conf").exists()  # configured, and slow just now: rather not another one
    return " is UP" in ended.stdout
