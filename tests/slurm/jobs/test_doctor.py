"""Each piece that a sweep needs, taken away: what the doctor says, and when it is a fault. No GPU, no Slurm needed."""

from __future__ import annotations

import builtins
import os
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.core import compiler
from slurm import cli
from slurm.jobs import commands, doctor
from slurm.jobs.doctor import Torch

ROOT = Path(__file__).resolve().parents[3]
SEEN = Torch("2.13.0", "13.0", gpus=("NVIDIA H200, 139 GiB, capability 9.0",))
BLIND = Torch("2.13.0", "13.0")
CPU_BUILD = Torch("2.13.0+cpu", None)
SMI = "echo 'NVIDIA H200, 580.65.06, 143771 MiB'"
SBATCH = {"sbatch": "echo slurm 24.05.2", "scontrol": "echo ClusterName = big; echo MaxArraySize = 1001"}

Says = Callable[..., tuple[int, dict[str, str]]]
Fake = Callable[..., None]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """A path that has the shell and these commands alone, name=script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("SLURM_CONF", "/nowhere")  # else a cluster of this machine is looked for
    commands.environment.cache_clear()

    def make(**scripts: str) -> None:
        for name, script in scripts.items():
            path = folder / name.replace("_", "-")
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)

    yield make
    commands.environment.cache_clear()


@pytest.fixture
def says(fake: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Says:
    """Run the command where torch says this, and a GPU's compiler is whole; exit code, and lines by what they are of.

    Several lines of one thing are joined by a newline.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "gpu_problem", lambda: None)
    monkeypatch.setattr(compiler, "lacking", lambda device: {})
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def run(facts: Torch, *words: str) -> tuple[int, dict[str, str]]:
        monkeypatch.setattr(doctor, "inspect_torch", lambda: facts)
        code = cli.main(["doctor", *words])
        told = capsys.readouterr()
        lines: dict[str, str] = {}
        for line in told.out.splitlines():
            mark, what, text = line.split(maxsplit=2)
            lines[what] = f"{lines[what]}\n{mark} {text}" if what in lines else f"{mark} {text}"
        faults = sum(line.startswith("fault ") for line in told.out.splitlines())
        assert told.err == (
            "" if code == 0 else f"python -m slurm: doctor: {faults} fault{'s' * (faults > 1)}, see above\n"
        )
        return code, lines

    return run


def test_a_laptop_lacks_a_gpu_and_slurm_and_is_well(says: Says) -> None:
    code, lines = says(CPU_BUILD)
    assert code == 0
    assert lines["torch"] == "ok 2.13.0+cpu, built without CUDA"
    assert lines["gpu"].startswith("absent torch 2.13.0+cpu is built without CUDA; ")
    assert lines["device"] == f"ok cpu: {len(os.sched_getaffinity(0))} cores for this process".replace(
        " 1 cores", " 1 core"
    )
    assert lines["slurm"].startswith("absent sbatch is not on the path")
    assert lines["store"].startswith("ok runs (not there yet; tried in ")


def test_what_is_asked_for_and_absent_is_a_fault(says: Says) -> None:
    code, lines = says(CPU_BUILD, "--device", "cuda", "--slurm")
    assert code == 1
    assert [what for what, text in lines.items() if text.startswith("fault ")] == ["gpu", "slurm"]
    assert "device" not in lines  # no word of a CPU that was not asked for


def test_a_gpu_node(says: Says, fake: Fake) -> None:
    fake(nvidia_smi=SMI, **SBATCH)
    code, lines = says(SEEN, "--device", "cuda", "--slurm")
    assert code == 0
    assert lines["device"] == "ok cuda: NVIDIA H200, 139 GiB, capability 9.0, driver 580.65.06"
    assert lines["torch"] == "ok 2.13.0, built for CUDA 13.0"
    assert lines["slurm"] == "ok slurm 24.05.2, cluster big, arrays of up to 1001 elements"
    assert "gpu" not in lines
    assert says(SEEN, "--device", "cpu")[1]["device"].startswith("ok cpu: ")


