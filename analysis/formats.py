"""Header and rows of text cells of a table's file: text with separators, Markdown, JSON, Parquet."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.errors import InputError
from analysis.files import as_meant

Cells = list[tuple[int, list[str]]]
"""Rows of text cells with the line of each in the file (the header's is 1 unless comments stand above)."""

SEPARATORS = (",", ";", "\t", "|")
_RULER = re.compile(r"^[ \t]*\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)+\|?[ \t]*\r?$", re.MULTILINE)
"""Line below the header of a table in Markdown."""
_SHOWN = 100
"""Most characters of another library's complaint."""


def cells_of(path: Path) -> tuple[list[str], Cells, str | None]:
    """Return the header, the rows, and the separator of text, by which its numbers are to be read.

    Raises:
        InputError: a file that is missing, unreadable or ragged.
    """
    content = _content(path)
    if content[:4] == b"PAR1":
        return *_of_frame(path, _parquet(path, content)), None
    if (text := content.removeprefix(b"\xef\xbb\xbf")).lstrip()[:1] in (b"{", b"["):
        return *_json_records(path, text.decode("utf-8", "replace")), None
    return _separated(path, _decoded(path, content))


def _content(path: Path) -> bytes:
    """Return a table's bytes, unpacked if it is compressed by gzip."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (EOFError, zlib.error) as error:
        raise InputError(f"{path}: compressed by gzip and damaged ({error}); unpack it, or write it again") from None
    except OSError as error:  # BadGzipFile among them
        raise InputError(f"{path}: cannot read the table ({error.strerror or error}); give a CSV file") from error


def _decoded(path: Path, content: bytes) -> str:
    if content[:2] == b"PK" or content[:4] == b"\xd0\xcf\x11\xe0":
        raise InputError(f"{path}: a workbook or an archive; accepted: the table in it saved as CSV")
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a CSV text file in UTF-8 ({error})") from error


def _lines(text: str) -> list[str]:
    """Return the lines of a text; Python's splitlines would also end them at U+2028, U+0085 and form feeds."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _parquet(path: Path, content: bytes) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(io.BytesIO(content))
        index = [name for name in frame.index.names if name is not None]  # pandas keeps `set_index` in the file
        return frame.reset_index([name for name in index if name not in frame.columns])
    except Exception as error:  # pyarrow raises whatever a damaged file lets it stumble on
        reason = " ".join(str(error).split())[:_SHOWN]
        raise InputError(f"{path}: a Parquet file that cannot be read ({reason}); write it again, or as CSV") from None


def _of_frame(path: Path, frame: pd.DataFrame) -> tuple[list[str], Cells]:
    text = frame.astype(object).where(frame.notna(), "")
    rows = text.itertuples(index=False, name=None)
    cells = [(line, [value if isinstance(value, str) else repr(value) for value in map(_scalar, row)])
             for line, row in enumerate(rows, 2)]  # fmt: skip
    return [str(name) for name in frame.columns], cells


def _scalar(value: object) -> object:
    return value.item() if hasattr(value, "item") else value


def _json_records(path: Path, text: str) -> tuple[list[str], Cells]:
    """Return header and rows of JSON lines, of one list of records, which are then counted from 1, or of columns."""
    if (frame := _json_columns(text)) is not None:
        return _of_frame(path, frame)
    if text.lstrip().startswith("["):
        try:
            records = list(enumerate(json.loads(text), 1))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: not JSON ({error}); accepted: a list of objects, or one object a line") from None
    else:
        records = [(line, _record(path, line, one)) for line, one in enumerate(_lines(text), 1) if one.strip()]
    for line, record in records:
        if not isinstance(record, dict):
            raise InputError(f"{path}, line {line}: accepted: one JSON object a line, with its columns")
    header = list(dict.fromkeys(str(name) for _, record in records for name in record))
    return header, [(line, [_json_text(record.get(name)) for name in header]) for line, record in records]


def _json_columns(text: str) -> pd.DataFrame | None:
    """Return the table of one object that holds columns, in any of pandas' forms (`DataFrame.to_json`); or None."""
    try:
        content = json.loads(text)
        if not isinstance(content, dict) or not all(isinstance(value, dict | list) for value in content.values()):
            return None
        if set(content) <= {"columns", "index", "data"} >= {"columns", "data"}:  # orient="split"
            return pd.DataFrame(content["data"], columns=content["columns"])
        if set(content) == {"schema", "data"}:  # orient="table"
            return pd.DataFrame(content["data"]).drop(columns="index", errors="ignore")
        return pd.DataFrame(content)
    except (ValueError, TypeError, RecursionError):
        return None


def _record(path: Path, line: int, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}, line {line}: not JSON ({error}); accepted: one object a line") from None


def _json_text(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _separated(path: Path, text: str) -> tuple[list[str], Cells, str]:
    """Split text at the separator that gives most columns with equally long rows."""
    lines = _lines(text)
    if lines and (said := re.fullmatch(r"sep=(.)\s*", lines[0])):
        separators: Sequence[str] = (said[1],)
        lines[0] = ""
    else:
        header = next((line for line in lines if line.strip() and not line.lstrip().startswith("#")), "")
        separators = [mark for mark in SEPARATORS if mark in header] or [" " if len(header.split()) > 1 else ","]
        if _RULER.search(text):
            lines, separators = [_cut(line) for line in lines], ["|"]
    tried = [_rows(lines, separator) for separator in separators]
    even = [found for found in tried if len({len(row) for _, row in found[1]} | {len(found[0])}) == 1]
    names, cells, separator = max(even or tried, key=lambda found: len(found[0]))
    for line, row in cells:
        if len(row) != len(names):
            raise InputError(
                f"{path}, line {line}: {len(row)} cells, but the header names {len(names)} columns "
                f"(separated by {separator!r})"
            )
    return names, cells, separator


def _cut(line: str) -> str:
    """Return a row of a table in Markdown without the bars at its ends; the ruler below the header is left out."""
    return "" if _RULER.match(line) else line.strip().removeprefix("|").removesuffix("|")


def _rows(lines: list[str], separator: str) -> tuple[list[str], Cells, str]:
    """Return header and rows; lines are numbered from 1, blank ones and comments (#) are left out."""
    kept = ("" if line.lstrip().startswith("#") else line + "\n" for line in lines)
    reader = csv.reader(kept, delimiter=separator, skipinitialspace=separator == " ")
    found: Cells = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                meant = [as_meant(cell.strip()) for cell in row]
                found.append((reader.line_num, [cell for cell in meant if cell] if separator == " " else meant))
    except csv.Error:
        return [], [], separator
    return (found[0][1] if found else []), found[1:], separator
