"""The bootstrap's benchmark runs and reports the keys that `make bench` needs (no speed is asserted)."""

from __future__ import annotations

from benchmarks.analysis import benchmarks


def test_benchmark_reports_its_peer() -> None:
    (row,) = benchmarks(curves=3, replicates=5, peer_fits=2)
    assert set(row) == {"name", "device", "threads", "ours_ms", "peer", "peer_ms", "ratio"}
    assert isinstance(row["ratio"], float)
    assert row["ratio"] > 0
