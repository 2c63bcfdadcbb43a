"""The nequip package's side of a comparison of training steps: those of its training, without reading data.

Runs in the environment that `make peers` makes for nequip.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import nequip
import torch
from nequip.data import AtomicDataDict, compute_neighborlist_, from_dict
from nequip.model import NequIPGNNModel
from nequip.train.ema import EMAWeights
from nequip.utils.global_state import set_global_state

from benchmarks.ethanol import random_ethanol
from benchmarks.serve import Steps, serve


def batches_of(settings: Mapping[str, Any]) -> list[Any]:
    """Return batches on the device."""
    frames = random_ethanol(64)
    elements = sorted({int(z) for z in frames.numbers})
    kinds = torch.tensor([elements.index(int(z)) for z in frames.numbers])
    listed = []
    for positions, energy, forces in zip(frames.positions, frames.energies, frames.forces, strict=True):
        content = {
            AtomicDataDict.POSITIONS_KEY: torch.as_tensor(positions),
            AtomicDataDict.ATOM_TYPE_KEY: kinds,
            AtomicDataDict.TOTAL_ENERGY_KEY: torch.tensor([[energy]]),
            AtomicDataDict.FORCE_KEY: torch.as_tensor(forces),
        }
        listed.append(compute_neighborlist_(from_dict(content), r_max=settings["cutoff"]))
    size = settings["batch_size"]
    batches = [AtomicDataDict.batched_from_list(listed[i : i + size]) for i in range(0, len(listed) - size + 1, size)]
    return [AtomicDataDict.to_(batch, torch.device(settings["device"])) for batch in batches]


def prepare(settings: Mapping[str, Any]) -> tuple[Steps, dict[str, Any]]:
    """Set up training; return the function that takes steps, and facts (see `benchmarks.serve.Prepare`)."""
    torch.set_num_threads(settings["threads"])
    set_global_state()
    model = NequIPGNNModel(
        seed=0, model_dtype="float32", type_names=["H", "C", "O"], r_max=settings["cutoff"],
        compile_mode=settings["compile_mode"], num_layers=settings["n_layers"], l_max=settings["L"],
        parity=settings["parity"], num_features=settings["channels"], num_bessels=settings["n_bessel"],
        radial_mlp_depth=len(settings["radial_hidden"]), radial_mlp_width=settings["radial_hidden"][0],
        avg_num_neighbors=8.0, per_type_energy_scales=1.0, per_type_energy_shifts=0.0,
    ).to(settings["device"])  # fmt: skip
    batches = cycle(batches_of(settings))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    ema = EMAWeights(model, decay=0.99)
    ema.update_parameters(model)
    energy, force = AtomicDataDict.TOTAL_ENERGY_KEY, AtomicDataDict.FORCE_KEY
    inputs = {AtomicDataDict.POSITIONS_KEY, AtomicDataDict.ATOM_TYPE_KEY, AtomicDataDict.EDGE_INDEX_KEY,
              AtomicDataDict.BATCH_KEY, AtomicDataDict.NUM_NODES_KEY}  # fmt: skip
    cuda = settings["device"] == "cuda"

    def steps(number: int) -> object:
        for _ in range(number):
            batch = next(batches)
            optimizer.zero_grad(set_to_none=True)
            out = model({key: value for key, value in batch.items() if key in inputs})
            loss = (out[energy] - batch[energy]).square().mean() + (out[force] - batch[force]).square().mean()
            loss.backward()
            optimizer.step()
            ema.update_parameters(model)
        if cuda:
            torch.cuda.synchronize()
        return None

    count = sum(value.numel() for value in model.parameters() if value.requires_grad)
    return steps, {"parameters": count, "version": nequip.__version__, "torch": torch.__version__}


if __name__ == "__main__":
    serve(prepare)
