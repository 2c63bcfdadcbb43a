"""Files that are whole or absent, links made once, directories that can or cannot be written to."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from experiments.core import files
from experiments.core.errors import InputError


def test_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "x.json"

    def fail() -> None:
        with files.whole(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []
    files.write_json(path, {"ν": 1})
    assert json.loads(path.read_text()) == {"ν": 1}
    with pytest.raises(RuntimeError):
        fail()
    assert files.read_json(path) == {"ν": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_nan_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        files.write_json(tmp_path / "x.json", {"error": math.nan})
    assert list(tmp_path.iterdir()) == []


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_json(tmp_path / "x.json", 1)

    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_json(tmp_path / "x.json", 2)
    assert files.read_json(tmp_path / "x.json") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_readers_never_see_half_a_file(tmp_path: Path) -> None:
    """A writer rewrites a large file while another thread reads it all the time."""
    path, seen, stop = tmp_path / "x.json", set(), threading.Event()
    contents = [[n] * 20000 for n in range(30)]
    files.write_json(path, contents[0])

    def read() -> None:
        while not stop.is_set():
            content = files.read_json(path)
            seen.add(None if content is None else (len(content), len(set(content))))

    reader = threading.Thread(target=read)
    reader.start()
    for content in contents:
        files.write_json(path, content)
    stop.set()
    reader.join()
    assert seen == {(20000, 1)}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"NaN and more"])
def test_garbage_is_null(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    assert files.read_json(tmp_path / "x.json") is None
    assert files.read_json(tmp_path / "absent" / "x.json") is None
    assert files.read_json(tmp_path / "x.json" / "y.json") is None


def test_link_once(tmp_path: Path) -> None:
    for n in range(2):
        (tmp_path / f"{n}").write_text(str(n))
    assert files.link_once(tmp_path / "0", tmp_path / "result")
    assert files.link_once(tmp_path / "0", tmp_path / "result")  # an answer lost on the network: it was ours
    assert not files.link_once(tmp_path / "1", tmp_path / "result")
    assert (tmp_path / "result").read_text() == "0"


def test_create_json_once(tmp_path: Path) -> None:
    assert files.create_json(tmp_path / "x.json", 1)
    assert not files.create_json(tmp_path / "x.json", 2)
    assert files.read_json(tmp_path / "x.json") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.parametrize("check", [files.writable, files.creatable])
@pytest.mark.parametrize("place", ["file", "file/runs", "file/a/b"])
def test_no_directory(tmp_path: Path, check: object, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=rf"^store={tmp_path}/{place}: .*; accepted: a directory that can be written"):
        check(tmp_path / place, "store")  # type: ignore[operator]
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs a directory that even root can't write to")
def test_read_only(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"store=/proc/equilaw: .*; accepted: a directory that can be written to"):
        files.writable(Path("/proc/equilaw"), "store")


def test_creatable_writes_nothing(tmp_path: Path) -> None:
    files.creatable(tmp_path / "a" / "b", "store")
    assert list(tmp_path.iterdir()) == []
    files.writable(tmp_path / "a" / "b", "store")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_killed_writer_is_known_by_its_aside(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys; from experiments.core import files\n"
        "with files.whole(pathlib.Path(sys.argv[1]) / 'x.json') as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[3])
    assert ended.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    assert not (tmp_path / "x.json").exists()
    files.remove_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_hard_links_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are published by a link: better known before the first run than at its end."""

    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(
        InputError, match=r"^store=.*: its file system has no hard links; accepted: a directory on ext4"
    ):
        files.writable(tmp_path / "store", "store")
    assert list((tmp_path / "store").iterdir()) == []


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """The system names no file when a write fails."""
    with pytest.raises(OSError, match="No space left") as error, files.whole(tmp_path / "x.json"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert error.value.filename == str(tmp_path / "x.json")


def test_a_directory_in_a_files_place_is_null(tmp_path: Path) -> None:
    (tmp_path / "x.json").mkdir()
    assert files.read_json(tmp_path / "x.json") is None
    (tmp_path / "y.json").write_bytes(b"[" * 200_000)  # deeper than Python's recursion goes
    assert files.read_json(tmp_path / "y.json") is None


def test_what_is_not_finite_is_null() -> None:
    found = [files.json_number(value) for value in (1, 0.5, 2.0, None, math.nan, math.inf, -math.inf)]
    assert found == [1.0, 0.5, 2.0, None, None, None, None]
    assert files.json_text(found[:3]) == "[\n 1.0,\n 0.5,\n 2.0\n]\n"


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert files.json_digest({"a": 1, "b": [2, 3]}) == files.json_digest({"b": [2, 3], "a": 1}) == "fd28b17488e0"
