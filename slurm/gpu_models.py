"""The GPU model that a job will get, told from the names it asks for, which each cluster spells in its own way."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from slurm.settings import SlurmSettings

PARTS = ("gpu", "gres/gpu", "shard", "mps")
"""Generic resources whose type is a GPU model."""
VENDOR = {"nvidia", "tesla", "geforce", "quadro", "amd", "instinct", "gpu"}
"""Words of a name that do not tell one model from another."""
MODEL = re.compile(
    r"(?<![a-z0-9])(?:gpu)?("
    r"a(?:10|16|30|40|100|800|[2456][05]00)|[br][123]00|g[bh][23]00|h(?:20|100|200|800)|k[248]0|l(?:4|20|40s?)|m[46]0|"
    r"p(?:40|100|6000)|t4|v100s?|[gr]tx_?[0-9]{4}(?:ti|super)?|[0-9]{4}ti|mi[0-9]{3}[ax]?"
    r")(?:x[0-9]+)?(?![a-z0-9])"
)
"""A model's name within that of a partition or a feature: `gpu_a100`, `gpuA100x4`. It lists known models instead of
matching all that might be one: a partition `h24` is one for 24 hours."""


def asked_for(settings: SlurmSettings) -> tuple[str, ...]:
    """Return the names of the GPU models that the settings ask for, as they are written there; empty if there are none.

    The type in `gpu:TYPE:1` is always taken for a name; in partitions and constraints only known models are.
    """
    given = {name.replace("_", "-"): str(value).lower() for name, value in (settings.sbatch or {}).items()}
    texts = [settings.partition, settings.constraint, given.get("partition"), given.get("constraint")]
    names = [name for text in texts if text is not None for name in MODEL.findall(text.lower())]
    for parameter, text in given.items():
        if parameter == "gres" or parameter.startswith(("gpus", "tres")):
            names += _types(text, bare=parameter.startswith("gpus"))
    return tuple(dict.fromkeys(name for name in names if _words(name)))


def _types(text: str, bare: bool) -> Iterator[str]:
    """Yield the types in `gpu:a100:2,lustre` or, if resources are not named (`bare`), in `a100:2`."""
    for entry in text.split(","):
        parts = [part.strip() for part in re.split("[:=]", entry)]
        if bare or parts[0] in PARTS:
            yield from (part for part in parts if part not in PARTS and not part.isdigit())


def fits(name: str, model: str) -> bool:
    """Return whether a cluster's name for a GPU (`a100`, `nvidia_a100-sxm4-80gb`, `rtx2080ti`) fits a `model` as the
    driver writes it (`NVIDIA A100-SXM4-80GB`). A part of a GPU (MIG) fits only a name that says which part."""
    asked, (whole, _, part) = set(_words(name)), model.partition(" MIG ")
    words, profile = _words(whole), set(_words(part))
    accepted = {"".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}
    return bool(asked) and profile <= asked <= accepted | profile | {"mig"}


def chosen(names: Sequence[str], known: Sequence[str]) -> tuple[str | None, str]:
    """Return the model among `known` that a job which asks for `names` gets; without names, the single known model.

    Returns:
        The model and "", or None and in words why it can't be told.
    """
    fitting = [model for model in known if all(fits(name, model) for name in names)]
    if len(fitting) == 1:
        return fitting[0], ""
    request = f"jobs ask for {', '.join(names)}" if names else "jobs ask for no model"
    return None, f"{request}, finished runs are of {', '.join(fitting or known) or 'GPUs whose model is not recorded'}"


def _words(name: str) -> list[str]:
    return [word for word in re.findall(r"[a-z0-9]+(?:\.[a-z0-9]+)*", name.lower()) if word not in VENDOR]
