"""Downloads from a server that works, redirects, refuses, sends wrong bytes or breaks off: a checked file, or one line
that says why not."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.core.errors import InputError
from experiments.data.download import RemoteFile, cache_root, fetch, unpack, verify
from tests.experiments.data.served import Served, serving

CONTENT = bytes(range(256)) * 4096  # 1 MiB, four blocks of a download
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EQUILAW_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def server() -> Iterator[Served]:
    with serving() as served:
        served.content["/set.bin"] = CONTENT
        yield served


def remote(server: Served, *names: str, sha256: str | None = SHA256) -> RemoteFile:
    return RemoteFile("some/set.bin", tuple(f"{server.url}/{name}" for name in names or ("set.bin",)), sha256)


def leftovers(root: Path) -> set[str]:
    return {path.name for path in (root / "some").iterdir() if not path.name.startswith(".set.bin.lock-")}


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_whole_file_is_fetched_once(server: Served, root: Path, sha256: str | None) -> None:
    for _ in range(2):
        path = fetch(remote(server, sha256=sha256))
        assert path == root / "some" / "set.bin"
        assert path.read_bytes() == CONTENT
    assert len(server.asked) == 1
    assert leftovers(root) == {"set.bin", "set.bin.sha256.json"}


def test_processes_that_want_it_at_once_fetch_it_once(server: Served) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: fetch(remote(server)), range(4)))
    assert len(server.asked) == 1


def test_redirects_are_followed(server: Served) -> None:
    server.moved["/old"] = "/set.bin"
    assert fetch(remote(server, "old")).read_bytes() == CONTENT


def test_the_next_address_is_tried_and_then_a_line_says_what_to_do(server: Served, root: Path) -> None:
    assert fetch(remote(server, "nowhere", "set.bin")).read_bytes() == CONTENT
    (root / "some" / "set.bin").unlink()
    with pytest.raises(InputError) as raised:
        fetch(remote(server, "nowhere", "gone"))
    message = str(raised.value)
    assert "\n" not in message
    assert f"{server.url}/nowhere: the server answered 404" in message
    assert f"{server.url}/gone: the server answered 404" in message
    assert f"to {root / 'some' / 'set.bin'}" in message


def test_no_network_is_one_line_with_file_and_place(root: Path) -> None:
    with pytest.raises(InputError) as raised:
        fetch(RemoteFile("some/set.bin", ("http://127.0.0.1:9/set.bin",), SHA256))
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith("set.bin cannot be downloaded (http://127.0.0.1:9/set.bin: no connection")
    assert str(root / "some" / "set.bin") in message
    assert "EQUILAW_DATA" in message


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_that_dies_is_continued(server: Served, ranges: bool) -> None:
    server.ranges = ranges
    server.dies["/set.bin"] = [600_000, 300_000] if ranges else [600_000]
    assert fetch(remote(server)).read_bytes() == CONTENT
    starts = [wanted for _, wanted in server.asked]
    assert starts[0] is None
    assert all(wanted is not None and wanted != "bytes=0-" for wanted in starts[1:])
    assert len(starts) == (3 if ranges else 2)


def test_a_download_given_up_is_continued_by_the_next(server: Served, root: Path) -> None:
    server.dies["/set.bin"] = [500_000, 0]  # the second connection brings nothing: given up
    with pytest.raises(InputError, match=r"no connection or a broken one.*the same command continues"):
        fetch(remote(server))
    assert {Path(name).suffix for name in leftovers(root)} == {".part"}
    assert fetch(remote(server)).read_bytes() == CONTENT
    assert server.asked[-1][1] is not None
    assert leftovers(root) == {"set.bin", "set.bin.sha256.json"}


def test_a_part_that_is_longer_than_the_file_is_dropped(server: Served, root: Path) -> None:
    server.dies["/set.bin"] = [500_000, 0]
    with pytest.raises(InputError):
        fetch(remote(server))
    (part,) = (root / "some").glob("*.part")
    part.write_bytes(CONTENT + b"more")
    assert fetch(remote(server)).read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing(server: Served, root: Path) -> None:
    server.content["/set.bin"] = CONTENT[:-1] + b"!"
    with pytest.raises(InputError, match=f"does not have the published SHA-256 {SHA256[:12]}"):
        fetch(remote(server))
    assert leftovers(root) == set()
    server.content["/set.bin"] = CONTENT
    assert fetch(remote(server)).read_bytes() == CONTENT


def test_what_was_recorded_holds_ever_after(server: Served) -> None:
    path = fetch(remote(server, sha256=None))
    path.write_bytes(CONTENT[:100])
    with pytest.raises(InputError, match=r"of when it was first read; delete it .*set\.bin\.sha256\.json"):
        fetch(remote(server, sha256=None))
    path.write_bytes(CONTENT)
    assert verify(path, None) == SHA256


def test_a_file_put_there_by_hand_is_used_and_checked(root: Path) -> None:
    nowhere = RemoteFile("some/set.bin", ("http://127.0.0.1:9/set.bin",), SHA256)
    root.mkdir()
    (root / "set.bin").write_bytes(CONTENT)
    assert fetch(nowhere) == root / "set.bin"
    (root / "some").mkdir()
    (root / "some" / "set.bin").write_bytes(b"another")
    with pytest.raises(InputError, match="of the published file; delete it"):
        fetch(nowhere)


def test_copies_lie_at_other_places_and_under_other_names(
    server: Served, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of two files of one name the one with the pinned checksum is meant; where there is none, it is downloaded."""
    wanted = replace(remote(server), others=("folder/set.bin", "folder/other name.bin"))
    (root / "folder").mkdir(parents=True)
    (root / "folder" / "set.bin").write_bytes(b"of another set")
    (root / "folder" / "other name.bin").write_bytes(CONTENT)
    assert fetch(wanted) == root / "folder" / "other name.bin"
    assert server.asked == []
    (root / "folder" / "other name.bin").unlink()
    caplog.clear()
    assert fetch(wanted) == root / "some" / "set.bin"
    assert [record.getMessage() for record in caplog.records] == [
        f"{root / 'folder' / 'set.bin'} is passed over: its SHA-256 is not that of the published some/set.bin"
    ]
    assert (root / "folder" / "set.bin").read_bytes() == b"of another set"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written_to_will_do(root: Path) -> None:
    (root / "some").mkdir(parents=True)
    (root / "some" / "set.bin").write_bytes(CONTENT)
    (root / "some").chmod(0o500)
    assert fetch(RemoteFile("some/set.bin", (), None)).read_bytes() == CONTENT


