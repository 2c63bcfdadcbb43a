"""A run's checkpoint: every tensor of its state and its progress; a damaged file is refused.

The format is safetensors (no pickle), with a digest of the whole content in the header.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from experiments.core import files

logger = logging.getLogger(__name__)
KEPT = 2
"""Checkpoints kept of an attempt: the latest, and the one before it in case the latest is damaged."""


@dataclass(frozen=True)
class Checkpoint:
    """`tensors` without a pack axis, and JSON `facts` (the steps done among them, as `clock`)."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def _digest(tensors: Mapping[str, Tensor], facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        digest.update(f"|{name}|{tensors[name].dtype}|{tuple(tensors[name].shape)}|".encode())
        digest.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        OSError: the disk is full, read-only or broken.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in checkpoint.tensors.items()}
    facts = json.dumps(checkpoint.facts)
    header = {"facts": facts, "digest": _digest(tensors, facts)}
    with files.whole(path) as temporary:
        try:
            save_file(tensors, temporary, metadata=header)
        except SafetensorError as error:  # it wraps the system's error: a full disk is no fault of the run
            if match := re.search(r"os error (\d+)", str(error)):
                raise OSError(int(match[1]), os.strerror(int(match[1]))) from error
            raise


def load(path: Path) -> Checkpoint | None:
    """Read a checkpoint; return None (with a warning) if the file is damaged."""
    try:
        with safe_open(path, framework="pt") as stored:
            header = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
        if header["digest"] != _digest(tensors, header["facts"]):
            raise ValueError("its digest does not fit its content")
        return Checkpoint(tensors, json.loads(header["facts"]))
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        logger.warning("checkpoint %s is damaged (%s); going on without it", path.name, error)
        return None


def save_step(directory: Path, steps_done: int, checkpoint: Checkpoint) -> None:
    """Write `step-<steps_done>.safetensors` and drop all but the last `KEPT` of this attempt."""
    save(directory / f"step-{steps_done:09d}.safetensors", checkpoint)
    for old in sorted(directory.glob("step-*.safetensors"))[:-KEPT]:
        old.unlink(missing_ok=True)


def latest(directories: Iterable[Path]) -> Checkpoint | None:
    """Return the furthest undamaged checkpoint of a run's attempts; None if there is none."""
    paths = sorted((p for d in directories for p in d.glob("step-*.safetensors")), key=lambda p: p.name, reverse=True)
    for path in paths:
        checkpoint = load(path)
        if checkpoint is not None:
            return checkpoint
    return None
