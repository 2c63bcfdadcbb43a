"""Full-batch second order for small P: Levenberg–Marquardt on all residuals, beside the engine's SOAP.

``python -m docs.gauss_newton data=methanol cell=C P=16 …`` prints the errors after each of its iterations. The
Jacobian's rows come from the engine's own gradient: a pack of copies of the run, each with the derivative of one
residual. An iteration costs P·(1 + 3N) gradients of one frame and a factorisation of that size, so this is for P
below some hundred. docs/optimizers.md says what came out of it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import hydra
import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor

from experiments.config import MaceConfig, parse
from experiments.data.load import dataset_of
from experiments.data.splits import subset
from experiments.models.graph import pair_forces
from experiments.models.mace import Mace
from experiments.tasks.molecules import MoleculeTask, Prepared, differentiable, pick_graph
from experiments.tasks.task import Tensors
from experiments.training.layout import Layout
from experiments.training.pack import is_constant
from experiments.training.step import make_gradient

CONF = str(Path(__file__).resolve().parent.parent / "conf")
CHUNK = 152
"""Rows of the Jacobian computed at once."""


class Residuals:
    """Residuals of all labels of a run, √weight·(prediction − label) as in the engine's loss, and their Jacobian."""

    def __init__(self, task: MoleculeTask, model: Mace, layout: Layout, constants: Tensors, run: Prepared) -> None:
        inputs, chosen = task.inputs, torch.as_tensor(run.subset)
        atoms = inputs["atoms"][chosen].sum(1)
        energies = task.targets([run], [(1.0, 1.0)])["energies"][0, chosen]
        forces = (inputs["forces"][chosen] / run.scale).reshape(len(chosen), -1)
        self.labels = torch.cat([(energies / atoms)[:, None], forces / torch.sqrt(3 * atoms)[:, None]], 1).reshape(-1)
        self.each = 1 + forces.shape[1]
        self.cotangents = torch.eye(self.each, dtype=task.dtype).repeat(len(chosen), 1)
        self.picked = chosen.repeat_interleave(self.each)[:, None]
        self.inputs = inputs
        self.constants = {k: v.expand(CHUNK, *v.shape[1:]).contiguous() for k, v in constants.items()}

        def row(params: Tensors, targets: Tensors, resident: Tensors, picked: Tensor) -> Tensor:
            graph = differentiable(pick_graph(resident, picked))
            atomic = model.energies(params, graph) * graph.atoms
            (slope,) = torch.autograd.grad(atomic.sum(), graph.vectors, create_graph=True)
            found = (pair_forces(slope, graph) * graph.atoms[..., None]).reshape(len(picked), -1)
            count = graph.atoms.sum(1)
            values = torch.cat([(atomic.sum(1) / count)[:, None], found / torch.sqrt(3 * count)[:, None]], 1)
            return (values * targets["cotangent"]).sum(1)

        flat = torch.zeros(CHUNK, layout.size, dtype=task.dtype)
        targets = {"cotangent": torch.zeros(CHUNK, self.each, dtype=task.dtype)}
        example = (flat, self.constants, targets, inputs, self.picked[:1].expand(CHUNK, 1).contiguous())
        self.gradient = make_gradient(row, layout, True, example)

    def __call__(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """label − prediction ``[R]`` (float64) and the Jacobian of the predictions ``[R, n]``."""
        values, rows = [], []
        copies = params.expand(CHUNK, -1).contiguous()
        for start in range(0, len(self.labels), CHUNK):
            place = torch.arange(start, start + CHUNK).clamp(max=len(self.labels) - 1)
            targets = {"cotangent": self.cotangents[place]}
            found, slopes = self.gradient(copies, self.constants, targets, self.inputs, self.picked[place])
            count = min(CHUNK, len(self.labels) - start)
            values.append(found[:count].clone())
            rows.append(slopes[:count].clone())
        return (self.labels - torch.cat(values)).double(), torch.cat(rows)


def descend(residuals: Residuals, params: Tensor, iterations: int) -> list[tuple[Tensor, float]]:
    """Parameters and CPU seconds after each iteration; the damping falls by 3 after a step down and grows by 4
    before another try."""
    began, damping, seen = time.process_time(), 1e-3, []
    left, jacobian = residuals(params)
    for _ in range(iterations):
        gram = (jacobian @ jacobian.T).double()
        scale = gram.diagonal().mean()
        while damping < 1e9:
            ridge = damping * scale * torch.eye(len(gram), dtype=torch.float64)
            step = jacobian.T @ torch.linalg.solve(gram + ridge, left).to(params.dtype)
            trial, slopes = residuals(params + step)
            if trial @ trial < left @ left:
                params, left, jacobian = params + step, trial, slopes
                damping /= 3
                break
            damping *= 4
        else:
            break
        seen.append((params, time.process_time() - began))
    return seen


def main(overrides: list[str], iterations: int = 40) -> None:
    """Train one run so and print its errors in meV/Å."""
    torch.set_num_threads(1)
    with hydra.initialize_config_dir(CONF, version_base="1.3"):
        plain = OmegaConf.to_container(hydra.compose("config", overrides), resolve=True)
    assert isinstance(plain, dict)
    config = parse({str(key): value for key, value in plain.items()})
    assert isinstance(config.model, MaceConfig)
    dataset = dataset_of(config.data)
    task = MoleculeTask(dataset, config.model.cutoff, torch.float32, torch.device("cpu"))
    model = Mace(config.model, len(task.elements))
    run = task.prepare(subset(len(dataset.pool), config.P, config.subset_seed, dataset.disjoint_seeds))
    drawn = model.init(config.init_seed, task.dtype)
    layout = Layout({k: v.shape for k, v in drawn.items() if not is_constant(k)})
    constants = {k: torch.tensor([v], dtype=task.dtype) for k, v in run.constants.items()}
    start = layout.flat({k: v[None] for k, v in drawn.items() if not is_constant(k)})
    residuals = Residuals(task, model, layout, constants, run)
    evaluator = task.evaluator(model, (True, True))
    for number, (params, seconds) in enumerate(descend(residuals, start, iterations), 1):
        if number % 5 == 0:
            weights = {k: v[0] for k, v in {**layout.named(params), **constants}.items()}
            found = evaluator.full(weights, run)
            test, train = (1e3 * errors["force_mae"].value for errors in (found.test, found.train))
            print(f"P={config.P} iteration {number}: test {test:.2f}, training {train:.3f} meV/Å, {seconds:.1f} s")


if __name__ == "__main__":
    np.seterr(all="raise")
    main(sys.argv[1:])
