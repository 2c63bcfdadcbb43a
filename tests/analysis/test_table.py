"""The run table: what is read, what is refused, and that every bad row is named by its line."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.curve import curves
from analysis.errors import InputError
from analysis.reading import read_table as read_csv
from analysis.table import RunTable, check_table

HEADER = "dataset,architecture,metric,P,seed,error"
GOOD = ["ethanol,mace,force_mae,16,0,0.2", "ethanol,mace,force_mae,32,0,0.1"]


def read(path: Path, rows: list[str], header: str = HEADER, *, drop_bad: bool = False) -> RunTable:
    file = path / "table.csv"
    file.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return check_table(read_csv(file), str(file), drop_bad=drop_bad)


def test_minimal_table(tmp_path: Path) -> None:
    (curve,) = curves(read(tmp_path, GOOD))
    assert curve.sizes.tolist() == [16.0, 32.0]
    assert curve.error.tolist() == [[0.2, 0.1]]
    assert curve.seeds == ("0",)


def test_extra_columns_are_carried_and_do_not_split_curves(tmp_path: Path) -> None:
    table = read(tmp_path, [GOOD[0] + ",first try", GOOD[1] + ",second"], HEADER + ",note")
    assert table.rows["note"].tolist() == ["first try", "second"]
    assert len(curves(table)) == 1


def test_curves_split_by_identity(tmp_path: Path) -> None:
    rows = [f"{row},{test_set},{model}" for row in GOOD for test_set in ("300K", "600K") for model in ("m1", "m2")]
    assert len(curves(read(tmp_path, rows, HEADER + ",test_set,model_id"))) == 4


def test_identifying_columns_stand_in_for_a_missing_model_id(tmp_path: Path) -> None:
    rows = [f"{row},{channels}" for row in GOOD for channels in (16, 32)]
    assert len(curves(read(tmp_path, rows, HEADER + ",channels"))) == 2


def test_curve_by_splits_on_request(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("\n".join([HEADER + ",width", *(f"{row},{w}" for row in GOOD for w in "ab")]), encoding="utf-8")
    with pytest.raises(InputError, match="differ in width: --curve-by"):
        check_table(read_csv(file), "t")
    assert len(curves(check_table(read_csv(file), "t", curve_by=["width"]))) == 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("ethanol,mace,force_mae,64,0,-0.1", "error is -0.1"),
        ("ethanol,mace,force_mae,64,0,0", "error is 0"),
        ("ethanol,mace,force_mae,64,0,nan", "error is nan"),
        ("ethanol,mace,force_mae,64,0,", "error is nan"),
        ("ethanol,mace,force_mae,64,0,inf", "error is inf"),
        ("ethanol,mace,force_mae,64,0,small", "error is 'small', not a number"),
        ("ethanol,mace,force_mae,0,0,0.1", "P is 0"),
        ("ethanol,mace,force_mae,-4,0,0.1", "P is -4"),
        ("ethanol,mace,force_mae,,0,0.1", "P is nan"),
        ("ethanol,mace,force_mae,64,,0.1", "seed is empty"),
        ("ethanol,mace,force_mae,32,0,0.1", "as line 3"),
    ],
)
def test_bad_rows_are_named_refused_and_droppable(tmp_path: Path, row: str, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, [*GOOD, "", row])  # the blank line shifts the bad row to line 5 of the file
    assert "line 5" in str(caught.value)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    table = read(tmp_path, [*GOOD, "", row], drop_bad=True)
    assert [bad.line for bad in table.dropped] == [5]
    assert len(table.rows) == 2


def test_mixed_units_name_the_minority(tmp_path: Path) -> None:
    rows = [GOOD[0] + ",eV/Å", GOOD[1] + ",eV/Å", "ethanol,mace,force_mae,64,0,50,meV/Å"]
    with pytest.raises(InputError, match=r"line 4: unit is 'meV/Å'"):
        read(tmp_path, rows, HEADER + ",unit")


def test_energies_of_earlier_tables_are_per_atom_too(tmp_path: Path) -> None:
    """`meV` is what tables once called meV/atom; other metrics and units stay as they are."""
    rows = ["d,mace,energy_mae,8,0,2.0,meV", "d,mace,energy_mae,16,0,1.0,meV/atom", "d,mace,force_mae,8,0,3.0,meV/Å"]
    table = read(tmp_path, [*rows, "d,mace,force_mae,16,0,2.0,meV/Å"], HEADER + ",unit")
    assert table.rows["unit"].tolist() == ["meV/atom", "meV/atom", "meV/Å", "meV/Å"]


def test_a_curve_with_one_size_so_far_is_set_aside(tmp_path: Path) -> None:
    """As of a sweep that has only begun: nothing is bad, and nothing has to be asked for."""
    table = read(tmp_path, [*GOOD, "water,mace,force_mae,64,0,0.1", "water,mace,force_mae,64,1,0.2"])
    assert table.single[["dataset", "error"]].values.tolist() == [["water", 0.1], ["water", 0.2]]
    assert set(table.rows["dataset"]) == {"ethanol"}
    assert (table.lost_curves, table.dropped) == ((), ())
    alone = read(tmp_path, ["water,mace,force_mae,64,0,0.1"])
    assert (len(alone.rows), len(alone.single)) == (0, 1)


def test_lost_curves_and_zeros_are_remembered(tmp_path: Path) -> None:
    rows = [*GOOD, "ethanol,mace,force_mae,64,0,0", "water,mace,force_mae,64,0,0.1"]
    rows += [f"water,mace,force_mae,{P},0,0" for P in (8, 16)]
    table = read(tmp_path, [*rows, "star,mace,force_mae,64,0,0"], drop_bad=True)
    assert table.lost_curves == ("dataset=star, architecture=mace, metric=force_mae",)
    assert curves(table)[0].lost_zeros


def test_zero_error_rate_with_a_test_count_is_data(tmp_path: Path) -> None:
    rows = ["mnist,cnn,error_rate,16,0,0.1,1000", "mnist,cnn,error_rate,32,0,0,1000"]
    (curve,) = curves(read(tmp_path, rows, HEADER + ",n_test"))
    assert curve.error.tolist() == [[0.1, 0.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        (HEADER + "\n", "no rows"),
        ("dataset,metric,P,seed,error,net\na,b,1,0,1,c\n", "no column 'architecture'"),
        (HEADER + ",P\n" + GOOD[0] + ",1\n", "appears twice"),
        (HEADER + "\n" + GOOD[0] + ",7\n", "line 2: 7 cells"),
    ],
)
def test_unusable_files(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "table.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        check_table(read_csv(file), str(file))


def test_missing_file_and_binary_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_csv(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\x81\xff\x00")
    with pytest.raises(InputError, match="not a CSV"):
        read_csv(tmp_path / "binary.csv")


def test_seed_labels_are_compared_as_labels() -> None:
    frame = pd.DataFrame(
        {
            "dataset": "a",
            "architecture": "b",
            "metric": "m",
            "P": [1, 2, 1, 2],
            "seed": ["0", "0", "x", "x"],
            "error": 1.0,
        }
    )
    assert curves(check_table(frame, "t"))[0].seeds == ("0", "x")


def test_table_without_seeds_takes_rows_as_replicates() -> None:
    frame = pd.DataFrame(
        {"dataset": "a", "architecture": "b", "metric": "m", "P": [1, 1, 2, 2], "error": [4, 5, 2, 3.0]}
    )
    (curve,) = curves(check_table(frame, "t"))
    assert not curve.has_seeds
    assert curve.error.tolist() == [[4.0, 2.0], [5.0, 3.0]]


def test_runs_whose_ridge_is_at_its_floor_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """Their errors are the arithmetic's; the others make the curve, and nothing has to be asked for."""
    frame = pd.DataFrame(
        {
            "dataset": "a",
            "architecture": "ntk-mace",
            "metric": "m",
            "P": [8, 16, 32, 64],
            "seed": "0",
            "error": [4.0, 3.0, 2.0, 1.9],
            "ridge_at_floor": ["False", "", "False", "True"],
        }
    )
    table = check_table(frame, "t")
    (curve,) = curves(table)
    assert curve.sizes.tolist() == [8, 16, 32]
    assert [row.line for row in table.dropped] == [5]
    assert "ridge" in table.dropped[0].reason
    assert "t: 1 row left out: the ridge parameter is at the floor of the arithmetic (line 5)" in caplog.text
    repeated = pd.concat([frame, *(frame[3:].assign(seed=str(seed)) for seed in range(1, 9))])
    caplog.clear()
    check_table(repeated, "t")
    assert [
        one for one in caplog.messages if "line 5, line 6, line 7, line 8, line 9 and 4 more" in one
    ] == caplog.messages
