"""What the papers said of exponents, and whether tables bear it out."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from analysis.fits.uncertainty import Interval
from benchmarks.results import __main__ as results
from benchmarks.results import found, statements
from benchmarks.results.outstanding import Place
from benchmarks.results.statements import CONTRADICTED, SAID, Answer, answers, judge, over_datasets
from tests.benchmarks.test_results import COMMITTED

NO_FLOOR = Interval(np.nan, np.nan, np.nan, np.nan, 0)
STEEPER, EQUAL = SAID[0], SAID[1]


def interval(value: float, half: float) -> Interval:
    """Return a 95 % interval of four degrees of freedom."""
    return Interval(value, value - half, value + half, half / 2.776, 4)


RISES, FALLS, SMALL, WIDE = interval(0.2, 0.1), interval(-0.2, 0.1), interval(0.01, 0.02), interval(0.01, 0.2)


@pytest.mark.parametrize(
    ("power", "floor", "steeper", "verdict"),
    [
        (RISES, RISES, True, "holds"),
        (FALLS, FALLS, True, CONTRADICTED),
        (RISES, RISES, False, CONTRADICTED),
        (RISES, FALLS, True, "rises, open: floor"),
        (RISES, WIDE, False, "rises, open: floor"),
        (FALLS, NO_FLOOR, False, "falls, open: floor"),
        (WIDE, WIDE, True, "not shown"),
        (WIDE, WIDE, False, "no difference shown"),
        (SMALL, SMALL, False, "holds within ±0.05"),
        (SMALL, WIDE, False, "holds within ±0.05, open: floor"),
        (SMALL, NO_FLOOR, False, "holds within ±0.05, open: floor"),
    ],
)
def test_what_is_shown_with_floors_decides(power: Interval, floor: Interval, steeper: bool, verdict: str) -> None:
    assert judge(power, floor, not power.low <= 0 <= power.high, steeper) == verdict


def test_a_difference_that_does_not_survive_correction_is_not_shown() -> None:
    assert judge(RISES, RISES, False, True) == "not shown"


def test_small_but_certain_differences_are_as_steep() -> None:
    """A difference of 0.02 ± 0.01 is beyond chance, and yet within the margin."""
    assert judge(interval(0.02, 0.01), interval(0.02, 0.01), True, False) == "holds within ±0.05"


def test_every_statement_is_answered_by_the_committed_tables() -> None:
    """And with the Δβ that the page of the same table prints."""
    for said, single in answers(COMMITTED).items():
        assert {"ethanol_pbe", "acac"} <= {one.data[0] for one in single}
        for one in single:
            page = (results.FOLDER / f"{said.kind}_{one.data[0]}" / "README.md").read_text(encoding="utf-8")
            assert one.power_text in page


def test_datasets_that_agree_are_pooled_to_less_than_each_and_others_to_more() -> None:
    def single(values: list[float]) -> list[Answer]:
        return [Answer((str(i),), interval(v, 0.1), interval(v, 0.1), "") for i, v in enumerate(values)]

    agreed = over_datasets(single([0.18, 0.2, 0.22, 0.19, 0.21]), STEEPER.steeper)
    assert agreed is not None
    assert agreed.verdict == "holds"
    assert agreed.power.high - agreed.power.low < 0.2
    assert agreed.data == ("0", "1", "2", "3", "4")
    differ = over_datasets(single([-0.3, 0.7, 0.2, -0.1, 0.5]), STEEPER.steeper)
    assert differ is not None
    assert differ.verdict == "not shown"
    assert differ.power.high - differ.power.low > 0.2
    assert over_datasets(single([0.2]), STEEPER.steeper) is None


def test_what_is_not_converged_is_not_pooled() -> None:
    one = Answer(("a",), RISES, RISES, statements.NOT_CONVERGED)
    two = Answer(("b",), RISES, RISES, "holds")
    assert over_datasets([one, two], STEEPER.steeper) is None


def test_a_contradiction_is_the_headline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one sentence, on whichever data it shows."""
    bad = [Answer((name,), RISES, RISES, CONTRADICTED) for name in ("acac", "methanol")]
    monkeypatch.setattr(found, "answers", lambda place: {**{said: [] for said in SAID}, EQUAL: bad})
    monkeypatch.setattr(found, "over_datasets", lambda single, steeper: None)
    text = found.page(Place(tmp_path / "results", tmp_path))
    first = next(line for line in text.splitlines() if line.startswith("- "))
    assert "contradict NequIP's paper, which says that L = 2 is as steep as L = 1: from L = 1 → 2 β changes" in first
    assert re.search(r" changes on acetylacetone .* \(\+0\.20 .* and on methanol .* \(\+0\.20 ", first)