@pytest.mark.parametrize(
    ("facts", "smi", "shown", "said"),
    [
        (CPU_BUILD, SMI, None, "built without CUDA, and this machine has NVIDIA H200 (143771 MiB); "),
        (BLIND, None, None, "no GPU with a driver here (nvidia-smi is not on the path)"),
        (BLIND, "echo No devices were found", None, "no GPU with a driver here (nvidia-smi lists no GPU)"),
        (BLIND, "echo no driver >&2; exit 9", None, "no GPU with a driver here (nvidia-smi: no driver)"),
        (BLIND, SMI, "", "CUDA_VISIBLE_DEVICES='' hides every GPU"),
        (BLIND, "echo 'Tesla T4, 535.104.05, 15360 MiB'", None,
         "driver 535.104.05 (Tesla T4 (15360 MiB)) is too old for a torch built for CUDA 13.0 (R580 or newer); "
         "install the same torch built for CUDA 12.6, from PyTorch's cu126 index, or a newer driver"),
        (Torch("2.13.0+cu126", "12.6"), "echo 'Tesla T4, 470.57.02, 15360 MiB'", None,
         "is too old for a torch built for CUDA 12.6 (R525 or newer); install a newer driver"),
        (Torch("2.13.0+cu126", "12.6"), "echo 'Tesla T4, 535.104.05, 15360 MiB'", None, "it does not say why"),
        (Torch("2.13.0", "13.0", complaint="Error 802"), SMI, None, "torch does not see it: Error 802"),
    ],
)  # fmt: skip
def test_why_torch_sees_no_gpu(
    says: Says, fake: Fake, monkeypatch: pytest.MonkeyPatch, facts: Torch, smi: str | None, shown: str | None, said: str
) -> None:
    if smi is not None:
        fake(nvidia_smi=smi)
    if shown is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    code, lines = says(facts, "--device", "cuda")
    assert code == 1
    assert lines["gpu"].startswith("fault ")
    assert said in lines["gpu"]
    assert says(facts)[0] == 0


