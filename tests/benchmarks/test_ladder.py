"""The benchmark of ladders on a tiny case: two rows a number of test frames, of one pass and of its runs."""

from __future__ import annotations

import pytest

from benchmarks.ladder import benchmarks


def test_rows_of_a_tiny_ladder() -> None:
    rows = benchmarks(channels=2, sizes=(2, 3), tests=(4,))
    assert [row["peer"] for row in rows] == ["its runs one by one", "its largest run alone"]
    for row in rows:
        assert row["kind"] == "ladder"
        assert row["ratio"] == pytest.approx(row["peer_ms"] / row["ours_ms"])
        assert row["ours_ms"] > 0
    assert rows[0]["peer_ms"] > rows[1]["peer_ms"]
    assert "P = 2…3, MACE cell C linearised, 2 channels" in rows[0]["name"]
