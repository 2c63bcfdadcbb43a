"""Records of the GPU, with a driver made up in files; nothing about them fails a run."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.core import gpu

CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\nGCC version: 12\n"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (builder@host)\n"
INFORMATION = "Model: \t\t {model}\nIRQ:   \t\t 42\nGPU UUID: \t GPU-1\nBus Location: \t 0000:07:00.0\n"


@pytest.fixture
def driver_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return a function that writes the driver's own files; there are none at first, and there is no nvidia-smi."""

    def say(version: str = OPEN, *models: str) -> None:
        (tmp_path / "version").write_text(version)
        for number, model in enumerate(models):
            (tmp_path / "gpus" / str(number)).mkdir(parents=True)
            (tmp_path / "gpus" / str(number) / "information").write_text(INFORMATION.format(model=model))
        gpu.driver.cache_clear()

    def no_smi(*_: Any, **__: Any) -> Any:
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr(gpu, "NVIDIA", tmp_path)
    monkeypatch.setattr(subprocess, "run", no_smi)
    gpu.driver.cache_clear()
    yield say
    gpu.driver.cache_clear()


def test_a_run_on_a_gpu(driver_says: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    driver_says(CLOSED)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: {"cuda:0": "NVIDIA H200"}[device])
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    found = gpu.computed_with("cuda:0")
    assert found == {"gpu": "NVIDIA H200", "gpu_driver": "535.129.03", "cuda": "13.0"}
    on_cpu = {"gpu": None, "gpu_driver": None, "cuda": "13.0"}
    assert gpu.computed_with("cpu") == on_cpu  # of the same machine


def test_a_gpu_that_is_lost_fails_nothing(driver_says: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(device: str) -> str:
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(torch.cuda, "get_device_name", lost)
    found = gpu.computed_with("cuda")
    assert (found["gpu"], found["gpu_driver"]) == (None, None)


def test_the_driver_is_asked_where_it_does_not_say(
    driver_says: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = [
        subprocess.CompletedProcess((), 0, "560.35.03\n560.35.03\n"),
        subprocess.CompletedProcess((), 0, "No devices were found\n"),
        subprocess.TimeoutExpired("nvidia-smi", gpu.SMI_SECONDS),
        subprocess.CalledProcessError(9, "nvidia-smi"),
    ]

    def run(*_: Any, timeout: float, **__: Any) -> Any:
        assert timeout == gpu.SMI_SECONDS
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(subprocess, "run", run)
    assert [gpu.driver(), gpu.driver()] == ["560.35.03"] * 2  # asked once
    assert len(answers) == 3
    for _ in range(3):
        gpu.driver.cache_clear()
        assert gpu.driver() is None
    assert not answers


def test_the_models_of_a_machine(driver_says: Callable[..., None]) -> None:
    assert gpu.models_here() == []
    driver_says(OPEN, "NVIDIA H200", "NVIDIA A100-SXM4-80GB", "NVIDIA H200", "Unknown")
    assert gpu.models_here() == ["NVIDIA A100-SXM4-80GB", "NVIDIA H200"]


def test_a_machine(driver_says: Callable[..., None]) -> None:
    software = {"cuda": torch.version.cuda}
    assert gpu.machine_facts() == {"gpus": [], "gpu_driver": None, **software}
    driver_says(OPEN, "NVIDIA H200")
    assert gpu.machine_facts() == {"gpus": ["NVIDIA H200"], "gpu_driver": "580.65.06", **software}
