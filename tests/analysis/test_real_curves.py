"""Verdicts on curves of real runs on the star: under-trained, trained to the end, and fitted in closed form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analysis.curve import curves
from analysis.fits.flags import Flag, Judgement, Verdict
from analysis.fits.record import analyse
from analysis.sources import read_store
from analysis.table import check_table
from experiments.config.parse import parse
from experiments.data.load import dataset_of
from experiments.runs.execute import execute
from experiments.runs.store import RunStore
from tests.conftest import ACE, MACE, STAR, TRAINING


def judged(path: Path, model: dict[str, Any], **training: Any) -> Judgement:
    """The verdict on the forces of one curve, P = 4, 8 and 16 with three seeds; networks train in one pack."""
    store, runs = RunStore(path), []
    for P in (4, 8, 16):
        for seed in (0, 1, 2):
            sections = {"data": STAR, "model": model, "training": {**TRAINING, **training}}
            config = parse({"P": P, "seed": seed, "store": str(path), "device": "cpu", **sections})
            runs.append(store.run(config.run_id(dataset_of(config.data).sha256())))
            runs[-1].create(config.as_dict())
    outcome = execute(runs, lambda: False, lambda event: None)
    assert set(outcome.values()) == {"done"}
    for fit, judgement in analyse(curves(check_table(read_store(path), "store"))):
        if fit.curve.text("metric") == "force_mae":
            return judgement
    raise AssertionError("no curve of the forces")


def test_too_few_updates(tmp_path: Path) -> None:
    judgement = judged(tmp_path, {**MACE, "L": 0, "nu": 2}, max_steps=12)
    assert judgement.verdict is Verdict.NOT_CONVERGED
    assert {Flag.TOO_SHORT, Flag.UNCONVERGED_RUNS} <= set(judgement.flags)
    assert judgement.data_limited is False


def test_a_network_that_sees_no_angles_is_trained_to_its_end(tmp_path: Path) -> None:
    """It has but constants to fit, so that 240 updates are plenty, and nothing to learn from."""
    judgement = judged(tmp_path, {**MACE, "L": 0, "nu": 1}, max_steps=240, warmup_steps=10, learning_rate=0.02)
    assert judgement.verdict is Verdict.CONVERGED
    assert Flag.LEARNED_NOTHING in judgement.flags
    assert Flag.TOO_SHORT not in judgement.flags


def test_a_closed_form_that_sees_them_has_learned(tmp_path: Path) -> None:
    judgement = judged(tmp_path, {**ACE, "nu": 2})
    assert judgement.verdict is Verdict.NONE
    assert not {Flag.LEARNED_NOTHING, Flag.TOO_SHORT} & set(judgement.flags)
