"""Any table gives an answer or one line that names the mistake; never a traceback, never a NaN in the JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.cli import main

errors = st.one_of(
    st.floats(1e-9, 1e6),
    st.sampled_from([0.0, -1.0, math.nan, math.inf, 1.0, 1.0]),  # equal values too: flat curves
)
rows = st.fixed_dictionaries(
    {
        "dataset": st.sampled_from(["a", "b"]),
        "architecture": st.sampled_from(["mace", "ace"]),
        "metric": st.sampled_from(["force_mae", "error_rate"]),
        "L": st.sampled_from([0, 1, ""]),
        "P": st.sampled_from([1, 2, 4, 8, 16, 32, 64, 128, 0, 2.5]),
        "seed": st.sampled_from([0, 1, 2]),
        "error": errors,
        "error_half_budget": st.one_of(st.just(""), st.floats(1e-3, 10)),
        "train_error": st.one_of(st.just(""), st.floats(0, 10)),
        "converged": st.sampled_from(["true", "false", ""]),
        "n_test": st.sampled_from([100, ""]),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(rows, min_size=1, max_size=60), st.booleans())
def test_an_answer_or_one_line(tmp_path: Path, capsys: Any, table: list[dict[str, Any]], drop: bool) -> None:
    path, out = tmp_path / "t.csv", tmp_path / "o.json"
    out.unlink(missing_ok=True)
    lines = [",".join(table[0]), *(",".join(str(cell) for cell in row.values()) for row in table)]
    path.write_text("\n".join(lines), encoding="utf-8")
    code = main(["fit", "--table", str(path), "--json", str(out), *(["--drop-bad"] if drop else [])])
    message = capsys.readouterr().err
    if code == 2:
        assert not out.exists()
        assert message.strip().splitlines()[-1].startswith("python -m analysis: ")
        return
    if not out.exists():  # no curve has two P yet
        assert code == 1
        return
    assert code in ((0, 1) if drop else (0,))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    entries = json.loads(out.read_text(encoding="utf-8"), parse_constant=refuse)
    keys = [(e["dataset"], e["architecture"], e["metric"], e["L"]) for e in entries]
    for key in set(keys):
        mine = [entry for entry, own in zip(entries, keys, strict=True) if own == key]
        assert sum(entry["recommended"] for entry in mine) == 1
