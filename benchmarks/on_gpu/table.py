"""The rows of a check of a GPU as a Markdown table, for docs/gpu.md: a line for each check, and for each failed row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
WORST = {
    "device = CPU": ("float64", "float32"),
    "training: device = CPU": ("largest",),
    "pack = singles": ("largest",),
    "resumed = whole": ("largest",),
    "compiled = eager": ("gradient", "losses"),
    "QR = Cholesky": ("distance",),
}
"""Relative differences of a check, of which the largest of all its networks is shown."""
FIGURES = {
    "engine_ms": "{:.1f} ms an update", "run_updates_per_s": "{:.0f} updates of a run/s",
    "gradient_ms": "gradient {:.1f} ms", "gradient_and_update_ms": "with the update {:.1f} ms",
    "refresh_ms": "bases {:.1f} ms", "validation_ms_a_run": "validation {:.1f} ms",
    "kernels_an_update": "{:.0f} kernels an update", "busy_ms": "that compute {:.1f} ms", "peak_GB": "peak {:.2f} GB",
    "compile_s": "compiled in {:.0f} s", "step": "{}", "step_ms": "{:.1f} ms a step", "qr_ms": "QR {:.0f} ms",
    "cholesky_ms": "Cholesky {:.2f} ms", "eigh_ms": "eigenvectors {:.1f} ms", "matrices": "{} matrices",
    "version": "version {}",
}  # fmt: skip
"""Facts of rows that measure times, in this order."""
MACHINE = ("gpu", "driver", "cuda", "torch", "triton", "python", "cores")


def markdown(rows: Sequence[Row]) -> str:
    """Return the table of the rows of `gpu_check`, whose first line names the machine."""
    machine = next((row for row in rows if row["check"] == "environment"), {})
    lines = [", ".join(f"{name} {machine.get(name, 'unknown')}" for name in MACHINE) + ".", ""]
    lines += ["| check | of | ok | found |", "|---|---|---|---|"]
    for check in dict.fromkeys(row["check"] for row in rows if row["check"] != "environment"):
        own = [row for row in rows if row["check"] == check]
        good = [row for row in own if row["state"] == "ok"]
        if check in WORST and len(own) > 1:
            lines.append(f"| {check} | {len(own)} networks | {len(good)} | {_largest(check, good)} |")
            own = [row for row in own if row["state"] != "ok"]
        lines += [_line(row) for row in own]
    return "\n".join(lines) + "\n"


def _largest(check: str, rows: Sequence[Row]) -> str:
    """Return the largest differences, of a few numbers each or of one."""
    found = []
    for name in WORST[check]:
        values = [row[name] for row in rows if name in row]
        flat = [x for value in values for x in (value.values() if isinstance(value, Mapping) else [value])]
        found.append(f"{name} {max(flat):.1e}" if flat else f"{name} unknown")
    return ", ".join(found) + " at most"


def _line(row: Row) -> str:
    figures = [text.format(row[name]) for name, text in FIGURES.items() if name in row]
    figures += [f"{name} {row[name]:.1e}" for name in WORST.get(row["check"], ()) if isinstance(row.get(name), float)]
    reason = str(row.get("message") or row.get("reason") or row.get("why") or "").strip().partition("\n")[0]
    found = ", ".join([*figures, *filter(None, [reason])]).replace("|", "\\|")
    return f"| {row['check']} | {row['architecture']} | {row['state']} | {found} |"