def test_a_command_that_hangs_is_not_waited_for(says: Says, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SECONDS", 0.5)
    fake(nvidia_smi="exec /bin/sleep 600", sbatch="echo slurm 24", scontrol="exec /bin/sleep 600")
    code, lines = says(BLIND, "--slurm")
    assert code == 1
    assert "(nvidia-smi: no answer in 0.5 s)" in lines["gpu"]
    assert lines["slurm"].startswith("fault sbatch is here, but scontrol: no answer in 0.5 s; ")


@pytest.mark.parametrize("broken", ["sbatch", "scontrol"])
def test_a_slurm_that_does_not_answer(says: Says, fake: Fake, broken: str) -> None:
    fake(**{**SBATCH, broken: "echo Unable to contact slurm >&2; exit 1"})
    code, lines = says(CPU_BUILD, "--slurm")
    assert code == 1
    assert lines["slurm"].startswith(f"fault sbatch is here, but {broken}: Unable to contact slurm; ")
    code, lines = says(CPU_BUILD)
    assert code == 0
    assert lines["slurm"].startswith("absent ")


def test_a_gpu_that_cannot_compute_is_a_fault_also_where_it_was_not_asked_for(
    says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For trainings with device=auto would go there."""
    monkeypatch.setattr(doctor, "gpu_problem", lambda: "it cannot compute: no kernel image")
    code, lines = says(SEEN)
    assert code == 1
    assert lines["device"].startswith("fault cuda: NVIDIA H200, 139 GiB, capability 9.0, driver unknown: it cannot")
    assert says(SEEN, "--device", "cpu")[0] == 0


def test_a_gpu_without_code_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def ones(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nCompile with …")

    monkeypatch.setattr(torch, "ones", ones)
    assert doctor.gpu_problem() == (
        "it cannot compute: CUDA error: no kernel image is available for execution on the device; " + doctor.OTHER
    )


def test_a_compiler_that_lacks_parts(says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part is a line; a fault where the device was asked for, else only slower."""
    asked: list[str] = []

    def lacking(device: torch.device) -> dict[str, str]:
        asked.append(device.type)
        return {"triton": "no Triton", "headers": "no Python.h"}

    monkeypatch.setattr(compiler, "lacking", lacking)
    code, lines = says(SEEN, "--device", "cuda")
    assert (code, lines["compiler"]) == (1, "fault for cuda: no Triton\nfault for cuda: no Python.h")
    code, lines = says(SEEN)
    assert code == 0
    assert lines["compiler"].startswith("absent for cuda: no Triton; trainings are eager, several times slower\n")
    assert says(CPU_BUILD)[1]["compiler"].startswith("absent for cpu: no Triton; ")
    says(CPU_BUILD, "--device", "cuda")
    assert asked == ["cuda", "cuda", "cpu", "cuda"]


def test_a_torch_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def load(name: str, *rest: Any) -> Any:
        if name == "torch":
            raise ImportError("libcudart.so.13: cannot open\nshared object file")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", load)
    lines = {line.what: line for line in doctor.examine("auto", False, None)}
    assert lines["torch"].mark == "fault"
    assert "cannot be imported: libcudart.so.13: cannot open shared object file; " in lines["torch"].text
    assert list(lines) == ["python", "torch", "slurm", "store"]


def test_a_gpu_that_is_gone(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA unknown error\n" + 300 * "x")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", gone)
    monkeypatch.setattr(torch, "ones", gone)
    found = doctor.inspect_torch()
    assert found.gpus == ("model unknown",)  # seen: device=auto would train on it, and fail
    lines = [(line.mark, line.what, line.text) for line in doctor.check_device("auto", found)]
    assert lines == [("fault", "device", "cuda: model unknown, driver unknown: it cannot compute: CUDA unknown error")]


def test_what_torch_says_where_it_sees_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable() -> bool:
        warnings.warn("CUDA initialization: Error 802:\n" + 300 * "x", stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", unavailable)
    found = doctor.inspect_torch()
    assert found.gpus == ()
    assert found.complaint.startswith("CUDA initialization: Error 802: xxx")
    assert len(found.complaint) == doctor.SHOWN


def test_a_store(says: Says, tmp_path: Path) -> None:
    store = tmp_path / "disk" / "runs"
    (tmp_path / "disk").mkdir()
    code, lines = says(CPU_BUILD, "--store", str(store))
    assert code == 0
    assert f"(not there yet; tried in {tmp_path / 'disk'})" in lines["store"]
    assert not store.exists()
    store.mkdir()
    assert says(CPU_BUILD, "--store", str(store))[1]["store"].startswith(f"ok {store}: can be written to")
    assert list(store.iterdir()) == list((tmp_path / "disk").glob(".*")) == []  # probes are gone


def test_a_store_that_cannot_be_is_a_fault_where_it_was_asked_for(says: Says, tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    code, lines = says(CPU_BUILD, "--store", str(tmp_path / "runs" / "mine"))
    assert code == 1
    assert lines["store"].startswith(
        f"fault --store={tmp_path / 'runs' / 'mine'}: {tmp_path / 'runs'} is no directory; "
    )
    code, lines = says(CPU_BUILD)
    assert code == 0
    assert lines["store"].startswith("absent store=runs: ")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("link", "its file system has no hard links; accepted: "),
        ("replace", "no file can replace another there (no); accepted: "),
    ],
)
def test_a_store_without_links_or_renames(
    says: Says, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, call: str, said: str
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "no")

    monkeypatch.setattr(os, call, refuse)
    code, lines = says(CPU_BUILD, "--store", str(tmp_path))
    assert code == 1
    assert lines["store"].startswith("fault ")
    assert said in lines["store"]
    assert list(tmp_path.glob(".*")) == []


def test_bad_arguments_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", "--device", "tpu"])
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_command_itself(tmp_path: Path) -> None:
    """With the torch that is installed, and a path without compilers and Slurm: a laptop, whatever machine this is."""
    environment = {**os.environ, "PATH": str(tmp_path), "CUDA_VISIBLE_DEVICES": "", "CXX": ""}
    ended = subprocess.run(
        [sys.executable, "-m", "slurm", "doctor", "--store", str(tmp_path)],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert f"ok      torch     {torch.__version__}, built " in ended.stdout
    assert "absent  gpu       " in ended.stdout
    assert "absent  compiler  for cpu: no C++ compiler: install g++" in ended.stdout


def test_the_guides_check_of_a_node(says: Says, fake: Fake) -> None:
    """Takes the options that the guide shows, and is content where all is well; what `srun` takes is Slurm's."""
    fake(nvidia_smi=SMI, **SBATCH)
    guide = (ROOT / "slurm" / "README.md").read_text()
    (shown,) = re.findall(r"^srun .* python -m slurm doctor (.*)$", guide, re.MULTILINE)
    code, lines = says(SEEN, *shlex.split(shown))
    assert code == 0
    assert lines["device"].startswith("ok cuda: ")
