"""Tables as people write them give the rows of the plain one; what can be read in two ways is refused."""

from __future__ import annotations

import gzip
import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.errors import InputError
from analysis.reading import LARGER_IS_BETTER, Spelling, parse_columns, read_table, refuse_scores
from analysis.table import check_table
from experiments.core.paths import importable

AS_IT_IS = Spelling()
HEADER = ["dataset", "architecture", "metric", "P", "seed", "error"]
ERRORS = ((16, 0, 0.5), (16, 1, 0.55), (1024, 0, 0.0725), (1024, 1, 0.061))
ROWS: list[list[object]] = [["mol", "mace", "force_mae", P, seed, error] for P, seed, error in ERRORS]


def written(separator: str = ",", decimal: str = ".", grouped: str = "") -> str:
    def cell(value: object) -> str:
        text = str(value)
        if isinstance(value, float):
            return text.replace(".", decimal)
        return f"{value:,}".replace(",", grouped) if isinstance(value, int) and grouped else text

    return "\n".join(separator.join(cell(value) for value in row) for row in [list[object](HEADER), *ROWS]) + "\n"


def rows(path: Path, spelling: Spelling = AS_IT_IS) -> list[tuple[float, str, float]]:
    table = check_table(read_table(path, spelling), str(path)).rows
    return [(P, s, e) for P, s, e in zip(table["P"], table["seed"], table["error"], strict=True)]


