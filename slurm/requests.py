"""Requests to sbatch in the user's own spelling: GPUs and memory by any flag, and defaults that sites export.

One request is one line of the sbatch file. Where launcher and user both name a resource the configuration is refused;
where only the user does, the launcher leaves it to him. Torch-free.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from experiments.core.errors import InputError

MEMORY = ("mem", "mem-per-cpu", "mem-per-gpu")
"""Flags of memory; sbatch takes one of them."""
GPUS = (
    "gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket",
    "gres", "tres-per-job", "tres-per-node", "tres-per-task",
)  # fmt: skip
"""Flags that can ask for GPUs; those of the second row name the resource in their value, `gpu:a100:2`."""
SETTINGS = {
    "partition": "partition", "account": "account", "qos": "qos", "constraint": "constraint", "time": "time",
}  # fmt: skip
"""Flags of sbatch → the launcher's own setting for the same thing."""
EXPORTED = {"account": ("SBATCH_ACCOUNT", "SLURM_ACCOUNT"), "partition": ("SBATCH_PARTITION",), "qos": ("SBATCH_QOS",),
            "constraint": ("SBATCH_CONSTRAINT",)}  # fmt: skip
"""Settings of the launcher → variables in which sites tell users to keep them; the first that is set holds."""
_GPU = re.compile(r"(?:^|[,/])(?:gres[/:])?(?:gpu|shard|mps)\b", re.IGNORECASE)


def long_name(name: str) -> str:
    """Return the name of a parameter as sbatch has it: `mem_per_cpu` and `--mem-per-cpu` are `mem-per-cpu`."""
    return name.removeprefix("--").replace("_", "-")


def flags(sbatch: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return sbatch's parameters by their long names, without those that are null or false.

    True and an empty text are flags without a value (`--exclusive`); a list is one value with commas.
    """
    kept = {long_name(name): v for name, v in (sbatch or {}).items() if v is not None and v is not False}
    kept = {name: ",".join(map(str, v)) if isinstance(v, list | tuple) else v for name, v in kept.items()}
    return {name: True if value == "" else value for name, value in kept.items()}


def check_text(sbatch: Mapping[str, Any] | None, setting: str = "sbatch") -> None:
    """Raise `InputError` for names and values that are no line of an sbatch file."""
    for name, value in (sbatch or {}).items():
        if re.fullmatch(r"(--)?[a-z][a-z0-9_-]+", name) is None:
            raise InputError(f"{setting}.{name}: accepted: long names, as {{mail-user: me@example.org}}")
        if isinstance(value, Mapping) or not str(value).isprintable():
            raise InputError(
                f"{setting}.{name}={value!r}: accepted: a text of one line, a number, a list, true or false"
            )


def gpu_flags(sbatch: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the parameters that ask for GPUs, in whatever spelling."""
    given = {name: str(value) for name, value in flags(sbatch).items() if name in GPUS}
    return {name: value for name, value in given.items() if name.startswith("gpus") or _GPU.search(value)}


def gpu_count(sbatch: Mapping[str, Any] | None) -> int:
    """Return how many GPUs (or parts) they ask for; a job has one node and one task, so that all spellings agree.

    `a100:2` is two, `gpu:a100` and `gpu` one.
    """
    most = 0
    for name, value in gpu_flags(sbatch).items():
        entries = [entry for entry in value.split(",") if name.startswith("gpus") or _GPU.search(entry)]
        numbers = [re.search(r"(?:^|[:=])(\d+)(?:\(.*\))?$", entry.strip()) for entry in entries]
        most = max(most, sum(1 if number is None else int(number[1]) for number in numbers))
    return most


def lifted(sbatch: Mapping[str, Any] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return parameters of sbatch for which the launcher has settings of its own, and the others.

    Whoever asks for an account by `sbatch={account: …}` means it for the job afterwards and for limits too.
    """
    own = {name: str(value) for name, value in flags(sbatch).items() if name in EXPORTED}
    return own, {name: value for name, value in (sbatch or {}).items() if long_name(name) not in own}


def check(sbatch: Mapping[str, Any] | None, given: Mapping[str, Any]) -> None:
    """Raise `InputError` where one thing is asked for twice.

    Args:
        sbatch: the user's parameters of sbatch.
        given: the launcher's settings by name; null where they are not set.
    """
    check_text(sbatch)
    named = flags(sbatch)
    for name, setting in SETTINGS.items():
        if name == "time" and name in named:
            raise InputError("sbatch.time: the launcher warns jobs before it; accepted: hydra.launcher.time")
        if name in named and given.get(setting) is not None:
            raise InputError(f"sbatch.{name} beside hydra.launcher.{setting}={given[setting]}: accepted: one of them")
    for names, setting in ((MEMORY, "memory"), (tuple(gpu_flags(sbatch)), "gpus")):
        both = [name for name in names if name in named]
        if len(both) > 1:
            raise InputError(f"sbatch.{both[0]} beside sbatch.{both[1]}: accepted: one of them")
        if both and given.get(setting) is not None:
            beside = f"hydra.launcher.{setting}={given[setting]}"
            raise InputError(f"sbatch.{both[0]} beside {beside}: accepted: one of them")
    if gpu_flags(sbatch) and (given.get("packs_per_gpu") or 1) > 1:
        raise InputError(f"sbatch.{next(iter(gpu_flags(sbatch)))} beside packs_per_gpu: accepted: packs_per_gpu=1")


def exported(settings: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Return the settings that a site's variables give where the user gave none, and a note on each variable.

    Variables of sbatch that are not among `EXPORTED` do not reach it and are named: a file that says all is the rule.

    Args:
        settings: the launcher's, by name.
        environment: the environment variables.
    """
    chosen: dict[str, Any] = {}
    notes: list[str] = []
    named = flags(settings.get("sbatch"))
    for setting, variables in EXPORTED.items():
        variable = next((v for v in variables if environment.get(v)), None)
        if variable is not None and settings.get(setting) is None and setting not in named:
            chosen[setting] = environment[variable]
            notes.append(f"{setting}={environment[variable]}, from ${variable}; hydra.launcher.{setting}= replaces it")
    known = {variable for variables in EXPORTED.values() for variable in variables}
    others = sorted(name for name in environment if name.startswith("SBATCH_") and name not in known)
    if "SBATCH_TIMELIMIT" in others:
        others.remove("SBATCH_TIMELIMIT")
        notes.append(
            f"not used: $SBATCH_TIMELIMIT={environment['SBATCH_TIMELIMIT']}; accepted: hydra.launcher.time=MINUTES"
        )
    if others:
        notes.append(f"not used: ${', $'.join(others)}; hydra.launcher.sbatch={{NAME: VALUE}} asks sbatch for more")
    return chosen, notes
