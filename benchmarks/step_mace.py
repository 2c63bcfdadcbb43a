"""mace-torch's side of a comparison of training steps: those of its training script, without reading data.

Runs in the environment that `make peers` makes for mace-torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import ase
import mace
import numpy as np
import torch
from e3nn import o3
from mace import data, modules
from mace.tools import AtomicNumberTable, torch_geometric
from torch_ema import ExponentialMovingAverage  # type: ignore[import-not-found]

from benchmarks.ethanol import random_ethanol
from benchmarks.serve import Steps, serve


def model_of(settings: Mapping[str, Any], elements: list[int]) -> Any:
    """Build the network as `mace_run_train --model=MACE` does."""
    c = settings["channels"]
    hidden = " + ".join(f"{c}x{degree}{'eo'[degree % 2]}" for degree in range(settings["L"] + 1))
    return modules.ScaleShiftMACE(
        r_max=settings["cutoff"], num_bessel=settings["n_bessel"], num_polynomial_cutoff=5,
        max_ell=settings["edge_lmax"], num_interactions=settings["n_layers"],
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=modules.interaction_classes["RealAgnosticInteractionBlock"],
        num_elements=len(elements), hidden_irreps=o3.Irreps(hidden),
        MLP_irreps=o3.Irreps(f"{settings['readout_hidden']}x0e"), atomic_energies=np.zeros(len(elements)),
        avg_num_neighbors=8.0, atomic_numbers=elements, correlation=settings["nu"],
        gate=torch.nn.functional.silu, radial_MLP=list(settings["radial_hidden"]), use_reduced_cg=False,
        atomic_inter_scale=1.0, atomic_inter_shift=0.0,
    )  # fmt: skip


def batches_of(settings: Mapping[str, Any], elements: list[int]) -> list[Any]:
    """Return batches on the device."""
    frames = random_ethanol(64)
    table = AtomicNumberTable(elements)
    listed = []
    for positions, energy, forces in zip(frames.positions, frames.energies, frames.forces, strict=True):
        atoms = ase.Atoms(frames.numbers, positions)
        atoms.info["REF_energy"], atoms.arrays["REF_forces"] = float(energy), forces
        keys = data.KeySpecification(info_keys={"energy": "REF_energy"}, arrays_keys={"forces": "REF_forces"})
        config = data.config_from_atoms(atoms, key_specification=keys)
        listed.append(data.AtomicData.from_config(config, z_table=table, cutoff=settings["cutoff"]))
    loader = torch_geometric.dataloader.DataLoader(listed, batch_size=settings["batch_size"], drop_last=True)
    return [batch.to(settings["device"]) for batch in loader]


def prepare(settings: Mapping[str, Any]) -> tuple[Steps, dict[str, Any]]:
    """Set up training; return the function that takes steps, and facts (see `benchmarks.serve.Prepare`)."""
    torch.set_num_threads(settings["threads"])
    torch.set_default_dtype(torch.float32)
    elements = sorted({int(z) for z in random_ethanol(1).numbers})
    model = model_of(settings, elements).to(settings["device"])
    batches = cycle(batches_of(settings, elements))
    loss_of = modules.WeightedEnergyForcesLoss(energy_weight=1.0, forces_weight=100.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, amsgrad=True)
    ema = ExponentialMovingAverage(model.parameters(), decay=0.99)
    cuda = settings["device"] == "cuda"

    def steps(number: int) -> object:
        for _ in range(number):
            batch = next(batches)
            optimizer.zero_grad(set_to_none=True)
            out = model(batch.to_dict(), training=True, compute_force=True)
            loss = loss_of(pred=out, ref=batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=10.0)
            optimizer.step()
            ema.update()
        if cuda:
            torch.cuda.synchronize()
        return None

    count = sum(value.numel() for value in model.parameters() if value.requires_grad)
    return steps, {"parameters": count, "version": mace.__version__, "torch": torch.__version__}


if __name__ == "__main__":
    serve(prepare)
