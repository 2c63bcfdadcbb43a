"""Tables as people write them: separators, decimal commas, missing values, other names of columns, wide tables.

The result is what `analysis.table.check_table` takes: text cells in the columns of a run table, with the line of each
row. What is read otherwise than it stands there is said in a log message; what could mean two things is refused.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from analysis.errors import InputError
from analysis.formats import Cells, cells_of

log = logging.getLogger(__name__)

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
_THOUSANDS = re.compile(r"(\d+(?:\.\d+)?)\s*([kKM])")
"""A training-set size in thousands or millions, `8k`."""
_BETWEEN = re.compile(r"\s*(?:±|\+/-|\+-|\()\s*")
"""What stands between the numbers of a cell that holds a mean and its deviation."""
_PERCENT = re.compile(r"(.*\d)\s*%")


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

    Reads text with any of `formats.SEPARATORS` or aligned by blanks, tables in Markdown, decimal points or commas,
    comments (#), blank lines and byte-order marks; JSON: lines, a list of records, columns; Parquet.

    Raises:
        InputError: a file that is missing, unreadable, empty or ragged; columns that are not there; numbers that can be
            read in two ways; a metric that is better when larger.
    """
    header, cells, separator = cells_of(path)
    comma = separator is not None and _decimal_comma(path, header, cells, separator, spelling.decimal)
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
