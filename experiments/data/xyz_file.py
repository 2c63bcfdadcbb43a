"""Frames of an extended XYZ file as ASE reads them; messages name the file and the frame."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import ase

from experiments.core.errors import InputError
from experiments.data.comments import REPEATED, contradictions

SHOWN = 80
"""Most characters of the file in a message."""


def atoms_of_file(path: str | os.PathLike[str], option: str) -> Iterator[tuple[ase.Atoms, str]]:
    """Yield every frame as ASE reads it, with its location for messages.

    Raises `InputError` for a file that is missing, empty, truncated, or not extended XYZ.
    """
    import ase.io  # with all its formats and scipy, a second

    where = f"{option}={os.fspath(path)}"
    # only \n and \r\n end a line; Python's splitlines would also end it at U+2028, U+0085 and form feeds
    lines = [f"{line}\n" for line in _text(Path(path), where).replace("\r\n", "\n").split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise InputError(f"{where}: holds no frames; accepted: at least one")
    start = frame = 0
    while start < len(lines):
        if not lines[start].strip():  # some leave a blank line between frames
            start += 1
            continue
        here = f"{where}, frame {frame} (line {start + 1})"
        try:
            count = int(lines[start])
        except ValueError:
            count = 0
        if count < 1:
            raise InputError(f"{here}: expected the number of atoms, got {lines[start].strip()[:40]!r}")
        block = lines[start : start + count + 2]
        if len(block) < count + 2:
            raise InputError(f"{here}: truncated, {max(0, len(block) - 2)} of {count} atoms are there")
        block[1] = _KEYS.sub(lambda key: f"{key[1]}{'pbc' if key[2].lower() == 'pbc' else key[2].title()}", block[1])
        _check_columns(block, here)
        repeated = contradictions(block[1])
        if key := next((key for key in repeated if key in ("Lattice", "Properties", "pbc")), None):
            raise InputError(f"{here}: {key} is given twice, and not the same; accepted: once")
        try:
            atoms = ase.io.read(io.StringIO("".join(block)), format="extxyz")
        except Exception as error:  # ASE raises whatever its parser stumbles on
            label = error.args[0] if isinstance(error, KeyError) and error.args else None
            if label in (firsts := [line.split()[0] if line.split() else "" for line in block[2:]]):
                hint = " (isotopes are written as their element: H)" if label in ("D", "T") else ""
                raise InputError(
                    f"{here}: atom {firsts.index(label)} is {label!r}, no chemical symbol; accepted: H, He, Li, …{hint}"
                ) from None
            reason = " ".join(str(error).split())
            raise InputError(f"{here}: not extended XYZ ({type(error).__name__}: {reason})") from None
        if repeated:
            atoms.info[REPEATED] = repeated
        yield atoms, here
        start, frame = start + count + 2, frame + 1


_KEYS = re.compile(r"(^|\s)(lattice|properties|pbc)(?=\s*=)", re.IGNORECASE)
"""Keys that some programs (GPUMD) write in small letters; ASE would take them for labels, and the cell for none."""
_PROPERTIES = re.compile(r"""(?:^|\s)Properties\s*=\s*["']?([^\s"']+)""")


def _check_columns(block: list[str], here: str) -> None:
    """Raise `InputError` for an atom whose line has not the columns that `Properties` names; ASE passes over others.

    A blank within a number would shift all that follow, and 10⁴⁰ named columns would be made.
    """
    named = _PROPERTIES.search(block[1])
    counts = [] if named is None else named[1].split(":")[2::3]
    if named is None or not all(count.isascii() and count.isdigit() for count in counts):
        return
    columns = sum(int(count[:SHOWN]) for count in counts)
    found = [len(line.split()) for line in block[2:]]
    for n, count in enumerate(found):
        if count < columns or (count > columns and count != found[0]):
            said = f"as Properties={named[1][:SHOWN]} says"
            raise InputError(f"{here}: atom {n} has {count} columns; accepted: {columns}, {said}")


_BINARY = {
    b"\x89HDF": "HDF5, which is not read",
    b"SQLite format 3": "a database of ASE: data=ase_db",
    b'{"': "JSON; a database of ASE in that format is read by data=ase_db",
    b"PK\x03\x04": "NumPy's .npz; a molecule's file of MD17 or rMD17 is read by data=md17_NAME or data=rmd17_NAME "
    "from $EQUILAW_DATA/md17/ or $EQUILAW_DATA/rmd17/npz_data/ (alone: data.split=trajectory or random)",
    b"- of Ulm": "a trajectory of ASE; write it as extended XYZ (ase convert FILE.traj FILE.xyz)",
    b"\xfd7zXZ": "compressed by xz; unpack it",
    b"BZh": "compressed by bzip2; unpack it",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it",
}
"""What files of other formats begin with, and the source or command for them."""


def _text(path: Path, where: str) -> str:
    """Return the text of a file, unpacked if it is compressed by gzip (by content, whatever its name)."""
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        if content[257:262] == b"ustar" or (content[:2] == b"PK" and b".npy" not in content[:SHOWN]):
            raise InputError(f"{where}: is an archive; unpack it; accepted: an extended XYZ file")
        for start, what in _BINARY.items():
            if content.startswith(start):
                raise InputError(f"{where}: is {what}; accepted: an extended XYZ file")
        utf16 = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        return content.decode("utf-16" if utf16 else "utf-8-sig")  # with or without a byte-order mark
    except FileNotFoundError:
        raise InputError(f"{where}: no such file; accepted: an extended XYZ file") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{where}: cannot be read as text ({error}); accepted: an extended XYZ file") from None
