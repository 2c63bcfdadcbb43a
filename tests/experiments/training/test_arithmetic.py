"""How a GPU computes while networks are trained and evaluated: torch's switches, which a CPU build has too."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.runs import evaluate
from experiments.tasks.molecules import MoleculeTask
from experiments.training.arithmetic import arithmetic
from tests.experiments.finished import configuration, finished

Switches = tuple[bool, bool, bool, bool]
EXACT: Switches = (False, False, True, False)
TF32: Switches = (True, True, True, False)
SINGLE = {"training.precision": "float32", "training.max_steps": 4}


def switches() -> Switches:
    """TF32 in products and in convolutions; cuDNN's choice of algorithms: the same result, the fastest now."""
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    return cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark


@pytest.fixture(params=[False, True], ids=["torch's own", "all others"])
def before(request: pytest.FixtureRequest) -> Iterator[Switches]:
    """The switches as torch has them, and each the other way, before a test and after it."""
    own = switches()
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    if request.param:
        cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = (not value for value in own)
    yield switches()
    cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = own


@pytest.mark.parametrize(("tf32", "expected"), [(False, EXACT), (True, TF32)])
def test_switches_hold_meanwhile_and_are_restored(before: Switches, tf32: bool, expected: Switches) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with arithmetic(tf32):
            assert switches() == expected
            # what Inductor asks; torch has two sets of names, and raises where they do not fit together
            assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")
            assert (torch.backends.cuda.matmul.fp32_precision == "tf32") == tf32
            assert (torch.backends.cudnn.conv.fp32_precision == "tf32") == tf32  # type: ignore[attr-defined]
            assert torch.backends.mkldnn.matmul.fp32_precision == "none"  # type: ignore[attr-defined]  # the CPU's own
    assert switches() == before
    with pytest.raises(RuntimeError, match="broken"), arithmetic(tf32):
        raise RuntimeError("broken")
    assert switches() == before


@pytest.mark.parametrize(
    ("changes", "expected"), [({}, EXACT), ({"training.tf32": True}, TF32)], ids=["default", "tf32"]
)
def test_runs_are_trained_and_evaluated_as_they_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], expected: Switches
) -> None:
    own, seen = switches(), {"loss": set[Switches](), "predict": set[Switches]()}

    def watch(name: str) -> None:
        method = getattr(MoleculeTask, name)

        def watched(self: MoleculeTask, *arguments: Any) -> Any:
            seen[name].add(switches())
            return method(self, *arguments)

        monkeypatch.setattr(MoleculeTask, name, watched)

    for name in seen:
        watch(name)
    run = finished(configuration(tmp_path, "mace", {**SINGLE, **changes}))
    assert seen == {"loss": {expected}, "predict": {expected}}
    assert switches() == own
    seen["predict"].clear()
    assert evaluate.main([str(run.path)]) == 0  # a run that is done
    assert seen["predict"] == {expected}
    assert switches() == own


def test_steps_of_one_arithmetic_are_not_used_for_the_other(laboratory: Any) -> None:
    """A GPU's replay computes as it was recorded."""
    single = dataclasses.replace(laboratory.settings, precision="float32")
    task = laboratory.task(single)
    for tf32 in (False, True, False):
        laboratory.settings = dataclasses.replace(single, tf32=tf32)
        laboratory.pack([laboratory.member(task, "a")], task).advance(1)
    assert len(task.traced) == 2
