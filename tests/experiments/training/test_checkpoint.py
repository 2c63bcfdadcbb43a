"""Checkpoints are whole or refused, wherever the file is damaged."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from experiments.core import files
from experiments.training import checkpoint
from experiments.training.checkpoint import Checkpoint, latest, load, save, save_step


def example(steps_done: int = 7) -> Checkpoint:
    generator = torch.Generator().manual_seed(steps_done)
    tensors = {
        "params": torch.randn(5, 3, generator=generator),
        "optimizer/v": torch.randn(4, generator=generator, dtype=torch.float64),
        "scalar": torch.tensor(1.5),
        "trunk/params": torch.randn(2, 3, generator=generator).t(),
    }
    return Checkpoint(tensors, {"clock": steps_done, "half": None, "history": [{"loss": 0.1 + 0.2}]})


def equal(a: Checkpoint, b: Checkpoint) -> bool:
    same = a.facts == b.facts and a.tensors.keys() == b.tensors.keys()
    return same and all(torch.equal(a.tensors[k], b.tensors[k]) for k in a.tensors)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("stored") / "x.safetensors"
    save(path, example())
    return path.read_bytes()


def test_round_trip_keeps_every_bit(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    odd = Checkpoint({**example().tensors, "odd": torch.tensor([-0.0, float("inf"), 5e-324])}, {"seconds": 1 / 3})
    save(path, odd)
    found = load(path)
    assert found is not None
    assert equal(found, odd)
    assert torch.equal(torch.signbit(found.tensors["odd"]), torch.tensor([True, False, False]))
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.floats(0, 1, exclude_max=True))
def test_cut_off_anywhere(tmp_path: Path, stored: bytes, share: float) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(stored[: int(share * len(stored))])
    assert load(path) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_one_flipped_bit_anywhere(tmp_path: Path, stored: bytes, share: float, bit: int) -> None:
    """In the numbers, their names and shapes, or the facts; a flip in JSON's white space alone changes nothing."""
    spoilt = bytearray(stored)
    spoilt[int(share * len(stored))] ^= 1 << bit
    path = tmp_path / "flipped.safetensors"
    path.write_bytes(bytes(spoilt))
    found = load(path)
    assert found is None or equal(found, example())


def test_a_flipped_digit_of_the_clock_is_seen(tmp_path: Path, stored: bytes) -> None:
    path = tmp_path / "x.safetensors"
    assert stored.count(b'\\"clock\\": 7') == 1
    path.write_bytes(stored.replace(b'\\"clock\\": 7', b'\\"clock\\": 9'))
    assert load(path) is None


@pytest.mark.parametrize("garbage", [b"", b"\0" * 8, b"\xff" * 64, b"{}", b"PK\x03\x04 not a checkpoint"])
def test_garbage_is_refused_with_a_warning(tmp_path: Path, garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(garbage)
    assert load(path) is None
    assert "x.safetensors is damaged" in caplog.text


def test_the_last_two_are_kept_and_the_latest_good_one_is_used(tmp_path: Path) -> None:
    first, second = tmp_path / "attempt-1", tmp_path / "attempt-2"
    for directory, counts in ((first, (100, 200, 300)), (second, (250, 400, 1000))):
        directory.mkdir()
        for steps_done in counts:
            save_step(directory, steps_done, example(steps_done))
    assert [p.name for p in sorted(first.iterdir())] == ["step-000000200.safetensors", "step-000000300.safetensors"]

    def reached() -> int | None:
        found = latest([second, first, tmp_path / "absent"])
        return None if found is None else int(found.facts["clock"])

    for path, expected in (
        (second / "step-000001000.safetensors", 1000),
        (second / "step-000000400.safetensors", 400),
        (first / "step-000000300.safetensors", 300),
        (first / "step-000000200.safetensors", 200),
    ):
        assert reached() == expected
        path.write_bytes(path.read_bytes()[:-1])
    assert reached() is None


def test_a_full_disk_leaves_the_old_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_step(tmp_path, 100, example(100))
    writing = save_file

    def full(tensors: object, path: Path, metadata: object) -> None:
        writing(tensors, path, metadata=metadata)
        path.write_bytes(path.read_bytes()[:50])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_step(tmp_path, 200, example(200))
    assert [p.name for p in tmp_path.iterdir()] == ["step-000000100.safetensors"]
    assert not list(tmp_path.glob(f"{files.TEMPORARY}*"))
    found = latest([tmp_path])
    assert found is not None
    assert equal(found, example(100))


def test_facts_are_json(tmp_path: Path) -> None:
    save(tmp_path / "x.safetensors", example())
    found = load(tmp_path / "x.safetensors")
    assert found is not None
    assert json.loads(json.dumps(found.facts)) == example().facts