def archive(*members: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:bz2") as tar:
        for member in members:
            entry = tarfile.TarInfo(member)
            entry.size = len(CONTENT)
            tar.addfile(entry, io.BytesIO(CONTENT))
    return buffer.getvalue()


def test_archives_are_unpacked_once(server: Served, root: Path) -> None:
    server.content["/set.bin"] = archive("set/a/1.bin", "set/a/2.bin", "../evil.bin")
    one = unpack(remote(server, sha256=None), ["set/a/1.bin"], "set", also=["set/a/2.bin", "set/a/none.bin"])
    assert one == {"set/a/1.bin": root / "set" / "a" / "1.bin"}
    (root / "some" / "set.bin").unlink()  # no longer needed, also for what else was unpacked
    two = unpack(remote(server, sha256=None), ["set/a/2.bin"], "set")
    assert two["set/a/2.bin"].read_bytes() == CONTENT
    assert len(server.asked) == 1
    assert not list(root.rglob("evil.bin"))


def test_archives_that_are_cut_or_lack_a_member(server: Served) -> None:
    whole = archive("set/a/1.bin")
    server.content["/set.bin"] = whole
    with pytest.raises(InputError, match=r"set\.bin: holds no set/a/3\.bin"):
        unpack(remote(server, sha256=None), ["set/a/3.bin"], "set")
    other = RemoteFile("some/cut.bin", (f"{server.url}/cut.bin",))
    server.content["/cut.bin"] = whole[: len(whole) // 2]
    with pytest.raises(InputError, match=r"cut\.bin: not a complete tar archive"):
        unpack(other, ["set/a/1.bin"], "set2")


def test_data_lie_in_the_users_cache_unless_said_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "scratch"))
    monkeypatch.setenv("EQUILAW_DATA", "~/data")
    assert cache_root("/given") == Path("/given")
    assert cache_root() == tmp_path / "data"
    monkeypatch.delenv("EQUILAW_DATA")
    assert cache_root() == tmp_path / "scratch" / "equilaw"
    old = tmp_path / ".cache" / "equilaw"
    old.mkdir(parents=True)  # of before XDG_CACHE_HOME counted: its data stay in use
    assert cache_root() == old
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == old
