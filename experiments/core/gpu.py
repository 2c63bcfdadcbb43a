"""GPU model, driver and versions of CUDA and torch, for the records; none of it is worth failing a run for.

Imports no torch before it is asked for a device that torch already has.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
from pathlib import Path
from typing import Any

NVIDIA = Path("/proc/driver/nvidia")
"""The driver's own files about itself; reading them wakes no GPU."""
DEVICES = (Path("/dev/nvidia0"), Path("/dev/dxg"))
"""The first GPU where the driver has no such files, and that of WSL."""
SMI_SECONDS = 10.0
"""nvidia-smi takes up to seconds if no process holds the driver, and hangs if a GPU is lost."""


def computed_with(device: str) -> dict[str, str | None]:
    """Return the hardware and software that a run on `device` (cpu, cuda, cuda:0) is computed with.

    `gpu` is the model's name (`NVIDIA A100-SXM4-80GB`) and `gpu_driver` the driver's version, both null on a CPU
    and if they cannot be told; `cuda` is the version that torch was built for, null for a build without it.
    """
    on_gpu = device.partition(":")[0] == "cuda"
    gpu = {"gpu": _model(device), "gpu_driver": driver()} if on_gpu else {"gpu": None, "gpu_driver": None}
    return {**gpu, **_software()}


def machine_facts() -> dict[str, Any]:
    """Return driver and CUDA versions of this machine; `gpus` lists the models of all its GPUs, used or not."""
    return {"gpus": models_here(), "gpu_driver": driver(), **_software()}


def _software() -> dict[str, str | None]:
    import torch

    return {"cuda": torch.version.cuda}


def _model(device: str) -> str | None:
    import torch

    try:
        return str(torch.cuda.get_device_name(device))
    except Exception:  # torch raises various errors for a device that was lost meanwhile
        return None


@functools.cache
def driver() -> str | None:
    """Return the version of this machine's NVIDIA driver, None if there is none or it does not say; cached."""
    try:
        # NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build  (…)
        version = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", (NVIDIA / "version").read_text())
    except (OSError, ValueError):  # a container or WSL, whose nvidia-smi may know
        version = None
    return _smi_driver() if version is None else version[1]


def _smi_driver() -> str | None:
    command = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    try:
        output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=SMI_SECONDS).stdout
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    version = re.match(r"\s*(\d[\d.]*)\s*$", output.partition("\n")[0])  # one line a GPU, all with one driver
    return None if version is None else version[1]


def visible() -> bool:
    """Return whether this process may use a GPU of this machine, as far as the system's files tell."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return False
    return any(NVIDIA.glob("gpus/*")) or any(path.exists() for path in DEVICES)


def models_here() -> list[str]:
    """List the models of this machine's NVIDIA GPUs by name, each once; empty if the driver does not list them."""
    names = set()
    for path in NVIDIA.glob("gpus/*/information"):
        try:
            model = re.search(r"^Model:\s*(\S.*?)\s*$", path.read_text(), re.MULTILINE)
        except (OSError, ValueError):
            continue
        if model is not None and model[1] != "Unknown":  # some drivers say so of a GPU that sleeps
            names.add(model[1])
    return sorted(names)
