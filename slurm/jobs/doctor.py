"""`python -m slurm doctor`: whether this machine, or the node that it is run on, has what a sweep needs.

One line a check. What is absent is said; it is a fault where it was asked for, or where training would fail without.
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

SECONDS = 10.0
"""A command that has no answer in this time has none."""
NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
DRIVERS = {"11": 450, "12": 525, "13": 580}
"""Oldest driver branch for a torch built for this major version of CUDA (NVIDIA's minor version compatibility)."""
SHOWN = 200
"""Most characters of a complaint of torch."""
OTHER = "an old GPU needs torch built for CUDA 12.6, from PyTorch's cu126 index, a new one torch built for CUDA 13"
OLDER = "install the same torch built for CUDA 12.6, from PyTorch's cu126 index"


class Line(NamedTuple):
    """One finding."""

    mark: str
    """`ok`, `absent` or `fault`."""
    what: str
    text: str


@dataclass(frozen=True)
class Torch:
    """What torch says of itself and of the GPUs that it sees."""

    version: str
    cuda: str | None
    """The version of CUDA that it is built for; None: for the CPU only."""
    gpus: tuple[str, ...] = ()
    """Model, memory and capability of each that it sees."""
    complaint: str = ""
    """Its own warning where it sees none."""


def add_to(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.set_defaults(command=doctor)
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="what trainings will run on; with cuda, a GPU or a compiler that is absent is a fault (default auto)",
    )
    parser.add_argument("--slurm", action="store_true", help="a Slurm that does not answer is a fault")
    parser.add_argument(
        "--store",
        type=Path,
        dest="asked_store",  # not `store`: no default must stand in, for what was asked for is judged by it
        metavar="DIR",
        help="where runs will lie; a folder that cannot hold them is a fault (default: look at runs)",
    )


def doctor(arguments: argparse.Namespace) -> int:
    """Look at everything; exit code 1 where there is a fault."""
    faults = 0
    for line in examine(arguments.device, arguments.slurm, arguments.asked_store):
        print(f"{line.mark:<7} {line.what:<9} {line.text}", flush=True)  # at once: the next check may wait for Slurm
        faults += line.mark == "fault"
    if faults:
        sys.stderr.write(f"python -m slurm: doctor: {counted(faults, 'fault')}, see above\n")
    return 1 if faults else 0


def examine(device: str, slurm: bool, store: Path | None) -> Iterator[Line]:
    """Every check in turn.

    Args:
        device: `auto`, `cpu` or `cuda`: the last asks for a GPU and for what trainings are compiled with on it.
        slurm: whether a cluster is asked for.
        store: the folder asked for; None: `runs` is looked at, and not asked for.
    """
    yield Line("ok", "python", f"{platform.python_version()}, {sys.executable}")
    try:
        torch = look_at_torch()
    except (ImportError, OSError) as error:  # OSError: a shared library of it is absent
        yield Line("fault", "torch", f"cannot be imported: {' '.join(str(error).split())}; install it again (make env)")
    else:
        built = f"built for CUDA {torch.cuda}" if torch.cuda else "built without CUDA"
        yield Line("ok", "torch", f"{torch.version}, {built}")
        yield from of_device(device, torch)
        yield from of_compiler("cpu" if device == "cpu" or (device == "auto" and not torch.gpus) else "cuda", device)
    yield of_slurm(slurm)
    yield of_store(store)


def look_at_torch() -> Torch:
    """Ask it.

    Raises:
        ImportError, OSError: it cannot be imported.
    """
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
        try:
            found = [torch.cuda.get_device_properties(number) for number in range(seen)]
            gpus = [
                f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, capability {gpu.major}.{gpu.minor}" for gpu in found
            ]
        except RuntimeError:  # one that is broken, or gone: gpu_computes says how
            gpus = seen * ["model unknown"]
    complaint = _in_one_line(caught[-1].message) if caught and not gpus else ""
    return Torch(torch.__version__, torch.version.cuda, tuple(gpus), complaint)


def _in_one_line(said: object) -> str:
    """The first lines of what torch says, which may be a page."""
    return " ".join(str(said).split())[:SHOWN]


def of_device(device: str, torch: Torch) -> Iterator[Line]:
    """What trainings run on, and why not on a GPU."""
    if device != "cpu":
        driver = ask_driver()
        if torch.gpus:
            others = f" and {len(torch.gpus) - 1} more" if len(torch.gpus) > 1 else ""
            version = f"driver {driver[0]}" if isinstance(driver, tuple) else "driver unknown"
            wrong = gpu_computes()
            if wrong:  # a fault also with auto, which would train on it
                yield Line("fault", "device", f"cuda: {torch.gpus[0]}, {version}: {wrong}")
            else:
                yield Line("ok", "device", f"cuda: {torch.gpus[0]}, {version}{others}")
            return
        yield Line("fault" if device == "cuda" else "absent", "gpu", why_no_gpu(torch, driver))
        if device == "cuda":
            return
    yield Line("ok", "device", f"cpu: {counted(len(os.sched_getaffinity(0)), 'core')} for this process")


def ask_driver() -> tuple[str, str] | str:
    """Version of the driver and names of the machine's GPUs; a text that says why where nvidia-smi does not tell."""
    if shutil.which("nvidia-smi") is None:
        return "nvidia-smi is not on the path"
    try:
        told = ask(*NVIDIA_SMI, seconds=SECONDS)
    except SlurmError as error:
        return str(error)
    rows = [[cell.strip() for cell in row.split(",")] for row in told.splitlines()]
    rows = [row for row in rows if len(row) == 3]
    return (rows[0][1], ", ".join(f"{row[0]} ({row[2]})" for row in rows)) if rows else "nvidia-smi lists no GPU"


def why_no_gpu(torch: Torch, driver: tuple[str, str] | str) -> str:
    """Why torch sees none, and what to do, as one line."""
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
    said = torch.complaint or "it does not say why; is it another job's?"
    return f"this machine has {here}, driver {driver[0]}, and torch does not see it: {said}"


def gpu_computes() -> str | None:
    """What goes wrong where the first GPU adds numbers up: one that this torch has no code for is seen, and cannot."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch writes a page on such a GPU
            torch.ones(8, device="cuda").sum().item()
    except RuntimeError as error:
        do = f"; {OTHER}" if "no kernel image" in str(error) else ""
        return f"it cannot compute: {_in_one_line(str(error).partition(chr(10))[0])}{do}"
    return None


def of_compiler(kind: str, device: str) -> Iterator[Line]:
    """What of the compiler for `cpu` or `cuda` is absent."""
    import torch

    missing = compiler.lacking(torch.device(kind))
    mark, slower = ("fault", "") if device == "cuda" else ("absent", "; trainings are eager, several times slower")
    for text in missing.values():
        yield Line(mark, "compiler", f"for {kind}: {text}{slower}")
    if not missing:
        has = compiler.cxx() if kind == "cpu" else f"Triton {_version('triton')}, a C compiler, Python's headers"
        yield Line("ok", "compiler", f"for {kind}: {has}")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # put on the path by hand
        return "of unknown version"


def of_slurm(asked: bool) -> Line:
    """Whether there are Slurm's commands, and a controller behind them."""
    mark = "fault" if asked else "absent"
    if shutil.which("sbatch", path=environment().get("PATH")) is None:
        do = "load Slurm's module, or run this where jobs are submitted" if asked else "sweeps run on this machine"
        return Line(mark, "slurm", f"sbatch is not on the path; {do}")
    try:
        version = ask("sbatch", "--version", seconds=SECONDS).strip()
        found = limits(functools.partial(ask, seconds=SECONDS))
    except SlurmError as error:
        return Line(mark, "slurm", f"sbatch is here, but {error}; is SLURM_CONF right, and does the controller run?")
    return Line("ok", "slurm", f"{version}, cluster {found.cluster}, arrays of up to {found.array_size} elements")


def of_store(asked: Path | None) -> Line:
    """Whether runs can be kept there: written, renamed, and linked; where it does not exist, its nearest parent."""
    store = asked or Path("runs")
    key = "--store" if asked else "store"
    place = store.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        files.creatable(store, key)
        files.writable(place, key)
        replaces(place, key)
    except InputError as error:
        return Line("fault" if asked else "absent", "store", str(error))
    made = "" if place == store.absolute() else f" (not there yet; tried in {place})"
    return Line("ok", "store", f"{store}{made}: can be written to, has hard links and atomic renames")


def replaces(directory: Path, key: str) -> None:
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
