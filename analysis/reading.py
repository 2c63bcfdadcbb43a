"""Tables as people write them: separators, decimal commas, missing values, other names of columns, wide tables.

The result is what `analysis.table.check_table` takes: text cells in the columns of a run table, with the line of each
row. What is read otherwise than it stands there is said in a log message; what could mean two things is refused.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import logging
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.errors import InputError
from analysis.files import as_meant

log = logging.getLogger(__name__)

Cells = list[tuple[int, list[str]]]
"""Rows of text cells with the line of each in the file (the header's is 1 unless comments stand above)."""

SEPARATORS = (",", ";", "\t", "|")
MISSING = frozenset({"na", "n/a", "#n/a", "nan", "none", "null", "-", "--", "—", "–", "."})
"""Cells, in lower case, that stand for a missing value."""
NO_GROUP = "none"
"""Symmetry group of a network that has none, in the column `group`."""
ALIASES: dict[str, tuple[str, ...]] = {
    "P": ("p", "n_train", "ntrain", "train_size", "training_size", "n_samples", "num_train", "trainset_size", "n"),
    "error": ("error", "test_error", "mae", "rmse", "mse", "test_mae", "test_rmse", "loss", "test_loss", "value"),
    "architecture": ("architecture", "model", "method", "arch", "learner"),
    "dataset": ("dataset", "data", "data_set", "system", "molecule"),
    "metric": ("metric", "measure", "quantity"),
    "seed": ("seed", "repeat", "replicate", "trial", "rep"),
}
"""Column of a run table → other names that people give it, in lower case, best first."""
ONE_MODEL = frozenset({
    "P", "error", "seed", "dataset", "metric", "unit", "test_set", "error_sd", "n_runs", "n_test", "line",
})  # fmt: skip
"""Columns of a table of one network: no others that could tell two apart."""
LARGER_IS_BETTER = frozenset({
    "accuracy", "acc", "r2", "r²", "rsquared", "auc", "auroc", "auprc", "pearsonr", "pearson", "spearmanr", "spearman",
    "f1", "precision", "recall", "ap", "map", "iou", "score", "correlation", "concordance", "mcc", "kappa", "ndcg",
})  # fmt: skip
"""Last part of the names of metrics that rise as a model improves (`roc_auc`, `top1_accuracy`)."""
_DIGITS = r"[+-]?\d+"
_POINT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_COMMA = re.compile(r"[+-]?(\d*,\d+)(e[+-]?\d+)?", re.IGNORECASE)
_SPACES = (" ", "'", "\u202f", "\xa0")
_GROUPED = {mark: re.compile(rf"{_DIGITS}(?:{re.escape(mark)}\d\d\d)+") for mark in (",", ".", *_SPACES)}
_FRACTION = re.compile(r"[+-]?\d*\.\d+(e[+-]?\d+)?", re.IGNORECASE)
_RULER = re.compile(r"^[ \t]*\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)+\|?[ \t]*\r?$", re.MULTILINE)
"""Line below the header of a table in Markdown."""
_THOUSANDS = re.compile(r"(\d+(?:\.\d+)?)\s*([kKM])")
"""A training-set size in thousands or millions, `8k`."""
_BETWEEN = re.compile(r"\s*(?:±|\+/-|\+-|\()\s*")
"""What stands between the numbers of a cell that holds a mean and its deviation."""
_PERCENT = re.compile(r"(.*\d)\s*%")
_SHOWN = 100
"""Most characters of another library's complaint."""


@dataclass(frozen=True)
class Spelling:
    """How a table is to be read where it does not say so itself.

    columns  column of a run table → the file's own name for it, or `1-NAME` for an error that is one minus a score
    wide     a column a model (or, if the headers are numbers, a row a model and a column a P)
    unit     of all errors
    decimal  `,` or `.`, where numbers such as 1,234 leave it open
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    wide: bool = False
    unit: str | None = None
    decimal: str | None = None


PLAIN = Spelling()


def parse_columns(text: str) -> dict[str, str]:
    """Read `P=n_train,error=MAE` as a mapping; raise `InputError` for anything else."""
    pairs = [part.partition("=") for part in text.split(",")]
    if any(not name.strip() or not own.strip() for name, _, own in pairs):
        raise InputError(f"--columns {text}: accepted: COLUMN=NAME,…, as P=n_train,error=MAE")
    return {name.strip(): own.strip() for name, _, own in pairs}


def read_table(path: Path, spelling: Spelling = PLAIN) -> pd.DataFrame:
    """Read a run table as text cells, with the line of each row in column `line`.

    Reads text with any of `SEPARATORS` or aligned by blanks, tables in Markdown, decimal points or commas, comments
    (#), blank lines and byte-order marks; JSON: lines, a list of records, columns; Parquet.

    Raises:
        InputError: a file that is missing, unreadable, empty or ragged; columns that are not there; numbers that can be
            read in two ways; a metric that is better when larger.
    """
    content = _content(path)
    if content[:4] == b"PAR1":
        header, cells = _of_frame(path, _parquet(path, content))
        comma = False
    elif (text := content.removeprefix(b"\xef\xbb\xbf")).lstrip()[:1] in (b"{", b"["):
        header, cells = _json_records(path, text.decode("utf-8", "replace"))
        comma = False
    else:
        header, cells, separator = _separated(path, _decoded(path, content))
        comma = _decimal_comma(path, header, cells, separator, spelling.decimal)
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise InputError(f"{path}: column {repeated[0]!r} appears twice in the header; names must be distinct")
    if not cells:
        raise InputError(f"{path}: the table has no rows; expected a header with P, error, architecture and rows")
    trivial = {i for i, name in enumerate(header) if name == "group"}  # of networks without a symmetry it is "none"
    read = [
        (line, [cell if i in trivial and cell == NO_GROUP else _cell(cell, comma) for i, cell in enumerate(row)])
        for line, row in cells
    ]
    if spelling.wide:
        header, read = _long(path, header, read, spelling)
    frame = pd.DataFrame([row for _, row in read], columns=header, dtype=object)
    return _named(path, frame.assign(line=[line for line, _ in read]), spelling)


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


def _decimal_comma(path: Path, header: Sequence[str], cells: Cells, separator: str, given: str | None) -> bool:
    """Return whether commas are decimal marks; raise `InputError` if all numbers with commas can be read both ways."""
    if given is not None:
        return given == ","
    parts = [part for _, row in cells for cell in row for part in _BETWEEN.split(cell)]
    numbers = [part for part in parts if _COMMA.fullmatch(part) or _GROUPED[","].fullmatch(part)]
    if not numbers:
        return False
    if any(not _GROUPED[","].fullmatch(cell) or re.match(r"[+-]?0\d*,", cell) for cell in numbers):
        points = [part for part in parts if _FRACTION.fullmatch(part)]
        if any(not _GROUPED["."].fullmatch(cell) for cell in points):
            both = f"decimal points ({points[0]}) and decimal commas ({numbers[0]})"
            raise InputError(f"{path}: {both}; accepted: one of them")
        return True
    if separator == ",":  # 1,234 in quotes: who writes decimal commas separates columns by others
        return False
    if all(re.search(r"\.\d", cell) is None for _, row in cells for cell in row):
        raise InputError(
            f"{path}: {numbers[0]} may be a decimal or a grouped number; accepted: --decimal , or --decimal ."
        )
    return False


def _cell(text: str, comma: bool) -> str:
    """Return a cell's text as Python writes numbers; missing values are empty."""
    text = text.strip()
    if text.lower() in MISSING:
        return ""
    if percent := _PERCENT.fullmatch(text):
        inner = _cell(percent[1], comma)
        return repr(float(inner) / 100) if _POINT.fullmatch(inner) else text
    for mark in ("." if comma else ",", *_SPACES):
        if _GROUPED[mark].match(text) and re.fullmatch(rf"{_GROUPED[mark].pattern}(?:[.,]\d+)?", text):
            text = text.replace(mark, "")
    return re.sub(r"(?<=\d),(?=\d)", ".", text) if comma else text


def _size(text: str) -> str:
    """Return a training-set size as Python writes numbers: `8k` is 8000."""
    if match := _THOUSANDS.fullmatch(text.strip()):
        return f"{float(match[1]) * (1e6 if match[2] == 'M' else 1e3):.12g}"
    return _cell(text, comma=False)


def _long(path: Path, header: list[str], cells: Cells, spelling: Spelling) -> tuple[list[str], Cells]:
    """Turn a wide table into one row an error."""
    sizes = [name for name in header if _POINT.fullmatch(_size(name))]
    if len(sizes) > 1:  # a row a model, a column a P
        texts = [name for name in header if name not in sizes]
        places = {name: header.index(name) for name in header}
        names = [*(["architecture"] if len(texts) == 1 else texts), "P", "error"]
        return names, [
            (line, [*(row[places[name]] for name in texts), _size(size), row[places[size]]])
            for line, row in cells for size in sizes if row[places[size]]
        ]  # fmt: skip
    wanted = spelling.columns.get("P")
    own = next((name for name in header if name == wanted or (wanted is None and name.lower() in ALIASES["P"])), None)
    if own is None:
        raise InputError(f"{path}: --wide needs a column of training-set sizes, or sizes as headers; --columns P=NAME")
    kept = [
        name for name in header if name.lower() in (*ALIASES["seed"], *ALIASES["dataset"], *ALIASES["metric"], "unit")
    ]
    models = [name for name in header if name != own and name not in kept]
    places = {name: header.index(name) for name in header}
    return [*kept, own, "architecture", "error"], [
        (line, [*(row[places[name]] for name in kept), row[places[own]], model, row[places[model]]])
        for line, row in cells for model in models if row[places[model]]
    ]  # fmt: skip


def _named(path: Path, frame: pd.DataFrame, spelling: Spelling) -> pd.DataFrame:
    """Give columns the names of a run table, by the user's mapping and by what people call them."""
    given = dict(spelling.columns)
    found = [str(name) for name in frame.columns if name != "line"]
    for column, own in given.items():
        score = own.removeprefix("1-")
        if own not in found and score not in found:
            raise InputError(f"{path}: --columns {column}={own}: no column {score!r} (found: {', '.join(found)})")
    lower = {name.lower(): name for name in found}
    said = []
    for column, others in ALIASES.items():
        if column in found or column in given:
            continue
        free = [lower[other] for other in others if other in lower and lower[other] not in given.values()]
        if free:
            given[column] = free[0]
            said.append(f"{column} from {free[0]}")
    for column, own in given.items():
        if own in found:
            frame = frame.drop(columns=column, errors="ignore") if column != own else frame
            frame = frame.rename(columns={own: column})
        else:
            frame[column] = [
                _complement(path, line, cell) for line, cell in zip(frame["line"], frame[own[2:]], strict=True)
            ]
            frame = frame.drop(columns=own[2:])
    error = given.get("error", "error")
    names = {"metric": f"{error[2:]} error" if error.startswith("1-") else error, "dataset": path.stem}
    if set(frame.columns) <= ONE_MODEL:  # else another column may tell networks apart, whose curves would be one
        names["architecture"] = path.stem
    for column, value in names.items():
        if column not in frame.columns and {"P", "error"} <= set(frame.columns):
            frame[column] = value
            said.append(f"{column} is {value!r}, for the table names none")
    if said:
        log.warning("%s: %s (--columns says otherwise)", path, "; ".join(said))
    if "P" in frame.columns:
        frame["P"] = [
            _size(cell) if isinstance(cell, str) and _THOUSANDS.fullmatch(cell) else cell for cell in frame["P"]
        ]
    if spelling.unit is not None:
        frame["unit"] = spelling.unit
    if "metric" in frame.columns:
        refuse_scores(path, frame["metric"])
    return frame


def _complement(path: Path, line: int, cell: str) -> str:
    try:
        return repr(1.0 - float(cell))
    except ValueError:
        raise InputError(f"{path}, line {line}: {cell!r} is no number to take from 1") from None


def refuse_scores(path: Path | str, metrics: Iterable[object]) -> None:
    """Raise `InputError` for a metric that is better when larger, by the last part of its name."""
    for metric in dict.fromkeys(map(str, metrics)):
        parts = [part for part in re.split(r"[\s_\-@.:/()]+", metric.lower()) if part]
        words = [part for part in parts if not part.isdigit()]
        if words and words[-1] in LARGER_IS_BETTER:
            raise InputError(
                f"{path}: metric {metric!r} is better when larger, and a learning curve needs an error; accepted: "
                "--columns error=1-NAME for a score between 0 and 1, or a column of errors"
            )
