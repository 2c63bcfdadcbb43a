"""Measure what runs cost if no finished run tells: each shape is computed for a while, and nothing of it is kept."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from experiments.config.run import RunConfig
from experiments.runs.store import RunStore
from experiments.training.schedule import Schedule
from slurm.estimate import PROBE, UNKNOWN, Estimate

SECONDS = 30.0
"""Time for one shape; a first chunk of updates, or a piece of a fit, that takes longer is waited for."""


def probe(config: RunConfig, data_sha256: str, seconds: float = SECONDS) -> Estimate:
    """Return the cost of a run, from its first seconds on this machine: eager, so that nothing is compiled for it.

    Args:
        config: of the run.
        data_sha256: digest of its dataset.
        seconds: after which the run is stopped.
    """
    from experiments.runs.execute import execute  # torch
    from experiments.training import checkpoint
    from experiments.training.pack import Interrupted

    training = None if config.training is None else replace(config.training, compile=False)
    with tempfile.TemporaryDirectory(prefix="equilaw-probe-") as folder:
        own = replace(config, store=folder, training=training)
        run = RunStore(folder).run(own.run_id(data_sha256))
        run.create(own.as_dict())
        seen: dict[str, Any] = {}
        until = time.monotonic() + seconds
        with suppress(Interrupted):
            execute([run], lambda: time.monotonic() >= until, lambda event: _note(seen, event))
        if (result := run.result()) is not None:
            return Estimate(float(result["seconds"]), None, PROBE)
        if training is None:
            share = seen.get("share")
            return Estimate(seen["seconds"] / share, None, f"{PROBE} of {seconds:g} s") if share else UNKNOWN
        latest = checkpoint.latest(path for path in run.path.glob("attempt-*"))
        if latest is None or not latest.facts["clock"]:
            return UNKNOWN
        updates = Schedule(training.max_steps, training.warmup_steps, training.cooldown).total
        cost = float(latest.facts["seconds"]) / int(latest.facts["clock"]) * updates
        return Estimate(cost, None, f"{PROBE} of {seconds:g} s, eager: less where a step is compiled")


def _note(seen: dict[str, Any], event: Mapping[str, Any]) -> None:
    if event["event"] == "progress":
        seen.update(event)
