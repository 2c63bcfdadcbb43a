"""The gradient of a pack: against finite differences, and compiled against eager."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from typing import Any

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_leaves

from experiments.core.compiler import warn
from experiments.models.networks.mace import Mace
from experiments.nn.native import sparse
from experiments.training.flat_state import part
from experiments.training.step import can_compile, eager_gradient, eager_update, make_update


def example(laboratory: Any, precision: str, **changes: Any) -> tuple[Any, torch.Tensor]:
    task = laboratory.task(dataclasses.replace(laboratory.settings, precision=precision))
    members = [laboratory.member(task, f"m{i}", seed=i) for i in range(2)]
    return laboratory.pack(members, task, precision=precision, **changes), torch.tensor([[0, 1, 2], [3, 4, 5]])


def evaluate(pack: Any, picked: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    gradient = pack._step().gradient
    constants = part(pack.state, "constants")
    found: tuple[torch.Tensor, torch.Tensor] = gradient(
        pack.state["params"], constants, pack.task.batch(pack.targets, picked)
    )
    return found


def test_gradient_is_the_slope_of_the_loss(laboratory: Any) -> None:
    """Central differences along random directions in float64: error of order h² + eps/h at h = 1e-5."""
    pack, picked = example(laboratory, "float64")
    _, gradient = evaluate(pack, picked)
    params, h = pack.state["params"], 1e-5
    for seed in range(5):
        direction = torch.randn(params.shape, generator=torch.Generator().manual_seed(seed), dtype=params.dtype)
        around = []
        for sign in (1, -1):
            pack.state = {**pack.state, "params": params + sign * h * direction}
            around.append(evaluate(pack, picked)[0])
        pack.state = {**pack.state, "params": params}
        slope = (around[0] - around[1]) / (2 * h)
        torch.testing.assert_close((gradient * direction).sum(1), slope, rtol=1e-6, atol=1e-8)


def test_a_runs_gradient_is_its_own(laboratory: Any) -> None:
    """Changing one run's weights leaves the other's loss and gradient as they are, bit for bit."""
    pack, picked = example(laboratory, "float64")
    before = evaluate(pack, picked)
    params = pack.state["params"].clone()
    params[1] += 0.1
    pack.state = {**pack.state, "params": params}
    after = evaluate(pack, picked)
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one[0], other[0])
        assert not torch.equal(one[1], other[1])


@pytest.mark.long
@pytest.mark.skipif(not any(shutil.which(name) for name in ("g++", "c++", "clang++")), reason="needs a C++ compiler")
def test_compiled_is_eager(laboratory: Any, caplog: pytest.LogCaptureFixture) -> None:
    """To round-off of sums in another order: some thousand eps of float64, relative to the largest component."""
    caplog.set_level(logging.INFO)
    config = dataclasses.replace(laboratory.model.config, n_layers=1, nu=1, L=0, channels=2)
    laboratory.model = Mace(config, 2)  # the least that has everything: compiling is what takes the time
    tolerance = 1e-12
    eager, picked = example(laboratory, "float64")
    compiled, _ = example(laboratory, "float64", compile=True)
    for _ in range(2):  # a second call with other weights uses the same graph
        losses, gradient = evaluate(eager, picked)
        found_losses, found = evaluate(compiled, picked)
        torch.testing.assert_close(found_losses, losses, rtol=tolerance, atol=0)
        assert float((found - gradient).abs().max()) < tolerance * float(gradient.abs().max())
        for pack in (eager, compiled):
            pack.state = {**pack.state, "params": pack.state["params"] * 1.01}
    assert "by torch.compile instead" not in caplog.text


@pytest.mark.long
@pytest.mark.skipif(not any(shutil.which(name) for name in ("g++", "c++", "clang++")), reason="needs a C++ compiler")
def test_compiled_update_is_eager(laboratory: Any) -> None:
    """Clipping (active), SOAP and the average over three updates, two runs of different rates; round-off of float64."""
    pack, _ = example(laboratory, "float64")
    state = {name: value for name, value in pack.state.items() if not name.startswith("constants/")}
    limits = {name: torch.tensor(values, dtype=torch.float64) for name, values in
              (("clip", [0.5, 1e6]), ("ema_decay", [0.9, 0.0]))}  # fmt: skip
    rate = torch.tensor([0.01, 0.003], dtype=torch.float64)
    one, generator = torch.ones(2, dtype=torch.float64), torch.Generator().manual_seed(0)
    update = make_update(pack.optimizer, pack.layout, True, (state, state["params"], rate, one, limits))
    slow, found = dict(state), dict(state)
    for number in (1, 2, 3):
        gradient = torch.randn(state["params"].shape, generator=generator, dtype=torch.float64)
        slow = eager_update(pack.optimizer, pack.layout)(slow, gradient, rate, number * one, limits)
        found = update(found, gradient, rate, number * one, limits)
    assert found.keys() == slow.keys() == state.keys()
    for name in found:
        torch.testing.assert_close(found[name], slow[name], rtol=0, atol=1e-12)
    assert float((found["params"] - state["params"]).abs().max()) > 0.01


def test_the_pools_length_is_in_no_shape(laboratory: Any) -> None:
    """What is compiled for one data set serves another of equal atoms and neighbours, whatever its frames."""
    traces = []
    for frames in (60, 50):
        laboratory.dataset = dataclasses.replace(
            laboratory.dataset, pool=laboratory.dataset.pool.take(slice(0, frames))
        )
        pack, _ = example(laboratory, "float64")
        gradient, arguments = eager_gradient(pack._loss, pack.layout), pack._example().gradient
        gradient(*arguments)
        traced = make_fx(gradient)(*arguments)
        shapes = [tensor.shape for tensor in tree_leaves(arguments)]
        assert not any(frames in shape for shape in shapes)
        traces.append((traced.code, shapes))
    assert traces[0] == traces[1]


def test_without_a_compiler_there_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    warn.cache_clear()
    sparse._library.cache_clear()
    try:
        assert not can_compile(torch.device("cpu"))
        assert "no C++ compiler (g++) found: training eagerly" in caplog.text
        assert not can_compile(torch.device("cpu"))
        assert not sparse.available()
        assert len(caplog.records) == 1  # one warning, whoever asks and however often
    finally:
        sparse._library.cache_clear()
