"""Benchmarks for `make bench` that need no training: the bootstrap against a loop over scipy's curve_fit, and how
fast commands start."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from scipy.optimize import curve_fit

from analysis.arrays import FloatArray
from analysis.calibration.synthetic import noise
from analysis.comparisons.bootstrap import bootstrap
from analysis.files import write_text
from benchmarks import start as starts

CURVES, REPLICATES, THREADS = 1000, 1000, 2
PEER_FITS = 300
"""Number of timed fits of the peer; the time of its loop is linear in it."""


def _floored(p: FloatArray, /, *parameters: float) -> FloatArray:
    a, beta, c = parameters
    return np.asarray(a * p**-beta + c)


def benchmarks(
    curves: int = CURVES, replicates: int = REPLICATES, peer_fits: int = PEER_FITS
) -> list[dict[str, object]]:
    """Time a bootstrap of `curves` × `replicates`, floor model included, ours and by a loop over curve_fit.

    The peer fits only the floor model, from one start (the power law's own fit), to the same kind of resampled means.
    """
    rng = np.random.default_rng(0)
    sizes = np.array([16 * 2.0**k for k in range(8)])
    tops, betas, floors = rng.uniform(0.3, 3, curves), rng.uniform(0.1, 0.8, curves), rng.uniform(0, 0.05, curves)
    clean = tops[:, None] * sizes ** -betas[:, None] + floors[:, None]
    log_error = np.stack([np.log(row) + noise(rng, sizes, 5, 0.03, 0.02) for row in clean])
    start = time.perf_counter()
    bootstrap(np.log(sizes), log_error, replicates, threads=THREADS)
    ours = time.perf_counter() - start

    start = time.perf_counter()
    for i in range(peer_fits):
        curve = log_error[i % curves]
        means = np.exp(curve[rng.integers(0, len(curve), len(curve))].mean(axis=0))
        slope, level = np.polyfit(np.log(sizes), np.log(means), 1)
        first = (np.exp(level), -slope, 0.0)
        try:
            curve_fit(_floored, sizes, means, p0=first, sigma=means, bounds=([0, 0, 0], [np.inf, 8, np.inf]))
        except RuntimeError:  # did not converge: it has cost its time all the same
            continue
    peer = (time.perf_counter() - start) * curves * replicates / peer_fits
    return [
        {
            "name": f"bootstrap {curves} curves x {replicates} replicates, with floor",
            "device": "cpu",
            "threads": THREADS,
            "ours_ms": 1e3 * ours,
            "peer": "scipy.optimize.curve_fit in a loop (1 thread)",
            "peer_ms": 1e3 * peer,
            "ratio": peer / ours,
        }
    ]


def main() -> int:
    """Run the benchmark, print its rows and write them as JSON; return the exit code."""
    parser = argparse.ArgumentParser(description="Time the bootstrap, and the start of commands.")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    out: Path = parser.parse_args().out
    rows = [*benchmarks(), *starts.benchmarks()]
    for row in rows:
        print(f"{row['ours_ms']:9.0f} ms  {row['ratio']:6.0f}x  {row['name']}; beside {row['peer']}")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
