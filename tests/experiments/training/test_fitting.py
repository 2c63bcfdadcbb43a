"""The size of packs on a GPU, which here is a pretended one with a clock and a memory of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from experiments.training import memory
from experiments.training.memory import GAIN, fitting, free_bytes, worthwhile


class Gpu:
    """Memory of a GPU: `size` bytes beside 6,000, of which the allocator holds some; a pack of n takes 1000 + 500 n for
    a moment. Its gradient takes 8 ms of the host, or n · 8 ms / `filled` of the GPU if that is longer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, size: int = 4000, filled: float = 1e9) -> None:
        self.allocated, self.reserved, self.peak, self.filled = 2000, 6000, 2000, filled
        self.clock = 0.0
        self.sizes: list[int] = []
        self.eager: list[bool] = []
        facts: dict[str, Callable[..., Any]] = {
            "memory_allocated": lambda device: self.allocated, "memory_reserved": lambda device: self.reserved,
            "max_memory_allocated": lambda device: self.peak, "mem_get_info": lambda device: (size, size + 6000),
            "reset_peak_memory_stats": self.reset, "synchronize": lambda device: None,
        }  # fmt: skip
        for name, fact in facts.items():
            monkeypatch.setattr(torch.cuda, name, fact)
        monkeypatch.setattr(memory, "time", SimpleNamespace(perf_counter=lambda: self.clock))

    def reset(self, device: torch.device) -> None:
        self.peak = self.allocated

    def pack(self, members: Sequence[Any]) -> Any:
        gpu = self

        class Made:
            class task:
                device = torch.device("cuda:0")

            first = True

            def bare_gradient(self, eager: bool = False) -> None:
                gpu.eager.append(eager)
                gpu.peak = max(gpu.peak, gpu.allocated + 1000 + 500 * len(members))
                gpu.clock += max(1.0, len(members) / gpu.filled) * (0.08 if self.first else 0.008)
                self.first = False

        self.sizes.append(len(members))
        return Made()


def test_out_of_memory_is_avoided_by_measuring_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.8 · (4000 free + 4000 held unused) bytes hold 1500 for the first run and 500 for each of nine more: eight."""
    gpu = Gpu(monkeypatch)
    assert free_bytes(torch.device("cuda:0")) == 8000
    assert fitting(gpu.pack, [object()] * 100) == 8  # type: ignore[list-item]
    assert all(gpu.eager)
    assert gpu.sizes == [1, 1, 2, 1, 2, 4, 8]  # to find the device, for memory, and for throughput


def test_out_of_memory_while_measuring_means_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(monkeypatch)

    def build(members: Sequence[Any]) -> Any:
        if len(members) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return gpu.pack(members)

    assert fitting(build, [object()] * 100) == 1  # type: ignore[list-item]


def test_packs_are_no_larger_than_pays(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The GPU is full with 12 runs: 8 do 1,000 gradients/s, all above 1,500. Of the time of a first call, which is ten
    times as long, nothing is seen. Two packs of 16 hold what one of 32 would."""
    gpu = Gpu(monkeypatch, size=10**6, filled=12)
    with caplog.at_level(logging.INFO, logger="experiments.training.memory"):
        assert fitting(gpu.pack, [object()] * 1000) == 16  # type: ignore[list-item]
    assert max(gpu.sizes) == 64
    (line,) = caplog.messages
    rates = "125 with 1, 250 with 2, 500 with 4, 1000 with 8, 1500 with 16, 1500 with 32, 1500 with 64"
    assert line == f"packs of up to 16, of 1000 that memory holds: gradients/s, eagerly, are {rates}"


@pytest.mark.parametrize(("runs", "size"), [(16, 16), (17, 9), (33, 11), (100, 15)])
def test_packs_of_the_largest_size_that_pays_are_as_few_and_equal(
    runs: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """33 runs are three packs of 11 and compiled once; of 16, 16 and 1 they would be two shapes."""
    gpu = Gpu(monkeypatch, size=10**6, filled=12)
    assert fitting(gpu.pack, [object()] * runs) == size  # type: ignore[list-item]


def test_a_size_that_does_not_fit_is_none_that_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """What memory is thought to hold by packs of one and two may still not fit."""
    gpu = Gpu(monkeypatch, size=10**6)

    def build(members: Sequence[Any]) -> Any:
        if len(members) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return gpu.pack(members)

    assert fitting(build, [object()] * 64) == 4  # type: ignore[list-item]


def test_one_slow_measurement_does_not_end_the_search() -> None:
    assert worthwhile(64, lambda n: 0.1 if n == 4 else float(n)) == 64


@given(st.integers(1, 5000), st.floats(1.0, 5000.0))
def test_worthwhile(most: int, filled: float) -> None:
    """The last doubling paid, and the next one would not."""

    def throughput(n: int) -> float:
        return min(float(n), filled)

    size = worthwhile(most, throughput)
    assert size == most or (size <= most and size & (size - 1) == 0)
    assert size == 1 or throughput(size) > (1 + GAIN) * throughput(size // 2) or size == most
    assert throughput(2 * size) <= (1 + GAIN) * throughput(size) * (1 + 1e-12) or 2 * size > most
