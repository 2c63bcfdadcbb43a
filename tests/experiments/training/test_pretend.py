"""Training on a device that is not the CPU, which here is a pretended one (tests/experiments/pretended_device.py)."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from benchmarks.on_gpu.small_networks import CASES
from experiments.config.training import TrainingConfig
from experiments.models.registry import MODELS
from experiments.training.optimizers import OPTIMIZERS
from tests.experiments.training import on_device

Call = Callable[..., Any]
OTHERS = [name for name in OPTIMIZERS if name != TrainingConfig.optimizer]


@pytest.fixture(scope="module")
def call() -> Iterator[Call]:
    """Calls a function in a process that has the device: torch asks for devices at its first backward pass and never
    again, and the rest of the tests shall not have this one."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=on_device.prepare) as pool:
        yield lambda function, *arguments, **named: pool.submit(function, *arguments, **named).result()


def compare(call: Call, name: str, path: Path, **changes: Any) -> None:
    expected = call(on_device.trained, name, path / "cpu", "cpu", **changes)
    found = call(on_device.trained, name, path / "gpu", "gpu:0", stop=4, **changes)
    assert [run["resumed"] for run in found] == [4, 4]  # on the branch of the first, behind that of the second
    for one, other in zip(found, expected, strict=True):
        assert one["places"] == ["gpu:0"]
        assert one["stable_phase"]
        # The same arithmetic but for the contractions of MACE, which go another way: round-off of float64, and 15
        # updates that amplify it (5e-13 at most, measured).
        assert one["errors"] == pytest.approx(other["errors"], rel=1e-10)


def test_every_trained_network_has_a_case() -> None:
    molecules = {case.architecture for case in CASES.values() if case.kind == "molecules"}
    others = {case.architecture for case in CASES.values() if case.kind != "molecules"}
    assert molecules == {name for name in MODELS if MODELS.of_molecules(name)}
    assert others == {name for name, c in MODELS.items() if not c.closed_form and set(c.kinds) - {"molecules"}}
    assert molecules | others == {name for name, config in MODELS.items() if not config.closed_form}


@pytest.mark.parametrize("name", CASES)
def test_errors_on_a_device_are_the_cpus(name: str, call: Call, tmp_path: Path) -> None:
    """Training, evaluation, checkpoints and resumption without a tensor of the CPU among those of the device."""
    compare(call, name, tmp_path)


@pytest.mark.parametrize("name", ["mace L=1", "cnn", "polynomial"])
def test_runs_are_evaluated_at_once_as_by_themselves(name: str, call: Call, tmp_path: Path) -> None:
    """On a CPU examples are not, so that this is where it is seen."""
    together, single = call(on_device.evaluations, name, tmp_path)
    assert len(together) == 2
    assert together[0] != together[1]
    for one, other in zip(together, single, strict=True):
        assert one == pytest.approx(other, rel=1e-12)  # round-off of float64, without training


@pytest.mark.parametrize("optimizer", OTHERS)
def test_every_optimizer_on_a_device(optimizer: str, call: Call, tmp_path: Path) -> None:
    compare(call, "mlp", tmp_path, optimizer=optimizer)


def test_frames_are_turned_on_a_device(call: Call, tmp_path: Path) -> None:
    compare(call, "mpnn", tmp_path, augment=True)


@pytest.mark.parametrize(
    ("name", "optimizer"), [*((name, "soap") for name in CASES), *(("mlp", other) for other in OTHERS)]
)
def test_an_update_copies_nothing(name: str, optimizer: str, call: Call, tmp_path: Path) -> None:
    """Each copy would make the host wait; what networks keep on the device is there after one update."""
    one, three = call(on_device.copies, name, tmp_path, optimizer=optimizer)
    assert one == three


@pytest.mark.parametrize("optimizer", [TrainingConfig.optimizer, *OTHERS])
def test_the_host_waits_once_a_chunk_and_once_for_bases(optimizer: str, call: Call, tmp_path: Path) -> None:
    """Every copy to the host is a wait for all that the device has been given. What is copied to the device goes there
    before the first update, and the next chunk is drawn before the host waits for the losses of this one."""
    first, second, third = call(on_device.waits, "mlp", tmp_path, [1, 12, 5], optimizer=optimizer, max_steps=1000)
    assert (first["due"], second["due"], third["due"]) == ((1, 1, 0) if optimizer == "soap" else (0, 0, 0))
    for chunk in (first, second, third):
        assert chunk["to_host"] == 1 + chunk["due"]
    # Rates, steps, batches, and the runs whose bases are due, or are so for the first time.
    assert second["to_device"] == third["to_device"] == 5
    assert first["drawn_after"] == [0, first["due"]]
    assert second["drawn_after"] == [second["due"]]
    assert third["drawn_after"] == []


# --- the pretended device itself


def test_tensors_of_two_devices_do_not_meet(call: Call) -> None:
    said = call(on_device.meetings)
    assert len(said) == 4
    assert all("tensors [(3,)] of the CPU among tensors of the device" in text for text in said)


def test_copies_are_counted(call: Call) -> None:
    start, made, added, read = call(on_device.counts)
    to_device, to_host, _ = start
    assert made == (to_device + 1, to_host, "gpu:0")
    assert added == (to_device + 2, to_host + 1, [2.0, 3.0])
    assert read == (to_device + 2, to_host + 2, 6.0)
