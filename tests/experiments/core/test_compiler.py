"""Requirements of compiling on each device, and the messages if one is missing; none of it needs a GPU."""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import signal
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.core import compiler
from experiments.core.compiler import lacking
from experiments.core.interrupt import ASKING, StopRequest
from experiments.core.processes import start_time
from experiments.training.step import can_compile

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
Break = Callable[[str], None]


@pytest.fixture(autouse=True)
def _unsaid() -> Iterator[None]:
    compiler.warn.cache_clear()
    yield
    compiler.warn.cache_clear()


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Break:
    """Pretend a node with all that a GPU needs (an H200); the returned function takes a part away."""
    commands = {"gcc": "/usr/bin/gcc", "g++": "/usr/bin/g++"}
    headers = tmp_path / "include"
    headers.mkdir()
    (headers / "Python.h").touch()
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name, **_: commands.get(name))
    monkeypatch.setattr(sysconfig, "get_paths", lambda *_: {"include": str(headers)})
    modules: dict[str, Exception | None] = {"triton": None}

    def load(name: str) -> object:
        if error := modules[name]:
            raise error
        return object()

    monkeypatch.setattr(importlib, "import_module", load)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla P100")

    def lose(part: str) -> None:
        if part == "triton":
            modules["triton"] = ModuleNotFoundError("No module named 'triton'", name="triton")
        elif part == "a library of triton":
            modules["triton"] = ImportError("libtriton.so: version `GLIBC_2.34' not found")
        elif part == "headers":
            (headers / "Python.h").unlink()
        elif part == "gpu":
            monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (6, 0))
        else:
            commands.pop(part)

    return lose


def test_can_compile_with_all_that_the_device_needs(node: Break, caplog: pytest.LogCaptureFixture) -> None:
    assert can_compile(CPU)
    assert can_compile(CUDA)
    assert lacking(CPU) == lacking(CUDA) == {}
    assert caplog.records == []


@pytest.mark.parametrize(
    ("part", "named", "said"),
    [
        ("triton", "triton", "no Triton: pip install triton"),
        ("a library of triton", "triton", "Triton cannot be imported (libtriton.so: version `GLIBC_2.34' not found)"),
        ("gcc", "compiler", "no C compiler: install gcc (on a cluster: module load gcc)"),
        ("headers", "headers", "install python3-dev, or use a Python that has its headers"),
        ("gpu", "gpu", "this GPU (Tesla P100, capability 6.0) is too old for Triton (7.0 or newer)"),
    ],
)
def test_can_compile_on_a_gpu_without_a_part_says_which(
    node: Break, caplog: pytest.LogCaptureFixture, part: str, named: str, said: str
) -> None:
    node(part)
    assert not can_compile(CUDA)
    assert list(lacking(CUDA)) == [named]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "training eagerly on cuda, several times slower (" in record.message
    assert said in record.message
    assert can_compile(CPU)  # which needs none of it


def test_can_compile_names_all_that_is_missing_in_one_warning(node: Break, caplog: pytest.LogCaptureFixture) -> None:
    for part in ("triton", "gcc", "headers", "gpu"):
        node(part)
    assert not can_compile(CUDA)
    assert not can_compile(CUDA)
    assert list(lacking(CUDA)) == ["triton", "compiler", "headers", "gpu"]
    assert len(caplog.records) == 1
    assert all(text in caplog.text for text in lacking(CUDA).values())


def test_can_compile_on_a_gpu_needs_no_cpp_compiler(node: Break, caplog: pytest.LogCaptureFixture) -> None:
    node("g++")
    assert can_compile(CUDA)
    assert caplog.records == []
    assert not can_compile(CPU)
    assert lacking(CPU) == {"compiler": "no C++ compiler: install g++ (on a cluster: module load gcc)"}
    assert "no C++ compiler (g++) found: training eagerly" in caplog.text


def test_can_compile_with_the_c_compiler_that_is_named(node: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton takes $CC as it is, even where gcc is at hand."""
    monkeypatch.setenv("CC", "icx")
    assert lacking(CUDA) == {"compiler": "no C compiler: CC='icx' is no command; unset it, or name one"}
    monkeypatch.setenv("CC", "gcc")
    assert can_compile(CUDA)


def test_can_compile_looks_for_debians_headers_where_they_are(node: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = sysconfig.get_paths()["include"]
    folders: dict[Any, str] = {"posix_local": "/nowhere", "posix_prefix": headers}
    monkeypatch.setattr(sysconfig, "get_default_scheme", lambda: "posix_local")
    monkeypatch.setattr(sysconfig, "get_paths", lambda scheme: {"include": folders[scheme]})
    assert can_compile(CUDA)


def test_can_compile_where_no_gpu_is_seen_does_not_judge_it(node: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    node("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert lacking(CUDA) == {}


def test_can_compile_on_no_other_device(node: Break, caplog: pytest.LogCaptureFixture) -> None:
    assert not can_compile(torch.device("mps"))
    assert "training eagerly on mps, several times slower (mps: compiled for cpu and cuda only)" in caplog.text


SLEEPERS = ["sh", "-c", "sleep 60 & echo ready; wait"]
"""A driver that, as g++, has started a process of its own."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_compilation_with_all_its_processes(number: int) -> None:
    """Otherwise it is noted, and training asks for it."""
    before = {one: signal.getsignal(one) for one in ASKING}
    stop = StopRequest().install()
    driver = subprocess.Popen(SLEEPERS, stdout=subprocess.PIPE, text=True)
    try:
        assert driver.stdout is not None
        driver.stdout.readline()
        (child,) = Path(f"/proc/{driver.pid}/task/{driver.pid}/children").read_text().split()
        started = start_time(int(child))
        with compiler.compiling(), pytest.raises(compiler.Stopped):
            signal.raise_signal(number)
        assert stop()
        driver.wait(timeout=30)
        while start_time(int(child)) == started:
            time.sleep(0.01)
        stop.signal = None
        os.kill(os.getpid(), number)  # now that nothing is compiled
        assert stop()
    finally:
        driver.kill()
        for one, handler in before.items():
            signal.signal(one, handler)
