"""The written plan of the claim, the sweep and the code agree."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from analysis.comparisons.claim import METRIC
from analysis.comparisons.conditions import LEVEL, MARGIN, Outcome

ROOT = Path(__file__).parents[3]


def test_plan_sweep_and_code_agree() -> None:
    text = (ROOT / "docs" / "claim-preregistration.md").read_text(encoding="utf-8")
    plan = dict(re.findall(r"^\| (\S+(?: P)?) \| (.+) \|$", text, re.MULTILINE))
    sweep = yaml.safe_load((ROOT / "conf" / "sweep" / "claim.yaml").read_text(encoding="utf-8"))
    (grid,) = sweep["hydra"]["sweeper"]["grids"]
    assert [int(word) for word in plan["sizes P"].split(", ")] == grid["P"]
    assert int(plan["seeds"].split(",")[0]) == len(grid["seed"])
    assert [float(word) for word in re.findall(r"([0-9.]+) Å", plan["cutoffs"])] == grid["model.cutoff"]
    assert plan["network"].startswith(grid["model"].upper())
    depth = yaml.safe_load((ROOT / "conf" / "model" / f"{grid['model']}.yaml").read_text(encoding="utf-8"))["n_layers"]
    assert plan["depth"].startswith(f"{depth} layers")
    assert plan["metric"].startswith("force MAE decides")
    assert METRIC == "force_mae"
    assert float(plan["level"].split()[0]) == LEVEL
    assert float(plan["margin"].split()[0]) == MARGIN
    assert re.findall(r"\*(\w+)\*", plan["outcomes"]) == [str(outcome) for outcome in Outcome]