PLAIN = [(P, str(seed), error) for P, seed, error in ERRORS]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", ["", "\ufeff", "# by hand\n\n", "sep={}\n"])
def test_separators_comments_and_marks(tmp_path: Path, separator: str, mark: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(mark.format(separator) + written(separator) + "\n# end\n\n", encoding="utf-8")
    assert rows(path) == PLAIN
    assert read_table(path)["line"].iloc[0] == 2 + mark.count("\n")


@pytest.mark.parametrize(
    ("decimal", "grouped"), [(",", "."), (",", " "), (",", ""), (".", ","), (".", "'"), (".", "\u202f")]
)
def test_decimal_commas_and_grouped_thousands(tmp_path: Path, decimal: str, grouped: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(written(";", decimal, grouped), encoding="utf-8")
    assert rows(path) == PLAIN
    path.write_bytes(written("\t", decimal, grouped).encode("utf-16"))
    assert rows(path) == PLAIN


def test_numbers_that_can_be_read_in_two_ways_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("dataset;architecture;metric;P;error\na;b;m;16;1,234\na;b;m;32;1,125\n")
    with pytest.raises(InputError, match=r"1,234 may be a decimal or a grouped number; accepted: --decimal"):
        read_table(path)
    assert list(read_table(path, Spelling(decimal=","))["error"]) == ["1.234", "1.125"]
    assert list(read_table(path, Spelling(decimal="."))["error"]) == ["1234", "1125"]
    path.write_text("dataset;architecture;metric;P;error\na;b;m;16;1,5\na;b;m;32;1.25\n")
    with pytest.raises(InputError, match=r"decimal points .1.25. and decimal commas .1,5.; accepted: one of them"):
        read_table(path)


@pytest.mark.parametrize("missing", ["NA", "n/a", "", "NaN", "null", "None", "-", "#N/A", "—"])
def test_holes_in_columns_that_no_row_needs(tmp_path: Path, missing: str) -> None:
    path = tmp_path / "t.csv"
    column = ["train_error", *len(ROWS) * [missing]]
    path.write_text("".join(f"{line},{more}\n" for line, more in zip(written().splitlines(), column, strict=True)))
    assert rows(path) == PLAIN
    path.write_text(written().replace("0.061", missing))
    with pytest.raises(InputError, match="line 5: error is nan"):
        rows(path)


def test_percent(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(written().replace("0.0725", "7.25 %").replace("0.061", "6.1%"))
    assert [error for *_, error in rows(path)] == pytest.approx([error for *_, error in PLAIN])


def test_json_lines_and_parquet(tmp_path: Path) -> None:
    frame = pd.read_csv(io.StringIO(written()))
    frame["n_test"] = [100.0, None, 100.0, None]
    parquet, lines = tmp_path / "t.parquet", tmp_path / "t.jsonl"
    frame.to_parquet(parquet)
    lines.write_text("\n".join(json.dumps(dict(zip(HEADER, row, strict=True))) for row in ROWS) + "\n\n")
    assert rows(parquet) == rows(lines) == PLAIN
    lines.write_text('{"P": 1}\n[2]\n')
    with pytest.raises(InputError, match="line 2: accepted: one JSON object a line"):
        read_table(lines)


@pytest.mark.parametrize("form", ["columns", "split", "records", "table", "list"])
def test_json_as_pandas_writes_it(tmp_path: Path, form: str) -> None:
    frame, path = pd.DataFrame(ROWS, columns=HEADER), tmp_path / "t.json"
    path.write_text(json.dumps(frame.to_dict("list")) if form == "list" else frame.to_json(orient=form))  # type: ignore[call-overload]
    assert rows(path) == PLAIN


@pytest.mark.parametrize("ruler", ["|---|:--|--:|:-:|----|--|", "--|--|--|--|--|--"])
def test_a_table_in_markdown(tmp_path: Path, ruler: str) -> None:
    head, *body = written("|").splitlines()
    bar = "| " if ruler.startswith("|") else ""
    path = tmp_path / "README.md"
    path.write_text("\n".join([bar + head + bar, ruler, *(bar + row + bar for row in body)]) + "\n")
    assert rows(path) == PLAIN
    assert read_table(path)["line"].iloc[0] == 3


def test_columns_aligned_by_blanks(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    table: list[list[object]] = [[*HEADER], *ROWS]
    path.write_text("\n".join("  " + "".join(f"{cell!s:14}" for cell in row) for row in table))
    assert rows(path) == PLAIN
    path.write_text("P error\n8 0.5 0.1\n")
    with pytest.raises(InputError, match="line 2: 3 cells, but the header names 2 columns"):
        read_table(path)


def test_a_table_of_one_network_needs_no_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "ethanol.csv"
    path.write_text("P,error\n8,0.5\n64,0.25\n")
    with caplog.at_level(logging.WARNING):
        table = check_table(read_table(path), "t").rows
    assert table[["dataset", "architecture", "metric"]].values.tolist() == 2 * [["ethanol", "ethanol", "error"]]
    assert "architecture is 'ethanol', for the table names none" in caplog.text
    path.write_text("net,P,error\na,8,0.5\nb,64,0.25\n")  # two networks, whose curves would be one
    with pytest.raises(InputError, match="no column 'architecture'"):
        check_table(read_table(path), "t")


def test_other_names_of_columns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "ethanol.csv"
    path.write_text("Model,n_train,trial,MAE\nmace,16,0,0.5\nmace,64,0,0.25\n")
    with caplog.at_level(logging.WARNING):
        table = check_table(read_table(path), "t").rows
    assert list(table["P"]) == [16, 64]
    assert set(table["metric"]) == {"MAE"}
    assert set(table["dataset"]) == {"ethanol"}
    assert "P from n_train; error from MAE; architecture from Model; seed from trial" in caplog.text
    path.write_text("name,size,force,energy\nmace,16,0.5,1\nmace,64,0.25,2\n")
    chosen = Spelling(parse_columns("architecture=name,P=size,error=force"), unit="eV/Å")
    table = check_table(read_table(path, chosen), "t").rows
    assert list(table["error"]) == [0.5, 0.25]
    assert set(table["unit"]) == {"eV/Å"}
    with pytest.raises(InputError, match=r"--columns P=sise: no column 'sise' \(found: name, size, force, energy\)"):
        read_table(path, Spelling({"P": "sise"}))
    with pytest.raises(InputError, match="--columns P: accepted: COLUMN=NAME"):
        parse_columns("P")


def test_wide_tables(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("n_train;mace;nequip\n16;0,5;0,75\n64;0,25;NA\n256;0,125;0,5\n")
    by_column = read_table(path, Spelling(wide=True))
    assert [(r.architecture, r.P, r.error) for r in by_column.itertuples()] == [
        ("mace", "16", "0.5"), ("nequip", "16", "0.75"), ("mace", "64", "0.25"), ("mace", "256", "0.125"),
        ("nequip", "256", "0.5"),
    ]  # fmt: skip
    path.write_text("model,16,64,256\nmace,0.5,0.25,0.125\nnequip,0.75,,0.5 ± 0.1 (3)\n")
    by_row = read_table(path, Spelling(wide=True))
    assert [(r.architecture, r.P, r.error) for r in by_row.itertuples()] == [
        ("mace", "16", "0.5"), ("mace", "64", "0.25"), ("mace", "256", "0.125"), ("nequip", "16", "0.75"),
        ("nequip", "256", "0.5 ± 0.1 (3)"),
    ]  # fmt: skip
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="--wide needs a column of training-set sizes"):
        read_table(path, Spelling(wide=True))


@pytest.mark.parametrize("metric", ["accuracy", "roc_auc", "r2", "pearsonr", "top1_accuracy", "Test R2", "F1"])
def test_scores_are_refused_and_can_be_turned_into_errors(tmp_path: Path, metric: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(written().replace("force_mae", metric))
    with pytest.raises(InputError, match=r"is better when larger.*--columns error=1-NAME"):
        read_table(path)
    path.write_text(f"architecture,P,seed,{metric}\nmace,16,0,0.75\nmace,64,0,0.875\n")
    table = check_table(read_table(path, Spelling({"error": f"1-{metric}"})), "t").rows
    assert list(table["error"]) == [0.25, 0.125]
    assert set(table["metric"]) == {f"{metric} error"}


@pytest.mark.parametrize(
    "metric", ["auc_mae", "accuracy_error", "r2_loss", "force_mae", "error_rate", "1-accuracy loss"]
)
def test_errors_of_scores_are_errors(metric: str) -> None:
    refuse_scores("t", [metric])
    assert not LARGER_IS_BETTER & {"mae", "rmse", "error", "loss", "rate"}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(1e-6, 1e6, allow_nan=False).map(lambda x: float(f"{x:.6g}")), min_size=4, max_size=4),
    st.sampled_from([(",", "."), (";", ","), ("\t", ","), (";", ".")]),
)
def test_any_errors_survive_any_spelling(
    tmp_path_factory: pytest.TempPathFactory, errors: list[float], marks: tuple[str, str]
) -> None:
    separator, decimal = marks
    path = tmp_path_factory.mktemp("t") / "t.csv"
    texts = [str(error).replace(".", decimal) for error in errors]
    lines = [separator.join(["mol", "mace", "m", str(2**i), "0", text]) for i, text in enumerate(texts, 4)]
    path.write_text("\n".join([separator.join(HEADER), *lines]) + "\n")
    assert [float(cell) for cell in read_table(path, Spelling(decimal=decimal))["error"]] == errors


@pytest.mark.parametrize("name", ["$x_1 100%", r"a\b&c_d^e$ <b>"])
def test_names_are_drawn_as_they_are_whatever_matplotlib_was_told(tmp_path: Path, name: str) -> None:
    """In a process of its own: matplotlib reads MPLBACKEND and its file of settings once."""
    table = tmp_path / "t.csv"
    table.write_text(written().replace("mace", name).replace("mol", name), encoding="utf-8")
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.family: no such font\n")
    environment = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "MATPLOTLIBRC": str(tmp_path)}
    for words in (("figures", "--out", "figures"), ("report", "--out", "r.html")):
        ended = subprocess.run(
            [sys.executable, "-m", "analysis", words[0], "--table", str(table), *words[1:]], cwd=tmp_path,
            capture_output=True, text=True, timeout=300, env={**os.environ, **importable(), **environment},
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        assert "Traceback" not in ended.stderr
    assert list((tmp_path / "figures").glob("*.png"))


@pytest.mark.parametrize("mark", ["\u2028", "\u0085", "\x0c"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_only_newlines_end_a_line(tmp_path: Path, mark: str, end: str) -> None:
    table, lines = tmp_path / "t.csv", tmp_path / "t.jsonl"
    table.write_bytes(written().replace("mol", f"a{mark}b").replace("\n", end).encode())
    assert rows(table) == PLAIN
    assert set(read_table(table)["dataset"]) == {f"a{mark}b"}
    records = [dict(zip(HEADER, [f"a{mark}b", *row[1:]], strict=True)) for row in ROWS]
    lines.write_bytes(end.join(json.dumps(record, ensure_ascii=False) for record in records).encode())
    assert rows(lines) == PLAIN


def test_a_table_may_be_packed(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(written().encode()))
    assert rows(path) == PLAIN


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\n "])
def test_a_list_of_records_is_a_table(tmp_path: Path, before: bytes) -> None:
    """As `DataFrame.to_json(orient="records")` writes it."""
    path = tmp_path / "t.json"
    path.write_bytes(before + json.dumps([dict(zip(HEADER, row, strict=True)) for row in ROWS]).encode())
    assert rows(path) == PLAIN


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1, 2]", "line 1: accepted: one JSON object a line"),
        (b'[{"P": 8}', "not JSON"),
        (b"PAR1" + bytes(40), "a Parquet file that cannot be read"),
        (gzip.compress(b"P,error\n", mtime=0)[:-6], "compressed by gzip and damaged"),
        (b"\x1f\x8bnonsense", "cannot read the table|compressed by gzip and damaged"),
        (b"PK\x03\x04", "a workbook or an archive; accepted: the table in it saved as CSV"),
        (b'{"P": ' + b"[" * 100_000, "line 1: not JSON"),
    ],
)
def test_damaged_tables_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_table(path)


def test_the_group_of_a_network_without_symmetry_is_none_and_not_missing(tmp_path: Path) -> None:
    """A store says so, too: without it such twins were compared from stores and not from their tables."""
    rows = [
        f"d,{name},{group},error_rate,{P},0,{1 / P}"
        for name, group in (("mlp", "none"), ("cnn", "NA"))
        for P in (8, 16)
    ]
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(["dataset,architecture,group,metric,P,seed,error", *rows]) + "\n")
    assert read_table(path)["group"].tolist() == ["none", "none", "", ""]


def test_sizes_in_thousands(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    head = "dataset,architecture,metric,P,seed,error\n"
    path.write_text(head + "".join(f"mol,mace,force_mae,{P},0,0.5\n" for P in ("1e3", "2k", "2.5K", "8 k", "1M")))
    assert [P for P, *_ in rows(path)] == [1000, 2000, 2500, 8000, 1e6]
    path.write_text("model,1k,2k\n4k,0.5,0.4\nB,0.6,0.5\n")  # a network may be called so
    wide = read_table(path, Spelling(wide=True))
    assert list(wide["P"]) == ["1000", "2000", "1000", "2000"]
    assert list(wide["architecture"]) == ["4k", "4k", "B", "B"]


def test_decimal_commas_in_quotes_are_no_thousands(tmp_path: Path) -> None:
    """Columns separated by commas, too; `0,261` is no 261."""
    path = tmp_path / "t.csv"
    head = "dataset,architecture,metric,P,seed,error\n"
    path.write_text(head + 'mol,mace,force_mae,16,0,"0,261"\nmol,mace,force_mae,32,0,"1,125"\n')
    assert [error for *_, error in rows(path)] == [0.261, 1.125]
    path.write_text(head + 'mol,mace,force_mae,"1,024",0,261\nmol,mace,force_mae,"2,048",0,125\n')
    assert [(P, error) for P, _, error in rows(path)] == [(1024, 261), (2048, 125)]


def test_decimal_commas_of_means(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("dataset;architecture;metric;P;error\nmol;mace;mae;16;0,50 ± 0,02 (3)\nmol;mace;mae;32;0,35(12) \n")
    assert list(read_table(path)["error"]) == ["0.50 ± 0.02 (3)", "0.35(12)"]


def test_an_index_that_pandas_wrote_is_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    frame = pd.read_csv(io.StringIO(written()))
    for index in (["P"], ["seed", "P"]):
        frame.set_index(index).to_parquet(path)
        assert rows(path) == PLAIN
