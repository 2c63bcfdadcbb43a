"""Rows of the benchmark's file, and their printed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch


def row(name: str, device: torch.device, ours: float, peer: str, peer_ms: float) -> dict[str, Any]:
    """Return a row of the file for two sides timed within one process; times in ms."""
    return {
        "name": name,
        "kind": "engine",
        "device": str(device),
        "threads": torch.get_num_threads(),
        "ours_ms": ours,
        "peer": peer,
        "peer_ms": peer_ms,
        "ratio": peer_ms / ours,
    }


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows, one a line."""
    for r in rows:
        extra = (
            f" ({r['ratio_low']:.2f} to {r['ratio_high']:.2f}; CPU {r['ratio_cpu']:.2f})" if "ratio_cpu" in r else ""
        )
        extra += f"  (ready after {r['compile_s']:.0f} s)" if "compile_s" in r else ""
        extra += "".join(f"  ({r[key] / 1e6:.1f} MB: {key})" for key in r if key.endswith("_bytes_a_run"))
        extra += f"  (repaid by {r['repaid_by']:.0f} updates)" if "repaid_by" in r else ""
        print(f"{r['ours_ms']:9.3f} ms  {r['ratio']:6.2f}x  {r['name']}; beside {r['peer']}{extra}", flush=True)
