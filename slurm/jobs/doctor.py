"""`python -m slurm doctor`: check whether this machine has what a sweep needs.

One line a check: `ok`, `absent`, or `fault` if a thing that is absent was asked for or training would fail without it.
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import shutil
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from experiments.core import compiler, files
from experiments.core.errors import InputError
from experiments.core.wording import counted
from slurm.jobs.commands import SlurmError, ask, environment
from slurm.jobs.limits import limits
from slurm.jobs.profile import PLACE, describe, profile
from slurm.jobs.site import read

SECONDS = 10.0
"""Time limit of each command."""
NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
DRIVERS = {"11": 450, "12": 525, "13": 580}
"""Oldest driver branch for a torch built for this major version of CUDA (NVIDIA's minor version compatibility)."""
SHOWN = 200
"""Most characters of a warning or error of torch."""
OTHER = "an old GPU needs torch built for CUDA 12.6, from PyTorch's cu126 index, a new one torch built for CUDA 13"
OLDER = "install the same torch built for CUDA 12.6, from PyTorch's cu126 index"


class Finding(NamedTuple):
    """The outcome of one check, a line of the output."""

    mark: str
    """`ok`, `absent` or `fault`."""
    what: str
    """The thing checked: `torch`, `slurm`, …"""
    text: str


@dataclass(frozen=True)
class Torch:
    """The installed torch and the GPUs that it sees."""

    version: str
    cuda: str | None
    """The version of CUDA that it is built for; None: for the CPU only."""
    gpus: tuple[str, ...] = ()
    """Model, memory and capability of each that it sees."""
    complaint: str = ""
    """Its own warning if it sees none."""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    parser.set_defaults(command=doctor)
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="what trainings will run on; with cuda, a GPU or a compiler that is absent is a fault (default auto)",
    )
    parser.add_argument("--slurm", action="store_true", help="a Slurm that is absent or does not answer is a fault")
    parser.add_argument(
        "--store",
        type=Path,
        dest="asked_store",  # not `store`, which has a default: only a store that was asked for can be a fault
        metavar="DIR",
        help="folder for the runs; one that cannot hold them is a fault (default: check the folder runs)",
    )


def doctor(arguments: argparse.Namespace) -> int:
    """Print a line for each check; return 1 if there is a fault, else 0."""
    faults = 0
    for line in examine(arguments.device, arguments.slurm, arguments.asked_store):
        print(f"{line.mark:<7} {line.what:<9} {line.text}", flush=True)  # at once: the next check may wait for Slurm
        faults += line.mark == "fault"
    if faults:
        sys.stderr.write(f"python -m slurm: doctor: {counted(faults, 'fault')}, see above\n")
    return 1 if faults else 0


def examine(device: str, slurm: bool, store: Path | None) -> Iterator[Finding]:
    """Make every check in turn.

    Args:
        device: `auto`, `cpu` or `cuda`; the last asks for a GPU and for the compiler that trainings need on it.
        slurm: whether a cluster is asked for.
        store: the folder asked for; None: `runs` is checked, but a problem with it is no fault.
    """
    yield Finding("ok", "python", f"{platform.python_version()}, {sys.executable}")
    try:
        torch = inspect_torch()
    except (ImportError, OSError) as error:  # OSError: a shared library of it is absent
        yield Finding(
            "fault", "torch", f"cannot be imported: {' '.join(str(error).split())}; install it again (make env)"
        )
    else:
        built = f"built for CUDA {torch.cuda}" if torch.cuda else "built without CUDA"
        yield Finding("ok", "torch", f"{torch.version}, {built}")
        yield from check_device(device, torch)
        kind = "cpu" if device == "cpu" or (device == "auto" and not torch.gpus) else "cuda"
        yield from check_compiler(kind, device)
    yield (found := check_slurm(slurm))
    if found.mark == "ok":
        yield from check_site(device, slurm)
    yield check_store(store)


