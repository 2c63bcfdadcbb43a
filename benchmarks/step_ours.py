"""Our side of a comparison of training steps."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.engine import pack_of, random_ethanol_dataset
from benchmarks.serve import Steps, serve
from experiments.core.schema import build
from experiments.models.contract import ModelConfig
from experiments.models.networks import network
from experiments.models.registry import MODELS
from experiments.runs.capacity import weights
from experiments.tasks.molecules import MoleculeTask


def config_of(settings: Mapping[str, Any]) -> ModelConfig:
    """Return the architecture's configuration in our terms."""
    names = ["L", "n_layers", "channels", "cutoff", "n_bessel", "radial_hidden"]
    names += ["nu", "edge_lmax", "readout_hidden"] if settings["architecture"] == "mace" else ["parity"]
    values = {name: settings[name] for name in names}
    if settings["architecture"] == "nequip":  # as NequIPGNNModel, without parts that cannot affect the energy
        values |= {"readout_hidden": None, "self_connection": "embedding", "first_self_connection": False}
        values |= {"bessel_trainable": False}
    return build(MODELS[settings["architecture"]], values, "model.")


def prepare(settings: Mapping[str, Any]) -> tuple[Steps, dict[str, Any]]:
    """Set up training; return the function that takes steps, and facts (see `benchmarks.serve.Prepare`)."""
    torch.set_num_threads(settings["threads"])
    device = torch.device(settings["device"])
    task = MoleculeTask(random_ethanol_dataset(64), settings["cutoff"], torch.float32, device)
    config = config_of(settings)
    model = network(config, len(task.elements))
    optimizer = {"mace": "amsgrad", "nequip": "adam"}[settings["architecture"]]  # the package's
    folder = tempfile.TemporaryDirectory()
    compile = settings.get("compile", True)
    pack = pack_of(1, model, task, Path(folder.name), compile, optimizer, settings["batch_size"])
    count = weights(config, len(task.elements))

    def steps(number: int) -> object:
        pack.advance(number)  # waits for the device
        return folder  # so that it lives as long as the pack

    return steps, {"parameters": count, "version": torch.__version__}


if __name__ == "__main__":
    serve(prepare)
