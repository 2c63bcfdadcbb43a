"""Test errors of mace-torch's checkpoints: `python -m benchmarks.errors_mace MODEL TEST.xyz NAME …`.

Runs in the environment that `make peers` makes for mace-torch. MODEL is the file that training saved at its end, with
the checkpoints NAME beside it. Prints the mean absolute error of the force components (eV/Å) by name, as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import ase.io
import torch
from mace import data
from mace.tools import AtomicNumberTable, torch_geometric


def main() -> None:
    """Print the errors of the checkpoints that the command line names."""
    model_path, test, *names = sys.argv[1:]
    model = torch.load(model_path, map_location="cpu", weights_only=False)
    dtype = next(model.parameters()).dtype
    torch.set_default_dtype(dtype)
    table = AtomicNumberTable([int(z) for z in model.atomic_numbers])
    listed, forces = [], []
    for atoms in ase.io.read(test, ":"):
        forces.append(torch.as_tensor(atoms.get_forces()))
        atoms.calc = None
        config = data.config_from_atoms(atoms)
        listed.append(data.AtomicData.from_config(config, z_table=table, cutoff=float(model.r_max)))
    expected = torch.cat(forces)
    errors = {}
    for name in names:
        # written by the training just before: its own file
        model.load_state_dict(
            torch.load(Path(model_path).parent / name, map_location="cpu", weights_only=False)["model"]
        )
        loader = torch_geometric.dataloader.DataLoader(listed, batch_size=50)
        predicted = torch.cat([model(batch.to_dict())["forces"].detach().double() for batch in loader])
        errors[name] = float((predicted - expected).abs().mean())
    print(json.dumps(errors))


if __name__ == "__main__":
    main()