def inspect_torch() -> Torch:
    """Ask torch for its version and the GPUs that it sees.

    Raises:
        ImportError, OSError: it cannot be imported.
    """
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        try:
            models = [torch.cuda.get_device_properties(number) for number in range(count)]
            gpus = [
                f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, capability {gpu.major}.{gpu.minor}" for gpu in models
            ]
        except RuntimeError:  # one that is broken, or gone: gpu_problem says how
            gpus = count * ["model unknown"]
    complaint = _in_one_line(caught[-1].message) if caught and not gpus else ""
    return Torch(torch.__version__, torch.version.cuda, tuple(gpus), complaint)


def _in_one_line(message: object) -> str:
    """Shorten a message of torch, which may be a page, to one line."""
    return " ".join(str(message).split())[:SHOWN]


def check_device(device: str, torch: Torch) -> Iterator[Finding]:
    """Yield the device that trainings run on and, if that is no GPU, the reason."""
    if device != "cpu":
        driver = ask_driver()
        if torch.gpus:
            others = f" and {len(torch.gpus) - 1} more" if len(torch.gpus) > 1 else ""
            version = f"driver {driver[0]}" if isinstance(driver, tuple) else "driver unknown"
            problem = gpu_problem()
            if problem:  # a fault also with auto, which would train on it
                yield Finding("fault", "device", f"cuda: {torch.gpus[0]}, {version}: {problem}")
            else:
                yield Finding("ok", "device", f"cuda: {torch.gpus[0]}, {version}{others}")
            return
        yield Finding("fault" if device == "cuda" else "absent", "gpu", why_no_gpu(torch, driver))
        if device == "cuda":
            return
    yield Finding("ok", "device", f"cpu: {counted(len(os.sched_getaffinity(0)), 'core')} for this process")


def ask_driver() -> tuple[str, str] | str:
    """Return the driver's version and the names of the machine's GPUs, or a text that says why they are unknown."""
    if shutil.which("nvidia-smi") is None:
        return "nvidia-smi is not on the path"
    try:
        output = ask(*NVIDIA_SMI, seconds=SECONDS)
    except SlurmError as error:
        return str(error)
    rows = [[cell.strip() for cell in row.split(",")] for row in output.splitlines()]
    rows = [row for row in rows if len(row) == 3]
    return (rows[0][1], ", ".join(f"{row[0]} ({row[2]})" for row in rows)) if rows else "nvidia-smi lists no GPU"


def why_no_gpu(torch: Torch, driver: tuple[str, str] | str) -> str:
    """Explain in one line why torch sees no GPU, and what to do. `driver`: the answer of `ask_driver`."""
    here = driver[1] if isinstance(driver, tuple) else None
    if torch.cuda is None:
        there = f", and this machine has {here}" if here else ""
        return f"torch {torch.version} is built without CUDA{there}; for a GPU install one built for CUDA (README.md)"
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1", "NoDevFiles"):
        shown = os.environ["CUDA_VISIBLE_DEVICES"]
        return f"CUDA_VISIBLE_DEVICES={shown!r} hides every GPU; unset it, or in a job ask for one (--gres=gpu:1)"
    if isinstance(driver, str):
        return f"no GPU with a driver here ({driver}); on a cluster run this in a job that has one: srun --gres=gpu:1 …"
    oldest = DRIVERS.get(torch.cuda.partition(".")[0], 0)
    branch = driver[0].partition(".")[0]
    if branch.isdigit() and int(branch) < oldest:
        too_old = f"driver {driver[0]} ({here}) is too old for a torch built for CUDA {torch.cuda} (R{oldest} or newer)"
        return f"{too_old}; {f'{OLDER}, or' if int(branch) >= DRIVERS['12'] else 'install'} a newer driver"
    why = torch.complaint or "it does not say why; is it another job's?"
    return f"this machine has {here}, driver {driver[0]}, and torch does not see it: {why}"


