"""Downloads of published files: each is fetched once, completely or not at all, and its SHA-256 checked at every use.

Files lie under the cache directory (`$EQUILAW_DATA`, else the user's cache folder). A file that was copied there by
hand is used and checked like a downloaded one. An interrupted download continues where it stopped. If no checksum is
published, that of the first download is written beside the file and checked from then on.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from experiments.core import files, paths
from experiments.core.errors import InputError
from experiments.core.leases import exclusive
from experiments.data.offline import require_download

logger = logging.getLogger(__name__)

CHUNK = 1 << 18
TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 4  # connections to one server before giving up; each continues where the last one broke


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    `path` is relative to the cache directory; `urls` are tried in that order; `sha256` is its hexadecimal checksum,
    None if it is not known beforehand; `others` are further paths at which a copy of it may lie.
    """

    path: str
    urls: tuple[str, ...]
    sha256: str | None = None
    others: tuple[str, ...] = ()


def cache_root(cache: str | None = None) -> Path:
    """Return the directory of generated, downloaded and converted data.

    `cache` if a dataset's settings give one, else `$EQUILAW_DATA`, else `files.user_cache`; but a `~/.cache/equilaw`
    that exists is always used for data, so that none is lost when `$XDG_CACHE_HOME` is elsewhere.
    """
    if given := cache or os.environ.get("EQUILAW_DATA"):
        return Path(paths.given(given))
    existing = Path(os.path.expanduser("~/.cache/equilaw"))  # Path.home() raises for a user without one
    return existing if existing.is_dir() else files.user_cache()


def location(path: str) -> Path:
    """Return the location of the file `path`: under the cache directory, or at its top if put there by hand."""
    root = cache_root()
    by_hand = root / Path(path).name
    return by_hand if by_hand.is_file() and not (root / path).is_file() else root / path


def place_of(file: RemoteFile) -> Path:
    """Return where the file lies or, with no copy of it here, belongs.

    Names like `train.xyz` are no set's own: where a checksum is pinned, a copy elsewhere than at `path` that has
    another is passed over with a warning.
    """
    target = cache_root() / file.path
    if not target.is_file():
        for name in (target.name, *file.others):
            copy = cache_root() / name
            if copy.is_file() and file.sha256 in (None, digest_of(copy)):
                return copy
            if copy.is_file():
                logger.warning("%s is passed over: its SHA-256 is not that of the published %s", copy, file.path)
    return target


def fetch(file: RemoteFile) -> Path:
    """Return the file's path on this machine; download it if it is missing.

    Raises `InputError` if the download fails (with the path to put the file at by hand), or if the checksum is not
    the expected one, as for an incomplete file.
    """
    target = place_of(file)
    if not target.exists():
        require_download(target.name, "downloaded")
        files.writable(target.parent, "EQUILAW_DATA")
        with exclusive(target.with_name(f".{target.name}.lock")):
            if not target.exists():  # nobody else was faster
                _download(file, target)
    verify(target, file.sha256)
    return target


def verify(path: Path, sha256: str | None) -> str:
    """Return the SHA-256 of `path` after comparing it with `sha256`, or with the recorded one if that is None.

    It is computed again only if the file's size or modification time changed since it was recorded. Raises
    `InputError` if the checksums differ.
    """
    stat, beside = path.stat(), path.with_name(f"{path.name}.sha256.json")
    record: Mapping[str, Any] = files.read_json(beside) or {}
    same = (record.get("size"), record.get("mtime_ns")) == (stat.st_size, stat.st_mtime_ns)
    digest = str(record["sha256"]) if same and "sha256" in record else digest_of(path)
    expected = sha256 or record.get("sha256") or digest
    if digest != expected:
        since = "the published file" if sha256 else "when it was first read"
        raise InputError(
            f"{path}: SHA-256 {digest[:12]}… is not {str(expected)[:12]}… of {since}; delete it to have it downloaded "
            "again" + ("" if sha256 else f" (and {beside.name}, if the change is meant)")
        )
    if not same:
        with contextlib.suppress(OSError, InputError):  # a shared directory may be read-only: then we look every time
            files.write_json(beside, {"sha256": digest, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns})
    return digest


def unpack(archive: RemoteFile, members: Sequence[str], folder: str, also: Sequence[str] = ()) -> dict[str, Path]:
    """Unpack members of a published tar archive under `folder` of the cache directory; return paths by member.

    `members` are names inside the archive; each goes to `folder` with its last two parts (`npz_data/a.npz`). The
    archive is downloaded and opened only if one of them is missing; it is then searched for the members `also` too.
    Raises `InputError` as `fetch` does, and for an archive that lacks a member.
    """
    targets = {member: _unpacked(member, folder) for member in members}
    if not all(path.exists() for path in targets.values()):
        source = fetch(archive)
        with exclusive(source.with_name(f".{source.name}.lock")):
            missing = {member: path for member, path in targets.items() if not path.exists()}
            if missing:
                logger.warning("unpacking %s, once; this takes a while", source)
                _extract(source, missing | {member: _unpacked(member, folder) for member in also})
                if lacking := [member for member, path in missing.items() if not path.exists()]:
                    raise InputError(
                        f"{source}: holds no {', '.join(sorted(lacking))}; accepted: the published archive"
                    )
    for path in targets.values():
        verify(path, None)
    return targets


