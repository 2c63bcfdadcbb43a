"""Operations and bytes that are counted by hand, and rows of a small network (no speed is asserted)."""

from __future__ import annotations

import pytest
import torch

from benchmarks import roofline
from benchmarks.steps import MACE


def test_counts_of_a_matrix_product() -> None:
    a, b = torch.randn(3, 4), torch.randn(4, 5)
    with roofline.Counted() as counted:
        torch.relu((a @ b).reshape(5, 3))
    assert counted.operations == {"mm": 2 * 3 * 4 * 5, "relu": 15}  # a view is none
    assert (counted.calls, counted.views) == (3, 1)
    assert counted.bytes == {"mm": 4 * (12 + 20 + 15), "relu": 4 * 30}


def test_a_tensor_that_is_given_twice_is_moved_once() -> None:
    a = torch.randn(3, 4)
    assert roofline.moved([a, {"again": a}, [torch.zeros(2)]]) == 4 * 12 + 4 * 2


def test_rows_of_a_small_network(capsys: pytest.CaptureFixture[str]) -> None:
    settings = {**MACE, "L": 0, "channels": 2, "n_layers": 2, "device": "cpu", "radial_hidden": [4]}
    rows = roofline.measure(settings, repeats=2, compile=False)
    assert [row["name"].split(",")[0] for row in rows] == ["gradient", "update"]
    for row in rows:
        assert row["ratio"] == pytest.approx(row["peer_ms"] / row["ours_ms"], rel=1e-12)  # round-off
        assert row["ratio"] > 0
        assert row["eager_ms"] > 0
        assert row["calls"] > row["views"] > 0
        assert len(row["kernels"]) == roofline.SHOWN
        assert 0 < sum(kernel["share"] for kernel in row["kernels"]) <= 1
    roofline.show(rows)
    printed = capsys.readouterr().out
    assert "of the time eagerly" in printed
    assert f"{rows[0]['calls']} calls of operators, {rows[0]['views']} of them views" in printed