def gpu_problem() -> str | None:
    """Add numbers on the first GPU and return the error if that fails: torch may see a GPU and have no code for it."""
    import torch

    from experiments.training.device_errors import compute_something

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch writes a page on such a GPU
            compute_something(torch.device("cuda"))
    except RuntimeError as error:
        do = f"; {OTHER}" if "no kernel image" in str(error) else ""
        return f"it cannot compute: {_in_one_line(str(error).partition(chr(10))[0])}{do}"
    return None


def check_compiler(kind: str, device: str) -> Iterator[Finding]:
    """Yield what the compiler of trainings on `kind` (cpu, cuda) lacks; faults if `device` asks for cuda."""
    import torch

    missing = compiler.lacking(torch.device(kind))
    mark, slower = ("fault", "") if device == "cuda" else ("absent", "; trainings are eager, several times slower")
    for text in missing.values():
        yield Finding(mark, "compiler", f"for {kind}: {text}{slower}")
    if not missing:
        has = compiler.cxx() if kind == "cpu" else f"Triton {_version('triton')}, a C compiler, Python's headers"
        yield Finding("ok", "compiler", f"for {kind}: {has}")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # put on the path by hand
        return "of unknown version"


def check_slurm(asked: bool) -> Finding:
    """Check whether Slurm's commands are here and its controller answers; a fault otherwise if `asked`."""
    mark = "fault" if asked else "absent"
    if shutil.which("sbatch", path=environment().get("PATH")) is None:
        do = "load Slurm's module, or run this where jobs are submitted" if asked else "sweeps run on this machine"
        return Finding(mark, "slurm", f"sbatch is not on the path; {do}")
    try:
        version = ask("sbatch", "--version", seconds=SECONDS).strip()
        cluster = limits(ask=functools.partial(ask, seconds=SECONDS))
    except SlurmError as error:
        return Finding(mark, "slurm", f"sbatch is here, but {error}; is SLURM_CONF right, and does the controller run?")
    return Finding(
        "ok", "slurm", f"{version}, cluster {cluster.cluster}, arrays of up to {cluster.array_size} elements"
    )


def check_site(device: str, asked: bool) -> Iterator[Finding]:
    """Yield what the cluster offers this user, what he lacks, and the file of settings to write for it.

    Args:
        device: `auto`, `cpu` or `cuda`: of the trainings that the file is for.
        asked: whether a cluster is asked for; what jobs lack is a fault then.
    """
    try:
        site = read(functools.partial(ask, seconds=SECONDS))
    except SlurmError as error:
        yield Finding("absent", "site", f"{error}; partitions and accounts are not known")
        return
    for what, text in describe(site):
        yield Finding("ok", what, text)
    chosen = profile(site, device, os.environ)
    for text in chosen.missing:
        yield Finding("fault" if asked else "absent", "site", text)
    if site.partitions and not chosen.missing:
        yield Finding("ok", "settings", f"for this cluster, to write into {PLACE}:\n\n{chosen.text()}")


def check_store(asked: Path | None) -> Finding:
    """Check whether a store can hold runs: files can be written, replaced and hard-linked.

    Args:
        asked: the store; if it does not exist, its nearest parent is checked. None: `runs`, with problems but no fault.
    """
    store = asked or Path("runs")
    key = "--store" if asked else "store"
    place = store.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        files.creatable(store, key)
        files.writable(place, key)
        check_replacing(place, key)
    except InputError as error:
        return Finding("fault" if asked else "absent", "store", str(error))
    note = "" if place == store.absolute() else f" (not there yet; tried in {place})"
    return Finding("ok", "store", f"{store}{note}: can be written to, has hard links and atomic renames")


def check_replacing(directory: Path, key: str) -> None:
    """Raise InputError unless a file in `directory` can take the place of another in one step."""
    target = files.temporary_for(directory / "doctor")
    try:
        for content in (b"before", b"after"):
            files.write_bytes(target, content)
        if target.read_bytes() != b"after":
            raise OSError("what was there before is still read")
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"{key}={directory}: no file can replace another there ({reason}); accepted: {files.WANTED}"
        ) from None
    finally:
        target.unlink(missing_ok=True)