def _unpacked(member: str, folder: str) -> Path:
    return location("/".join([folder, *Path(member).parts[-2:]]))


def _extract(source: Path, missing: dict[str, Path]) -> None:
    """Extract all `missing` members in one pass: the archive is compressed as a whole, so seeking is slow."""
    try:
        with tarfile.open(source) as archive:
            for entry in archive:
                target = missing.pop(entry.name.removeprefix("./"), None)
                stream = None if target is None else archive.extractfile(entry)
                if target is None or stream is None or target.exists():
                    continue
                files.writable(target.parent, "EQUILAW_DATA")
                with files.whole(target) as temporary, open(temporary, "wb") as out:
                    while block := stream.read(CHUNK):
                        out.write(block)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise InputError(
            f"{source}: not a complete tar archive ({error}); delete it to have it downloaded again"
        ) from None


def _short(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:8]


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _download(file: RemoteFile, target: Path) -> None:
    import pooch  # here: it takes a while to import, and most of the time everything is there

    pooch.get_logger().setLevel(logging.WARNING)
    reasons = []
    for url in file.urls:
        try:
            pooch.retrieve(
                url,
                known_hash=None if file.sha256 is None else f"sha256:{file.sha256}",
                fname=target.name,
                path=target.parent,
                # a part is continued from its own address only: another may have another edition
                downloader=ResumingDownloader(target.with_name(f".{target.name}.{_short(url)}.part"), target.name),
            )
            return
        except ValueError:  # pooch found a wrong checksum and has deleted the file
            reasons.append(f"{url}: the file does not have the published SHA-256 {str(file.sha256)[:12]}…")
        except OSError as error:  # of requests, or of the disk
            if error.errno in files.DISK:
                raise
            reasons.append(f"{url}: {_reason(error)}")
    where = cache_root() / file.path
    raise InputError(
        f"{target.name} cannot be downloaded ({'; '.join(reasons)}); the same command continues, or put the file from "
        f"{file.urls[0]} to {where}, or set EQUILAW_DATA to a directory that has {file.path}"
    )


def _reason(error: OSError) -> str:
    """Return the cause of a failed download in a few words (requests nests the messages of three libraries)."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answered {response.status_code} {response.reason}"
    cause: BaseException = error
    while (
        inner := cause.__cause__ or cause.__context__ or next((a for a in cause.args if isinstance(a, Exception)), None)
    ):
        cause = inner
    text = " ".join(str(cause).split()) or type(cause).__name__
    return f"no connection or a broken one: {text[:120]}"


class ResumingDownloader:
    """A downloader for pooch that continues a partial file of an earlier attempt, if the server supports ranges."""

    def __init__(self, part: Path, title: str) -> None:
        self.part, self.title = part, title

    def __call__(self, url: str, output_file: str | os.PathLike[str], pooch: Any) -> None:
        """Download `url` to `output_file`. Raises requests' exceptions (each is an `OSError`)."""
        import requests

        progress = _progress()
        bar = progress.add_task(self.title, total=None)
        with progress:
            for attempt in range(ATTEMPTS):
                had = self.part.stat().st_size if self.part.exists() else 0
                try:
                    self._once(url, lambda done, total: progress.update(bar, completed=done, total=total))
                    break
                except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError) as error:
                    # a broken connection is tried again only if it transferred something
                    now = self.part.stat().st_size if self.part.exists() else 0
                    if attempt == ATTEMPTS - 1 or now <= had:
                        raise
                    logger.info("%s: %s; going on from byte %d", url, _reason(error), now)
        os.replace(self.part, output_file)

    def _once(self, url: str, report: Callable[[int, int | None], None]) -> None:
        import requests

        had = self.part.stat().st_size if self.part.exists() else 0
        headers = {"Accept-Encoding": "identity"}  # byte ranges are of the file, not of a compressed stream
        if had:
            headers["Range"] = f"bytes={had}-"
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if response.status_code == 416:  # the partial file has all bytes already, or more
                self.part.unlink()
                return self._once(url, report)
            response.raise_for_status()
            going_on = response.headers.get("Content-Range", "").startswith(f"bytes {had}-")
            had = had if response.status_code == 206 and going_on else 0
            length = response.headers.get("Content-Length")
            total = None if length is None else had + int(length)
            with open(self.part, "ab" if had else "wb") as out:
                for block in response.iter_content(CHUNK):
                    out.write(block)
                    had += len(block)
                    report(had, total)
        if total is not None and had < total:
            raise requests.exceptions.ChunkedEncodingError(f"{had} of {total} bytes came")
        return None


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
