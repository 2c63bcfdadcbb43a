"""Processor time until the first update: with nothing compiled before, with the shape in the cache, and eagerly; and
the updates that repay a compilation (`experiments.config.compiling`)."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from typing import Any

from benchmarks.turns import Worker, own_python, summarise, time_in_turns


def measure(settings: Mapping[str, Any], seconds: float, module: str = "benchmarks.step_ours") -> list[dict[str, Any]]:
    """Start a training three times, and time compiled and eager steps in turns.

    Args:
        settings: of the network (`benchmarks.steps.cases`).
        seconds: to time steps for.
        module: takes the steps.

    Returns:
        A row for a cold start and one for a warm one, beside an eager start; `repaid_by` in the first is the number of
        updates after which compiling has saved the processor time that it took, and `step` has the times of steps.
    """
    python = own_python()
    with tempfile.TemporaryDirectory() as cache:
        place = {"TORCHINDUCTOR_CACHE_DIR": cache}
        with Worker(python, module, settings, place) as cold:
            pass
        with (
            Worker(python, module, settings, place) as warm,
            Worker(python, module, {**settings, "compile": False}) as eager,
        ):
            steps = summarise(time_in_turns(warm, eager, seconds))
    saved = steps["peer_cpu_ms"] - steps["ours_cpu_ms"]
    starts = {name: 1e3 * worker.facts["start_cpu_s"] for name, worker in (("cold", cold), ("warm", warm))}
    started = 1e3 * eager.facts["start_cpu_s"]
    what = f"{settings['architecture']} L={settings['L']}, {settings['channels']} channels, ethanol"
    common = {"kind": "compile", "device": settings["device"], "threads": settings["threads"], "peer": "an eager start"}
    rows: list[dict[str, Any]] = [
        {
            "name": f"first update, CPU: {what}, {words}", **common,
            "ours_ms": starts[name], "peer_ms": started, "ratio": started / starts[name],
        }
        for name, words in (("cold", "nothing in the cache"), ("warm", "the shape in the cache"))
    ]  # fmt: skip
    rows[0] |= {"repaid_by": (starts["cold"] - started) / saved if saved > 0 else math.inf, "step": steps}
    return rows
